//! `smaps` and `smaps_rollup` (proc_pid_smaps(5)). How many processes share a page of a file is not counted: pages of files
//! are told as shared and clean, and whole in `Pss`.

use super::memory::area_line;
use super::process::check_seen;
use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::FsCx;
use crate::mm::AreaInfo;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// KiB of an area, or of all.
#[derive(Clone, Copy, Default)]
struct Sizes {
    rss: u64,
    anonymous: u64,
    shared_memory: u64,
    locked: u64,
}

impl Sizes {
    fn of(area: &AreaInfo) -> Self {
        let (rss, anonymous) = (area.resident_pages * 4, area.private_pages * 4);
        let of_memory = if area.shared && area.file.is_none() { rss - anonymous } else { 0 };
        Self { rss, anonymous, shared_memory: of_memory, locked: if area.locked { rss } else { 0 } }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            anonymous: self.anonymous + other.anonymous,
            shared_memory: self.shared_memory + other.shared_memory,
            locked: self.locked + other.locked,
        }
    }
}

fn line(out: &mut String, name: &str, kib: u64) {
    let _ = writeln!(out, "{:<16}{kib:8} kB", format!("{name}:"));
}

/// The lines that areas and their sum have in common; those of the sum alone stand between.
fn sizes(out: &mut String, sizes: &Sizes, of_all: bool) {
    let Sizes { rss, anonymous, shared_memory, locked } = *sizes;
    line(out, "Rss", rss);
    line(out, "Pss", rss);
    line(out, "Pss_Dirty", anonymous);
    if of_all {
        line(out, "Pss_Anon", anonymous);
        line(out, "Pss_File", rss - anonymous - shared_memory);
        line(out, "Pss_Shmem", shared_memory);
    }
    let others = [
        ("Shared_Clean", rss - anonymous),
        ("Shared_Dirty", 0),
        ("Private_Clean", 0),
        ("Private_Dirty", anonymous),
        ("Referenced", rss),
        ("Anonymous", anonymous),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked),
    ];
    others.into_iter().for_each(|(name, kib)| line(out, name, kib));
}

/// `/proc/PID/smaps`.
pub(super) fn smaps(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    check_seen(task, cx)?;
    let mut out = String::new();
    for area in task.mm().map(|mm| mm.areas()).unwrap_or_default() {
        out.push_str(&area_line(cx, task, &area));
        line(&mut out, "Size", (area.end - area.start) / 1024);
        line(&mut out, "KernelPageSize", 4);
        line(&mut out, "MMUPageSize", 4);
        sizes(&mut out, &Sizes::of(&area), false);
        let _ = writeln!(out, "THPeligible:    0\nVmFlags: {}", area.flags);
    }
    Ok(out.into_bytes())
}

/// `/proc/PID/smaps_rollup`.
pub(super) fn smaps_rollup(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    check_seen(task, cx)?;
    let areas = task.mm().ok_or(Errno::ESRCH)?.areas();
    let (Some(first), Some(last)) = (areas.first(), areas.last()) else { return Ok(Vec::new()) };
    let mut out = format!("{:08x}-{:08x} ---p 00000000 00:00 0 ", first.start, last.end);
    while out.len() < 73 {
        out.push(' ');
    }
    out.push_str("[rollup]\n");
    sizes(&mut out, &areas.iter().map(Sizes::of).fold(Sizes::default(), Sizes::plus), true);
    Ok(out.into_bytes())
}
