//! [`Rtt`]: round-trip times and what follows for retransmission (RFC 6298).

const MS: u64 = 1_000_000;
/// First guess, least (`TCP_RTO_MIN`) and greatest (`TCP_RTO_MAX`) timeouts.
const FIRST_NS: u64 = 1000 * MS;
const LEAST_NS: u64 = 200 * MS;
pub(super) const MOST_NS: u64 = 120_000 * MS;

/// Round-trip times of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    pub(super) smooth_ns: u64,
    pub(super) variation_ns: u64,
    pub(super) least_ns: u64,
    /// Doublings since the last answer.
    pub(super) backoff: u32,
}

impl Rtt {
    /// One more was measured.
    pub(super) fn sample(&mut self, rtt_ns: u64) {
        let rtt_ns = rtt_ns.clamp(1000, MOST_NS);
        if self.smooth_ns == 0 {
            (self.smooth_ns, self.variation_ns) = (rtt_ns, rtt_ns / 2);
            self.least_ns = rtt_ns;
        } else {
            let error = self.smooth_ns.abs_diff(rtt_ns);
            self.variation_ns = (3 * self.variation_ns + error) / 4;
            self.smooth_ns = (7 * self.smooth_ns + rtt_ns) / 8;
            self.least_ns = self.least_ns.min(rtt_ns);
        }
        self.backoff = 0;
    }

    /// How long an answer is waited for, but for doublings.
    pub(super) fn base_ns(&self) -> u64 {
        if self.smooth_ns == 0 {
            return FIRST_NS;
        }
        (self.smooth_ns + (4 * self.variation_ns).max(LEAST_NS)).clamp(LEAST_NS, MOST_NS)
    }

    /// How long an answer is waited for.
    pub(super) fn timeout_ns(&self) -> u64 {
        self.base_ns().saturating_mul(1 << self.backoff.min(20)).min(MOST_NS)
    }
}
