//! Signals read from a descriptor (signalfd(2)).
//!
//! The descriptor takes the signals of the process and thread that made it; one inherited over fork(2) still does, where
//! Linux would take the reader's.

use crate::abi::Errno;
use crate::fs::{Attr, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of `struct signalfd_siginfo`.
pub const INFO_SIZE: usize = 128;

/// Signals that wait for somebody.
pub trait PendingSignals: Send + Sync {
    /// Takes the first one of `set` (bit 0 is signal 1) as `struct signalfd_siginfo`.
    fn take(&self, set: u64) -> Option<[u8; INFO_SIZE]>;

    /// Whether there is one of `set`.
    fn has(&self, set: u64) -> bool;

    /// Runs `act` with the queue that is woken when a signal comes, if they still come.
    fn with_queue(&self, act: &mut dyn FnMut(&WaitQueue));
}

/// A descriptor for signals.
pub struct SignalFd {
    source: alloc::boxed::Box<dyn PendingSignals>,
    set: AtomicU64,
    changed: WaitQueue,
    ino: u64,
}

impl SignalFd {
    /// For the signals of `set` from `source`.
    #[must_use]
    pub fn new(source: impl PendingSignals + 'static, set: u64) -> Arc<Self> {
        let source = alloc::boxed::Box::new(source);
        let set = AtomicU64::new(set);
        Arc::new(Self { source, set, changed: WaitQueue::new(), ino: anon::next_ino() })
    }

    /// Replaces the set.
    pub fn set_set(&self, set: u64) {
        self.set.store(set, Ordering::SeqCst);
        self.changed.wake_all();
    }
}

impl Stream for SignalFd {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        if to.remaining() < INFO_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let start = to.done();
        while to.remaining() >= INFO_SIZE {
            // Room that can be written is made sure of before a signal is taken, for it cannot be put back.
            let before = to.done();
            to.zero(INFO_SIZE);
            let fault = to.fault();
            to.rewind(before);
            if let Some(fault) = fault {
                return if before > start { Ok(before - start) } else { Err(Stop::Fault(fault)) };
            }
            let Some(info) = self.source.take(self.set.load(Ordering::SeqCst)) else { break };
            to.write(&info);
        }
        let done = to.done() - start;
        if done > 0 { Ok(done) } else { Err(Stop::WouldBlock) }
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            self.source.with_queue(&mut |queue| table.add(queue));
            table.add(&self.changed);
        }
        if self.source.has(self.set.load(Ordering::SeqCst)) { PollMask::IN } else { PollMask::empty() }
    }

    fn fdinfo(&self, out: &mut String) {
        let _ = writeln!(out, "sigmask:\t{:016x}", self.set.load(Ordering::Relaxed));
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[signalfd]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
