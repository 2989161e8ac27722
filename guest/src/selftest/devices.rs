//! File channel and sockets against the VMM's devices.

use super::{check, check_eq, measure};
use crate::clock;
use crate::platform::Guest;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use chitin_proto::fuse::{InHeader, OutHeader, ROOT_ID, opcode};
use chitin_proto::vsock::{GUEST_CID, HOST_CID, Header, op};
use chitin_sentry::platform::{FuseChannel, Segment, VsockPort};
use zerocopy::{FromBytes, IntoBytes};

pub(super) fn run(sleeper: &Sleeper) {
    if let Some(channel) = Guest::get().fuse() {
        look_up(sleeper, channel);
    }
    if let Some(port) = Guest::get().vsock() {
        refused_connection(sleeper, port);
    }
    if let Some(card) = Guest::get().net(0) {
        super::card::run(sleeper, card);
    }
    if let Some(block) = Guest::get().block(0) {
        super::block::run(sleeper, block);
    }
}

fn request(opcode: u32, body: &[u8]) -> Vec<Segment> {
    let header = InHeader {
        len: (size_of::<InHeader>() + body.len()) as u32,
        opcode,
        unique: 77,
        node: ROOT_ID,
        ..InHeader::default()
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    vec![Segment::Bytes(bytes)]
}

fn look_up(sleeper: &Sleeper, channel: &dyn FuseChannel) {
    const ENOENT: i32 = -2;
    const ROUNDS: u64 = 20;
    let mut begin = 0;
    let mut answer = None;
    for round in 0..=ROUNDS {
        if round == 1 {
            begin = clock::now_ns();
        }
        answer = channel
            .call(sleeper, request(opcode::LOOKUP, b"no such share\0"), vec![Segment::Bytes(vec![0; 256])])
            .ok();
    }
    measure("fuse-round-trip", clock::now_ns() - begin, ROUNDS);
    let header = answer.as_ref().and_then(|answer| match answer.segments.first() {
        Some(Segment::Bytes(bytes)) => OutHeader::read_from_prefix(bytes).ok().map(|(header, _)| header),
        _ => None,
    });
    check_eq("fuse look-up of nothing", &header.map(|header| header.error), &Some(ENOENT));
    check_eq("fuse answer is for the request", &header.map(|header| header.unique), &Some(77));
    check_eq("fuse answer's length", &answer.map(|answer| answer.len), &Some(size_of::<OutHeader>()));
}

fn refused_connection(sleeper: &Sleeper, port: &dyn VsockPort) {
    let header = Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 5000,
        dst_port: 9,
        kind: 1,
        op: op::REQUEST,
        buf_alloc: 65536,
        ..Header::default()
    };
    check("vsock packet is queued", port.try_send(&header, &[]).is_some());
    let deadline = sleeper.now_ns() + 2_000_000_000;
    let mut payload = Vec::new();
    let mut found = None;
    while found.is_none() && sleeper.now_ns() < deadline {
        found = port.try_receive(&mut payload);
        sleeper.park(Some(sleeper.now_ns() + 1_000_000));
    }
    let found = found.map(|header| ({ header.op }, { header.dst_port }));
    check_eq("vsock connection to nothing is reset", &found, &Some((op::RST, 5000)));
}
