//! Load averages (getloadavg(3)): how many tasks did not sleep, averaged over 1, 5 and 15 minutes.
//!
//! There is no periodic tick: whoever asks brings the averages up to date. Between two looks, as many tasks did not sleep as
//! the time off sleep grew faster than the clock.

use chitin_core::lock::{Level, SpinLock};

/// Level of the lock of the averages: nothing is taken below it.
const LEVEL: Level = Level(57);
/// Bits behind the point of a load (`FSHIFT`).
pub const SHIFT: u32 = 11;
const ONE: u64 = 1 << SHIFT;
/// What is left of an average after a step of five seconds.
const DECAY: [u64; 3] = [1884, 2014, 2037];
const STEP_NS: u64 = 5_000_000_000;

#[derive(Clone, Copy, Default)]
struct State {
    loads: [u64; 3],
    at_ns: u64,
    busy_ns: u64,
}

/// The load averages of a container.
pub struct LoadAverage(SpinLock<State>);

/// `base` (a fraction of [`ONE`]) to the power of `steps`.
fn power(base: u64, steps: u64) -> u64 {
    let (mut result, mut base, mut steps) = (ONE, base, steps.min(1 << 20));
    while steps > 0 {
        if steps & 1 != 0 {
            result = (result * base) >> SHIFT;
        }
        base = (base * base) >> SHIFT;
        steps >>= 1;
    }
    result
}

impl LoadAverage {
    /// No load yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(SpinLock::new(LEVEL, State { loads: [0; 3], at_ns: 0, busy_ns: 0 }))
    }

    /// The averages, with [`SHIFT`] bits behind the point; `busy_ns` is the time that all tasks together did not sleep.
    pub fn update(&self, now_ns: u64, busy_ns: u64) -> [u64; 3] {
        let mut state = self.0.lock();
        let steps = now_ns.saturating_sub(state.at_ns) / STEP_NS;
        if steps > 0 {
            let span_ns = now_ns - state.at_ns;
            let grown_ns = u128::from(busy_ns.saturating_sub(state.busy_ns));
            let active = u64::try_from((grown_ns << SHIFT) / u128::from(span_ns)).unwrap_or(u64::MAX >> 32);
            for (load, decay) in state.loads.iter_mut().zip(DECAY) {
                let left = power(decay, steps);
                *load = (load.saturating_mul(left) + active.saturating_mul(ONE - left)) >> SHIFT;
            }
            state.at_ns = now_ns;
            state.busy_ns = busy_ns;
        }
        state.loads
    }
}

impl Default for LoadAverage {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tends_towards_the_number_of_busy_tasks() {
        let load = LoadAverage::new();
        const MINUTE: u64 = 60_000_000_000;
        for minute in 1..=30 {
            load.update(minute * MINUTE, 2 * minute * MINUTE);
        }
        let [one, five, fifteen] = load.update(31 * MINUTE, 62 * MINUTE);
        assert!((2 * ONE - 20..=2 * ONE).contains(&one), "{one}");
        assert!(five > ONE && fifteen > ONE && five > fifteen);
        let [one, ..] = load.update(41 * MINUTE, 62 * MINUTE);
        assert!(one < 10, "{one}");
    }
}
