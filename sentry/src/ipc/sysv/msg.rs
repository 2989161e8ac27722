//! Message queues (msgget(2), msgsnd(2), msgrcv(2), msgctl(2)).

use super::ids::{Found, Get, Ids};
use super::perm::{self, Perm, PermRecord};
use super::{OBJECT_LEVEL, TABLE_LEVEL, now};
use crate::abi::Errno;
use crate::ipc::IpcNamespace;
use crate::ipc::account::Taken;
use crate::security::{Capability, Creds};
use crate::wait::Waiter;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_core::sleep::Woken;
use chitin_core::wait::WaitQueue;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a message takes beside its bytes.
const OVERHEAD: u64 = 64;

/// `struct msqid64_ds`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of msgctl(2)")]
pub struct QueueRecord {
    pub perm: PermRecord,
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    pub bytes: u64,
    pub count: u64,
    pub max_bytes: u64,
    pub lspid: u32,
    pub lrpid: u32,
    pub unused: [u64; 2],
}

/// A message.
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    memory: Taken,
}

impl Message {
    /// A message that `namespace` pays for.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(namespace: &IpcNamespace, kind: i64, bytes: Vec<u8>) -> Result<Self, Errno> {
        let memory = namespace.account.take(bytes.len() as u64 + OVERHEAD)?;
        Ok(Self { kind, bytes, memory })
    }
}

/// Which message msgrcv(2) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of a type.
    Kind(i64),
    /// The first of any other type (`MSG_EXCEPT`).
    Except(i64),
    /// The first of the lowest type that is at most this.
    UpTo(i64),
    /// A copy of the one at this place (`MSG_COPY`).
    Copy(i64),
}

impl Wanted {
    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Self::Any => (!messages.is_empty()).then_some(0),
            Self::Kind(kind) => messages.iter().position(|message| message.kind == kind),
            Self::Except(kind) => messages.iter().position(|message| message.kind != kind),
            Self::UpTo(most) => {
                let fitting = messages.iter().enumerate().filter(|(_, message)| message.kind <= most);
                fitting.min_by_key(|(at, message)| (message.kind, *at)).map(|(at, _)| at)
            }
            Self::Copy(at) => usize::try_from(at).ok().filter(|at| *at < messages.len()),
        }
    }
}

struct State {
    perm: Perm,
    removed: bool,
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    lspid: u32,
    lrpid: u32,
    _memory: Taken,
}

/// A message queue.
pub struct MsgQueue {
    state: SpinLock<State>,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// Why a call did not succeed.
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

/// What msgrcv(2) gives.
pub struct Received {
    /// Type of the message.
    pub kind: i64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Who calls.
pub struct Caller<'a> {
    /// The capability to sleep, unless `IPC_NOWAIT` was given.
    pub waiter: Option<Waiter<'a>>,
    /// Credentials.
    pub creds: &'a Creds,
    /// Process id.
    pub pid: u32,
}

impl Caller<'_> {
    /// Repeats `attempt` until it yields something; `busy` is the error of one that may not wait.
    fn repeat<T>(
        &self,
        queue: &WaitQueue,
        busy: Errno,
        mut attempt: impl FnMut() -> Option<Result<T, Errno>>,
    ) -> Result<T, NotDone> {
        let Some(waiter) = &self.waiter else {
            return Ok(attempt().unwrap_or(Err(busy))?);
        };
        match waiter.until(queue, None, attempt) {
            Ok(result) => Ok(result?),
            Err(Woken::TimedOut) => Err(busy.into()),
            Err(_) => Err(NotDone::Interrupted),
        }
    }
}

impl MsgQueue {
    /// msgsnd(2).
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `EAGAIN`.
    pub fn send(&self, caller: &Caller<'_>, message: Message) -> Result<(), NotDone> {
        let mut message = Some(message);
        let sent = caller.repeat(&self.writable, Errno::EAGAIN, || {
            let mut state = self.state.lock();
            if state.removed {
                return Some(Err(Errno::EIDRM));
            }
            if let Err(errno) = state.perm.check(caller.creds, perm::WRITE) {
                return Some(Err(errno));
            }
            let len = message.as_ref().map_or(0, |message| message.bytes.len() as u64);
            let fits = state.bytes.saturating_add(len) <= state.max_bytes
                && (state.messages.len() as u64) < state.max_bytes;
            if !fits {
                return None;
            }
            state.messages.extend(message.take());
            state.bytes += len;
            state.lspid = caller.pid;
            state.stime = now();
            Some(Ok(()))
        });
        if sent.is_ok() {
            self.readable.wake_all();
        }
        sent
    }

    /// msgrcv(2); `room` is the size of the caller's buffer, and whether a longer message is cut.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `E2BIG`, `ENOMSG`, `ENOMEM`.
    pub fn receive(
        &self,
        caller: &Caller<'_>,
        wanted: Wanted,
        room: (usize, Long),
    ) -> Result<Received, NotDone> {
        let (size, long) = room;
        let copies = matches!(wanted, Wanted::Copy(_));
        let received = caller.repeat(&self.readable, Errno::ENOMSG, || {
            let mut state = self.state.lock();
            if state.removed {
                return Some(Err(Errno::EIDRM));
            }
            if let Err(errno) = state.perm.check(caller.creds, perm::READ) {
                return Some(Err(errno));
            }
            let at = wanted.find(&state.messages)?;
            let message = state.messages.get(at)?;
            if message.bytes.len() > size && long == Long::Refused {
                return Some(Err(Errno::E2BIG));
            }
            if copies {
                return Some(Ok((Received { kind: message.kind, bytes: message.bytes.clone() }, None)));
            }
            let Message { kind, bytes, memory } = state.messages.remove(at)?;
            state.bytes = state.bytes.saturating_sub(bytes.len() as u64);
            state.lrpid = caller.pid;
            state.rtime = now();
            Some(Ok((Received { kind, bytes }, Some(memory))))
        });
        let (received, memory) = received?;
        drop(memory);
        if !copies {
            self.writable.wake_all();
        }
        Ok(received)
    }

    fn record(&self, key: i32, seq: u16) -> QueueRecord {
        let state = self.state.lock();
        QueueRecord {
            perm: state.perm.record(key, seq),
            stime: state.stime,
            rtime: state.rtime,
            ctime: state.ctime,
            bytes: state.bytes,
            count: state.messages.len() as u64,
            max_bytes: state.max_bytes,
            lspid: state.lspid,
            lrpid: state.lrpid,
            unused: [0; 2],
        }
    }
}

/// What becomes of a message that is longer than the room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// `E2BIG`.
    Refused,
    /// It is cut (`MSG_NOERROR`).
    Cut,
}

/// The queues of a namespace.
pub struct Queues {
    ids: SpinLock<Ids<MsgQueue>>,
    /// `/proc/sys/kernel/msgmax`: bytes of a message.
    pub max_message: AtomicU64,
    /// `/proc/sys/kernel/msgmnb`: bytes of a new queue.
    pub max_bytes: AtomicU64,
    /// `/proc/sys/kernel/msgmni`: queues.
    pub max_ids: AtomicU64,
}

impl Queues {
    pub(in crate::ipc) fn new() -> Self {
        Self {
            ids: SpinLock::new(TABLE_LEVEL, Ids::new()),
            max_message: AtomicU64::new(8192),
            max_bytes: AtomicU64::new(16384),
            max_ids: AtomicU64::new(32000),
        }
    }

    /// Finds a queue by its id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Found<MsgQueue>, Errno> {
        self.ids.lock().find(id)
    }

    /// The queue at an index (`MSG_STAT`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at(&self, index: i32) -> Result<Found<MsgQueue>, Errno> {
        self.ids.lock().at(index)
    }

    /// The highest index in use.
    #[must_use]
    pub fn highest(&self) -> usize {
        self.ids.lock().highest()
    }

    /// Queues, messages and bytes in all of them.
    #[must_use]
    pub fn totals(&self) -> (usize, usize, u64) {
        let all = self.ids.lock().all();
        let mut sums = (all.len(), 0, 0);
        for found in all {
            let state = found.object.state.lock();
            sums.1 += state.messages.len();
            sums.2 += state.bytes;
        }
        sums
    }

    /// Finds or makes a queue (msgget(2)).
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC`, `ENOMEM`.
    pub fn get(&self, namespace: &IpcNamespace, creds: &Creds, key: i32, flags: u32) -> Result<i32, Errno> {
        let there = |found: Found<MsgQueue>| {
            found.object.state.lock().perm.check(creds, flags)?;
            Ok(found.id)
        };
        let state = State {
            perm: Perm::new(creds, flags),
            removed: false,
            messages: VecDeque::new(),
            bytes: 0,
            max_bytes: self.max_bytes.load(Ordering::Relaxed),
            stime: 0,
            rtime: 0,
            ctime: now(),
            lspid: 0,
            lrpid: 0,
            _memory: namespace.account.take(512)?,
        };
        let queue = Arc::new(MsgQueue {
            state: SpinLock::new(OBJECT_LEVEL, state),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
        });
        let limit = usize::try_from(self.max_ids.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let mut ids = self.ids.lock();
        match ids.get(key, flags)? {
            Get::There(found) => there(found),
            Get::Make => ids.add(key, queue.clone(), limit),
        }
    }

    /// Removes a queue; who waits gets `EIDRM` (`IPC_RMID`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, creds: &Creds, id: i32) -> Result<(), Errno> {
        let found = self.find(id)?;
        let (messages, removed) = {
            let mut ids = self.ids.lock();
            let mut state = found.object.state.lock();
            state.perm.check_owner(creds)?;
            let removed = ids.remove(id).ok_or(Errno::EINVAL)?;
            state.removed = true;
            (core::mem::take(&mut state.messages), removed)
        };
        removed.readable.wake_all();
        removed.writable.wake_all();
        drop(messages);
        Ok(())
    }

    /// Changes owner, permission and capacity (`IPC_SET`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, creds: &Creds, id: i32, record: &PermRecord, max_bytes: u64) -> Result<(), Errno> {
        let found = self.find(id)?;
        {
            let mut state = found.object.state.lock();
            state.perm.check_owner(creds)?;
            if max_bytes > self.max_bytes.load(Ordering::Relaxed) && !creds.has(Capability::SysResource) {
                return Err(Errno::EPERM);
            }
            state.perm.update(record)?;
            state.max_bytes = max_bytes;
            state.ctime = now();
        }
        // Permission and room may have changed for those who wait.
        found.object.readable.wake_all();
        found.object.writable.wake_all();
        Ok(())
    }

    /// What is told of a queue (`IPC_STAT`); without credentials nobody is refused.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn stat(&self, found: &Found<MsgQueue>, creds: Option<&Creds>) -> Result<QueueRecord, Errno> {
        if let Some(creds) = creds {
            found.object.state.lock().perm.check(creds, perm::READ)?;
        }
        Ok(found.object.record(found.key, found.seq))
    }

    /// `/proc/sysvipc/msg`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from(
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
             stime      rtime      ctime\n",
        );
        let all = self.ids.lock().all();
        for found in all {
            let record = found.object.record(found.key, found.seq);
            let perm = record.perm;
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
                found.key,
                found.id,
                perm.mode,
                record.bytes,
                record.count,
                record.lspid,
                record.lrpid,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                record.stime,
                record.rtime,
                record.ctime
            );
        }
        out
    }
}
