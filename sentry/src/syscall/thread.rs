//! What a thread sets for itself: pointers, names, prctl (arch_prctl(2), prctl(2), set_tid_address(2)).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::exec::securebits;
use crate::security::{ALL_CAPABILITIES, Capability, Creds};
use crate::signal::Signal;
use crate::task::clone::CloneFlags;
use crate::user::{UserAddr, UserPtr};
use chitin_proto::layout::USER_END;
use core::sync::atomic::Ordering;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(135, "personality", 1, personality, Never, Partial("PER_LINUX with ADDR_NO_RANDOMIZE")),
    row!(157, "prctl", 5, prctl, Never, Partial("options that programs use; others EINVAL")),
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

const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

fn personality(cx: &mut Cx<'_>, new: u32) -> SysResult {
    let own = &cx.task.process().personality;
    if new == u32::MAX {
        return Ok(own.load(Ordering::Relaxed) as usize);
    }
    if new & !ADDR_NO_RANDOMIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(own.swap(new, Ordering::Relaxed) as usize)
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

/// `PR_*`.
mod option {
    pub(super) const SET_PDEATHSIG: u32 = 1;
    pub(super) const GET_PDEATHSIG: u32 = 2;
    pub(super) const GET_DUMPABLE: u32 = 3;
    pub(super) const SET_DUMPABLE: u32 = 4;
    pub(super) const GET_KEEPCAPS: u32 = 7;
    pub(super) const SET_KEEPCAPS: u32 = 8;
    pub(super) const SET_NAME: u32 = 15;
    pub(super) const GET_NAME: u32 = 16;
    pub(super) const GET_SECCOMP: u32 = 21;
    pub(super) const CAPBSET_READ: u32 = 23;
    pub(super) const CAPBSET_DROP: u32 = 24;
    pub(super) const GET_SECUREBITS: u32 = 27;
    pub(super) const SET_SECUREBITS: u32 = 28;
    pub(super) const SET_TIMERSLACK: u32 = 29;
    pub(super) const GET_TIMERSLACK: u32 = 30;
    pub(super) const SET_CHILD_SUBREAPER: u32 = 36;
    pub(super) const GET_CHILD_SUBREAPER: u32 = 37;
    pub(super) const SET_NO_NEW_PRIVS: u32 = 38;
    pub(super) const GET_NO_NEW_PRIVS: u32 = 39;
    pub(super) const GET_TID_ADDRESS: u32 = 40;
    pub(super) const CAP_AMBIENT: u32 = 47;
    pub(super) const SET_VMA: u32 = 0x5356_4d41;
}

fn prctl(cx: &mut Cx<'_>, option: u32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    use option::*;
    let task = cx.task;
    let process = task.process();
    let word = UserPtr::<u32>::new(UserAddr::new(a));
    let small = u32::try_from(a).map_err(|_| Errno::EINVAL);
    let creds = || (*task.creds()).clone();
    let zero_rest = if b == 0 && c == 0 && d == 0 { Ok(()) } else { Err(Errno::EINVAL) };
    match option {
        SET_PDEATHSIG => {
            Signal::or_probe(small?)?;
            task.parent_death_signal.store(small?, Ordering::Relaxed);
        }
        GET_PDEATHSIG => cx.user().write(word, &task.parent_death_signal.load(Ordering::Relaxed))?,
        GET_DUMPABLE => return Ok(process.dumpable.load(Ordering::Relaxed) as usize),
        SET_DUMPABLE if a <= 1 => process.dumpable.store(small?, Ordering::Relaxed),
        GET_KEEPCAPS => return Ok(usize::from(task.creds().securebits & securebits::KEEP_CAPS != 0)),
        SET_KEEPCAPS if a <= 1 => {
            let mut new = creds();
            new.securebits &= !securebits::KEEP_CAPS;
            if a == 1 {
                new.securebits |= securebits::KEEP_CAPS;
            }
            task.set_creds(new);
        }
        SET_NAME => {
            let mut name = cx.user().read_cstr(UserAddr::new(a), 16, Errno::E2BIG);
            if name == Err(Errno::E2BIG) {
                let mut head = [0; 15];
                name = cx.user().read_bytes(UserAddr::new(a), &mut head).map(|()| head.to_vec());
            }
            task.set_name(&name?);
        }
        GET_NAME => cx.user().write_bytes(UserAddr::new(a), &task.name())?,
        GET_SECCOMP => {}
        CAPBSET_READ => {
            let bit = capability_bit(a)?;
            return Ok(usize::from(task.creds().bounding & bit != 0));
        }
        CAPBSET_DROP => {
            let bit = capability_bit(a)?;
            let old = creds();
            if !old.has(Capability::Setpcap) {
                return Err(Errno::EPERM.into());
            }
            task.set_creds(Creds { bounding: old.bounding & !bit, ..old });
        }
        GET_SECUREBITS => return Ok(task.creds().securebits as usize),
        SET_SECUREBITS => {
            let old = creds();
            if !old.has(Capability::Setpcap)
                || small? & !securebits::ALL != 0
                || locked(old.securebits, small?)
            {
                return Err(Errno::EPERM.into());
            }
            task.set_creds(Creds { securebits: small?, ..old });
        }
        SET_TIMERSLACK => task.timer_slack_ns.store(if a == 0 { 50_000 } else { a }, Ordering::Relaxed),
        GET_TIMERSLACK => {
            let slack = task.timer_slack_ns.load(Ordering::Relaxed);
            return Ok(usize::try_from(slack).unwrap_or(usize::MAX));
        }
        SET_CHILD_SUBREAPER => process.is_subreaper.store(a != 0, Ordering::Relaxed),
        GET_CHILD_SUBREAPER => {
            cx.user().write(word, &u32::from(process.is_subreaper.load(Ordering::Relaxed)))?;
        }
        SET_NO_NEW_PRIVS => {
            zero_rest?;
            if a != 1 {
                return Err(Errno::EINVAL.into());
            }
            task.set_creds(Creds { no_new_privs: true, ..creds() });
        }
        GET_NO_NEW_PRIVS => {
            zero_rest?;
            return Ok(usize::from(task.creds().no_new_privs));
        }
        GET_TID_ADDRESS => {
            let at = UserPtr::<u64>::new(UserAddr::new(a));
            cx.user().write(at, &task.clear_child_tid.load(Ordering::Relaxed))?;
        }
        CAP_AMBIENT => return ambient(cx, a, b),
        // Names of anonymous memory are not kept, as by a kernel built without them.
        SET_VMA => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// Whether a change of secure bits touches a locked one. The lock of a bit is the bit above it.
const fn locked(old: u32, new: u32) -> bool {
    let locks = (old & 0xaa) >> 1;
    (old ^ new) & locks != 0 || old & 0xaa & !new != 0
}

fn capability_bit(number: u64) -> Result<u64, Errno> {
    let bit = u32::try_from(number).ok().and_then(|number| 1u64.checked_shl(number));
    bit.filter(|bit| bit & ALL_CAPABILITIES != 0).ok_or(Errno::EINVAL)
}

fn ambient(cx: &Cx<'_>, what: u64, number: u64) -> SysResult {
    let old = (*cx.task.creds()).clone();
    let new = match what {
        4 => 0,
        1 => return Ok(usize::from(old.ambient & capability_bit(number)? != 0)),
        2 => {
            let bit = capability_bit(number)?;
            let refused = old.securebits & securebits::NO_CAP_AMBIENT_RAISE != 0;
            if refused || old.permitted & old.inheritable & bit == 0 {
                return Err(Errno::EPERM.into());
            }
            old.ambient | bit
        }
        3 => old.ambient & !capability_bit(number)?,
        _ => return Err(Errno::EINVAL.into()),
    };
    cx.task.set_creds(Creds { ambient: new, ..old });
    Ok(0)
}
