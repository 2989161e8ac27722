//! Scheduling: yielding, affinity, priorities (sched(7)). There is one policy; what is set is remembered where it has no
//! effect, and what cannot be had is refused.

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::platform;
use crate::security::Capability;
use crate::task::{Resource, Task};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const NO_EFFECT: &str = "remembered, without effect on scheduling";
const OTHER_ONLY: &str = "SCHED_OTHER alone";

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(24, "sched_yield", 0, sched_yield, Never, Full),
    row!(140, "getpriority", 2, getpriority, Never, Full),
    row!(141, "setpriority", 3, setpriority, Never, Partial(NO_EFFECT)),
    row!(142, "sched_setparam", 2, sched_setparam, Never, Partial(OTHER_ONLY)),
    row!(143, "sched_getparam", 2, sched_getparam, Never, Partial(OTHER_ONLY)),
    row!(144, "sched_setscheduler", 3, sched_setscheduler, Never, Partial(OTHER_ONLY)),
    row!(145, "sched_getscheduler", 1, sched_getscheduler, Never, Partial(OTHER_ONLY)),
    row!(146, "sched_get_priority_max", 1, sched_get_priority_max, Never, Full),
    row!(147, "sched_get_priority_min", 1, sched_get_priority_min, Never, Full),
    row!(148, "sched_rr_get_interval", 2, sched_rr_get_interval, Never, Partial(OTHER_ONLY)),
    row!(203, "sched_setaffinity", 3, sched_setaffinity, Never, Partial("checked, without effect")),
    row!(204, "sched_getaffinity", 3, sched_getaffinity, Never, Partial("every CPU")),
    row!(251, "ioprio_set", 3, ioprio_set, Never, Partial("checked, without effect")),
    row!(252, "ioprio_get", 2, ioprio_get, Never, Partial("always none")),
    row!(309, "getcpu", 2, getcpu, Never, Full),
    row!(314, "sched_setattr", 3, sched_setattr, Never, Partial(OTHER_ONLY)),
    row!(315, "sched_getattr", 4, sched_getattr, Never, Partial(OTHER_ONLY)),
];

fn sched_yield(cx: &mut Cx<'_>) -> SysResult {
    cx.sleeper.resched_point();
    Ok(0)
}

/// A task by its number, 0 for the caller.
fn target(cx: &Cx<'_>, tid: i32) -> Result<Arc<Task>, Errno> {
    match u32::try_from(tid).map_err(|_| Errno::EINVAL)? {
        0 => Ok(cx.task.clone()),
        tid => cx.task.container().task(tid).ok_or(Errno::ESRCH),
    }
}

/// The tasks that `which` and `who` of getpriority(2) name.
fn named(cx: &Cx<'_>, which: u32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    let container = cx.task.container();
    let number = u32::try_from(who).map_err(|_| Errno::ESRCH)?;
    let tasks: Vec<Arc<Task>> = match which {
        0 => target(cx, who).into_iter().collect(),
        1 => {
            let group = if number == 0 { cx.task.process().group_and_session().0 } else { number };
            let members = container.tree().group_processes(group);
            members.iter().flat_map(|process| process.threads()).collect()
        }
        2 => {
            let uid = if number == 0 { cx.task.creds().uid } else { number };
            let all: Vec<Arc<Task>> = container.tree().tasks.values().cloned().collect();
            all.into_iter().filter(|task| task.creds().uid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if tasks.is_empty() { Err(Errno::ESRCH) } else { Ok(tasks) }
}

fn getpriority(cx: &mut Cx<'_>, which: u32, who: i32) -> SysResult {
    let nices = named(cx, which, who)?.into_iter().map(|task| task.nice.load(Ordering::Relaxed));
    let lowest = nices.min().unwrap_or(0);
    Ok(usize::try_from(20 - lowest).unwrap_or(20))
}

fn setpriority(cx: &mut Cx<'_>, which: u32, who: i32, nice: i32) -> SysResult {
    let nice = nice.clamp(-20, 19);
    let creds = cx.task.creds();
    let mut result = Ok(0);
    for task in named(cx, which, who)? {
        let of = task.creds();
        if creds.euid != of.euid && creds.euid != of.uid && !creds.has(Capability::SysNice) {
            result = Err(Errno::EPERM);
            continue;
        }
        let lowest = 20 - i64::try_from(task.rlimit(Resource::Nice)).unwrap_or(40).min(40);
        let raises = nice < task.nice.load(Ordering::Relaxed) && i64::from(nice) < lowest;
        if raises && !creds.has(Capability::SysNice) {
            result = Err(Errno::EACCES);
            continue;
        }
        task.nice.store(nice, Ordering::Relaxed);
    }
    Ok(result?)
}

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;
const SCHED_BATCH: u32 = 3;
const SCHED_IDLE: u32 = 5;
const RESET_ON_FORK: u32 = 0x4000_0000;

fn sched_setparam(cx: &mut Cx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    target(cx, tid)?;
    if cx.user().read(param)? == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

fn sched_getparam(cx: &mut Cx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    target(cx, tid)?;
    cx.user().write(param, &0)?;
    Ok(0)
}

fn sched_setscheduler(cx: &mut Cx<'_>, tid: i32, policy: u32, param: UserPtr<i32>) -> SysResult {
    target(cx, tid)?;
    let priority = cx.user().read(param)?;
    match policy & !RESET_ON_FORK {
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE if priority != 0 => Err(Errno::EINVAL.into()),
        SCHED_OTHER => Ok(0),
        // Policies that would not be kept are refused as to an unprivileged caller.
        SCHED_FIFO | SCHED_RR | SCHED_BATCH | SCHED_IDLE => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_getscheduler(cx: &mut Cx<'_>, tid: i32) -> SysResult {
    target(cx, tid)?;
    Ok(SCHED_OTHER as usize)
}

fn sched_get_priority_max(_: &mut Cx<'_>, policy: u32) -> SysResult {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(99),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_get_priority_min(_: &mut Cx<'_>, policy: u32) -> SysResult {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(1),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

fn sched_rr_get_interval(cx: &mut Cx<'_>, tid: i32, to: UserPtr<Timespec>) -> SysResult {
    target(cx, tid)?;
    cx.user().write(to, &Timespec { sec: 0, nsec: 4_000_000 })?;
    Ok(0)
}

/// A mask of all CPUs.
fn all_cpus() -> Vec<u8> {
    let cpus = platform::get().cpus();
    let mut mask = alloc::vec![0u8; cpus.div_ceil(64) * 8];
    for cpu in 0..cpus {
        if let Some(byte) = mask.get_mut(cpu / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

fn sched_setaffinity(cx: &mut Cx<'_>, tid: i32, len: u32, from: UserAddr) -> SysResult {
    target(cx, tid)?;
    let mut mask = all_cpus();
    let len = mask.len().min(len as usize);
    let given = mask.get_mut(..len).unwrap_or_default();
    let all: Vec<u8> = given.to_vec();
    cx.user().read_bytes(from, given)?;
    if given.iter().zip(&all).any(|(given, all)| given & all != 0) {
        Ok(0)
    } else {
        Err(Errno::EINVAL.into())
    }
}

fn sched_getaffinity(cx: &mut Cx<'_>, tid: i32, len: u32, to: UserAddr) -> SysResult {
    target(cx, tid)?;
    let mask = all_cpus();
    if (len as usize) < mask.len() || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    cx.user().write_bytes(to, &mask)?;
    Ok(mask.len())
}

fn getcpu(cx: &mut Cx<'_>, cpu: UserPtr<u32>, node: UserPtr<u32>) -> SysResult {
    let number = u32::try_from(chitin_core::hooks::cpu()).unwrap_or(0);
    cx.user().write_if(cpu, &number)?;
    cx.user().write_if(node, &0)?;
    Ok(0)
}

/// Class (bits 13 to 15) and level of an I/O priority.
fn ioprio_set(cx: &mut Cx<'_>, which: u32, who: i32, priority: u32) -> SysResult {
    named(cx, which.checked_sub(1).ok_or(Errno::EINVAL)?, who)?;
    match priority >> 13 {
        0 if priority & 0x1fff == 0 => Ok(0),
        1 if !cx.task.creds().has(Capability::SysNice) => Err(Errno::EPERM.into()),
        1..=3 if priority & 0x1fff < 8 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ioprio_get(cx: &mut Cx<'_>, which: u32, who: i32) -> SysResult {
    named(cx, which.checked_sub(1).ok_or(Errno::EINVAL)?, who)?;
    Ok(0)
}

/// `struct sched_attr`, version 0.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    deadline: [u64; 3],
}

const SCHED_ATTR_SIZE: u32 = 48;

fn sched_setattr(cx: &mut Cx<'_>, tid: i32, from: UserPtr<SchedAttr>, flags: u32) -> SysResult {
    let task = target(cx, tid)?;
    let attr = cx.user().read(from)?;
    if flags != 0 || attr.size != 0 && attr.size < SCHED_ATTR_SIZE {
        return Err(Errno::EINVAL.into());
    }
    match attr.policy {
        SCHED_OTHER if attr.priority == 0 => setpriority(cx, 0, task.tid().cast_signed(), attr.nice),
        SCHED_OTHER => Err(Errno::EINVAL.into()),
        1..=6 => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_getattr(cx: &mut Cx<'_>, tid: i32, to: UserPtr<SchedAttr>, size: u32, flags: u32) -> SysResult {
    if flags != 0 || size < SCHED_ATTR_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let nice = target(cx, tid)?.nice.load(Ordering::Relaxed);
    let attr = SchedAttr { size: SCHED_ATTR_SIZE, policy: SCHED_OTHER, nice, ..SchedAttr::default() };
    cx.user().write(to, &attr)?;
    Ok(0)
}
