//! `maps`, `smaps`, `cmdline`, `environ`, `auxv`, `exe`.

use super::process::check_seen;
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
    check_seen(task, cx)?;
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    let (from, to) = mm.usage().environment;
    remote(cx, task, from, to)
}

/// `/proc/PID/auxv`.
pub(super) fn auxv(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    check_seen(task, cx)?;
    let Some(mm) = task.mm() else { return Ok(Vec::new()) };
    Ok(mm.auxv(cx.sleeper).iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// `/proc/PID/exe`.
pub(super) fn exe(task: &dyn ProcTask) -> Result<LinkTarget, Errno> {
    let mm = task.mm().ok_or(Errno::ENOENT)?;
    mm.exe().map(LinkTarget::File).ok_or(Errno::ENOENT)
}

pub(super) fn area_line(cx: &FsCx<'_>, task: &dyn ProcTask, area: &AreaInfo) -> String {
    let attr = (area.file.as_ref().and_then(|file| file.node()))
        .and_then(|node| node.ops.attr(cx).ok())
        .unwrap_or_default();
    let name = match (&area.file, task.fs()) {
        (Some(file), Some(fs)) => file.display_path(&fs.root()),
        _ => area.name.clone(),
    };
    let flag = |on, letter| if on { letter } else { '-' };
    let (major, minor) = crate::fs::filesystem::device_parts(attr.dev);
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {major:02x}:{minor:02x} {} ",
        area.start,
        area.end,
        flag(area.read, 'r'),
        flag(area.write, 'w'),
        flag(area.execute, 'x'),
        if area.shared { 's' } else { 'p' },
        area.offset,
        attr.ino,
    );
    if !name.is_empty() {
        while line.len() < 73 {
            line.push(' ');
        }
        line.push_str(&String::from_utf8_lossy(&name).replace('\n', "\\012"));
    }
    line.push('\n');
    line
}

/// `/proc/PID/maps`.
pub(super) fn maps(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    check_seen(task, cx)?;
    let areas = task.mm().map(|mm| mm.areas()).unwrap_or_default();
    Ok(areas.iter().map(|area| area_line(cx, task, area)).collect::<String>().into_bytes())
}
