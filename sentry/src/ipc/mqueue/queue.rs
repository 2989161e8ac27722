//! [`Queue`]: the messages of one POSIX message queue.

use super::users::Claim;
use crate::abi::Errno;
use crate::fs::{Attr, FsCx, NodeOps, SetAttr, TimeSpec};
use crate::ipc::Account;
use crate::ipc::account::Taken;
use crate::ipc::sysv::OBJECT_LEVEL;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::cmp::Reverse;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Highest priority, not included (`MQ_PRIO_MAX`).
pub const PRIORITIES: u32 = 32768;
/// What a message takes beside its bytes.
const OVERHEAD: u64 = 64;

/// Size of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Messages at most.
    pub max_messages: usize,
    /// Bytes of a message at most.
    pub max_bytes: usize,
}

struct Message {
    bytes: Vec<u8>,
    _memory: Taken,
}

/// Tells a process that a message came into the empty queue; given the sender's pid and uid.
pub type Notify = Box<dyn Fn(u32, u32) + Send + Sync>;

/// Who is told when a message comes into the empty queue (mq_notify(3)).
pub struct Registration {
    /// The process.
    pub pid: u32,
    /// `SIGEV_*`.
    pub kind: u32,
    /// Its signal, 0 for none.
    pub signal: u32,
    /// How.
    pub notify: Notify,
    /// Whether the process still lives.
    pub lives: Arc<dyn Fn() -> bool + Send + Sync>,
}

struct State {
    /// By priority, the highest first.
    messages: BTreeMap<Reverse<u32>, VecDeque<Message>>,
    count: usize,
    bytes: u64,
    registration: Option<Registration>,
    mode: u32,
    uid: u32,
    gid: u32,
    atime: TimeSpec,
    mtime: TimeSpec,
    ctime: TimeSpec,
}

/// A message queue.
pub struct Queue {
    attributes: Attributes,
    account: Arc<Account>,
    dev: u64,
    ino: u64,
    state: SpinLock<State>,
    /// Woken when a message was put.
    pub readable: WaitQueue,
    /// Woken when there is room again.
    pub writable: WaitQueue,
    /// Tasks that sleep for a message: they come before a notification.
    pub receivers: AtomicUsize,
    _memory: Taken,
    _claim: Claim,
}

impl Queue {
    /// An empty queue of the caller's.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(
        cx: &FsCx<'_>,
        (account, claim): (&Arc<Account>, Claim),
        (dev, ino): (u64, u64),
        mode: u32,
        attributes: Attributes,
    ) -> Result<Arc<Self>, Errno> {
        let now = TimeSpec::now();
        let state = State {
            messages: BTreeMap::new(),
            count: 0,
            bytes: 0,
            registration: None,
            mode: mode & 0o7777,
            uid: cx.creds.fsuid,
            gid: cx.creds.fsgid,
            atime: now,
            mtime: now,
            ctime: now,
        };
        Ok(Arc::new(Self {
            attributes,
            _memory: account.take(512)?,
            _claim: claim,
            account: account.clone(),
            dev,
            ino,
            state: SpinLock::new(OBJECT_LEVEL, state),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            receivers: AtomicUsize::new(0),
        }))
    }

    /// Its size.
    #[must_use]
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// Messages in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a message if there is room; `sender` is pid and uid. The bytes are taken only then.
    ///
    /// # Errors
    /// `ENOMEM`; `Ok(false)` when it is full.
    pub fn try_send(&self, bytes: &mut Vec<u8>, priority: u32, sender: (u32, u32)) -> Result<bool, Errno> {
        let memory = self.account.take(bytes.len() as u64 + OVERHEAD)?;
        let registration = {
            let mut state = self.state.lock();
            if state.count >= self.attributes.max_messages {
                return Ok(false);
            }
            let message = Message { bytes: core::mem::take(bytes), _memory: memory };
            state.count += 1;
            state.bytes += message.bytes.len() as u64;
            state.messages.entry(Reverse(priority)).or_default().push_back(message);
            let now = TimeSpec::now();
            (state.mtime, state.ctime) = (now, now);
            let first = state.count == 1 && self.receivers.load(Ordering::SeqCst) == 0;
            if first { state.registration.take() } else { None }
        };
        self.readable.wake_all();
        if let Some(registration) = registration {
            (registration.notify)(sender.0, sender.1);
        }
        Ok(true)
    }

    /// Takes the oldest message of the highest priority; `None` when there is none.
    pub fn try_receive(&self) -> Option<(Vec<u8>, u32)> {
        let (message, priority) = {
            let mut state = self.state.lock();
            let mut first = state.messages.first_entry()?;
            let Reverse(priority) = *first.key();
            let message = first.get_mut().pop_front();
            if first.get().is_empty() {
                first.remove();
            }
            let message = message?;
            state.count -= 1;
            state.bytes -= message.bytes.len() as u64;
            let now = TimeSpec::now();
            (state.atime, state.ctime) = (now, now);
            (message, priority)
        };
        self.writable.wake_all();
        Some((message.bytes, priority))
    }

    /// Registers who is told of the next message.
    ///
    /// # Errors
    /// `EBUSY` when somebody is registered.
    pub fn register(&self, registration: Registration) -> Result<(), Errno> {
        let lives = self.state.lock().registration.as_ref().map(|there| there.lives.clone());
        // Asked with no lock held: it looks at the process.
        if lives.is_some_and(|lives| lives()) {
            return Err(Errno::EBUSY);
        }
        let before = self.state.lock().registration.replace(registration);
        drop(before);
        Ok(())
    }

    /// Forgets the registration of `pid`.
    pub fn unregister(&self, pid: u32) {
        let gone = self.state.lock().registration.take_if(|registration| registration.pid == pid);
        drop(gone);
    }

    /// What reading its file says.
    #[must_use]
    pub fn text(&self) -> String {
        let state = self.state.lock();
        let (kind, signal, pid) = state
            .registration
            .as_ref()
            .map_or((0, 0, 0), |registration| (registration.kind, registration.signal, registration.pid));
        format!("QSIZE:{:<10} NOTIFY:{kind:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n", state.bytes)
    }
}

impl NodeOps for Queue {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let state = self.state.lock();
        Ok(Attr {
            dev: self.dev,
            ino: self.ino,
            mode: state.mode | crate::fs::node::S_IFREG,
            nlink: 1,
            uid: state.uid,
            gid: state.gid,
            // The length of the text, as on Linux.
            size: 80,
            blksize: 4096,
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.ctime,
            ..Attr::default()
        })
    }

    fn set_attr(&self, _cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if let Some(mode) = change.mode {
            state.mode = mode & 0o7777;
        }
        state.uid = change.uid.unwrap_or(state.uid);
        state.gid = change.gid.unwrap_or(state.gid);
        state.atime = change.atime.unwrap_or(state.atime);
        state.mtime = change.mtime.unwrap_or(state.mtime);
        state.ctime = change.ctime.unwrap_or_else(TimeSpec::now);
        Ok(())
    }
}
