//! [`Sum`]: the internet checksum (RFC 1071), over several parts.

use core::net::IpAddr;

/// A checksum in the making.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: u64,
    /// The parts so far have an odd length.
    is_odd: bool,
}

impl Sum {
    /// Of nothing.
    pub(super) const fn new() -> Self {
        Self { sum: 0, is_odd: false }
    }

    /// Of what came before and these bytes.
    #[must_use]
    pub(super) fn add(mut self, bytes: &[u8]) -> Self {
        let mut bytes = bytes;
        if self.is_odd
            && let Some((first, rest)) = bytes.split_first()
        {
            self.sum += u64::from(*first);
            self.is_odd = false;
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.sum += u64::from(u32::from_be_bytes(*word));
        }
        let (pairs, last) = rest.as_chunks::<2>();
        for pair in pairs {
            self.sum += u64::from(u16::from_be_bytes(*pair));
        }
        if let [last] = last {
            self.sum += u64::from(*last) << 8;
            self.is_odd = true;
        }
        // Far from overflow: a packet has 2^16 bytes, and a sum is folded after each part.
        self.sum = (self.sum & 0xffff_ffff) + (self.sum >> 32);
        self
    }

    /// Of the pseudo header of TCP, UDP and ICMPv6.
    #[must_use]
    pub(super) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> Self {
        let sum = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Self::new().add(&from.octets()).add(&to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => Self::new().add(&from.octets()).add(&to.octets()),
            _ => Self::new(),
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        sum.add(&len.to_be_bytes()).add(&[0, protocol])
    }

    /// The sum without the last complement: what a card that fills the checksum in starts from.
    pub(super) fn partial(self) -> u16 {
        let mut sum = self.sum;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap_or(0)
    }

    /// The checksum; over bytes that hold a right one it is 0.
    pub(super) fn finish(self) -> u16 {
        !self.partial()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_sum_as_the_whole_does() {
        let bytes: std::vec::Vec<u8> = (0..255u8).collect();
        let whole = Sum::new().add(&bytes).finish();
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(Sum::new().add(first).add(second).finish(), whole);
        }
        // The example of RFC 1071, section 3.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().add(&example).partial(), 0xddf2);
    }
}
