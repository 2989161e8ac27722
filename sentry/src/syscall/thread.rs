//! What a thread sets for itself: pointers, personality, what it shares (arch_prctl(2), set_tid_address(2), unshare(2)).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::Capability;
use crate::task::clone::CloneFlags;
use crate::user::{UserAddr, UserPtr};
use chitin_proto::layout::USER_END;
use core::sync::atomic::Ordering;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(
        135,
        "personality",
        1,
        personality,
        Never,
        Partial("ADDR_NO_RANDOMIZE, PER_LINUX32 and UNAME26 have an effect")
    ),
    row!(158, "arch_prctl", 2, arch_prctl, Never, Full),
    row!(218, "set_tid_address", 1, set_tid_address, Never, Full),
    row!(272, "unshare", 1, unshare, Never, Partial("FS, FILES, mount namespace")),
];

const ARCH_SET_GS: u32 = 0x1001;
const ARCH_SET_FS: u32 = 0x1002;
const ARCH_GET_FS: u32 = 0x1003;
const ARCH_GET_GS: u32 = 0x1004;

fn arch_prctl(cx: &mut Cx<'_>, code: u32, address: u64) -> SysResult {
    let pointer = UserPtr::<u64>::new(UserAddr::new(address));
    match code {
        ARCH_SET_FS | ARCH_SET_GS if address >= USER_END => return Err(Errno::EPERM.into()),
        ARCH_SET_FS => cx.context.regs.fs_base = address,
        ARCH_SET_GS => cx.context.regs.gs_base = address,
        ARCH_GET_FS => cx.user().write(pointer, &cx.context.regs.fs_base)?,
        ARCH_GET_GS => cx.user().write(pointer, &cx.context.regs.gs_base)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn set_tid_address(cx: &mut Cx<'_>, at: u64) -> SysResult {
    cx.task.clear_child_tid.store(at, Ordering::Relaxed);
    Ok(cx.task.tid() as usize)
}

fn personality(cx: &mut Cx<'_>, new: u32) -> SysResult {
    let own = &cx.task.personality;
    let old = if new == u32::MAX { own.load(Ordering::Relaxed) } else { own.swap(new, Ordering::Relaxed) };
    Ok(old as usize)
}

fn unshare(cx: &mut Cx<'_>, flags: u64) -> SysResult {
    let known = CloneFlags::FS
        | CloneFlags::FILES
        | CloneFlags::NEWNS
        | CloneFlags::SYSVSEM
        | CloneFlags::THREAD
        | CloneFlags::SIGHAND
        | CloneFlags::VM;
    let namespaces = CloneFlags::NEWUTS
        | CloneFlags::NEWIPC
        | CloneFlags::NEWUSER
        | CloneFlags::NEWPID
        | CloneFlags::NEWNET
        | CloneFlags::NEWCGROUP;
    let flags = CloneFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.intersects(CloneFlags::NEWNS | namespaces) && !cx.task.creds().has(Capability::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    let alone = cx.task.process().state().threads.len() == 1;
    let shared_only = CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM;
    if !known.contains(flags) || (flags.intersects(shared_only) && !alone) {
        return Err(Errno::EINVAL.into());
    }
    if flags.intersects(CloneFlags::SYSVSEM | CloneFlags::NEWIPC) {
        cx.task.leave_undo_list();
    }
    if flags.intersects(CloneFlags::FS | CloneFlags::NEWNS) {
        let own = cx.task.fs().duplicate();
        if flags.contains(CloneFlags::NEWNS) {
            own.unshare_mounts(cx.sleeper);
        }
        drop(cx.task.set_fs(own));
    }
    if flags.contains(CloneFlags::FILES) {
        drop(cx.task.set_files(cx.files.duplicate()));
    }
    Ok(0)
}
