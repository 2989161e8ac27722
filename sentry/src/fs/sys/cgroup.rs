//! The cgroup v2 file system, as the root of the container's own cgroup namespace shows it: limits and use, not to be
//! changed from inside.

use super::Builder;
use crate::abi::Errno;
use crate::fs::filesystem::{FileSystem, anonymous_device};
use crate::fs::pseudo::{PseudoDir, PseudoFile, PseudoFs, Text};
use crate::fs::{FsCx, Node};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// What the files tell of, handed down by the rooms above.
pub trait CgroupSource: Send + Sync {
    /// Limit in bytes, if there is one, and bytes in use now and at most.
    fn memory(&self) -> (Option<u64>, u64, u64);
    /// Limit of tasks, if there is one, and tasks now.
    fn pids(&self) -> (Option<u32>, u32);
    /// CPU bandwidth: microseconds and period, if limited.
    fn cpu_quota_us(&self) -> Option<(u64, u64)>;
    /// Weight, 1 to 10000.
    fn cpu_weight(&self) -> u32;
    /// ns in user mode and in the sentry.
    fn cpu_ns(&self) -> (u64, u64);
    /// Process ids, ascending.
    fn processes(&self) -> Vec<u32>;
    /// Thread ids, ascending.
    fn threads(&self) -> Vec<u32>;
    /// CPUs.
    fn cpus(&self) -> usize;
    /// Processes killed for want of memory.
    fn oom_kills(&self) -> u64;
}

/// A list of CPUs: `0-3`.
pub(super) fn cpu_list(cpus: usize) -> String {
    match cpus {
        0 | 1 => String::from("0\n"),
        _ => format!("0-{}\n", cpus - 1),
    }
}

type Make = fn(&dyn CgroupSource) -> String;

fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| String::from("max\n"), |limit| format!("{limit}\n"))
}

/// The cgroup file system of a container.
#[must_use]
pub fn cgroup(source: &Arc<dyn CgroupSource>) -> Arc<dyn FileSystem> {
    const FILES: [(&str, Make); 32] = [
        ("cgroup.controllers", |_| String::from("cpuset cpu memory pids\n")),
        ("cgroup.events", |_| String::from("populated 1\nfrozen 0\n")),
        ("cgroup.freeze", |_| String::from("0\n")),
        ("cgroup.max.depth", |_| String::from("max\n")),
        ("cgroup.max.descendants", |_| String::from("max\n")),
        ("cgroup.procs", |source| source.processes().iter().map(|pid| format!("{pid}\n")).collect()),
        ("cgroup.stat", |_| String::from("nr_descendants 0\nnr_dying_descendants 0\n")),
        ("cgroup.subtree_control", |_| String::from("\n")),
        ("cgroup.threads", |source| source.threads().iter().map(|tid| format!("{tid}\n")).collect()),
        ("cgroup.type", |_| String::from("domain\n")),
        ("cpu.idle", |_| String::from("0\n")),
        ("cpu.max", |source| {
            let quota = source.cpu_quota_us();
            quota
                .map_or_else(|| String::from("max 100000\n"), |(quota, period)| format!("{quota} {period}\n"))
        }),
        ("cpu.max.burst", |_| String::from("0\n")),
        ("cpu.stat", |source| {
            let (user, system) = source.cpu_ns();
            let (user, system) = (user / 1000, system / 1000);
            format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}\n", user + system)
        }),
        ("cpu.weight", |source| format!("{}\n", source.cpu_weight())),
        ("cpu.weight.nice", |_| String::from("0\n")),
        ("cpuset.cpus", |_| String::from("\n")),
        ("cpuset.cpus.effective", |source| cpu_list(source.cpus())),
        ("cpuset.mems", |_| String::from("\n")),
        ("cpuset.mems.effective", |_| String::from("0\n")),
        ("memory.current", |source| format!("{}\n", source.memory().1)),
        ("memory.events", |source| {
            let kills = source.oom_kills();
            format!("low 0\nhigh 0\nmax {kills}\noom {kills}\noom_kill {kills}\noom_group_kill 0\n")
        }),
        ("memory.high", |_| String::from("max\n")),
        ("memory.low", |_| String::from("0\n")),
        ("memory.max", |source| limit(source.memory().0)),
        ("memory.min", |_| String::from("0\n")),
        ("memory.oom.group", |_| String::from("0\n")),
        ("memory.peak", |source| format!("{}\n", source.memory().2)),
        ("memory.swap.current", |_| String::from("0\n")),
        ("memory.swap.max", |_| String::from("0\n")),
        ("pids.current", |source| format!("{}\n", source.pids().1)),
        ("pids.max", |source| limit(source.pids().0.map(u64::from))),
    ];
    let at = Builder { dev: anonymous_device(), ino: Cell::new(0) };
    let file = |(name, make): (&'static str, Make)| -> (&'static str, Arc<Node>) {
        let source = source.clone();
        let contents = move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(make(&*source).into_bytes()) };
        (name, PseudoFile::node(at.meta(0o444), Text(contents)))
    };
    let files: Vec<(&'static str, Arc<Node>)> = FILES.into_iter().map(file).collect();
    PseudoFs::new("cgroup2", CGROUP2_SUPER_MAGIC, PseudoDir::fixed(at.meta(0o555), files))
}
