//! The socket device against a scripted guest.

use super::*;
use crate::virtio::driver::{Driver, RAM};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use zerocopy::{FromBytes, IntoBytes};

const ROOM: u32 = 4096;

struct Guest {
    vsock: Vsock,
    poll: Arc<Poll>,
    rx: Driver,
    tx: Driver,
    rooms: VecDeque<u64>,
    consumed: HashMap<u32, u32>,
}

impl Guest {
    fn new(receive_buffers: usize) -> Self {
        let ram = Arc::new(GuestRam::new(RAM).unwrap());
        let (rx_queue, rx) = Driver::new(&ram, "vsock.rx", 128, 0);
        let (tx_queue, tx) = Driver::new(&ram, "vsock.tx", 128, 1);
        let (event_queue, _) = Driver::new(&ram, "vsock.event", 128, 2);
        let poll = Arc::new(Poll::new().unwrap());
        let vsock = Vsock::new(ram, Arc::clone(&poll), vec![rx_queue, tx_queue, event_queue]);
        let mut guest = Self { vsock, poll, rx, tx, rooms: VecDeque::new(), consumed: HashMap::new() };
        guest.give_buffers(receive_buffers);
        guest
    }

    fn give_buffers(&mut self, count: usize) {
        for _ in 0..count {
            self.rooms.extend(self.rx.submit(&[], &[ROOM]));
        }
        self.vsock.kicked(RX).unwrap();
    }

    fn packet(guest_port: u32, host_port: u32, operation: u16) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: guest_port,
            dst_port: host_port,
            kind: 1,
            op: operation,
            buf_alloc: 64 << 10,
            ..Header::default()
        }
    }

    fn try_send(&mut self, packet: Header, data: &[u8]) -> Result<(), Violation> {
        let mut packet = packet;
        packet.fwd_cnt = self.consumed.get(&{ packet.src_port }).copied().unwrap_or(0);
        self.tx.submit(&[packet.as_bytes(), data], &[]);
        let result = self.vsock.kicked(TX);
        while self.tx.returned().is_some() {}
        result
    }

    fn send(&mut self, packet: Header, data: &[u8]) {
        self.try_send(packet, data).unwrap();
    }

    fn write(&mut self, guest_port: u32, host_port: u32, data: &[u8]) {
        let len = u32::try_from(data.len()).unwrap();
        self.send(Header { len, ..Self::packet(guest_port, host_port, op::RW) }, data);
    }

    /// The next packet for the guest.
    fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let (_, written) = self.rx.returned()?;
        let bytes = self.rx.bytes(self.rooms.pop_front().unwrap(), written as usize);
        let (header, data) = Header::read_from_prefix(&bytes).unwrap();
        assert_eq!(header.len as usize, data.len());
        assert_eq!(({ header.src_cid }, { header.dst_cid }), (HOST_CID, GUEST_CID));
        *self.consumed.entry(header.dst_port).or_default() += header.len;
        Some((header, data.to_vec()))
    }

    /// Operations of all packets for the guest.
    fn operations(&mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.receive()).map(|(header, _)| header.op).collect()
    }

    /// Lets the device react to its streams until nothing happens.
    fn turn(&mut self) {
        loop {
            let ready = self.poll.wait(Some(Duration::from_millis(20))).unwrap();
            if ready.is_empty() {
                return;
            }
            for event in ready {
                let Source::Stream(id) = event.source else { panic!("{:?}", event.source) };
                self.vsock.stream_ready(id, event.flags).unwrap();
            }
        }
    }

    fn attach(&mut self, port: u32, direction: Direction, fd: impl Into<OwnedFd>) {
        self.vsock.attach(port, direction, fd.into()).unwrap();
    }

    fn connect(&mut self, guest_port: u32, host_port: u32) {
        // What ended before may still be told.
        self.operations();
        self.send(Self::packet(guest_port, host_port, op::REQUEST), &[]);
        assert_eq!({ self.receive().unwrap().0.op }, op::RESPONSE);
    }
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn bytes_go_both_ways_and_ends_are_told() {
    let mut guest = Guest::new(64);
    let (ours, mut theirs) = pair();
    guest.attach(1, Direction::Both, ours);
    guest.connect(50, 1);
    guest.write(50, 1, b"to the host");
    let mut buffer = [0; 11];
    theirs.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"to the host");
    theirs.write_all(b"to the guest").unwrap();
    guest.turn();
    assert_eq!(guest.receive().unwrap().1, b"to the guest");

    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    guest.turn();
    let (end, _) = guest.receive().unwrap();
    assert_eq!(({ end.op }, { end.flags }), (op::SHUTDOWN, flag::SHUTDOWN_SEND));
    guest.write(50, 1, b"still");
    let mut buffer = [0; 5];
    theirs.read_exact(&mut buffer).unwrap();
    let both = flag::SHUTDOWN_SEND | flag::SHUTDOWN_RECV;
    guest.send(Header { flags: both, ..Guest::packet(50, 1, op::SHUTDOWN) }, &[]);
    assert_eq!(guest.operations(), [op::RST]);
    assert_eq!(theirs.read(&mut buffer).unwrap(), 0);
    assert_eq!(guest.vsock.take_closed(), [1]);
    guest.send(Guest::packet(51, 1, op::REQUEST), &[]);
    assert_eq!(guest.operations(), [op::RST]);
}

#[test]
fn credit_bounds_what_waits_and_comes_back() {
    let mut guest = Guest::new(64);
    let (ours, mut theirs) = pair();
    guest.attach(7, Direction::FromGuest, ours);
    guest.connect(50, 7);
    let data: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let mut forwarded = 0u32;
    theirs.set_nonblocking(true).unwrap();
    while got.len() < data.len() {
        let credit = connection::BUFFER as usize - (sent - forwarded as usize);
        let piece = credit.min(60_000).min(data.len() - sent);
        if piece > 0 {
            guest.write(50, 7, &data[sent..sent + piece]);
            sent += piece;
        }
        guest.turn();
        let mut buffer = [0; 50_000];
        if let Ok(n) = theirs.read(&mut buffer) {
            got.extend_from_slice(&buffer[..n]);
        }
        while let Some((header, _)) = guest.receive() {
            forwarded = header.fwd_cnt;
            guest.give_buffers(1);
        }
    }
    assert_eq!(got, data);
    // Beyond the credit is a violation.
    for _ in 0..3 {
        guest.write(50, 7, &data[..60_000]);
    }
    let flood = (0..20)
        .map(|_| guest.try_send(Header { len: 60_000, ..Guest::packet(50, 7, op::RW) }, &data[..60_000]));
    assert!(flood.into_iter().any(|result| result.is_err_and(|v| v.rule.contains("credit"))));
}

#[test]
fn the_guest_is_never_sent_more_than_it_has_room_for() {
    let mut guest = Guest::new(4);
    let (ours, mut theirs) = pair();
    guest.attach(7, Direction::ToGuest, ours);
    guest.connect(50, 7);
    let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let writer = {
        let data = data.clone();
        std::thread::spawn(move || theirs.write_all(&data))
    };
    let mut got = Vec::new();
    let mut over = false;
    while !over {
        guest.turn();
        let mut received = 0;
        while let Some((header, bytes)) = guest.receive() {
            got.extend_from_slice(&bytes);
            over |= header.op == op::SHUTDOWN;
            received += 1;
        }
        guest.give_buffers(received);
        guest.send(Guest::packet(50, 7, op::CREDIT_UPDATE), &[]);
    }
    writer.join().unwrap().unwrap();
    assert_eq!(got, data);
}

#[test]
fn pipes_files_and_dev_null() {
    let mut guest = Guest::new(64);
    // A blocking pipe is written without ever blocking.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    guest.attach(10, Direction::FromGuest, writer);
    guest.connect(60, 10);
    for _ in 0..4 {
        guest.write(60, 10, &[b'x'; 60_000]);
    }
    guest.send(Header { flags: 3, ..Guest::packet(60, 10, op::SHUTDOWN) }, &[]);
    assert!(guest.vsock.take_closed().is_empty());
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::fs::File::from(reader).read_to_end(&mut all).map(|_| all.len())
    });
    while guest.vsock.take_closed().is_empty() {
        guest.turn();
    }
    assert_eq!(reading.join().unwrap().unwrap(), 240_000);

    // Regular files cannot be polled.
    let path = std::env::temp_dir().join(format!("chitin-vsock-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    guest.attach(11, Direction::FromGuest, file);
    guest.connect(61, 11);
    guest.write(61, 11, b"into a file");
    guest.send(Header { flags: 3, ..Guest::packet(61, 11, op::SHUTDOWN) }, &[]);
    assert_eq!(guest.vsock.take_closed(), [11]);
    assert_eq!(std::fs::read(&path).unwrap(), b"into a file");
    guest.attach(12, Direction::ToGuest, std::fs::File::open(&path).unwrap());
    guest.connect(62, 12);
    assert_eq!(guest.receive().unwrap().1, b"into a file");
    assert_eq!(guest.operations(), [op::SHUTDOWN]);
    std::fs::remove_file(&path).unwrap();

    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    guest.attach(13, Direction::Both, null);
    guest.connect(63, 13);
    guest.write(63, 13, &[0; 50_000]);
    assert_eq!(guest.operations(), [op::SHUTDOWN]);
}

#[test]
fn a_reader_that_is_gone_is_told() {
    let mut guest = Guest::new(16);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    guest.attach(10, Direction::FromGuest, writer);
    guest.connect(60, 10);
    drop(reader);
    guest.write(60, 10, b"nobody");
    let (header, _) = guest.receive().unwrap();
    assert_eq!(({ header.op }, { header.flags }), (op::SHUTDOWN, flag::SHUTDOWN_RECV));
    // What still comes is swallowed.
    for _ in 0..20 {
        guest.write(60, 10, &[0; 60_000]);
        guest.operations();
        guest.give_buffers(1);
    }
    guest.send(Header { flags: 3, ..Guest::packet(60, 10, op::SHUTDOWN) }, &[]);
    assert_eq!(guest.vsock.take_closed(), [10]);
}

#[test]
fn a_detached_stream_ends_and_its_port_refuses() {
    let mut guest = Guest::new(16);
    let (ours, mut theirs) = pair();
    guest.attach(1, Direction::Both, ours);
    guest.vsock.detach(1);
    guest.vsock.detach(2);
    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
    guest.send(Guest::packet(50, 1, op::REQUEST), &[]);
    assert_eq!(guest.operations(), [op::RST]);
}

#[test]
fn resets_and_last_words() {
    let mut guest = Guest::new(16);
    let (ours, mut theirs) = pair();
    guest.attach(1, Direction::Both, ours);
    guest.connect(50, 1);
    guest.write(50, 1, b"last words");
    guest.send(Guest::packet(50, 1, op::RST), &[]);
    let mut all = String::new();
    theirs.read_to_string(&mut all).unwrap();
    assert_eq!(all, "last words");
    assert_eq!(guest.vsock.take_closed(), [1]);

    let (ours, mut theirs) = pair();
    guest.attach(2, Direction::FromGuest, ours);
    guest.connect(51, 2);
    guest.write(51, 2, b"power off");
    guest.vsock.drain(Duration::from_secs(1));
    all.clear();
    theirs.read_to_string(&mut all).unwrap();
    assert_eq!(all, "power off");
}

#[test]
fn hostile_packets() {
    let mut guest = Guest::new(8);
    let (ours, _theirs) = pair();
    guest.attach(1, Direction::Both, ours);
    let (second, _) = pair();
    assert!(guest.vsock.attach(1, Direction::Both, second.into()).is_err());
    guest.connect(50, 1);
    // Truncated header, payload that is not there, too large a payload.
    for len in [0usize, 1, 43] {
        guest.tx.submit(&[&vec![0; len]], &[]);
        assert!(guest.vsock.kicked(TX).is_err());
    }
    assert!(guest.try_send(Header { len: 1, ..Guest::packet(50, 1, op::RW) }, &[]).is_err());
    assert!(guest.try_send(Header { len: u32::MAX, ..Guest::packet(50, 1, op::RW) }, b"x").is_err());
    // Unknown operation on no connection, wrong addresses, wrong type: reset, no harm.
    guest.operations();
    for packet in [
        Guest::packet(9, 9, 77),
        Guest::packet(9, 9, op::RW),
        Header { dst_cid: 99, ..Guest::packet(50, 1, op::RW) },
        Header { src_cid: 2, ..Guest::packet(50, 1, op::REQUEST) },
        Header { kind: 2, ..Guest::packet(50, 1, op::REQUEST) },
    ] {
        guest.send(packet, &[]);
        assert_eq!(guest.operations(), [op::RST]);
        guest.give_buffers(1);
    }
    // Data after the end.
    guest.send(Header { flags: flag::SHUTDOWN_SEND, ..Guest::packet(50, 1, op::SHUTDOWN) }, &[]);
    assert!(guest.try_send(Header { len: 1, ..Guest::packet(50, 1, op::RW) }, b"x").is_err());
}

#[test]
fn a_guest_that_takes_no_answers_is_stopped() {
    let mut guest = Guest::new(0);
    let mut stopped = false;
    for port in 0..5000 {
        if guest.try_send(Guest::packet(port, 9, op::REQUEST), &[]).is_err() {
            stopped = true;
            break;
        }
    }
    assert!(stopped && guest.vsock.answers.len() <= MAX_ANSWERS);
    // A receive buffer without room for a header.
    let mut guest = Guest::new(0);
    guest.rx.submit(&[], &[10]);
    assert!(guest.try_send(Guest::packet(1, 9, op::REQUEST), &[]).is_err());
}

#[test]
fn blocking_descriptors_do_not_block() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let stream = HostStream::new(writer, Direction::FromGuest).unwrap();
    assert!(stream.is_safe_to_try());
    while stream.write(&[0; 65536]) != Moved::NotNow {}
    let stream = HostStream::new(reader, Direction::ToGuest).unwrap();
    assert!(rustix::fs::fcntl_getfl(stream.as_fd()).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    let (ours, _theirs) = pair();
    let stream = HostStream::new(ours.into(), Direction::Both).unwrap();
    while stream.write(&[0; 65536]) != Moved::NotNow {}
}

/// A call that is missing from the main thread's list kills this test.
#[test]
fn the_filter_lets_streams_through() {
    let mut guest = Guest::new(64);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (ours, mut theirs) = pair();
    let jailed = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        crate::jail::seccomp::apply(crate::jail::seccomp::Thread::Main, crate::jail::seccomp::Mode::Kill)
            .unwrap();
        guest.attach(1, Direction::FromGuest, writer);
        guest.attach(2, Direction::ToGuest, reader);
        guest.attach(3, Direction::Both, ours);
        guest.connect(50, 1);
        guest.connect(51, 2);
        guest.connect(52, 3);
        guest.write(50, 1, b"round");
        guest.write(52, 3, b"out");
        guest.turn();
        assert_eq!(guest.receive().unwrap().1, b"round");
        guest.send(Header { flags: 3, ..Guest::packet(52, 3, op::SHUTDOWN) }, &[]);
        guest.write(50, 1, &[0; 60_000]);
        guest.write(50, 1, &[0; 60_000]);
        guest.vsock.drain(Duration::from_millis(10));
    });
    jailed.join().unwrap();
    let mut all = String::new();
    theirs.read_to_string(&mut all).unwrap();
    assert_eq!(all, "out");
}

/// A source without end must not keep the main loop from everybody else.
#[test]
fn an_endless_file_leaves_room_for_others() {
    let mut guest = Guest::new(127);
    let path = std::env::temp_dir().join(format!("chitin-vsock-endless-{}", std::process::id()));
    std::fs::write(&path, vec![7; 2_000_000]).unwrap();
    guest.attach(10, Direction::ToGuest, std::fs::File::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let request = Header { buf_alloc: u32::MAX, ..Guest::packet(60, 10, op::REQUEST) };
    guest.send(request, &[]);
    let (mut got, mut rounds) = (0, 0);
    while got < 2_000_000 {
        let mut packets = 0;
        while let Some((_, data)) = guest.receive() {
            got += data.len();
            packets += 1;
        }
        assert!(packets <= BATCH + 1, "{packets} packets in one go");
        rounds += 1;
        assert!(rounds < 10_000);
        // Also stands for the kick that the device has given itself.
        guest.give_buffers(packets);
    }
    assert_eq!(got, 2_000_000);
}
