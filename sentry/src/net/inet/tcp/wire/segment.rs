//! [`Segment`]s: reading and writing headers and options (RFC 9293 section 3.1, RFC 7323, RFC 2018).

use super::super::super::checksum::Sum;
use super::super::super::ip::{self, Inbound};
use super::sequence::Seq;

/// Flags.
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;
const URG: u8 = 32;

/// Longest header.
pub(super) const MAX_HEADER: usize = 60;
/// Blocks of a SACK option, at most.
pub(super) const MAX_BLOCKS: usize = 4;
/// Greatest window scale (RFC 7323, section 2.3).
const MAX_SCALE: u8 = 14;

/// What options say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack_ok: bool,
    /// Value, and the echo of the last one from here.
    pub(super) stamps: Option<(u32, u32)>,
    pub(super) blocks: [(Seq, Seq); MAX_BLOCKS],
    pub(super) block_count: usize,
}

/// A segment that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// The urgent pointer, when it counts.
    pub(super) urgent: Option<u16>,
    pub(super) options: Options,
    pub(super) data: &'a [u8],
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    ip::parse::long(bytes, at)
}

fn read_options(mut bytes: &[u8]) -> Options {
    let mut found = Options::default();
    loop {
        match bytes {
            [] | [0, ..] => return found,
            [1, rest @ ..] => bytes = rest,
            [kind, len, ..] => {
                let Some(body) = bytes.get(2..usize::from(*len)) else { return found };
                match (kind, body) {
                    (2, [high, low]) => found.mss = Some(u16::from_be_bytes([*high, *low])),
                    (3, [scale]) => found.scale = Some((*scale).min(MAX_SCALE)),
                    (4, []) => found.sack_ok = true,
                    (5, blocks) if blocks.len().is_multiple_of(8) => {
                        for (to, block) in found.blocks.iter_mut().zip(blocks.chunks_exact(8)) {
                            if let (Some(from), Some(end)) = (long(block, 0), long(block, 4)) {
                                *to = (Seq(from), Seq(end));
                                found.block_count += 1;
                            }
                        }
                    }
                    (8, _) if body.len() == 8 => found.stamps = long(body, 0).zip(long(body, 4)),
                    _ => {}
                }
                bytes = bytes.get(usize::from(*len)..).unwrap_or_default();
            }
            [_] => return found,
        }
    }
}

impl<'a> Segment<'a> {
    /// Reads the segment of a packet, whose checksum must be right unless the card vouches for it.
    pub(super) fn read(packet: &Inbound<'a>, trusts: bool) -> Option<Self> {
        let bytes = packet.payload;
        let header = bytes.first_chunk::<20>()?;
        let len = usize::from(header[12] >> 4) * 4;
        let options = bytes.get(20..len)?;
        if !trusts && Sum::pseudo(packet.from, packet.to, ip::TCP, bytes.len()).add(bytes).finish() != 0 {
            return None;
        }
        Some(Self {
            from: u16::from_be_bytes([header[0], header[1]]),
            to: u16::from_be_bytes([header[2], header[3]]),
            seq: Seq(long(bytes, 4)?),
            ack: Seq(long(bytes, 8)?),
            flags: header[13] & 0x3f,
            window: u16::from_be_bytes([header[14], header[15]]),
            urgent: (header[13] & URG != 0).then(|| u16::from_be_bytes([header[18], header[19]])),
            options: read_options(options),
            data: bytes.get(len..)?,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Numbers that it takes: of its bytes, SYN and FIN.
    pub(super) fn len(&self) -> usize {
        self.data.len() + usize::from(self.has(SYN)) + usize::from(self.has(FIN))
    }
}

/// A header in the making.
pub(super) struct Header {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Header {
    pub(super) fn new(ports: (u16, u16), seq: Seq, ack: Option<Seq>, flags: u8, window: u16) -> Self {
        let mut header = Self { bytes: [0; MAX_HEADER], len: 0 };
        let flags = flags | if ack.is_some() { ACK } else { 0 };
        header.put(&ports.0.to_be_bytes());
        header.put(&ports.1.to_be_bytes());
        header.put(&seq.0.to_be_bytes());
        header.put(&ack.unwrap_or_default().0.to_be_bytes());
        header.put(&[0, flags]);
        header.put(&window.to_be_bytes());
        header.put(&[0; 4]);
        header
    }

    /// Adds bytes, as long as there is room.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Tells of urgent data.
    pub(super) fn put_urgent(&mut self, pointer: u16) {
        let [high, low] = pointer.to_be_bytes();
        self.bytes[13] |= URG;
        (self.bytes[18], self.bytes[19]) = (high, low);
    }

    /// Room that is left for options.
    pub(super) fn room(&self) -> usize {
        MAX_HEADER - self.len
    }

    /// The time stamps option.
    pub(super) fn put_stamps(&mut self, value: u32, echo: u32) {
        self.put(&[1, 1, 8, 10]);
        self.put(&value.to_be_bytes());
        self.put(&echo.to_be_bytes());
    }

    /// The SACK option.
    pub(super) fn put_blocks(&mut self, blocks: impl Iterator<Item = (Seq, Seq)>) {
        let most = self.room().saturating_sub(4) / 8;
        let start = self.len;
        self.put(&[1, 1, 5, 2]);
        let mut count = 0u8;
        for (from, end) in blocks.take(most.min(MAX_BLOCKS)) {
            self.put(&from.0.to_be_bytes());
            self.put(&end.0.to_be_bytes());
            count += 1;
        }
        if count == 0 {
            self.len = start;
        } else if let Some(len) = self.bytes.get_mut(start + 3) {
            *len = 2 + count * 8;
        }
    }

    /// Fills in the length, and the field of the checksum with `sum`.
    pub(super) fn seal(&mut self, sum: impl FnOnce(&[u8]) -> u16) -> &[u8] {
        self.len = self.len.next_multiple_of(4);
        let words = u8::try_from(self.len / 4).unwrap_or(5);
        self.bytes[12] = words << 4;
        let sum = sum(self.bytes.get(..self.len).unwrap_or_default()).to_be_bytes();
        (self.bytes[16], self.bytes[17]) = (sum[0], sum[1]);
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.len.next_multiple_of(4)
    }
}
