//! [`OpenFile`]: an open file description (open(2)).

use crate::fs::node::OpenState;
use crate::fs::{Node, Stream};
use alloc::sync::Arc;
use chitin_core::sleep::SleepLock;
use core::sync::atomic::{AtomicU32, Ordering};

/// What stands behind an open file.
pub enum FileBody {
    /// A file or directory of a file system; with the state of this open.
    Node(Arc<Node>, OpenState),
    /// A stream; with the node it was opened by, if there is one (FIFO, device).
    Stream(Arc<dyn Stream>, Option<Arc<Node>>),
    /// `O_PATH`.
    Path(Arc<Node>),
}

/// An open file description, shared by descriptors that were duplicated or inherited.
pub struct OpenFile {
    body: FileBody,
    flags: AtomicU32,
    /// Offset of the next read or write, or position in a directory.
    pub position: SleepLock<u64>,
}

impl OpenFile {
    /// A description with the `O_*` flags that fcntl(F_GETFL) tells.
    #[must_use]
    pub fn new(body: FileBody, flags: u32) -> Arc<Self> {
        Arc::new(Self { body, flags: AtomicU32::new(flags), position: SleepLock::new(0) })
    }

    /// What stands behind it.
    #[must_use]
    pub fn body(&self) -> &FileBody {
        &self.body
    }

    /// `O_*` flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the changeable flags (F_SETFL).
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let FileBody::Stream(stream, _) = &self.body {
            stream.released();
        }
    }
}
