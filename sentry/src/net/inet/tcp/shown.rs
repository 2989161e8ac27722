//! The segments that would go over loopback for a connection within the sandbox, made for packet and raw sockets only while
//! there are some: its numbers are those of a connection that loses nothing.

use super::super::Stack;
use super::super::checksum::Sum;
use super::super::endpoint::Endpoint;
use super::super::frame::Label;
use super::super::ip;
use super::table::Tuple;
use super::{Near, Tcp};

/// Flags.
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// Bytes of one segment at most.
pub(super) const MOST: usize = 65_483;
/// What a SYN says: the segment size, no operation, a window scale of 7.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0xff, 0xd7, 1, 3, 3, 7];
/// The window that is told.
const WINDOW: u16 = 512;

/// A segment.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) tuple: Tuple,
    /// Number of its first byte, and of the next one that is expected.
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) data: &'a [u8],
}

/// Where the numbers of one direction begin.
pub(super) fn start(from: Endpoint, to: Endpoint) -> u32 {
    (u32::from(from.port) << 16 | u32::from(to.port)).wrapping_mul(0x9e37_79b1)
}

/// The low bits of a count of bytes.
fn low(count: u64) -> u32 {
    u32::try_from(count & 0xffff_ffff).unwrap_or(0)
}

impl Stack {
    /// Shows a segment.
    pub(super) fn show_segment(&self, shown: &Shown<'_>) {
        let (from, to) = shown.tuple;
        let options: &[u8] = if shown.flags & SYN != 0 { &SYN_OPTIONS } else { &[] };
        let mut header = [0; 20];
        let words = [from.port.to_be_bytes(), to.port.to_be_bytes()];
        let numbers = [shown.seq.to_be_bytes(), shown.ack.to_be_bytes()];
        let len = u8::try_from((header.len() + options.len()) / 4).unwrap_or(5) << 4;
        let rest = [len, shown.flags, WINDOW.to_be_bytes()[0], WINDOW.to_be_bytes()[1]];
        let fields = words.as_flattened().iter().chain(numbers.as_flattened()).chain(&rest);
        header.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
        let total = header.len() + options.len() + shown.data.len();
        let sum = Sum::pseudo(from.ip, to.ip, ip::TCP, total);
        let sum = sum.add(&header).add(options).add(shown.data).finish();
        [header[16], header[17]] = sum.to_be_bytes();
        let label = Label { from, to, protocol: ip::TCP, ttl: 64, tos: 0 };
        self.show_to_all(&label, &[&header, options, shown.data]);
    }

    /// Shows how a connection from `tuple.0` to `tuple.1` comes about.
    pub(super) fn show_handshake(&self, tuple: Tuple) {
        let (client, server) = tuple;
        let (one, other) = (start(client, server), start(server, client));
        let first = Shown { tuple, seq: one, ack: 0, flags: SYN, data: &[] };
        self.show_segment(&first);
        let ack = one.wrapping_add(1);
        self.show_segment(&Shown { tuple: (server, client), seq: other, ack, flags: SYN | ACK, data: &[] });
        self.show_segment(&Shown { tuple, seq: ack, ack: other.wrapping_add(1), flags: ACK, data: &[] });
    }

    /// Shows that nobody takes a connection.
    pub(super) fn show_refusal(&self, tuple: Tuple) {
        let seq = start(tuple.0, tuple.1);
        self.show_segment(&Shown { tuple, seq, ack: 0, flags: SYN, data: &[] });
        let (ack, tuple) = (seq.wrapping_add(1), (tuple.1, tuple.0));
        self.show_segment(&Shown { tuple, seq: 0, ack, flags: RST | ACK, data: &[] });
    }
}

impl Near {
    /// Numbers of what this side sends next and expects next.
    fn numbers(&self, (own, other): Tuple) -> (u32, u32) {
        let next = |from, to, flow: &super::Flow| {
            let fin = u32::from(flow.ended().0);
            start(from, to).wrapping_add(1).wrapping_add(low(flow.figures().written)).wrapping_add(fin)
        };
        (next(own, other, &self.tx), next(other, own, &self.rx))
    }

    /// Shows bytes that this side sends from its byte `at` on, and that they are acknowledged.
    pub(super) fn show_data(&self, socket: &Tcp, tuple: Tuple, (at, ack): (u64, u32), bytes: &[u8]) {
        let stack = &socket.base.stack;
        let mut seq = start(tuple.0, tuple.1).wrapping_add(1).wrapping_add(low(at));
        for data in bytes.chunks(MOST) {
            stack.show_segment(&Shown { tuple, seq, ack, flags: PSH | ACK, data });
            seq = seq.wrapping_add(u32::try_from(data.len()).unwrap_or(0));
        }
        let back = Shown { tuple: (tuple.1, tuple.0), seq: ack, ack: seq, flags: ACK, data: &[] };
        stack.show_segment(&back);
    }

    /// The number that this side expects next.
    pub(super) fn expected(&self, tuple: Tuple) -> u32 {
        self.numbers(tuple).1
    }

    /// Shows this side's end, or with `flags` of `RST` its reset, before it is noted.
    pub(super) fn show_end(&self, socket: &Tcp, flags: u8) {
        let Some(side) = self.pair.sides.get(self.index) else { return };
        let (tuple, stack) = (side.tuple, &socket.base.stack);
        let (seq, ack) = self.numbers(tuple);
        stack.show_segment(&Shown { tuple, seq, ack, flags: flags | ACK, data: &[] });
        if flags == FIN {
            let back = Shown {
                tuple: (tuple.1, tuple.0),
                seq: ack,
                ack: seq.wrapping_add(1),
                flags: ACK,
                data: &[],
            };
            stack.show_segment(&back);
        }
    }
}
