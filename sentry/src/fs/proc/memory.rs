//! `maps`, `smaps`, `cmdline`, `environ`, `auxv`, `exe`.

use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::FsCx;
use crate::fs::node::LinkTarget;
use crate::mm::AreaInfo;
use crate::user::UserAddr;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Most bytes of arguments or environment that are shown.
const MAX_STRINGS: u64 = 1 << 20;

fn remote(cx: &FsCx<'_>, task: &dyn ProcTask, from: u64, to: u64) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    let len = usize::try_from(to.saturating_sub(from).min(MAX_STRINGS)).unwrap_or(0);
    let mut bytes = vec![0; len];
    let done = mm.read_remote(cx.sleeper, UserAddr::new(from), &mut bytes);
    bytes.truncate(done);
    Ok(bytes)
}

/// `/proc/PID/cmdline`.
pub(super) fn cmdline(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    let (from, to) = mm.usage().arguments;
    remote(cx, task, from, to)
}

/// `/proc/PID/environ`.
pub(super) fn environ(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    let (from, to) = mm.usage().environment;
    remote(cx, task, from, to)
}

/// `/proc/PID/auxv`.
pub(super) fn auxv(_cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    Ok(mm.auxv().iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// `/proc/PID/exe`.
pub(super) fn exe(task: &dyn ProcTask) -> Result<LinkTarget, Errno> {
    let mm = task.mm().ok_or(Errno::ENOENT)?;
    mm.exe().map(LinkTarget::File).ok_or(Errno::ENOENT)
}

fn area_line(area: &AreaInfo) -> String {
    let flag = |on, letter| if on { letter } else { '-' };
    let (major, minor) = crate::fs::filesystem::device_parts(area.dev);
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {major:02x}:{minor:02x} {} ",
        area.start,
        area.end,
        flag(area.read, 'r'),
        flag(area.write, 'w'),
        flag(area.execute, 'x'),
        if area.shared { 's' } else { 'p' },
        area.offset,
        area.ino,
    );
    if !area.name.is_empty() {
        while line.len() < 73 {
            line.push(' ');
        }
        line.push_str(&String::from_utf8_lossy(&area.name).replace('\n', "\\012"));
    }
    line.push('\n');
    line
}

/// `/proc/PID/maps`.
pub(super) fn maps(task: &dyn ProcTask) -> Vec<u8> {
    let areas = task.mm().map(|mm| mm.areas()).unwrap_or_default();
    areas.iter().map(area_line).collect::<String>().into_bytes()
}

/// `/proc/PID/smaps`.
pub(super) fn smaps(task: &dyn ProcTask) -> Vec<u8> {
    let mut out = String::new();
    for area in task.mm().map(|mm| mm.areas()).unwrap_or_default() {
        out.push_str(&area_line(&area));
        let size = (area.end - area.start) / 1024;
        let rss = area.resident_pages * 4;
        let lines = [("Size", size), ("KernelPageSize", 4), ("MMUPageSize", 4), ("Rss", rss), ("Pss", rss)];
        for (name, kib) in lines {
            let _ = writeln!(out, "{:<16}{kib:8} kB", format!("{name}:"));
        }
    }
    out.into_bytes()
}
