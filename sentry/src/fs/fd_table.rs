//! [`FdTable`]: the descriptors of a process.

use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::syscall::Fd;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};

/// Level of a descriptor table's lock.
pub const LEVEL: Level = Level(70);

/// A descriptor: an open file, and whether execve(2) closes it.
#[derive(Clone)]
pub struct Entry {
    /// The open file.
    pub file: Arc<OpenFile>,
    /// `FD_CLOEXEC`.
    pub close_on_exec: bool,
}

/// The descriptors of a process, shared by tasks that `CLONE_FILES` made.
///
/// Files taken out are returned, never dropped under the lock: their release may wake others.
pub struct FdTable {
    entries: SpinLock<Vec<Option<Entry>>>,
}

impl FdTable {
    /// No descriptors.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { entries: SpinLock::new(LEVEL, Vec::new()) })
    }

    /// The file of a descriptor.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        Ok(self.entry(fd)?.file)
    }

    /// A descriptor with its flag.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn entry(&self, fd: Fd) -> Result<Entry, Errno> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        self.entries.lock().get(index).cloned().flatten().ok_or(Errno::EBADF)
    }

    /// Puts a file at the lowest free number from `min` on, below `limit` (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert(&self, entry: Entry, min: usize, limit: usize) -> Result<Fd, Errno> {
        let mut entries = self.entries.lock();
        let free = (min..entries.len()).find(|at| entries.get(*at).is_some_and(Option::is_none));
        let index = free.unwrap_or(entries.len().max(min));
        let fd = i32::try_from(index).map_err(|_| Errno::EMFILE)?;
        if index >= limit {
            return Err(Errno::EMFILE);
        }
        if index >= entries.len() {
            entries.resize_with(index + 1, || None);
        }
        if let Some(slot) = entries.get_mut(index) {
            *slot = Some(entry);
        }
        Ok(Fd(fd))
    }

    /// Puts a file at `fd`; returns what was there (dup2(2)).
    ///
    /// # Errors
    /// `EBADF` when `fd` is negative or not below `limit`.
    pub fn replace(&self, fd: Fd, entry: Entry, limit: usize) -> Result<Option<Entry>, Errno> {
        let index = usize::try_from(fd.0).ok().filter(|index| *index < limit).ok_or(Errno::EBADF)?;
        let mut entries = self.entries.lock();
        if index >= entries.len() {
            entries.resize_with(index + 1, || None);
        }
        Ok(entries.get_mut(index).and_then(|slot| slot.replace(entry)))
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&self, fd: Fd) -> Result<Entry, Errno> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        self.entries.lock().get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)
    }

    /// Sets `FD_CLOEXEC`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_close_on_exec(&self, fd: Fd, close_on_exec: bool) -> Result<(), Errno> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(index).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        entry.close_on_exec = close_on_exec;
        Ok(())
    }

    /// A table with the same descriptors (fork(2)).
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        let entries = self.entries.lock().clone();
        Arc::new(Self { entries: SpinLock::new(LEVEL, entries) })
    }

    /// Takes out what execve(2) closes.
    #[must_use]
    pub fn take_close_on_exec(&self) -> Vec<Entry> {
        self.take_if(|entry| entry.close_on_exec)
    }

    /// Takes everything out, at the end of a process.
    #[must_use]
    pub fn take_all(&self) -> Vec<Entry> {
        self.take_if(|_| true)
    }

    fn take_if(&self, condition: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut entries = self.entries.lock();
        entries.iter_mut().filter_map(|slot| slot.take_if(|entry| condition(entry))).collect()
    }

    /// Numbers in use, ascending.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        let entries = self.entries.lock();
        (0..).zip(entries.iter()).filter(|(_, entry)| entry.is_some()).map(|(number, _)| number).collect()
    }
}

impl Drop for FdTable {
    /// Closes what is left, and gives up the POSIX locks of the process.
    fn drop(&mut self) {
        let owner = core::ptr::from_ref(self).addr();
        for entry in self.take_all() {
            if let Some(node) = entry.file.node() {
                crate::fs::lock::release_process(node, owner);
            }
        }
    }
}
