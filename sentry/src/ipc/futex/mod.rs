//! Futexes (futex(2)): sleeping until a word of user memory changes.
//!
//! Waiters stand in hash buckets by [`Key`]. The word is read under the bucket's lock by a load that never faults, and a
//! waker takes the same lock, so no wake-up is lost: either the waiter sees the new value, or the waker sees the waiter.
//! A load that would fault gives the lock back, resolves the fault and starts again.
//!
//! | who | excludes whom |
//! |---|---|
//! | bucket lock (level [`LEVEL`]) | wait's read-and-enqueue against wake's dequeue |
//! | two buckets | requeue and wake-op lock one and try the other, starting over when it is taken |
//!
//! Wakers are called after the locks are released.

pub mod pi;
pub mod requeue;
pub mod robust;
#[cfg(test)]
mod tests;

use crate::abi::Errno;
use crate::mm::Mm;
use crate::platform::{Access, CopyFault};
use crate::user::{UserAddr, UserMemory};
use crate::wait::{Blocked, Waiter};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinGuard, SpinLock};
use chitin_core::sleep::{Sleeper, Woken};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;

/// Level of a bucket's lock.
pub const LEVEL: Level = Level(130);

/// Every bit: a plain wait or wake (`FUTEX_BITSET_MATCH_ANY`).
pub const ANY: u32 = u32::MAX;

const BUCKETS: usize = 256;

/// What makes two futexes the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Identity of the address space, or of the mapping for memory that is shared between address spaces.
    space: usize,
    /// Address in the address space, or offset in the mapping.
    at: u64,
}

impl Key {
    /// The key of the word at `at`.
    ///
    /// # Errors
    /// `EINVAL` when it is not aligned, `EFAULT` when it is outside of user space.
    pub fn new(user: &UserMemory<'_>, at: UserAddr, scope: Scope) -> Result<Self, Errno> {
        if !at.get().is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if !at.is_range(4) {
            return Err(Errno::EFAULT);
        }
        if scope == Scope::Shared
            && let Some((space, at)) = user.mm.shared_place(at)
        {
            return Ok(Self { space, at });
        }
        Ok(Self { space: core::ptr::from_ref::<Mm>(user.mm).addr(), at: at.get() })
    }

    fn bucket(self) -> usize {
        let mixed = (self.at ^ (self.space as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 56).unwrap_or(0) % BUCKETS
    }
}

/// Who may share a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Threads of one address space (`FUTEX_PRIVATE_FLAG`).
    Private,
    /// Anybody who maps the memory.
    Shared,
}

const WAITING: usize = usize::MAX;

/// A sleeping thread.
struct Sleep {
    waker: Waker,
    /// Index of the futex that woke it, or [`WAITING`]. Set under the bucket's lock.
    woken_by: AtomicUsize,
    /// Bucket of its entry, for waits on one futex: requeue moves it.
    bucket: AtomicUsize,
    /// Thread id, for the kernel to hand a lock over ([`pi`]).
    tid: u32,
}

impl Sleep {
    fn new(waker: Waker, tid: u32) -> Arc<Self> {
        Arc::new(Self { waker, woken_by: AtomicUsize::new(WAITING), bucket: AtomicUsize::new(0), tid })
    }

    fn woken(&self) -> Option<usize> {
        Some(self.woken_by.load(Ordering::Acquire)).filter(|index| *index != WAITING)
    }
}

struct Entry {
    key: Key,
    bitset: u32,
    /// Which of the futexes of its wait.
    index: usize,
    /// Waits for a lock that is handed over ([`pi`]).
    pi: bool,
    /// Waits to be moved to that lock ([`pi::wait_requeue`]).
    target: Option<Key>,
    sleep: Arc<Sleep>,
}

impl Entry {
    /// Whether only operations on locks wake or move it.
    fn is_for_lock(&self) -> bool {
        self.pi || self.target.is_some()
    }
}

type Bucket = Vec<Entry>;

static TABLE: [SpinLock<Bucket>; BUCKETS] = [const { SpinLock::new(LEVEL, Vec::new()) }; BUCKETS];

fn lock(bucket: usize) -> SpinGuard<'static, Bucket> {
    // The index comes from `Key::bucket`, which is below BUCKETS.
    TABLE.get(bucket).unwrap_or(&TABLE[0]).lock()
}

/// Runs `act` with both keys' buckets locked; the second is `None` when it is the first one.
fn with_two<T>(
    sleeper: &Sleeper,
    first: Key,
    second: Key,
    act: impl FnOnce(&mut Bucket, Option<&mut Bucket>) -> T,
) -> T {
    let (at, other) = (first.bucket(), second.bucket());
    loop {
        let mut guard = lock(at);
        if at == other {
            return act(&mut guard, None);
        }
        if let Some(mut second) = TABLE.get(other).and_then(SpinLock::try_lock) {
            return act(&mut guard, Some(&mut second));
        }
        drop(guard);
        sleeper.resched_point();
    }
}

/// Those to be woken once the locks are released.
#[derive(Default)]
struct ToWake(Vec<Arc<Sleep>>);

impl ToWake {
    /// Marks an entry that was taken out of its bucket as woken. The bucket is still locked.
    fn mark(&mut self, entry: Entry) {
        entry.sleep.woken_by.store(entry.index, Ordering::Release);
        self.0.push(entry.sleep);
    }

    fn wake(self) -> usize {
        let count = self.0.len();
        for sleep in self.0 {
            sleep.waker.wake_by_ref();
        }
        count
    }
}

/// Takes up to `count` waiters of `key` out, the longest waiting first.
fn take(bucket: &mut Bucket, key: Key, bitset: u32, count: usize, to_wake: &mut ToWake) {
    let mut left = count;
    let mut at = 0;
    while left > 0 && at < bucket.len() {
        if bucket
            .get(at)
            .is_some_and(|entry| entry.key == key && entry.bitset & bitset != 0 && !entry.is_for_lock())
        {
            to_wake.mark(bucket.remove(at));
            left -= 1;
        } else {
            at += 1;
        }
    }
}

/// Wakes up to `count` waiters whose bitset meets `bitset`; returns how many (`FUTEX_WAKE`, `FUTEX_WAKE_BITSET`).
pub fn wake(key: Key, bitset: u32, count: usize) -> usize {
    let mut to_wake = ToWake::default();
    let mut bucket = lock(key.bucket());
    if !bucket.is_empty() {
        take(&mut bucket, key, bitset, count, &mut to_wake);
    }
    drop(bucket);
    to_wake.wake()
}

/// Resolves a fault on the word at `at`; for loads and exchanges that stopped.
fn resolve(user: &UserMemory<'_>, at: UserAddr, access: Access) -> Result<(), Errno> {
    user.mm.resolve_fault(user.sleeper, at, access).map_err(|_| Errno::EFAULT)
}

/// One futex of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Its word.
    pub at: UserAddr,
    /// What makes it the same as others.
    pub key: Key,
    /// Sleep only while the word holds this.
    pub value: u32,
    /// Which wakes are for this wait.
    pub bitset: u32,
}

/// Sleeps until one of the futexes is woken; returns its index (`FUTEX_WAIT`, `FUTEX_WAIT_BITSET`, futex_waitv(2)).
///
/// # Errors
/// `EAGAIN` when a word does not hold its value, `EFAULT` when it cannot be read; [`Blocked::Interrupted`],
/// [`Blocked::TimedOut`].
pub fn wait(
    user: &UserMemory<'_>,
    waiter: &Waiter<'_>,
    futexes: &[Expected],
    deadline_ns: Option<u64>,
) -> Result<usize, Blocked> {
    let sleep = Sleep::new(waiter.sleeper.waker(), 0);
    let queued = Queued { sleep: &sleep, futexes };
    for (index, futex) in futexes.iter().enumerate() {
        let refused = loop {
            let mut bucket = lock(futex.key.bucket());
            match user.mm.space().load_u32(futex.at) {
                Ok(value) if value == futex.value => {
                    sleep.bucket.store(futex.key.bucket(), Ordering::Relaxed);
                    bucket.push(Entry {
                        key: futex.key,
                        bitset: futex.bitset,
                        index,
                        pi: false,
                        target: None,
                        sleep: sleep.clone(),
                    });
                    break None;
                }
                Ok(_) => break Some(Errno::EAGAIN),
                Err(CopyFault { .. }) => {
                    drop(bucket);
                    if let Err(errno) = resolve(user, futex.at, Access::Read) {
                        break Some(errno);
                    }
                }
            }
        };
        if let Some(errno) = refused {
            return queued.end().ok_or(Blocked::Errno(errno));
        }
    }
    loop {
        if let Some(index) = sleep.woken() {
            queued.end();
            return Ok(index);
        }
        let blocked = match waiter.park(deadline_ns) {
            Woken::Ready => continue,
            Woken::Interrupted => Blocked::Interrupted,
            Woken::TimedOut => Blocked::TimedOut,
        };
        return queued.end().ok_or(blocked);
    }
}

/// The entries of a wait in their buckets, taken out at the latest when this is dropped.
struct Queued<'a> {
    sleep: &'a Arc<Sleep>,
    /// The futexes; none for [`pi`].
    futexes: &'a [Expected],
}

impl Queued<'_> {
    /// Takes the entries out. Returns who woke the wait, if anybody did.
    fn end(&self) -> Option<usize> {
        if self.futexes.len() <= 1 {
            leave(self.sleep);
        } else {
            for futex in self.futexes {
                lock(futex.key.bucket()).retain(|entry| !Arc::ptr_eq(&entry.sleep, self.sleep));
            }
        }
        self.sleep.woken()
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes the one entry of a wait out, wherever it was requeued to.
fn leave(sleep: &Arc<Sleep>) {
    while sleep.woken().is_none() {
        let at = sleep.bucket.load(Ordering::Acquire);
        let mut bucket = lock(at);
        if sleep.bucket.load(Ordering::Acquire) == at {
            bucket.retain(|entry| !Arc::ptr_eq(&entry.sleep, sleep));
            return;
        }
    }
}
