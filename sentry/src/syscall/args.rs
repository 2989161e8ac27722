//! How the six argument registers become the types that handlers take.

use crate::user::{UserAddr, UserPtr};

/// A type that a handler may take as an argument.
pub trait FromArg: Sized {
    /// Reads a register as Linux does: arguments narrower than a register ignore its upper half.
    fn from_arg(register: u64) -> Self;
}

/// A file descriptor number as given; negative ones name no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl FromArg for u64 {
    fn from_arg(register: u64) -> Self {
        register
    }
}

impl FromArg for usize {
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits on x86-64")]
    fn from_arg(register: u64) -> Self {
        register as Self
    }
}

impl FromArg for i64 {
    fn from_arg(register: u64) -> Self {
        register.cast_signed()
    }
}

impl FromArg for u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the ABI ignores the upper half")]
    fn from_arg(register: u64) -> Self {
        register as Self
    }
}

impl FromArg for i32 {
    fn from_arg(register: u64) -> Self {
        u32::from_arg(register).cast_signed()
    }
}

impl FromArg for Fd {
    fn from_arg(register: u64) -> Self {
        Self(i32::from_arg(register))
    }
}

impl FromArg for UserAddr {
    fn from_arg(register: u64) -> Self {
        Self::new(register)
    }
}

impl<T> FromArg for UserPtr<T> {
    fn from_arg(register: u64) -> Self {
        Self::new(UserAddr::new(register))
    }
}
