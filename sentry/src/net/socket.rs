//! [`Socket`]: what every address family implements, and [`SocketFile`], the stream behind a socket's descriptor.
//!
//! Sockets never sleep: they offer `try_*` operations, as streams do.

use super::address::Address;
use super::filter::Slot;
use super::options::Kept;
use crate::abi::Errno;
use crate::fs::async_io;
use crate::fs::stream::{IoctlCx, StreamKind};
use crate::fs::{Attr, FileBody, OpenFile, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

const SOL_SOCKET: i32 = 1;

/// `SOCK_STREAM` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// Bytes in order.
    Stream,
    /// Messages, each for itself.
    Datagram,
    /// Packets of a protocol below.
    Raw,
    /// Messages in order over a connection.
    SeqPacket,
}

impl SocketType {
    /// The `SOCK_*` number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Stream => 1,
            Self::Datagram => 2,
            Self::Raw => 3,
            Self::SeqPacket => 5,
        }
    }
}

bitflags! {
    /// `MSG_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        /// `MSG_OOB`.
        const OOB = 1;
        /// `MSG_PEEK`.
        const PEEK = 2;
        /// `MSG_CTRUNC`.
        const CTRUNC = 8;
        /// `MSG_TRUNC`.
        const TRUNC = 0x20;
        /// `MSG_DONTWAIT`.
        const DONTWAIT = 0x40;
        /// `MSG_EOR`.
        const EOR = 0x80;
        /// `MSG_WAITALL`.
        const WAITALL = 0x100;
        /// `MSG_ERRQUEUE`.
        const ERRQUEUE = 0x2000;
        /// `MSG_NOSIGNAL`.
        const NOSIGNAL = 0x4000;
        /// `MSG_MORE`.
        const MORE = 0x8000;
        /// `MSG_WAITFORONE`.
        const WAITFORONE = 0x1_0000;
        /// `MSG_CMSG_CLOEXEC`.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct ucred`: who a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ucred {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Ucred {
    /// As user space sees it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (to, from) in bytes.chunks_exact_mut(4).zip([self.pid, self.uid, self.gid]) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }
}

/// What goes with the bytes of a message that is sent.
#[derive(Default)]
pub struct Outgoing {
    /// Where to, for sockets that are not connected.
    pub to: Option<Address>,
    /// Descriptors (`SCM_RIGHTS`).
    pub rights: Vec<Arc<OpenFile>>,
    /// Real user id of who sends, to whom descriptors under way are counted.
    pub user: u32,
    /// Who sends.
    pub creds: Ucred,
    /// The sender gave credentials (`SCM_CREDENTIALS`).
    pub tells_creds: bool,
    /// `MSG_*`.
    pub flags: MsgFlags,
    /// Control messages of the family's own.
    pub control: Vec<Control>,
}

/// A control message of a family's own level (cmsg(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// What follows the header.
    pub data: Vec<u8>,
}

/// What goes with the bytes of a message that was received.
#[derive(Default)]
pub struct Incoming {
    /// Bytes put into the buffer.
    pub len: usize,
    /// Bytes of the message, more than `len` when it was cut off.
    pub full_len: usize,
    /// Where from.
    pub from: Option<Address>,
    /// Descriptors (`SCM_RIGHTS`).
    pub rights: Vec<Arc<OpenFile>>,
    /// Who sent it, when that is asked for (`SO_PASSCRED`).
    pub creds: Option<Ucred>,
    /// `MSG_TRUNC` and the like.
    pub flags: MsgFlags,
    /// Control messages of the family's own.
    pub control: Vec<Control>,
}

/// Sides of a connection that shutdown(2) closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// A socket of some address family.
pub trait Socket: Send + Sync {
    /// `AF_*`, type, protocol.
    fn kind(&self) -> (u16, SocketType, i32);

    /// See bind(2).
    ///
    /// # Errors
    /// `EINVAL` when it is bound, `EADDRINUSE`, `EAFNOSUPPORT`.
    fn bind(&self, address: &Address) -> Result<(), Errno>;

    /// See connect(2); `creds` are the caller's.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `EISCONN`, `EPROTOTYPE`; [`Stop::WouldBlock`] until the other side can take it.
    fn try_connect(&self, address: &Address, creds: Ucred) -> Result<(), Stop>;

    /// A connect that did not wait is under way, so that a further one is `EALREADY`; `None` where connect(2) has no such
    /// state and would answer `EAGAIN`.
    fn is_connecting(&self) -> Option<bool> {
        None
    }

    /// Tells the inode number of the descriptor's stream.
    fn set_ino(&self, ino: u64) {
        let _ = ino;
    }

    /// Where a connect that would block waits, when that is not at this socket.
    fn connect_source(&self, address: &Address) -> Option<Arc<dyn crate::wait::Pollable + Send + Sync>> {
        let _ = address;
        None
    }

    /// See listen(2); `creds` are the caller's.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`.
    fn listen(&self, backlog: usize, creds: Ucred) -> Result<(), Errno>;

    /// See accept(2).
    ///
    /// # Errors
    /// `EINVAL` when it does not listen, `EOPNOTSUPP`.
    fn try_accept(&self) -> Result<Arc<dyn Socket>, Stop>;

    /// See sendmsg(2). What was taken of `message` on success is gone from it.
    ///
    /// # Errors
    /// As sendmsg(2).
    fn try_send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop>;

    /// See recvmsg(2).
    ///
    /// # Errors
    /// As recvmsg(2).
    fn try_receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop>;

    /// The next message could not be copied to where a receiver wanted it: datagrams are lost by that.
    fn lose_next(&self) {}

    /// See shutdown(2).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn shutdown(&self, how: Shutdown) -> Result<(), Errno>;

    /// See getsockname(2).
    fn local(&self) -> Address;

    /// See getpeername(2).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn peer(&self) -> Result<Address, Errno>;

    /// See getsockopt(2), for options that are not the same for all families.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno>;

    /// See setsockopt(2), for options that are not the same for all families.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`.
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno>;

    /// Who gets `SIGURG` (`F_SETOWN` of fcntl(2)).
    fn set_owner(&self, owner: Option<async_io::Send>) {
        drop(owner);
    }

    /// Where a filter of what comes in can be put (`SO_ATTACH_FILTER`).
    fn filter(&self) -> &Slot;

    /// Whether what it receives goes through the filter: where it does not, none can be attached.
    fn runs_filter(&self) -> bool {
        true
    }

    /// What is ready.
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask;

    /// Device-specific commands.
    ///
    /// # Errors
    /// `ENOTTY`.
    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno>;

    /// The last descriptor is about to be closed by close(2), which waits so long for what was sent (`SO_LINGER`): `None`
    /// when it does not. The connection ends with this.
    fn begin_lingering(&self) -> Option<u64> {
        None
    }

    /// Whether nothing is left to wait for.
    fn has_lingered(&self) -> bool {
        true
    }

    /// The last descriptor was closed.
    fn released(&self);

    /// For `downcast_ref` to the family's own type.
    fn as_any(&self) -> &dyn Any;
}

/// `SO_PEEK_OFF`: where the next peek begins; negative when peeks begin at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekOffset(pub i32);

impl Default for PeekOffset {
    fn default() -> Self {
        Self(-1)
    }
}

impl PeekOffset {
    /// Bytes that a receiver with these flags skips.
    #[must_use]
    pub fn skip(self, flags: MsgFlags) -> usize {
        if flags.contains(MsgFlags::PEEK) { usize::try_from(self.0).unwrap_or(0) } else { 0 }
    }

    /// Notes that so many bytes were peeked at.
    pub fn peeked(&mut self, len: usize) {
        if self.0 >= 0 {
            self.0 = self.0.saturating_add(i32::try_from(len).unwrap_or(i32::MAX));
        }
    }

    /// Notes that so many bytes were taken.
    pub fn taken(&mut self, len: usize) {
        if self.0 >= 0 {
            self.0 = self.0.saturating_sub(i32::try_from(len).unwrap_or(i32::MAX)).max(0);
        }
    }
}

/// Options that the socket layer keeps for every family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeouts {
    /// `SO_RCVTIMEO` in ns, 0 for none.
    pub receive_ns: u64,
    /// `SO_SNDTIMEO` in ns, 0 for none.
    pub send_ns: u64,
}

/// The stream behind a socket's descriptor.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    timeouts: SpinLock<Timeouts>,
    kept: SpinLock<Kept>,
    /// Who made it. Messages of write(2) say so; those of sendmsg(2) and its like tell their caller.
    maker: Ucred,
    ino: u64,
}

impl SocketFile {
    /// A stream for a socket that `maker` made.
    #[must_use]
    pub fn new(socket: Arc<dyn Socket>, maker: Ucred) -> Arc<Self> {
        let timeouts = SpinLock::new(Level(146), Timeouts::default());
        let kept = SpinLock::new(Level(146), Kept::default());
        let ino = anon::next_ino();
        socket.set_ino(ino);
        Arc::new(Self { socket, timeouts, kept, maker, ino })
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        *self.timeouts.lock()
    }

    /// getsockopt(2) with room for so many bytes.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn option(&self, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
        const SO_PEERNAME: i32 = 28;
        const SOL_NETLINK: i32 = 270;
        const LIST_MEMBERSHIPS: i32 = 9;
        match self.socket.option(level, name) {
            Err(Errno::ENOPROTOOPT) if (level, name) == (SOL_SOCKET, SO_PEERNAME) => {
                let peer = self.socket.peer()?.to_bytes();
                peer.get(..room).map(<[u8]>::to_vec).ok_or(Errno::EINVAL)
            }
            Err(Errno::ENOPROTOOPT) if level == SOL_SOCKET => self.kept.lock().get(name, room),
            // Netlink wants room for the whole.
            Ok(_) if level == SOL_NETLINK && name != LIST_MEMBERSHIPS && room < size_of::<i32>() => {
                Err(Errno::EINVAL)
            }
            other => other,
        }
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match self.socket.set_option(level, name, value) {
            Err(Errno::ENOPROTOOPT) if level == SOL_SOCKET => self.kept.lock().set(name, value),
            other => other,
        }
    }

    /// Sets the timeouts.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        *self.timeouts.lock() = timeouts;
    }
}

/// The socket behind an open file.
///
/// # Errors
/// `ENOTSOCK` when it is none.
pub fn of(file: &OpenFile) -> Result<&SocketFile, Errno> {
    match file.body() {
        FileBody::Stream(stream, _) => stream.as_any().downcast_ref().ok_or(Errno::ENOTSOCK),
        _ => Err(Errno::ENOTSOCK),
    }
}

impl Stream for SocketFile {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        Ok(self.socket.try_receive(to, MsgFlags::empty())?.len)
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        self.socket.try_send(from, &mut Outgoing { creds: self.maker, ..Outgoing::default() })
    }

    fn kind(&self) -> StreamKind {
        StreamKind::Socket
    }

    fn timeouts_ns(&self) -> (u64, u64) {
        let timeouts = self.timeouts();
        (timeouts.receive_ns, timeouts.send_ns)
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        self.socket.poll(table)
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        self.socket.ioctl(cx, command, argument)
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o140_777)
    }

    fn name(&self) -> String {
        format!("socket:[{}]", self.ino)
    }

    fn released(&self) {
        self.socket.released();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
