//! [`Thread`]: a kernel thread with its own stack.
//!
//! A thread keeps one count of itself from spawn to end, so queues and CPUs refer to it by plain pointers. Its park state
//! is a token: a wake that comes while it runs makes the next park return at once.

use crate::arch::trap::VECTOR_RESCHEDULE;
use crate::arch::{apic, cpu, entry, percpu};
use crate::clock;
use crate::mem::stacks::Stack;
use crate::sched::class::Standing;
use crate::sched::heap::Links;
use crate::sched::meter::Meter;
use crate::sched::queue::Arrival;
use crate::sched::{pending, place, switch};
use alloc::sync::Arc;
use alloc::task::Wake;
use chitin_core::sleep::Sleeper;
use chitin_sentry::platform::{Class, KernelThread, OutOfMemory, Scheduling, ThreadBody};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Runs, or is queued; no wake pending.
const EMPTY: u8 = 0;
/// A wake came.
const NOTIFIED: u8 = 1;
/// Sleeps, or is on its way there.
const PARKED: u8 = 2;

/// A CPU's idle thread is in no queue, and nobody is ahead of it or behind.
const IDLE: Scheduling =
    Scheduling { class: Class::RealTime { priority: 0, takes_turns: false }, cpus: u64::MAX };

/// A kernel thread.
pub(crate) struct Thread {
    /// For reports.
    pub(crate) name: &'static str,
    /// Stack pointer while it does not run.
    pub(crate) stack_pointer: AtomicU64,
    /// It runs on [`Thread::cpu`], or its registers are not saved yet.
    pub(crate) on_cpu: AtomicBool,
    /// Where it runs or ran last.
    pub(crate) cpu: AtomicUsize,
    /// Its place in the run queue.
    pub(crate) links: Links,
    /// How it stands among those that could run.
    pub(crate) standing: Standing,
    /// Its time on CPUs.
    pub(crate) ran: Meter,
    /// Its time in run queues.
    pub(crate) waits: Meter,
    /// How often it left a CPU to sleep.
    pub(crate) slept: AtomicU64,
    /// How often it left a CPU to let others run.
    pub(crate) gave_way: AtomicU64,
    token: AtomicU8,
    dead: AtomicBool,
    stack: UnsafeCell<Option<Stack>>,
    body: UnsafeCell<Option<ThreadBody>>,
}

// SAFETY: `stack` and `body` are touched by the spawner before the thread is queued, then by the thread itself, and
// after its end by the one CPU that switched away from it.
unsafe impl Sync for Thread {}
// SAFETY: as above; a `ThreadBody` is Send.
unsafe impl Send for Thread {}

impl Thread {
    fn with(
        name: &'static str,
        scheduling: Scheduling,
        stack: Option<Stack>,
        body: Option<ThreadBody>,
        on_cpu: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            stack_pointer: AtomicU64::new(0),
            on_cpu: AtomicBool::new(on_cpu),
            cpu: AtomicUsize::new(percpu::this().number()),
            links: Links::new(),
            standing: Standing::new(scheduling, percpu::this().number()),
            ran: Meter::new(),
            waits: Meter::new(),
            slept: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
            token: AtomicU8::new(EMPTY),
            dead: AtomicBool::new(false),
            stack: UnsafeCell::new(stack),
            body: UnsafeCell::new(body),
        })
    }

    /// The thread that the caller already is: a CPU's boot flow, which becomes its idle thread.
    pub(crate) fn adopt_boot_flow() -> *mut Self {
        let thread = Self::with("idle", IDLE, None, None, true);
        thread.begin_run(cpu::tsc());
        Arc::into_raw(thread).cast_mut()
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no stack.
    pub(crate) fn spawn(
        name: &'static str,
        scheduling: Scheduling,
        body: ThreadBody,
    ) -> Result<Arc<Self>, OutOfMemory> {
        let stack = Stack::new().map_err(|_| OutOfMemory)?;
        // SAFETY: a stack from the pool has no user.
        let pointer = unsafe { entry::prepare_stack(stack.top()) };
        let thread = Self::with(name, scheduling, Some(stack), Some(body), false);
        thread.stack_pointer.store(pointer, Ordering::Relaxed);
        let raw = Arc::into_raw(thread.clone()).cast_mut();
        // SAFETY: `raw` keeps the count that lasts until the thread's end.
        unsafe { place::make_runnable(raw, Arrival::New) };
        Ok(thread)
    }

    /// It is put on a CPU at TSC `now`.
    #[inline]
    pub(crate) fn begin_run(&self, now: u64) {
        self.waits.stop(now);
        self.ran.start(now);
    }

    /// Decides to sleep; `false` if a wake came, which is used up.
    pub(crate) fn begin_park(&self) -> bool {
        if self.token.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        self.end_park();
        false
    }

    /// After sleeping: the wake is used up. An exchange, so that what its waker wrote is seen.
    pub(crate) fn end_park(&self) {
        self.token.swap(EMPTY, Ordering::AcqRel);
    }

    /// Makes it run if it is parked, or its next park return.
    pub(crate) fn unpark(&self) {
        if self.token.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            // SAFETY: it was parked, so it has not ended, and only this caller queues it.
            unsafe { place::make_runnable(core::ptr::from_ref(self).cast_mut(), Arrival::Woken) };
        }
    }

    /// The waker's handle of the running thread.
    pub(crate) fn current() -> Arc<Self> {
        let raw = percpu::this().current.load(Ordering::Relaxed).cast_const();
        // SAFETY: the running thread holds its own count; one more is taken for the handle.
        unsafe {
            Arc::increment_strong_count(raw);
            Arc::from_raw(raw)
        }
    }

    /// Gives back what an ended thread held. Called by the CPU that switched away from it.
    ///
    /// # Safety
    /// `thread` is dead, and no CPU runs on its stack.
    pub(crate) unsafe fn bury(thread: *const Self) {
        // SAFETY: the count taken at spawn.
        let thread = unsafe { Arc::from_raw(thread) };
        // SAFETY: nobody else touches a dead thread's stack.
        if let Some(stack) = unsafe { (*thread.stack.get()).take() } {
            stack.recycle();
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Stack bytes ever used by the running thread.
    #[cfg(feature = "selftest")]
    pub(crate) fn stack_used(&self) -> u64 {
        // SAFETY: the thread itself asks.
        unsafe { (*self.stack.get()).as_ref() }.map_or(0, Stack::used)
    }
}

impl KernelThread for Thread {
    fn ran_ns(&self) -> u64 {
        clock::ns(self.ran.ticks(cpu::tsc()))
    }

    fn waited_ns(&self) -> u64 {
        clock::ns(self.waits.ticks(cpu::tsc()))
    }

    fn switches(&self) -> (u64, u64) {
        (self.slept.load(Ordering::Relaxed), self.gave_way.load(Ordering::Relaxed))
    }

    fn is_asleep(&self) -> bool {
        self.token.load(Ordering::Relaxed) == PARKED
    }

    fn set_scheduling(&self, scheduling: Scheduling) {
        self.standing.set(scheduling);
        // SAFETY: the caller has the thread.
        if unsafe { place::queue_anew(core::ptr::from_ref(self).cast_mut()) } {
            return;
        }
        // Where it runs, if it does, it is looked at anew.
        let (this, home) = (percpu::this(), self.cpu.load(Ordering::Relaxed));
        if home == this.number() {
            this.pending.fetch_or(pending::RESCHEDULE, Ordering::Relaxed);
        } else if self.on_cpu.load(Ordering::Acquire) {
            apic::send(home, VECTOR_RESCHEDULE);
        }
    }
}

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}

/// First code of every thread, on its own stack.
pub(crate) extern "C" fn thread_main() -> ! {
    switch::finish();
    let this = percpu::this();
    let thread = this.current.load(Ordering::Relaxed);
    // SAFETY: the running thread lives; only it takes its body.
    let body = unsafe { (*(*thread).body.get()).take() };
    if let Some(body) = body {
        // SAFETY: this is the platform, at the start of a thread that may park.
        let sleeper = unsafe { Sleeper::new() };
        body(&sleeper);
    }
    // SAFETY: as above.
    unsafe { (*thread).dead.store(true, Ordering::Release) };
    switch::leave_for_good()
}
