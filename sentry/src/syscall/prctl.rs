//! prctl(2): what a thread or process sets for itself.

use super::row::{Restart::Never, Row, Support::Partial, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::exec::securebits;
use crate::security::{ALL_CAPABILITIES, Capability, Creds};
use crate::signal::Signal;
use crate::user::{UserAddr, UserPtr};
use core::sync::atomic::Ordering;

/// The rows of this family.
pub const ROWS: &[Row] = &[row!(
    157,
    "prctl",
    5,
    prctl,
    Never,
    Partial("SET_MM, SET_VMA, SET_PTRACER, SYSCALL_USER_DISPATCH and options of other architectures EINVAL")
)];

/// `PR_*`.
mod option {
    pub(super) const SET_PDEATHSIG: u32 = 1;
    pub(super) const GET_PDEATHSIG: u32 = 2;
    pub(super) const GET_DUMPABLE: u32 = 3;
    pub(super) const SET_DUMPABLE: u32 = 4;
    pub(super) const GET_KEEPCAPS: u32 = 7;
    pub(super) const SET_KEEPCAPS: u32 = 8;
    pub(super) const GET_TIMING: u32 = 13;
    pub(super) const SET_TIMING: u32 = 14;
    pub(super) const SET_NAME: u32 = 15;
    pub(super) const GET_NAME: u32 = 16;
    pub(super) const GET_SECCOMP: u32 = 21;
    pub(super) const SET_SECCOMP: u32 = 22;
    pub(super) const CAPBSET_READ: u32 = 23;
    pub(super) const CAPBSET_DROP: u32 = 24;
    pub(super) const GET_TSC: u32 = 25;
    pub(super) const SET_TSC: u32 = 26;
    pub(super) const GET_SECUREBITS: u32 = 27;
    pub(super) const SET_SECUREBITS: u32 = 28;
    pub(super) const SET_TIMERSLACK: u32 = 29;
    pub(super) const GET_TIMERSLACK: u32 = 30;
    pub(super) const TASK_PERF_EVENTS_DISABLE: u32 = 31;
    pub(super) const TASK_PERF_EVENTS_ENABLE: u32 = 32;
    pub(super) const MCE_KILL: u32 = 33;
    pub(super) const MCE_KILL_GET: u32 = 34;
    pub(super) const SET_MM: u32 = 35;
    pub(super) const SET_CHILD_SUBREAPER: u32 = 36;
    pub(super) const GET_CHILD_SUBREAPER: u32 = 37;
    pub(super) const SET_NO_NEW_PRIVS: u32 = 38;
    pub(super) const GET_NO_NEW_PRIVS: u32 = 39;
    pub(super) const GET_TID_ADDRESS: u32 = 40;
    pub(super) const SET_THP_DISABLE: u32 = 41;
    pub(super) const GET_THP_DISABLE: u32 = 42;
    pub(super) const CAP_AMBIENT: u32 = 47;
    pub(super) const GET_SPECULATION_CTRL: u32 = 52;
    pub(super) const SET_SPECULATION_CTRL: u32 = 53;
    pub(super) const SET_IO_FLUSHER: u32 = 57;
    pub(super) const GET_IO_FLUSHER: u32 = 58;
}

/// `EINVAL` unless every argument is zero.
fn zero(arguments: &[u64]) -> Result<(), Errno> {
    if arguments.iter().all(|argument| *argument == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn prctl(cx: &mut Cx<'_>, option: u32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    use option::*;
    let task = cx.task;
    let process = task.process();
    let word = UserPtr::<u32>::new(UserAddr::new(a));
    let small = u32::try_from(a).map_err(|_| Errno::EINVAL);
    let value = match option {
        SET_PDEATHSIG => {
            Signal::or_probe(small?)?;
            task.parent_death_signal.store(small?, Ordering::Relaxed);
            0
        }
        GET_PDEATHSIG => {
            cx.user().write(word, &task.parent_death_signal.load(Ordering::Relaxed))?;
            0
        }
        GET_DUMPABLE => process.dumpable.load(Ordering::Relaxed),
        SET_DUMPABLE if a <= 1 => {
            process.dumpable.store(small?, Ordering::Relaxed);
            0
        }
        GET_KEEPCAPS => u32::from(task.creds().securebits & securebits::KEEP_CAPS != 0),
        SET_KEEPCAPS if a <= 1 => keep_capabilities(cx, small?)?,
        // Statistical timing is all there is.
        GET_TIMING => 0,
        SET_TIMING if a == 0 => 0,
        SET_NAME => set_name(cx, a)?,
        GET_NAME => {
            cx.user().write_bytes(UserAddr::new(a), &task.name())?;
            0
        }
        GET_SECCOMP => task.seccomp().mode(),
        SET_SECCOMP => return super::seccomp::by_prctl(cx, a, UserAddr::new(b)),
        CAPBSET_READ => u32::from(task.creds().bounding & capability_bit(a)? != 0),
        CAPBSET_DROP => drop_bounding(cx, a)?,
        GET_TSC => {
            cx.user().write(word, &1)?;
            0
        }
        SET_TSC if a == 1 => 0,
        GET_SECUREBITS => task.creds().securebits,
        SET_SECUREBITS => set_securebits(cx, a)?,
        SET_TIMERSLACK => {
            task.timer_slack_ns.store(if a == 0 { 50_000 } else { a }, Ordering::Relaxed);
            0
        }
        GET_TIMERSLACK => {
            let slack = task.timer_slack_ns.load(Ordering::Relaxed);
            return Ok(usize::try_from(slack).unwrap_or(usize::MAX));
        }
        // There are none, so they are off and on at once.
        TASK_PERF_EVENTS_DISABLE | TASK_PERF_EVENTS_ENABLE => 0,
        MCE_KILL => {
            zero(&[c, d])?;
            match (a, b) {
                (0, 0) | (1, 0..=2) => 0,
                _ => return Err(Errno::EINVAL.into()),
            }
        }
        MCE_KILL_GET => {
            zero(&[a, b, c, d])?;
            2
        }
        SET_MM => {
            zero(&[d])?;
            if !task.creds().has(Capability::SysResource) {
                return Err(Errno::EPERM.into());
            }
            return Err(Errno::EINVAL.into());
        }
        SET_CHILD_SUBREAPER => {
            process.is_subreaper.store(a != 0, Ordering::Relaxed);
            0
        }
        GET_CHILD_SUBREAPER => {
            cx.user().write(word, &u32::from(process.is_subreaper.load(Ordering::Relaxed)))?;
            0
        }
        SET_NO_NEW_PRIVS => {
            zero(&[b, c, d])?;
            if a != 1 {
                return Err(Errno::EINVAL.into());
            }
            task.set_creds(Creds { no_new_privs: true, ..(*task.creds()).clone() });
            0
        }
        GET_NO_NEW_PRIVS => {
            zero(&[a, b, c, d])?;
            u32::from(task.creds().no_new_privs)
        }
        GET_TID_ADDRESS => {
            let at = UserPtr::<u64>::new(UserAddr::new(a));
            cx.user().write(at, &task.clear_child_tid.load(Ordering::Relaxed))?;
            0
        }
        SET_THP_DISABLE => {
            zero(&[b, c, d])?;
            process.huge_pages_off.store(a != 0, Ordering::Relaxed);
            0
        }
        GET_THP_DISABLE => {
            zero(&[a, b, c, d])?;
            u32::from(process.huge_pages_off.load(Ordering::Relaxed))
        }
        CAP_AMBIENT => ambient(cx, a, b, &[c, d])?,
        GET_SPECULATION_CTRL => {
            zero(&[b, c, d])?;
            match a {
                // Speculation is on and cannot be controlled.
                0 | 1 => 2,
                _ => return Err(Errno::ENODEV.into()),
            }
        }
        SET_SPECULATION_CTRL => {
            zero(&[c, d])?;
            return Err(if a <= 1 { Errno::ENXIO } else { Errno::ENODEV }.into());
        }
        SET_IO_FLUSHER => {
            may_flush_io(cx, &[b, c, d])?;
            match a {
                0 | 1 => process.io_flusher.store(a == 1, Ordering::Relaxed),
                _ => return Err(Errno::EINVAL.into()),
            }
            0
        }
        GET_IO_FLUSHER => {
            may_flush_io(cx, &[a, b, c, d])?;
            u32::from(process.io_flusher.load(Ordering::Relaxed))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(value as usize)
}

fn keep_capabilities(cx: &Cx<'_>, keep: u32) -> Result<u32, Errno> {
    let mut new = (*cx.task.creds()).clone();
    if new.securebits & securebits::KEEP_CAPS << 1 != 0 {
        return Err(Errno::EPERM);
    }
    new.securebits &= !securebits::KEEP_CAPS;
    if keep == 1 {
        new.securebits |= securebits::KEEP_CAPS;
    }
    cx.task.set_creds(new);
    Ok(0)
}

fn set_name(cx: &Cx<'_>, at: u64) -> Result<u32, Errno> {
    let mut name = cx.user().read_cstr(UserAddr::new(at), 16, Errno::E2BIG);
    if name == Err(Errno::E2BIG) {
        let mut head = [0; 15];
        name = cx.user().read_bytes(UserAddr::new(at), &mut head).map(|()| head.to_vec());
    }
    cx.task.set_name(&name?);
    Ok(0)
}

fn drop_bounding(cx: &Cx<'_>, number: u64) -> Result<u32, Errno> {
    let old = (*cx.task.creds()).clone();
    if !old.has_own(Capability::Setpcap) {
        return Err(Errno::EPERM);
    }
    let bit = capability_bit(number)?;
    cx.task.set_creds(Creds { bounding: old.bounding & !bit, ..old });
    Ok(0)
}

fn set_securebits(cx: &Cx<'_>, bits: u64) -> Result<u32, Errno> {
    let old = (*cx.task.creds()).clone();
    let new = u32::try_from(bits).ok().filter(|new| new & !securebits::ALL == 0).ok_or(Errno::EPERM)?;
    if locked(old.securebits, new) || !old.has_own(Capability::Setpcap) {
        return Err(Errno::EPERM);
    }
    cx.task.set_creds(Creds { securebits: new, ..old });
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

fn ambient(cx: &Cx<'_>, what: u64, number: u64, rest: &[u64]) -> Result<u32, Errno> {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    let old = (*cx.task.creds()).clone();
    zero(rest)?;
    let new = match what {
        CLEAR_ALL => {
            zero(&[number])?;
            0
        }
        IS_SET => return Ok(u32::from(old.ambient & capability_bit(number)? != 0)),
        RAISE => {
            let bit = capability_bit(number)?;
            let refused = old.securebits & securebits::NO_CAP_AMBIENT_RAISE != 0;
            if refused || old.permitted & old.inheritable & bit == 0 {
                return Err(Errno::EPERM);
            }
            old.ambient | bit
        }
        LOWER => old.ambient & !capability_bit(number)?,
        _ => return Err(Errno::EINVAL),
    };
    cx.task.set_creds(Creds { ambient: new, ..old });
    Ok(0)
}

/// Memory for I/O has no reserve that a flusher might use: who may set the flag, which is only kept.
fn may_flush_io(cx: &Cx<'_>, unused: &[u64]) -> Result<(), Errno> {
    if cx.task.creds().has(Capability::SysResource) { zero(unused) } else { Err(Errno::EPERM) }
}
