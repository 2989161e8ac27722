//! Deadlines of parked threads, one queue per CPU, and the CPU's deadline timer above them.
//!
//! The timer is never disarmed: a deadline that lost its meaning costs one interrupt later, while writing the timer at
//! every sleep would cost a VM exit each. The timer is armed for the first deadline or earlier, always.

use crate::arch::apic;
use crate::arch::percpu::PerCpu;
use crate::clock;
use crate::sched::thread::Thread;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of a timer queue's lock: the heap is used below it.
const LEVEL: Level = Level(243);

/// Deadlines of one CPU.
pub(crate) struct TimerQueue {
    entries: SpinLock<BTreeMap<(u64, u64), Arc<Thread>>>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl TimerQueue {
    pub(crate) const fn new() -> Self {
        Self { entries: SpinLock::new(LEVEL, BTreeMap::new()) }
    }
}

/// A deadline of the running thread.
pub(crate) struct Timer {
    home: &'static PerCpu,
    key: (u64, u64),
}

impl Timer {
    /// Takes the deadline back, if it has not passed.
    pub(crate) fn cancel(self) {
        if let Some(timers) = self.home.timers() {
            let removed = timers.entries.lock().remove(&self.key);
            drop(removed);
        }
    }
}

/// Wakes the running thread at `deadline_ns`.
pub(crate) fn start(this: &'static PerCpu, deadline_ns: u64) -> Timer {
    let key = (deadline_ns, NEXT.fetch_add(1, Ordering::Relaxed));
    let thread = Thread::current();
    if let Some(timers) = this.timers() {
        timers.entries.lock().insert(key, thread);
    }
    apic::arm(this, clock::tsc_at(deadline_ns));
    Timer { home: this, key }
}

/// Wakes those whose deadline has passed and arms the timer for the next one.
pub(crate) fn expire(this: &PerCpu) {
    let Some(timers) = this.timers() else { return };
    loop {
        let now = clock::now_ns();
        let mut entries = timers.entries.lock();
        match entries.first_key_value().map(|(key, _)| key.0) {
            Some(deadline) if deadline <= now => {
                let first = entries.pop_first();
                drop(entries);
                if let Some((_, thread)) = first {
                    thread.unpark();
                }
            }
            Some(deadline) => {
                drop(entries);
                apic::arm(this, clock::tsc_at(deadline));
                return;
            }
            None => return,
        }
    }
}
