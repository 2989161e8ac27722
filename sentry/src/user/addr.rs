//! [`UserAddr`]: a user-space address with checked arithmetic.

use chitin_proto::layout::USER_END;

/// A user-space virtual address: any 64-bit value that user code may name. Nothing is known of what is mapped there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(u64);

impl UserAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Wraps a register value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether it is the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// `self + bytes`, `None` past the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - bytes`, `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Whether `len` bytes from here all lie in user space.
    #[must_use]
    pub const fn is_range(self, len: u64) -> bool {
        match self.0.checked_add(len) {
            Some(end) => end <= USER_END,
            None => false,
        }
    }

    /// Rounds down to a page.
    #[must_use]
    pub const fn page_down(self) -> Self {
        Self(self.0 & !0xfff)
    }

    /// Rounds up to a page, `None` past the end of the address space.
    #[must_use]
    pub const fn page_up(self) -> Option<Self> {
        match self.0.checked_add(0xfff) {
            Some(sum) => Some(Self(sum & !0xfff)),
            None => None,
        }
    }

    /// Offset in its page.
    #[must_use]
    pub const fn page_offset(self) -> usize {
        (self.0 & 0xfff) as usize
    }

    /// Whether it is the first byte of a page.
    #[must_use]
    pub const fn is_page_aligned(self) -> bool {
        self.0 & 0xfff == 0
    }
}

impl core::fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
