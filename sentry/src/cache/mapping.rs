//! [`Mapping`]: the cached pages of one file, and [`Backing`], where they come from.

use super::flusher;
use super::mappers::{Attachment, Copies, Mapper, Mappers, PageRange, Sharing};
use super::table::{PageTable, Slot};
use crate::abi::Errno;
use crate::mm::{Budget, Refused};
use crate::platform::Access;
use alloc::sync::{Arc, Weak};
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{SleepGuard, SleepLock, Sleeper};
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Level of a mapping's page lock.
pub(super) const LEVEL: Level = Level(120);

/// Where pages of a file come from and go to.
pub trait Backing: Send + Sync {
    /// Fills `frames`, which follow each other from page `index` and hold zeroes; bytes past the end of the file stay zero.
    ///
    /// # Errors
    /// What reading the file gives, usually `EIO`.
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno>;

    /// Writes `len` bytes of `frames`, which follow each other from page `index`.
    ///
    /// # Errors
    /// What writing the file gives: `EIO`, `ENOSPC`, `EDQUOT`.
    fn write_back(&self, sleeper: &Sleeper, index: u64, frames: &[Frame], len: usize) -> Result<(), Errno>;

    /// After a write-back for msync(2): makes it durable, and tells what it gave where [`Backing::write_back`] did not.
    ///
    /// # Errors
    /// What writing gave.
    fn sync(&self, sleeper: &Sleeper) -> Result<(), Errno> {
        let _ = sleeper;
        Ok(())
    }
}

/// What the cache says of a page.
#[derive(Debug)]
pub enum Lookup {
    /// It is there, and may be mapped writable without asking again or not.
    Present(Frame, Mapped),
    /// [`Mapping::page`] must fill it.
    Absent,
    /// It lies beyond the end of the file.
    Beyond,
}

/// How a page may be mapped shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// Read-only: the first write must be told.
    ReadOnly,
    /// Writable: it is dirty already, or nobody asks.
    Writable,
}

/// The cached pages of one file.
///
/// The size kept here is the file's size as read and write see it; whoever owns the file serialises changes of it.
pub struct Mapping {
    me: Weak<Self>,
    /// `None`: the pages are the file (tmpfs, memfd); they are never dropped and start as zeroes.
    pub(super) backing: Option<Arc<dyn Backing>>,
    pub(super) budget: Arc<Budget>,
    /// What a charge gives that the budget's own limit refuses.
    full: Errno,
    /// Changed under the table's lock.
    size: AtomicU64,
    pub(super) table: SpinLock<PageTable>,
    /// Pages stopped being busy.
    pub(super) settled: WaitQueue,
    /// Held while pages are written back.
    pub(super) writing: SleepLock<()>,
    mappers: Mappers,
    /// Where the last fill ended: the next one there is a sequence.
    pub(super) filled_to: AtomicU64,
    /// Pages of the last fill.
    pub(super) window: AtomicU64,
    /// Known to those who reclaim.
    pub(super) registered: AtomicBool,
}

impl Mapping {
    /// A mapping whose pages are the file itself.
    #[must_use]
    pub fn memory() -> Arc<Self> {
        Self::memory_in(Budget::root())
    }

    /// A mapping whose pages are the file itself and that `budget` pays for.
    #[must_use]
    pub fn memory_in(budget: Arc<Budget>) -> Arc<Self> {
        Self::of(None, budget, Errno::ENOMEM, 0)
    }

    /// As [`Mapping::memory_in`] for a file system of limited size: `ENOSPC` when the budget's own limit is reached.
    #[must_use]
    pub fn memory_limited(budget: Arc<Budget>) -> Arc<Self> {
        Self::of(None, budget, Errno::ENOSPC, 0)
    }

    /// A mapping of `size` bytes filled from `backing`.
    #[must_use]
    pub fn cached(backing: Arc<dyn Backing>, size: u64) -> Arc<Self> {
        Self::cached_in(backing, size, Budget::root())
    }

    /// As [`Mapping::cached`]; `budget` pays for the pages.
    #[must_use]
    pub fn cached_in(backing: Arc<dyn Backing>, size: u64, budget: Arc<Budget>) -> Arc<Self> {
        Self::of(Some(backing), budget, Errno::ENOMEM, size)
    }

    fn of(backing: Option<Arc<dyn Backing>>, budget: Arc<Budget>, full: Errno, size: u64) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            backing,
            budget,
            full,
            size: AtomicU64::new(size),
            table: SpinLock::new(LEVEL, PageTable::default()),
            settled: WaitQueue::new(),
            writing: SleepLock::new(()),
            mappers: Mappers::new(),
            filled_to: AtomicU64::new(0),
            window: AtomicU64::new(0),
            registered: AtomicBool::new(false),
        })
    }

    pub(super) fn me(&self) -> &Weak<Self> {
        &self.me
    }

    pub(super) fn mappers(&self) -> &Mappers {
        &self.mappers
    }

    /// Makes an address space hear of changes of the pages.
    #[must_use]
    pub fn attach(self: &Arc<Self>, mapper: Weak<dyn Mapper>, sharing: Sharing) -> Arc<Attachment> {
        Attachment::new(self, mapper, sharing)
    }

    /// Shared mappings through which user code may write.
    #[must_use]
    pub fn writable_mappings(&self) -> u64 {
        self.mappers.writable()
    }

    /// Whether the pages are the file itself.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        self.backing.is_none()
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Sets the size; the caller holds the table's lock.
    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Pages of the file, the last one perhaps in part.
    pub(super) fn pages(&self) -> u64 {
        self.size().div_ceil(FRAME_SIZE as u64)
    }

    /// Pages held.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.table.lock().resident()
    }

    /// Pages that were written to and not written back.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.table.lock().dirty()
    }

    /// Pages of `from..to` held.
    #[must_use]
    pub fn resident_in(&self, from: u64, to: u64) -> u64 {
        self.table.lock().count(from, to)
    }

    /// Pages of `from..=to` held, and those of them that are to be written back (cachestat(2)).
    #[must_use]
    pub fn count_states(&self, from: u64, to: u64) -> (u64, u64) {
        let (present, dirty) = self.table.lock().count_states(from, to);
        (present, if self.is_memory() { 0 } else { dirty })
    }

    /// The first page that is there from `index` on.
    #[must_use]
    pub fn next_page(&self, index: u64) -> Option<u64> {
        self.table.lock().next_present(index)
    }

    /// The page at `index`, from the cache alone.
    #[must_use]
    pub fn try_page(&self, index: u64) -> Option<Frame> {
        match self.table.lock().slot(index) {
            Slot::Present { frame, .. } => Some(frame.clone()),
            Slot::Busy | Slot::Absent => None,
        }
    }

    /// The page at `index` for mapping it; with [`Access::Write`] a present page becomes dirty. The caller holds the lock
    /// of the address space until it has mapped the page: that is what truncation waits for.
    #[must_use]
    pub fn lookup(&self, index: u64, access: Access) -> Lookup {
        let mut table = self.table.lock();
        if index >= self.pages() {
            return Lookup::Beyond;
        }
        if access == Access::Write && !self.is_memory() {
            flusher::notice();
        }
        match table.touch(index, access == Access::Write) {
            Some((frame, dirty)) => Lookup::Present(frame.clone(), self.mapped(dirty)),
            None => Lookup::Absent,
        }
    }

    /// The pages from `first` on that are there, as [`Mapping::lookup`] for reading would find them.
    pub fn lookup_around(&self, first: u64, found: &mut [Option<(Frame, Mapped)>]) {
        let table = self.table.lock();
        let pages = self.pages();
        for (index, found) in (first..pages.max(first)).zip(found) {
            if let Slot::Present { frame, dirty } = table.slot(index) {
                *found = Some((frame.clone(), self.mapped(dirty)));
            }
        }
    }

    fn mapped(&self, dirty: bool) -> Mapped {
        if dirty || self.is_memory() { Mapped::Writable } else { Mapped::ReadOnly }
    }

    /// Removes pages from every address space. The caller keeps their frames until this returns.
    pub(super) fn unmap(&self, range: PageRange, copies: Copies) {
        self.mappers.for_each(|mapper| mapper.unmap_pages(self, range, copies));
    }

    /// A zeroed frame, charged.
    pub(super) fn allocate(&self) -> Result<Frame, Errno> {
        self.budget.take(1).map_err(|refused| match refused {
            Refused::Own => self.full,
            Refused::Above => Errno::ENOMEM,
        })?;
        Frame::zeroed().ok_or_else(|| {
            self.budget.give(1);
            Errno::ENOMEM
        })
    }

    /// Drops frames that [`Mapping::allocate`] gave. Others may still hold them, but not as pages of this file.
    pub(super) fn release(&self, frames: impl IntoIterator<Item = Frame>) {
        let count = frames.into_iter().map(drop).count();
        self.budget.give(count as u64);
    }

    /// Keeps pages from being written back while the guard lives, for changes of the file behind the cache. Waits for a
    /// write-back in progress.
    pub fn hold_write_back<'a>(&'a self, sleeper: &Sleeper) -> SleepGuard<'a, ()> {
        self.writing.lock(sleeper)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let frames = self.table.get_mut().take(0, u64::MAX);
        self.release(frames);
    }
}
