//! TCP over the wire when things go wrong: nobody there, floods, forged segments, silence.

use super::stream::pattern;
use super::*;
use crate::wait::PollMask;
use ::core::time::Duration;
use std::string::ToString;

fn seconds(ns: u64) -> u64 {
    Duration::from_nanos(ns).as_secs()
}

/// A TCP segment from the second host's address, as a raw socket there would send it.
fn forge(lab: &Lab, from: &str, to: &str, seq: u32, ack: u32, flags: u8, data: &[u8]) {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let mut segment = [&from.port().to_be_bytes()[..], &to.port().to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(data);
    let sum = checksum::Sum::pseudo(from.ip(), to.ip(), 6, segment.len()).add(&segment).finish();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let (IpAddr::V4(source), IpAddr::V4(target)) = (from.ip(), to.ip()) else { panic!() };
    let total = u16::try_from(segment.len() + 20).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0];
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&target.octets());
    let sum = checksum::Sum::new().add(&header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let frame = [&mac(0)[..], &mac(1), &[8, 0], &header, &segment].concat();
    lab.wire.0.lock().unwrap().inboxes[0].push_back((frame, Offload::default()));
    lab.pump();
}

#[test]
fn who_is_not_there_is_told() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let client = lab.tcp(0);
        assert_eq!(errno(lab.connect(sleeper, &client, "10.0.0.2:9")), Errno::ECONNREFUSED);
        let client = lab.open(0, AF_INET6, SocketType::Stream, 0);
        assert_eq!(errno(lab.connect(sleeper, &client, "[fd00::2]:9")), Errno::ECONNREFUSED);
        let (client, start) = (lab.tcp(0), now_ns());
        assert_eq!(errno(lab.connect(sleeper, &client, "10.0.0.99:9")), Errno::EHOSTUNREACH);
        assert!((2..5).contains(&seconds(now_ns() - start)));
        let _listener = lab.listener(1, "10.0.0.2:80", 5);
        lab.hosts[0].card.set_neighbour("10.0.0.2".parse().unwrap(), mac(1));
        lab.faults(Faults { lost: 1000, ..Faults::default() });
        let (client, start) = (lab.tcp(0), now_ns());
        assert_eq!(errno(lab.connect(sleeper, &client, "10.0.0.2:80")), Errno::ETIMEDOUT);
        let waited = seconds(now_ns() - start);
        assert!((120..=130).contains(&waited), "{waited}");
        assert!(lab.hosts[0].stack.tcp.wire.all().is_empty());
        client.set_option(6, 7, &2i32.to_ne_bytes()).unwrap();
    });
}

#[test]
fn a_flood_of_requests_is_bounded_and_others_get_through() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let listener = lab.listener(0, "10.0.0.1:80", 4);
        for port in 1000..3000u32 {
            let from = std::format!("10.0.0.2:{port}");
            forge(&lab, &from, "10.0.0.1:80", port * 7919, 0, 2, &[]);
        }
        // Nothing of it takes memory beyond the queue, and no connection came about.
        assert!(lab.hosts[0].stack.tcp.wire.all().is_empty());
        assert_eq!(listener.poll(None) & PollMask::IN, PollMask::empty());
        let client = lab.tcp(1);
        lab.connect(sleeper, &client, "10.0.0.1:80").unwrap();
        let server = listener.try_accept().unwrap();
        let data = pattern(300_000);
        assert!(lab.carry(sleeper, &client, &server, &data, 20 * SECOND) == data, "by a cookie");
        // A wrong cookie is refused.
        forge(&lab, "10.0.0.2:5", "10.0.0.1:80", 1, 77, 16, &[]);
        assert_eq!(listener.poll(None) & PollMask::IN, PollMask::empty());
    });
}

#[test]
fn a_full_backlog_makes_others_wait() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let listener = lab.listener(1, "10.0.0.2:80", 1);
        let clients: Vec<_> = (0..4).map(|_| lab.tcp(0)).collect();
        for client in &clients {
            assert_eq!(client.try_connect(&at("10.0.0.2:80"), ME), Err(Stop::WouldBlock));
        }
        lab.run(sleeper, SECOND / 2);
        assert_eq!(lab.hosts[1].stack.tcp.wire.all().len(), 2);
        let mut servers = Vec::new();
        let all = lab.until(sleeper, 20 * SECOND, || {
            servers.extend(std::iter::from_fn(|| listener.try_accept().ok()));
            servers.len() == 4
        });
        assert!(all, "{}", servers.len());
    });
}

#[test]
fn forged_segments_end_nothing() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        let Address::Inet(own) = client.local() else { panic!() };
        let own = own.to_string();
        send(&server, b"x").unwrap();
        lab.pump();
        let (sequence, theirs) = lab.hosts[0].stack.tcp.wire.all()[0].numbers();
        lab.take_seen();
        // In the window, but not the next number: challenged. A SYN too. Outside: nothing at all for a reset.
        forge(&lab, "10.0.0.2:80", &own, theirs + 100, sequence, 4, &[]);
        assert_eq!(lab.take_seen().len(), 1, "a challenge");
        forge(&lab, "10.0.0.2:80", &own, theirs.wrapping_sub(5_000_000), sequence, 4, &[]);
        forge(&lab, "10.0.0.2:80", &own, theirs + 5, sequence, 2, &[]);
        forge(&lab, "10.0.0.2:80", &own, theirs, sequence.wrapping_add(1 << 20), 16, b"evil");
        assert_eq!((lab.states(0), receive(&client, 9).unwrap()), (vec![1], b"x".to_vec()));
        assert_eq!(receive(&client, 9), Err(Stop::WouldBlock));
        // A thousand of them are answered a few times.
        lab.take_seen();
        for _ in 0..1000 {
            forge(&lab, "10.0.0.2:80", &own, theirs + 100, sequence, 4, &[]);
        }
        assert!(lab.take_seen().len() < 60);
        forge(&lab, "10.0.0.2:80", &own, theirs, sequence, 4, &[]);
        assert_eq!(errno(receive(&client, 9)), Errno::ECONNRESET);
    });
}

#[test]
fn resets_are_sent_and_heard() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (client, server, listener) = lab.pair(sleeper, "10.0.0.2:80");
        client.set_option(1, 13, &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        client.released();
        lab.pump();
        assert_eq!(errno(receive(&server, 9)), Errno::ECONNRESET);
        assert_eq!(receive(&server, 9).unwrap(), b"");
        assert_eq!(errno(send(&server, b"x")), Errno::EPIPE);
        let client = lab.tcp(0);
        lab.connect(sleeper, &client, "10.0.0.2:80").unwrap();
        lab.pump();
        let server = listener.try_accept().unwrap();
        send(&client, b"unread").unwrap();
        send(&server, b"before").unwrap();
        lab.pump();
        server.released();
        lab.pump();
        assert_eq!(receive(&client, 9).unwrap(), b"before");
        assert_eq!(errno(receive(&client, 9)), Errno::ECONNRESET);
        let client = lab.tcp(0);
        lab.connect(sleeper, &client, "10.0.0.2:80").unwrap();
        lab.pump();
        listener.released();
        lab.pump();
        assert_eq!(errno(receive(&client, 9)), Errno::ECONNRESET, "never accepted");
        // Bytes for a socket that is closed.
        let listener = lab.listener(1, "10.0.0.2:81", 5);
        let client = lab.tcp(0);
        lab.connect(sleeper, &client, "10.0.0.2:81").unwrap();
        lab.pump();
        listener.try_accept().unwrap().released();
        lab.pump();
        assert_eq!(send(&client, b"first"), Ok(5));
        lab.pump();
        assert_eq!(errno(send(&client, b"second")), Errno::EPIPE);
    });
}

#[test]
fn silence_ends_connections_as_options_say() {
    check(|sleeper| {
        let set = |socket: &Arc<dyn Socket>, level, name, value: i32| {
            socket.set_option(level, name, &value.to_ne_bytes()).unwrap();
        };
        let wait = |lab: &Lab, client: &Arc<dyn Socket>| {
            let start = now_ns();
            lab.faults(Faults { lost: 1000, ..Faults::default() });
            assert!(lab.until(sleeper, 2000 * SECOND, || client.poll(None).contains(PollMask::ERR)));
            lab.faults(Faults::default());
            seconds(now_ns() - start)
        };
        let lab = Lab::new(2);
        let (client, _server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        set(&client, 1, 9, 1);
        set(&client, 6, 4, 10);
        set(&client, 6, 5, 2);
        set(&client, 6, 6, 3);
        lab.run(sleeper, 100 * SECOND);
        assert_eq!(lab.states(0), [1], "probes are answered");
        let waited = wait(&lab, &client);
        assert!((5..=17).contains(&waited), "{waited}");
        assert!(matches!(errno(receive(&client, 9)), Errno::ETIMEDOUT | Errno::EHOSTUNREACH));
        let lab = Lab::new(2);
        let (client, _server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        set(&client, 6, 18, 5000);
        send(&client, b"x").unwrap();
        lab.pump();
        lab.faults(Faults { lost: 1000, ..Faults::default() });
        send(&client, b"y").unwrap();
        let waited = wait(&lab, &client);
        assert!((4..=13).contains(&waited), "{waited}");
        let lab = Lab::new(2);
        let (client, _server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        lab.faults(Faults { lost: 1000, ..Faults::default() });
        send(&client, b"y").unwrap();
        let waited = wait(&lab, &client);
        assert!((600..=1200).contains(&waited), "{waited}");
    });
}

#[test]
fn small_pieces_wait_for_each_other_unless_told_not_to() {
    check(|sleeper| {
        let lab = Lab::new(2);
        lab.faults(Faults { latency_ns: 10 * MS, ..Faults::default() });
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        let frames =
            |lab: &Lab| lab.take_seen().iter().filter(|frame| frame.len() > 66 && frame[5] == 2).count();
        lab.run(sleeper, SECOND);
        lab.take_seen();
        (0..10).for_each(|_| assert_eq!(send(&client, b"abc"), Ok(3)));
        assert_eq!(frames(&lab), 1);
        lab.run(sleeper, SECOND);
        assert_eq!((frames(&lab), receive(&server, 99).unwrap().len()), (1, 30));
        client.set_option(6, 1, &1i32.to_ne_bytes()).unwrap();
        (0..10).for_each(|_| assert_eq!(send(&client, b"abc"), Ok(3)));
        assert_eq!(frames(&lab), 10);
        lab.run(sleeper, SECOND);
        client.set_option(6, 3, &1i32.to_ne_bytes()).unwrap();
        (0..10).for_each(|_| assert_eq!(send(&client, b"abc"), Ok(3)));
        assert_eq!(frames(&lab), 0);
        client.set_option(6, 3, &0i32.to_ne_bytes()).unwrap();
        assert_eq!(frames(&lab), 1);
        lab.run(sleeper, SECOND);
        assert_eq!(receive(&server, 99).unwrap().len(), 60);
    });
}
