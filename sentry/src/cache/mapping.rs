//! [`Mapping`]: the cached pages of one file, and [`Backing`], where they come from.

use crate::abi::Errno;
use crate::platform::Access;
use crate::user::{IoReader, IoWriter, UserFault};
use crate::wait::Stop;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;

/// Level of a mapping's page lock.
pub const LEVEL: Level = Level(120);

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
}

impl Mapping {
    /// A mapping whose pages are the file itself.
    #[must_use]
    pub fn memory() -> Arc<Self> {
        Arc::new(Self {
            backing: None,
            pages: SpinLock::new(LEVEL, Pages { size: 0, pages: BTreeMap::new() }),
        })
    }

    /// A mapping of `size` bytes filled from `backing`.
    #[must_use]
    pub fn cached(backing: Arc<dyn Backing>, size: u64) -> Arc<Self> {
        let pages = SpinLock::new(LEVEL, Pages { size, pages: BTreeMap::new() });
        Arc::new(Self { backing: Some(backing), pages })
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
        drop(dropped);
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
