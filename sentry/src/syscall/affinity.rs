//! CPUs: which ones a thread may run on and which one it runs on (sched_setaffinity(2), getcpu(2)).

use super::row::{Restart::Never, Row, Support::Full, row};
use super::sched::target_of;
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::platform;
use crate::security::Capability;
use crate::task::schedule::all_cpus;
use crate::user::{UserAddr, UserPtr};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(203, "sched_setaffinity", 3, sched_setaffinity, Never, Full),
    row!(204, "sched_getaffinity", 3, sched_getaffinity, Never, Full),
    row!(309, "getcpu", 2, getcpu, Never, Full),
];

/// Bytes of a mask.
const SIZE: usize = 8;

fn sched_setaffinity(cx: &mut Cx<'_>, tid: i32, len: u32, from: UserAddr) -> SysResult {
    let mut bytes = [0; SIZE];
    let given = bytes.get_mut(..SIZE.min(len as usize)).unwrap_or_default();
    cx.user().read_bytes(from, given)?;
    let task = target_of(cx, tid)?;
    let (own, of) = (cx.task.creds(), task.creds());
    if own.euid != of.euid && own.euid != of.uid && !own.has(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let cpus = u64::from_le_bytes(bytes) & all_cpus();
    if cpus == 0 {
        return Err(Errno::EINVAL.into());
    }
    task.schedule.lock().cpus = cpus;
    task.reschedule();
    // The caller itself moves now.
    cx.sleeper.resched_point();
    Ok(0)
}

fn sched_getaffinity(cx: &mut Cx<'_>, tid: i32, len: u32, to: UserAddr) -> SysResult {
    if (len as usize) * 8 < platform::get().cpus() || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let cpus = target_of(cx, tid)?.schedule.lock().cpus;
    cx.user().write_bytes(to, &cpus.to_le_bytes())?;
    Ok(SIZE)
}

fn getcpu(cx: &mut Cx<'_>, cpu: UserPtr<u32>, node: UserPtr<u32>) -> SysResult {
    let number = u32::try_from(chitin_core::hooks::cpu()).unwrap_or(0);
    cx.user().write_if(cpu, &number)?;
    cx.user().write_if(node, &0)?;
    Ok(0)
}
