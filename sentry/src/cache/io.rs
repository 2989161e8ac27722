//! Reading and writing through the cache.

use super::mapping::Mapping;
use super::table::Slot;
use crate::abi::Errno;
use crate::platform::Access;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;

/// Pages looked up at a time.
const BATCH: usize = 16;

/// Page and offset in it of a byte of a file.
fn place(at: u64) -> (u64, usize) {
    let within = at % FRAME_SIZE as u64;
    (at / FRAME_SIZE as u64, usize::try_from(within).unwrap_or(0))
}

impl Mapping {
    /// Reads from `offset` until `to` is full or the file ends. Returns the bytes read.
    ///
    /// # Errors
    /// [`Stop::Fault`] or [`Stop::Errno`] when nothing was read.
    pub fn read(&self, sleeper: &Sleeper, offset: u64, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let mut done = 0usize;
        let mut batch = [const { None }; BATCH];
        loop {
            let at = offset.saturating_add(done as u64);
            let left =
                usize::try_from(self.size().saturating_sub(at)).unwrap_or(usize::MAX).min(to.remaining());
            if left == 0 {
                return Ok(done);
            }
            let (index, within) = place(at);
            let wanted = (within + left).div_ceil(FRAME_SIZE).min(BATCH);
            let found = self.present(index, batch.get_mut(..wanted).unwrap_or_default());
            let copied = match found {
                0 => self.read_absent(sleeper, index, within, left, to),
                found => Ok(read_present(batch.get_mut(..found).unwrap_or_default(), within, left, to)),
            };
            match copied {
                Ok(copied) => done += copied,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno.into()),
            }
            if let Some(fault) = to.fault() {
                return if done > 0 { Ok(done) } else { Err(Stop::Fault(fault)) };
            }
            rest(sleeper, done);
        }
    }

    /// Fills `batch` with the pages from `index` on that are there without a gap; returns how many.
    fn present(&self, index: u64, batch: &mut [Option<Frame>]) -> usize {
        let mut table = self.table.lock();
        for (found, (page, slot)) in (index..).zip(batch.iter_mut()).enumerate() {
            match table.touch(page, false) {
                Some((frame, _)) => *slot = Some(frame.clone()),
                None => return found,
            }
        }
        batch.len()
    }

    /// Reads within a page that is not there: a hole of a memory file, or one to be filled.
    fn read_absent(
        &self,
        sleeper: &Sleeper,
        index: u64,
        within: usize,
        left: usize,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Errno> {
        let len = left.min(FRAME_SIZE - within);
        if self.is_memory() {
            return Ok(to.zero(len));
        }
        match self.page(sleeper, index, Access::Read) {
            Ok(frame) => Ok(to.write_frame(&frame, within, len)),
            // The file ends earlier now; the next round sees it.
            Err(Errno::ENXIO) => Ok(0),
            Err(errno) => Err(errno),
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
            let (index, within) = place(at);
            let copied = match self.write_page(sleeper, index, within, from) {
                Ok(copied) => copied,
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno.into()),
            };
            done += copied;
            if let Some(fault) = from.fault() {
                return if done > 0 { Ok(done) } else { Err(Stop::Fault(fault)) };
            }
            if copied == 0 {
                break;
            }
            rest(sleeper, done);
        }
        Ok(done)
    }

    /// Writes within one page; returns the bytes written.
    fn write_page(
        &self,
        sleeper: &Sleeper,
        index: u64,
        within: usize,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Errno> {
        let len = (FRAME_SIZE - within).min(from.remaining());
        if len == FRAME_SIZE
            && !self.is_memory()
            && index < self.pages()
            && let Some(copied) = self.overwrite(sleeper, index, from)?
        {
            return Ok(copied);
        }
        let frame = self.page_to_write(sleeper, index)?;
        let copied = from.read_frame(&frame, within, len);
        self.wrote(index, within, copied);
        Ok(copied)
    }

    /// Writes a whole page that is not there without filling it first; `None` when it must be written the usual way.
    fn overwrite(
        &self,
        sleeper: &Sleeper,
        index: u64,
        from: &mut IoReader<'_>,
    ) -> Result<Option<usize>, Errno> {
        {
            let mut table = self.table.lock();
            if !matches!(table.slot(index), Slot::Absent) {
                return Ok(None);
            }
            table.claim(index, index, index + 1);
        }
        let frame = match self.obtain(sleeper) {
            Ok(frame) => frame,
            Err(errno) => {
                self.settle(index, 1, alloc::vec::Vec::new());
                return Err(errno);
            }
        };
        let copied = from.read_frame(&frame, 0, FRAME_SIZE);
        if copied == FRAME_SIZE {
            let unused = self.table.lock().settle(index, Some(frame), true);
            self.release(unused);
            self.settled.wake_all();
            return Ok(Some(copied));
        }
        // User memory ended early: what came goes over the page's old contents.
        self.settle(index, 1, alloc::vec::Vec::new());
        let result = match copied {
            0 => Ok(()),
            _ => self.page_to_write(sleeper, index).map(|page| {
                page.copy_from(0, &frame, 0, copied);
                self.wrote(index, 0, copied);
            }),
        };
        self.release([frame]);
        result.map(|()| Some(copied))
    }

    /// The page at `index` for writing, made when it lies beyond the end of the file.
    fn page_to_write(&self, sleeper: &Sleeper, index: u64) -> Result<Frame, Errno> {
        loop {
            if index < self.pages() {
                return self.page(sleeper, index, Access::Write);
            }
            if let Some((frame, _)) = self.table.lock().touch(index, true) {
                return Ok(frame.clone());
            }
            self.wait_settled(sleeper, index)?;
            self.make(sleeper, index)?;
        }
    }

    /// Notes that bytes of a page were written: it is dirty (again, should it have been written back meanwhile), and the
    /// file reaches at least to their end.
    fn wrote(&self, index: u64, within: usize, len: usize) {
        if len == 0 {
            return;
        }
        let end = (index * FRAME_SIZE as u64).saturating_add((within + len) as u64);
        let mut table = self.table.lock();
        table.touch(index, true);
        if end > self.size() {
            self.set_size(end);
        }
    }
}

/// Copies from pages that follow each other, the first one from `within`; forgets them.
fn read_present(batch: &mut [Option<Frame>], mut within: usize, left: usize, to: &mut IoWriter<'_>) -> usize {
    let mut done = 0;
    let mut ended = false;
    for slot in batch {
        let Some(frame) = slot.take().filter(|_| !ended) else { continue };
        let part = (FRAME_SIZE - within).min(left - done);
        let copied = to.write_frame(&frame, within, part);
        done += copied;
        within = 0;
        ended = copied < part || done == left;
    }
    done
}

/// Lets others run once in a while.
fn rest(sleeper: &Sleeper, done: usize) {
    if done & ((4 << 20) - 1) == 0 {
        sleeper.resched_point();
    }
}
