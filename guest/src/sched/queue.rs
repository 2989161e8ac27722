//! A CPU's queue of runnable threads: real-time ones by priority, then fair ones by what they have used of their share.
//!
//! A thread whose registers are not saved yet (`on_cpu`) is queued only on the CPU it is leaving and is not stolen, so no
//! CPU ever waits for another's switch.
//!
//! What a fair thread has used grows with its run time, the slower the greater its weight (nice values). A thread that slept
//! comes back with at most [`CREDIT_NS`] less than those that did not, so it runs soon and cannot save time up. Real-time
//! threads leave a CPU to fair ones for what [`REAL_TIME_NS`] leaves of each second.

use crate::arch::cpu;
use crate::arch::percpu::{self, PerCpu};
use crate::clock;
use crate::sched::class::share;
use crate::sched::heap::{Heap, is_before, later};
use crate::sched::thread::Thread;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

/// What those that slept are ahead of others at most.
const CREDIT_NS: u64 = 2_000_000;
/// What a new thread is behind others: were it ahead, those who make ever more of them would keep all others from running.
const DEBIT_NS: u64 = 1_000_000;
/// How much less another fair thread must have used to be put in the place of the running one.
const MARGIN_NS: u64 = 500_000;
/// Turn of a real-time thread among those of its priority.
const TURN_NS: u64 = 100_000_000;
/// Time of each [`PERIOD_NS`] that real-time threads may keep fair ones from running.
const REAL_TIME_NS: u64 = 950_000_000;
const PERIOD_NS: u64 = 1_000_000_000;

/// Key of a real-time thread: its distance from the highest priority above, its place among its equals below.
const PRIORITY_SHIFT: u32 = 56;
const MIDDLE: u64 = 1 << 55;

/// Runnable threads of one CPU.
pub(crate) struct RunQueue {
    locked: AtomicBool,
    length: AtomicUsize,
    /// TSC since when the queue has not been empty; 0 while it is.
    backlog: AtomicU64,
    /// What the fair thread here that has used least has used, or had: it never goes back. Changed under the lock.
    least: AtomicU64,
    running: Running,
    inner: UnsafeCell<Inner>,
}

/// The thread that runs on the CPU, for those who put others into its queue. Changed by the CPU alone.
struct Running {
    /// What it had used at `since`, if it is a fair one.
    used: AtomicU64,
    since: AtomicU64,
    /// Its weight, 0 if it is none of the fair ones.
    weight: AtomicU32,
    /// Ticks of real-time threads in the period that began at `period`.
    real_time: AtomicU64,
    period: AtomicU64,
}

struct Inner {
    real_time: Heap,
    fair: Heap,
    /// Places given among equals.
    places: u64,
}

// SAFETY: `inner` is used only under `locked`.
unsafe impl Sync for RunQueue {}

/// How a thread comes into a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It slept.
    Woken,
    /// It never ran.
    New,
    /// It could run on but has to let others run, or is moved.
    Ready,
    /// It lets its equals go first.
    Behind,
}

impl RunQueue {
    pub(crate) const fn new() -> Self {
        Self {
            locked: AtomicBool::new(false),
            length: AtomicUsize::new(0),
            backlog: AtomicU64::new(0),
            least: AtomicU64::new(0),
            running: Running {
                used: AtomicU64::new(0),
                since: AtomicU64::new(0),
                weight: AtomicU32::new(0),
                real_time: AtomicU64::new(0),
                period: AtomicU64::new(0),
            },
            inner: UnsafeCell::new(Inner { real_time: Heap::new(), fair: Heap::new(), places: 0 }),
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
        self.backlog.load(Relaxed)
    }

    /// Counts the time anew.
    pub(crate) fn restart_backlog(&self) {
        self.with(|_| {
            if self.len() != 0 {
                self.backlog.store(cpu::tsc(), Relaxed);
            }
        });
    }

    fn with<R>(&self, body: impl FnOnce(&mut Inner) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Relaxed).is_err() {
            core::hint::spin_loop();
        }
        // SAFETY: `locked` is ours; interrupt handlers do not touch queues.
        let result = body(unsafe { &mut *self.inner.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// What the running thread has used at `now`, if it is a fair one.
    #[inline]
    fn used_now(&self, now: u64) -> Option<u64> {
        let weight = self.running.weight.load(Relaxed);
        let ran = now.saturating_sub(self.running.since.load(Relaxed));
        (weight != 0).then(|| self.running.used.load(Relaxed).wrapping_add(share(ran, weight)))
    }

    /// Brings [`RunQueue::least`] up to date; under the lock.
    #[inline]
    fn advance(&self, inner: &Inner, now: u64) -> u64 {
        let least = self.least.load(Relaxed);
        let candidate = match (self.used_now(now), inner.fair.first_key()) {
            (Some(a), Some(b)) => Some(if is_before(a, b) { a } else { b }),
            (a, b) => a.or(b),
        };
        let least = candidate.map_or(least, |candidate| later(least, candidate));
        self.least.store(least, Relaxed);
        least
    }

    /// # Safety
    /// As for [`RunQueue::push`]; under the lock.
    unsafe fn insert(&self, inner: &mut Inner, number: usize, thread: *mut Thread, how: Arrival, now: u64) {
        // SAFETY: the caller's contract.
        let it = unsafe { &*thread };
        it.waits.start(now);
        let rank = it.standing.rank();
        let least = self.advance(inner, now);
        let home = it.standing.home.swap(number, Relaxed);
        let mut used = it.standing.used.load(Relaxed);
        if home != number {
            let there = percpu::get(home).map_or(0, |cpu| cpu.queue.least.load(Relaxed));
            used = used.wrapping_sub(there).wrapping_add(least);
        }
        match how {
            Arrival::Woken => used = later(used, least.wrapping_sub(clock::tsc_ticks(CREDIT_NS))),
            Arrival::New => used = least.wrapping_add(clock::tsc_ticks(DEBIT_NS)),
            Arrival::Ready | Arrival::Behind => {}
        }
        it.standing.used.store(used, Relaxed);
        it.standing.queued.store(number + 1, Relaxed);
        it.standing.among_real_time.store(rank.priority() != 0, Relaxed);
        // SAFETY: the caller's contract.
        unsafe {
            if rank.priority() == 0 {
                it.links.key.store(used, Relaxed);
                inner.fair.insert(thread);
            } else {
                inner.places += 1;
                let ahead = how == Arrival::Ready;
                let place = if ahead { MIDDLE - inner.places } else { MIDDLE + inner.places };
                let distance = u64::from(100u32.saturating_sub(rank.priority()));
                it.links.key.store(distance << PRIORITY_SHIFT | place, Relaxed);
                inner.real_time.insert(thread);
            }
        }
        // Changed under the lock alone; seen at once, for a CPU that goes to sleep looks at it after it has said so.
        let before = self.length.load(Relaxed);
        self.length.store(before + 1, Ordering::SeqCst);
        if before == 0 {
            self.backlog.store(now, Relaxed);
        }
    }

    /// # Safety
    /// `thread` is in this queue; under the lock.
    unsafe fn take(&self, inner: &mut Inner, thread: *mut Thread) {
        // SAFETY: the caller's contract.
        unsafe {
            (*thread).standing.queued.store(0, Relaxed);
            let heap = if (*thread).standing.among_real_time.load(Relaxed) {
                &mut inner.real_time
            } else {
                &mut inner.fair
            };
            heap.remove(thread);
        }
        // One too many seen costs a look.
        let before = self.length.load(Relaxed);
        self.length.store(before.saturating_sub(1), Relaxed);
        if before == 1 {
            self.backlog.store(0, Relaxed);
        }
    }

    /// Adds a thread to the queue of CPU `number`, which this is.
    ///
    /// # Safety
    /// It is alive and in no queue.
    pub(super) unsafe fn push(&self, number: usize, thread: *mut Thread, how: Arrival) {
        let now = cpu::tsc();
        // SAFETY: the caller's contract.
        self.with(|inner| unsafe { self.insert(inner, number, thread, how, now) });
    }

    /// Whether real-time threads have had their part of this second. Asked by the CPU itself.
    fn is_throttled(&self, now: u64) -> bool {
        if now.saturating_sub(self.running.period.load(Relaxed)) > clock::tsc_ticks(PERIOD_NS) {
            self.running.period.store(now, Relaxed);
            self.running.real_time.store(0, Relaxed);
        }
        self.running.real_time.load(Relaxed) > clock::tsc_ticks(REAL_TIME_NS)
    }

    /// Who is next, null if nobody is queued.
    #[inline]
    fn best(&self, inner: &Inner, now: u64) -> *mut Thread {
        let first = inner.real_time.first();
        if first.is_null() || (!inner.fair.is_empty() && self.is_throttled(now)) {
            inner.fair.first()
        } else {
            first
        }
    }

    /// Takes the first thread, for the CPU that owns the queue, which leaves its running thread at `now`.
    pub(crate) fn pop(&self, now: u64) -> Option<*mut Thread> {
        if self.len() == 0 {
            return None;
        }
        self.with(|inner| {
            let best = self.best(inner, now);
            if best.is_null() {
                return None;
            }
            // SAFETY: it is in this queue, and so alive.
            unsafe {
                if !(*best).standing.among_real_time.load(Relaxed) {
                    self.least
                        .store(later(self.least.load(Relaxed), (*best).links.key.load(Relaxed)), Relaxed);
                }
                self.take(inner, best);
            }
            Some(best)
        })
    }

    /// Puts the running thread of the CPU that owns the queue, settled at `now`, into it and takes the one that goes first;
    /// null if the running one goes on.
    ///
    /// # Safety
    /// `current` runs on CPU `number`, which this is the queue of.
    pub(crate) unsafe fn exchange(
        &self,
        number: usize,
        current: *mut Thread,
        how: Arrival,
        now: u64,
    ) -> *mut Thread {
        self.with(|inner| {
            let best = self.best(inner, now);
            if best.is_null() {
                return best;
            }
            // SAFETY: the caller's contract; queued threads are alive.
            let (own, other) = unsafe { (&*current, &*best) };
            let (rank, others) = (own.standing.rank(), other.standing.rank());
            let mut how = how;
            let gives_way = match (rank.priority(), others.priority()) {
                (0, 0) => {
                    let margin = clock::tsc_ticks(MARGIN_NS);
                    let beaten = other.links.key.load(Relaxed).wrapping_add(margin);
                    how == Arrival::Behind || is_before(beaten, own.standing.used.load(Relaxed))
                }
                (0, _) => true,
                (_, 0) => self.is_throttled(now),
                (a, b) if a == b => {
                    if rank.takes_turns()
                        && own.standing.turn_ticks(&own.ran, now) >= clock::tsc_ticks(TURN_NS)
                    {
                        how = Arrival::Behind;
                    }
                    how == Arrival::Behind
                }
                (a, b) => b > a,
            };
            if !gives_way {
                return core::ptr::null_mut();
            }
            if how == Arrival::Behind {
                own.standing.begin_turn(&own.ran, now);
            }
            // SAFETY: `best` is in this queue, and `current` in none.
            unsafe {
                self.take(inner, best);
                self.insert(inner, number, current, how, now);
            }
            best
        })
    }

    /// Whether there is a thread that CPU `number` could take.
    pub(crate) fn has_for(&self, number: usize) -> bool {
        self.len() != 0 && self.with(|inner| !Self::fitting(inner, number).is_null())
    }

    fn fitting(inner: &Inner, number: usize) -> *mut Thread {
        let fits =
            |thread: &Thread| thread.standing.may_run_on(number) && !thread.on_cpu.load(Ordering::Acquire);
        let found = inner.real_time.find(fits);
        if found.is_null() { inner.fair.find(fits) } else { found }
    }

    /// Takes a thread for another CPU.
    pub(super) fn steal(&self, thief: &PerCpu) -> Option<*mut Thread> {
        if self.len() == 0 {
            return None;
        }
        let number = thief.number();
        self.with(|inner| {
            let found = Self::fitting(inner, number);
            if found.is_null() {
                return None;
            }
            // SAFETY: it is in this queue, and so alive.
            unsafe {
                self.take(inner, found);
                let standing = &(*found).standing;
                let ahead = standing.used.load(Relaxed).wrapping_sub(self.least.load(Relaxed));
                standing.used.store(thief.queue.least.load(Relaxed).wrapping_add(ahead), Relaxed);
                standing.home.store(number, Relaxed);
            }
            Some(found)
        })
    }

    /// Takes `thread` out if it is in the queue of CPU `number`, which this is.
    ///
    /// # Safety
    /// It is alive.
    pub(super) unsafe fn take_out(&self, number: usize, thread: *mut Thread) -> bool {
        self.with(|inner| {
            // SAFETY: alive by the caller's contract; in this queue if it says so, for this lock is held.
            unsafe {
                let is_here = (*thread).standing.queued.load(Relaxed) == number + 1;
                if is_here {
                    self.take(inner, thread);
                }
                is_here
            }
        })
    }

    /// Counts what the running thread has used up to `now`. By the CPU itself.
    #[inline]
    pub(crate) fn settle(&self, current: &Thread, now: u64) {
        if let Some(used) = self.used_now(now) {
            current.standing.used.store(used, Relaxed);
        } else if current.standing.rank().priority() != 0 {
            let ran = now.saturating_sub(self.running.since.load(Relaxed));
            self.running.real_time.store(self.running.real_time.load(Relaxed) + ran, Relaxed);
        }
        self.begin(current, now);
    }

    /// The thread that the CPU runs from `now` on. By the CPU itself.
    #[inline]
    pub(crate) fn begin(&self, next: &Thread, now: u64) {
        self.running.used.store(next.standing.used.load(Relaxed), Relaxed);
        self.running.since.store(now, Relaxed);
        self.running.weight.store(next.standing.rank().weight(), Relaxed);
    }
}
