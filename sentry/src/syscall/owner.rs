//! Who gets signals of an open file: `F_SETOWN`, `F_GETOWN`, `F_SETOWN_EX`, `F_GETOWN_EX` of fcntl(2).

use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::fs::async_io::{OwnerKind, Ready, SI_KERNEL, Send};
use crate::net::socket;
use crate::security::Creds;
use crate::signal::info::{Origin, SigInfo};
use crate::signal::{From, Signal, send_to_process, send_to_task};
use crate::task::{Container, Process, Task};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::{Arc, Weak};

/// Who is named; weak, so that ids that are used again mean nobody.
enum Target {
    Thread(Weak<Task>),
    Process(Weak<Process>),
    Group(Weak<Container>, u32),
}

/// Whether one with these credentials may signal the task by a file (`sigio_perm`).
fn may(sender: &Creds, task: &Task) -> bool {
    let target = task.creds();
    sender.euid == 0 || [sender.euid, sender.uid].iter().any(|uid| *uid == target.suid || *uid == target.uid)
}

fn info(ready: Ready) -> Option<SigInfo> {
    if ready.signal == 0 {
        return Some(SigInfo::kernel(Signal::IO));
    }
    let signal = Signal::new(ready.signal).ok()?;
    if ready.code == SI_KERNEL {
        return Some(SigInfo::kernel(signal));
    }
    let origin = Origin::Poll { band: ready.band, fd: ready.fd };
    Some(SigInfo { signal, errno: 0, code: ready.code, origin })
}

fn send(target: &Target, sender: &Creds, ready: Ready) {
    let Some(info) = info(ready) else { return };
    let to_process = |process: &Arc<Process>| {
        if process.any_thread().is_some_and(|task| may(sender, &task)) {
            // A full queue of signals falls back to SIGIO, as on Linux.
            let sent = send_to_process(process, info, From::Inside);
            if sent.is_err() {
                let _ = send_to_process(process, SigInfo::kernel(Signal::IO), From::Inside);
            }
        }
    };
    match target {
        Target::Thread(task) => {
            if let Some(task) = task.upgrade().filter(|task| may(sender, task)) {
                let _ = send_to_task(&task, info, From::Inside);
            }
        }
        Target::Process(process) => {
            if let Some(process) = process.upgrade() {
                to_process(&process);
            }
        }
        Target::Group(container, group) => {
            if let Some(container) = container.upgrade() {
                let members = container.tree().group_processes(*group);
                members.iter().for_each(to_process);
            }
        }
    }
}

fn set(cx: &Cx<'_>, file: &OpenFile, kind: OwnerKind, id: i32) -> SysResult {
    if id == 0 {
        file.async_io.set_owner(kind, 0, None);
        if let Ok(stream) = socket::of(file) {
            stream.socket().set_owner(None);
        }
        return Ok(0);
    }
    let number = cx.task.meant(u32::try_from(id).map_err(|_| Errno::ESRCH)?);
    let container = cx.task.container();
    let target = match kind {
        OwnerKind::Thread => Target::Thread(Arc::downgrade(&container.task(number).ok_or(Errno::ESRCH)?)),
        OwnerKind::Process => {
            Target::Process(Arc::downgrade(&container.process(number).ok_or(Errno::ESRCH)?))
        }
        OwnerKind::Group => {
            if container.tree().group_processes(number).is_empty() {
                return Err(Errno::ESRCH.into());
            }
            Target::Group(Arc::downgrade(container), number)
        }
    };
    let sender = cx.task.creds();
    let send: Send = Arc::new(move |ready| send(&target, &sender, ready));
    if let Ok(stream) = socket::of(file) {
        stream.socket().set_owner(Some(send.clone()));
    }
    // Kept by the number in the container, as who asks may see another.
    file.async_io.set_owner(kind, number.cast_signed(), Some(send));
    Ok(0)
}

/// `F_SETOWN`: a negative number is a process group.
pub(super) fn set_own(cx: &Cx<'_>, file: &OpenFile, id: i32) -> SysResult {
    if id < 0 {
        return set(cx, file, OwnerKind::Group, id.checked_neg().ok_or(Errno::EINVAL)?);
    }
    set(cx, file, OwnerKind::Process, id)
}

fn owner(cx: &Cx<'_>, file: &OpenFile) -> (OwnerKind, i32) {
    let (kind, number) = file.async_io.owner();
    (kind, cx.task.shown(number.unsigned_abs()).cast_signed())
}

/// `F_GETOWN`.
pub(super) fn get_own(cx: &Cx<'_>, file: &OpenFile) -> SysResult {
    let (kind, id) = owner(cx, file);
    let id = if kind == OwnerKind::Group { id.saturating_neg() } else { id };
    // A negative owner is a process group, not an error.
    Ok(usize::try_from(i64::from(id).cast_unsigned()).unwrap_or(0))
}

/// `F_SETOWN_EX`.
pub(super) fn set_own_ex(cx: &Cx<'_>, file: &OpenFile, at: u64) -> SysResult {
    let [kind, id] = cx.user().read(UserPtr::<[i32; 2]>::new(UserAddr::new(at)))?;
    let kind = match kind {
        0 => OwnerKind::Thread,
        1 => OwnerKind::Process,
        2 => OwnerKind::Group,
        _ => return Err(Errno::EINVAL.into()),
    };
    set(cx, file, kind, id)
}

/// `F_GETOWN_EX`.
pub(super) fn get_own_ex(cx: &Cx<'_>, file: &OpenFile, at: u64) -> SysResult {
    let (kind, id) = owner(cx, file);
    let kind = match kind {
        OwnerKind::Thread => 0,
        OwnerKind::Process => 1,
        OwnerKind::Group => 2,
    };
    cx.user().write(UserPtr::new(UserAddr::new(at)), &[kind, id])?;
    Ok(0)
}
