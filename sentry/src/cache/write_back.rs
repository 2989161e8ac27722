//! Writing dirty pages back.
//!
//! A page becomes clean before its bytes are taken, and is write-protected wherever it is mapped in between: whoever writes
//! to it later makes it dirty again, so no change is lost.

use super::mappers::PageRange;
use super::mapping::Mapping;
use crate::abi::Errno;
use chitin_core::frame::FRAME_SIZE;
use chitin_core::sleep::Sleeper;

/// Most pages written at a time: 1 MiB.
const MOST: usize = 256;

impl Mapping {
    /// Writes dirty pages back.
    ///
    /// # Errors
    /// The first error that the backing gives; the pages stay dirty.
    pub fn flush(&self, sleeper: &Sleeper) -> Result<(), Errno> {
        self.flush_range(sleeper, PageRange { from: 0, to: u64::MAX })
    }

    /// As [`Mapping::flush_range`], and more than that where the file's maker has more to do ([`super::Backing::sync`]).
    ///
    /// # Errors
    /// As [`Mapping::flush`].
    pub fn sync_range(&self, sleeper: &Sleeper, range: PageRange) -> Result<(), Errno> {
        self.flush_range(sleeper, range)?;
        self.backing.as_ref().map_or(Ok(()), |backing| backing.sync(sleeper))
    }

    /// Writes dirty pages of `range` back.
    ///
    /// # Errors
    /// As [`Mapping::flush`].
    pub fn flush_range(&self, sleeper: &Sleeper, range: PageRange) -> Result<(), Errno> {
        let Some(backing) = &self.backing else { return Ok(()) };
        if self.dirty() == 0 {
            // A write-back in progress has made its pages clean already: wait for it.
            drop(self.writing.lock(sleeper));
            return Ok(());
        }
        let _writing = self.writing.lock(sleeper);
        let mut from = range.from;
        while from < range.to {
            let Some((first, frames)) = self.table.lock().take_dirty(from, range.to, MOST) else { break };
            let end = first + frames.len() as u64;
            let written = PageRange { from: first, to: end };
            self.mappers().for_each(|mapper| mapper.protect_pages(self, written));
            let left = self.size().saturating_sub(first * FRAME_SIZE as u64);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(frames.len() * FRAME_SIZE);
            if len > 0
                && let Err(errno) = backing.write_back(sleeper, first, &frames, len)
            {
                let mut table = self.table.lock();
                for index in first..end {
                    let _ = table.touch(index, true);
                }
                return Err(errno);
            }
            from = end;
        }
        Ok(())
    }
}
