//! [`Spare`]: frames allocated and charged with no lock held, for a fault to use under the lock.

use super::budget::Budget;
use crate::platform::OutOfMemory;
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};

/// Most frames that one fault uses.
pub(super) const MAX_SPARE: usize = 16;

/// What a fault needs frames for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// All of each is overwritten.
    Any,
    /// Zeroes.
    Zero,
}

/// Charged frames not yet in use; those left over are given back.
pub(super) struct Spare {
    frames: [Option<Frame>; MAX_SPARE],
    count: usize,
    contents: Contents,
    budget: Arc<Budget>,
}

impl Spare {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { frames: [const { None }; MAX_SPARE], count: 0, contents: Contents::Any, budget }
    }

    /// Allocates until there are `count`, or at least one when memory is short.
    pub(super) fn fill(&mut self, count: usize, contents: Contents) -> Result<(), OutOfMemory> {
        if self.contents != contents {
            self.clear();
            self.contents = contents;
        }
        while self.count < count.min(MAX_SPARE) {
            match self.allocate() {
                Ok(frame) => {
                    if let Some(slot) = self.frames.get_mut(self.count) {
                        *slot = Some(frame);
                        self.count += 1;
                    }
                }
                Err(_) if self.count > 0 => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn allocate(&self) -> Result<Frame, OutOfMemory> {
        self.budget.take(1)?;
        let frame = match self.contents {
            Contents::Any => Frame::uncleared(),
            Contents::Zero => Frame::zeroed(),
        };
        frame.ok_or_else(|| {
            self.budget.give(1);
            OutOfMemory
        })
    }

    /// Takes a frame of the wanted contents, with its charge.
    pub(super) fn take(&mut self, contents: Contents) -> Option<Frame> {
        let last = self.count.checked_sub(1)?;
        let frame = self.frames.get_mut(last)?.take()?;
        self.count = last;
        if contents == Contents::Zero && self.contents == Contents::Any {
            frame.zero(0, FRAME_SIZE);
        }
        Some(frame)
    }

    /// Puts back a frame that was taken and could not be used; its contents may be anything.
    pub(super) fn put_back(&mut self, frame: Frame) {
        if let Some(slot) = self.frames.get_mut(self.count) {
            *slot = Some(frame);
            self.count += 1;
            self.contents = Contents::Any;
        }
    }

    fn clear(&mut self) {
        let frames = self.frames.iter_mut().filter_map(Option::take);
        self.budget.give(frames.filter_map(|frame| frame.release().then_some(1)).sum());
        self.count = 0;
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.clear();
    }
}
