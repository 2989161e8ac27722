//! [`Buffer`]: bytes in frames that a container pays for, in the order in which they came.

use crate::abi::Errno;
use crate::mm::Budget;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};

/// Bytes in frames: `len` bytes from `start` of the first one.
pub(super) struct Buffer {
    frames: VecDeque<Frame>,
    start: usize,
    len: usize,
    /// Bytes from `start` up to the end of what was put, some of it perhaps beyond `len`.
    reach: usize,
    budget: Arc<Budget>,
}

impl Buffer {
    /// An empty one that `budget` pays for.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { frames: VecDeque::new(), start: 0, len: 0, reach: 0, budget: budget.clone() }
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn grow(&mut self) -> Result<(), Errno> {
        self.budget.take(1).map_err(|_| Errno::ENOBUFS)?;
        let Some(frame) = Frame::uncleared() else {
            self.budget.give(1);
            return Err(Errno::ENOBUFS);
        };
        self.frames.push_back(frame);
        Ok(())
    }

    /// Takes up to `len` bytes. Stops early at a fault, which `from` remembers.
    ///
    /// # Errors
    /// `ENOBUFS` when there is no memory and nothing was taken.
    pub(super) fn take(&mut self, from: &mut IoReader<'_>, len: usize) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len && from.remaining() > 0 {
            let end = self.start + self.len;
            let within = end % FRAME_SIZE;
            if within == 0
                && end / FRAME_SIZE >= self.frames.len()
                && let Err(errno) = self.grow()
            {
                return if done > 0 { Ok(done) } else { Err(errno) };
            }
            let Some(frame) = self.frames.get(end / FRAME_SIZE) else { break };
            let part = (FRAME_SIZE - within).min(len - done);
            let copied = from.read_frame(frame, within, part);
            self.len += copied;
            done += copied;
            if copied < part {
                break;
            }
        }
        Ok(done)
    }

    /// Copies from `skip` on to `to`, at most `most` bytes. Stops early at a fault, which `to` remembers.
    pub(super) fn copy(&self, skip: usize, to: &mut IoWriter<'_>, most: usize) -> usize {
        let mut done = 0;
        let end = self.len.min(skip.saturating_add(most));
        while skip + done < end && to.remaining() > 0 {
            let at = self.start + skip + done;
            let within = at % FRAME_SIZE;
            let Some(frame) = self.frames.get(at / FRAME_SIZE) else { break };
            let part = (FRAME_SIZE - within).min(end - skip - done).min(to.remaining());
            let copied = to.write_frame(frame, within, part);
            done += copied;
            if copied < part {
                break;
            }
        }
        done
    }

    /// A copy that `budget` pays for; `None` when there is no memory.
    pub(super) fn duplicate(&self, budget: &Arc<Budget>) -> Option<Self> {
        let mut copy = Self::new(budget);
        let mut done = 0;
        while done < self.len {
            copy.grow().ok()?;
            let mut filled = 0;
            while filled < FRAME_SIZE && done < self.len {
                let at = self.start + done;
                let part = (FRAME_SIZE - at % FRAME_SIZE).min(FRAME_SIZE - filled).min(self.len - done);
                let (from, to) = (self.frames.get(at / FRAME_SIZE)?, copy.frames.back()?);
                to.copy_from(filled, from, at % FRAME_SIZE, part);
                filled += part;
                done += part;
            }
        }
        copy.len = self.len;
        Some(copy)
    }

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.reach = self.reach.min(self.len);
    }

    /// Lets go of the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.start += len;
        self.len -= len;
        self.reach = self.reach.saturating_sub(len);
        while self.start >= FRAME_SIZE {
            self.frames.pop_front();
            self.budget.give(1);
            self.start -= FRAME_SIZE;
        }
        if self.len == 0 && self.reach == 0 {
            let spare = self.frames.len().saturating_sub(1);
            self.frames.truncate(1);
            self.budget.give(spare as u64);
            self.start = 0;
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.budget.give(self.frames.len() as u64);
        self.frames.clear();
        (self.start, self.len, self.reach) = (0, 0, 0);
    }

    /// Puts bytes at `at`, in or behind what is there: they count when [`Buffer::extend`] reaches them. Whether there was
    /// memory for them.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        let end = self.start + at + bytes.len();
        while self.frames.len() * FRAME_SIZE < end {
            if self.grow().is_err() {
                return false;
            }
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let place = self.start + at + done;
            let Some(frame) = self.frames.get(place / FRAME_SIZE) else { return false };
            done += frame.copy_in(place % FRAME_SIZE, rest);
        }
        self.reach = self.reach.max(at + bytes.len());
        true
    }

    /// The next `len` bytes that were put count now.
    pub(super) fn extend(&mut self, len: usize) {
        self.len = (self.len + len).min(self.reach.max(self.len));
    }

    /// Gives the memory back, when nothing is in it.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 && self.reach == 0 && !self.frames.is_empty() {
            self.clear();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.give(self.frames.len() as u64);
    }
}

/// A whole message, or nothing.
///
/// # Errors
/// [`Stop::Fault`], `ENOBUFS`; `from` is back where it was.
pub(super) fn whole(from: &mut IoReader<'_>, budget: &Arc<Budget>) -> Result<Buffer, Stop> {
    let start = from.done();
    let mut buffer = Buffer::new(budget);
    let result = buffer.take(from, from.remaining());
    if from.remaining() == 0 && result.is_ok() {
        return Ok(buffer);
    }
    let stop = match (result, from.fault()) {
        (Err(errno), _) => errno.into(),
        (Ok(_), Some(fault)) => Stop::Fault(fault),
        (Ok(_), None) => Errno::ENOBUFS.into(),
    };
    from.rewind(start);
    Err(stop)
}
