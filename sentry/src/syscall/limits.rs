//! Resource limits and usage (getrlimit(2), getrusage(2), times(2)).

use super::process::Rusage;
use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::exec::program::memory_limits;
use crate::security::Capability;
use crate::task::container::Usage;
use crate::task::limits::{Limit, Resource};
use crate::task::{Process, now_ns};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(97, "getrlimit", 2, getrlimit, Never, Full),
    row!(
        98,
        "getrusage",
        2,
        getrusage,
        Never,
        Partial("times and peak memory; faults, switches and I/O are zero")
    ),
    row!(100, "times", 1, times, Never, Full),
    row!(160, "setrlimit", 2, setrlimit, Never, Partial(ENFORCED)),
    row!(302, "prlimit64", 4, prlimit64, Never, Partial(ENFORCED)),
];

const ENFORCED: &str = "RLIMIT_RTTIME has no effect";

/// `struct rlimit64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct UserLimit {
    soft: u64,
    hard: u64,
}

fn get(process: &Process, resource: u32) -> Result<UserLimit, Errno> {
    let limit = usize::try_from(resource).ok().and_then(|at| process.limits.at(at)).ok_or(Errno::EINVAL)?;
    Ok(UserLimit { soft: limit.soft, hard: limit.hard })
}

fn set(cx: &Cx<'_>, process: &Arc<Process>, resource: u32, new: UserLimit) -> Result<(), Errno> {
    let at = usize::try_from(resource).map_err(|_| Errno::EINVAL)?;
    let old = process.limits.at(at).ok_or(Errno::EINVAL)?;
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    let creds = cx.task.creds();
    let too_many = at == Resource::Nofile as usize && new.hard > 1 << 20;
    if too_many || (new.hard > old.hard && !creds.has(Capability::SysResource)) {
        return Err(Errno::EPERM);
    }
    process.limits.set_at(at, Limit::new(new.soft, new.hard));
    if at == Resource::Cpu as usize {
        process.watch_cpu_limit();
    }
    if let Some(mm) = process.any_thread().and_then(|task| task.mm()) {
        mm.set_limits(memory_limits(&process.limits, &creds));
    }
    Ok(())
}

fn getrlimit(cx: &mut Cx<'_>, resource: u32, to: UserPtr<UserLimit>) -> SysResult {
    let limit = get(cx.task.process(), resource)?;
    cx.user().write(to, &limit)?;
    Ok(0)
}

fn setrlimit(cx: &mut Cx<'_>, resource: u32, from: UserPtr<UserLimit>) -> SysResult {
    let new = cx.user().read(from)?;
    set(cx, cx.task.process(), resource, new)?;
    Ok(0)
}

fn prlimit64(
    cx: &mut Cx<'_>,
    pid: i32,
    resource: u32,
    new: UserPtr<UserLimit>,
    old: UserPtr<UserLimit>,
) -> SysResult {
    let new = new.non_null().map(|new| cx.user().read(new)).transpose()?;
    let target = target(cx, pid)?;
    let before = get(&target, resource)?;
    if let Some(new) = new {
        set(cx, &target, resource, new)?;
    }
    cx.user().write_if(old, &before)?;
    Ok(0)
}

/// The process to read or change: the caller's own, or one with the caller's ids.
fn target(cx: &Cx<'_>, pid: i32) -> Result<Arc<Process>, Errno> {
    let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    if pid == 0 || cx.task.meant(pid) == cx.task.pid() {
        return Ok(cx.task.process().clone());
    }
    let task = cx.task.find_task(pid).ok_or(Errno::ESRCH)?;
    let (own, of) = (cx.task.creds(), task.creds());
    let same = [of.uid, of.euid, of.suid].iter().all(|uid| *uid == own.uid)
        && [of.gid, of.egid, of.sgid].iter().all(|gid| *gid == own.gid);
    if same || own.has(Capability::SysResource) { Ok(task.process().clone()) } else { Err(Errno::EPERM) }
}

fn getrusage(cx: &mut Cx<'_>, who: i32, to: UserPtr<Rusage>) -> SysResult {
    let process = cx.task.process();
    let usage = match who {
        0 => process.usage(),
        1 => cx.task.usage(),
        -1 => process.state().waited_children,
        _ => return Err(Errno::EINVAL.into()),
    };
    let peak_kib = if who == -1 { 0 } else { cx.mm.usage().resident_peak_pages * 4 };
    let rusage = Rusage::new(usage).with_peak(i64::try_from(peak_kib).unwrap_or(i64::MAX));
    cx.user().write(to, &rusage)?;
    Ok(0)
}

const TICK_NS: u64 = 10_000_000;

fn times(cx: &mut Cx<'_>, to: UserAddr) -> SysResult {
    let process = cx.task.process();
    let (own, children): (Usage, Usage) = (process.usage(), process.state().waited_children);
    if !to.is_null() {
        let ticks = [own.user_ns, own.system_ns, children.user_ns, children.system_ns].map(|ns| ns / TICK_NS);
        cx.user().write_bytes(to, ticks.as_bytes())?;
    }
    Ok(usize::try_from(now_ns() / TICK_NS).unwrap_or(usize::MAX))
}
