//! Unix sockets (unix(7)): stream, datagram and sequenced-packet, within the sandbox.
//!
//! A socket's [`Inbox`] holds what was sent to it; a connected socket knows its peer weakly, so that the peer's last close
//! is its end. Locks: [`rights`]' guard, the table of abstract names, then one socket's state (140) and one inbox (141),
//! never two sockets' at once. Copies from user memory happen before the locks, and wake-ups after them.

mod chain;
mod connect;
mod inbox;
mod name;
mod options;
pub mod rights;
pub mod table;
#[cfg(test)]
mod tests;
mod transfer;

use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::fs::async_io;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::address::AF_UNIX;
use crate::net::filter::Slot;
use crate::net::socket::{Incoming, MsgFlags, Outgoing, Shutdown, Socket, SocketType, Ucred};
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr};
use crate::wait::{PollMask, PollTable, Pollable, Stop};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::sync::atomic::AtomicU64;
use inbox::{DEFAULT_BYTES, Inbox};
pub use name::Name;

/// Level of the lock of a socket's state.
pub const LEVEL: Level = Level(140);
/// Level of the lock of a socket's inbox.
const INBOX_LEVEL: Level = Level(141);

const FIONREAD: u32 = 0x541b;
const TIOCOUTQ: u32 = 0x5411;
const SIOCATMARK: u32 = 0x8905;

/// Where a socket is in its life.
enum Phase {
    /// Not connected.
    Idle,
    /// Takes connections: those not accepted yet, and how many there may be.
    Listening { waiting: VecDeque<Arc<Unix>>, backlog: usize },
    /// Has a peer, or had one.
    Connected,
    /// The last descriptor is closed.
    Closed,
}

struct State {
    name: Name,
    phase: Phase,
    peer: Weak<Unix>,
    /// Who is at the other side, for `SO_PEERCRED`; of a listening socket, who listens.
    peer_creds: Option<Ucred>,
    /// shutdown(2), by this side or the other.
    no_receive: bool,
    no_send: bool,
    error: Option<Errno>,
    pass_creds: bool,
    kept: options::Kept,
    send_bytes: usize,
    receive_bytes: usize,
    /// Who gets `SIGURG`.
    owner: Option<async_io::Send>,
}

/// A unix socket.
pub struct Unix {
    me: Weak<Self>,
    kind: SocketType,
    /// The network namespace, where abstract names belong to.
    space: u64,
    /// Inode number of its file; 0 before it has one.
    ino: AtomicU64,
    state: SpinLock<State>,
    filter: Slot,
    inbox: SpinLock<Inbox>,
    /// Something to receive or accept, or the state changed.
    readable: WaitQueue,
    /// The inbox has room again, for those who send here.
    drained: WaitQueue,
}

impl Unix {
    /// A socket without a name, in the network namespace of that number.
    #[must_use]
    pub fn new(kind: SocketType, space: u64) -> Arc<Self> {
        let state = State {
            name: Name::Unnamed,
            phase: Phase::Idle,
            peer: Weak::new(),
            peer_creds: None,
            no_receive: false,
            no_send: false,
            error: None,
            pass_creds: false,
            kept: options::Kept::default(),
            send_bytes: DEFAULT_BYTES,
            receive_bytes: DEFAULT_BYTES,
            owner: None,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            kind,
            space,
            ino: AtomicU64::new(0),
            state: SpinLock::new(LEVEL, state),
            filter: Slot::default(),
            inbox: SpinLock::new(INBOX_LEVEL, Inbox::default()),
            readable: WaitQueue::new(),
            drained: WaitQueue::new(),
        })
    }

    /// Two sockets that are connected to each other (socketpair(2)); `creds` are the caller's.
    #[must_use]
    pub fn pair(kind: SocketType, space: u64, creds: Ucred) -> (Arc<Self>, Arc<Self>) {
        let (one, other) = (Self::new(kind, space), Self::new(kind, space));
        for (socket, peer) in [(&one, &other), (&other, &one)] {
            let mut state = socket.state.lock();
            state.phase = Phase::Connected;
            state.peer = Arc::downgrade(peer);
            state.peer_creds = Some(creds);
        }
        (one, other)
    }

    /// Whether it has connections, rather than sending each message by itself.
    fn is_connection_based(&self) -> bool {
        self.kind != SocketType::Datagram
    }

    /// Wakes everybody who waits for anything here.
    fn wake_all(&self) {
        self.readable.wake_all();
        self.drained.wake_all();
    }

    /// Adds the unix sockets' descriptors in the inbox, and those of connections not accepted yet, to `files`.
    fn collect_rights(&self, files: &mut Vec<Arc<OpenFile>>) {
        let waiting: Vec<Arc<Self>> = match &self.state.lock().phase {
            Phase::Listening { waiting, .. } => waiting.iter().cloned().collect(),
            _ => Vec::new(),
        };
        let mut collect = |socket: &Self| {
            let inbox = socket.inbox.lock();
            inbox.rights().for_each(|rights| files.extend(rights.files().iter().cloned()));
        };
        collect(self);
        waiting.iter().for_each(|socket| collect(socket));
    }

    /// Takes all messages out, and those of connections not accepted yet.
    fn take_messages(&self, messages: &mut Vec<inbox::Message>) {
        let waiting: Vec<Arc<Self>> = match &self.state.lock().phase {
            Phase::Listening { waiting, .. } => waiting.iter().cloned().collect(),
            _ => Vec::new(),
        };
        messages.extend(self.inbox.lock().drain());
        waiting.iter().for_each(|socket| messages.extend(socket.inbox.lock().drain()));
    }

    /// Closes sides of this socket, told by its peer.
    fn close_sides(&self, receive: bool, send: bool, error: Option<Errno>) {
        let mut state = self.state.lock();
        state.no_receive |= receive;
        state.no_send |= send;
        if error.is_some() {
            state.error = error;
        }
        drop(state);
        self.wake_all();
    }
}

impl Socket for Unix {
    fn kind(&self) -> (u16, SocketType, i32) {
        (AF_UNIX, self.kind, 0)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        self.bind_name(address)
    }

    fn try_connect(&self, address: &Address, creds: Ucred) -> Result<(), Stop> {
        self.connect(address, creds)
    }

    fn connect_source(&self, address: &Address) -> Option<Arc<dyn Pollable + Send + Sync>> {
        let Address::Unix(name) = address else { return None };
        let listener = name::find(self.space, name).ok()?;
        Some(Arc::new(connect::Room(listener)))
    }

    fn set_ino(&self, ino: u64) {
        self.enter_table(ino);
    }

    fn listen(&self, backlog: usize, creds: Ucred) -> Result<(), Errno> {
        self.start_listening(backlog, creds)
    }

    fn try_accept(&self) -> Result<Arc<dyn Socket>, Stop> {
        Ok(self.accept()?)
    }

    fn try_send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        if message.flags.contains(MsgFlags::OOB) && self.kind != SocketType::Stream {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match self.kind {
            SocketType::Stream => self.send_bytes(from, message),
            SocketType::Datagram | SocketType::SeqPacket | SocketType::Raw => {
                self.send_message(from, message)
            }
        }
    }

    fn try_receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        if flags.contains(MsgFlags::OOB) && self.kind != SocketType::Stream {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN.into());
        }
        self.receive(to, flags)
    }

    fn lose_next(&self) {
        if self.kind != SocketType::Stream {
            let lost = self.inbox.lock().lose_next();
            drop(lost);
            self.drained.wake_all();
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let (receive, send) = (how != Shutdown::Write, how != Shutdown::Read);
        let mut state = self.state.lock();
        state.no_receive |= receive;
        state.no_send |= send;
        let peer = state.peer.upgrade();
        drop(state);
        self.wake_all();
        if let Some(peer) = peer.filter(|_| self.is_connection_based()) {
            peer.close_sides(send, receive, None);
        }
        Ok(())
    }

    fn local(&self) -> Address {
        Address::Unix(self.state.lock().name.clone())
    }

    fn peer(&self) -> Result<Address, Errno> {
        let peer = {
            let state = self.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return Err(Errno::ENOTCONN);
            }
            state.peer.upgrade()
        };
        let peer = peer.ok_or(Errno::ENOTCONN)?;
        let name = peer.state.lock().name.clone();
        Ok(Address::Unix(name))
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn set_owner(&self, owner: Option<async_io::Send>) {
        let old = core::mem::replace(&mut self.state.lock().owner, owner);
        drop(old);
    }

    fn filter(&self) -> &Slot {
        &self.filter
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        self.poll_socket(table)
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        let value = match command {
            FIONREAD => {
                if matches!(self.state.lock().phase, Phase::Listening { .. }) {
                    return Err(Errno::EINVAL);
                }
                self.inbox.lock().readable_bytes(self.kind == SocketType::Stream)
            }
            TIOCOUTQ => {
                let peer = self.state.lock().peer.upgrade();
                peer.map_or(0, |peer| peer.inbox.lock().used())
            }
            SIOCATMARK => usize::from(self.inbox.lock().is_at_mark()),
            _ => return Err(Errno::ENOTTY),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &value)?;
        Ok(0)
    }

    fn released(&self) {
        self.leave_table();
        self.close();
        rights::collect();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
