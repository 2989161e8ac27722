//! Pipes and FIFOs (pipe(7), fifo(7)): a ring of pages between read ends and write ends.
//!
//! [`Pipe`] is what both ends share, [`End`] the stream behind an open file, [`fifo::open`] opens a named one.
//! Locks: `Pipe::ring` (level [`LEVEL`]) alone; queues are woken after it is released, readers after each write,
//! writers only when a full pipe has room again.

pub mod fifo;
mod ring;
pub mod splice;
#[cfg(test)]
mod tests;

use crate::abi::Errno;
use crate::fs::open_file::FileBody;
use crate::fs::{Attr, OpenFile, Stream, anon};
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::frame::FRAME_SIZE;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use ring::Ring;
pub use ring::{ATOMIC_BYTES, Buffer, DEFAULT_PAGES, Growth};

/// Level of the lock of a pipe.
pub const LEVEL: Level = Level(140);

/// Largest pipe that an unprivileged caller may ask for (`/proc/sys/fs/pipe-max-size`).
pub const MAX_BYTES: usize = 1 << 20;

/// Pages that all pipes may have before new ones get two only (`/proc/sys/fs/pipe-user-pages-soft`).
const SOFT_PAGES: usize = 16384;

/// `FIONREAD`.
pub const FIONREAD: u32 = 0x541b;

static PAGES: AtomicUsize = AtomicUsize::new(0);

/// What the ends of a pipe share.
pub struct Pipe {
    ring: SpinLock<Ring>,
    readable: WaitQueue,
    writable: WaitQueue,
    ino: u64,
}

impl Pipe {
    /// A pipe that nobody has open.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let pages = if PAGES.load(Ordering::Relaxed) > SOFT_PAGES { 2 } else { DEFAULT_PAGES };
        PAGES.fetch_add(pages, Ordering::Relaxed);
        Arc::new(Self {
            ring: SpinLock::new(LEVEL, Ring::new(pages)),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            ino: anon::next_ino(),
        })
    }

    /// Both ends of a new pipe (pipe(2)): read end, write end.
    #[must_use]
    pub fn pair() -> (Arc<End>, Arc<End>) {
        let pipe = Self::new();
        let (reader, _) = pipe.attach(Side::Read);
        let (writer, _) = pipe.attach(Side::Write);
        // A reader of an unnamed pipe sees a hang-up whenever there is no writer.
        let reader =
            End { pipe: pipe.clone(), side: Side::Read, packets: AtomicBool::new(false), seen: reader };
        let writer = End { pipe, side: Side::Write, packets: AtomicBool::new(false), seen: writer };
        (Arc::new(reader), Arc::new(writer))
    }

    /// Counts an end in. Returns how many writers, and how many readers, had come before.
    fn attach(&self, side: Side) -> (u64, u64) {
        let mut ring = self.ring.lock();
        let before = (ring.writer_opens, ring.reader_opens);
        if side.reads() {
            ring.readers += 1;
            ring.reader_opens += 1;
        }
        if side.writes() {
            ring.writers += 1;
            ring.writer_opens += 1;
        }
        before
    }

    /// Counts an end out.
    fn detach(&self, side: Side) {
        let mut ring = self.ring.lock();
        if side.reads() {
            ring.readers = ring.readers.saturating_sub(1);
        }
        if side.writes() {
            ring.writers = ring.writers.saturating_sub(1);
        }
        if ring.readers == 0 && ring.writers == 0 {
            ring.discard();
        }
        let (no_readers, no_writers) = (ring.readers == 0, ring.writers == 0);
        drop(ring);
        if no_readers {
            self.writable.wake_all();
        }
        if no_writers {
            self.readable.wake_all();
        }
    }

    /// Runs `change` on the ring, then wakes those who can now go on.
    fn change<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = self.ring.lock();
        let (was_empty, was_full) = (ring.is_empty(), ring.is_full());
        let result = change(&mut ring);
        let readable = was_empty && !ring.is_empty();
        let writable = was_full && !ring.is_full();
        drop(ring);
        if readable {
            self.readable.wake_all();
        }
        if writable {
            self.writable.wake_all();
        }
        result
    }

    /// Capacity in bytes (`F_GETPIPE_SZ`).
    #[must_use]
    pub fn size(&self) -> usize {
        self.ring.lock().pages() * FRAME_SIZE
    }

    /// Sets the capacity (`F_SETPIPE_SZ`), rounded up to a power of two pages; `privileged` is `CAP_SYS_RESOURCE`.
    ///
    /// # Errors
    /// `EPERM` above [`MAX_BYTES`] for the unprivileged, `EINVAL` beyond 2 GiB, `EBUSY` when more is in use.
    pub fn set_size(&self, bytes: usize, privileged: Privilege) -> Result<usize, Errno> {
        let pages = bytes.div_ceil(FRAME_SIZE).max(1).checked_next_power_of_two().ok_or(Errno::EINVAL)?;
        if pages > (1 << 31) / FRAME_SIZE {
            return Err(Errno::EINVAL);
        }
        let grows = pages > self.ring.lock().pages();
        let beyond = pages * FRAME_SIZE > MAX_BYTES || PAGES.load(Ordering::Relaxed) + pages > SOFT_PAGES;
        if grows && beyond && privileged == Privilege::None {
            return Err(Errno::EPERM);
        }
        if pages > SOFT_PAGES {
            return Err(Errno::ENOMEM);
        }
        let before = self.ring.lock().pages();
        self.change(|ring| ring.resize(pages))?;
        PAGES.fetch_add(pages, Ordering::Relaxed);
        PAGES.fetch_sub(before, Ordering::Relaxed);
        Ok(pages * FRAME_SIZE)
    }

    /// Bytes that wait to be read (`FIONREAD`).
    #[must_use]
    pub fn readable_bytes(&self) -> usize {
        self.ring.lock().len()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PAGES.fetch_sub(self.ring.get_mut().pages(), Ordering::Relaxed);
    }
}

/// Whether the caller may go beyond the usual limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// `CAP_SYS_RESOURCE`.
    Resource,
    /// No capability.
    None,
}

/// What an end is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both: a FIFO opened with `O_RDWR`.
    Both,
}

impl Side {
    const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

/// An open end of a pipe.
pub struct End {
    pipe: Arc<Pipe>,
    side: Side,
    packets: AtomicBool,
    /// Writers ever seen when it was opened: a FIFO's reader sees no hang-up before the first writer came.
    seen: u64,
}

impl End {
    /// The pipe.
    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// What it is open for.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// Turns packet mode on or off: `O_DIRECT`, by pipe2(2) or `F_SETFL`.
    pub fn set_packets(&self, packets: bool) {
        self.packets.store(packets, Ordering::Relaxed);
    }
}

/// Whether a stream is the end of a pipe.
#[must_use]
pub fn is_end(stream: &dyn Stream) -> bool {
    stream.as_any().is::<End>()
}

/// The end of a pipe behind an open file, if it is one.
#[must_use]
pub fn of(file: &OpenFile) -> Option<&End> {
    match file.body() {
        FileBody::Stream(stream, _) => stream.as_any().downcast_ref(),
        _ => None,
    }
}

impl Stream for End {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        if !self.side.reads() {
            return Err(Errno::EBADF.into());
        }
        self.pipe.change(|ring| ring.read(to))
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        if !self.side.writes() {
            return Err(Errno::EBADF.into());
        }
        let packets = self.packets.load(Ordering::Relaxed);
        let (was_empty, result) = self.pipe.change(|ring| (ring.is_empty(), ring.write(from, packets)));
        if !was_empty && matches!(result, Ok(1..)) {
            // Edge-triggered watchers are to hear of every write.
            self.pipe.readable.wake_all();
        }
        result
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            if self.side.reads() {
                table.add(&self.pipe.readable);
            }
            if self.side.writes() {
                table.add(&self.pipe.writable);
            }
        }
        let ring = self.pipe.ring.lock();
        let mut mask = PollMask::empty();
        if self.side.reads() {
            mask.set(PollMask::IN | PollMask::RDNORM, !ring.is_empty());
            mask.set(PollMask::HUP, ring.writers == 0 && ring.writer_opens != self.seen);
        }
        if self.side.writes() {
            mask.set(PollMask::OUT | PollMask::WRNORM, !ring.is_full());
            mask.set(PollMask::ERR, ring.readers == 0);
        }
        mask
    }

    fn ioctl(
        &self,
        cx: &crate::fs::stream::IoctlCx<'_>,
        command: u32,
        argument: u64,
    ) -> Result<usize, Errno> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.pipe.readable_bytes()).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &bytes)?;
        Ok(0)
    }

    fn attr(&self) -> Attr {
        anon::attr(self.pipe.ino, 0o010_600)
    }

    fn name(&self) -> String {
        format!("pipe:[{}]", self.pipe.ino)
    }

    fn reopen(self: Arc<Self>, flags: u32) -> Result<Arc<dyn Stream>, Errno> {
        Ok(fifo::reopen(&self.pipe, flags))
    }

    fn released(&self) {
        self.pipe.detach(self.side);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
