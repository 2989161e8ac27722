//! [`Chain`]: bytes in frames, as messages hold them.

use crate::abi::Errno;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::collections::VecDeque;
use chitin_core::frame::{FRAME_SIZE, Frame};

/// Bytes in frames: `len` bytes from `start` of the first one.
#[derive(Default)]
pub(super) struct Chain {
    frames: VecDeque<Frame>,
    start: usize,
    len: usize,
}

impl Chain {
    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes up to `len` bytes. Stops early at a fault, which `from` remembers.
    ///
    /// # Errors
    /// `ENOBUFS` when there is no memory; what was taken before stays.
    pub(super) fn take(&mut self, from: &mut IoReader<'_>, len: usize) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len && from.remaining() > 0 {
            let end = self.start + self.len;
            let within = end % FRAME_SIZE;
            if end.div_ceil(FRAME_SIZE) >= self.frames.len() && within == 0 {
                self.frames.push_back(Frame::uncleared().ok_or(Errno::ENOBUFS)?);
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

    /// Room in the last frame.
    pub(super) fn slack(&self) -> usize {
        self.frames.len() * FRAME_SIZE - self.start - self.len
    }

    /// Copies from `skip` on to `to`, as much as both have. Stops early at a fault, which `to` remembers.
    pub(super) fn copy(&self, skip: usize, to: &mut IoWriter<'_>) -> usize {
        let mut done = 0;
        while skip + done < self.len && to.remaining() > 0 {
            let at = self.start + skip + done;
            let within = at % FRAME_SIZE;
            let Some(frame) = self.frames.get(at / FRAME_SIZE) else { break };
            let part = (FRAME_SIZE - within).min(self.len - skip - done).min(to.remaining());
            let copied = to.write_frame(frame, within, part);
            done += copied;
            if copied < part {
                break;
            }
        }
        done
    }

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.frames.truncate((self.start + self.len).div_ceil(FRAME_SIZE));
    }

    /// Lets go of the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.start += len;
        self.len -= len;
        while self.start >= FRAME_SIZE {
            self.frames.pop_front();
            self.start -= FRAME_SIZE;
        }
        if self.len == 0 {
            self.frames.truncate(1);
            self.start = 0;
        }
    }
}

/// A whole message, or nothing.
///
/// # Errors
/// [`Stop::Fault`], `ENOBUFS`; `from` is back where it was.
pub(super) fn whole(from: &mut IoReader<'_>) -> Result<Chain, Stop> {
    let start = from.done();
    let mut chain = Chain::default();
    let result = chain.take(from, from.remaining());
    if from.remaining() == 0 && result.is_ok() {
        return Ok(chain);
    }
    let stop = match (result, from.fault()) {
        (Err(errno), _) => errno.into(),
        (Ok(_), Some(fault)) => Stop::Fault(fault),
        (Ok(_), None) => Errno::EFAULT.into(),
    };
    from.rewind(start);
    Err(stop)
}
