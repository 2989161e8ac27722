//! Getting pages that are not there: each is filled once, however many ask, and neighbours come along.

use super::mappers::PageRange;
use super::mapping::{Backing, Mapping};
use super::reclaim;
use super::table::{CHUNK, Slot};
use crate::abi::Errno;
use crate::mm::pressure;
use crate::platform::Access;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::Frame;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::Ordering;

/// Most pages of one fill: 1 MiB.
const MAX_WINDOW: u64 = 256;

impl Mapping {
    /// The page at `index`, filled if need be. With [`Access::Write`] it becomes dirty.
    ///
    /// # Errors
    /// `ENXIO` beyond the end of the file (SIGBUS in a mapping), `ENOMEM`, `ENOSPC`, or what the backing gives.
    pub fn page(&self, sleeper: &Sleeper, index: u64, access: Access) -> Result<Frame, Errno> {
        loop {
            if index >= self.pages() {
                return Err(Errno::ENXIO);
            }
            if let Some((frame, _)) = self.table.lock().touch(index, access == Access::Write) {
                return Ok(frame.clone());
            }
            match &self.backing {
                None => self.make(sleeper, index)?,
                Some(backing) => self.fill(sleeper, backing, index)?,
            }
        }
    }

    /// Makes an absent page of zeroes.
    pub(super) fn make(&self, sleeper: &Sleeper, index: u64) -> Result<(), Errno> {
        let frame = self.obtain(sleeper)?;
        let unused = self.table.lock().insert(index, frame, true);
        self.release(unused);
        Ok(())
    }

    /// Fills an absent page and neighbours, or waits for whoever does.
    fn fill(&self, sleeper: &Sleeper, backing: &Arc<dyn Backing>, index: u64) -> Result<(), Errno> {
        let (from, to) = self.choose_window(index);
        match self.claim(index, from, to) {
            None => self.wait_settled(sleeper, index),
            Some((first, count)) => {
                let result = self.fill_claimed(sleeper, backing, first, count);
                if result.is_ok() || count == 1 {
                    return result;
                }
                // The neighbours may be at fault: once more for the page alone.
                match self.claim(index, index, index + 1) {
                    None => Ok(()),
                    Some((first, count)) => self.fill_claimed(sleeper, backing, first, count),
                }
            }
        }
    }

    /// Makes absent pages around `index` busy; `None` when it is not absent itself.
    fn claim(&self, index: u64, from: u64, to: u64) -> Option<(u64, usize)> {
        let mut table = self.table.lock();
        matches!(table.slot(index), Slot::Absent).then(|| table.claim(index, from, to))
    }

    /// Which pages come along with `index`: its chunk at first; more and more from it on in a sequence.
    fn choose_window(&self, index: u64) -> (u64, u64) {
        let sequence = index != 0 && index == self.filled_to.load(Ordering::Relaxed);
        let (from, len) = if sequence {
            (index, (self.window.load(Ordering::Relaxed) * 2).clamp(CHUNK, MAX_WINDOW))
        } else {
            (index / CHUNK * CHUNK, CHUNK)
        };
        let to = (from + len).min(self.pages()).max(index + 1);
        self.filled_to.store(to, Ordering::Relaxed);
        self.window.store(len, Ordering::Relaxed);
        (from, to)
    }

    fn fill_claimed(
        &self,
        sleeper: &Sleeper,
        backing: &Arc<dyn Backing>,
        first: u64,
        count: usize,
    ) -> Result<(), Errno> {
        self.register_for_reclaim();
        let result = self.allocate_many(sleeper, count).and_then(|frames| {
            match backing.fill(sleeper, first, &frames) {
                Ok(()) => Ok(frames),
                Err(errno) => {
                    self.release(frames);
                    Err(errno)
                }
            }
        });
        let (frames, result) = match result {
            Ok(frames) => (frames, Ok(())),
            Err(errno) => (Vec::new(), Err(errno)),
        };
        self.settle(first, count, frames);
        result
    }

    /// Frames for a fill. For a single page more is done than for many, of which most are a guess.
    fn allocate_many(&self, sleeper: &Sleeper, count: usize) -> Result<Vec<Frame>, Errno> {
        if count == 1 {
            return Ok(alloc::vec![self.obtain(sleeper)?]);
        }
        let mut frames = Vec::with_capacity(count);
        while frames.len() < count {
            match self.allocate() {
                Ok(frame) => frames.push(frame),
                Err(Errno::ENOMEM) if pressure::reclaim(sleeper, &self.budget).is_ok() => {}
                Err(errno) => {
                    self.release(frames);
                    return Err(errno);
                }
            }
        }
        Ok(frames)
    }

    /// A frame, for which others may have to give up theirs. No lock may be held; pages may be claimed.
    pub(super) fn obtain(&self, sleeper: &Sleeper) -> Result<Frame, Errno> {
        loop {
            match self.allocate() {
                Err(Errno::ENOMEM) if pressure::obtain(sleeper, &self.budget).is_ok() => {}
                result => return result,
            }
        }
    }

    /// Ends a claim: the pages get `frames`, or stay absent when there are none.
    pub(super) fn settle(&self, first: u64, count: usize, frames: Vec<Frame>) {
        let mut unused = Vec::new();
        {
            let mut table = self.table.lock();
            let pages = self.pages();
            let mut frames = frames.into_iter();
            for index in first..first + count as u64 {
                let frame = frames.next();
                let (frame, beyond) = if index < pages { (frame, None) } else { (None, frame) };
                unused.extend(table.settle(index, frame, false));
                unused.extend(beyond);
            }
        }
        self.release(unused);
        self.settled.wake_all();
    }

    /// Sleeps while the page is busy.
    pub(super) fn wait_settled(&self, sleeper: &Sleeper, index: u64) -> Result<(), Errno> {
        let _registration = self.settled.register(&sleeper.waker());
        while matches!(self.table.lock().slot(index), Slot::Busy) {
            sleeper.park(None);
        }
        Ok(())
    }

    /// Reads pages that are not there yet, at most 2 MiB of them; errors are left to who needs the page.
    pub fn read_ahead(&self, sleeper: &Sleeper, range: PageRange) {
        let Some(backing) = &self.backing else { return };
        let end = range.to.min(self.pages()).min(range.from.saturating_add(2 * MAX_WINDOW));
        let mut index = range.from;
        while index < end {
            let to = end.min(index + MAX_WINDOW);
            if let Some((first, count)) = self.claim(index, index, to) {
                if self.fill_claimed(sleeper, backing, first, count).is_err() {
                    return;
                }
                index = first + count as u64;
            } else {
                index += 1;
            }
        }
    }

    fn register_for_reclaim(&self) {
        if !self.registered.swap(true, Ordering::Relaxed) {
            reclaim::register(self);
        }
    }
}
