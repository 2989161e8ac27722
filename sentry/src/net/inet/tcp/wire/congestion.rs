//! [`Congestion`]: how much may be under way: CUBIC (RFC 9438) or NewReno (RFC 5681), as `TCP_CONGESTION` says.

const MS: u64 = 1_000_000;

/// How the window grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net::inet) enum Algorithm {
    #[default]
    Cubic,
    Reno,
}

/// Windows in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    pub(super) algorithm: Algorithm,
    pub(super) window: usize,
    pub(super) threshold: usize,
    mss: usize,
    /// CUBIC: the window before the last loss, when growth began again, how long it takes to get there.
    w_max: usize,
    since_ns: Option<u64>,
    k_ms: i64,
    /// What NewReno would have.
    w_est: usize,
    /// Bytes acknowledged that did not make a step yet.
    credit: usize,
}

/// Bytes that a window may grow to.
const MOST: usize = 1 << 30;

fn cube_root(value: u64) -> u64 {
    let mut root = 0u64;
    for bit in (0..22).rev() {
        let next = root | 1 << bit;
        if next * next * next <= value {
            root = next;
        }
    }
    root
}

impl Congestion {
    pub(super) fn new(algorithm: Algorithm, mss: usize) -> Self {
        Self {
            algorithm,
            window: 10 * mss,
            threshold: MOST,
            mss,
            w_max: 0,
            since_ns: None,
            k_ms: 0,
            w_est: 0,
            credit: 0,
        }
    }

    /// Segments have another size now.
    pub(super) fn set_mss(&mut self, mss: usize) {
        self.window = (self.window / self.mss.max(1)).max(2).saturating_mul(mss);
        self.mss = mss;
    }

    /// `acked` bytes left the network, in a flight that filled the window.
    pub(super) fn acked(&mut self, acked: usize, now_ns: u64) {
        if self.window < self.threshold {
            self.window = (self.window + acked.min(2 * self.mss)).min(MOST);
            return;
        }
        match self.algorithm {
            Algorithm::Reno => self.grow_by_acks(acked),
            Algorithm::Cubic => self.grow_by_time(acked, now_ns),
        }
    }

    fn grow_by_acks(&mut self, acked: usize) {
        self.credit += acked;
        if self.credit >= self.window {
            self.credit -= self.window;
            self.window = (self.window + self.mss).min(MOST);
        }
    }

    fn grow_by_time(&mut self, acked: usize, now_ns: u64) {
        let mss = self.mss.max(1);
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        if since_ns == now_ns {
            let missing = self.w_max.saturating_sub(self.window) / mss;
            // C = 0.4: K = cbrt(missing / 0.4) s.
            self.k_ms = i64::try_from(cube_root(missing as u64 * 2_500_000_000)).unwrap_or(0);
            self.w_max = self.w_max.max(self.window);
            self.w_est = self.window;
        }
        let t_ms = i64::try_from(now_ns.saturating_sub(since_ns) / MS).unwrap_or(i64::MAX / 2);
        let d = (t_ms - self.k_ms).clamp(-100_000, 100_000);
        let bytes = i64::try_from(mss).unwrap_or(1500) * 4 * (d * d / 1000 * d / 1000) / 10_000;
        let target = i64::try_from(self.w_max).unwrap_or(i64::MAX / 2).saturating_add(bytes);
        let target = usize::try_from(target).unwrap_or(0).clamp(self.window, self.window + self.window / 2);
        let window = self.window.max(1);
        // NewReno's growth with CUBIC's decrease: 3 * (1 - 0.7) / (1 + 0.7) segments a round trip.
        self.w_est += acked * 53 / 100 * mss / window;
        let step = (target - self.window) * acked / window;
        self.window = (self.window + step.min(acked)).max(self.w_est).min(MOST);
    }

    /// Something was lost; `flight` bytes were under way.
    pub(super) fn lost(&mut self, flight: usize) {
        let least = 2 * self.mss;
        self.since_ns = None;
        self.credit = 0;
        match self.algorithm {
            Algorithm::Reno => self.threshold = (flight / 2).max(least),
            Algorithm::Cubic => {
                // Fast convergence (RFC 9438, section 4.7).
                self.w_max = if self.window < self.w_max { self.window / 20 * 17 } else { self.window };
                self.threshold = (self.window.min(flight.max(least)) / 10 * 7).max(least);
            }
        }
        self.window = self.threshold;
    }

    /// Nothing came back in time.
    pub(super) fn timed_out(&mut self, flight: usize) {
        self.lost(flight);
        self.window = self.mss;
    }

    /// Nothing was sent for long: the window says little now (RFC 2861).
    pub(super) fn idle(&mut self) {
        self.window = self.window.min(10 * self.mss);
        self.since_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_and_shrink() {
        assert_eq!((cube_root(27), cube_root(26), cube_root(1_000_000_000_000)), (3, 2, 10_000));
        for algorithm in [Algorithm::Cubic, Algorithm::Reno] {
            let mut control = Congestion::new(algorithm, 1000);
            assert_eq!(control.window, 10_000);
            (0..10).for_each(|_| control.acked(1000, 1));
            assert_eq!(control.window, 20_000, "slow start doubles");
            (0..80).for_each(|_| control.acked(1000, 1));
            control.lost(100_000);
            let after = control.window;
            assert!((50_000..=70_000).contains(&after), "{after}");
            // Ten seconds of round trips of 50 ms.
            for round in 1..200u64 {
                (0..control.window / 1000).for_each(|_| control.acked(1000, round * 50 * MS));
            }
            assert!(control.window > 150_000, "{algorithm:?} {}", control.window);
            control.timed_out(50_000);
            assert_eq!(control.window, 1000);
        }
    }
}
