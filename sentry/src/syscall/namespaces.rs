//! unshare(2) and setns(2).

use super::row::{Restart::Never, Row, Support::Partial, row};
use super::{Cx, Fd, SysResult, descriptor};
use crate::abi::Errno;
use crate::fs::Stream;
use crate::task::clone::CloneFlags;
use crate::task::namespaces::change::{PRIVILEGED, enter, new_creds, new_namespaces, of_task};
use crate::task::namespaces::{Contents, NS_GET_PARENT, NS_GET_USERNS, NamespaceFile};
use crate::task::pidfd::PidFd;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(272, "unshare", 1, unshare, Never, Partial("no time namespaces")),
    row!(308, "setns", 2, setns, Never, Partial("no time namespaces")),
];

fn unshare(cx: &mut Cx<'_>, flags: u64) -> SysResult {
    type F = CloneFlags;
    let known = F::FS | F::FILES | F::SYSVSEM | F::THREAD | F::SIGHAND | F::VM | F::NEWUSER | PRIVILEGED;
    let mut flags = F::from_bits(flags).filter(|flags| known.contains(*flags)).ok_or(Errno::EINVAL)?;
    if flags.contains(F::NEWUSER) {
        flags |= F::THREAD | F::FS;
    }
    let task = cx.task;
    let alone = task.process().state().threads.len() == 1;
    let shared_handlers = Arc::strong_count(&task.process().handlers.get()) > 2;
    if (flags.intersects(F::THREAD | F::SIGHAND | F::VM) && !alone)
        || (flags.intersects(F::SIGHAND | F::VM) && shared_handlers)
    {
        return Err(Errno::EINVAL.into());
    }
    let creds = new_creds(cx, flags)?;
    let acting = creds.as_ref().cloned().unwrap_or_else(|| (*task.creds()).clone());
    let namespaces = new_namespaces(task, flags, &acting)?;
    if flags.intersects(F::SYSVSEM | F::NEWIPC) {
        task.leave_undo_list();
    }
    if flags.intersects(F::FS | F::NEWNS) {
        let own = task.fs().duplicate();
        if flags.contains(F::NEWNS) {
            own.unshare_mounts(cx.sleeper, acting.user_ns.clone())?;
        }
        drop(task.set_fs(own));
    }
    if flags.contains(F::FILES) {
        drop(task.set_files(cx.files.duplicate()));
    }
    if let Some(creds) = creds {
        task.set_creds(creds);
    }
    task.set_namespaces((*namespaces).clone());
    Ok(0)
}

fn setns(cx: &mut Cx<'_>, fd: Fd, kind: u32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let kind = u64::from(kind);
    if let Ok(process) = PidFd::process_of(&file) {
        let kinds = PRIVILEGED | CloneFlags::NEWUSER;
        if kind == 0 || kind & !kinds.bits() != 0 {
            return Err(Errno::EINVAL.into());
        }
        let target = process.any_thread().ok_or(Errno::ESRCH)?;
        // The user namespace first: what it grants counts for the others.
        let names = ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net"];
        let all: Vec<Contents> = names.iter().filter_map(|name| of_task(&target, name)).collect();
        for contents in all.iter().filter(|contents| contents.flag() & kind != 0) {
            enter(cx, contents)?;
        }
        return Ok(0);
    }
    let contents = NamespaceFile::contents_of(&file)?;
    if kind != 0 && contents.flag() != kind {
        return Err(Errno::EINVAL.into());
    }
    enter(cx, contents)?;
    Ok(0)
}

/// The ioctls of `/proc/PID/ns/*` that give a descriptor (ioctl_nsfs(2)); `None` for others, and for other files.
///
/// # Errors
/// `EPERM` for what the caller does not see, `EINVAL` for a kind that has nothing above.
pub(super) fn ioctl(cx: &Cx<'_>, stream: &Arc<dyn Stream>, command: u32) -> Option<SysResult> {
    let contents = &stream.as_any().downcast_ref::<NamespaceFile>()?.0;
    let found = match command {
        NS_GET_USERNS => owner(cx, contents),
        NS_GET_PARENT => match contents {
            Contents::User(_) => owner(cx, contents),
            Contents::Pid(namespace) => {
                let own = cx.task.process().pid_namespace();
                let above = namespace.above().filter(|above| own.holds(above));
                above.cloned().map(Contents::Pid).ok_or(Errno::EPERM)
            }
            _ => Err(Errno::EINVAL),
        },
        _ => return None,
    };
    let install = |contents| descriptor::install(cx, Arc::new(NamespaceFile(contents)), descriptor::CLOEXEC);
    Some(found.and_then(install).map_err(Into::into).and_then(descriptor::number))
}

/// The user namespace that owns one, if the caller's own is it or above it.
fn owner(cx: &Cx<'_>, contents: &Contents) -> Result<Contents, Errno> {
    let owner = contents.owner().ok_or(Errno::EPERM)?;
    let own = cx.task.creds().user_ns.clone();
    let mut chain = core::iter::successors(Some(&owner), |at| at.parent());
    let is_seen = chain.any(|at| *at == own);
    if is_seen { Ok(Contents::User(owner)) } else { Err(Errno::EPERM) }
}
