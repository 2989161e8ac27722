//! The page that the vDSO reads: how to turn the TSC into time. Shared by the kernel and the image.

/// Contents of the data page.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Data {
    /// Odd while the rest is being written.
    pub(crate) sequence: u64,
    /// ns per tick, times 2^32.
    pub(crate) ns_per_tick: u64,
    /// TSC at the zero of the monotonic clock.
    pub(crate) zero_tsc: u64,
    /// TSC at the pairing.
    pub(crate) paired_tsc: u64,
    /// ns since the epoch at the pairing.
    pub(crate) paired_ns: u64,
}

impl Data {
    #[inline(always)]
    const fn scale(&self, ticks: u64) -> u64 {
        ((ticks as u128 * self.ns_per_tick as u128) >> 32) as u64
    }

    /// Monotonic time in ns at TSC `tsc`.
    #[inline(always)]
    pub(crate) const fn monotonic(&self, tsc: u64) -> u64 {
        self.scale(tsc.saturating_sub(self.zero_tsc))
    }

    /// Wall clock in ns since the epoch at TSC `tsc`.
    #[inline(always)]
    pub(crate) const fn realtime(&self, tsc: u64) -> u64 {
        if tsc >= self.paired_tsc {
            self.paired_ns.wrapping_add(self.scale(tsc - self.paired_tsc))
        } else {
            self.paired_ns.wrapping_sub(self.scale(self.paired_tsc - tsc))
        }
    }
}
