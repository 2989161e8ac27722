//! What files without a name have in common: inode numbers and attributes of pipes, sockets, eventfds and their like.

use crate::fs::Attr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Device number that fstat(2) tells for all of them.
const DEVICE: u64 = 0xe;

static NEXT_INO: AtomicU64 = AtomicU64::new(1);

/// An inode number that no other nameless file has had.
#[must_use]
pub fn next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}

/// Attributes of a nameless file; `mode` has type and permission bits.
#[must_use]
pub fn attr(ino: u64, mode: u32) -> Attr {
    Attr { dev: DEVICE, ino, mode, nlink: 1, blksize: 4096, ..Attr::default() }
}
