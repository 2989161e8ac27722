//! futex, futex_waitv, set_robust_list, get_robust_list.

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, FromArg, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timespec;
use crate::ipc::futex::pi::{self, Patience};
use crate::ipc::futex::requeue::{requeue, wake_op};
use crate::ipc::futex::{self, ANY, Expected, Key, Scope};
use crate::security::Capability;
use crate::time::clock::SystemClock;
use crate::user::{UserAddr, UserPtr};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const PRIORITY: &str = "no priorities to inherit";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(202, "futex", 6, futex_call, Restart::Sa, Support::Partial(PRIORITY)),
    row!(273, "set_robust_list", 2, set_robust_list, Restart::Never, Support::Full),
    row!(274, "get_robust_list", 3, get_robust_list, Restart::Never, Support::Full),
    row!(449, "futex_waitv", 5, futex_waitv, Restart::Sa, Support::Full),
];

const PRIVATE: u32 = 128;
const CLOCK_REALTIME: u32 = 256;

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const WAIT_REQUEUE_PI: u32 = 11;
const CMP_REQUEUE_PI: u32 = 12;
const LOCK_PI2: u32 = 13;

/// A count given as an `int`: negative means as many as there are for moving, and one for waking.
fn count(register: u64) -> usize {
    usize::try_from(i32::from_arg(register)).unwrap_or(usize::MAX)
}

fn futex_call(
    cx: &mut Cx<'_>,
    at: UserAddr,
    operation: u32,
    value: u32,
    timeout: u64,
    at2: UserAddr,
    value3: u32,
) -> SysResult {
    let command = operation & !(PRIVATE | CLOCK_REALTIME);
    let scope = if operation & PRIVATE != 0 { Scope::Private } else { Scope::Shared };
    let realtime = operation & CLOCK_REALTIME != 0;
    if realtime && !matches!(command, WAIT | WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2) {
        return Err(Errno::ENOSYS.into());
    }
    let user = cx.user();
    let wakes = usize::try_from(value.cast_signed()).unwrap_or(1).max(1);
    Ok(match command {
        WAIT | WAIT_BITSET => {
            let clock = if realtime { SystemClock::Realtime } else { SystemClock::Monotonic };
            let deadline_ns = deadline(cx, timeout, clock, command == WAIT_BITSET)?;
            let bitset = if command == WAIT_BITSET { value3 } else { ANY };
            let key = Key::new(&user, at, scope)?;
            return wait(cx, &[Expected { at, key, value, bitset }], deadline_ns).map(|_| 0);
        }
        WAKE => futex::wake(Key::new(&user, at, scope)?, ANY, wakes),
        WAKE_BITSET if value3 == 0 => return Err(Errno::EINVAL.into()),
        WAKE_BITSET => futex::wake(Key::new(&user, at, scope)?, value3, wakes),
        REQUEUE | CMP_REQUEUE => {
            if value.cast_signed() < 0 || i32::try_from(count(timeout)).is_err() {
                return Err(Errno::EINVAL.into());
            }
            let (from, to) = (Key::new(&user, at, scope)?, Key::new(&user, at2, scope)?);
            let wakes = usize::try_from(value).unwrap_or(0);
            let expected = (command == CMP_REQUEUE).then_some(value3);
            requeue(&user, (at, from), to, wakes, count(timeout), expected)?
        }
        WAKE_OP => {
            let (first, second) = (Key::new(&user, at, scope)?, Key::new(&user, at2, scope)?);
            wake_op(&user, first, (at2, second), wakes, count(timeout), value3)?
        }
        LOCK_PI | LOCK_PI2 | TRYLOCK_PI => {
            let clock =
                if realtime || command == LOCK_PI { SystemClock::Realtime } else { SystemClock::Monotonic };
            let try_only = command == TRYLOCK_PI;
            let deadline_ns = if try_only { None } else { deadline(cx, timeout, clock, true)? };
            let patience = if try_only { Patience::Try } else { Patience::Wait };
            let key = Key::new(&user, at, scope)?;
            has_owner(cx, at)?;
            pi::lock(&user, &cx.waiter(), (at, key), own_number(cx), patience, deadline_ns)?;
            0
        }
        WAIT_REQUEUE_PI => {
            let clock = if realtime { SystemClock::Realtime } else { SystemClock::Monotonic };
            let deadline_ns = deadline(cx, timeout, clock, true)?;
            let (key, target) = (Key::new(&user, at, scope)?, Key::new(&user, at2, scope)?);
            if key == target {
                return Err(Errno::EINVAL.into());
            }
            pi::wait_requeue(&user, &cx.waiter(), (at, key, value), target, own_number(cx), deadline_ns)?;
            0
        }
        CMP_REQUEUE_PI => {
            let others = i32::from_arg(timeout);
            if value != 1 || others < 0 {
                return Err(Errno::EINVAL.into());
            }
            let (from, to) = (Key::new(&user, at, scope)?, Key::new(&user, at2, scope)?);
            if from == to {
                return Err(Errno::EINVAL.into());
            }
            pi::requeue(&user, (at, from), (at2, to), count(timeout), value3)?
        }
        UNLOCK_PI => {
            let key = Key::new(&user, at, scope)?;
            pi::unlock(&user, at, key, own_number(cx))?;
            0
        }
        _ => return Err(Errno::ENOSYS.into()),
    })
}

/// The caller's number, as it is in the words of locks.
fn own_number(cx: &Cx<'_>) -> u32 {
    cx.task.shown(cx.task.tid())
}

/// A lock that is taken must have an owner that is there.
fn has_owner(cx: &Cx<'_>, at: UserAddr) -> Result<(), Errno> {
    let word = cx.user().read(UserPtr::<u32>::new(at))?;
    let owner = word & pi::TID_MASK;
    let gone = owner != 0 && cx.task.find_task(owner).is_none();
    if gone { Err(Errno::ESRCH) } else { Ok(()) }
}

/// The deadline in monotonic time; `absolute` times are of `clock`.
pub(super) fn deadline(
    cx: &Cx<'_>,
    timeout: u64,
    clock: SystemClock,
    absolute: bool,
) -> Result<Option<u64>, Errno> {
    let Some(timeout) = UserPtr::<Timespec>::new(UserAddr::new(timeout)).non_null() else { return Ok(None) };
    let time_ns = cx.user().read(timeout)?.to_ns()?;
    Ok(Some(if absolute {
        clock.deadline(cx.sleeper, time_ns)
    } else {
        cx.deadline(Some(time_ns)).unwrap_or(u64::MAX)
    }))
}

pub(super) fn wait(cx: &Cx<'_>, futexes: &[Expected], deadline_ns: Option<u64>) -> SysResult {
    if futexes.iter().any(|futex| futex.bitset == 0) {
        return Err(Errno::EINVAL.into());
    }
    futex::wait(&cx.user(), &cx.waiter(), futexes, deadline_ns).map_err(Failure::from)
}

/// `struct futex_waitv`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct WaitV {
    pub(super) value: u64,
    pub(super) at: u64,
    pub(super) flags: u32,
    pub(super) reserved: u32,
}

fn futex_waitv(
    cx: &mut Cx<'_>,
    waiters: UserPtr<WaitV>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clock: i32,
) -> SysResult {
    const SIZE_U32: u32 = 2;
    let count = usize::try_from(count).ok().filter(|count| (1..=128).contains(count)).ok_or(Errno::EINVAL)?;
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let clock = match clock {
        0 => SystemClock::Realtime,
        1 => SystemClock::Monotonic,
        _ if timeout.is_null() => SystemClock::Monotonic,
        _ => return Err(Errno::EINVAL.into()),
    };
    let deadline_ns = deadline(cx, timeout.addr().get(), clock, true)?;
    let user = cx.user();
    let mut futexes = Vec::with_capacity(count);
    for waiter in user.read_array(waiters, count)? {
        if waiter.flags & !PRIVATE != SIZE_U32 || waiter.reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let scope = if waiter.flags & PRIVATE != 0 { Scope::Private } else { Scope::Shared };
        let at = UserAddr::new(waiter.at);
        let value = u32::try_from(waiter.value).map_err(|_| Errno::EINVAL)?;
        futexes.push(Expected { at, key: Key::new(&user, at, scope)?, value, bitset: ANY });
    }
    wait(cx, &futexes, deadline_ns)
}

/// Bytes of `struct robust_list_head`.
const ROBUST_HEAD: usize = 24;

fn set_robust_list(cx: &mut Cx<'_>, head: UserAddr, size: usize) -> SysResult {
    if size != ROBUST_HEAD {
        return Err(Errno::EINVAL.into());
    }
    cx.task.robust_list.store(head.get(), Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(cx: &mut Cx<'_>, tid: i32, head: UserPtr<u64>, size: UserPtr<usize>) -> SysResult {
    let tid = u32::try_from(tid).map_err(|_| Errno::ESRCH)?;
    let task = match tid {
        0 => cx.task.clone(),
        _ => cx.task.find_task(tid).ok_or(Errno::ESRCH)?,
    };
    if task.creds().uid != cx.task.creds().uid && !cx.task.creds().has(Capability::SysPtrace) {
        return Err(Errno::EPERM.into());
    }
    cx.user().write(size, &ROBUST_HEAD)?;
    cx.user().write(head, &task.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}
