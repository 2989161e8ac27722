//! `linux.resources` of the OCI runtime specification.

use chitin_proto::control::Limits;
use oci_spec::runtime::LinuxResources;

/// Period of CPU bandwidth when none is given, as in the kernel.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Converts what the sentry enforces; zero and negative limits are none.
#[must_use]
pub fn limits(resources: &LinuxResources) -> Limits {
    let memory = resources.memory().as_ref().and_then(|memory| positive(memory.limit()?));
    let pids = resources.pids().as_ref().and_then(|pids| positive(pids.limit()));
    let cpu = resources.cpu().as_ref();
    let quota = cpu.and_then(|cpu| positive(cpu.quota()?));
    let period = cpu.and_then(oci_spec::runtime::LinuxCpu::period).unwrap_or(DEFAULT_PERIOD_US);
    let shares = cpu.and_then(oci_spec::runtime::LinuxCpu::shares).filter(|shares| *shares > 0);
    Limits {
        memory_bytes: memory,
        pids: pids.map(|pids| u32::try_from(pids).unwrap_or(u32::MAX)),
        cpu_quota_us: quota.map(|quota| (quota, period)),
        cpu_weight: shares.map(weight),
    }
}

fn positive(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|limit| *limit > 0)
}

/// `cpu.shares` (2 to 262144) as a weight (1 to 10000), by the formula of runc and systemd.
fn weight(shares: u64) -> u32 {
    let shares = shares.clamp(2, 262_144);
    u32::try_from(1 + (shares - 2) * 9999 / 262_142).unwrap_or(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }

    #[test]
    fn negative_limits_are_none() {
        let json = r#"{"memory":{"limit":-1},"pids":{"limit":0},"cpu":{"quota":50000}}"#;
        let limits = limits(&serde_json::from_str(json).unwrap());
        assert_eq!((limits.memory_bytes, limits.pids), (None, None));
        assert_eq!(limits.cpu_quota_us, Some((50_000, 100_000)));
    }
}
