//! Frames that are almost right: every kind of frame that the stack takes, changed at random. Nothing may panic, and what
//! they make it keep stays bounded.

use super::stream::pattern;
use super::*;

/// Frames of each kind tried; with the seed in `CHITIN_FUZZ_ROUNDS` more.
const ROUNDS: usize = 60_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }
}

/// Changes a frame: bits, interesting bytes, its length, parts of others.
fn change(random: &mut Random, frame: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.below(4) {
        let reach = if random.below(4) == 0 { usize::MAX } else { 80 };
        let at = random.below(frame.len().min(reach));
        match random.below(9) {
            0..=2 => frame[at] ^= 1 << random.below(8),
            3 | 4 => frame[at] = [0, 1, 4, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xff, 44, 58, 6][random.below(12)],
            5 => frame.truncate(at.max(1)),
            6 => frame.extend_from_slice(&pattern(random.below(40))),
            7 => {
                let other = &others[random.below(others.len())];
                let len = random.below(other.len().min(frame.len() - at) + 1);
                frame[at..at + len].copy_from_slice(&other[other.len() - len..]);
            }
            _ => {
                let value =
                    [0u16, 1, 7, 8, 20, 0x2000, 0x1fff, 0x3fff, 0xffff][random.below(9)].to_be_bytes();
                let end = (at + 2).min(frame.len());
                frame[at..end].copy_from_slice(&value[..end - at]);
            }
        }
    }
}

/// Makes checksums right again, so that what is behind them is reached.
fn seal(frame: &mut [u8]) {
    let Some(parsed) = ip::parse::parse(&frame[14..], true) else { return };
    let (from, to, protocol) = (parsed.from, parsed.to, parsed.protocol);
    let is_part = parsed.fragment.is_some();
    let (total, payload) = (parsed.whole.len(), parsed.payload.len());
    let start = 14 + total - payload;
    if from.is_ipv4() {
        let head = (usize::from(frame[14] & 15) * 4).min(total);
        if head >= 20 {
            frame[24..26].fill(0);
            let sum = checksum::Sum::new().add(&frame[14..14 + head]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
    let place = match protocol {
        1 | 58 => 2,
        6 => 16,
        17 => 6,
        _ => return,
    };
    if is_part || payload < place + 2 {
        return;
    }
    let field = start + place..start + place + 2;
    frame[field.clone()].fill(0);
    let body = &frame[start..14 + total];
    let sum = if protocol == 1 {
        checksum::Sum::new().add(body)
    } else {
        checksum::Sum::pseudo(from, to, protocol, body.len()).add(body)
    };
    frame[field].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Frames of all kinds, as two hosts exchange them.
fn collect(lab: &Lab, sleeper: &Sleeper) -> Vec<Vec<u8>> {
    let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
    let (client6, server6, _listener6) = lab.pair(sleeper, "[fd00::2]:81");
    lab.faults(Faults { lost: 100, ..Faults::default() });
    let data = pattern(30_000);
    for (from, to) in [(&client, &server), (&server, &client), (&client6, &server6), (&server6, &client6)] {
        lab.carry(sleeper, from, to, &data, 10 * SECOND);
    }
    lab.faults(Faults::default());
    for (host, other, family) in [(0, 2, AF_INET), (1, 1, AF_INET), (0, 2, AF_INET6), (1, 1, AF_INET6)] {
        let to = |port: u16| match family {
            AF_INET => std::format!("10.0.0.{other}:{port}"),
            _ => std::format!("[fd00::{other}]:{port}"),
        };
        let udp = lab.open(host, family, SocketType::Datagram, 0);
        for len in [0usize, 100, 3000] {
            let _ = send_to(&udp, &data[..len], &to(9));
        }
        let (protocol, kind) = if family == AF_INET { (ICMP, 8) } else { (ICMPV6, 128) };
        let ping = lab.open(host, family, SocketType::Datagram, protocol);
        for len in [8usize, 2500] {
            let mut request = data[..len].to_vec();
            request[..2].copy_from_slice(&[kind, 0]);
            let _ = send_to(&ping, &request, &to(0));
        }
        lab.pump();
    }
    client.released();
    server.released();
    lab.run(sleeper, SECOND);
    lab.take_seen()
}

#[test]
fn frames_that_are_almost_right_do_no_harm() {
    check(|sleeper| {
        let rounds =
            std::env::var("CHITIN_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
        let seeds = collect(&Lab::new(2), sleeper);
        assert!(seeds.len() > 100, "{}", seeds.len());
        let lab = Lab::new(2);
        let (client, server, _listener) = lab.pair(sleeper, "10.0.0.2:80");
        let (_six, _six_server, _listener6) = lab.pair(sleeper, "[fd00::2]:81");
        let sockets = [lab.udp(0), lab.udp(1)];
        sockets[0].bind(&at("0.0.0.0:9")).unwrap();
        sockets[1].bind(&at("0.0.0.0:9")).unwrap();
        let raw = lab.open(0, AF_INET, SocketType::Raw, ICMP);
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut frame = Vec::new();
        for round in 0..rounds {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            change(&mut random, &mut bytes, &seeds);
            let to = random.below(2);
            if bytes.len() > 40 {
                bytes[..6].copy_from_slice(&if random.below(9) == 0 { [0xff; 6] } else { mac(to) });
                if random.below(4) != 0 {
                    seal(&mut bytes);
                }
            }
            let offload = match random.below(6) {
                0 => Offload { is_verified: true, ..Offload::default() },
                1 => Offload { checksum_start: Some(34), checksum_offset: 6, ..Offload::default() },
                _ => Offload::default(),
            };
            lab.wire.0.lock().unwrap().inboxes[to].push_back((bytes, offload));
            while lab.hosts[to].card.take_frames(&mut frame) == Batch::Full {}
            if round % 64 == 0 {
                // Answers are seldom delivered: they are no part of what is tried.
                lab.wire.0.lock().unwrap().flying.clear();
            }
            if round % 1000 == 0 {
                lab.run(sleeper, SECOND / 2);
                lab.take_seen();
                while receive(&raw, 1).is_ok() {}
            }
        }
        lab.run(sleeper, 2 * SECOND);
        for host in &lab.hosts {
            let (packets, bytes) = host.stack.reassembly.figures();
            let (entries, waiting) = host.card.neighbour_figures();
            assert!(packets <= 64 && bytes <= 1 << 20 && entries <= 1024 && waiting <= 512 << 10);
            assert!(host.stack.tcp.wire.all().len() < 40);
            assert!(host.budget.used() < 1000, "{} pages", host.budget.used());
        }
        // The stack still works.
        let listener = lab.listener(1, "10.0.0.2:4444", 5);
        lab.hosts[0].card.set_neighbour("10.0.0.2".parse().unwrap(), mac(1));
        lab.hosts[1].card.set_neighbour("10.0.0.1".parse().unwrap(), mac(0));
        let fresh = lab.tcp(0);
        lab.connect(sleeper, &fresh, "10.0.0.2:4444").unwrap();
        lab.pump();
        let accepted = listener.try_accept().unwrap();
        let data = pattern(200_000);
        assert!(lab.carry(sleeper, &fresh, &accepted, &data, 30 * SECOND) == data);
        drop((client, server));
    });
}
