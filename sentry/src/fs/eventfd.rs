//! Event counters (eventfd(2)).

use crate::abi::Errno;
use crate::fs::{Attr, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::fmt::Write;

/// Level of a counter's lock.
pub const LEVEL: Level = Level(145);

/// The largest value a counter has.
const MAX: u64 = u64::MAX - 1;

/// What a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The whole count.
    All,
    /// One (`EFD_SEMAPHORE`).
    One,
}

/// A counter behind a descriptor.
pub struct EventFd {
    count: SpinLock<u64>,
    take: Take,
    changed: WaitQueue,
    ino: u64,
}

impl EventFd {
    /// A counter that starts at `count`.
    #[must_use]
    pub fn new(count: u64, take: Take) -> Arc<Self> {
        Arc::new(Self {
            count: SpinLock::new(LEVEL, count.min(MAX)),
            take,
            changed: WaitQueue::new(),
            ino: anon::next_ino(),
        })
    }

    /// Counts `count` more, as far as there is room.
    pub fn add(&self, count: u64) {
        let mut sum = self.count.lock();
        *sum = sum.saturating_add(count).min(MAX);
        drop(sum);
        self.changed.wake_all();
    }
}

/// Copies a value that is read whole or not at all.
///
/// # Errors
/// `EINVAL` when there is no room for it, [`Stop::Fault`] with nothing filled.
pub(crate) fn put_whole(to: &mut IoWriter<'_>, value: &[u8]) -> Result<usize, Stop> {
    if to.remaining() < value.len() {
        return Err(Errno::EINVAL.into());
    }
    let start = to.done();
    to.write(value);
    if let Some(fault) = to.fault() {
        to.rewind(start);
        return Err(Stop::Fault(fault));
    }
    Ok(value.len())
}

impl Stream for EventFd {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let mut count = self.count.lock();
        if to.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        if *count == 0 {
            return Err(Stop::WouldBlock);
        }
        let taken = if self.take == Take::One { 1 } else { *count };
        put_whole(to, &taken.to_ne_bytes())?;
        *count -= taken;
        drop(count);
        self.changed.wake_all();
        Ok(8)
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        let start = from.done();
        let mut value = [0; 8];
        if from.remaining() < value.len() {
            return Err(Errno::EINVAL.into());
        }
        from.read(&mut value);
        if let Some(fault) = from.fault() {
            from.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let value = u64::from_ne_bytes(value);
        let mut count = self.count.lock();
        if value == u64::MAX {
            from.rewind(start);
            return Err(Errno::EINVAL.into());
        }
        let Some(sum) = count.checked_add(value).filter(|sum| *sum <= MAX) else {
            from.rewind(start);
            return Err(Stop::WouldBlock);
        };
        *count = sum;
        drop(count);
        self.changed.wake_all();
        Ok(8)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.changed);
        }
        let count = *self.count.lock();
        let mut mask = PollMask::empty();
        mask.set(PollMask::IN, count > 0);
        mask.set(PollMask::OUT, count < MAX);
        mask
    }

    fn fdinfo(&self, out: &mut String) {
        let count = *self.count.lock();
        let semaphore = u8::from(self.take == Take::One);
        let _ = write!(
            out,
            "eventfd-count: {count:16x}\neventfd-id: {}\neventfd-semaphore: {semaphore}\n",
            self.ino
        );
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[eventfd]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
