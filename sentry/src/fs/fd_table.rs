//! [`FdTable`]: the descriptors of a process.

use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::syscall::Fd;
use alloc::boxed::Box;
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
    entries: SpinLock<Entries>,
}

/// Descriptors of a chunk.
const CHUNK: usize = 64;

/// Entries by number, in chunks that exist where a descriptor is or was.
#[derive(Clone, Default)]
struct Entries {
    chunks: Vec<Option<Box<[Option<Entry>; CHUNK]>>>,
    /// No number below it is free.
    full_below: usize,
}

impl Entries {
    fn get(&self, index: usize) -> Option<&Entry> {
        self.chunks.get(index / CHUNK)?.as_ref()?.get(index % CHUNK)?.as_ref()
    }

    /// The place of a number, if its chunk exists.
    fn get_mut(&mut self, index: usize) -> Option<&mut Option<Entry>> {
        self.chunks.get_mut(index / CHUNK)?.as_mut()?.get_mut(index % CHUNK)
    }

    fn put(&mut self, index: usize, entry: Entry) -> Option<Entry> {
        let number = index / CHUNK;
        if number >= self.chunks.len() {
            self.chunks.resize_with(number + 1, || None);
        }
        let chunk = self.chunks.get_mut(number)?;
        let chunk = chunk.get_or_insert_with(|| Box::new([const { None }; CHUNK]));
        chunk.get_mut(index % CHUNK)?.replace(entry)
    }

    fn take(&mut self, index: usize) -> Option<Entry> {
        let taken = self.get_mut(index)?.take();
        if taken.is_some() {
            self.full_below = self.full_below.min(index);
        }
        taken
    }

    /// The lowest free number from `min` on.
    fn free_from(&mut self, min: usize) -> usize {
        let from = min.max(self.full_below);
        let mut at = from;
        let free = loop {
            match self.chunks.get(at / CHUNK) {
                Some(Some(chunk)) => {
                    let rest = chunk.get(at % CHUNK..).unwrap_or_default();
                    if let Some(free) = rest.iter().position(Option::is_none) {
                        break at + free;
                    }
                    at = (at / CHUNK + 1) * CHUNK;
                }
                _ => break at,
            }
        };
        if min <= self.full_below {
            self.full_below = free;
        }
        free
    }

    /// What is there, by ascending number.
    fn iter(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks);
        let chunks = chunks.filter_map(|(first, chunk)| Some((first, chunk.as_ref()?)));
        chunks.flat_map(|(first, chunk)| {
            (first..).zip(chunk.iter()).filter_map(|(at, entry)| Some((at, entry.as_ref()?)))
        })
    }
}

impl FdTable {
    /// No descriptors.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { entries: SpinLock::new(LEVEL, Entries::default()) })
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
        self.entries.lock().get(index).cloned().ok_or(Errno::EBADF)
    }

    /// Puts a file at the lowest free number from `min` on, below `limit` (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert(&self, entry: Entry, min: usize, limit: usize) -> Result<Fd, Errno> {
        let mut entries = self.entries.lock();
        let index = entries.free_from(min);
        let fd = i32::try_from(index).map_err(|_| Errno::EMFILE)?;
        if index >= limit {
            return Err(Errno::EMFILE);
        }
        entries.put(index, entry);
        Ok(Fd(fd))
    }

    /// Puts a file at `fd`; returns what was there (dup2(2)).
    ///
    /// # Errors
    /// `EBADF` when `fd` is negative or not below `limit`.
    pub fn replace(&self, fd: Fd, entry: Entry, limit: usize) -> Result<Option<Entry>, Errno> {
        let index = usize::try_from(fd.0).ok().filter(|index| *index < limit).ok_or(Errno::EBADF)?;
        Ok(self.entries.lock().put(index, entry))
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&self, fd: Fd) -> Result<Entry, Errno> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        self.entries.lock().take(index).ok_or(Errno::EBADF)
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
        let wanted: Vec<usize> =
            entries.iter().filter(|(_, entry)| condition(entry)).map(|(at, _)| at).collect();
        wanted.into_iter().filter_map(|at| entries.take(at)).collect()
    }

    /// Numbers in use, ascending.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        self.entries.lock().iter().filter_map(|(at, _)| i32::try_from(at).ok()).collect()
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
