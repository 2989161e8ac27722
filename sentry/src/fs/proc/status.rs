//! `stat`, `statm`, `status`, `limits` and their like.

use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::FsCx;
use crate::mm::Usage;
use crate::security::UserNamespace;
use crate::security::user_ns::Kind;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Clock ticks of user space (`sysconf(_SC_CLK_TCK)`) are 10 ms.
const TICK_NS: u64 = 10_000_000;

fn usage(task: &dyn ProcTask) -> Usage {
    task.mm().map_or_else(Usage::default, |mm| mm.usage())
}

/// `/proc/PID/stat`.
pub(super) fn stat(task: &dyn ProcTask) -> Vec<u8> {
    let info = task.info();
    let usage = usage(task);
    let name = String::from_utf8_lossy(&info.name);
    let mut out = format!("{} ({name}) {} ", info.tid, info.state);
    let _ = write!(out, "{} {} {} {} {} 4194560 ", info.ppid, info.pgid, info.sid, info.tty, info.tty_pgid);
    let _ = write!(out, "{} 0 {} 0 ", info.minor_faults, info.major_faults);
    let times =
        [info.user_ns, info.system_ns, info.child_user_ns, info.child_system_ns].map(|ns| ns / TICK_NS);
    let _ = write!(out, "{} {} {} {} ", times[0], times[1], times[2], times[3]);
    let _ =
        write!(out, "{} {} {} 0 {} ", info.scheduling.0, info.nice, info.threads, info.start_ns / TICK_NS);
    let _ = write!(out, "{} {} {} ", usage.virtual_pages * 4096, usage.resident_pages, u64::MAX);
    let _ = write!(out, "{} {} {} 0 0 ", usage.code.0, usage.code.1, usage.stack_start);
    let low = |set: u64| set & 0x7fff_ffff;
    let _ = write!(
        out,
        "{} {} {} {} ",
        low(info.pending),
        low(info.blocked),
        low(info.ignored),
        low(info.caught)
    );
    let (_, rt_priority, policy) = info.scheduling;
    let _ = write!(out, "0 0 0 17 {} {rt_priority} {policy} 0 0 0 ", info.cpu);
    let _ = write!(out, "{} {} {} ", usage.data.0, usage.data.1, usage.brk_start);
    let _ = write!(
        out,
        "{} {} {} {} ",
        usage.arguments.0, usage.arguments.1, usage.environment.0, usage.environment.1
    );
    let _ = writeln!(out, "{}", info.exit_code);
    out.into_bytes()
}

/// `/proc/PID/statm`.
pub(super) fn statm(task: &dyn ProcTask) -> Vec<u8> {
    let usage = usage(task);
    let code = (usage.code.1.saturating_sub(usage.code.0)).div_ceil(4096);
    format!(
        "{} {} {} {code} 0 {} 0\n",
        usage.virtual_pages, usage.resident_pages, usage.shared_pages, usage.data_pages
    )
    .into_bytes()
}

/// `/proc/PID/status`.
pub(super) fn status(task: &dyn ProcTask, viewer: &UserNamespace) -> Vec<u8> {
    let info = task.info();
    let creds = task.creds();
    let name = String::from_utf8_lossy(&info.name);
    let state = match info.state {
        'R' => "R (running)",
        'D' => "D (disk sleep)",
        'T' => "T (stopped)",
        't' => "t (tracing stop)",
        'Z' => "Z (zombie)",
        _ => "S (sleeping)",
    };
    let umask = task.fs().map_or(0o022, |fs| fs.umask());
    let mut out = format!("Name:\t{name}\nUmask:\t{umask:04o}\nState:\t{state}\n");
    let _ = write!(
        out,
        "Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
        info.pid, info.tid, info.ppid, info.tracer
    );
    let ids = |kind, ids: [u32; 4]| {
        let [a, b, c, d] = ids.map(|id| viewer.shown(kind, id));
        format!("{a}\t{b}\t{c}\t{d}")
    };
    let uids = ids(Kind::User, [creds.uid, creds.euid, creds.suid, creds.fsuid]);
    let _ = writeln!(out, "Uid:\t{uids}");
    let gids = ids(Kind::Group, [creds.gid, creds.egid, creds.sgid, creds.fsgid]);
    let _ = writeln!(out, "Gid:\t{gids}");
    let slots = task.files().map_or(0, |files| files.numbers().last().map_or(0, |last| last + 1));
    let groups: String =
        creds.groups.iter().map(|group| format!("{} ", viewer.shown(Kind::Group, *group))).collect();
    let _ =
        write!(out, "FDSize:\t{}\nGroups:\t{groups}\n", slots.max(64).cast_unsigned().next_power_of_two());
    let names = ["NStgid", "NSpid", "NSpgid", "NSsid"];
    for (index, (name, number)) in names.iter().zip([info.pid, info.tid, info.pgid, info.sid]).enumerate() {
        let _ = write!(out, "{name}:\t{number}");
        for number in info.inner.iter().filter_map(|numbers| numbers.get(index)) {
            let _ = write!(out, "\t{number}");
        }
        out.push('\n');
    }
    if task.mm().is_some() {
        memory_lines(&mut out, &usage(task));
    }
    let _ = write!(out, "Threads:\t{}\nSigQ:\t{}/{}\n", info.threads, info.queued, info.limits[11].0);
    let sets = [
        ("SigPnd", info.pending),
        ("ShdPnd", info.shared_pending),
        ("SigBlk", info.blocked),
        ("SigIgn", info.ignored),
        ("SigCgt", info.caught),
        ("CapInh", creds.inheritable),
        ("CapPrm", creds.permitted),
        ("CapEff", creds.effective),
        ("CapBnd", creds.bounding),
        ("CapAmb", creds.ambient),
    ];
    for (name, set) in sets {
        let _ = writeln!(out, "{name}:\t{set:016x}");
    }
    let _ = write!(out, "NoNewPrivs:\t{}\nSeccomp:\t{}\n", u8::from(creds.no_new_privs), info.seccomp);
    let _ = writeln!(out, "Seccomp_filters:\t{}", info.seccomp_filters);
    let _ = writeln!(out, "Speculation_Store_Bypass:\tvulnerable");
    let _ = writeln!(out, "Cpus_allowed:\t{:x}\nCpus_allowed_list:\t{}", info.cpus, ranges(info.cpus));
    let _ = write!(out, "Mems_allowed:\t1\nMems_allowed_list:\t0\n");
    let _ = writeln!(out, "voluntary_ctxt_switches:\t{}", info.switches.0);
    let _ = writeln!(out, "nonvoluntary_ctxt_switches:\t{}", info.switches.1);
    out.into_bytes()
}

/// The numbers of the bits of a mask, as `0-3,5`.
fn ranges(mask: u64) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < 64 {
        let run = (mask >> at).trailing_ones();
        if run == 0 {
            at += 1;
            continue;
        }
        let comma = if out.is_empty() { "" } else { "," };
        let last = at + run - 1;
        let _ = if run == 1 { write!(out, "{comma}{at}") } else { write!(out, "{comma}{at}-{last}") };
        at += run;
    }
    out
}

fn memory_lines(out: &mut String, usage: &Usage) {
    let kib = |pages: u64| pages * 4;
    let code = (usage.code.1.saturating_sub(usage.code.0)).div_ceil(1024);
    let lines = [
        ("VmPeak", kib(usage.virtual_peak_pages)),
        ("VmSize", kib(usage.virtual_pages)),
        ("VmLck", kib(usage.locked_pages)),
        ("VmPin", 0),
        ("VmHWM", kib(usage.resident_peak_pages)),
        ("VmRSS", kib(usage.resident_pages)),
        ("RssAnon", kib(usage.resident_pages.saturating_sub(usage.shared_pages))),
        ("RssFile", kib(usage.shared_pages)),
        ("RssShmem", 0),
        ("VmData", kib(usage.data_pages)),
        ("VmStk", kib(usage.stack_pages)),
        ("VmExe", code),
        ("VmLib", 0),
        ("VmPTE", kib(usage.resident_pages.div_ceil(512) + 3)),
        ("VmSwap", 0),
    ];
    for (name, kib) in lines {
        let _ = writeln!(out, "{name}:\t{kib:8} kB");
    }
}

/// `/proc/PID/limits`.
pub(super) fn limits(task: &dyn ProcTask) -> Vec<u8> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let value = |limit: u64| if limit == u64::MAX { String::from("unlimited") } else { format!("{limit}") };
    let mut out = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for ((name, unit), (soft, hard)) in NAMES.iter().zip(task.info().limits) {
        let _ = writeln!(out, "{name:<25} {:<20} {:<20} {unit:<10}", value(soft), value(hard));
    }
    out.into_bytes()
}

/// `/proc/PID/schedstat`.
pub(super) fn schedstat(task: &dyn ProcTask) -> Vec<u8> {
    let info = task.info();
    format!("{} {} {}\n", info.user_ns + info.system_ns, info.waited_ns, info.switches.0 + info.switches.1)
        .into_bytes()
}

/// `/proc/PID/io`: not counted yet, and said so by zeroes as Linux does without accounting.
pub(super) fn io() -> Vec<u8> {
    b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
        .to_vec()
}

/// `/proc/PID/syscall`.
pub(super) fn syscall(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    if !task.may_be_seen(cx) {
        return Err(Errno::EPERM);
    }
    Ok(match task.call() {
        Some(details) => {
            let mut line = format!("{}", details.number);
            for argument in details.arguments {
                let _ = write!(line, " {argument:#x}");
            }
            let _ = writeln!(line, " {:#x} {:#x}", details.stack_pointer, details.pc);
            line.into_bytes()
        }
        // It waits for a page or for the file server, or not at all.
        None => b"running\n".to_vec(),
    })
}
