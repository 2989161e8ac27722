//! TCP over the wire: connections, bytes in order whatever the link does, ends.

use super::*;
use crate::net::socket::Shutdown;
use crate::wait::PollMask;

pub(super) type Stream = Arc<dyn Socket>;

impl Lab {
    pub(super) fn tcp(&self, host: usize) -> Stream {
        self.open(host, AF_INET, SocketType::Stream, 0)
    }

    pub(super) fn listener(&self, host: usize, address: &str, backlog: usize) -> Stream {
        let family = if address.starts_with('[') { AF_INET6 } else { AF_INET };
        let socket = self.open(host, family, SocketType::Stream, 0);
        socket.bind(&at(address)).unwrap();
        socket.listen(backlog, ME).unwrap();
        socket
    }

    pub(super) fn connect(&self, sleeper: &Sleeper, client: &Stream, to: &str) -> Result<(), Stop> {
        let first = client.try_connect(&at(to), ME);
        assert_eq!(first, Err(Stop::WouldBlock));
        let done = PollMask::OUT | PollMask::ERR | PollMask::HUP;
        self.until(sleeper, 200 * SECOND, || client.poll(None).intersects(done));
        client.try_connect(&at(to), ME)
    }

    /// A connection from the first to the second host: what connected, what was accepted, and the listener.
    pub(super) fn pair(&self, sleeper: &Sleeper, to: &str) -> (Stream, Stream, Stream) {
        let listener = self.listener(1, to, 16);
        let family = if to.starts_with('[') { AF_INET6 } else { AF_INET };
        let client = self.open(0, family, SocketType::Stream, 0);
        self.connect(sleeper, &client, to).unwrap();
        assert!(self.until(sleeper, 10 * SECOND, || listener.poll(None).contains(PollMask::IN)));
        let server = listener.try_accept().unwrap();
        (client, server, listener)
    }

    /// Sends `data` from one to the other and reads it there.
    pub(super) fn carry(
        &self,
        sleeper: &Sleeper,
        from: &Stream,
        to: &Stream,
        data: &[u8],
        limit: u64,
    ) -> Vec<u8> {
        let mut reader = IoReader::kernel(data);
        let mut got = Vec::new();
        let mut part = vec![0; 100_000];
        self.until(sleeper, limit, || {
            while reader.remaining() > 0 && from.try_send(&mut reader, &mut Outgoing::default()).is_ok() {}
            while let Ok(incoming) = to.try_receive(&mut IoWriter::kernel(&mut part), MsgFlags::empty()) {
                got.extend_from_slice(&part[..incoming.len]);
                if incoming.len == 0 {
                    break;
                }
            }
            got.len() >= data.len()
        });
        got
    }

    pub(super) fn states(&self, host: usize) -> Vec<u8> {
        self.hosts[host].stack.sockets(6).iter().map(|entry| entry.state).collect()
    }
}

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

#[test]
fn connections_open_carry_and_end() {
    check(|sleeper| {
        for (mtu, offloads) in [(1500, false), (1500, true), (9000, false)] {
            for to in ["10.0.0.2:80", "[fd00::2]:80"] {
                let lab = Lab::with(2, mtu, offloads);
                let (client, server, listener) = lab.pair(sleeper, to);
                assert_eq!(client.peer().unwrap().to_bytes(), server.local().to_bytes());
                assert_eq!(server.peer().unwrap().to_bytes(), client.local().to_bytes());
                assert_eq!(lab.states(0), [1]);
                assert_eq!(receive(&server, 5), Err(Stop::WouldBlock));
                assert_eq!(send(&client, b"hello"), Ok(5));
                lab.pump();
                assert_eq!(receive(&server, 99).unwrap(), b"hello");
                assert_eq!(send(&server, b"there"), Ok(5));
                lab.pump();
                assert_eq!(receive(&client, 99).unwrap(), b"there");
                let data = pattern(3_000_000);
                assert!(lab.carry(sleeper, &client, &server, &data, 60 * SECOND) == data);
                assert!(lab.carry(sleeper, &server, &client, &data, 60 * SECOND) == data);
                client.shutdown(Shutdown::Write).unwrap();
                lab.pump();
                assert_eq!(receive(&server, 9).unwrap(), b"");
                assert_eq!((lab.states(0), lab.states(1)), (vec![5], vec![10, 8]));
                assert_eq!(send(&server, b"back"), Ok(4));
                assert_eq!(errno(send(&client, b"x")), Errno::EPIPE);
                server.released();
                lab.pump();
                assert_eq!(receive(&client, 9).unwrap(), b"back");
                assert_eq!(receive(&client, 9).unwrap(), b"");
                assert_eq!(client.poll(None) & PollMask::HUP, PollMask::HUP);
                client.released();
                lab.run(sleeper, SECOND);
                assert_eq!((lab.states(0), lab.states(1)), (vec![6], vec![10]));
                assert!(lab.hosts[1].stack.tcp.wire.all().is_empty());
                lab.run(sleeper, 61 * SECOND);
                assert!(lab.hosts[0].stack.tcp.wire.all().is_empty());
                assert!(lab.states(0).is_empty());
                listener.released();
                drop((client, server, listener));
                assert_eq!((lab.hosts[0].budget.used(), lab.hosts[1].budget.used()), (0, 0));
            }
        }
    });
}

#[test]
fn bytes_arrive_in_order_whatever_the_link_does() {
    check(|sleeper| {
        let cases = [
            Faults { lost: 20, latency_ns: 5 * MS, ..Faults::default() },
            Faults { lost: 100, doubled: 100, latency_ns: MS, ..Faults::default() },
            Faults { delayed: 300, delay_ns: 7 * MS, latency_ns: 5 * MS, ..Faults::default() },
            Faults { lost: 50, doubled: 50, delayed: 100, delay_ns: 30 * MS, latency_ns: 20 * MS },
        ];
        for (case, faults) in cases.into_iter().enumerate() {
            for (offloads, sack) in [(false, true), (true, true), (false, false)] {
                let lab = Lab::with(2, 1500, offloads);
                let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
                if !sack {
                    for host in &lab.hosts {
                        host.stack.tcp.wire.all().iter().for_each(|connection| connection.forget_sack());
                    }
                }
                lab.faults(faults);
                let data = pattern(400_000);
                let start = now_ns();
                let got = lab.carry(sleeper, &client, &server, &data, 900 * SECOND);
                assert!(got == data, "case {case} offloads {offloads} sack {sack}: {} bytes", got.len());
                let got = lab.carry(sleeper, &server, &client, &data, 900 * SECOND);
                assert!(got == data, "case {case} back");
                let seconds = (now_ns() - start) / SECOND;
                assert!(seconds < 400, "case {case} {offloads} {sack} took {seconds} s");
                client.released();
                server.released();
                lab.run(sleeper, 300 * SECOND);
                let left: usize = lab.hosts.iter().map(|host| host.stack.tcp.wire.all().len()).sum();
                assert_eq!(left, 0, "case {case}");
            }
        }
    });
}

#[test]
fn a_reader_that_is_slow_stops_the_sender() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        let data = pattern(10_000_000);
        let mut reader = IoReader::kernel(&data);
        lab.until(sleeper, 5 * SECOND, || {
            while client.try_send(&mut reader, &mut Outgoing::default()).is_ok() {}
            false
        });
        let sent = reader.done();
        assert!(sent < 6_000_000, "{sent}");
        assert!(!client.poll(None).contains(PollMask::OUT));
        let used = lab.hosts[1].budget.used();
        assert!(used <= 17 + 2, "{used} pages wait");
        // Probes of the closed window go on, and nobody gives up.
        lab.run(sleeper, 1200 * SECOND);
        assert_eq!(lab.states(0), [1]);
        let mut got = lab.carry(sleeper, &client, &server, &[], 0);
        lab.until(sleeper, 60 * SECOND, || {
            got.extend(receive(&server, 100_000).unwrap_or_default());
            got.len() >= sent
        });
        assert!(got == data[..got.len()] && got.len() >= sent, "{} of {sent}", got.len());
        assert!(client.poll(None).contains(PollMask::OUT));
    });
}

#[test]
fn a_full_card_holds_senders_back() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        lab.wire.0.lock().unwrap().room = 3;
        let data = pattern(500_000);
        let got = lab.carry(sleeper, &client, &server, &data, 60 * SECOND);
        assert!(got == data, "{}", got.len());
        let info = client.option(6, 11).unwrap();
        assert_eq!(info[100..104], [0; 4], "nothing went twice");
    });
}

#[test]
fn both_sides_may_begin_and_end_at_once() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (one, other) = (lab.tcp(0), lab.tcp(1));
        one.bind(&at("10.0.0.1:1000")).unwrap();
        other.bind(&at("10.0.0.2:2000")).unwrap();
        lab.faults(Faults { latency_ns: 10 * MS, ..Faults::default() });
        assert_eq!(one.try_connect(&at("10.0.0.2:2000"), ME), Err(Stop::WouldBlock));
        assert_eq!(other.try_connect(&at("10.0.0.1:1000"), ME), Err(Stop::WouldBlock));
        lab.run(sleeper, SECOND);
        assert_eq!((lab.states(0), lab.states(1)), (vec![1], vec![1]));
        let data = pattern(100_000);
        assert!(lab.carry(sleeper, &one, &other, &data, 10 * SECOND) == data);
        one.released();
        other.released();
        lab.run(sleeper, SECOND);
        assert_eq!((lab.states(0), lab.states(1)), (vec![6], vec![6]));
    });
}

#[test]
fn figures_are_real() {
    check(|sleeper| {
        let lab = Lab::new(2);
        lab.faults(Faults { latency_ns: 25 * MS, ..Faults::default() });
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        let data = pattern(300_000);
        assert!(lab.carry(sleeper, &client, &server, &data, 60 * SECOND) == data);
        lab.run(sleeper, SECOND);
        let info = client.option(6, 11).unwrap();
        let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
        assert_eq!((info[0], info[5]), (1, 7));
        assert!((50_000..70_000).contains(&word(68)), "round trip {} us", word(68));
        assert_eq!(word(16), 1448);
        assert!(word(80) > 20, "window {}", word(80));
        assert_eq!(u64::from_ne_bytes(info[120..128].try_into().unwrap()), 300_000);
        assert_eq!(word(100), 0);
        let name = client.option(6, 13).unwrap();
        assert_eq!(&name[..6], b"cubic\0");
    });
}
