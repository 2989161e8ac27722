//! A CPU's queue of runnable threads: first come, first served; other CPUs steal from the front.
//!
//! A thread whose registers are not saved yet (`on_cpu`) is queued only on the CPU it is leaving and is not stolen, so no
//! CPU ever waits for another's switch.

use crate::arch::percpu::{self, PerCpu};
use crate::arch::trap::VECTOR_RESCHEDULE;
use crate::arch::{apic, cpu};
use crate::sched::thread::Thread;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Runnable threads of one CPU.
pub(crate) struct RunQueue {
    locked: AtomicBool,
    length: AtomicUsize,
    /// TSC since when the queue has not been empty; 0 while it is.
    backlog: AtomicU64,
    ends: UnsafeCell<Ends>,
}

struct Ends {
    first: *mut Thread,
    last: *mut Thread,
}

// SAFETY: `ends` is used only under `locked`.
unsafe impl Sync for RunQueue {}

/// Whether a thread that is still on its CPU may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taker {
    /// The CPU that owns the queue.
    Owner,
    /// Another one.
    Thief,
}

impl RunQueue {
    pub(crate) const fn new() -> Self {
        Self {
            locked: AtomicBool::new(false),
            length: AtomicUsize::new(0),
            backlog: AtomicU64::new(0),
            ends: UnsafeCell::new(Ends { first: null_mut(), last: null_mut() }),
        }
    }

    /// Threads queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    /// TSC since when threads have been waiting here, or since the last restart; 0 if none wait.
    #[inline]
    pub(crate) fn backlog_since(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Counts the time anew.
    pub(crate) fn restart_backlog(&self) {
        self.with(|ends| {
            if !ends.first.is_null() {
                self.backlog.store(cpu::tsc(), Ordering::Relaxed);
            }
        });
    }

    fn with<R>(&self, body: impl FnOnce(&mut Ends) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            core::hint::spin_loop();
        }
        // SAFETY: `locked` is ours; interrupt handlers do not touch queues.
        let result = body(unsafe { &mut *self.ends.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// Appends a thread.
    ///
    /// # Safety
    /// It is alive and in no queue.
    pub(crate) unsafe fn push(&self, thread: *mut Thread) {
        let now = cpu::tsc();
        self.with(|ends| {
            // SAFETY: the caller's contract, and queued threads are alive.
            unsafe {
                (*thread).waits.start(now);
                (*thread).next.store(null_mut(), Ordering::Relaxed);
                if ends.last.is_null() {
                    ends.first = thread;
                    self.backlog.store(now, Ordering::Relaxed);
                } else {
                    (*ends.last).next.store(thread, Ordering::Relaxed);
                }
            }
            ends.last = thread;
            self.length.fetch_add(1, Ordering::SeqCst);
        });
    }

    /// Takes the first thread that `taker` may have.
    pub(crate) fn pop(&self, taker: Taker) -> Option<*mut Thread> {
        if self.len() == 0 {
            return None;
        }
        self.with(|ends| {
            let mut before: *mut Thread = null_mut();
            let mut at = ends.first;
            while !at.is_null() {
                // SAFETY: queued threads are alive.
                let thread = unsafe { &*at };
                let next = thread.next.load(Ordering::Relaxed);
                if taker == Taker::Owner || !thread.on_cpu.load(Ordering::Acquire) {
                    if before.is_null() {
                        ends.first = next;
                    } else {
                        // SAFETY: as above.
                        unsafe { (*before).next.store(next, Ordering::Relaxed) };
                    }
                    if ends.last == at {
                        ends.last = before;
                    }
                    self.length.fetch_sub(1, Ordering::SeqCst);
                    if ends.first.is_null() {
                        self.backlog.store(0, Ordering::Relaxed);
                    }
                    return Some(at);
                }
                before = at;
                at = next;
            }
            None
        })
    }
}

/// Queues a thread that became runnable: here, or where it has not left yet.
///
/// # Safety
/// It is alive and in no queue.
pub(crate) unsafe fn make_runnable(thread: *mut Thread) {
    let this = percpu::this();
    // SAFETY: alive by the caller's contract.
    let (on_cpu, home) =
        unsafe { ((*thread).on_cpu.load(Ordering::Acquire), (*thread).cpu.load(Ordering::Relaxed)) };
    let target = if on_cpu { percpu::get(home).unwrap_or(this) } else { this };
    // SAFETY: the caller's contract.
    unsafe { target.queue.push(thread) };
    if !core::ptr::eq(target, this) {
        apic::send(target.number(), VECTOR_RESCHEDULE);
    }
}

/// A thread for `this` CPU: its own first, else one of another CPU.
pub(crate) fn next_for(this: &PerCpu) -> Option<*mut Thread> {
    this.queue.pop(Taker::Owner).or_else(|| {
        percpu::online().filter(|cpu| !core::ptr::eq(*cpu, this)).find_map(|cpu| cpu.queue.pop(Taker::Thief))
    })
}

/// Whether any CPU has a thread that `this` one could take.
pub(crate) fn any_for(this: &PerCpu) -> bool {
    this.queue.len() != 0 || percpu::online().any(|cpu| cpu.queue.len() != 0 && !core::ptr::eq(cpu, this))
}
