//! [`Schedule`]: first expiration and period, shared by timerfds, interval timers and POSIX timers.

use crate::abi::Errno;
use crate::abi::time::{Itimerspec, Timespec};

/// When a timer expires. Times are monotonic ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Next expiration, `None` when the timer is stopped.
    pub next_ns: Option<u64>,
    /// Period, zero for once.
    pub interval_ns: u64,
}

impl Schedule {
    /// Expirations up to `now_ns`; moves the next one beyond it.
    pub fn advance(&mut self, now_ns: u64) -> u64 {
        let Some(next) = self.next_ns.filter(|next| *next <= now_ns) else { return 0 };
        let Some(more) = (now_ns - next).checked_div(self.interval_ns) else {
            self.next_ns = None;
            return 1;
        };
        self.next_ns = Some(next.saturating_add((more + 1).saturating_mul(self.interval_ns)));
        more + 1
    }

    /// Time to the next expiration; at least 1 ns while the timer is set.
    #[must_use]
    pub fn remaining_ns(&self, now_ns: u64) -> u64 {
        self.next_ns.map_or(0, |next| next.saturating_sub(now_ns).max(1))
    }

    /// What timer_gettime(2) and timerfd_gettime(2) say.
    #[must_use]
    pub fn to_itimerspec(&self, now_ns: u64) -> Itimerspec {
        Itimerspec {
            interval: Timespec::from_ns(self.interval_ns),
            value: Timespec::from_ns(self.remaining_ns(now_ns)),
        }
    }

    /// Reads a setting. `deadline` turns the first expiration into monotonic time.
    ///
    /// # Errors
    /// `EINVAL` for times that are not valid.
    pub fn from_itimerspec(spec: &Itimerspec, deadline: impl FnOnce(u64) -> u64) -> Result<Self, Errno> {
        let (value, interval_ns) = (spec.value.to_ns()?, spec.interval.to_ns()?);
        if value == 0 {
            return Ok(Self::default());
        }
        Ok(Self { next_ns: Some(deadline(value)), interval_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_missed_periods() {
        let mut schedule = Schedule { next_ns: Some(100), interval_ns: 10 };
        assert_eq!(schedule.advance(99), 0);
        assert_eq!(schedule.advance(100), 1);
        assert_eq!(schedule.next_ns, Some(110));
        assert_eq!(schedule.advance(139), 3);
        assert_eq!(schedule.next_ns, Some(140));
        let mut once = Schedule { next_ns: Some(100), interval_ns: 0 };
        assert_eq!((once.advance(500), once.advance(600)), (1, 0));
    }
}
