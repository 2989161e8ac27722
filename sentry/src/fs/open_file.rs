//! [`OpenFile`]: an open file description (open(2)).

use crate::fs::async_io::AsyncIo;
use crate::fs::node::OpenState;
use crate::fs::node_state::WriteAccess;
use crate::fs::notify::{self, Mask};
use crate::fs::stream::StreamKind;
use crate::fs::{Node, Path, Stream, path};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::SleepLock;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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
    stream_kind: StreamKind,
    flags: AtomicU32,
    path: Option<Path>,
    write_access: Option<WriteAccess>,
    /// Who gets signals when it becomes ready.
    pub async_io: AsyncIo,
    /// A flock(2) or OFD lock was set through it.
    locked: AtomicBool,
    /// Signals were asked for when something happens in the directory.
    rings: AtomicBool,
    /// Offset of the next read or write, or position in a directory.
    pub position: SleepLock<u64>,
}

/// `O_ACCMODE`.
const ACCESS_MODE: u32 = 3;

impl OpenFile {
    /// A description that no path leads to, with the `O_*` flags that fcntl(F_GETFL) tells.
    #[must_use]
    pub fn new(body: FileBody, flags: u32) -> Arc<Self> {
        Self::build(body, flags, None, None)
    }

    /// A description of what `path` leads to.
    #[must_use]
    pub fn at(body: FileBody, flags: u32, path: Path) -> Arc<Self> {
        Self::build(body, flags, Some(path), None)
    }

    /// As [`OpenFile::at`], holding the right to write to the file.
    #[must_use]
    pub fn at_writable(body: FileBody, flags: u32, path: Path, access: Option<WriteAccess>) -> Arc<Self> {
        Self::build(body, flags, Some(path), access)
    }

    fn build(body: FileBody, flags: u32, path: Option<Path>, write_access: Option<WriteAccess>) -> Arc<Self> {
        let stream_kind = match &body {
            FileBody::Stream(stream, _) => stream.kind(),
            FileBody::Node(..) | FileBody::Path(_) => StreamKind::Plain,
        };
        Arc::new(Self {
            body,
            stream_kind,
            flags: AtomicU32::new(flags),
            path,
            write_access,
            async_io: AsyncIo::new(),
            locked: AtomicBool::new(false),
            rings: AtomicBool::new(false),
            position: SleepLock::new(0),
        })
    }

    /// What stands behind it.
    #[must_use]
    pub fn body(&self) -> &FileBody {
        &self.body
    }

    /// What its stream is to system calls; [`StreamKind::Plain`] when it is none.
    #[must_use]
    pub fn stream_kind(&self) -> StreamKind {
        self.stream_kind
    }

    /// The node, unless it is a stream without one.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<Node>> {
        match &self.body {
            FileBody::Node(node, _) | FileBody::Path(node) => Some(node),
            FileBody::Stream(_, node) => node.as_ref(),
        }
    }

    /// The stream, if it is one.
    #[must_use]
    pub fn stream(&self) -> Option<&Arc<dyn Stream>> {
        match &self.body {
            FileBody::Stream(stream, _) => Some(stream),
            FileBody::Node(..) | FileBody::Path(_) => None,
        }
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// What readlink of `/proc/PID/fd/N` says to someone whose root is `root`.
    #[must_use]
    pub fn display_path(&self, root: &Path) -> Vec<u8> {
        match (&self.path, &self.body) {
            (Some(path), _) => path::display(path, root),
            (None, FileBody::Stream(stream, _)) => stream.name().into_bytes(),
            (None, _) => b"anon_inode:[file]".to_vec(),
        }
    }

    /// The state that the file system keeps with this open, if it is a `T`.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<&T> {
        match &self.body {
            FileBody::Node(_, Some(state)) => state.downcast_ref(),
            _ => None,
        }
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

    /// Whether it was opened for reading.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.is_path() && self.flags() & ACCESS_MODE != 1
    }

    /// Whether it was opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.is_path() && matches!(self.flags() & ACCESS_MODE, 1 | 2)
    }

    /// Whether it was opened with `O_PATH`.
    #[must_use]
    pub fn is_path(&self) -> bool {
        matches!(self.body, FileBody::Path(_))
    }

    /// Identity, as the owner of flock(2) and OFD locks.
    #[must_use]
    pub fn lock_owner(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// A lock was set through this description: it is released with it.
    pub(crate) fn set_locked(&self) {
        self.locked.store(true, Ordering::Release);
    }

    /// Signals were asked for through this description: that ends with it.
    pub(crate) fn set_rings(&self) {
        self.rings.store(true, Ordering::Release);
    }

    /// A descriptor of it was closed in a table: wishes for signals made there end.
    pub(crate) fn descriptor_closed(&self, table: usize) {
        if self.rings.load(Ordering::Acquire) {
            notify::directory::end(self, Some(table));
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !self.is_path() {
            let writes = matches!(self.flags() & ACCESS_MODE, 1 | 2);
            notify::through(self, if writes { Mask::CLOSE_WRITE } else { Mask::CLOSE_NOWRITE });
        }
        if self.locked.load(Ordering::Acquire)
            && let Some(node) = self.node()
        {
            crate::fs::lock::release_owner(node, self.lock_owner());
        }
        if self.rings.load(Ordering::Acquire) {
            notify::directory::end(self, None);
        }
        if let FileBody::Stream(stream, _) = &self.body {
            stream.released();
        }
        drop(self.write_access.take());
    }
}
