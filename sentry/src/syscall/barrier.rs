//! membarrier(2) and rseq(2).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::platform;
use crate::task::{Task, rseq};
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::{Ordering, fence};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(324, "membarrier", 3, membarrier, Never, Full),
    row!(334, "rseq", 4, rseq_call, Never, Partial("as of Linux 6.1: 32 bytes, no node or concurrency ids")),
];

mod command {
    pub(super) const QUERY: u32 = 0;
    pub(super) const GLOBAL: u32 = 1;
    pub(super) const GLOBAL_EXPEDITED: u32 = 2;
    pub(super) const REGISTER_GLOBAL_EXPEDITED: u32 = 4;
    pub(super) const PRIVATE_EXPEDITED: u32 = 8;
    pub(super) const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    pub(super) const PRIVATE_EXPEDITED_SYNC_CORE: u32 = 32;
    pub(super) const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 64;
    pub(super) const PRIVATE_EXPEDITED_RSEQ: u32 = 128;
    pub(super) const REGISTER_PRIVATE_EXPEDITED_RSEQ: u32 = 256;
    pub(super) const ALL: u32 = 511;
}

const FLAG_CPU: u32 = 1;

fn membarrier(cx: &mut Cx<'_>, what: u32, flags: u32, cpu: i32) -> SysResult {
    use command::*;
    match what {
        PRIVATE_EXPEDITED_RSEQ if flags & !FLAG_CPU != 0 => return Err(Errno::EINVAL.into()),
        PRIVATE_EXPEDITED_RSEQ => {}
        _ if flags != 0 => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    let process = cx.task.process();
    match what {
        QUERY => return Ok(ALL as usize),
        GLOBAL | GLOBAL_EXPEDITED => {
            let all: Vec<Arc<Task>> = cx.task.container().tree().tasks.values().cloned().collect();
            make_all_pass(cx.sleeper, cx.task, &all);
        }
        REGISTER_GLOBAL_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
        | REGISTER_PRIVATE_EXPEDITED_RSEQ => {
            process.barriers.fetch_or(what, Ordering::Relaxed);
        }
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE | PRIVATE_EXPEDITED_RSEQ => {
            // The registration of a command is the bit above it.
            if process.barriers.load(Ordering::Relaxed) & (what << 1) == 0 {
                return Err(Errno::EPERM.into());
            }
            let threads = process.threads();
            if what == PRIVATE_EXPEDITED_RSEQ {
                let everywhere = flags & FLAG_CPU == 0;
                if !everywhere && usize::try_from(cpu).is_ok_and(|cpu| cpu >= platform::get().cpus()) {
                    return Ok(0);
                }
                threads.iter().for_each(|thread| thread.rseq.interrupt());
            }
            make_all_pass(cx.sleeper, cx.task, &threads);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// Returns once every thread that ran user code when this was called has left user mode, or ended. Entering it again is a
/// full barrier, and so is leaving.
fn make_all_pass(sleeper: &Sleeper, own: &Arc<Task>, tasks: &[Arc<Task>]) {
    fence(Ordering::SeqCst);
    let others = || tasks.iter().filter(|task| !Arc::ptr_eq(task, own));
    let running: Vec<&Arc<Task>> = others()
        .filter(|task| match task.exit_request.set() {
            Some(cpu) => {
                platform::get().kick(cpu);
                true
            }
            None => false,
        })
        .collect();
    for task in running {
        while task.exit_request.is_in_user() && task.exit_request.is_set() {
            sleeper.resched_point();
            core::hint::spin_loop();
        }
    }
    fence(Ordering::SeqCst);
}

const UNREGISTER: u32 = 1;

fn rseq_call(cx: &mut Cx<'_>, at: u64, len: u32, flags: u32, signature: u32) -> SysResult {
    let own = &cx.task.rseq;
    let registered = own.registered();
    if flags & UNREGISTER != 0 {
        if flags != UNREGISTER || len != rseq::SIZE {
            return Err(Errno::EINVAL.into());
        }
        let (_, known) = registered.filter(|(known, _)| *known == at).ok_or(Errno::EINVAL)?;
        if known != signature {
            return Err(Errno::EPERM.into());
        }
        rseq::forget(&cx.user(), at)?;
        own.clear();
        return Ok(0);
    }
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if let Some((known, known_signature)) = registered {
        return Err(if known != at || len != rseq::SIZE {
            Errno::EINVAL
        } else if known_signature != signature {
            Errno::EPERM
        } else {
            Errno::EBUSY
        }
        .into());
    }
    if !at.is_multiple_of(u64::from(rseq::SIZE)) || len != rseq::SIZE {
        return Err(Errno::EINVAL.into());
    }
    if at == 0 {
        // Nothing is registered, and nobody minds.
        return Ok(0);
    }
    if !UserAddr::new(at).is_range(u64::from(len)) {
        return Err(Errno::EFAULT.into());
    }
    own.register(at, signature);
    Ok(0)
}
