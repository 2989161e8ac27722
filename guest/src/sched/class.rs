//! [`Standing`]: how a thread stands among those that could run: its class, its weight, its CPUs and what it has used.

use crate::sched::meter::Meter;
use chitin_sentry::platform::{Class, Scheduling};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Weight of a fair thread of nice value 0.
pub(crate) const UNIT: u32 = 1024;

/// [`Standing::class`] of threads of [`Class::RealTime`], with the priority below; others have their weight there.
const REAL_TIME: u32 = 1 << 31;
/// With [`REAL_TIME`]: takes turns with its equals.
const TAKES_TURNS: u32 = 1 << 30;

/// See the module.
pub(crate) struct Standing {
    class: AtomicU32,
    /// CPUs that it may run on, a bit each.
    cpus: AtomicU64,
    /// Ticks that it has run, divided by its share: what fair threads are ordered by. Counted in the time of the queue of
    /// [`Standing::home`]; changed by its CPU, or under the lock of its queue.
    pub(crate) used: AtomicU64,
    /// CPU in whose time `used` is.
    pub(crate) home: AtomicUsize,
    /// CPU in whose queue it is, plus one. Changed under the lock of that queue.
    pub(crate) queued: AtomicUsize,
    /// Which of the heaps of that queue it is in.
    pub(crate) among_real_time: AtomicBool,
    /// Ticks of [`Meter`] at which it began its turn among its equals.
    turn: AtomicU64,
}

/// A class, unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank(u32);

impl Rank {
    /// Priority of a real-time thread, 0 for fair ones.
    #[inline]
    pub(crate) const fn priority(self) -> u32 {
        if self.0 & REAL_TIME == 0 { 0 } else { self.0 & 0xff }
    }

    /// Whether it takes turns with those of the same priority.
    #[inline]
    pub(crate) const fn takes_turns(self) -> bool {
        self.0 & TAKES_TURNS != 0
    }

    /// Weight of a fair thread, 0 for others.
    #[inline]
    pub(crate) const fn weight(self) -> u32 {
        if self.0 & REAL_TIME == 0 { self.0 } else { 0 }
    }
}

const fn pack(class: Class) -> u32 {
    match class {
        Class::RealTime { priority, takes_turns } => {
            REAL_TIME | if takes_turns { TAKES_TURNS } else { 0 } | priority as u32
        }
        Class::Fair { weight } => match weight & !(REAL_TIME | TAKES_TURNS) {
            0 => 1,
            weight => weight,
        },
    }
}

impl Standing {
    pub(crate) fn new(scheduling: Scheduling, home: usize) -> Self {
        Self {
            class: AtomicU32::new(pack(scheduling.class)),
            cpus: AtomicU64::new(scheduling.cpus),
            used: AtomicU64::new(0),
            home: AtomicUsize::new(home),
            queued: AtomicUsize::new(0),
            among_real_time: AtomicBool::new(false),
            turn: AtomicU64::new(0),
        }
    }

    /// Takes another class and other CPUs; whoever has the thread sees to it that this counts.
    pub(crate) fn set(&self, scheduling: Scheduling) {
        self.class.store(pack(scheduling.class), Relaxed);
        self.cpus.store(scheduling.cpus, Relaxed);
    }

    #[inline]
    pub(crate) fn rank(&self) -> Rank {
        Rank(self.class.load(Relaxed))
    }

    /// CPUs that it may run on, a bit each.
    #[inline]
    pub(crate) fn cpus(&self) -> u64 {
        self.cpus.load(Relaxed)
    }

    /// Whether it may run on that CPU.
    #[inline]
    pub(crate) fn may_run_on(&self, cpu: usize) -> bool {
        self.cpus.load(Relaxed) >> (cpu & 63) & 1 != 0
    }

    /// Its turn among its equals begins.
    pub(crate) fn begin_turn(&self, ran: &Meter, now: u64) {
        self.turn.store(ran.ticks(now), Relaxed);
    }

    /// Ticks that it has run in its turn.
    pub(crate) fn turn_ticks(&self, ran: &Meter, now: u64) -> u64 {
        ran.ticks(now).saturating_sub(self.turn.load(Relaxed))
    }
}

/// What `ticks` of run time count for a fair thread of that weight.
#[inline]
pub(crate) const fn share(ticks: u64, weight: u32) -> u64 {
    if weight == UNIT || weight == 0 { ticks } else { ticks.saturating_mul(UNIT as u64) / weight as u64 }
}
