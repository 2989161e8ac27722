//! [`NodeState`]: what the VFS keeps with every node: its lock, who writes to it, what hangs on it.

use crate::abi::Errno;
use crate::fs::Node;
use crate::fs::lock::NodeLocks;
use crate::fs::notify::Watched;
use alloc::boxed::Box;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::SleepLock;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Level of the lock around what is attached to a node.
pub const LEVEL: Level = Level(96);

/// The VFS's part of a node.
pub struct NodeState {
    /// Directories: held around every look-up that asks the file system and every change. Files: held around writes and
    /// changes of size, so that an appending write finds the end of the file.
    pub lock: SleepLock<()>,
    /// Opens for writing; below zero, how many deny them (a running program).
    writers: AtomicI32,
    /// The directory was removed: nothing may be made in it.
    dead: AtomicBool,
    /// `F_SEAL_*`, and [`SEALABLE`].
    seals: AtomicU32,
    attachment: SpinLock<Option<Arc<dyn Any + Send + Sync>>>,
    locks: SpinLock<Option<Box<NodeLocks>>>,
    /// Number in its file handle, 0 for none.
    pub handle: AtomicU64,
    /// Who wants to hear of what happens to the file.
    pub watched: Watched,
}

/// Bit of the seals that says that the file has seals at all (memfd_create(2)).
const SEALABLE: u32 = 1 << 31;

impl NodeState {
    /// Nothing attached.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lock: SleepLock::new(()),
            writers: AtomicI32::new(0),
            dead: AtomicBool::new(false),
            seals: AtomicU32::new(0),
            attachment: SpinLock::new(LEVEL, None),
            locks: SpinLock::new(LEVEL, None),
            handle: AtomicU64::new(0),
            watched: Watched::new(),
        }
    }

    /// Whether the directory was removed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The directory is removed; the caller holds its lock.
    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// What hangs on the node, if it is a `T`: the pipe of a FIFO, the socket bound to a name.
    #[must_use]
    pub fn attachment<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.attachment.lock().clone()?.downcast().ok()
    }

    /// What hangs on the node, made by `make` when nothing does. `None` when something of another type does.
    pub fn attach_with<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
        if let Some(there) = self.attachment.lock().clone() {
            return there.downcast().ok();
        }
        let fresh = make();
        let mut attachment = self.attachment.lock();
        let there = match &*attachment {
            Some(there) => there.clone(),
            None => attachment.insert(fresh.clone()).clone(),
        };
        drop(attachment);
        there.downcast().ok()
    }

    /// Takes off what hangs on the node.
    pub fn detach(&self) {
        let old = self.attachment.lock().take();
        drop(old);
    }

    /// Runs `f` with the file locks of the node.
    pub(crate) fn with_locks<R>(&self, f: impl FnOnce(&mut NodeLocks) -> R) -> R {
        f(self.locks.lock().get_or_insert_with(Default::default))
    }

    /// Whether a file lock was ever set.
    pub(crate) fn has_locks(&self) -> bool {
        self.locks.lock().is_some()
    }

    /// The seals: `None` for files that cannot have any.
    #[must_use]
    pub fn seals(&self) -> Option<u32> {
        let seals = self.seals.load(Ordering::Acquire);
        (seals & SEALABLE != 0).then_some(seals & !SEALABLE)
    }

    /// Makes the file sealable with these seals.
    pub(crate) fn set_sealable(&self, seals: u32) {
        self.seals.store(seals | SEALABLE, Ordering::Release);
    }

    /// Adds seals; the caller holds the node's lock.
    pub(crate) fn add_seals(&self, seals: u32) {
        self.seals.fetch_or(seals & !SEALABLE, Ordering::AcqRel);
    }

    fn adjust_writers(&self, allowed: impl Fn(i32) -> bool, step: i32) -> Result<(), Errno> {
        self.writers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| allowed(now).then_some(now + step))
            .map(|_| ())
            .map_err(|_| Errno::ETXTBSY)
    }
}

impl Default for NodeState {
    fn default() -> Self {
        Self::new()
    }
}

/// The right to write to a file: nobody runs it meanwhile.
pub struct WriteAccess(Arc<Node>);

impl WriteAccess {
    /// Asks for it.
    ///
    /// # Errors
    /// `ETXTBSY` while somebody denies writing.
    pub fn new(node: &Arc<Node>) -> Result<Self, Errno> {
        node.state.adjust_writers(|now| now >= 0, 1)?;
        Ok(Self(node.clone()))
    }
}

impl Drop for WriteAccess {
    fn drop(&mut self) {
        self.0.state.writers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Denies writing to a file: kept as long as a program runs from it (execve(2), `ETXTBSY`).
pub struct DenyWrite(Arc<Node>);

impl DenyWrite {
    /// Denies writing.
    ///
    /// # Errors
    /// `ETXTBSY` while the file is open for writing.
    pub fn new(node: &Arc<Node>) -> Result<Self, Errno> {
        node.state.adjust_writers(|now| now <= 0, -1)?;
        Ok(Self(node.clone()))
    }
}

impl Clone for DenyWrite {
    fn clone(&self) -> Self {
        // Writing is denied already, so the count is below zero and stays so.
        self.0.state.writers.fetch_sub(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl Drop for DenyWrite {
    fn drop(&mut self) {
        self.0.state.writers.fetch_add(1, Ordering::AcqRel);
    }
}
