//! The network card against a scripted guest, with a socket in place of the TAP.

use super::*;
use crate::virtio::driver::{Driver, RAM};
use chitin_proto::net::{flag, gso};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use zerocopy::FromBytes;

const PAGE: u32 = 4096;
/// Pages that the longest frame needs.
const PAGES: usize = ROOM.div_ceil(PAGE as usize);

struct Bench {
    net: Net,
    rx: Driver,
    tx: Driver,
    host: OwnedFd,
}

impl Bench {
    fn new() -> Self {
        Self::limited(RateLimit::default())
    }

    fn limited(limit: RateLimit) -> Self {
        let ram = Arc::new(GuestRam::new(RAM).unwrap());
        let (rx_queue, rx) = Driver::new(&ram, "net0.rx", QUEUE_SIZE, 0);
        let (tx_queue, tx) = Driver::new(&ram, "net0.tx", QUEUE_SIZE, 1);
        let flags = SocketFlags::NONBLOCK;
        let (host, tap) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        Self { net: Net::new(ram, vec![rx_queue, tx_queue], Tap::pretend(tap), limit), rx, tx, host }
    }

    fn post(&mut self, count: usize) -> Vec<u64> {
        (0..count).flat_map(|_| self.rx.submit(&[], &[PAGE])).collect()
    }

    /// A frame from the host, with this header.
    fn arrive(&self, header: Header, frame: &[u8]) {
        let sent = rustix::io::write(&self.host, &[header.as_bytes(), frame].concat());
        assert_eq!(sent, Ok(HEADER_SIZE + frame.len()));
    }

    /// What the host gets.
    fn departed(&self) -> Option<(Header, Vec<u8>)> {
        let mut bytes = vec![0; ROOM + 1];
        let len = rustix::io::read(&self.host, &mut bytes[..]).ok()?;
        bytes.truncate(len);
        let frame = bytes.split_off(HEADER_SIZE);
        Some((Header::read_from_bytes(&bytes).unwrap(), frame))
    }

    fn rule(&mut self, pieces: &[&[u8]], writable: &[u32]) -> String {
        self.tx.submit(pieces, writable);
        self.net.kicked(TX).unwrap_err().rule
    }
}

fn frame(len: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(len).collect()
}

#[test]
fn frames_fill_as_many_buffers_as_they_need() {
    let mut bench = Bench::new();
    let rooms = bench.post(PAGES + 3);
    bench.net.kicked(RX).unwrap();
    let large = Header { segmentation: gso::TCPV4, segment_bytes: 1448, buffers: 999, ..Header::default() };
    for (header, len) in [(Header::default(), 60), (large, 9000), (Header::default(), MAX_FRAME)] {
        bench.arrive(header, &frame(len));
    }
    // Not enough buffers are left for the longest frame after the second: the third waits.
    assert!(bench.net.source().is_some());
    bench.net.source_ready().unwrap();
    let mut rooms = rooms.into_iter();
    for (header, len) in [(Header::default(), 60), (large, 9000), (Header::default(), MAX_FRAME)] {
        if len == MAX_FRAME {
            assert_eq!(bench.rx.returned(), None);
            assert!(bench.net.source().is_none());
            rooms = rooms.chain(bench.post(10)).collect::<Vec<_>>().into_iter();
            bench.net.kicked(RX).unwrap();
        }
        let count = (HEADER_SIZE + len).div_ceil(PAGE as usize);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let (_, written) = bench.rx.returned().unwrap();
            bytes.extend(bench.rx.bytes(rooms.next().unwrap(), written as usize));
        }
        let got = bytes.split_off(HEADER_SIZE);
        assert_eq!(
            Header::read_from_bytes(&bytes).unwrap(),
            Header { buffers: count.try_into().unwrap(), ..header }
        );
        assert_eq!(got, frame(len));
    }
    let counted = bench.net.counters().read().received;
    let bytes = u64::try_from(60 + 9000 + MAX_FRAME).unwrap();
    assert_eq!(counted, FrameStats { frames: 3, bytes, dropped: 0, large: 1 });
}

#[test]
fn the_tap_is_not_read_without_room() {
    let mut bench = Bench::new();
    assert!(bench.net.source().is_none());
    bench.arrive(Header::default(), &frame(60));
    bench.post(PAGES - 1);
    bench.net.kicked(RX).unwrap();
    assert!(bench.net.source().is_none());
    assert_eq!(bench.rx.returned(), None);
    bench.post(1);
    bench.net.kicked(RX).unwrap();
    assert!(bench.rx.returned().is_some());
}

#[test]
fn limits_hold_frames_back() {
    let mut bench = Bench::limited(RateLimit { bytes_per_second: 0, frames_per_second: 100 });
    bench.post(3 * PAGES);
    let plain = Header::default().as_bytes().to_vec();
    for _ in 0..20 {
        bench.arrive(Header::default(), &frame(60));
        bench.tx.submit(&[&plain, &frame(60)], &[]);
    }
    bench.net.kicked(RX).unwrap();
    bench.net.kicked(TX).unwrap();
    // 50 ms ahead of the rate, and the frame that closes the gate.
    let frames = |bench: &Bench| {
        let counted = bench.net.counters().read();
        (counted.received.frames, counted.sent.frames)
    };
    assert_eq!(frames(&bench), (6, 6));
    assert!(bench.net.source().is_none());
    bench.net.kicked(TX).unwrap();
    assert_eq!(frames(&bench), (6, 6));
    while frames(&bench) != (20, 20) {
        let deadline = bench.net.deadline().unwrap();
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        bench.net.deadline_passed().unwrap();
    }
}

#[test]
fn a_lost_host_end_is_no_busy_loop() {
    let mut bench = Bench::new();
    bench.post(PAGES);
    bench.net.kicked(RX).unwrap();
    bench.host = std::fs::File::open("/dev/null").unwrap().into();
    bench.net.source_ready().unwrap();
    assert!(bench.net.source().is_none());
    bench.tx.submit(&[&[0; HEADER_SIZE], &frame(60)], &[]);
    bench.net.kicked(TX).unwrap();
    bench.net.kicked(RX).unwrap();
    assert!(bench.net.source().is_none());
    assert_eq!(bench.net.counters().read().sent.dropped, 1);
}

#[test]
fn headers_reach_the_host_clean() {
    let mut bench = Bench::new();
    let asked = Header {
        flags: flag::NEEDS_CSUM | flag::DATA_VALID | 0x80,
        segmentation: gso::TCPV6,
        header_bytes: 74,
        segment_bytes: 1440,
        checksum_start: 54,
        checksum_offset: 16,
        buffers: 7,
    };
    let bytes = frame(3000);
    bench.tx.submit(&[asked.as_bytes(), &bytes[..100], &bytes[100..]], &[]);
    let plain = Header { checksum_start: 9, checksum_offset: 9, segment_bytes: 9, ..Header::default() };
    bench.tx.submit(&[&[plain.as_bytes(), &bytes[..60]].concat()], &[]);
    bench.net.kicked(TX).unwrap();
    let clean = Header { flags: flag::NEEDS_CSUM, buffers: 0, ..asked };
    assert_eq!(bench.departed(), Some((clean, bytes.clone())));
    assert_eq!(bench.departed(), Some((Header::default(), bytes[..60].to_vec())));
    assert_eq!([bench.tx.returned(), bench.tx.returned()], [Some((0, 0)), Some((3, 0))]);
    assert_eq!(bench.net.counters().read().sent, FrameStats { frames: 2, bytes: 3060, dropped: 0, large: 1 });
}

#[test]
fn what_no_driver_does_ends_the_sandbox() {
    let header = |header: Header| header.as_bytes().to_vec();
    let plain = header(Header::default());
    let mut rules = Vec::new();
    let mut case = |pieces: &[&[u8]], writable: &[u32]| rules.push(Bench::new().rule(pieces, writable));
    case(&[&plain[..11]], &[]);
    case(&[&plain, &frame(13)], &[]);
    case(&[&plain, &frame(MAX_FRAME + 1)], &[]);
    case(&[&plain, &frame(60)], &[1]);
    let sum = Header { flags: flag::NEEDS_CSUM, checksum_start: 14, ..Header::default() };
    let large = Header { segmentation: gso::TCPV4, segment_bytes: 1, header_bytes: 54, ..sum };
    for bad in [
        Header { checksum_start: 13, ..sum },
        Header { checksum_offset: 45, ..sum },
        Header { checksum_offset: u16::MAX, checksum_start: u16::MAX, ..sum },
        Header { segmentation: 3, ..large },
        Header { segmentation: gso::TCPV4 | 0x80, ..large },
        Header { flags: 0, ..large },
        Header { segment_bytes: 0, ..large },
        Header { header_bytes: 33, ..large },
        Header { header_bytes: 61, ..large },
    ] {
        case(&[&header(bad), &frame(60)], &[]);
    }
    assert!(rules.iter().all(|rule| rule.starts_with("frame of ")), "{rules:#?}");

    for (readable, writable) in [(&[][..], &[11][..]), (&[&[0u8; 4][..]][..], &[PAGE][..])] {
        let mut bench = Bench::new();
        bench.rx.submit(readable, writable);
        assert!(bench.net.kicked(RX).unwrap_err().rule.starts_with("receive buffer of"));
    }
    let mut bench = Bench::new();
    bench.rx.submit(&[], &[50; 200]);
    for _ in 0..7 {
        bench.rx.make_available(0);
    }
    assert!(bench.net.kicked(RX).unwrap_err().rule.contains("too many pieces"));
}
