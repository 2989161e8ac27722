//! Files in memory that have no name in any tree (memfd_create(2)), and their seals (fcntl(2), "File Sealing").

/// No more seals (`F_SEAL_SEAL`).
pub const SEAL_SEAL: u32 = 1;
/// The file cannot shrink.
pub const SEAL_SHRINK: u32 = 2;
/// The file cannot grow.
pub const SEAL_GROW: u32 = 4;
/// The contents cannot change.
pub const SEAL_WRITE: u32 = 8;
/// Only mappings that are there may change the contents.
pub const SEAL_FUTURE_WRITE: u32 = 16;
/// The permission to execute cannot change.
pub const SEAL_EXEC: u32 = 32;
