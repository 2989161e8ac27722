//! [`IoReader`] and [`IoWriter`]: cursors over user, kernel or frame memory that never fault pages in.

use super::UserAddr;
use crate::abi::Errno;
use crate::platform::{Access, Space};
use chitin_core::frame::Frame;

/// A range of user memory, checked to lie in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSlice {
    /// First byte.
    pub addr: UserAddr,
    /// Bytes.
    pub len: usize,
}

impl UserSlice {
    /// Checks the range.
    ///
    /// # Errors
    /// `EFAULT` when it leaves user space.
    pub fn new(addr: UserAddr, len: usize) -> Result<Self, Errno> {
        if addr.is_range(len as u64) { Ok(Self { addr, len }) } else { Err(Errno::EFAULT) }
    }
}

/// Where a cursor met a page that is not mapped as needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault {
    /// First byte that could not be copied.
    pub addr: UserAddr,
    /// What was attempted.
    pub access: Access,
}

struct UserCursor<'a> {
    space: &'a dyn Space,
    /// All slices, for [`UserCursor::rewind`].
    all: &'a [UserSlice],
    slices: &'a [UserSlice],
    /// Bytes done of the first of `slices`.
    within: usize,
    remaining: usize,
    fault: Option<UserFault>,
}

impl<'a> UserCursor<'a> {
    fn new(space: &'a dyn Space, slices: &'a [UserSlice]) -> Self {
        let remaining = slices.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len));
        Self { space, all: slices, slices, within: 0, remaining, fault: None }
    }

    /// Goes back to where `done` bytes were done, of `total`.
    fn rewind(&mut self, done: usize, total: usize) {
        self.slices = self.all;
        self.within = 0;
        self.remaining = total.saturating_sub(done);
        let mut skip = done;
        while let Some((first, rest)) = self.slices.split_first() {
            if skip < first.len {
                self.within = skip;
                return;
            }
            skip -= first.len;
            self.slices = rest;
        }
    }

    /// All addresses and lengths that are ahead, or-ed.
    fn alignment(&self) -> usize {
        let within = self.within;
        let pieces = self.slices.iter().enumerate().filter(|(_, slice)| slice.len > 0);
        pieces.fold(0, |bits, (at, slice)| {
            let skipped = if at == 0 { within } else { 0 };
            let start = slice.addr.get().wrapping_add(skipped as u64);
            bits | usize::try_from(start).unwrap_or(1) | slice.len.saturating_sub(skipped)
        })
    }

    /// Current position and the bytes that follow it in one piece.
    fn piece(&mut self) -> Option<(UserAddr, usize)> {
        while let Some((first, rest)) = self.slices.split_first() {
            if self.within < first.len {
                return Some((first.addr.checked_add(self.within as u64)?, first.len - self.within));
            }
            self.slices = rest;
            self.within = 0;
        }
        None
    }

    /// Runs `copy(position, done, part)` piece by piece for at most `len` bytes.
    fn run(
        &mut self,
        len: usize,
        access: Access,
        mut copy: impl FnMut(&dyn Space, UserAddr, usize, usize) -> Result<(), crate::platform::CopyFault>,
    ) -> usize {
        let mut done = 0;
        self.fault = None;
        let len = len.min(self.remaining);
        while done < len {
            let Some((at, piece)) = self.piece() else { break };
            let part = piece.min(len - done);
            let result = copy(self.space, at, done, part);
            let copied = result.map_or_else(|fault| fault.done.min(part), |()| part);
            self.within += copied;
            self.remaining -= copied;
            done += copied;
            if result.is_err() {
                let addr = at.checked_add(copied as u64).unwrap_or(at);
                self.fault = Some(UserFault { addr, access });
                break;
            }
        }
        done
    }
}

enum Source<'a> {
    User(UserCursor<'a>),
    /// All bytes, and those not yet taken.
    Kernel(&'a [u8], &'a [u8]),
}

/// Bytes that an operation takes, such as the buffer of write(2).
pub struct IoReader<'a> {
    source: Source<'a>,
    total: usize,
}

impl<'a> IoReader<'a> {
    /// Over user memory.
    #[must_use]
    pub fn user(space: &'a dyn Space, slices: &'a [UserSlice]) -> Self {
        let cursor = UserCursor::new(space, slices);
        Self { total: cursor.remaining, source: Source::User(cursor) }
    }

    /// Over bytes of the kernel.
    #[must_use]
    pub fn kernel(bytes: &'a [u8]) -> Self {
        Self { total: bytes.len(), source: Source::Kernel(bytes, bytes) }
    }

    /// Addresses and lengths of what is ahead, or-ed: a multiple of a power of two if all of them are. Bytes of the kernel
    /// lie anywhere.
    #[must_use]
    pub fn alignment(&self) -> usize {
        match &self.source {
            Source::User(cursor) => cursor.alignment(),
            Source::Kernel(_, bytes) => bytes.len(),
        }
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.source {
            Source::User(cursor) => cursor.remaining,
            Source::Kernel(_, bytes) => bytes.len(),
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.total - self.remaining()
    }

    /// The fault that cut the last copy short, if one did.
    #[must_use]
    pub fn fault(&self) -> Option<UserFault> {
        match &self.source {
            Source::User(cursor) => cursor.fault,
            Source::Kernel(..) => None,
        }
    }

    /// Goes back to where `done` bytes were taken, so that the rest is taken once more.
    pub fn rewind(&mut self, done: usize) {
        let total = self.total;
        match &mut self.source {
            Source::User(cursor) => cursor.rewind(done, total),
            Source::Kernel(all, bytes) => *bytes = all.get(done..).unwrap_or_default(),
        }
    }

    /// Runs `f` with at most `limit` bytes of what is left to take.
    pub fn with_limit<R>(&mut self, limit: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let hidden = self.remaining().saturating_sub(limit);
        match &mut self.source {
            Source::User(cursor) => {
                cursor.remaining -= hidden;
                self.total -= hidden;
                let result = f(self);
                if let Source::User(cursor) = &mut self.source {
                    cursor.remaining += hidden;
                }
                self.total += hidden;
                result
            }
            Source::Kernel(all, bytes) => {
                let (whole, before) = (*all, *bytes);
                let end = whole.len() - hidden;
                *all = whole.get(..end).unwrap_or_default();
                *bytes = before.get(..before.len() - hidden).unwrap_or_default();
                self.total = end;
                let result = f(self);
                let done = self.done();
                self.total = whole.len();
                self.source = Source::Kernel(whole, whole.get(done..).unwrap_or_default());
                result
            }
        }
    }

    /// Takes up to `len` bytes without looking at them; returns how many.
    pub fn skip(&mut self, len: usize) -> usize {
        let len = len.min(self.remaining());
        let done = self.done();
        self.rewind(done + len);
        len
    }

    /// Copies to `to`; returns the bytes copied: fewer than `to` holds at the end of the data or at a fault.
    pub fn read(&mut self, to: &mut [u8]) -> usize {
        match &mut self.source {
            Source::User(cursor) => cursor.run(to.len(), Access::Read, |space, at, done, part| {
                space.copy_in(at, to.get_mut(done..done + part).unwrap_or_default())
            }),
            Source::Kernel(_, bytes) => {
                let len = to.len().min(bytes.len());
                let (head, tail) = bytes.split_at(len);
                if let Some(to) = to.get_mut(..len) {
                    to.copy_from_slice(head);
                }
                *bytes = tail;
                len
            }
        }
    }

    /// Copies up to `len` bytes into `frame` at `offset`; returns the bytes copied.
    pub fn read_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> usize {
        let len = len.min(chitin_core::frame::FRAME_SIZE.saturating_sub(offset));
        match &mut self.source {
            Source::User(cursor) => cursor.run(len, Access::Read, |space, at, done, part| {
                space.copy_in_frame(at, frame, offset + done, part)
            }),
            Source::Kernel(_, bytes) => {
                let (head, tail) = bytes.split_at(len.min(bytes.len()));
                let copied = frame.copy_in(offset, head);
                *bytes = tail;
                copied
            }
        }
    }
}

enum Sink<'a> {
    User(UserCursor<'a>),
    Kernel { bytes: &'a mut [u8], done: usize },
}

/// Room that an operation fills, such as the buffer of read(2).
pub struct IoWriter<'a> {
    sink: Sink<'a>,
    total: usize,
}

impl<'a> IoWriter<'a> {
    /// Over user memory.
    #[must_use]
    pub fn user(space: &'a dyn Space, slices: &'a [UserSlice]) -> Self {
        let cursor = UserCursor::new(space, slices);
        Self { total: cursor.remaining, sink: Sink::User(cursor) }
    }

    /// Over bytes of the kernel.
    #[must_use]
    pub fn kernel(bytes: &'a mut [u8]) -> Self {
        Self { total: bytes.len(), sink: Sink::Kernel { bytes, done: 0 } }
    }

    /// As [`IoReader::alignment`].
    #[must_use]
    pub fn alignment(&self) -> usize {
        match &self.sink {
            Sink::User(cursor) => cursor.alignment(),
            Sink::Kernel { bytes, done } => bytes.len() - done,
        }
    }

    /// Room left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.sink {
            Sink::User(cursor) => cursor.remaining,
            Sink::Kernel { bytes, done } => bytes.len() - done,
        }
    }

    /// Bytes filled so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.total - self.remaining()
    }

    /// The fault that cut the last copy short, if one did.
    #[must_use]
    pub fn fault(&self) -> Option<UserFault> {
        match &self.sink {
            Sink::User(cursor) => cursor.fault,
            Sink::Kernel { .. } => None,
        }
    }

    /// Goes back to where `to` bytes were filled, so that the rest is filled once more.
    pub fn rewind(&mut self, to: usize) {
        let total = self.total;
        match &mut self.sink {
            Sink::User(cursor) => cursor.rewind(to, total),
            Sink::Kernel { done, .. } => *done = to.min(total),
        }
    }

    /// Copies `from`; returns the bytes copied: fewer than it holds when the room ends or at a fault.
    pub fn write(&mut self, from: &[u8]) -> usize {
        match &mut self.sink {
            Sink::User(cursor) => cursor.run(from.len(), Access::Write, |space, at, done, part| {
                space.copy_out(at, from.get(done..done + part).unwrap_or_default())
            }),
            Sink::Kernel { bytes, done } => {
                let room = bytes.get_mut(*done..).unwrap_or_default();
                let len = room.len().min(from.len());
                if let (Some(room), Some(from)) = (room.get_mut(..len), from.get(..len)) {
                    room.copy_from_slice(from);
                }
                *done += len;
                len
            }
        }
    }

    /// Copies up to `len` bytes of `frame` from `offset`; returns the bytes copied.
    pub fn write_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> usize {
        let len = len.min(chitin_core::frame::FRAME_SIZE.saturating_sub(offset));
        match &mut self.sink {
            Sink::User(cursor) => cursor.run(len, Access::Write, |space, at, done, part| {
                space.copy_out_frame(at, frame, offset + done, part)
            }),
            Sink::Kernel { bytes, done } => {
                let room = bytes.get_mut(*done..).unwrap_or_default();
                let fits = len.min(room.len());
                let copied = frame.copy_out(offset, room.get_mut(..fits).unwrap_or_default());
                *done += copied;
                copied
            }
        }
    }

    /// Fills up to `len` bytes with zeroes; returns the bytes filled.
    pub fn zero(&mut self, len: usize) -> usize {
        const ZEROES: [u8; 512] = [0; 512];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(ZEROES.len());
            let copied = self.write(ZEROES.get(..part).unwrap_or_default());
            done += copied;
            if copied < part {
                break;
            }
        }
        done
    }
}
