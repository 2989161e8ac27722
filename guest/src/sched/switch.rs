//! Parking, yielding and the switch between threads; the idle loop.
//!
//! Nothing here is called with a lock held. A switch happens with interrupts on: handlers look at no thread.

use crate::arch::cpu;
use crate::arch::entry;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::xstate;
use crate::clock;
use crate::mem::{heap, tables, tlb};
use crate::sched::place;
use crate::sched::queue::Arrival;
use crate::sched::thread::Thread;
use crate::sched::{pending, smp, timer};
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

/// The running thread sleeps until it is woken or `deadline_ns` passes.
pub(crate) fn park(deadline_ns: Option<u64>) {
    pending::drain();
    let this = percpu::this();
    // SAFETY: the running thread lives.
    let thread = unsafe { &*this.current.load(Ordering::Relaxed) };
    if deadline_ns.is_some_and(|deadline| deadline <= clock::now_ns()) || !thread.begin_park() {
        return;
    }
    let timer = deadline_ns.map(|deadline| timer::start(this, deadline));
    switch_away(this);
    thread.end_park();
    if let Some(timer) = timer {
        timer.cancel();
    }
}

/// Runs another thread if one that is queued here goes before the caller, or if the caller may not run here any more.
pub(crate) fn yield_now() {
    give_cpu(Arrival::Ready);
}

/// Runs another thread if one is queued here that the caller does not go before by its class: it lets its equals run first.
pub(crate) fn give_way() {
    give_cpu(Arrival::Behind);
}

/// Whether there may be something to switch for on `this` CPU.
pub(crate) fn is_due(this: &PerCpu) -> bool {
    // SAFETY: the running thread lives.
    let current = unsafe { &*this.current.load(Ordering::Relaxed) };
    this.queue.len() != 0 || !current.standing.may_run_on(this.number())
}

fn give_cpu(how: Arrival) {
    pending::drain();
    let this = percpu::this();
    let current = this.current.load(Ordering::Relaxed);
    // SAFETY: the running thread lives.
    let thread = unsafe { &*current };
    let number = this.number();
    if !thread.standing.may_run_on(number) {
        // It is queued elsewhere once its registers are saved.
        this.leaving.store(current, Ordering::Relaxed);
        switch_away(this);
    } else if this.queue.len() != 0 {
        let now = cpu::tsc();
        this.queue.settle(thread, now);
        // SAFETY: it runs here.
        let next = unsafe { this.queue.exchange(number, current, how, now) };
        if next.is_null() {
            this.slice_end.store(0, Ordering::Relaxed);
            smp::relieve(this, now);
        } else {
            thread.gave_way.store(thread.gave_way.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            smp::relieve(this, now);
            switch_to(this, next, now);
        }
    }
}

/// The running thread has ended.
pub(crate) fn leave_for_good() -> ! {
    xstate::abandon(percpu::this());
    switch_away(percpu::this());
    // A dead thread is never queued.
    cpu::halt_for_ever()
}

/// Runs the next thread of this CPU, or its idle thread.
fn switch_away(this: &'static PerCpu) {
    let now = cpu::tsc();
    // SAFETY: the running thread lives.
    let current = unsafe { &*this.current.load(Ordering::Relaxed) };
    current.slept.store(current.slept.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    this.queue.settle(current, now);
    let next = this.queue.pop(now).unwrap_or_else(|| this.idle_thread.load(Ordering::Relaxed));
    smp::relieve(this, now);
    switch_to(this, next, now);
}

fn switch_to(this: &'static PerCpu, next: *mut Thread, now: u64) {
    let current = this.current.load(Ordering::Relaxed);
    // SAFETY: the running thread lives, and so does `next`, which nobody else has.
    let (old, new) = unsafe { (&*current, &*next) };
    if core::ptr::eq(current, next) {
        old.waits.stop(now);
        return;
    }
    this.queue.begin(new, now);
    if !new.standing.may_run_on(this.number()) {
        // Its CPUs were changed while it was being taken: it goes at the next safe point.
        this.pending.fetch_or(pending::RESCHEDULE, Ordering::Relaxed);
    }
    old.ran.stop(now);
    new.begin_run(now);
    xstate::save_on_switch(this);
    this.slice_end.store(0, Ordering::Relaxed);
    this.previous.store(current, Ordering::Relaxed);
    this.current.store(next, Ordering::Relaxed);
    // SAFETY: both threads live; `next` came from a queue (or is this CPU's idle thread), so nobody else runs it and its
    // stack pointer is saved.
    unsafe {
        (*next).cpu.store(this.number(), Ordering::Relaxed);
        (*next).on_cpu.store(true, Ordering::Relaxed);
        entry::switch_stacks(
            (*current).stack_pointer.as_ptr(),
            (*next).stack_pointer.load(Ordering::Relaxed),
        );
    }
    finish();
}

/// First thing after a switch, on the new stack: the thread that ran before may now run elsewhere, or be freed.
pub(crate) fn finish() {
    let this = percpu::this();
    // The CPU's own: no exchange.
    let previous = this.previous.load(Ordering::Relaxed);
    if previous.is_null() {
        return;
    }
    this.previous.store(null_mut(), Ordering::Relaxed);
    // SAFETY: a thread lives at least until it is buried, which only this place does, once.
    unsafe {
        let dead = (*previous).is_dead();
        (*previous).on_cpu.store(false, Ordering::Release);
        let leaves = core::ptr::eq(this.leaving.load(Ordering::Relaxed), previous);
        if dead {
            Thread::bury(previous);
        } else if leaves {
            this.leaving.store(null_mut(), Ordering::Relaxed);
            place::make_runnable(previous, Arrival::Ready);
        }
    }
}

/// Body of every CPU's idle thread.
pub(crate) fn idle_loop() -> ! {
    loop {
        pending::drain();
        let this = percpu::this();
        if let Some(next) = place::next_for(this) {
            // Only threads read the wall clock; drivers are not held up for it.
            clock::renew_pairing();
            switch_to(this, next, cpu::tsc());
            continue;
        }
        tables::unload_orphan(this);
        heap::refill_reserve();
        cpu::interrupts_off();
        this.idle.store(true, Ordering::SeqCst);
        this.lazy.store(true, Ordering::SeqCst);
        if this.pending.load(Ordering::SeqCst) == 0 && !place::any_for(this) {
            cpu::halt_with_interrupts();
        } else {
            cpu::interrupts_on();
        }
        this.idle.store(false, Ordering::SeqCst);
        tlb::leave_lazy(this);
    }
}
