//! [`FsContext`]: root, working directory and umask of a process (`CLONE_FS`).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

/// What path look-ups of a process start from.
pub struct FsContext {
    umask: AtomicU32,
}

impl FsContext {
    /// A context of its own with the same contents (fork(2)).
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self { umask: AtomicU32::new(self.umask()) })
    }

    /// File mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the mask; returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask & 0o777, Ordering::Relaxed)
    }
}
