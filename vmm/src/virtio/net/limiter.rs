//! Limits of bytes and of frames per second, one [`Limiter`] for each direction of a card.

use chitin_proto::vmm::RateLimit;
use std::time::{Duration, Instant};

/// How far ahead of its rate a card may be after it was idle.
const BURST: Duration = Duration::from_millis(50);

/// Passes so many units a second (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
struct Gate {
    per_second: u64,
    /// When all that has passed would have, at the rate.
    due: Instant,
}

impl Gate {
    fn new(per_second: u64, now: Instant) -> Option<Self> {
        (per_second > 0).then_some(Self { per_second, due: now })
    }

    fn closed_until(&self, now: Instant) -> Option<Instant> {
        (self.due > now + BURST).then(|| self.due - BURST)
    }

    fn pass(&mut self, units: u64, now: Instant) {
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
        let cost = Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        let begin = self.due.max(now);
        self.due = begin.checked_add(cost).unwrap_or(begin);
    }
}

/// Both limits of a direction.
#[derive(Debug)]
pub struct Limiter {
    bytes: Option<Gate>,
    frames: Option<Gate>,
}

impl Limiter {
    /// One that nothing has passed yet.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let now = Instant::now();
        Self {
            bytes: Gate::new(limit.bytes_per_second, now),
            frames: Gate::new(limit.frames_per_second, now),
        }
    }

    /// Until when nothing may pass; `None` when something may now. `now` is asked for only if there is a limit.
    pub fn closed_until(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.bytes.is_none() && self.frames.is_none() {
            return None;
        }
        let now = now();
        let gates = self.bytes.iter().chain(&self.frames);
        gates.filter_map(|gate| gate.closed_until(now)).max()
    }

    /// A frame has passed, whatever the gates said: they stay closed the longer for it.
    pub fn pass(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if self.bytes.is_none() && self.frames.is_none() {
            return;
        }
        let now = now();
        if let Some(gate) = &mut self.bytes {
            gate.pass(bytes as u64, now);
        }
        if let Some(gate) = &mut self.frames {
            gate.pass(1, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes and frames that pass in ten seconds, when frames of `len` bytes always wait.
    fn rates(limit: RateLimit, len: usize) -> (u64, u64) {
        let mut limiter = Limiter::new(limit);
        let begin = Instant::now();
        let (mut now, mut frames) = (begin, 0);
        while now < begin + Duration::from_secs(10) {
            match limiter.closed_until(|| now) {
                Some(until) => now = until,
                None => {
                    limiter.pass(len, || now);
                    frames += 1;
                }
            }
        }
        (frames * len as u64 / 10, frames / 10)
    }

    #[test]
    fn rates_are_kept() {
        let limit = |bytes_per_second, frames_per_second| RateLimit { bytes_per_second, frames_per_second };
        let near = |is: u64, wanted: u64| assert!(is.abs_diff(wanted) * 50 < wanted, "{is}, not {wanted}");
        near(rates(limit(1_000_000, 0), 1500).0, 1_000_000);
        near(rates(limit(0, 1000), 1500).1, 1000);
        near(rates(limit(1_000_000, 100), 1500).1, 100);
        near(rates(limit(1_000_000, 100_000), 60_000).0, 1_000_000);
        let none = Limiter::new(RateLimit::default());
        assert_eq!(none.closed_until(|| unreachable!("nobody asks for the time")), None);
    }
}
