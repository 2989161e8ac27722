//! Signals: sets, queues, actions, sending, delivery and frames (signal(7)).
//!
//! * [`send_to_process`] and [`send_to_task`] queue a signal and make a thread look at it. They take the state of the
//!   process (30), its handlers (34) and the signals of its tasks (38), so they may be called with the tree locked.
//! * [`deliver`] is called by a task on its way to user mode and takes signals out one by one.
//!
//! A thread's `Work::SIGNAL` bit says that a signal it does not block is pending for it.

pub mod action;
pub mod deliver;
pub mod descriptor;
pub(crate) mod frame;
pub mod info;
pub mod number;
mod queue;
mod send;
pub mod stop;

pub use action::{Action, Handlers};
pub use frame::sigreturn;
pub use info::{Origin, SigInfo, code};
pub use number::{DefaultAction, SigSet, Signal};
pub use queue::{Full, Queue};
pub use send::{From, force, refresh, send_to_process, send_to_task, set_blocked};

use crate::task::Task;
use chitin_core::lock::Level;

/// Level of the lock of a task's signals.
pub const TASK_LEVEL: Level = Level(38);

/// An alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// `SS_AUTODISARM`.
    pub disarms: bool,
}

impl AltStack {
    /// Whether `sp` is on it.
    #[must_use]
    pub const fn holds(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }
}

/// Signals of one thread.
#[derive(Default)]
pub struct TaskSignals {
    /// Signals that are not delivered now. Changed by [`set_blocked`].
    pub blocked: SigSet,
    /// Signals that are let through only to be taken by rt_sigtimedwait(2): as blocked ones they are neither ignored nor do
    /// they end the process when they are sent.
    pub awaited: SigSet,
    /// What is blocked again after the system call, or after its handler ([`Task::set_temporary_mask`]).
    pub saved: Option<SigSet>,
    /// Signals for this thread alone.
    pub pending: Queue,
    /// The alternate stack.
    pub alt_stack: Option<AltStack>,
}

impl Task {
    /// Signals that are blocked now.
    #[must_use]
    pub fn blocked(&self) -> SigSet {
        self.signals.lock().blocked
    }

    /// Signals whose action is not looked at when they are sent, since they are not delivered.
    #[must_use]
    pub fn holds_back(&self) -> SigSet {
        let signals = self.signals.lock();
        signals.blocked.union(signals.awaited)
    }

    /// Blocks `mask` instead of what is blocked until the system call in progress has ended, or, when a handler interrupts
    /// it, until that has ended: for ppoll, pselect, epoll_pwait, sigsuspend. Undone by the caller of the handler.
    pub fn set_temporary_mask(&self, mask: SigSet) {
        let old = set_blocked(self, mask.without(SigSet::UNBLOCKABLE));
        self.signals.lock().saved = Some(old);
        self.mask_saved.store(true, core::sync::atomic::Ordering::Relaxed);
    }

    /// Undoes [`Task::set_temporary_mask`].
    pub(crate) fn restore_mask(&self) {
        if !self.mask_saved.load(core::sync::atomic::Ordering::Relaxed) {
            return;
        }
        self.mask_saved.store(false, core::sync::atomic::Ordering::Relaxed);
        let saved = self.signals.lock().saved.take();
        if let Some(saved) = saved {
            set_blocked(self, saved);
        }
    }

    /// Sends a signal to this thread: for SIGPIPE, SIGXFSZ and the like, raised by a system call of its own.
    pub fn raise(&self, signal: Signal) {
        let info = SigInfo::user(signal, self.pid(), self.creds().uid);
        let _ = send_to_task(self, info, From::Inside);
    }
}
