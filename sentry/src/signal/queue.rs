//! [`Queue`]: pending signals of a task or a process.

use super::info::{Origin, SigInfo};
use super::number::{SigSet, Signal};
use alloc::collections::VecDeque;

/// Signals that wait for delivery. A standard signal waits once, real-time ones queue.
#[derive(Default)]
pub struct Queue {
    set: SigSet,
    infos: VecDeque<SigInfo>,
}

/// No room in the queue for one more real-time signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Queue {
    /// Which signals wait.
    #[must_use]
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal. `limit` bounds the entries of the queue (`RLIMIT_SIGPENDING`); beyond it a standard signal, or one
    /// sent by kill(2), loses only its reason.
    ///
    /// # Errors
    /// [`Full`] for a real-time signal that carries a value.
    pub fn push(&mut self, info: SigInfo, limit: usize) -> Result<(), Full> {
        let signal = info.signal;
        if !signal.is_real_time() && self.set.has(signal) {
            return Ok(());
        }
        if !signal.is_real_time() || self.infos.len() < limit {
            self.infos.push_back(info);
        } else if info.code < 0 {
            return Err(Full);
        }
        self.set.0 |= signal.bit();
        Ok(())
    }

    /// Takes the first deliverable signal that is not in `blocked`.
    pub fn take(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let signal = self.set.without(blocked).first()?;
        Some(self.take_signal(signal))
    }

    fn take_signal(&mut self, signal: Signal) -> SigInfo {
        let at = self.infos.iter().position(|info| info.signal == signal);
        let info = at.and_then(|at| self.infos.remove(at));
        if !self.infos.iter().any(|info| info.signal == signal) {
            self.set.0 &= !signal.bit();
        }
        info.unwrap_or(SigInfo::user(signal, 0, 0))
    }

    /// Whether a signal of POSIX timer `id` waits.
    #[must_use]
    pub fn has_timer(&self, id: i32) -> bool {
        let is_it = |info: &SigInfo| matches!(info.origin, Origin::Timer { id: other, .. } if other == id);
        self.infos.iter().any(is_it)
    }

    /// Forgets the signals of `set`.
    pub fn discard(&mut self, set: SigSet) {
        if self.set.0 & set.0 != 0 {
            self.set = self.set.without(set);
            self.infos.retain(|info| !set.has(info.signal));
        }
    }
}
