//! Scheduling policies (sched(7)): checked, kept and told as Linux does; [`Task::reschedule`] makes them count.

use super::priority::may_have_nice;
use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::Capability;
use crate::task::schedule::{Deadline, Policy, Schedule};
use crate::task::{Resource, Task};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const DEADLINE: &str = "SCHED_DEADLINE runs as the highest SCHED_RR";

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(24, "sched_yield", 0, sched_yield, Never, Full),
    row!(142, "sched_setparam", 2, sched_setparam, Never, Full),
    row!(143, "sched_getparam", 2, sched_getparam, Never, Full),
    row!(144, "sched_setscheduler", 3, sched_setscheduler, Never, Full),
    row!(145, "sched_getscheduler", 1, sched_getscheduler, Never, Full),
    row!(146, "sched_get_priority_max", 1, sched_get_priority_max, Never, Full),
    row!(147, "sched_get_priority_min", 1, sched_get_priority_min, Never, Full),
    row!(148, "sched_rr_get_interval", 2, sched_rr_get_interval, Never, Full),
    row!(314, "sched_setattr", 3, sched_setattr, Never, Partial(DEADLINE)),
    row!(315, "sched_getattr", 4, sched_getattr, Never, Full),
];

fn sched_yield(cx: &mut Cx<'_>) -> SysResult {
    cx.sleeper.give_way();
    Ok(0)
}

/// A task by its number, 0 for the caller.
///
/// # Errors
/// `ESRCH` when there is none.
pub(super) fn target_of(cx: &Cx<'_>, tid: i32) -> Result<Arc<Task>, Errno> {
    match u32::try_from(tid).map_err(|_| Errno::ESRCH)? {
        0 => Ok(cx.task.clone()),
        tid => cx.task.find_task(tid).ok_or(Errno::ESRCH),
    }
}

/// As [`target_of`] for calls that refuse negative numbers and null pointers before they look.
fn checked_target(cx: &Cx<'_>, tid: i32, pointer: UserAddr) -> Result<Arc<Task>, Errno> {
    if tid < 0 || pointer.is_null() { Err(Errno::EINVAL) } else { target_of(cx, tid) }
}

/// `SCHED_FLAG_*`, and `SCHED_RESET_ON_FORK` beside a policy.
mod flag {
    pub(super) const RESET_ON_FORK: u64 = 1;
    pub(super) const RECLAIM: u64 = 2;
    pub(super) const DL_OVERRUN: u64 = 4;
    pub(super) const KEEP_POLICY: u64 = 8;
    pub(super) const KEEP_PARAMS: u64 = 16;
    pub(super) const UTIL_CLAMP: u64 = 0x60;
    pub(super) const ALL: u64 = 0x7f;
    pub(super) const POLICY_RESET_ON_FORK: u32 = 0x4000_0000;
}

/// What is to be set; without a policy the old one stays.
struct Change {
    policy: Option<Policy>,
    flags: u64,
    nice: i32,
    priority: u32,
    deadline: Deadline,
}

fn change(cx: &Cx<'_>, task: &Task, change: &Change) -> Result<(), Errno> {
    let old = *task.schedule.lock();
    let policy = change.policy.unwrap_or(old.policy);
    let reset_on_fork = match change.policy {
        Some(_) => change.flags & flag::RESET_ON_FORK != 0,
        None => old.reset_on_fork,
    };
    let sound = change.priority <= 99
        && (policy != Policy::Deadline || change.deadline.is_valid())
        && policy.is_real_time() == (change.priority != 0);
    if !sound {
        return Err(Errno::EINVAL);
    }
    let (own, of) = (cx.task.creds(), task.creds());
    let old_nice = task.nice.load(Ordering::Relaxed);
    let limit = task.rlimit(Resource::Rtprio);
    let free = (!policy.is_fair() || change.nice >= old_nice || may_have_nice(&own, task, change.nice))
        && (!policy.is_real_time()
            || ((policy == old.policy || limit > 0)
                && (change.priority <= old.priority || u64::from(change.priority) <= limit)))
        && policy != Policy::Deadline
        && (old.policy != Policy::Idle || policy == Policy::Idle || may_have_nice(&own, task, old_nice))
        && (own.euid == of.euid || own.euid == of.uid)
        && (!old.reset_on_fork || reset_on_fork);
    if !free && !own.has(Capability::SysNice) {
        return Err(Errno::EPERM);
    }
    if change.flags & flag::UTIL_CLAMP != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let deadline = if policy == Policy::Deadline { change.deadline } else { Deadline::default() };
    {
        let mut schedule = task.schedule.lock();
        *schedule = Schedule { policy, priority: change.priority, reset_on_fork, deadline, ..*schedule };
    }
    if policy.is_fair() {
        task.nice.store(change.nice, Ordering::Relaxed);
    }
    task.reschedule();
    cx.sleeper.resched_point();
    Ok(())
}

fn set_simple(cx: &Cx<'_>, tid: i32, policy: Option<u32>, param: UserPtr<i32>) -> SysResult {
    if param.is_null() || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = cx.user().read(param)?;
    let task = target_of(cx, tid)?;
    let mut flags = 0;
    let policy = match policy {
        None => None,
        Some(given) => {
            if given & flag::POLICY_RESET_ON_FORK != 0 {
                flags = flag::RESET_ON_FORK;
            }
            Some(Policy::new(given & !flag::POLICY_RESET_ON_FORK).ok_or(Errno::EINVAL)?)
        }
    };
    let nice = task.nice.load(Ordering::Relaxed);
    let priority = priority.cast_unsigned();
    change(cx, &task, &Change { policy, flags, nice, priority, deadline: Deadline::default() })?;
    Ok(0)
}

fn sched_setparam(cx: &mut Cx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    set_simple(cx, tid, None, param)
}

fn sched_setscheduler(cx: &mut Cx<'_>, tid: i32, policy: i32, param: UserPtr<i32>) -> SysResult {
    let policy = u32::try_from(policy).map_err(|_| Errno::EINVAL)?;
    set_simple(cx, tid, Some(policy), param)
}

fn sched_getparam(cx: &mut Cx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    let priority = checked_target(cx, tid, param.addr())?.schedule.lock().priority;
    cx.user().write(param, &priority.cast_signed())?;
    Ok(0)
}

fn sched_getscheduler(cx: &mut Cx<'_>, tid: i32) -> SysResult {
    if tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let schedule = *target_of(cx, tid)?.schedule.lock();
    let reset = if schedule.reset_on_fork { flag::POLICY_RESET_ON_FORK } else { 0 };
    Ok((schedule.policy.number() | reset) as usize)
}

fn sched_get_priority_max(_: &mut Cx<'_>, policy: u32) -> SysResult {
    let policy = Policy::new(policy).ok_or(Errno::EINVAL)?;
    Ok(if policy.is_real_time() { 99 } else { 0 })
}

fn sched_get_priority_min(_: &mut Cx<'_>, policy: u32) -> SysResult {
    let policy = Policy::new(policy).ok_or(Errno::EINVAL)?;
    Ok(usize::from(policy.is_real_time()))
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

fn sched_rr_get_interval(cx: &mut Cx<'_>, tid: i32, to: UserPtr<Timespec>) -> SysResult {
    if tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let policy = target_of(cx, tid)?.schedule.lock().policy;
    let nsec = match policy {
        Policy::RoundRobin => 100_000_000,
        Policy::Other | Policy::Batch | Policy::Idle => 4_000_000,
        Policy::Fifo | Policy::Deadline => 0,
    };
    cx.user().write(to, &Timespec { sec: 0, nsec })?;
    Ok(0)
}

/// `struct sched_attr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    deadline: [u64; 3],
    /// Utilization clamps; not told.
    clamps: [u32; 2],
}

const SIZE_VER0: usize = 48;
const SIZE_NOW: usize = size_of::<SchedAttr>();
const PAGE: usize = 4096;

/// Reads the attributes; on a size that does not fit tells the caller the right one.
fn read_attr(cx: &Cx<'_>, from: UserPtr<SchedAttr>) -> Result<SchedAttr, Errno> {
    let wrong_size = || {
        let right = u32::try_from(SIZE_NOW).map_err(|_| Errno::EINVAL)?;
        let _ = cx.user().write(UserPtr::<u32>::new(from.addr()), &right);
        Err(Errno::E2BIG)
    };
    let given = cx.user().read(UserPtr::<u32>::new(from.addr()))? as usize;
    let size = if given == 0 { SIZE_VER0 } else { given };
    if !(SIZE_VER0..=PAGE).contains(&size) {
        return wrong_size();
    }
    let mut attr = SchedAttr::new_zeroed();
    let known = size.min(SIZE_NOW);
    cx.user().read_bytes(from.addr(), attr.as_mut_bytes().get_mut(..known).unwrap_or_default())?;
    let mut rest = alloc::vec![0u8; size - known];
    cx.user().read_bytes(from.addr().checked_add(known as u64).ok_or(Errno::EFAULT)?, &mut rest)?;
    if rest.iter().any(|byte| *byte != 0) {
        return wrong_size();
    }
    if attr.flags & flag::UTIL_CLAMP != 0 && size < SIZE_NOW {
        return Err(Errno::EINVAL);
    }
    Ok(attr)
}

fn sched_setattr(cx: &mut Cx<'_>, tid: i32, from: UserPtr<SchedAttr>, flags: u32) -> SysResult {
    if from.is_null() || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attr = read_attr(cx, from)?;
    if attr.policy.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = target_of(cx, tid)?;
    let keeps_policy = attr.flags & flag::KEEP_POLICY != 0;
    let policy = match keeps_policy {
        true => None,
        false => Some(Policy::new(attr.policy).ok_or(Errno::EINVAL)?),
    };
    if attr.flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let [runtime_ns, deadline_ns, period_ns] = attr.deadline;
    let kept = attr.flags & (flag::RECLAIM | flag::DL_OVERRUN);
    let mut new = Change {
        policy,
        flags: attr.flags,
        nice: attr.nice.clamp(-20, 19),
        priority: attr.priority,
        deadline: Deadline { runtime_ns, deadline_ns, period_ns, flags: kept },
    };
    if attr.flags & flag::KEEP_PARAMS != 0 {
        let old = *task.schedule.lock();
        match old.policy {
            Policy::Deadline => new.deadline = old.deadline,
            Policy::Fifo | Policy::RoundRobin => new.priority = old.priority,
            Policy::Other | Policy::Batch | Policy::Idle => new.nice = task.nice.load(Ordering::Relaxed),
        }
    }
    change(cx, &task, &new)?;
    Ok(0)
}

fn sched_getattr(cx: &mut Cx<'_>, tid: i32, to: UserPtr<SchedAttr>, size: u32, flags: u32) -> SysResult {
    let size = size as usize;
    if to.is_null() || tid < 0 || !(SIZE_VER0..=PAGE).contains(&size) || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = target_of(cx, tid)?;
    let schedule = *task.schedule.lock();
    let told = size.min(SIZE_NOW);
    let mut attr = SchedAttr::new_zeroed();
    attr.size = u32::try_from(told).map_err(|_| Errno::EINVAL)?;
    attr.policy = schedule.policy.number();
    attr.flags = u64::from(schedule.reset_on_fork);
    match schedule.policy {
        Policy::Deadline => {
            let Deadline { runtime_ns, deadline_ns, period_ns, flags } = schedule.deadline;
            let period = if period_ns == 0 { deadline_ns } else { period_ns };
            attr.deadline = [runtime_ns, deadline_ns, period];
            attr.flags |= flags;
        }
        Policy::Fifo | Policy::RoundRobin => attr.priority = schedule.priority,
        Policy::Other | Policy::Batch | Policy::Idle => attr.nice = task.nice.load(Ordering::Relaxed),
    }
    cx.user().write_bytes(to.addr(), attr.as_bytes().get(..told).unwrap_or_default())?;
    Ok(0)
}
