//! Exits to user space by reason, for all vCPUs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why `KVM_RUN` came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Port write.
    IoOut,
    /// Port read.
    IoIn,
    /// Access to memory that no slot backs.
    Mmio,
    /// A signal: pause, stop.
    Interrupted,
    /// Anything else.
    Other,
}

/// The counters.
#[derive(Debug, Default)]
pub struct ExitCounters([AtomicU64; 5]);

impl ExitCounters {
    const NAMES: [&'static str; 5] = ["io_out", "io_in", "mmio", "interrupted", "other"];

    /// Counts one.
    pub fn count(&self, reason: ExitReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn read(&self) -> Vec<(String, u64)> {
        Self::NAMES
            .iter()
            .zip(&self.0)
            .map(|(name, counter)| ((*name).to_owned(), counter.load(Ordering::Relaxed)))
            .collect()
    }
}
