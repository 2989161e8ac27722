//! Signals of a process and thread, for signalfd(2).

use super::info::{Origin, SigInfo};
use super::number::SigSet;
use crate::fs::signalfd::{INFO_SIZE, PendingSignals};
use crate::task::{Process, Task};
use alloc::sync::{Arc, Weak};
use chitin_core::wait::WaitQueue;

/// The signals of a thread and of its process.
pub struct TaskPending {
    process: Weak<Process>,
    task: Weak<Task>,
}

impl TaskPending {
    /// The signals that `task` might take.
    #[must_use]
    pub fn new(task: &Arc<Task>) -> Self {
        Self { process: Arc::downgrade(task.process()), task: Arc::downgrade(task) }
    }
}

impl PendingSignals for TaskPending {
    fn take(&self, set: u64) -> Option<[u8; INFO_SIZE]> {
        let process = self.process.upgrade()?;
        let task = self.task.upgrade();
        let others = SigSet(!set);
        let info = {
            let mut state = process.state();
            let own = task.as_ref().and_then(|task| task.signals.lock().pending.take(others));
            own.or_else(|| state.pending.take(others))
        };
        info.map(|info| to_bytes(&info))
    }

    fn has(&self, set: u64) -> bool {
        let Some(process) = self.process.upgrade() else { return false };
        let own = self.task.upgrade().map_or(0, |task| task.signals.lock().pending.set().0);
        let shared = process.state().pending.set().0;
        (own | shared) & set != 0
    }

    fn with_queue(&self, act: &mut dyn FnMut(&WaitQueue)) {
        if let Some(process) = self.process.upgrade() {
            act(&process.signalled);
        }
    }
}

/// `struct signalfd_siginfo`.
fn to_bytes(info: &SigInfo) -> [u8; INFO_SIZE] {
    let mut bytes = [0; INFO_SIZE];
    let mut put = |at: usize, part: &[u8]| {
        if let Some(to) = bytes.get_mut(at..at + part.len()) {
            to.copy_from_slice(part);
        }
    };
    put(0, &u32::from(info.signal.number()).to_ne_bytes());
    put(4, &info.errno.to_ne_bytes());
    put(8, &info.code.to_ne_bytes());
    let value_at = |put: &mut dyn FnMut(usize, &[u8]), value: u64| {
        put(44, value.to_ne_bytes().get(..4).unwrap_or_default());
        put(48, &value.to_ne_bytes());
    };
    match info.origin {
        Origin::Kernel => {}
        Origin::Process { pid, uid, value } => {
            put(12, &pid.to_ne_bytes());
            put(16, &uid.to_ne_bytes());
            value_at(&mut put, value);
        }
        Origin::Child { pid, uid, status, user_ticks, system_ticks } => {
            put(12, &pid.to_ne_bytes());
            put(16, &uid.to_ne_bytes());
            put(40, &status.to_ne_bytes());
            put(56, &user_ticks.to_ne_bytes());
            put(64, &system_ticks.to_ne_bytes());
        }
        Origin::Fault { address } => put(72, &address.to_ne_bytes()),
        Origin::Timer { id, overrun, value } => {
            put(24, &id.to_ne_bytes());
            put(32, &overrun.to_ne_bytes());
            value_at(&mut put, value);
        }
        Origin::Poll { band, fd } => {
            put(20, &fd.to_ne_bytes());
            put(28, band.to_ne_bytes().get(..4).unwrap_or_default());
        }
        Origin::Syscall { address, number } => {
            put(72, &address.to_ne_bytes());
            put(84, &number.to_ne_bytes());
        }
        // The bytes of siginfo_t from 12 on: pid, uid and value after four bytes of padding.
        Origin::Raw(raw) => {
            put(12, raw.get(4..12).unwrap_or_default());
            let value = raw.get(12..20).and_then(|part| part.try_into().ok()).map_or(0, u64::from_ne_bytes);
            value_at(&mut put, value);
        }
    }
    bytes
}
