//! Where threads that can run are queued, and where CPUs look for them.

use crate::arch::percpu::{self, PerCpu};
use crate::arch::trap::VECTOR_RESCHEDULE;
use crate::arch::{apic, cpu};
use crate::sched::queue::Arrival;
use crate::sched::thread::Thread;
use crate::sched::{pending, smp};
use core::sync::atomic::Ordering::{self, Relaxed};

/// Queues a thread that can run: here, or where it has not left yet, or where it may run.
///
/// # Safety
/// It is alive and in no queue.
pub(crate) unsafe fn make_runnable(thread: *mut Thread, how: Arrival) {
    let this = percpu::this();
    // SAFETY: alive by the caller's contract.
    let it = unsafe { &*thread };
    let (on_cpu, home) = (it.on_cpu.load(Ordering::Acquire), it.cpu.load(Relaxed));
    let target = if on_cpu {
        percpu::get(home).unwrap_or(this)
    } else if it.standing.may_run_on(this.number()) {
        this
    } else {
        place_for(this, it, home)
    };
    let priority = it.standing.rank().priority();
    // SAFETY: the caller's contract. It may be gone once it is in the queue.
    unsafe { target.queue.push(target.number(), thread, how) };
    if !core::ptr::eq(target, this) {
        apic::send(target.number(), VECTOR_RESCHEDULE);
    } else if priority != 0 {
        // SAFETY: the running thread lives.
        let running = unsafe { &*this.current.load(Relaxed) };
        if running.standing.rank().priority() < priority {
            this.pending.fetch_or(pending::RESCHEDULE, Relaxed);
        }
    }
}

/// A CPU that a thread may run on that may not run on `this` one: where it was, else one that is idle, else any.
#[cold]
fn place_for(this: &'static PerCpu, thread: &Thread, last: usize) -> &'static PerCpu {
    let fits = |cpu: &&'static PerCpu| thread.standing.may_run_on(cpu.number());
    let was = percpu::online().filter(fits).find(|cpu| cpu.number() == last);
    let idle = || percpu::online().filter(fits).find(|cpu| cpu.idle.load(Ordering::SeqCst));
    let found = was.or_else(idle).or_else(|| percpu::online().find(fits));
    found.or_else(|| smp::start_one_of(thread.standing.cpus())).unwrap_or(this)
}

/// Takes a thread out of the queue that it is in, if it is in one, and queues it as it stands now.
///
/// # Safety
/// It is alive.
pub(crate) unsafe fn queue_anew(thread: *mut Thread) -> bool {
    // SAFETY: alive by the caller's contract.
    let standing = unsafe { &(*thread).standing };
    loop {
        let queued = standing.queued.load(Relaxed);
        let Some(cpu) = queued.checked_sub(1).and_then(percpu::get) else { return false };
        // SAFETY: the caller's contract.
        if unsafe { cpu.queue.take_out(queued - 1, thread) } {
            // SAFETY: alive, and taken out of its queue by this caller alone.
            unsafe { make_runnable(thread, Arrival::Ready) };
            return true;
        }
    }
}

/// A thread for `this` CPU: its own first, else one of another CPU.
pub(crate) fn next_for(this: &PerCpu) -> Option<*mut Thread> {
    this.queue.pop(cpu::tsc()).or_else(|| {
        percpu::online().filter(|cpu| !core::ptr::eq(*cpu, this)).find_map(|cpu| cpu.queue.steal(this))
    })
}

/// Whether any CPU has a thread that `this` one could take.
pub(crate) fn any_for(this: &PerCpu) -> bool {
    let number = this.number();
    this.queue.len() != 0
        || percpu::online().any(|cpu| !core::ptr::eq(cpu, this) && cpu.queue.has_for(number))
}
