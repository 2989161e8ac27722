//! [`Seq`]: numbers of the bytes of a stream, which wrap around (RFC 9293, section 3.4).

/// Number of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Seq(pub(super) u32);

impl Seq {
    /// So many bytes further.
    pub(super) fn plus(self, bytes: usize) -> Self {
        // Lengths of buffers are far below 2^31; the low bits are what counts.
        Self(self.0.wrapping_add(u32::try_from(bytes & 0xffff_ffff).unwrap_or(0)))
    }

    /// One byte less.
    pub(super) fn before_it(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// Bytes from `other` up to this one; meaningless when it comes before.
    pub(super) fn since(self, other: Self) -> usize {
        usize::try_from(self.0.wrapping_sub(other.0)).unwrap_or(0)
    }

    /// Whether it comes after `other`.
    pub(super) fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// Whether it comes before `other`.
    pub(super) fn is_before(self, other: Self) -> bool {
        other.is_after(self)
    }

    /// The later one.
    pub(super) fn max(self, other: Self) -> Self {
        if self.is_after(other) { self } else { other }
    }

    /// The earlier one.
    pub(super) fn min(self, other: Self) -> Self {
        if self.is_after(other) { other } else { self }
    }
}
