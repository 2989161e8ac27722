//! Locks that the kernel hands over (`FUTEX_LOCK_PI`, `FUTEX_UNLOCK_PI`, `FUTEX_TRYLOCK_PI`), and waiting to be moved to one
//! (`FUTEX_WAIT_REQUEUE_PI`, `FUTEX_CMP_REQUEUE_PI`).
//!
//! The word holds the owner's thread id and [`WAITERS`]. An unlock with waiters makes the longest waiting one the owner.
//! All threads have the same priority here, so there is none to inherit.

use super::{Bucket, Entry, Key, Queued, Sleep, ToWake, lock as lock_bucket, resolve, with_two};
use crate::abi::Errno;
use crate::platform::{Access, CopyFault};
use crate::user::{UserAddr, UserMemory};
use crate::wait::{Blocked, Waiter};
use alloc::sync::Arc;
use chitin_core::sleep::Woken;
use core::sync::atomic::Ordering;

/// `FUTEX_WAITERS`: somebody sleeps for the lock.
pub const WAITERS: u32 = 0x8000_0000;
/// `FUTEX_OWNER_DIED`.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// `FUTEX_TID_MASK`.
pub const TID_MASK: u32 = 0x3fff_ffff;

/// What a try at the lock ended with.
enum Try {
    Taken,
    Queued,
    Fault(Access),
    Failed(Errno),
}

/// How much a lock operation wants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Sleeps for it.
    Wait,
    /// Fails with `EAGAIN` when another thread has it.
    Try,
}

/// Takes the lock for thread `tid`.
///
/// # Errors
/// `EDEADLK` when `tid` has it already, `EAGAIN` for [`Patience::Try`], `EFAULT`; [`Blocked::Interrupted`],
/// [`Blocked::TimedOut`].
pub fn lock(
    user: &UserMemory<'_>,
    waiter: &Waiter<'_>,
    (at, key): (UserAddr, Key),
    tid: u32,
    patience: Patience,
    deadline_ns: Option<u64>,
) -> Result<(), Blocked> {
    let sleep = Sleep::new(waiter.sleeper.waker(), tid);
    let queued = Queued { sleep: &sleep, futexes: &[] };
    loop {
        match attempt(user, at, key, &sleep, patience) {
            Try::Taken => return Ok(()),
            Try::Queued => break,
            Try::Fault(access) => resolve(user, at, access).map_err(Blocked::Errno)?,
            Try::Failed(errno) => return Err(Blocked::Errno(errno)),
        }
    }
    loop {
        if sleep.woken().is_some() {
            return Ok(());
        }
        let blocked = match waiter.park(deadline_ns) {
            Woken::Ready => continue,
            Woken::Interrupted => Blocked::Interrupted,
            Woken::TimedOut => Blocked::TimedOut,
        };
        return queued.end().map(drop).ok_or(blocked);
    }
}

fn attempt(user: &UserMemory<'_>, at: UserAddr, key: Key, sleep: &Arc<Sleep>, patience: Patience) -> Try {
    let space = user.mm.space();
    let mut bucket = lock_bucket(key.bucket());
    loop {
        let old = match space.load_u32(at) {
            Ok(old) => old,
            Err(CopyFault { .. }) => return Try::Fault(Access::Read),
        };
        let owner = old & TID_MASK;
        if owner == sleep.tid {
            return Try::Failed(Errno::EDEADLK);
        }
        let new = if owner == 0 { sleep.tid | (old & !TID_MASK) } else { old | WAITERS };
        if owner != 0 && patience == Patience::Try {
            return Try::Failed(Errno::EAGAIN);
        }
        match space.compare_exchange_u32(at, old, new) {
            Ok(found) if found != old => continue,
            Ok(_) if owner == 0 => return Try::Taken,
            Ok(_) => {}
            Err(CopyFault { .. }) => return Try::Fault(Access::Write),
        }
        sleep.bucket.store(key.bucket(), Ordering::Relaxed);
        bucket.push(Entry { key, bitset: 0, index: 0, pi: true, target: None, sleep: sleep.clone() });
        return Try::Queued;
    }
}

/// Sleeps on the futex at `at` while it holds `value`, to be moved to the lock `target`; returns with the lock.
///
/// # Errors
/// `EAGAIN` when the word does not hold the value, `EFAULT`; [`Blocked::Interrupted`], [`Blocked::TimedOut`].
pub fn wait_requeue(
    user: &UserMemory<'_>,
    waiter: &Waiter<'_>,
    (at, key, value): (UserAddr, Key, u32),
    target: Key,
    tid: u32,
    deadline_ns: Option<u64>,
) -> Result<(), Blocked> {
    let sleep = Sleep::new(waiter.sleeper.waker(), tid);
    let queued = Queued { sleep: &sleep, futexes: &[] };
    loop {
        let mut bucket = lock_bucket(key.bucket());
        match user.mm.space().load_u32(at) {
            Ok(found) if found != value => return Err(Blocked::Errno(Errno::EAGAIN)),
            Ok(_) => {
                sleep.bucket.store(key.bucket(), Ordering::Relaxed);
                let sleep = sleep.clone();
                bucket.push(Entry { key, bitset: 0, index: 0, pi: false, target: Some(target), sleep });
                break;
            }
            Err(CopyFault { .. }) => {
                drop(bucket);
                resolve(user, at, Access::Read).map_err(Blocked::Errno)?;
            }
        }
    }
    loop {
        if sleep.woken().is_some() {
            return Ok(());
        }
        let blocked = match waiter.park(deadline_ns) {
            Woken::Ready => continue,
            Woken::Interrupted => Blocked::Interrupted,
            Woken::TimedOut => Blocked::TimedOut,
        };
        return queued.end().map(drop).ok_or(blocked);
    }
}

/// What of a move to a lock has been done when user memory is not there.
enum Moved {
    Done(usize),
    Fault(UserAddr, Access),
    Failed(Errno),
}

/// Gives the lock at `to` to the longest waiting thread of [`wait_requeue`], if it is free, and moves up to `count` others
/// to wait for it. Returns how many threads got the lock or were moved.
///
/// # Errors
/// `EAGAIN` when the word at `from` does not hold `expected`, `EINVAL` when a thread waits for another lock, `EDEADLK` when
/// one that waits has the lock, `EFAULT`.
pub fn requeue(
    user: &UserMemory<'_>,
    (at, from): (UserAddr, Key),
    (lock_at, to): (UserAddr, Key),
    count: usize,
    expected: u32,
) -> Result<usize, Errno> {
    loop {
        let mut to_wake = ToWake::default();
        let moved = with_two(user.sleeper, from, to, |bucket, other| {
            let space = user.mm.space();
            match space.load_u32(at) {
                Ok(found) if found != expected => return Moved::Failed(Errno::EAGAIN),
                Ok(_) => {}
                Err(CopyFault { .. }) => return Moved::Fault(at, Access::Read),
            }
            let waiting = || bucket.iter().filter(|entry| entry.key == from && entry.target.is_some());
            if waiting().any(|entry| entry.target != Some(to)) {
                return Moved::Failed(Errno::EINVAL);
            }
            let Some(first) = waiting().next().map(|entry| entry.sleep.tid) else { return Moved::Done(0) };
            let others = waiting().count() - 1;
            let Ok(mut old) = space.load_u32(lock_at) else { return Moved::Fault(lock_at, Access::Read) };
            let gets = loop {
                let owner = old & TID_MASK;
                if owner == first {
                    return Moved::Failed(Errno::EDEADLK);
                }
                let more = if owner == 0 && others.min(count) == 0 { 0 } else { WAITERS };
                let new = if owner == 0 { first | more | (old & OWNER_DIED) } else { old | more };
                match space.compare_exchange_u32(lock_at, old, new) {
                    Ok(found) if found == old => break owner == 0,
                    Ok(found) => old = found,
                    Err(CopyFault { .. }) => return Moved::Fault(lock_at, Access::Write),
                }
            };
            Moved::Done(move_waiting(bucket, other, from, to, (gets, count), &mut to_wake))
        });
        match moved {
            Moved::Done(done) => {
                to_wake.wake();
                return Ok(done);
            }
            Moved::Failed(errno) => return Err(errno),
            Moved::Fault(at, access) => resolve(user, at, access)?,
        }
    }
}

/// The first one has the lock, if `gets`; up to `count` others wait for it from now on.
fn move_waiting(
    bucket: &mut Bucket,
    mut other: Option<&mut Bucket>,
    from: Key,
    to: Key,
    (gets, count): (bool, usize),
    to_wake: &mut ToWake,
) -> usize {
    let mut done = 0;
    let mut at = 0;
    // One that gets the lock is not counted among those that are moved.
    let most = count.saturating_add(usize::from(gets));
    while done < most && at < bucket.len() {
        if bucket.get(at).is_none_or(|entry| entry.key != from || entry.target.is_none()) {
            at += 1;
            continue;
        }
        let mut entry = bucket.remove(at);
        if gets && done == 0 {
            to_wake.mark(entry);
        } else {
            (entry.key, entry.pi, entry.target) = (to, true, None);
            entry.sleep.bucket.store(to.bucket(), Ordering::Release);
            match other.as_deref_mut() {
                Some(other) => other.push(entry),
                None => bucket.push(entry),
            }
        }
        done += 1;
    }
    done
}

/// Gives the lock up, to the longest waiting thread if there is one.
///
/// # Errors
/// `EPERM` when `tid` does not have it, `EFAULT`.
pub fn unlock(user: &UserMemory<'_>, at: UserAddr, key: Key, tid: u32) -> Result<(), Errno> {
    loop {
        let mut bucket = lock_bucket(key.bucket());
        match user.mm.space().load_u32(at) {
            Ok(word) if word & TID_MASK != tid => return Err(Errno::EPERM),
            Ok(word) => match pass_on(user, &mut bucket, at, key, word, 0) {
                Ok(to_wake) => {
                    drop(bucket);
                    to_wake.wake();
                    return Ok(());
                }
                Err(CopyFault { .. }) => drop(bucket),
            },
            Err(CopyFault { .. }) => drop(bucket),
        }
        resolve(user, at, Access::Write)?;
    }
}

/// Gives a dead owner's lock, whose word has no owner any more, to the longest waiting thread.
pub(super) fn hand_over(user: &UserMemory<'_>, at: UserAddr, key: Key) {
    let mut bucket = lock_bucket(key.bucket());
    let Ok(word) = user.mm.space().load_u32(at) else { return };
    let to_wake = pass_on(user, &mut bucket, at, key, word, OWNER_DIED);
    drop(bucket);
    if let Ok(to_wake) = to_wake {
        to_wake.wake();
    }
}

/// Writes the next owner into the word and takes it out of the bucket.
fn pass_on(
    user: &UserMemory<'_>,
    bucket: &mut Bucket,
    at: UserAddr,
    key: Key,
    word: u32,
    flags: u32,
) -> Result<ToWake, CopyFault> {
    let mut waiting = (0..).zip(bucket.iter()).filter(|(_, entry)| entry.key == key && entry.pi);
    let next = waiting.next().map(|(index, entry): (usize, &Entry)| (index, entry.sleep.tid));
    let more = if waiting.next().is_some() { WAITERS } else { 0 };
    let new = next.map_or(flags, |(_, tid)| tid | more | flags);
    let mut old = word;
    loop {
        let found = user.mm.space().compare_exchange_u32(at, old, new)?;
        if found == old {
            break;
        }
        old = found;
    }
    let mut to_wake = ToWake::default();
    if let Some((index, _)) = next {
        to_wake.mark(bucket.remove(index));
    }
    Ok(to_wake)
}
