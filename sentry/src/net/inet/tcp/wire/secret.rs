//! [`Secret`]: keyed hashes that nobody outside can foretell: initial numbers (RFC 6528), time stamp offsets, SYN cookies
//! (RFC 4987), and places in the table of connections.

use super::super::table::Tuple;
use super::segment::Segment;
use super::sequence::Seq;
use crate::platform;
use core::hash::{BuildHasher, Hash};

/// Segment sizes that a cookie can tell.
const SIZES: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8960];
/// How often the time in cookies ticks: 64 s.
const TICK_NS: u64 = 64_000_000_000;

/// A key.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::inet) struct Secret(u64, u64);

impl Secret {
    pub(super) fn new() -> Self {
        let mut bytes = [0; 16];
        platform::get().entropy(&mut bytes);
        let (low, high) = bytes.split_at(8);
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        Self(word(low), word(high))
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.hash_one(what)
    }

    fn low(&self, what: impl Hash) -> u32 {
        u32::try_from(self.hash(what) & 0xffff_ffff).unwrap_or(0)
    }

    /// Which of `count` parts of a table a tuple is in.
    pub(super) fn part(&self, tuple: &Tuple, count: usize) -> usize {
        usize::try_from(self.hash(tuple) >> 32).unwrap_or(0) % count
    }

    /// The initial number of a connection: 4 microseconds a step, from a place of its own.
    pub(super) fn initial(&self, tuple: &Tuple, now_ns: u64) -> u32 {
        let clock = u32::try_from((now_ns / 4096) & 0xffff_ffff).unwrap_or(0);
        self.low((1u8, tuple)).wrapping_add(clock)
    }

    /// Where the clock of a connection's time stamps begins.
    pub(super) fn stamp_offset(&self, tuple: &Tuple) -> u32 {
        self.low((2u8, tuple))
    }

    /// The initial number that says all that a half-open connection needs: 5 bits of time, 3 of the segment size, 24 of hash.
    pub(super) fn cookie(&self, tuple: &Tuple, theirs: Seq, mss: u16, now_ns: u64) -> u32 {
        let size = SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0);
        self.make_cookie(tuple, theirs, size, now_ns / TICK_NS)
    }

    fn make_cookie(&self, tuple: &Tuple, theirs: Seq, size: usize, tick: u64) -> u32 {
        let hash = self.low((3u8, tuple, theirs.0, size, tick)) & 0xff_ffff;
        let tick = u32::try_from(tick & 31).unwrap_or(0);
        tick << 27 | u32::try_from(size & 7).unwrap_or(0) << 24 | hash
    }

    /// The segment size that a cookie which comes back tells, if it is ours and not too old.
    pub(super) fn check_cookie(&self, tuple: &Tuple, segment: &Segment<'_>, now_ns: u64) -> Option<u16> {
        let cookie = segment.ack.before_it().0;
        let theirs = segment.seq.before_it();
        let size = usize::try_from(cookie >> 24 & 7).unwrap_or(0);
        let tick = now_ns / TICK_NS;
        let is_ours = |tick: u64| self.make_cookie(tuple, theirs, size, tick) == cookie;
        (is_ours(tick) || is_ours(tick.wrapping_sub(1))).then(|| SIZES.get(size).copied()).flatten()
    }
}

impl BuildHasher for Secret {
    #[expect(
        deprecated,
        reason = "SipHash 2-4 is what is wanted here, not whatever hash maps use by default"
    )]
    type Hasher = core::hash::SipHasher;

    #[expect(deprecated, reason = "as above")]
    fn build_hasher(&self) -> Self::Hasher {
        core::hash::SipHasher::new_with_keys(self.0, self.1)
    }
}
