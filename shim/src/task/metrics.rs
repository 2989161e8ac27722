//! A container's counters in the two forms that containerd understands.

use super::TaskError;
use chitin_proto::control::Stats;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::{cgroups, cgroups_v2};

/// `io.containerd.cgroups.v1.Metrics`.
pub(super) fn v1(stats: &Stats) -> Result<Any, TaskError> {
    use cgroups::metrics::{CPUStat, CPUUsage, MemoryEntry, MemoryStat, Metrics, PidsStat};
    let mut pids = PidsStat::new();
    pids.current = u64::from(stats.pids);
    // 0 is no limit, as the cgroup's own file system tells containerd.
    pids.limit = stats.pids_limit.map_or(0, u64::from);
    let mut usage = CPUUsage::new();
    usage.total = stats.user_ns.saturating_add(stats.system_ns);
    usage.user = stats.user_ns;
    usage.kernel = stats.system_ns;
    let mut cpu = CPUStat::new();
    cpu.usage = MessageField::some(usage);
    let mut entry = MemoryEntry::new();
    entry.usage = stats.memory_bytes;
    entry.max = stats.memory_peak_bytes;
    entry.limit = stats.memory_limit_bytes.unwrap_or(u64::MAX);
    let mut memory = MemoryStat::new();
    memory.usage = MessageField::some(entry);
    let mut metrics = Metrics::new();
    metrics.pids = MessageField::some(pids);
    metrics.cpu = MessageField::some(cpu);
    metrics.memory = MessageField::some(memory);
    any("io.containerd.cgroups.v1.Metrics", &metrics)
}

/// `io.containerd.cgroups.v2.Metrics`.
pub(super) fn v2(stats: &Stats) -> Result<Any, TaskError> {
    use cgroups_v2::metrics::{CPUStat, MemoryEvents, MemoryStat, Metrics, PidsStat};
    let mut pids = PidsStat::new();
    pids.current = u64::from(stats.pids);
    // 0 is no limit, as the cgroup's own file system tells containerd.
    pids.limit = stats.pids_limit.map_or(0, u64::from);
    let mut cpu = CPUStat::new();
    cpu.usage_usec = stats.user_ns.saturating_add(stats.system_ns) / 1000;
    cpu.user_usec = stats.user_ns / 1000;
    cpu.system_usec = stats.system_ns / 1000;
    let mut memory = MemoryStat::new();
    memory.usage = stats.memory_bytes;
    memory.usage_limit = stats.memory_limit_bytes.unwrap_or(u64::MAX);
    let mut events = MemoryEvents::new();
    events.oom = stats.oom_kills;
    events.oom_kill = stats.oom_kills;
    let mut metrics = Metrics::new();
    metrics.pids = MessageField::some(pids);
    metrics.cpu = MessageField::some(cpu);
    metrics.memory = MessageField::some(memory);
    metrics.memory_events = MessageField::some(events);
    any("io.containerd.cgroups.v2.Metrics", &metrics)
}

/// A line like those of `runc events`.
pub(super) fn json(id: &str, stats: &Stats) -> String {
    let unimplemented: serde_json::Map<_, _> =
        stats.unimplemented.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
    serde_json::json!({
        "type": "stats",
        "id": id,
        "data": {
            "cpu": {"usage": {
                "total": stats.user_ns.saturating_add(stats.system_ns),
                "kernel": stats.system_ns,
                "user": stats.user_ns,
            }},
            "memory": {
                "usage": {
                    "usage": stats.memory_bytes,
                    "max": stats.memory_peak_bytes,
                    "limit": stats.memory_limit_bytes,
                },
                "oom_kills": stats.oom_kills,
            },
            "pids": {"current": stats.pids, "limit": stats.pids_limit},
            "syscalls": {"total": stats.syscalls, "unimplemented": unimplemented},
        },
    })
    .to_string()
}

fn any(type_url: &str, message: &impl Message) -> Result<Any, TaskError> {
    let mut any = Any::new();
    type_url.clone_into(&mut any.type_url);
    any.value = message.write_to_bytes()?;
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_kills_are_told() {
        let stats = Stats {
            memory_limit_bytes: Some(64 << 20),
            oom_kills: 2,
            pids_limit: Some(9),
            ..Stats::default()
        };
        let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&v2(&stats).unwrap().value).unwrap();
        assert_eq!(metrics.memory.usage_limit, 64 << 20);
        assert_eq!((metrics.memory_events.oom_kill, metrics.pids.limit), (2, 9));
        let none =
            cgroups_v2::metrics::Metrics::parse_from_bytes(&v2(&Stats::default()).unwrap().value).unwrap();
        assert_eq!((none.memory.usage_limit, none.pids.limit), (u64::MAX, 0));
        let line: serde_json::Value = serde_json::from_str(&json("a", &stats)).unwrap();
        assert_eq!(line["data"]["memory"]["usage"]["limit"], 64 << 20);
    }
}
