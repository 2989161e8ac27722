//! Changes of a file's size, holes, and pages that are out of date.

use super::mappers::{Copies, PageRange};
use super::mapping::Mapping;
use crate::abi::Errno;
use chitin_core::frame::FRAME_SIZE;
use chitin_core::sleep::Sleeper;

const PAGE: u64 = FRAME_SIZE as u64;

fn within(at: u64) -> usize {
    usize::try_from(at % PAGE).unwrap_or(0)
}

impl Mapping {
    /// Sets the size. Pages beyond it leave every address space, private copies too; the rest of the last one is zeroed.
    /// The caller holds the file's write lock, and for a file with a backing [`Mapping::hold_write_back`].
    pub fn resize(&self, size: u64) {
        let first = size.div_ceil(PAGE);
        let (shrinks, dropped) = {
            let mut table = self.table.lock();
            let shrinks = size < self.size();
            self.set_size(size);
            if !shrinks {
                return;
            }
            if within(size) != 0 {
                match table.touch(size / PAGE, false) {
                    Some((frame, _)) => frame.zero(within(size), FRAME_SIZE),
                    // It may be on its way in with bytes that are no longer the file's.
                    None => table.discard_filling(size / PAGE),
                }
            }
            (shrinks, table.take(first, u64::MAX))
        };
        if shrinks {
            self.unmap(PageRange { from: first, to: u64::MAX }, Copies::Drop);
        }
        self.release(dropped);
    }

    /// Removes the whole pages of a byte range of a memory file and zeroes the rest of it (`FALLOC_FL_PUNCH_HOLE`). The
    /// caller holds the file's write lock.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a mapping with a backing: the backing must do it, then [`Mapping::invalidate`].
    pub fn punch(&self, sleeper: &Sleeper, from: u64, to: u64) -> Result<(), Errno> {
        if !self.is_memory() {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = to.min(self.size());
        if from >= to {
            return Ok(());
        }
        let (first, end) = (from.div_ceil(PAGE), to / PAGE);
        if first > end {
            self.zero_part(from, to);
            return Ok(());
        }
        self.zero_part(from, (first * PAGE).min(to));
        self.zero_part((end * PAGE).max(from), to);
        self.drop_pages(PageRange { from: first, to: end });
        sleeper.resched_point();
        Ok(())
    }

    /// Drops the pages of a range that are there; they are filled again when they are needed. For files that changed
    /// behind the cache. Changes that were not written back are lost.
    pub fn invalidate(&self, range: PageRange) {
        self.drop_pages(range);
    }

    fn drop_pages(&self, range: PageRange) {
        if range.from >= range.to {
            return;
        }
        let dropped = self.table.lock().take(range.from, range.to);
        self.unmap(range, Copies::Keep);
        self.release(dropped);
    }

    /// Zeroes bytes that lie in one page, if it is there.
    fn zero_part(&self, from: u64, to: u64) {
        if from < to
            && let Some((frame, _)) = self.table.lock().touch(from / PAGE, true)
        {
            frame.zero(within(from), usize::try_from(to - from).unwrap_or(FRAME_SIZE));
        }
    }
}
