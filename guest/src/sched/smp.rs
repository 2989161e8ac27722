//! CPUs: starting them, and giving them work.
//!
//! A CPU is started only when a queue has not been empty for a while and every started CPU was busy, so a sandbox that
//! never runs two things at once never pays for a second vCPU.

use crate::arch::percpu::PerCpu;
use crate::arch::{apic, cpu, percpu, tables, trap};
use crate::clock;
use crate::sched::switch;
use crate::sched::thread::Thread;
use chitin_proto::layout::{MAX_CPUS, PORT_START_CPU};
use core::sync::atomic::{AtomicUsize, Ordering};

/// How long a queue may stay filled before another CPU is asked to help.
const BACKLOG_NS: u64 = 1_000_000;

static STARTED: AtomicUsize = AtomicUsize::new(1);
/// Highest CPU that a thread is bound to.
static WANTED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(1);

/// Sets how many CPUs may be started.
pub(crate) fn set_limit(cpus: u32) {
    LIMIT.store((cpus as usize).clamp(1, MAX_CPUS), Ordering::Relaxed);
}

/// How many CPUs may be started.
pub(crate) fn limit() -> usize {
    LIMIT.load(Ordering::Relaxed)
}

/// CPUs asked to start, the boot CPU included.
pub(crate) fn started() -> usize {
    STARTED.load(Ordering::Acquire)
}

/// Spreads if at TSC `now` threads have been waiting here for long.
#[inline]
pub(crate) fn relieve(this: &PerCpu, now: u64) {
    let since = this.queue.backlog_since();
    if since != 0 && now.saturating_sub(since) > clock::tsc_ticks(BACKLOG_NS) {
        // Once per such time, not at every look.
        this.queue.restart_backlog();
        spread();
    }
}

/// Finds a CPU for a thread that waits: interrupts an idle one, or starts one more.
fn spread() {
    let this = percpu::this();
    let mut running = 0;
    for other in percpu::online() {
        running += 1;
        let is_free = !core::ptr::eq(other, this) && other.idle.load(Ordering::SeqCst);
        if is_free && this.queue.has_for(other.number()) {
            apic::send(other.number(), trap::VECTOR_RESCHEDULE);
            return;
        }
    }
    // One at a time: the one that is starting will steal.
    let next = started();
    if running == next && this.queue.has_for(next) {
        start_next(next);
    }
}

/// Starts CPU `next`, if that is the next one to be started and there may be so many.
fn start_next(next: usize) {
    let Some(cpu) = percpu::get(next).filter(|_| next < limit()) else { return };
    if STARTED.compare_exchange(next, next + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        // Its queue may be used from now on.
        cpu.index.store(next, Ordering::Relaxed);
        cpu::out32(PORT_START_CPU, next as u32);
    }
}

/// The first CPU of the mask, none of which runs yet; it is started. What is put into its queue runs once it does.
pub(crate) fn start_one_of(cpus: u64) -> Option<&'static PerCpu> {
    let number = (cpus.trailing_zeros() as usize).min(limit().saturating_sub(1));
    let cpu = percpu::get(number)?;
    cpu.index.store(number, Ordering::Relaxed);
    WANTED.fetch_max(number, Ordering::AcqRel);
    start_wanted();
    Some(cpu)
}

/// Starts the next CPU if one beyond it is wanted; they start one after another.
fn start_wanted() {
    let next = started();
    if next <= WANTED.load(Ordering::Acquire) {
        start_next(next);
    }
}

/// A secondary CPU's way from its first instruction to its idle loop.
pub(crate) fn start_secondary(index: usize) -> ! {
    cpu::detect();
    let Some(this) = percpu::install(index) else { cpu::halt_for_ever() };
    tables::load(this);
    if tables::add_interrupt_stacks(this).is_err() {
        // No memory for its stacks: the machine does without this CPU.
        cpu::halt_for_ever();
    }
    apic::enable(this);
    let idle = Thread::adopt_boot_flow();
    this.current.store(idle, Ordering::Relaxed);
    this.idle_thread.store(idle, Ordering::Relaxed);
    this.online.store(true, Ordering::Release);
    start_wanted();
    cpu::interrupts_on();
    switch::idle_loop()
}
