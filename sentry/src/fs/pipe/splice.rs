//! Moving pages between pipes (splice(2), tee(2)) without copying.

use super::{Buffer, End, Growth, Pipe};
use crate::abi::Errno;
use crate::wait::Stop;
use alloc::vec::Vec;
use chitin_core::frame::Frame;

/// Most buffers that one step moves.
const STEP: usize = 16;

impl Pipe {
    /// Takes up to `len` bytes out, as frames.
    ///
    /// # Errors
    /// [`Stop::WouldBlock`] when it is empty but somebody may still write; an empty result is end of file.
    pub fn try_take(&self, len: usize) -> Result<Vec<Buffer>, Stop> {
        self.change(|ring| {
            let mut taken = Vec::new();
            let mut left = len;
            while left > 0 && taken.len() < STEP {
                let Some(buffer) = ring.take(left) else { break };
                left -= buffer.len;
                taken.push(buffer);
            }
            if taken.is_empty() && ring.writers > 0 && len > 0 { Err(Stop::WouldBlock) } else { Ok(taken) }
        })
    }

    /// Puts back, in their order, buffers that could not be used.
    pub fn put_back(&self, buffers: Vec<Buffer>) {
        self.change(|ring| buffers.into_iter().rev().for_each(|buffer| ring.put_back(buffer)));
    }

    /// Puts buffers at the end; gives back those for which there is no room.
    ///
    /// # Errors
    /// `EPIPE` when nobody can read.
    pub fn try_put(&self, buffers: Vec<Buffer>) -> Result<Vec<Buffer>, Errno> {
        self.change(|ring| {
            if ring.readers == 0 {
                return Err(Errno::EPIPE);
            }
            Ok(buffers.into_iter().filter_map(|buffer| ring.put(buffer).err()).collect())
        })
    }

    /// Puts `len` bytes of a frame at the end.
    ///
    /// # Errors
    /// `EPIPE` when nobody can read, [`Stop::WouldBlock`] when there is no room.
    pub fn try_put_frame(&self, frame: Frame, offset: usize, len: usize) -> Result<usize, Stop> {
        let rest = self.try_put(alloc::vec![Buffer { frame, offset, len, growth: Growth::Fixed }])?;
        if rest.is_empty() { Ok(len) } else { Err(Stop::WouldBlock) }
    }

    /// Whether a page can be put.
    ///
    /// # Errors
    /// `EPIPE` when nobody can read, [`Stop::WouldBlock`] when there is no room.
    pub fn try_room(&self) -> Result<(), Stop> {
        let ring = self.ring.lock();
        if ring.readers == 0 {
            Err(Errno::EPIPE.into())
        } else if ring.is_full() {
            Err(Stop::WouldBlock)
        } else {
            Ok(())
        }
    }
}

/// Moves up to `len` bytes from one pipe to another (splice(2)).
///
/// # Errors
/// `EINVAL` for one and the same pipe; [`Stop::WouldBlock`] when either side cannot go on.
pub fn try_move(from: &End, to: &End, len: usize) -> Result<usize, Stop> {
    if core::ptr::eq(&raw const **from.pipe(), &raw const **to.pipe()) {
        return Err(Errno::EINVAL.into());
    }
    to.pipe().try_room()?;
    let buffers = from.pipe().try_take(len)?;
    let total: usize = buffers.iter().map(|buffer| buffer.len).sum();
    if total == 0 {
        return Ok(0);
    }
    let rest = to.pipe().try_put(buffers)?;
    let left: usize = rest.iter().map(|buffer| buffer.len).sum();
    from.pipe().put_back(rest);
    if left == total { Err(Stop::WouldBlock) } else { Ok(total - left) }
}

/// Duplicates up to `len` bytes of one pipe into another (tee(2)).
///
/// # Errors
/// As [`try_move`].
pub fn try_tee(from: &End, to: &End, len: usize) -> Result<usize, Stop> {
    if core::ptr::eq(&raw const **from.pipe(), &raw const **to.pipe()) {
        return Err(Errno::EINVAL.into());
    }
    to.pipe().try_room()?;
    let (buffers, writers) = {
        let mut ring = from.pipe().ring.lock();
        let mut left = len;
        let mut shared = Vec::new();
        while left > 0 && shared.len() < STEP {
            let Some(buffer) = ring.share(shared.len(), left) else { break };
            left -= buffer.len;
            shared.push(buffer);
        }
        (shared, ring.writers)
    };
    let total: usize = buffers.iter().map(|buffer| buffer.len).sum();
    if total == 0 {
        return if writers > 0 && len > 0 { Err(Stop::WouldBlock) } else { Ok(0) };
    }
    let left: usize = to.pipe().try_put(buffers)?.iter().map(|buffer| buffer.len).sum();
    if left == total { Err(Stop::WouldBlock) } else { Ok(total - left) }
}
