//! Wire types and constants of the Linux x86-64 ABI; no logic.

pub mod errno;
pub mod file;
pub mod time;
pub mod version;

pub use errno::Errno;
