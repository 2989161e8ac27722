//! [`Schedule`]: what sched(7) lets be set for a thread. It is kept and told exactly; [`Schedule::scheduling`] is what the
//! platform makes of it.

use super::Task;
use crate::platform::{self, Class, Scheduling};
use core::sync::atomic::Ordering;

/// `SCHED_*` policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_OTHER`.
    #[default]
    Other,
    /// `SCHED_FIFO`.
    Fifo,
    /// `SCHED_RR`.
    RoundRobin,
    /// `SCHED_BATCH`.
    Batch,
    /// `SCHED_IDLE`.
    Idle,
    /// `SCHED_DEADLINE`.
    Deadline,
}

impl Policy {
    /// From its number, without flags.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Other,
            1 => Self::Fifo,
            2 => Self::RoundRobin,
            3 => Self::Batch,
            5 => Self::Idle,
            6 => Self::Deadline,
            _ => return None,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::Fifo => 1,
            Self::RoundRobin => 2,
            Self::Batch => 3,
            Self::Idle => 5,
            Self::Deadline => 6,
        }
    }

    /// Whether it has a static priority.
    #[must_use]
    pub const fn is_real_time(self) -> bool {
        matches!(self, Self::Fifo | Self::RoundRobin)
    }

    /// Whether the nice value counts.
    #[must_use]
    pub const fn is_fair(self) -> bool {
        matches!(self, Self::Other | Self::Batch)
    }
}

/// Parameters of [`Policy::Deadline`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// ns of run time in each period.
    pub runtime_ns: u64,
    /// ns from the start of a period until it is to be used.
    pub deadline_ns: u64,
    /// ns from period to period, 0 for the deadline.
    pub period_ns: u64,
    /// `SCHED_FLAG_RECLAIM`, `SCHED_FLAG_DL_OVERRUN`.
    pub flags: u64,
}

impl Deadline {
    /// Whether the kernel takes them (sched(7)): at least 1024 ns, below 2^63, runtime <= deadline <= period.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let period = if self.period_ns == 0 { self.deadline_ns } else { self.period_ns };
        self.deadline_ns != 0
            && self.runtime_ns >= 1024
            && self.deadline_ns >> 63 == 0
            && period >> 63 == 0
            && period >= self.deadline_ns
            && self.deadline_ns >= self.runtime_ns
            // `sched_deadline_period_min_us` and `_max_us`.
            && (100_000..=(1 << 22) * 1000).contains(&period)
    }
}

/// CPUs of an affinity mask: as many as the mask has bits.
pub type CpuMask = u64;

/// Of one thread. Its nice value is kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Policy.
    pub policy: Policy,
    /// 1 to 99 for real-time policies, else 0.
    pub priority: u32,
    /// Children start with the default policy (`SCHED_RESET_ON_FORK`).
    pub reset_on_fork: bool,
    /// For [`Policy::Deadline`].
    pub deadline: Deadline,
    /// CPUs it may run on.
    pub cpus: CpuMask,
    /// Class in bits 13 to 15, level below (ioprio_set(2)).
    pub io_priority: u16,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            policy: Policy::Other,
            priority: 0,
            reset_on_fork: false,
            deadline: Deadline::default(),
            cpus: all_cpus(),
            io_priority: 0,
        }
    }
}

impl Schedule {
    /// What a child has, with the nice value of its parent and its own.
    #[must_use]
    pub fn inherited(self, nice: i32) -> (Self, i32) {
        if !self.reset_on_fork {
            return (self, nice);
        }
        let special = self.policy.is_real_time() || self.policy == Policy::Deadline;
        let child = Self {
            policy: if special { Policy::Other } else { self.policy },
            priority: 0,
            reset_on_fork: false,
            deadline: Deadline::default(),
            ..self
        };
        (child, if special { 0 } else { nice.max(0) })
    }

    /// What the platform is told, of a thread with that nice value. `SCHED_DEADLINE` is the highest priority, taking turns.
    #[must_use]
    pub fn scheduling(&self, nice: i32) -> Scheduling {
        let priority = u8::try_from(self.priority.clamp(1, 99)).unwrap_or(1);
        let class = match self.policy {
            Policy::Other | Policy::Batch => Class::Fair { weight: weight(nice) },
            Policy::Idle => Class::Fair { weight: IDLE_WEIGHT },
            Policy::Fifo => Class::RealTime { priority, takes_turns: false },
            Policy::RoundRobin => Class::RealTime { priority, takes_turns: true },
            Policy::Deadline => Class::RealTime { priority: 99, takes_turns: true },
        };
        Scheduling { class, cpus: self.cpus }
    }

    /// As field `priority` of `/proc/PID/stat` tells it.
    #[must_use]
    pub fn shown_priority(&self, nice: i32) -> i32 {
        match self.policy {
            Policy::Fifo | Policy::RoundRobin => -1 - self.priority.cast_signed(),
            Policy::Deadline => -101,
            Policy::Other | Policy::Batch | Policy::Idle => 20 + nice,
        }
    }
}

/// Weights of the nice values from -20 on: each is a quarter more than the next (Linux, `sched_prio_to_weight`).
const WEIGHTS: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121,
    2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29,
    23, 18, 15,
];
/// Weight of [`Policy::Idle`].
const IDLE_WEIGHT: u32 = 3;

fn weight(nice: i32) -> u32 {
    usize::try_from(nice + 20).ok().and_then(|at| WEIGHTS.get(at)).copied().unwrap_or(1024)
}

impl Task {
    /// Tells the platform of a nice value or schedule that was changed.
    pub fn reschedule(&self) {
        // Under the lock, so that the last change is told last.
        let schedule = self.schedule.lock();
        self.set_scheduling(schedule.scheduling(self.nice.load(Ordering::Relaxed)));
    }
}

/// A mask of all CPUs.
#[must_use]
pub fn all_cpus() -> CpuMask {
    match platform::get().cpus() {
        cpus @ 1..=63 => (1 << cpus) - 1,
        _ => CpuMask::MAX,
    }
}
