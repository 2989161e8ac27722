//! [`Mapping`]: the cached pages of one file, and [`Backing`], where they come from.

use super::mappers::{Attachment, Copies, Mapper, Mappers, PageRange, Sharing};
use crate::abi::Errno;
use crate::mm::Budget;
use crate::platform::Access;
use crate::user::{IoReader, IoWriter, UserFault};
use crate::wait::Stop;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;

/// Level of a mapping's page lock.
pub(super) const LEVEL: Level = Level(120);

/// Where pages of a file come from and go to.
pub trait Backing: Send + Sync {
    /// Fills `frames`, which follow each other from page `index`; bytes past the end of the file are left zero.
    ///
    /// # Errors
    /// What reading the file gives, usually `EIO`.
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno>;

    /// Writes `len` bytes of `frames`, which follow each other from page `index`.
    ///
    /// # Errors
    /// What writing the file gives: `EIO`, `ENOSPC`, `EDQUOT`.
    fn write_back(&self, sleeper: &Sleeper, index: u64, frames: &[Frame], len: usize) -> Result<(), Errno>;
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

struct Page {
    frame: Frame,
    dirty: bool,
}

struct Pages {
    size: u64,
    pages: BTreeMap<u64, Page>,
}

/// The cached pages of one file.
///
/// The size kept here is the file's size as read and write see it; whoever owns the file serialises changes of it.
pub struct Mapping {
    /// `None`: the pages are the file (tmpfs, memfd); they are never dropped and start as zeroes.
    backing: Option<Arc<dyn Backing>>,
    pages: SpinLock<Pages>,
    mappers: Mappers,
}

impl Mapping {
    /// A mapping whose pages are the file itself.
    #[must_use]
    pub fn memory() -> Arc<Self> {
        Arc::new(Self {
            backing: None,
            pages: SpinLock::new(LEVEL, Pages { size: 0, pages: BTreeMap::new() }),
            mappers: Mappers::new(),
        })
    }

    /// A mapping whose pages are the file itself and that `budget` pays for.
    #[must_use]
    pub fn memory_in(budget: Arc<Budget>) -> Arc<Self> {
        let _ = budget;
        Self::memory()
    }

    /// A mapping of `size` bytes filled from `backing`.
    #[must_use]
    pub fn cached(backing: Arc<dyn Backing>, size: u64) -> Arc<Self> {
        let pages = SpinLock::new(LEVEL, Pages { size, pages: BTreeMap::new() });
        Arc::new(Self { backing: Some(backing), pages, mappers: Mappers::new() })
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

    /// The page at `index` for mapping it; with [`Access::Write`] a present page becomes dirty. The caller holds the lock
    /// of the address space until it has mapped the page: that is what truncation waits for.
    #[must_use]
    pub fn lookup(&self, index: u64, access: Access) -> Lookup {
        let mut pages = self.pages.lock();
        if index >= pages.size.div_ceil(FRAME_SIZE as u64) {
            return Lookup::Beyond;
        }
        let Some(page) = pages.pages.get_mut(&index) else { return Lookup::Absent };
        page.dirty |= access == Access::Write;
        let mapped = if page.dirty || self.backing.is_none() { Mapped::Writable } else { Mapped::ReadOnly };
        Lookup::Present(page.frame.clone(), mapped)
    }

    /// The pages from `first` on that are there, as [`Mapping::lookup`] for reading would find them.
    pub fn lookup_around(&self, first: u64, found: &mut [Option<(Frame, Mapped)>]) {
        let pages = self.pages.lock();
        let end = (first + found.len() as u64).min(pages.size.div_ceil(FRAME_SIZE as u64));
        for (index, page) in pages.pages.range(first..end.max(first)) {
            let mapped =
                if page.dirty || self.backing.is_none() { Mapped::Writable } else { Mapped::ReadOnly };
            if let Some(slot) = usize::try_from(index - first).ok().and_then(|at| found.get_mut(at)) {
                *slot = Some((page.frame.clone(), mapped));
            }
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.pages.lock().size
    }

    /// Pages held.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.pages.lock().pages.len()
    }

    /// Pages of `from..to` held.
    #[must_use]
    pub fn resident_in(&self, from: u64, to: u64) -> u64 {
        self.pages.lock().pages.range(from..to.max(from)).count() as u64
    }

    /// Whether the pages are the file.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        self.backing.is_none()
    }

    /// The first page that is there from `index` on.
    #[must_use]
    pub fn next_page(&self, index: u64) -> Option<u64> {
        self.pages.lock().pages.range(index..).next().map(|(index, _)| *index)
    }

    /// The page at `index`, from the cache alone.
    #[must_use]
    pub fn try_page(&self, index: u64) -> Option<Frame> {
        self.pages.lock().pages.get(&index).map(|page| page.frame.clone())
    }

    /// The page at `index`, filled if need be. With [`Access::Write`] it becomes dirty.
    ///
    /// # Errors
    /// `ENXIO` beyond the end of the file (SIGBUS in a mapping), `ENOMEM`, or what the backing gives.
    pub fn page(&self, sleeper: &Sleeper, index: u64, access: Access) -> Result<Frame, Errno> {
        {
            let mut pages = self.pages.lock();
            if index >= pages.size.div_ceil(FRAME_SIZE as u64) {
                return Err(Errno::ENXIO);
            }
            if let Some(page) = pages.pages.get_mut(&index) {
                page.dirty |= access == Access::Write;
                return Ok(page.frame.clone());
            }
        }
        let frame = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        if let Some(backing) = &self.backing {
            backing.fill(sleeper, index, core::slice::from_ref(&frame))?;
        }
        let mut pages = self.pages.lock();
        let page = pages.pages.entry(index).or_insert(Page { frame, dirty: false });
        page.dirty |= access == Access::Write;
        Ok(page.frame.clone())
    }

    /// Reads from `offset` until `to` is full or the file ends. Returns the bytes read.
    ///
    /// # Errors
    /// [`Stop::Fault`] or [`Stop::Errno`] when nothing was read.
    pub fn read(&self, sleeper: &Sleeper, offset: u64, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let mut done = 0usize;
        loop {
            let at = offset.saturating_add(done as u64);
            let size = self.size();
            let want = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(to.remaining());
            if want == 0 {
                return Ok(done);
            }
            let frame = match self.page(sleeper, at / FRAME_SIZE as u64, Access::Read) {
                Ok(frame) => frame,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno.into()),
            };
            let within = usize::try_from(at % FRAME_SIZE as u64).unwrap_or(0);
            let copied = to.write_frame(&frame, within, want);
            done += copied;
            if let Some(fault) = to.fault() {
                return if done > 0 { Ok(done) } else { Err(Stop::Fault(fault)) };
            }
            sleeper_check(sleeper, done);
        }
    }

    /// Writes at `offset`, growing the file. The caller holds the file's write lock. Returns the bytes written.
    ///
    /// # Errors
    /// [`Stop::Fault`] or [`Stop::Errno`] when nothing was written.
    pub fn write(&self, sleeper: &Sleeper, offset: u64, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        let mut done = 0usize;
        while from.remaining() > 0 {
            let at = offset.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            let (index, within) =
                (at / FRAME_SIZE as u64, usize::try_from(at % FRAME_SIZE as u64).unwrap_or(0));
            let frame = match self.page_for_write(sleeper, index) {
                Ok(frame) => frame,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno.into()),
            };
            let copied = from.read_frame(&frame, within, FRAME_SIZE - within);
            done += copied;
            let mut pages = self.pages.lock();
            pages.size = pages.size.max(at.saturating_add(copied as u64));
            drop(pages);
            if let Some(UserFault { .. }) = from.fault() {
                let fault = from.fault().map_or(Stop::WouldBlock, Stop::Fault);
                return if done > 0 { Ok(done) } else { Err(fault) };
            }
            sleeper_check(sleeper, done);
        }
        Ok(done)
    }

    fn page_for_write(&self, sleeper: &Sleeper, index: u64) -> Result<Frame, Errno> {
        match self.page(sleeper, index, Access::Write) {
            Err(Errno::ENXIO) => {
                let frame = Frame::zeroed().ok_or(Errno::ENOMEM)?;
                let mut pages = self.pages.lock();
                Ok(pages.pages.entry(index).or_insert(Page { frame, dirty: true }).frame.clone())
            }
            other => other,
        }
    }

    /// Sets the size. Pages beyond it are dropped, the rest of the last one is zeroed. The caller holds the file's write
    /// lock.
    pub fn resize(&self, size: u64) {
        let mut pages = self.pages.lock();
        let dropped = pages.pages.split_off(&size.div_ceil(FRAME_SIZE as u64));
        if size < pages.size
            && let Some(page) = pages.pages.get(&(size / FRAME_SIZE as u64))
        {
            page.frame.zero(usize::try_from(size % FRAME_SIZE as u64).unwrap_or(0), FRAME_SIZE);
        }
        pages.size = size;
        drop(pages);
        if !dropped.is_empty() {
            let range = PageRange { from: size.div_ceil(FRAME_SIZE as u64), to: u64::MAX };
            self.mappers.for_each(|mapper| mapper.unmap_pages(self, range, Copies::Drop));
        }
        drop(dropped);
    }

    /// Reads pages that are not there yet.
    pub fn read_ahead(&self, sleeper: &Sleeper, range: PageRange) {
        for index in range.from..range.to.min(range.from + 512) {
            if self.page(sleeper, index, Access::Read).is_err() {
                break;
            }
        }
    }

    /// Removes the whole pages of a byte range and zeroes the rest of it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a mapping with a backing.
    pub fn punch(&self, sleeper: &Sleeper, from: u64, to: u64) -> Result<(), Errno> {
        let _ = (sleeper, from, to);
        Err(Errno::EOPNOTSUPP)
    }

    /// Writes dirty pages of `range` back.
    ///
    /// # Errors
    /// As [`Mapping::flush`].
    pub fn flush_range(&self, sleeper: &Sleeper, range: PageRange) -> Result<(), Errno> {
        let _ = range;
        self.flush(sleeper)
    }

    /// Writes dirty pages back.
    ///
    /// # Errors
    /// The first error that the backing gives; the page stays dirty.
    pub fn flush(&self, sleeper: &Sleeper) -> Result<(), Errno> {
        let Some(backing) = &self.backing else { return Ok(()) };
        loop {
            let next = {
                let mut pages = self.pages.lock();
                let size = pages.size;
                pages.pages.iter_mut().find(|(_, page)| page.dirty).map(|(index, page)| {
                    page.dirty = false;
                    (*index, page.frame.clone(), size)
                })
            };
            let Some((index, frame, size)) = next else { return Ok(()) };
            let len = usize::try_from(size.saturating_sub(index * FRAME_SIZE as u64)).unwrap_or(FRAME_SIZE);
            let frames: Vec<Frame> = alloc::vec![frame];
            if let Err(errno) = backing.write_back(sleeper, index, &frames, len.min(FRAME_SIZE)) {
                if let Some(page) = self.pages.lock().pages.get_mut(&index) {
                    page.dirty = true;
                }
                return Err(errno);
            }
        }
    }
}

fn sleeper_check(sleeper: &Sleeper, done: usize) {
    if done & ((4 << 20) - 1) == 0 {
        sleeper.resched_point();
    }
}
