//! [`Pages`]: the cache's way to the device, and the errors that fsync has to tell.
//!
//! A page that could not be written is clean afterwards, as on Linux: the error is told once to everyone who has the device
//! open (fsync(2)), and what the device holds there is not known. Each failure has a number; an open file remembers the last
//! one that it was told of.

use crate::abi::Errno;
use crate::cache::Backing;
use crate::platform::{BlockError, BlockPort, BlockRequest};
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use chitin_proto::block::{MAX_SEGMENTS, SECTOR};
use core::sync::atomic::{AtomicBool, Ordering};

/// Level of the lock around the errors.
pub(super) const LEVEL: Level = Level(101);

/// Pages of one request.
const MOST: usize = MAX_SEGMENTS as usize;

/// Failures so far.
#[derive(Clone, Copy)]
struct Errors {
    count: u32,
    last: Errno,
    /// Somebody was told of the last one.
    is_told: bool,
}

/// A device below its cache.
pub(super) struct Pages {
    port: &'static dyn BlockPort,
    size: u64,
    is_gone: AtomicBool,
    errors: SpinLock<Errors>,
}

impl Pages {
    pub(super) fn new(port: &'static dyn BlockPort, size: u64) -> Arc<Self> {
        let none = Errors { count: 0, last: Errno::EIO, is_told: true };
        Arc::new(Self { port, size, is_gone: AtomicBool::new(false), errors: SpinLock::new(LEVEL, none) })
    }

    pub(super) fn remove(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Sends a request.
    pub(super) fn call(&self, sleeper: &Sleeper, request: BlockRequest<'_>) -> Result<(), Errno> {
        if self.is_gone.load(Ordering::Acquire) {
            return Err(Errno::EIO);
        }
        self.port.call(sleeper, request).map_err(|error| match error {
            BlockError::Io => Errno::EIO,
            BlockError::NoSpace => Errno::ENOSPC,
            BlockError::Unsupported => Errno::EOPNOTSUPP,
            BlockError::NoMemory => Errno::ENOMEM,
        })
    }

    /// Reads or writes bytes from `at` on, in as many requests as it takes.
    pub(super) fn transfer(
        &self,
        sleeper: &Sleeper,
        at: u64,
        frames: &[Frame],
        len: usize,
        way: Way,
    ) -> Result<(), Errno> {
        let mut left = len;
        for (part, frames) in frames.chunks(MOST).enumerate() {
            let sector = at.saturating_add((part * MOST * FRAME_SIZE) as u64) / SECTOR;
            let len = left.min(frames.len() * FRAME_SIZE);
            if len == 0 {
                break;
            }
            let request = match way {
                Way::In => BlockRequest::Read { sector, frames, len },
                Way::Out => BlockRequest::Write { sector, frames, len },
            };
            self.call(sleeper, request)?;
            left -= len;
        }
        Ok(())
    }

    /// Number of the last failure that someone who opens the device now need not hear of.
    pub(super) fn errors_at_open(&self) -> u32 {
        let errors = *self.errors.lock();
        if errors.is_told { errors.count } else { errors.count.wrapping_sub(1) }
    }

    /// Number of the last failure.
    pub(super) fn errors(&self) -> u32 {
        self.errors.lock().count
    }

    fn failed(&self, errno: Errno) {
        let mut errors = self.errors.lock();
        *errors = Errors { count: errors.count.wrapping_add(1), last: errno, is_told: false };
    }

    /// The last failure, if there was one after number `seen`; does not count as telling.
    pub(super) fn error_since(&self, seen: u32) -> Result<(), Errno> {
        let errors = *self.errors.lock();
        if errors.count == seen { Ok(()) } else { Err(errors.last) }
    }

    /// As [`Pages::error_since`], to be told to the program; `seen` becomes the number of the last failure.
    pub(super) fn tell_error(&self, seen: &mut u32) -> Result<(), Errno> {
        let mut errors = self.errors.lock();
        if errors.count == *seen {
            return Ok(());
        }
        *seen = errors.count;
        errors.is_told = true;
        Err(errors.last)
    }

    /// Makes what was written durable. A failure counts as one of writing.
    pub(super) fn flush(&self, sleeper: &Sleeper) {
        match self.call(sleeper, BlockRequest::Flush) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => self.failed(errno),
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the device.
    In,
    /// To it.
    Out,
}

impl Backing for Pages {
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno> {
        let at = index.saturating_mul(FRAME_SIZE as u64);
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        self.transfer(sleeper, at, frames, left.min(frames.len() * FRAME_SIZE), Way::In)
    }

    fn write_back(&self, sleeper: &Sleeper, index: u64, frames: &[Frame], len: usize) -> Result<(), Errno> {
        let at = index.saturating_mul(FRAME_SIZE as u64);
        match self.transfer(sleeper, at, frames, len, Way::Out) {
            // Not the device's fault: the pages stay changed and are written later.
            Err(Errno::ENOMEM) => Err(Errno::ENOMEM),
            Err(errno) => {
                self.failed(errno);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn sync(&self, sleeper: &Sleeper) -> Result<(), Errno> {
        let mut seen = self.errors_at_open();
        self.flush(sleeper);
        self.tell_error(&mut seen)
    }
}
