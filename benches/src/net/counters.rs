//! What a load costs the machine: processor time of both sides, and exits of virtual machines.

use std::fs;

/// Readings since the machine started.
pub(crate) struct Counters {
    /// Busy time of all processors in microseconds.
    busy_us: f64,
    /// Exits of all virtual machines to the kernel, where debugfs tells.
    exits: Option<f64>,
}

/// What was spent between two readings.
pub(crate) struct Spent(Counters);

impl Counters {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let exits = fs::read_to_string("/sys/kernel/debug/kvm/exits").ok();
        Self { busy_us: busy_us(&stat), exits: exits.and_then(|text| text.trim().parse().ok()) }
    }

    pub(crate) fn until_now(&self) -> Spent {
        let now = Self::now();
        let exits = self.exits.zip(now.exits).map(|(before, after)| after - before);
        Spent(Self { busy_us: now.busy_us - self.busy_us, exits })
    }
}

impl Spent {
    /// The cost of each of so many units.
    pub(crate) fn per(&self, units: f64) -> String {
        let busy = format!("{:.1} us of processor time", self.0.busy_us / units);
        match self.0.exits {
            Some(exits) => format!("{busy}, {:.2} exits each", exits / units),
            None => format!("{busy} each"),
        }
    }
}

/// The first line of `/proc/stat` (proc_stat(5)), in ticks of 10 ms: all but idle and iowait; guest time is in user time.
fn busy_us(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let sum: f64 =
        ticks.iter().take(8).enumerate().filter(|(index, _)| !(3..=4).contains(index)).map(|(_, t)| t).sum();
    sum * 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_idle_and_guest_out() {
        let stat = "cpu  10 1 20 500 50 2 3 4 9 9\ncpu0 1 2 3\n";
        assert!((busy_us(stat) - 400_000.0).abs() < 1e-6);
        assert!(busy_us("") == 0.0);
    }
}
