//! [`CpuWatch`]: `RLIMIT_CPU`. SIGXCPU at the soft limit and once more for every further second, SIGKILL at the hard one.
//!
//! CPU time cannot call anybody: the timers' worker looks when the missing time may have been used at the earliest.

use super::Process;
use super::limits::{INFINITY, Limit, Resource};
use crate::signal::{SigInfo, Signal};
use crate::time::{Expire, Timer};
use alloc::sync::{Arc, Weak};
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock around a process's watch, below its own.
pub(super) const LEVEL: Level = Level(142);
const TIMER_LEVEL: Level = Level(143);

const SECOND_NS: u64 = 1_000_000_000;
/// CPU time is looked at no more often than this.
const LOOK_NS: u64 = 4_000_000;

/// Watches over the CPU time of one process.
pub(super) struct CpuWatch {
    process: Weak<Process>,
    timer: SpinLock<Timer>,
}

impl Process {
    /// Looks after `RLIMIT_CPU`, which was set or inherited.
    pub(crate) fn watch_cpu_limit(self: &Arc<Self>) {
        if self.limits.soft(Resource::Cpu) == INFINITY && self.cpu_watch.lock().is_none() {
            return;
        }
        if Timer::prepare().is_err() {
            return;
        }
        let fresh = Arc::new_cyclic(|me: &Weak<CpuWatch>| CpuWatch {
            process: Arc::downgrade(self),
            timer: SpinLock::new(TIMER_LEVEL, Timer::new(me.clone())),
        });
        let watch = self.cpu_watch.lock().get_or_insert(fresh).clone();
        watch.arm(self, super::now_ns());
    }
}

impl CpuWatch {
    fn look(&self, process: &Arc<Process>, now_ns: u64) {
        let at = Resource::Cpu as usize;
        let Some(limit) = process.limits.at(at) else { return };
        let usage = process.usage();
        let used_ns = usage.user_ns.saturating_add(usage.system_ns);
        if used_ns / SECOND_NS >= limit.hard {
            let _ = process.send(SigInfo::kernel(Signal::KILL));
            return;
        }
        if used_ns / SECOND_NS >= limit.soft {
            let _ = process.send(SigInfo::kernel(Signal::XCPU));
            process.limits.set_at(at, Limit::new(limit.soft.saturating_add(1), limit.hard));
        }
        self.arm(process, now_ns);
    }

    /// Looks again when the next limit may be reached.
    fn arm(&self, process: &Process, now_ns: u64) {
        let Some(limit) = process.limits.at(Resource::Cpu as usize) else { return };
        let usage = process.usage();
        let used_ns = usage.user_ns.saturating_add(usage.system_ns);
        let next_ns = limit.soft.min(limit.hard).saturating_mul(SECOND_NS);
        let threads = process.threads().len().max(1) as u64;
        let missing = next_ns.saturating_sub(used_ns) / threads;
        let ends = process.is_zombie() || next_ns == u64::MAX;
        let deadline = (!ends).then(|| now_ns.saturating_add(missing.max(LOOK_NS)));
        self.timer.lock().set(deadline);
    }
}

impl Expire for CpuWatch {
    fn expired(&self, now_ns: u64) {
        if let Some(process) = self.process.upgrade() {
            self.look(&process, now_ns);
        }
    }
}
