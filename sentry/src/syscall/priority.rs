//! Nice values and I/O priorities (getpriority(2), ioprio_set(2)).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::{Capability, Creds};
use crate::task::{Resource, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

const NO_EFFECT: &str = "checked, kept and told, without effect on scheduling";

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(140, "getpriority", 2, getpriority, Never, Full),
    row!(141, "setpriority", 3, setpriority, Never, Full),
    row!(251, "ioprio_set", 3, ioprio_set, Never, Partial(NO_EFFECT)),
    row!(252, "ioprio_get", 2, ioprio_get, Never, Full),
];

/// Whom `which` of getpriority(2) and, one higher, of ioprio_get(2) names.
#[derive(Clone, Copy)]
enum Which {
    Thread,
    Group,
    User,
}

impl Which {
    fn new(which: i32) -> Result<Self, Errno> {
        match which {
            0 => Ok(Self::Thread),
            1 => Ok(Self::Group),
            2 => Ok(Self::User),
            _ => Err(Errno::EINVAL),
        }
    }

    fn tasks(self, cx: &Cx<'_>, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
        let container = cx.task.container();
        let number = who.cast_unsigned();
        let tasks: Vec<Arc<Task>> = match self {
            Self::Thread if who == 0 => alloc::vec![cx.task.clone()],
            Self::Thread => cx.task.find_task(number).into_iter().collect(),
            Self::Group => {
                let group =
                    if who == 0 { cx.task.process().group_and_session().0 } else { cx.task.meant(number) };
                let members = container.tree().group_processes(group);
                members.iter().flat_map(|process| process.threads()).collect()
            }
            Self::User => {
                let uid = if who == 0 { cx.task.creds().uid } else { number };
                let all: Vec<Arc<Task>> = container.tree().tasks.values().cloned().collect();
                all.into_iter().filter(|task| task.creds().uid == uid).collect()
            }
        };
        if tasks.is_empty() { Err(Errno::ESRCH) } else { Ok(tasks) }
    }
}

fn getpriority(cx: &mut Cx<'_>, which: i32, who: i32) -> SysResult {
    let tasks = Which::new(which)?.tasks(cx, who)?;
    let lowest = tasks.iter().map(|task| task.nice.load(Ordering::Relaxed)).min().unwrap_or(0);
    Ok(usize::try_from(20 - lowest).unwrap_or(20))
}

/// Whether the limit of `task` or the caller's capabilities allow that nice value (`RLIMIT_NICE`).
pub(super) fn may_have_nice(creds: &Creds, task: &Task, nice: i32) -> bool {
    let reaches = 20 - i64::from(nice);
    i64::try_from(task.rlimit(Resource::Nice)).is_ok_and(|limit| reaches <= limit)
        || task.rlimit(Resource::Nice) > 40
        || creds.has(Capability::SysNice)
}

fn setpriority(cx: &mut Cx<'_>, which: i32, who: i32, nice: i32) -> SysResult {
    let which = Which::new(which)?;
    let nice = nice.clamp(-20, 19);
    let creds = cx.task.creds();
    let mut result = Err(Errno::ESRCH);
    for task in which.tasks(cx, who)? {
        let of = task.creds();
        if creds.euid != of.euid && creds.euid != of.uid && !creds.has(Capability::SysNice) {
            result = Err(Errno::EPERM);
        } else if nice < task.nice.load(Ordering::Relaxed) && !may_have_nice(&creds, &task, nice) {
            result = Err(Errno::EACCES);
        } else {
            task.nice.store(nice, Ordering::Relaxed);
            task.reschedule();
            result = if result == Err(Errno::ESRCH) { Ok(0) } else { result };
        }
    }
    Ok(result?)
}

const LEVELS: u32 = 8;

fn ioprio_set(cx: &mut Cx<'_>, which: i32, who: i32, priority: i32) -> SysResult {
    let creds = cx.task.creds();
    let (class, level) = ((priority.cast_unsigned() >> 13) & 7, priority.cast_unsigned() & 0x1fff);
    match class {
        0 if level == 0 => {}
        1 if !creds.has(Capability::SysAdmin) && !creds.has(Capability::SysNice) => {
            return Err(Errno::EPERM.into());
        }
        1 | 2 if level < LEVELS => {}
        3 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let priority = u16::try_from(priority.cast_unsigned() & 0xffff).map_err(|_| Errno::EINVAL)?;
    let which = Which::new(which.checked_sub(1).ok_or(Errno::EINVAL)?)?;
    for task in which.tasks(cx, who)? {
        let of = task.creds();
        if of.uid != creds.euid && of.uid != creds.uid && !creds.has(Capability::SysNice) {
            return Err(Errno::EPERM.into());
        }
        task.schedule.lock().io_priority = priority;
    }
    Ok(0)
}

/// The priority that counts for comparing: without a class of its own a task has the one that its nice value gives.
fn effective(task: &Task) -> u16 {
    let own = task.schedule.lock().io_priority;
    if own >> 13 != 0 {
        return own;
    }
    let level = (task.nice.load(Ordering::Relaxed) + 20) / 5;
    (2 << 13) | u16::try_from(level).unwrap_or(4)
}

fn ioprio_get(cx: &mut Cx<'_>, which: i32, who: i32) -> SysResult {
    let which = Which::new(which.checked_sub(1).ok_or(Errno::EINVAL)?)?;
    let tasks = which.tasks(cx, who)?;
    if let (Which::Thread, Some(task)) = (which, tasks.first()) {
        return Ok(usize::from(task.schedule.lock().io_priority));
    }
    Ok(usize::from(tasks.iter().map(|task| effective(task)).min().unwrap_or(0)))
}
