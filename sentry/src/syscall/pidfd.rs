//! Descriptors of processes (pidfd_open(2)), and comparing processes (kcmp(2)).

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_WRITE};
use super::remote::may_access;
use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::signals::{as_sent, may_signal, numbered, read_info};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::fs::proc;
use crate::signal::info::SIZE as INFO_SIZE;
use crate::signal::{SigInfo, Signal, send_to_process};
use crate::task::pidfd::PidFd;
use crate::task::{Process, Task};
use crate::user::UserPtr;
use alloc::sync::Arc;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(
        312,
        "kcmp",
        5,
        kcmp,
        Never,
        Partial("KCMP_FILE, VM, FILES, FS and SIGHAND for equality, without an order")
    ),
    row!(424, "pidfd_send_signal", 4, pidfd_send_signal, Never, Full),
    row!(434, "pidfd_open", 2, pidfd_open, Never, Full),
    row!(438, "pidfd_getfd", 3, pidfd_getfd, Never, Full),
    row!(448, "process_mrelease", 2, process_mrelease, Never, Full),
];

fn pidfd_open(cx: &mut Cx<'_>, pid: i32, flags: u32) -> SysResult {
    if flags & !NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let number = pid.unsigned_abs();
    let Some(process) = cx.task.find_process(number) else {
        let is_thread = cx.task.find_task(number).is_some();
        return Err(if is_thread { Errno::EINVAL } else { Errno::ESRCH }.into());
    };
    let fd = descriptor::install(cx, PidFd::new(process), READ_WRITE | flags | CLOEXEC)?;
    descriptor::number(fd)
}

fn pidfd_send_signal(
    cx: &mut Cx<'_>,
    fd: Fd,
    number: u32,
    info: UserPtr<[u8; INFO_SIZE]>,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut file = descriptor::file(cx, fd)?;
    // The directory /proc/PID will do too.
    if let Some(pidfd) = file.node().and_then(|node| proc::pidfd_of(node)) {
        file = pidfd;
    }
    let target = PidFd::process_of(&file)?;
    let signal = Signal::or_probe(number)?;
    let creds = cx.task.creds();
    let info = match (info.non_null(), signal) {
        (Some(info), _) => numbered(read_info(cx, cx.task.shown(target.pid()).cast_signed(), info)?, number)?,
        (None, signal) => signal.map(|signal| SigInfo::user(signal, cx.task.pid(), creds.uid)),
    };
    if cx.task.container().process(target.pid()).is_none_or(|found| !Arc::ptr_eq(&found, target)) {
        return Err(Errno::ESRCH.into());
    }
    if !may_signal(cx, &creds, target, signal) {
        return Err(Errno::EPERM.into());
    }
    if let Some(info) = info {
        let (info, from) = as_sent(cx, target, info);
        send_to_process(target, info, from)?;
    }
    Ok(0)
}

fn thread_of(process: &Process) -> Result<Arc<Task>, Errno> {
    process.any_thread().ok_or(Errno::ESRCH)
}

fn pidfd_getfd(cx: &mut Cx<'_>, fd: Fd, target: Fd, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    let task = thread_of(PidFd::process_of(&file)?)?;
    if !may_access(cx, &task) {
        return Err(Errno::EPERM.into());
    }
    let found = task.files().get(target)?;
    descriptor::number(descriptor::install_file(cx, found, CLOEXEC)?)
}

/// Gives memory of a process back that is ending, before it has ended.
fn process_mrelease(cx: &mut Cx<'_>, fd: Fd, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    let process = PidFd::process_of(&file)?;
    let mm = process.threads().iter().find_map(|task| task.mm()).ok_or(Errno::ESRCH)?;
    // All who use the memory must be ending: vfork(2) and clone(2) may have given it to others.
    let uses = |other: &Arc<Process>| {
        other.threads().iter().any(|task| task.mm().is_some_and(|used| Arc::ptr_eq(&used, &mm)))
    };
    let ends = |process: &Process| {
        let state = process.state();
        state.exiting.is_some()
    };
    let stays = |other: &Arc<Process>| !ends(other) && uses(other);
    if !ends(process) || cx.task.container().processes().iter().any(stays) {
        return Err(Errno::EINVAL.into());
    }
    mm.reap(cx.sleeper);
    Ok(0)
}

fn kcmp(cx: &mut Cx<'_>, first: i32, second: i32, kind: u32, a: u64, b: u64) -> SysResult {
    use super::FromArg;
    let find = |pid: i32| {
        let number = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
        cx.task.find_task(number).ok_or(Errno::ESRCH)
    };
    let (first, second) = (find(first)?, find(second)?);
    if !may_access(cx, &first) || !may_access(cx, &second) {
        return Err(Errno::EPERM.into());
    }
    let same = match kind {
        0 => {
            let (a, b) = (first.files().get(Fd::from_arg(a))?, second.files().get(Fd::from_arg(b))?);
            Arc::ptr_eq(&a, &b)
        }
        1 => match (first.mm(), second.mm()) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
            _ => return Err(Errno::ESRCH.into()),
        },
        2 => Arc::ptr_eq(&first.files(), &second.files()),
        3 => Arc::ptr_eq(&first.fs(), &second.fs()),
        4 => Arc::ptr_eq(&first.process().handlers.get(), &second.process().handlers.get()),
        _ => return Err(Errno::EINVAL.into()),
    };
    // 3: not equal, and no order is told.
    Ok(if same { 0 } else { 3 })
}
