//! [`Ring`]: the pages between the ends of a pipe. No locks here: [`super::Pipe`] holds one around it.

use crate::abi::Errno;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::collections::VecDeque;
use chitin_core::frame::{FRAME_SIZE, Frame};

/// Pages of a new pipe.
pub const DEFAULT_PAGES: usize = 16;
/// Writes of at most so many bytes are atomic (`PIPE_BUF`).
pub const ATOMIC_BYTES: usize = 4096;

/// How a buffer may be extended by the write that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Further bytes may be appended.
    Appendable,
    /// It stays as it is: its frame is shared (splice, tee).
    Fixed,
    /// It is a packet (`O_DIRECT`): one read takes it, and what does not fit is lost.
    Packet,
}

/// Bytes of one frame that wait to be read.
#[derive(Debug)]
pub struct Buffer {
    /// The page.
    pub frame: Frame,
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
    /// Whether it may grow.
    pub growth: Growth,
}

/// The buffers of a pipe, and who has it open.
#[derive(Debug)]
pub(super) struct Ring {
    buffers: VecDeque<Buffer>,
    pages: usize,
    spare: Option<Frame>,
    /// Open read ends.
    pub(super) readers: usize,
    /// Open write ends.
    pub(super) writers: usize,
    /// Read ends ever opened.
    pub(super) reader_opens: u64,
    /// Write ends ever opened.
    pub(super) writer_opens: u64,
}

impl Ring {
    /// Nothing written, nobody there.
    pub(super) fn new(pages: usize) -> Self {
        Self {
            buffers: VecDeque::with_capacity(pages),
            pages,
            spare: None,
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
        }
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Whether there is no free page.
    pub(super) fn is_full(&self) -> bool {
        self.buffers.len() >= self.pages
    }

    /// Pages in all.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes that wait to be read.
    pub(super) fn len(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.len).sum()
    }

    /// Gives the ring another number of pages.
    ///
    /// # Errors
    /// `EBUSY` when more are in use.
    pub(super) fn resize(&mut self, pages: usize) -> Result<(), Errno> {
        if self.buffers.len() > pages {
            return Err(Errno::EBUSY);
        }
        self.buffers.reserve(pages.saturating_sub(self.buffers.len()));
        self.pages = pages;
        Ok(())
    }

    /// Drops everything written: nobody can read it any more.
    pub(super) fn discard(&mut self) {
        self.buffers.clear();
        self.spare = None;
    }

    /// See read(2) and pipe(7).
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) fn read(&mut self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let start = to.done();
        if to.remaining() == 0 {
            return Ok(0);
        }
        while let Some(front) = self.buffers.front_mut() {
            let before = to.done();
            let copied = to.write_frame(&front.frame, front.offset, front.len);
            let packet = front.growth == Growth::Packet;
            if let Some(fault) = to.fault() {
                if packet {
                    to.rewind(before);
                } else {
                    front.offset += copied;
                    front.len -= copied;
                }
                let done = to.done() - start;
                return if done > 0 { Ok(done) } else { Err(Stop::Fault(fault)) };
            }
            front.offset += copied;
            front.len -= copied;
            if front.len == 0 || packet {
                self.pop();
            }
            if packet || to.remaining() == 0 {
                return Ok(to.done() - start);
            }
        }
        let done = to.done() - start;
        if done > 0 || self.writers == 0 { Ok(done) } else { Err(Stop::WouldBlock) }
    }

    /// See write(2) and pipe(7); `packets` as `O_DIRECT` says.
    ///
    /// # Errors
    /// [`Stop`]; `EPIPE` when nobody can read.
    pub(super) fn write(&mut self, from: &mut IoReader<'_>, packets: bool) -> Result<usize, Stop> {
        let start = from.done();
        if self.readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        let total = from.remaining();
        if total == 0 {
            return Ok(0);
        }
        if !packets {
            self.append(from, total % FRAME_SIZE)?;
        }
        while from.remaining() > 0 {
            if self.is_full() {
                break;
            }
            let Some(frame) = self.spare.take().or_else(Frame::uncleared) else {
                return self.stopped(from, start, Errno::ENOMEM.into());
            };
            let before = from.done();
            let want = from.remaining().min(FRAME_SIZE);
            let copied = from.read_frame(&frame, 0, want);
            if copied < want {
                // The rest of the page would not be atomic with what is there: take it all again after the fault.
                let fault = from.fault().map_or(Stop::Errno(Errno::EFAULT), Stop::Fault);
                from.rewind(before);
                self.spare = Some(frame);
                return self.stopped(from, start, fault);
            }
            let growth = if packets { Growth::Packet } else { Growth::Appendable };
            self.buffers.push_back(Buffer { frame, offset: 0, len: copied, growth });
        }
        let done = from.done() - start;
        if done > 0 { Ok(done) } else { Err(Stop::WouldBlock) }
    }

    fn stopped(&self, from: &IoReader<'_>, start: usize, stop: Stop) -> Result<usize, Stop> {
        let done = from.done() - start;
        if done > 0 { Ok(done) } else { Err(stop) }
    }

    /// Appends `len` bytes to the last buffer if all of them fit there.
    fn append(&mut self, from: &mut IoReader<'_>, len: usize) -> Result<(), Stop> {
        let Some(last) = self.buffers.back_mut() else { return Ok(()) };
        let end = last.offset + last.len;
        if len == 0 || last.growth != Growth::Appendable || end + len > FRAME_SIZE {
            return Ok(());
        }
        let before = from.done();
        let copied = from.read_frame(&last.frame, end, len);
        if copied < len {
            let fault = from.fault().map_or(Stop::Errno(Errno::EFAULT), Stop::Fault);
            from.rewind(before);
            return Err(fault);
        }
        last.len += copied;
        Ok(())
    }

    fn pop(&mut self) {
        if let Some(buffer) = self.buffers.pop_front()
            && buffer.growth != Growth::Fixed
            && buffer.frame.handles() == 1
        {
            self.spare = Some(buffer.frame);
        }
    }

    /// Takes up to `len` bytes out as frames, for splice(2).
    pub(super) fn take(&mut self, len: usize) -> Option<Buffer> {
        let front = self.buffers.front_mut()?;
        if front.len <= len {
            return self.buffers.pop_front();
        }
        let head = Buffer { frame: front.frame.clone(), offset: front.offset, len, growth: Growth::Fixed };
        front.offset += len;
        front.len -= len;
        front.growth = if front.growth == Growth::Packet { Growth::Packet } else { Growth::Fixed };
        Some(head)
    }

    /// A second handle of up to `len` bytes of the buffer at `index`, for tee(2). Neither may grow afterwards.
    pub(super) fn share(&mut self, index: usize, len: usize) -> Option<Buffer> {
        let buffer = self.buffers.get_mut(index)?;
        if buffer.growth == Growth::Appendable {
            buffer.growth = Growth::Fixed;
        }
        let growth = buffer.growth;
        Some(Buffer { frame: buffer.frame.clone(), offset: buffer.offset, len: buffer.len.min(len), growth })
    }

    /// Puts bytes of a frame at the end, for splice(2).
    ///
    /// # Errors
    /// Gives the buffer back when the ring is full.
    pub(super) fn put(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        if self.is_full() {
            return Err(buffer);
        }
        self.buffers.push_back(buffer);
        Ok(())
    }

    /// Puts back what [`Ring::take`] took and could not be used.
    pub(super) fn put_back(&mut self, buffer: Buffer) {
        self.buffers.push_front(buffer);
    }
}
