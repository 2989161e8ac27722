//! [`Meter`]: how long something has gone on in all, for others to read while it goes on.

use core::sync::atomic::{AtomicU64, Ordering};

/// Set while it stands still.
const STOPPED: u64 = 1 << 63;

/// A stopwatch in TSC ticks. One word, so that readers see a start or stop whole: while it stands still the ticks counted,
/// while it runs the TSC at which they would have been none.
pub(crate) struct Meter(AtomicU64);

impl Meter {
    /// Nothing counted.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(STOPPED))
    }

    /// Goes on at TSC `now`. Only its owner starts and stops it.
    #[inline]
    pub(crate) fn start(&self, now: u64) {
        let value = self.0.load(Ordering::Relaxed);
        if value & STOPPED != 0 {
            self.0.store(now.wrapping_sub(value & !STOPPED) & !STOPPED, Ordering::Relaxed);
        }
    }

    /// Stands still from TSC `now`; returns the ticks counted.
    #[inline]
    pub(crate) fn stop(&self, now: u64) -> u64 {
        let ticks = self.ticks(now);
        self.0.store(ticks | STOPPED, Ordering::Relaxed);
        ticks
    }

    /// Ticks counted until TSC `now`.
    #[inline]
    pub(crate) fn ticks(&self, now: u64) -> u64 {
        let value = self.0.load(Ordering::Relaxed);
        if value & STOPPED != 0 { value & !STOPPED } else { now.saturating_sub(value) }
    }
}
