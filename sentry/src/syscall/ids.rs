//! Process, group and session ids (getpid(2), setpgid(2), setsid(2)).

use super::row::{Restart::Never, Row, Support::Full, row};
use super::{Cx, SysResult};
use crate::abi::Errno;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(39, "getpid", 0, getpid, Never, Full),
    row!(109, "setpgid", 2, setpgid, Never, Full),
    row!(110, "getppid", 0, getppid, Never, Full),
    row!(111, "getpgrp", 0, getpgrp, Never, Full),
    row!(112, "setsid", 0, setsid, Never, Full),
    row!(121, "getpgid", 1, getpgid, Never, Full),
    row!(124, "getsid", 1, getsid, Never, Full),
    row!(186, "gettid", 0, gettid, Never, Full),
];

fn getpid(cx: &mut Cx<'_>) -> SysResult {
    Ok(cx.task.shown(cx.task.pid()) as usize)
}

fn gettid(cx: &mut Cx<'_>) -> SysResult {
    Ok(cx.task.shown(cx.task.tid()) as usize)
}

fn getppid(cx: &mut Cx<'_>) -> SysResult {
    Ok(cx.task.shown(cx.task.process().parent()) as usize)
}

fn getpgrp(cx: &mut Cx<'_>) -> SysResult {
    getpgid(cx, 0)
}

/// Group and session of a process, 0 for the caller's.
fn place(cx: &Cx<'_>, pid: u32) -> Result<(u32, u32), Errno> {
    let number = if pid == 0 { cx.task.pid() } else { cx.task.meant(pid) };
    let tree = cx.task.container().tree();
    // The number of any thread will do.
    let pid = tree.tasks.get(&number).map_or(number, |task| task.pid());
    let (group, session) = tree.group_and_session(pid).ok_or(Errno::ESRCH)?;
    Ok((cx.task.shown(group), cx.task.shown(session)))
}

fn getpgid(cx: &mut Cx<'_>, pid: u32) -> SysResult {
    Ok(place(cx, pid)?.0 as usize)
}

fn getsid(cx: &mut Cx<'_>, pid: u32) -> SysResult {
    Ok(place(cx, pid)?.1 as usize)
}

fn setpgid(cx: &mut Cx<'_>, pid: i32, group: i32) -> SysResult {
    let own = cx.task.pid();
    let number = |given: i32| u32::try_from(given).ok().map(|given| cx.task.meant(given));
    // A negative process becomes its own group, and that is looked at first.
    let group_given = u32::try_from(if group == 0 { pid } else { group }).map_err(|_| Errno::EINVAL)?;
    let pid = if pid == 0 { own } else { number(pid).ok_or(Errno::ESRCH)? };
    let group = if group_given == 0 { pid } else { cx.task.meant(group_given) };
    let mut tree = cx.task.container().tree();
    let member = tree.members.get(&pid).ok_or(Errno::ESRCH)?;
    let (_, own_session) = tree.group_and_session(own).ok_or(Errno::ESRCH)?;
    let (_, session) = tree.group_and_session(pid).ok_or(Errno::ESRCH)?;
    if pid != own {
        if member.parent != own {
            return Err(Errno::ESRCH.into());
        }
        if session != own_session {
            return Err(Errno::EPERM.into());
        }
        if member.has_exec {
            return Err(Errno::EACCES.into());
        }
    }
    if session == pid {
        return Err(Errno::EPERM.into());
    }
    if group != pid && tree.group(group).is_none_or(|group| group.session != session) {
        return Err(Errno::EPERM.into());
    }
    tree.move_to_group(pid, group);
    Ok(0)
}

fn setsid(cx: &mut Cx<'_>) -> SysResult {
    let pid = cx.task.pid();
    let mut tree = cx.task.container().tree();
    if tree.group(pid).is_some() {
        return Err(Errno::EPERM.into());
    }
    tree.new_session(pid);
    Ok(cx.task.shown(pid) as usize)
}
