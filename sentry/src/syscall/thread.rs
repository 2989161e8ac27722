//! What a thread sets for itself: pointers, personality (arch_prctl(2), set_tid_address(2), personality(2)).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
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
    Ok(cx.task.shown(cx.task.tid()) as usize)
}

fn personality(cx: &mut Cx<'_>, new: u32) -> SysResult {
    let own = &cx.task.personality;
    let old = if new == u32::MAX { own.load(Ordering::Relaxed) } else { own.swap(new, Ordering::Relaxed) };
    Ok(old as usize)
}
