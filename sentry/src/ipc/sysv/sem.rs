//! Sets of semaphores (semget(2), semop(2), semctl(2)).
//!
//! Who cannot go on leaves its operations with the set and sleeps; whoever changes a value carries out, in order, those that
//! have become possible and wakes their tasks. So the order of waiting is kept and nobody wakes in vain.

use super::ids::{Found, Get, Ids};
use super::perm::{self, Perm, PermRecord};
use super::{NO_WAIT, OBJECT_LEVEL, TABLE_LEVEL, now};
use crate::abi::Errno;
use crate::ipc::IpcNamespace;
use crate::ipc::account::Taken;
use crate::security::Creds;
use crate::wait::Waiter;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_core::sleep::Woken;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use core::task::Waker;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Largest value of a semaphore (`SEMVMX`).
pub const VALUE_MAX: i32 = 32767;
/// Largest adjustment that is undone at the end of a process (`SEMAEM`).
const ADJUSTMENT_MAX: i32 = 32767;
/// `SEM_UNDO`.
const UNDO: u16 = 0x1000;

/// `struct sembuf`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Op {
    /// Which semaphore.
    pub number: u16,
    /// What is added; 0: wait for zero.
    pub change: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: u16,
}

impl Op {
    const fn waits(&self) -> bool {
        self.flags & 0o4000 == 0
    }

    /// Whether it is undone when the process ends.
    #[must_use]
    pub const fn undoes(&self) -> bool {
        self.flags & UNDO != 0
    }
}

const _: () = assert!(NO_WAIT == 0o4000);

/// `struct semid64_ds`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of semctl(2)")]
pub struct SetRecord {
    pub perm: PermRecord,
    pub otime: i64,
    pub unused1: u64,
    pub ctime: i64,
    pub unused2: u64,
    pub count: u64,
    pub unused3: [u64; 2],
}

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    pid: u32,
}

/// What a sleeping task wants.
struct Pending {
    ops: Vec<Op>,
    owner: u64,
    pid: u32,
    waker: Waker,
    /// 0 while it waits, 1 when it was done, else a negated error number.
    outcome: AtomicI32,
}

const DONE: i32 = 1;

/// A place in the queue of a set: whose, and which semaphore keeps it: waiting for zero, or for more.
struct Waiting {
    pending: Arc<Pending>,
    blocked: (u16, For),
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The value to be zero (`GETZCNT`).
    Zero,
    /// The value to rise (`GETNCNT`).
    More,
}

struct State {
    perm: Perm,
    removed: bool,
    values: Vec<Semaphore>,
    otime: i64,
    ctime: i64,
    /// Adjustments, by owner of an undo list.
    undo: BTreeMap<u64, Vec<i16>>,
    waiting: Vec<Waiting>,
    memory: Taken,
}

/// A set of semaphores.
pub struct SemSet {
    count: usize,
    state: SpinLock<State>,
}

/// How an attempt ended.
enum Attempt {
    /// Done; whether a value changed.
    Done,
    /// It has to wait for this.
    Wait(u16, For),
}

impl State {
    /// Carries out all of `ops` or nothing.
    ///
    /// # Errors
    /// `EAGAIN` where one would wait that may not, `ERANGE`.
    fn attempt(&mut self, ops: &[Op], owner: u64, pid: u32) -> Result<Attempt, Errno> {
        let mut done = 0;
        let mut result = Ok(Attempt::Done);
        for op in ops {
            match self.apply(op, owner) {
                Ok(None) => done += 1,
                Ok(Some(what)) => {
                    result = if op.waits() { Ok(Attempt::Wait(op.number, what)) } else { Err(Errno::EAGAIN) };
                    break;
                }
                Err(errno) => {
                    result = Err(errno);
                    break;
                }
            }
        }
        if matches!(result, Ok(Attempt::Done)) {
            for op in ops {
                if let Some(semaphore) = self.values.get_mut(usize::from(op.number)) {
                    semaphore.pid = pid;
                }
            }
            self.otime = now();
        } else {
            ops.iter().take(done).rev().for_each(|op| self.revert(op, owner));
        }
        result
    }

    /// One operation; `Some` says what it waits for.
    fn apply(&mut self, op: &Op, owner: u64) -> Result<Option<For>, Errno> {
        let semaphore = self.values.get_mut(usize::from(op.number)).ok_or(Errno::EFBIG)?;
        if op.change == 0 {
            return Ok((semaphore.value != 0).then_some(For::Zero));
        }
        let value = semaphore.value + i32::from(op.change);
        if value < 0 {
            return Ok(Some(For::More));
        }
        if value > VALUE_MAX {
            return Err(Errno::ERANGE);
        }
        if op.undoes() {
            let slot = self.undo.get_mut(&owner).and_then(|list| list.get_mut(usize::from(op.number)));
            let slot = slot.ok_or(Errno::ENOMEM)?;
            let adjusted = i32::from(*slot) - i32::from(op.change);
            if !(-ADJUSTMENT_MAX - 1..=ADJUSTMENT_MAX).contains(&adjusted) {
                return Err(Errno::ERANGE);
            }
            *slot = i16::try_from(adjusted).map_err(|_| Errno::ERANGE)?;
        }
        semaphore.value = value;
        Ok(None)
    }

    fn revert(&mut self, op: &Op, owner: u64) {
        if let Some(semaphore) = self.values.get_mut(usize::from(op.number)) {
            semaphore.value -= i32::from(op.change);
        }
        if op.undoes()
            && let Some(list) = self.undo.get_mut(&owner)
            && let Some(slot) = list.get_mut(usize::from(op.number))
        {
            *slot = slot.saturating_add(op.change);
        }
    }

    /// Makes room for the adjustments of an owner.
    fn prepare_undo(&mut self, owner: u64) -> Result<(), Errno> {
        if self.undo.contains_key(&owner) {
            return Ok(());
        }
        let count = self.values.len();
        self.memory.grow(count as u64 * 2)?;
        let mut list = Vec::new();
        list.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        list.resize(count, 0);
        self.undo.insert(owner, list);
        Ok(())
    }

    /// Carries out what has become possible; the tasks to wake.
    fn settle(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let pending = waiting.pending.clone();
            let outcome = match self.attempt(&pending.ops, pending.owner, pending.pid) {
                Ok(Attempt::Wait(number, what)) => {
                    if let Some(waiting) = self.waiting.get_mut(at) {
                        waiting.blocked = (number, what);
                    }
                    at += 1;
                    continue;
                }
                Ok(Attempt::Done) => DONE,
                Err(errno) => -errno.number(),
            };
            self.waiting.remove(at);
            pending.outcome.store(outcome, Ordering::Release);
            woken.push(pending.waker.clone());
            // A changed value may let one go on that waits before it.
            if outcome == DONE && pending.ops.iter().any(|op| op.change != 0) {
                at = 0;
            }
        }
        woken
    }

    fn give_up(&mut self, outcome: Errno) -> Vec<Waker> {
        let waiting = core::mem::take(&mut self.waiting);
        let end = |waiting: Waiting| {
            waiting.pending.outcome.store(-outcome.number(), Ordering::Release);
            waiting.pending.waker.clone()
        };
        waiting.into_iter().map(end).collect()
    }
}

/// Why semop(2) did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// An error.
    Errno(Errno),
    /// A signal came first.
    Interrupted,
}

impl From<Errno> for NotDone {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl SemSet {
    /// Semaphores of the set.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// semop(2); `owner` is the undo list that pays for `SEM_UNDO`, `pid` who does it.
    ///
    /// # Errors
    /// `EFBIG`, `EACCES`, `EAGAIN`, `ERANGE`, `EIDRM`, `ENOMEM`; `EAGAIN` at the deadline.
    pub fn operate(
        &self,
        waiter: &Waiter<'_>,
        creds: &Creds,
        ops: Vec<Op>,
        owner: u64,
        pid: u32,
        deadline_ns: Option<u64>,
    ) -> Result<(), NotDone> {
        let alters = ops.iter().any(|op| op.change != 0);
        if ops.iter().any(|op| usize::from(op.number) >= self.count) {
            return Err(Errno::EFBIG.into());
        }
        let pending = {
            let mut state = self.state.lock();
            state.perm.check(creds, if alters { perm::WRITE } else { perm::READ })?;
            if state.removed {
                return Err(Errno::EIDRM.into());
            }
            if ops.iter().any(Op::undoes) {
                state.prepare_undo(owner)?;
            }
            match state.attempt(&ops, owner, pid)? {
                Attempt::Done => {
                    let woken = if alters { state.settle() } else { Vec::new() };
                    drop(state);
                    woken.into_iter().for_each(Waker::wake);
                    return Ok(());
                }
                Attempt::Wait(number, what) => {
                    let waker = waiter.sleeper.waker();
                    let outcome = AtomicI32::new(0);
                    let pending = Arc::new(Pending { ops, owner, pid, waker, outcome });
                    state.waiting.push(Waiting { pending: pending.clone(), blocked: (number, what) });
                    pending
                }
            }
        };
        loop {
            if let Some(result) = outcome(&pending) {
                return result;
            }
            let failure = match waiter.park(deadline_ns) {
                Woken::Ready => continue,
                Woken::Interrupted => NotDone::Interrupted,
                Woken::TimedOut => NotDone::Errno(Errno::EAGAIN),
            };
            let mut state = self.state.lock();
            state.waiting.retain(|waiting| !Arc::ptr_eq(&waiting.pending, &pending));
            drop(state);
            // It may have been done just before.
            return outcome(&pending).unwrap_or(Err(failure));
        }
    }

    /// Adds the adjustments of an owner that ends, and forgets them.
    pub(super) fn undo(&self, owner: u64, pid: u32) {
        let woken = {
            let mut state = self.state.lock();
            let Some(list) = state.undo.remove(&owner) else { return };
            state.memory.shrink(list.len() as u64 * 2);
            for (semaphore, adjustment) in state.values.iter_mut().zip(list) {
                if adjustment != 0 {
                    // A negative result is made zero, as Linux does (semop(2), "BUGS").
                    semaphore.value = (semaphore.value + i32::from(adjustment)).clamp(0, VALUE_MAX);
                    semaphore.pid = pid;
                }
            }
            state.otime = now();
            state.settle()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn with<T>(
        &self,
        creds: &Creds,
        flags: u32,
        f: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut state = self.state.lock();
        state.perm.check(creds, flags)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        f(&mut state)
    }

    fn index(&self, number: i32) -> Result<usize, Errno> {
        usize::try_from(number).ok().filter(|index| *index < self.count).ok_or(Errno::EINVAL)
    }

    /// A value (`GETVAL`).
    ///
    /// # Errors
    /// `EACCES`, `EINVAL`.
    pub fn value(&self, creds: &Creds, number: i32) -> Result<i32, Errno> {
        self.with(creds, perm::READ, |state| {
            let index = self.index(number)?;
            state.values.get(index).map(|semaphore| semaphore.value).ok_or(Errno::EINVAL)
        })
    }

    /// Who changed it last (`GETPID`).
    ///
    /// # Errors
    /// `EACCES`, `EINVAL`.
    pub fn last_pid(&self, creds: &Creds, number: i32) -> Result<u32, Errno> {
        self.with(creds, perm::READ, |state| {
            let index = self.index(number)?;
            state.values.get(index).map(|semaphore| semaphore.pid).ok_or(Errno::EINVAL)
        })
    }

    /// How many wait (`GETNCNT`, `GETZCNT`).
    ///
    /// # Errors
    /// `EACCES`, `EINVAL`.
    pub fn waiting(&self, creds: &Creds, number: i32, what: For) -> Result<usize, Errno> {
        self.with(creds, perm::READ, |state| {
            let index = self.index(number)?;
            let same =
                |waiting: &&Waiting| usize::from(waiting.blocked.0) == index && waiting.blocked.1 == what;
            Ok(state.waiting.iter().filter(same).count())
        })
    }

    /// All values (`GETALL`).
    ///
    /// # Errors
    /// `EACCES`.
    pub fn values(&self, creds: &Creds) -> Result<Vec<u16>, Errno> {
        self.with(creds, perm::READ, |state| {
            Ok(state.values.iter().map(|semaphore| u16::try_from(semaphore.value).unwrap_or(0)).collect())
        })
    }

    /// Whether the caller may set all values; asked before they are read.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn check_write(&self, creds: &Creds) -> Result<(), Errno> {
        self.with(creds, perm::WRITE, |_| Ok(()))
    }

    /// Sets one value (`SETVAL`).
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn set_value(&self, creds: &Creds, number: i32, value: i32, pid: u32) -> Result<(), Errno> {
        let index = self.index(number)?;
        let woken = self.with(creds, perm::WRITE, |state| {
            if let Some(semaphore) = state.values.get_mut(index) {
                *semaphore = Semaphore { value, pid };
            }
            state.undo.values_mut().filter_map(|list| list.get_mut(index)).for_each(|slot| *slot = 0);
            state.ctime = now();
            Ok(state.settle())
        })?;
        woken.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Sets all values (`SETALL`).
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn set_values(&self, creds: &Creds, values: &[u16], pid: u32) -> Result<(), Errno> {
        let woken = self.with(creds, perm::WRITE, |state| {
            for (semaphore, value) in state.values.iter_mut().zip(values) {
                *semaphore = Semaphore { value: i32::from(*value), pid };
            }
            state.undo.values_mut().for_each(|list| list.fill(0));
            state.ctime = now();
            Ok(state.settle())
        })?;
        woken.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn record(&self, key: i32, seq: u16) -> SetRecord {
        let state = self.state.lock();
        SetRecord {
            perm: state.perm.record(key, seq),
            otime: state.otime,
            ctime: state.ctime,
            count: self.count as u64,
            ..SetRecord::default()
        }
    }
}

fn outcome(pending: &Pending) -> Option<Result<(), NotDone>> {
    match pending.outcome.load(Ordering::Acquire) {
        0 => None,
        DONE => Some(Ok(())),
        error if error == -Errno::EIDRM.number() => Some(Err(Errno::EIDRM.into())),
        error if error == -Errno::ERANGE.number() => Some(Err(Errno::ERANGE.into())),
        error if error == -Errno::EAGAIN.number() => Some(Err(Errno::EAGAIN.into())),
        _ => Some(Err(Errno::EINVAL.into())),
    }
}

/// The sets of a namespace.
pub struct Sets {
    ids: SpinLock<Ids<SemSet>>,
    /// `/proc/sys/kernel/sem`: semaphores of a set, of all sets, operations of a call, sets.
    pub limits: [AtomicU64; 4],
}

impl Sets {
    pub(in crate::ipc) fn new() -> Self {
        Self {
            ids: SpinLock::new(TABLE_LEVEL, Ids::new()),
            limits: [32000, 1_024_000_000, 500, 32000].map(AtomicU64::new),
        }
    }

    /// One of the limits.
    #[must_use]
    pub fn limit(&self, index: usize) -> u64 {
        self.limits.get(index).map_or(0, |limit| limit.load(Ordering::Relaxed))
    }

    /// Finds a set by its id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Found<SemSet>, Errno> {
        self.ids.lock().find(id)
    }

    /// The set at an index (`SEM_STAT`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at(&self, index: i32) -> Result<Found<SemSet>, Errno> {
        self.ids.lock().at(index)
    }

    /// The highest index in use.
    #[must_use]
    pub fn highest(&self) -> usize {
        self.ids.lock().highest()
    }

    /// Sets, and semaphores in all of them.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        let all = self.ids.lock().all();
        (all.len(), all.iter().map(|found| found.object.count).sum())
    }

    /// Finds or makes a set (semget(2)).
    ///
    /// # Errors
    /// `EINVAL` for a number that cannot be, `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC`, `ENOMEM`.
    pub fn get(
        &self,
        namespace: &IpcNamespace,
        creds: &Creds,
        key: i32,
        count: i32,
        flags: u32,
    ) -> Result<i32, Errno> {
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        if count as u64 > self.limit(0) {
            return Err(Errno::EINVAL);
        }
        let there = |found: Found<SemSet>| {
            if count > found.object.count {
                return Err(Errno::EINVAL);
            }
            found.object.state.lock().perm.check(creds, flags)?;
            Ok(found.id)
        };
        if let Get::There(found) = self.ids.lock().get(key, flags)? {
            return there(found);
        }
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let (_, used) = self.totals();
        if used as u64 + count as u64 > self.limit(1) {
            return Err(Errno::ENOSPC);
        }
        let memory = namespace.account.take(256 + count as u64 * 8)?;
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        values.resize(count, Semaphore::default());
        let state = State {
            perm: Perm::new(creds, flags),
            removed: false,
            values,
            otime: 0,
            ctime: now(),
            undo: BTreeMap::new(),
            waiting: Vec::new(),
            memory,
        };
        let set = Arc::new(SemSet { count, state: SpinLock::new(OBJECT_LEVEL, state) });
        let limit = usize::try_from(self.limit(3)).unwrap_or(usize::MAX);
        let mut ids = self.ids.lock();
        match ids.get(key, flags)? {
            Get::There(found) => there(found),
            Get::Make => ids.add(key, set.clone(), limit),
        }
    }

    /// Removes a set; who waits gets `EIDRM` (`IPC_RMID`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, creds: &Creds, id: i32) -> Result<(), Errno> {
        let found = self.find(id)?;
        let (woken, removed) = {
            let mut ids = self.ids.lock();
            let mut state = found.object.state.lock();
            state.perm.check_owner(creds)?;
            let removed = ids.remove(id).ok_or(Errno::EINVAL)?;
            state.removed = true;
            (state.give_up(Errno::EIDRM), removed)
        };
        woken.into_iter().for_each(Waker::wake);
        drop(removed);
        Ok(())
    }

    /// Changes owner and permission (`IPC_SET`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, creds: &Creds, id: i32, record: &PermRecord) -> Result<(), Errno> {
        let found = self.find(id)?;
        let mut state = found.object.state.lock();
        state.perm.check_owner(creds)?;
        state.perm.update(record)?;
        state.ctime = now();
        Ok(())
    }

    /// What is told of a set (`IPC_STAT`); without credentials nobody is refused.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn stat(&self, found: &Found<SemSet>, creds: Option<&Creds>) -> Result<SetRecord, Errno> {
        if let Some(creds) = creds {
            found.object.state.lock().perm.check(creds, perm::READ)?;
        }
        Ok(found.object.record(found.key, found.seq))
    }

    /// `/proc/sysvipc/sem`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from(
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
        );
        let all = self.ids.lock().all();
        for found in all {
            let record = found.object.record(found.key, found.seq);
            let perm = record.perm;
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
                found.key,
                found.id,
                perm.mode,
                record.count,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                record.otime,
                record.ctime
            );
        }
        out
    }
}
