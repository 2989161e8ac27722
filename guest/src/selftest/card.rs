//! The first network card against the host, which is to have 10.99.0.1 and an MTU of 9000 at its other end.

use super::{check, check_eq, measure};
use crate::clock;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use chitin_sentry::platform::{NetPort, Offload};

const HOST: [u8; 4] = [10, 99, 0, 1];
const OURS: [u8; 4] = [10, 99, 0, 2];
const IP: usize = 14;
const ICMP: usize = IP + 20;

pub(super) fn run(sleeper: &Sleeper, card: &dyn NetPort) {
    check_eq("card's address", &card.mac(), &[2, 0, 0, 0, 0, 1]);
    check_eq("card's MTU", &card.mtu(), &9000);
    check("card offloads", card.can_offload());
    let Some(host) = resolve(sleeper, card) else { return check("ARP reply", false) };
    check("ARP reply", true);
    let header = [&host[..], &card.mac(), &[8, 0]].concat();
    for len in [56, 4000, 8972] {
        let sent = echo_request(&header, 7, len);
        let offload = Offload { checksum_start: Some(ICMP as u16), checksum_offset: 2, ..Offload::default() };
        check("echo request is queued", card.try_send(&[&sent[..ICMP], &sent[ICMP..]], offload).is_some());
        card.flush();
        let answer = wait(sleeper, card, |frame| frame.get(ICMP) == Some(&0));
        let answer = answer.unwrap_or_default();
        check_eq("echo reply is as long", &answer.len(), &sent.len());
        check("echo reply's payload", answer.get(ICMP + 4..) == sent.get(ICMP + 4..));
    }
    burst(sleeper, card, &header);
}

/// More frames than the ring has room for, and as many answers.
fn burst(sleeper: &Sleeper, card: &dyn NetPort, header: &[u8]) {
    const COUNT: u16 = 2000;
    let (mut sent, mut received) = (0, 0);
    let mut frame = Vec::new();
    let begin = clock::now_ns();
    while received < COUNT && clock::now_ns() - begin < 20_000_000_000 {
        let mut moved = false;
        while sent < COUNT && sent - received < 200 {
            let mut request = echo_request(header, sent, 56);
            let sum = checksum(&request[ICMP..]);
            request[ICMP + 2..ICMP + 4].copy_from_slice(&sum.to_be_bytes());
            if card.try_send(&[&request], Offload::default()).is_none() {
                break;
            }
            sent += 1;
            moved = true;
        }
        card.flush();
        while card.try_receive(&mut frame).is_some() {
            received += u16::from(frame.get(ICMP) == Some(&0));
            moved = true;
        }
        if !moved {
            sleeper.park(Some(sleeper.now_ns() + 1_000_000));
        }
    }
    measure("echo-in-a-burst", clock::now_ns() - begin, u64::from(received.max(1)));
    check_eq("a burst is answered", &received, &COUNT);
}

fn resolve(sleeper: &Sleeper, card: &dyn NetPort) -> Option<[u8; 6]> {
    let mac = card.mac();
    let mut request = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &OURS].concat();
    request.extend_from_slice(&[0; 6]);
    request.extend_from_slice(&HOST);
    card.try_send(&[&request], Offload::default())?;
    card.flush();
    let reply = wait(sleeper, card, |frame| frame.get(12..14) == Some(&[8, 6]) && frame.get(21) == Some(&2));
    reply?.get(6..)?.first_chunk().copied()
}

/// The next frame that `wanted` takes.
fn wait(sleeper: &Sleeper, card: &dyn NetPort, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let deadline = sleeper.now_ns() + 5_000_000_000;
    let mut frame = Vec::new();
    while sleeper.now_ns() < deadline {
        if card.try_receive(&mut frame).is_none() {
            sleeper.park(Some(sleeper.now_ns() + 1_000_000));
        } else if wanted(&frame) {
            return Some(frame);
        }
    }
    None
}

/// An echo request with `len` bytes of payload; its checksum is not there yet.
fn echo_request(header: &[u8], sequence: u16, len: usize) -> Vec<u8> {
    let total = (len + 28) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip.extend_from_slice(&OURS);
    ip.extend_from_slice(&HOST);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    let mut frame = [header, &ip, &[8, 0, 0, 0, 0, 1], &sequence.to_be_bytes()].concat();
    frame.extend((0..len).map(|at| at as u8));
    frame
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
