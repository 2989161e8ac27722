//! futex_wake, futex_wait, futex_requeue: what futex(2) does with one call each, and flags for the size of the word.

use super::futex::{WaitV, deadline, wait};
use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timespec;
use crate::ipc::futex::requeue::requeue;
use crate::ipc::futex::{self, Expected, Key, Scope};
use crate::time::clock::SystemClock;
use crate::user::{UserAddr, UserPtr};

const WORDS: &str = "words of 32 bits, without FUTEX2_NUMA and FUTEX2_MPOL";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(454, "futex_wake", 4, futex_wake, Restart::Never, Support::Partial(WORDS)),
    row!(455, "futex_wait", 6, futex_wait, Restart::Sa, Support::Partial(WORDS)),
    row!(456, "futex_requeue", 4, futex_requeue, Restart::Never, Support::Partial(WORDS)),
];

const SIZE_U32: u32 = 2;
const PRIVATE: u32 = 128;

/// Who may share a futex of these flags.
///
/// # Errors
/// `EINVAL` for others than a word of 32 bits, shared or private.
fn scope(flags: u32) -> Result<Scope, Errno> {
    match flags {
        SIZE_U32 => Ok(Scope::Shared),
        flags if flags == SIZE_U32 | PRIVATE => Ok(Scope::Private),
        _ => Err(Errno::EINVAL),
    }
}

/// A value or mask for a word of 32 bits.
fn word(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

fn futex_wake(cx: &mut Cx<'_>, at: UserAddr, mask: u64, count: i32, flags: u32) -> SysResult {
    let (scope, mask) = (scope(flags)?, word(mask)?);
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::new(&cx.user(), at, scope)?;
    if count == 0 {
        return Ok(0);
    }
    // As in Linux, a negative count wakes one.
    Ok(futex::wake(key, mask, usize::try_from(count).unwrap_or(1)))
}

fn futex_wait(
    cx: &mut Cx<'_>,
    at: UserAddr,
    value: u64,
    mask: u64,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clock: i32,
) -> SysResult {
    let (scope, value, bitset) = (scope(flags)?, word(value)?, word(mask)?);
    let clock = match clock {
        0 => SystemClock::Realtime,
        1 => SystemClock::Monotonic,
        _ if timeout.is_null() => SystemClock::Monotonic,
        _ => return Err(Errno::EINVAL.into()),
    };
    let deadline_ns = deadline(cx, timeout.addr().get(), clock, true)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::new(&cx.user(), at, scope)?;
    wait(cx, &[Expected { at, key, value, bitset }], deadline_ns)
}

fn futex_requeue(
    cx: &mut Cx<'_>,
    waiters: UserPtr<WaitV>,
    flags: u32,
    wake_count: i32,
    move_count: i32,
) -> SysResult {
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let user = cx.user();
    let mut parsed = [(UserAddr::NULL, Scope::Shared, 0); 2];
    for (index, parsed) in parsed.iter_mut().enumerate() {
        let waiter = user.read(waiters.element(index)?)?;
        let scope = scope(waiter.flags)?;
        if waiter.reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        *parsed = (UserAddr::new(waiter.at), scope, word(waiter.value)?);
    }
    let [(from, from_scope, expected), (to, to_scope, _)] = parsed;
    let (Ok(wakes), Ok(moves)) = (usize::try_from(wake_count), usize::try_from(move_count)) else {
        return Err(Errno::EINVAL.into());
    };
    let (source, target) = (Key::new(&user, from, from_scope)?, Key::new(&user, to, to_scope)?);
    Ok(requeue(&user, (from, source), target, wakes, moves, Some(expected))?)
}
