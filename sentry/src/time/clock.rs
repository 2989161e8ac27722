//! Clocks (clock_gettime(2)).

use crate::abi::Errno;
use crate::platform;
use chitin_core::sleep::Sleeper;

/// A clock that is the same for every task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemClock {
    /// Since the epoch, UTC.
    Realtime,
    /// Since boot.
    Monotonic,
    /// Since the epoch, TAI; the offset to UTC is not known and taken as zero, as Linux does without NTP.
    Tai,
}

impl SystemClock {
    /// `CLOCK_*`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Realtime => 0,
            Self::Monotonic => 1,
            Self::Tai => 11,
        }
    }

    /// Its time in ns.
    #[must_use]
    pub fn now_ns(self, sleeper: &Sleeper) -> u64 {
        match self {
            Self::Monotonic => sleeper.now_ns(),
            Self::Realtime | Self::Tai => platform::get().realtime_ns(),
        }
    }

    /// The monotonic time at which this clock shows `at_ns`.
    #[must_use]
    pub fn deadline(self, sleeper: &Sleeper, at_ns: u64) -> u64 {
        match self {
            Self::Monotonic => at_ns,
            Self::Realtime | Self::Tai => {
                sleeper.now_ns().saturating_add(at_ns.saturating_sub(self.now_ns(sleeper)))
            }
        }
    }
}

/// Whose CPU time a clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuClock {
    /// Of a process, 0 for the caller's.
    Process(i32),
    /// Of a thread, 0 for the caller.
    Thread(i32),
}

/// A `clockid_t` that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// A clock of the system.
    System(SystemClock),
    /// The same at low resolution.
    Coarse(SystemClock),
    /// A clock of the system that sets timers also while the machine is suspended, which a sandbox never is.
    Alarm(SystemClock),
    /// CPU time.
    Cpu(CpuClock),
}

impl ClockId {
    /// Reads a `clockid_t`.
    ///
    /// # Errors
    /// `EINVAL` for an unknown clock; dynamic clocks of devices are among those.
    pub fn new(id: i32) -> Result<Self, Errno> {
        use SystemClock::{Monotonic, Realtime, Tai};
        Ok(match id {
            0 => Self::System(Realtime),
            // MONOTONIC, MONOTONIC_RAW and BOOTTIME: nothing steers the clock, and the sandbox is never suspended.
            1 | 4 | 7 => Self::System(Monotonic),
            2 => Self::Cpu(CpuClock::Process(0)),
            3 => Self::Cpu(CpuClock::Thread(0)),
            5 => Self::Coarse(Realtime),
            6 => Self::Coarse(Monotonic),
            8 => Self::Alarm(Realtime),
            9 => Self::Alarm(Monotonic),
            11 => Self::System(Tai),
            // Linux puts the inverted pid above three bits: 2^2 a thread's, 0..=2 which kind of CPU time.
            _ if id < 0 && id & 3 < 3 => {
                let pid = !(id >> 3);
                Self::Cpu(if id & 4 == 0 { CpuClock::Process(pid) } else { CpuClock::Thread(pid) })
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Resolution in ns.
    #[must_use]
    pub const fn resolution_ns(self) -> u64 {
        match self {
            // What Linux tells at 250 Hz.
            Self::Coarse(_) => 4_000_000,
            _ => 1,
        }
    }
}
