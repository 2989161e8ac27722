//! Figures of the sandbox: `meminfo`, `cpuinfo`, `stat`, `uptime` and the like.

use super::config;
use super::source::ProcSource;
use crate::abi::Errno;
use crate::fs::FsCx;
use crate::fs::Node;
use crate::fs::filesystem::device_parts;
use crate::fs::pseudo::{Meta, PseudoDir, PseudoFile, Text};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

type Make = fn(&dyn ProcSource) -> String;

/// The fixed files of `/proc`.
pub(super) fn files(source: &Arc<dyn ProcSource>, dev: u64) -> BTreeMap<&'static str, Arc<Node>> {
    const FILES: [(&str, Make); 15] = [
        ("cmdline", |_| String::from("chitin\n")),
        ("cpuinfo", cpuinfo),
        ("devices", |_| {
            String::from(
                "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n254 virtblk\n",
            )
        }),
        ("filesystems", |_| {
            String::from(
                "nodev\tsysfs\nnodev\ttmpfs\nnodev\tramfs\nnodev\tproc\nnodev\tdevpts\nnodev\tmqueue\nnodev\toverlay\nnodev\tcgroup2\n\terofs\n",
            )
        }),
        ("interrupts", |_| String::from("           CPU0\n")),
        ("loadavg", loadavg),
        ("meminfo", meminfo),
        ("modules", |_| String::new()),
        ("partitions", partitions),
        ("stat", stat),
        ("swaps", |_| String::from("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
        ("uptime", uptime),
        ("version", |_| crate::abi::version::proc_version()),
        ("vmstat", vmstat),
        ("diskstats", |_| String::new()),
    ];
    let file = |(ino, (name, make)): (u64, (&'static str, Make))| {
        let source = source.clone();
        let contents =
            Text(move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(make(&*source).into_bytes()) });
        (name, PseudoFile::node(Meta::new(dev, ino, 0o444), contents))
    };
    let mut files: BTreeMap<_, _> = (100..).zip(FILES).map(file).collect();
    let config = Text(|_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(config::archive()) });
    files.insert("config.gz", PseudoFile::node(Meta::new(dev, 140, 0o444), config));
    files
}

/// `/proc/keys` and `/proc/key-users` (keyrings(7)).
pub(super) fn keys(source: &Arc<dyn ProcSource>, dev: u64) -> BTreeMap<&'static str, Arc<Node>> {
    let file = |ino, name: &'static str| {
        let source = source.clone();
        let contents = Text(move |cx: &FsCx<'_>| -> Result<Vec<u8>, Errno> {
            Ok(source.keys(cx.caller.tid, name).into_bytes())
        });
        (name, PseudoFile::node(Meta::new(dev, ino, 0o444), contents))
    };
    BTreeMap::from([file(190, "keys"), file(191, "key-users")])
}

/// `/proc/sysvipc` (sysvipc(7)).
pub(super) fn sysvipc(source: &Arc<dyn ProcSource>, dev: u64) -> Arc<Node> {
    let file = |ino, name: &'static str| {
        let source = source.clone();
        let contents = Text(move |cx: &FsCx<'_>| -> Result<Vec<u8>, Errno> {
            Ok(source.sysvipc(cx.caller.tid, name).into_bytes())
        });
        (name, PseudoFile::node(Meta::new(dev, ino, 0o444), contents))
    };
    PseudoDir::fixed(Meta::new(dev, 150, 0o555), [file(151, "msg"), file(152, "sem"), file(153, "shm")])
}

fn partitions(source: &dyn ProcSource) -> String {
    let mut out = String::from("major minor  #blocks  name\n\n");
    for disk in source.disks() {
        let (major, minor) = device_parts(disk.number());
        let _ = writeln!(out, "{major:4}  {minor:7} {:10} {}", disk.size() / 1024, disk.name());
    }
    out
}

fn uptime(source: &dyn ProcSource) -> String {
    let system = source.system();
    let seconds = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100);
    format!("{} {}\n", seconds(system.uptime_ns), seconds(system.idle_ns))
}

fn loadavg(source: &dyn ProcSource) -> String {
    let system = source.system();
    let text = |load: u64| {
        // Rounded to hundredths, as Linux does.
        let rounded = load + (1 << 11) / 200;
        format!("{}.{:02}", rounded >> 11, ((rounded & 0x7ff) * 100) >> 11)
    };
    let [one, five, fifteen] = system.loads.map(text);
    format!("{one} {five} {fifteen} {}/{} {}\n", system.running.max(1), system.tasks, system.last_pid)
}

fn meminfo(source: &dyn ProcSource) -> String {
    let system = source.system();
    let free = system.memory.saturating_sub(system.memory_used);
    let available = free.saturating_add(system.cached).min(system.memory);
    let anonymous = system.memory_used.saturating_sub(system.cached);
    let lines = [
        ("MemTotal", system.memory),
        ("MemFree", free),
        ("MemAvailable", available),
        ("Buffers", 0),
        ("Cached", system.cached),
        ("SwapCached", 0),
        ("Active", system.memory_used),
        ("Inactive", 0),
        ("Active(anon)", anonymous),
        ("Inactive(anon)", 0),
        ("Active(file)", system.cached),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", anonymous),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("CommitLimit", system.memory),
        ("Committed_AS", system.memory_used),
        ("VmallocTotal", 0),
        ("VmallocUsed", 0),
    ];
    let mut out = String::new();
    for (name, bytes) in lines {
        let _ = writeln!(out, "{:<15} {:>8} kB", format!("{name}:"), bytes / 1024);
    }
    out.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    out
}

fn stat(source: &dyn ProcSource) -> String {
    let system = source.system();
    let tick = |ns: u64| ns / 10_000_000;
    let cpus = u64::from(system.cpus.max(1));
    let line = |part: u64| {
        format!(
            "{} 0 {} {} 0 0 0 0 0 0\n",
            tick(system.user_ns / part),
            tick(system.system_ns / part),
            tick(system.idle_ns / part)
        )
    };
    let mut out = format!("cpu  {}", line(1));
    for cpu in 0..cpus {
        let _ = write!(out, "cpu{cpu} {}", line(cpus));
    }
    let _ = write!(out, "intr 0\nctxt 0\nbtime {}\nprocesses {}\n", system.boot_time, system.forks);
    let _ = write!(
        out,
        "procs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        system.running.max(1)
    );
    out
}

fn vmstat(source: &dyn ProcSource) -> String {
    let system = source.system();
    let free = system.memory.saturating_sub(system.memory_used) / 4096;
    format!("nr_free_pages {free}\nnr_file_pages {}\npgfault 0\npgmajfault 0\n", system.cached / 4096)
}

fn cpuinfo(source: &dyn ProcSource) -> String {
    super::cpu::info(source.system().cpus.max(1))
}
