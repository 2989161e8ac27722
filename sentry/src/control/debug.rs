//! What the tasks of a container are doing, for `chitin debug`: state, the call that each waits in, and what its user stack
//! may return to.

use super::view::View;
use crate::fs::FsCx;
use crate::fs::proc::{ProcSource, ProcTask};
use crate::mm::AreaInfo;
use crate::syscall::names::NAMES;
use crate::user::UserAddr;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Longest report; what is beyond is left out, and said.
const MAX_BYTES: usize = 512 << 10;
/// Bytes of a user stack that are looked through for addresses of code.
const STACK_BYTES: usize = 4096;
/// Most addresses that are shown of a stack.
const MAX_FRAMES: usize = 16;
const NS: u64 = 1_000_000_000;

/// A line for each task, ascending by process and thread, with lines of its stack below it.
pub(super) fn report(cx: &FsCx<'_>, view: &View) -> String {
    let mut text = String::new();
    for pid in ProcSource::pids(view) {
        let Some(process) = view.task(pid) else { continue };
        for tid in process.threads() {
            if text.len() > MAX_BYTES {
                text.push_str("... there are more tasks\n");
                return text;
            }
            if let Some(task) = view.task(tid) {
                describe(&mut text, cx, &*task);
            }
        }
    }
    text
}

fn describe(text: &mut String, cx: &FsCx<'_>, task: &dyn ProcTask) {
    let info = task.info();
    let name = String::from_utf8_lossy(&info.name).replace(|c: char| c.is_control(), "?");
    let used_ms = (info.user_ns.saturating_add(info.system_ns)) / (NS / 1000);
    let _ = write!(
        text,
        "pid {} tid {} ppid {} {} {name:?} cpu {}.{:03} s",
        info.pid,
        info.tid,
        info.ppid,
        info.state,
        used_ms / 1000,
        used_ms % 1000
    );
    let Some(details) = task.call() else {
        text.push_str(if info.state == 'R' { ": runs\n" } else { "\n" });
        return;
    };
    let name =
        usize::try_from(details.number).ok().and_then(|number| NAMES.get(number)).copied().unwrap_or("?");
    let [a, b, c, d, e, f] = details.arguments;
    let _ = writeln!(text, ": in {name}({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {f:#x})");
    let Some(mm) = task.mm() else { return };
    let areas = mm.areas();
    let mut place = |address: u64| {
        let shown = show_place(task, &areas, address);
        shown.is_some_and(|shown| writeln!(text, "    {address:#x} {shown}").is_ok())
    };
    place(details.pc);
    let mut stack = alloc::vec![0; STACK_BYTES];
    let read = mm.read_remote(cx.sleeper, UserAddr::new(details.stack_pointer & !7), &mut stack);
    let words = stack.get(..read).unwrap_or_default().chunks_exact(8);
    let words = words.filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
    words.filter(|word| place(*word)).take(MAX_FRAMES).for_each(drop);
}

/// The file and the offset in it of an address in code; `None` elsewhere.
fn show_place(task: &dyn ProcTask, areas: &[AreaInfo], address: u64) -> Option<String> {
    let area = areas.iter().find(|area| (area.start..area.end).contains(&address))?;
    if !area.execute {
        return None;
    }
    let name: Vec<u8> = match (&area.file, task.fs()) {
        (Some(file), Some(fs)) => file.display_path(&fs.root()),
        _ => area.name.clone(),
    };
    let name = String::from_utf8_lossy(&name).replace(|c: char| c.is_control(), "?");
    Some(alloc::format!("{name}+{:#x}", address - area.start + area.offset))
}
