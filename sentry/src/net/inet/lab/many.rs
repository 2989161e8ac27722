//! Many connections: memory of each, and work per packet.

use super::*;
use crate::wait::PollMask;
use std::time::Instant;

/// Connections; with `CHITIN_CONNECTIONS` as many as that says.
const COUNT: usize = 1000;

#[test]
fn many_connections_cost_no_more_each_than_few() {
    check(|sleeper| {
        let wanted = std::env::var("CHITIN_CONNECTIONS").ok().and_then(|count| count.parse().ok());
        let count: usize = wanted.unwrap_or(COUNT);
        let lab = Lab::new(2);
        let listener = lab.listener(1, "10.0.0.2:80", 4096);
        let start = Instant::now();
        let mut pairs = Vec::new();
        for _ in 0..count {
            let client = lab.tcp(0);
            let _ = client.try_connect(&at("10.0.0.2:80"), ME);
            lab.pump();
            assert!(client.poll(None).contains(PollMask::OUT));
            pairs.push((client, listener.try_accept().unwrap()));
        }
        let opened = start.elapsed();
        lab.run(sleeper, SECOND);
        // Nothing waits: no page is held.
        let pages = lab.hosts[0].budget.used() + lab.hosts[1].budget.used();
        assert_eq!(pages, 0);
        lab.take_seen();
        lab.wire.0.lock().unwrap().sent = 0;
        let start = Instant::now();
        let rounds = 20_000usize;
        for round in 0..rounds {
            let (client, server) = &pairs[round * 7919 % count];
            send(client, b"0123456789012345678901234567890123456789").unwrap();
            lab.pump();
            receive(server, 99).unwrap();
            send(server, b"0123456789012345678901234567890123456789").unwrap();
            lab.pump();
            receive(client, 99).unwrap();
        }
        let took = start.elapsed();
        let packets = lab.wire.0.lock().unwrap().sent;
        std::println!(
            "{count} connections: engine {} bytes, opened in {} us each, {} ns a request and answer, {} packets each",
            size_of::<tcp::Engine>(),
            opened.as_micros() / count as u128,
            took.as_nanos() / rounds as u128,
            packets / rounds
        );
        assert!(size_of::<tcp::Engine>() < 1536);
        for (client, server) in pairs {
            client.released();
            lab.pump();
            server.released();
        }
        lab.run(sleeper, SECOND);
        assert!(lab.hosts[1].stack.tcp.wire.all().is_empty());
    });
}
