//! Datagrams, echo, errors, fragments.

use super::*;
use crate::wait::PollMask;

#[test]
fn datagrams_cross_in_both_families_and_in_fragments() {
    check(|sleeper| {
        let lab = Lab::new(2);
        for (family, own, other) in
            [(AF_INET, "10.0.0.2:53", "10.0.0.1:1000"), (AF_INET6, "[fd00::2]:53", "[fd00::1]:1000")]
        {
            let (client, server) =
                (lab.open(0, family, SocketType::Datagram, 0), lab.open(1, family, SocketType::Datagram, 0));
            server.bind(&at(own)).unwrap();
            client.bind(&at(other)).unwrap();
            for len in [0usize, 1, 1400, 1472, 1473, 4000, 9001, 65_000] {
                let data: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
                assert_eq!(send_to(&client, &data, own), Ok(len));
                lab.pump();
                let mut bytes = vec![0; 70_000];
                let got = server.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()).unwrap();
                assert!(bytes[..got.len] == data, "{len}");
                assert_eq!(got.from.unwrap().to_bytes(), at(other).to_bytes());
            }
            // Fragments in any order, doubled; with one lost nothing comes.
            lab.faults(Faults { doubled: 300, delayed: 500, delay_ns: 3 * MS, ..Faults::default() });
            for _ in 0..20 {
                send_to(&client, &[7; 8000], own).unwrap();
                lab.run(sleeper, 10 * MS);
                assert_eq!(receive(&server, 9000).unwrap().len(), 8000);
                while receive(&server, 9000).is_ok() {}
            }
            lab.faults(Faults { lost: 300, ..Faults::default() });
            for _ in 0..200 {
                send_to(&client, &[7; 60_000], own).unwrap();
                lab.pump();
                while receive(&server, 1).is_ok() {}
            }
            let (packets, bytes) = lab.hosts[1].stack.reassembly.figures();
            assert!(packets <= 64 && bytes <= 1 << 20, "{packets} {bytes}");
            lab.faults(Faults::default());
            // Routers would have to cut it: refused where that was asked for.
            let (level, name) = if family == AF_INET { (0, 10) } else { (41, 23) };
            client.set_option(level, name, &2i32.to_ne_bytes()).unwrap();
            assert_eq!(errno(send_to(&client, &[7; 1473], own)), Errno::EMSGSIZE);
        }
    });
}

#[test]
fn nobody_there_is_told_by_icmp() {
    check(|_| {
        let lab = Lab::new(2);
        for (family, to) in [(AF_INET, "10.0.0.2:9"), (AF_INET6, "[fd00::2]:9")] {
            let client = lab.open(0, family, SocketType::Datagram, 0);
            send_to(&client, b"x", to).unwrap();
            lab.pump();
            assert!(!client.poll(None).contains(PollMask::ERR), "not connected: not told");
            client.try_connect(&at(to), ME).unwrap();
            send(&client, b"x").unwrap();
            lab.pump();
            assert!(client.poll(None).contains(PollMask::ERR));
            assert_eq!(errno(receive(&client, 9)), Errno::ECONNREFUSED);
            let (level, name) = if family == AF_INET { (0, 11) } else { (41, 25) };
            client.set_option(level, name, &1i32.to_ne_bytes()).unwrap();
            send(&client, b"x").unwrap();
            lab.pump();
            let error = client.try_receive(&mut IoWriter::kernel(&mut []), MsgFlags::ERRQUEUE).unwrap();
            let data = &error.control[0].data;
            let (origin, kind, code) = if family == AF_INET { (2, 3, 3) } else { (3, 1, 4) };
            assert_eq!(data[..8], [111, 0, 0, 0, origin, kind, code, 0]);
        }
    });
}

#[test]
fn pings_are_answered_and_heard() {
    check(|_| {
        let lab = Lab::new(2);
        for len in [8usize, 64, 1480, 5000] {
            let ping = lab.open(0, AF_INET, SocketType::Datagram, ICMP);
            let mut request = vec![0; len];
            request[..8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 1]);
            send_to(&ping, &request, "10.0.0.2:0").unwrap();
            lab.pump();
            let reply = receive(&ping, 9000).unwrap();
            assert_eq!((reply.len(), reply[0], reply[7]), (len, 0, 1));
            ping.released();
            let ping = lab.open(0, AF_INET6, SocketType::Datagram, ICMPV6);
            request[0] = 128;
            send_to(&ping, &request, "[fd00::2]:0").unwrap();
            lab.pump();
            assert_eq!(receive(&ping, 9000).unwrap()[0], 129);
            ping.released();
        }
        let (raw, there) =
            (lab.open(0, AF_INET, SocketType::Raw, 99), lab.open(1, AF_INET, SocketType::Raw, 99));
        send_to(&raw, b"hello", "10.0.0.2:0").unwrap();
        lab.pump();
        assert_eq!(&receive(&there, 99).unwrap()[20..], b"hello");
    });
}

#[test]
fn a_router_tells_what_fits() {
    check(|_| {
        let lab = Lab::new(2);
        let client = lab.udp(0);
        let server = lab.udp(1);
        server.bind(&at("10.0.0.2:53")).unwrap();
        client.try_connect(&at("10.0.0.2:53"), ME).unwrap();
        send(&client, &[1; 1472]).unwrap();
        lab.pump();
        let packet = lab.take_seen().into_iter().rfind(|frame| frame.len() == 1514).unwrap();
        let mut message = vec![3, 4, 0, 0, 0, 0, 0, 0];
        message[6..8].copy_from_slice(&1000u16.to_be_bytes());
        message.extend_from_slice(&packet[14..42]);
        let raw = lab.open(1, AF_INET, SocketType::Raw, ICMP);
        let sum = packet::checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        send_to(&raw, &message, "10.0.0.1:0").unwrap();
        lab.pump();
        assert_eq!(errno(receive(&client, 9)), Errno::EMSGSIZE);
        lab.take_seen();
        send(&client, &[1; 1472]).unwrap();
        lab.pump();
        assert!(lab.take_seen().iter().all(|frame| frame.len() <= 1014));
        receive(&server, 2000).unwrap();
        assert_eq!(receive(&server, 2000).unwrap().len(), 1472);
    });
}

#[test]
fn groups_and_all_hear() {
    check(|_| {
        let lab = Lab::new(3);
        let servers: Vec<_> = (1..3).map(|host| lab.udp(host)).collect();
        servers.iter().for_each(|server| server.bind(&at("0.0.0.0:99")).unwrap());
        let client = lab.udp(0);
        assert_eq!(errno(send_to(&client, b"all", "10.0.0.255:99")), Errno::EACCES);
        client.set_option(1, 6, &1i32.to_ne_bytes()).unwrap();
        send_to(&client, b"all", "10.0.0.255:99").unwrap();
        send_to(&client, b"all", "255.255.255.255:99").unwrap();
        lab.pump();
        for server in &servers {
            assert_eq!(receive(server, 9).unwrap(), b"all");
            assert_eq!(receive(server, 9).unwrap(), b"all");
        }
        // Groups: those who joined hear, and switches are told.
        lab.take_seen();
        let membership = [&[239, 1, 2, 3][..], &[10, 0, 0, 2]].concat();
        servers[0].set_option(0, 35, &membership).unwrap();
        assert!(lab.take_seen().iter().any(|frame| frame[23] == 2 && frame[38] == 0x16));
        servers[1].set_option(0, 49, &0i32.to_ne_bytes()).unwrap();
        send_to(&client, b"some", "239.1.2.3:99").unwrap();
        assert_eq!(lab.take_seen()[0][..6], [1, 0, 0x5e, 1, 2, 3]);
        lab.pump();
        assert_eq!(receive(&servers[0], 9).unwrap(), b"some");
        assert_eq!(receive(&servers[1], 9), Err(Stop::WouldBlock));
        let six = lab.open(1, AF_INET6, SocketType::Datagram, 0);
        six.bind(&at("[::]:98")).unwrap();
        let group: core::net::Ipv6Addr = "ff02::1:99".parse().unwrap();
        six.set_option(41, 20, &[&group.octets()[..], &2u32.to_ne_bytes()].concat()).unwrap();
        let client = lab.open(0, AF_INET6, SocketType::Datagram, 0);
        client.set_option(1, 25, b"eth0\0").unwrap();
        assert_eq!(client.option(1, 25).unwrap(), b"eth0\0");
        send_to(&client, b"six", "[ff02::1:99]:98").unwrap();
        lab.pump();
        assert_eq!(receive(&six, 9).unwrap(), b"six");
        // A socket of an interface hears what comes by it.
        assert_eq!(errno(client.set_option(1, 25, b"eth7\0").map_err(Stop::from)), Errno::ENODEV);
    });
}

#[test]
fn own_addresses_stay_here_and_loopback_never_comes_by_wire() {
    check(|_| {
        let lab = Lab::new(2);
        let server = lab.udp(0);
        server.bind(&at("0.0.0.0:53")).unwrap();
        let client = lab.udp(0);
        lab.take_seen();
        send_to(&client, b"me", "10.0.0.1:53").unwrap();
        assert_eq!(receive(&server, 9).unwrap(), b"me");
        assert!(lab.take_seen().is_empty());
        // A forged packet from 127.0.0.1, and one from our own address.
        let raw = lab.open(1, AF_INET, SocketType::Raw, 255);
        for from in [[127, 0, 0, 1], [10, 0, 0, 1]] {
            let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
            packet.extend_from_slice(&from);
            packet.extend_from_slice(&[10, 0, 0, 1, 0, 5, 0, 53, 0, 9, 0, 0, 1]);
            send_to(&raw, &packet, "10.0.0.1:0").unwrap();
        }
        lab.pump();
        assert_eq!(receive(&server, 9), Err(Stop::WouldBlock));
    });
}
