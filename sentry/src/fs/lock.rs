//! File locks: flock(2), POSIX record locks and open-file-description locks (fcntl(2)).
//!
//! The locks of a file hang on its node. Owners: an open file description for flock(2) and OFD locks, a descriptor table for
//! POSIX locks. Whoever waits registers with the file's queue and tries again when a lock is released; deadlocks between
//! POSIX locks are found by following who waits for whom.

use crate::abi::Errno;
use crate::fs::Node;
use crate::wait::Waiter;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Woken;
use chitin_core::wait::WaitQueue;

/// Locks on one file at most.
const LOCKS_MAX: usize = 8192;

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Many at once.
    Shared,
    /// One alone.
    Exclusive,
}

/// Whose lock it is; locks of different kinds of owners of records exclude each other, flock's stand apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, by its descriptor table.
    Process(usize),
    /// An open file description.
    Description(usize),
}

/// A locked range of a file, `end` not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// First byte.
    pub start: u64,
    /// First byte after; `u64::MAX`: to the end of the file however long.
    pub end: u64,
    /// How.
    pub mode: Mode,
    /// Whose.
    pub owner: Owner,
    /// Process id that F_GETLK tells; -1 for open file descriptions.
    pub pid: i32,
}

impl Record {
    const fn conflicts(&self, other: &Self) -> bool {
        let exclusive = matches!(self.mode, Mode::Exclusive) || matches!(other.mode, Mode::Exclusive);
        exclusive && self.start < other.end && other.start < self.end
    }
}

/// A lock of a whole file (flock(2)).
struct Whole {
    owner: usize,
    mode: Mode,
    /// The process that took it.
    pid: u32,
}

/// A lock, as `/proc/PID/fdinfo` tells it.
pub struct Held {
    /// `FLOCK `, `POSIX ` or `OFDLCK`.
    pub kind: &'static str,
    /// How.
    pub mode: Mode,
    /// The process, -1 for open file descriptions.
    pub pid: i32,
    /// First byte.
    pub start: u64,
    /// Last byte, `None` for the end of the file however long.
    pub last: Option<u64>,
}

/// The locks of one file.
#[derive(Default)]
pub struct NodeLocks {
    whole: Vec<Whole>,
    records: Vec<Record>,
    released: Arc<WaitQueue>,
}

impl NodeLocks {
    /// Cuts `range` out of the owner's records; what is left of them on both sides stays.
    fn cut(&mut self, range: &Record) {
        let mut kept = Vec::with_capacity(self.records.len() + 1);
        for record in self.records.drain(..) {
            if record.owner != range.owner || record.end <= range.start || range.end <= record.start {
                kept.push(record);
                continue;
            }
            if record.start < range.start {
                kept.push(Record { end: range.start, ..record });
            }
            if range.end < record.end {
                kept.push(Record { start: range.end, ..record });
            }
        }
        self.records = kept;
    }

    /// Adds a record, joined with the owner's neighbours of the same mode.
    fn add(&mut self, mut new: Record) {
        self.cut(&new);
        self.records.retain(|record| {
            let joins = record.owner == new.owner
                && record.mode == new.mode
                && (record.end == new.start || new.end == record.start);
            if joins {
                new.start = new.start.min(record.start);
                new.end = new.end.max(record.end);
            }
            !joins
        });
        let at = self.records.partition_point(|record| record.start < new.start);
        self.records.insert(at, new);
    }

    fn conflict(&self, wanted: &Record) -> Option<Record> {
        self.records.iter().find(|record| record.owner != wanted.owner && record.conflicts(wanted)).copied()
    }
}

/// Whether a call waits for a lock.
#[derive(Clone, Copy)]
pub enum Wait<'a> {
    /// `EWOULDBLOCK` at once.
    No,
    /// Until it is free.
    For(&'a Waiter<'a>),
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLocked {
    /// Somebody else has it.
    Busy,
    /// A signal came first.
    Interrupted,
    /// It cannot be.
    Errno(Errno),
}

fn queue(node: &Node) -> Arc<WaitQueue> {
    node.state.with_locks(|locks| locks.released.clone())
}

fn wait_for(
    node: &Arc<Node>,
    wait: Wait<'_>,
    mut attempt: impl FnMut() -> Option<Result<(), NotLocked>>,
) -> Result<(), NotLocked> {
    if let Some(result) = attempt() {
        return result;
    }
    let Wait::For(waiter) = wait else { return Err(NotLocked::Busy) };
    let queue = queue(node);
    match waiter.until(&queue, None, attempt) {
        Ok(result) => result,
        Err(Woken::Interrupted) => Err(NotLocked::Interrupted),
        Err(_) => Err(NotLocked::Busy),
    }
}

/// Sets (or with `None` removes) the flock(2) lock of an open file description.
///
/// # Errors
/// [`NotLocked`].
pub fn flock(
    node: &Arc<Node>,
    (owner, pid): (usize, u32),
    mode: Option<Mode>,
    wait: Wait<'_>,
) -> Result<(), NotLocked> {
    // A change of mode gives the old lock up first, as on Linux.
    let mut gave_up = false;
    node.state.with_locks(|locks| {
        let before = locks.whole.len();
        locks.whole.retain(|held| held.owner != owner || Some(held.mode) == mode);
        gave_up = locks.whole.len() != before;
    });
    if gave_up {
        queue(node).wake_all();
    }
    let Some(mode) = mode else { return Ok(()) };
    wait_for(node, wait, || {
        node.state.with_locks(|locks| {
            if locks.whole.iter().any(|held| held.owner == owner) {
                return Some(Ok(()));
            }
            let free = locks.whole.iter().all(|held| held.mode == Mode::Shared && mode == Mode::Shared);
            if !free {
                return None;
            }
            if locks.whole.len() >= LOCKS_MAX {
                return Some(Err(NotLocked::Errno(Errno::ENOLCK)));
            }
            locks.whole.push(Whole { owner, mode, pid });
            Some(Ok(()))
        })
    })
}

/// The locks that were taken by an open file description, and by the processes of a descriptor table on the file.
#[must_use]
pub fn held(node: &Arc<Node>, description: usize, table: usize) -> Vec<Held> {
    if !node.state.has_locks() {
        return Vec::new();
    }
    node.state.with_locks(|locks| {
        let whole = locks.whole.iter().filter(|held| held.owner == description).map(|held| Held {
            kind: "FLOCK ",
            mode: held.mode,
            pid: held.pid.cast_signed(),
            start: 0,
            last: None,
        });
        let own = |record: &&Record| match record.owner {
            Owner::Process(owner) => owner == table,
            Owner::Description(owner) => owner == description,
        };
        let records = locks.records.iter().filter(own).map(|record| Held {
            kind: if matches!(record.owner, Owner::Process(_)) { "POSIX " } else { "OFDLCK" },
            mode: record.mode,
            pid: record.pid,
            start: record.start,
            last: (record.end != u64::MAX).then(|| record.end.saturating_sub(1)),
        });
        whole.chain(records).collect()
    })
}

/// The record that stands against `wanted`, if one does (F_GETLK).
#[must_use]
pub fn test(node: &Arc<Node>, wanted: &Record) -> Option<Record> {
    if node.state.has_locks() { node.state.with_locks(|locks| locks.conflict(wanted)) } else { None }
}

/// Removes a range from the owner's records (F_UNLCK).
///
/// # Errors
/// `ENOLCK` when cutting makes too many.
pub fn unlock(node: &Arc<Node>, range: &Record) -> Result<(), NotLocked> {
    if !node.state.has_locks() {
        return Ok(());
    }
    let full = node.state.with_locks(|locks| {
        if locks.records.len() >= LOCKS_MAX {
            return true;
        }
        locks.cut(range);
        false
    });
    if full {
        return Err(NotLocked::Errno(Errno::ENOLCK));
    }
    queue(node).wake_all();
    Ok(())
}

/// Who waits for whom, among owners of POSIX locks.
static WAITING: SpinLock<Vec<(Owner, Owner)>> = SpinLock::new(Level(97), Vec::new());

/// Notes that `who` waits for `for_whom`, unless that closes a circle.
fn begin_wait(who: Owner, for_whom: Owner) -> Result<(), NotLocked> {
    let mut waiting = WAITING.lock();
    let mut at = for_whom;
    for _ in 0..=waiting.len() {
        if at == who {
            return Err(NotLocked::Errno(Errno::EDEADLK));
        }
        match waiting.iter().find(|(waiter, _)| *waiter == at) {
            Some((_, next)) => at = *next,
            None => break,
        }
    }
    waiting.retain(|(waiter, _)| *waiter != who);
    waiting.push((who, for_whom));
    Ok(())
}

fn end_wait(who: Owner) {
    WAITING.lock().retain(|(waiter, _)| *waiter != who);
}

/// Sets a record lock (F_SETLK, F_SETLKW).
///
/// # Errors
/// [`NotLocked`]; `EDEADLK` when waiting would never end.
pub fn lock(node: &Arc<Node>, wanted: &Record, wait: Wait<'_>) -> Result<(), NotLocked> {
    let detects = matches!(wanted.owner, Owner::Process(_)) && matches!(wait, Wait::For(_));
    let result = wait_for(node, wait, || {
        let conflict = node.state.with_locks(|locks| match locks.conflict(wanted) {
            Some(conflict) => Some(Ok(conflict)),
            None if locks.records.len() >= LOCKS_MAX => Some(Err(Errno::ENOLCK)),
            None => {
                locks.add(*wanted);
                None
            }
        });
        match conflict {
            None => Some(Ok(())),
            Some(Err(errno)) => Some(Err(NotLocked::Errno(errno))),
            Some(Ok(conflict)) if detects => begin_wait(wanted.owner, conflict.owner).err().map(Err),
            Some(Ok(_)) => None,
        }
    });
    if detects {
        end_wait(wanted.owner);
    }
    if result.is_ok() {
        // A lock may have become weaker.
        queue(node).wake_all();
    }
    result
}

/// Releases every flock(2) and OFD lock of an open file description.
pub(crate) fn release_owner(node: &Arc<Node>, owner: usize) {
    release(node, |locks| {
        locks.whole.retain(|held| held.owner != owner);
        locks.records.retain(|record| record.owner != Owner::Description(owner));
    });
}

/// Releases every POSIX lock that a process has on a file: it closed a descriptor of it.
pub fn release_process(node: &Arc<Node>, owner: usize) {
    release(node, |locks| locks.records.retain(|record| record.owner != Owner::Process(owner)));
}

fn release(node: &Arc<Node>, f: impl FnOnce(&mut NodeLocks)) {
    if !node.state.has_locks() {
        return;
    }
    let queue = node.state.with_locks(|locks| {
        f(locks);
        locks.released.clone()
    });
    queue.wake_all();
}
