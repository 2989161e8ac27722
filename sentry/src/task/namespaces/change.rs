//! New namespaces (clone(2), unshare(2)), and going into those of others (setns(2)).

use super::{Contents, Namespaces, NetNamespace, Plain};
use crate::abi::Errno;
use crate::ipc::IpcNamespace;
use crate::security::{Capability, Creds, UserNamespace};
use crate::syscall::Cx;
use crate::task::Task;
use crate::task::clone::CloneFlags;
use alloc::sync::Arc;

/// Namespaces that need a capability in the user namespace they are made in.
pub const PRIVILEGED: CloneFlags = CloneFlags::NEWPID
    .union(CloneFlags::NEWNS)
    .union(CloneFlags::NEWUTS)
    .union(CloneFlags::NEWIPC)
    .union(CloneFlags::NEWNET)
    .union(CloneFlags::NEWCGROUP);

/// The credentials in a new user namespace, if one is asked for.
///
/// # Errors
/// `ENOSPC` when there are too many above it, `EPERM` when the caller's ids have no name in the one above, or it has
/// changed its root.
pub fn new_creds(cx: &Cx<'_>, flags: CloneFlags) -> Result<Option<Creds>, Errno> {
    if !flags.contains(CloneFlags::NEWUSER) {
        return Ok(None);
    }
    let (creds, fs) = (cx.task.creds(), cx.task.fs());
    if fs.root() != fs.namespace().root() {
        return Err(Errno::EPERM);
    }
    let namespace = creds.user_ns.new((creds.euid, creds.egid))?;
    Ok(Some(creds.entering(namespace)))
}

/// The other namespaces that are asked for, for a task with `creds`; mounts are the caller's affair.
///
/// # Errors
/// `EPERM`, `ENOSPC` with too many, `EINVAL` for a pid namespace when children have another one than the task already.
pub fn new_namespaces(task: &Task, flags: CloneFlags, creds: &Creds) -> Result<Arc<Namespaces>, Errno> {
    let old = task.namespaces();
    if !flags.intersects(PRIVILEGED) {
        return Ok(old);
    }
    if !creds.has_own(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let owner = &creds.user_ns;
    let mut new = (*old).clone();
    if flags.contains(CloneFlags::NEWUTS) {
        new.uts = old.uts.copy(owner.clone());
    }
    if flags.contains(CloneFlags::NEWIPC) {
        let ipc = IpcNamespace::new(task.container().budget.clone());
        new.ipc = (ipc, Plain::new(owner.clone()));
    }
    if flags.contains(CloneFlags::NEWNET) {
        new.net = NetNamespace::new(owner.clone())?;
    }
    if flags.contains(CloneFlags::NEWPID) {
        if !Arc::ptr_eq(&old.pid, task.process().pid_namespace()) {
            return Err(Errno::EINVAL);
        }
        new.pid = old.pid.below(owner.clone())?;
    }
    if flags.contains(CloneFlags::NEWCGROUP) {
        new.cgroup = Plain::new(owner.clone());
    }
    Ok(Arc::new(new))
}

/// The namespace of a task that a file of `/proc/PID/ns` stands for.
#[must_use]
pub fn of_task(task: &Task, name: &str) -> Option<Contents> {
    let namespaces = task.namespaces();
    Some(match name {
        "cgroup" => Contents::Cgroup(namespaces.cgroup.clone()),
        "ipc" => Contents::Ipc(namespaces.ipc.0.clone(), namespaces.ipc.1.clone()),
        "mnt" => Contents::Mount(task.fs().namespace()),
        "net" => Contents::Net(namespaces.net.clone()),
        "pid" => Contents::Pid(task.process().pid_namespace().clone()),
        // It is told once it has an init.
        "pid_for_children" if namespaces.pid.init() == 0 => return None,
        "pid_for_children" => Contents::Pid(namespaces.pid.clone()),
        "user" => Contents::User(task.creds().user_ns.clone()),
        "uts" => Contents::Uts(namespaces.uts.clone()),
        _ => return None,
    })
}

/// Takes the calling task into a namespace.
///
/// # Errors
/// `EPERM`; `EINVAL` for a user namespace that it is in already, a pid namespace that is not below its own, and when threads
/// or what it shares with others forbid.
pub fn enter(cx: &Cx<'_>, contents: &Contents) -> Result<(), Errno> {
    let task = cx.task;
    let creds = task.creds();
    let may = |owner: &UserNamespace| {
        let fine = creds.has_in(Capability::SysAdmin, owner) && creds.has_own(Capability::SysAdmin);
        if fine { Ok(()) } else { Err(Errno::EPERM) }
    };
    let mut namespaces = (*task.namespaces()).clone();
    match contents {
        Contents::Uts(uts) => {
            may(&uts.owner)?;
            namespaces.uts = uts.clone();
        }
        Contents::Cgroup(cgroup) => {
            may(&cgroup.owner)?;
            namespaces.cgroup = cgroup.clone();
        }
        Contents::Ipc(ipc, identity) => {
            may(&identity.owner)?;
            task.leave_undo_list();
            namespaces.ipc = (ipc.clone(), identity.clone());
        }
        Contents::Net(net) => {
            may(&net.owner)?;
            namespaces.net = net.clone();
        }
        Contents::Pid(pid) => {
            may(&pid.owner)?;
            if !task.process().pid_namespace().holds(pid) {
                return Err(Errno::EINVAL);
            }
            namespaces.pid = pid.clone();
        }
        Contents::Mount(mounts) => {
            may(&mounts.owner)?;
            if !creds.has_own(Capability::SysChroot) {
                return Err(Errno::EPERM);
            }
            let fs = task.fs();
            if shares_places(&fs) {
                return Err(Errno::EINVAL);
            }
            fs.enter(mounts);
        }
        Contents::User(user) => {
            let alone = task.process().state().threads.len() == 1;
            if *user == creds.user_ns || !alone || shares_places(&task.fs()) {
                return Err(Errno::EINVAL);
            }
            if !creds.has_in(Capability::SysAdmin, user) {
                return Err(Errno::EPERM);
            }
            task.set_creds(creds.entering(user.clone()));
        }
    }
    task.set_namespaces(namespaces);
    Ok(())
}

/// Whether another task shares root and working directory: beside the caller's count there is that of its task.
fn shares_places(fs: &Arc<crate::fs::FsContext>) -> bool {
    Arc::strong_count(fs) > 2
}
