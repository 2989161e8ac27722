//! Netlink sockets (netlink(7)): requests to the namespace, answered at once with messages that wait in the socket.
//!
//! [`route`] answers for interfaces, addresses and routes, [`diag`] for sockets; [`events`] tells groups of changes of the
//! former. Joining any other group is allowed and brings nothing.

mod diag;
mod events;
mod message;
mod route;
#[cfg(test)]
mod tests;

use super::address::AF_NETLINK;
use super::socket::{Incoming, MsgFlags, Outgoing, Shutdown, Socket, SocketType, Ucred};
use super::stack::{Maker, NetStack, Privilege};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::filter::{Packet, Slot};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
pub use events::Snapshot;
use message::{Builder, DONE, HEADER, Header, MULTI};

/// Level of the lock of a socket, and of the table of ports below it.
const LEVEL: Level = Level(142);
const PORTS_LEVEL: Level = Level(143);

/// Sizes of buffers: at first, the most that may be asked for, the least.
const DEFAULT_BYTES: i32 = 212_992;
const MOST_BYTES: u32 = 212_992;
const LEAST_SEND: i32 = 4608;
const LEAST_RECEIVE: i32 = 2304;

const ROUTE: i32 = 0;
const SOCK_DIAG: i32 = 4;
const KOBJECT_UEVENT: i32 = 15;
const GENERIC: i32 = 16;

/// `NLM_F_REQUEST`, `NLM_F_ACK`.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// The first kind that is not one of netlink's own.
const FIRST_KIND: u16 = 16;
/// Bytes of one datagram of a dump, as Linux makes them.
const DATAGRAM: usize = 8192;
/// Bytes of one send, and bytes that may wait.
const MAX_SEND: usize = 64 << 10;
const MAX_WAITING: usize = 1 << 20;

const SOL_SOCKET: i32 = 1;
const SOL_NETLINK: i32 = 270;

/// The port ids that are in use in a namespace, by protocol, and its sockets.
pub struct Ports {
    used: SpinLock<BTreeSet<(i32, u32)>>,
    members: SpinLock<Vec<Weak<Netlink>>>,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            used: SpinLock::new(PORTS_LEVEL, BTreeSet::new()),
            members: SpinLock::new(PORTS_LEVEL, Vec::new()),
        }
    }
}

impl Ports {
    /// Takes the port id that is wanted. Whether it was free.
    fn take(&self, protocol: i32, port: u32) -> bool {
        self.used.lock().insert((protocol, port))
    }

    /// Takes `wanted`, or some other one.
    fn take_any(&self, protocol: i32, wanted: u32) -> u32 {
        let mut ports = self.used.lock();
        let mut port = wanted;
        let mut next = u32::MAX - 4096;
        while !ports.insert((protocol, port)) {
            port = next;
            next = next.wrapping_sub(1);
        }
        port
    }

    fn release(&self, protocol: i32, port: u32) {
        self.used.lock().remove(&(protocol, port));
    }
}

#[derive(Default)]
struct State {
    port: Option<u32>,
    /// Groups that it is in, a bit each.
    groups: u64,
    /// Messages, and the mask of the group that each is for.
    queue: VecDeque<(Vec<u8>, u32)>,
    waiting: usize,
    /// Sizes of the buffers to send and receive, as they are told.
    sizes: (i32, i32),
    /// An answer was lost for want of room.
    overrun: bool,
    /// `SOL_NETLINK` options that are on, a bit each.
    options: u32,
}

/// A netlink socket.
pub struct Netlink {
    stack: Arc<dyn NetStack>,
    ports: Arc<Ports>,
    kind: SocketType,
    protocol: i32,
    maker: Maker,
    state: SpinLock<State>,
    filter: Slot,
    readable: WaitQueue,
}

impl Netlink {
    /// See socket(2).
    ///
    /// # Errors
    /// `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`.
    pub fn open(
        stack: Arc<dyn NetStack>,
        ports: Arc<Ports>,
        kind: SocketType,
        protocol: i32,
        maker: Maker,
    ) -> Result<Arc<dyn Socket>, Errno> {
        if !matches!(kind, SocketType::Raw | SocketType::Datagram) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if !matches!(protocol, ROUTE | SOCK_DIAG | KOBJECT_UEVENT | GENERIC) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let state = SpinLock::new(LEVEL, State { sizes: (DEFAULT_BYTES, DEFAULT_BYTES), ..State::default() });
        let readable = WaitQueue::new();
        let socket = Arc::new(Self {
            stack,
            ports: ports.clone(),
            kind,
            protocol,
            maker,
            state,
            filter: Slot::default(),
            readable,
        });
        ports.register(&socket);
        Ok(socket)
    }

    /// The socket's port id, chosen with the first use.
    fn port(&self) -> u32 {
        let mut state = self.state.lock();
        *state.port.get_or_insert_with(|| self.ports.take_any(self.protocol, self.maker.creds.pid))
    }

    fn queue(&self, datagram: Vec<u8>) {
        self.queue_for(datagram, 0);
    }

    fn queue_for(&self, mut datagram: Vec<u8>, group: u32) {
        if self.filter.is_set() {
            match self.filter.judge(&Packet::plain(&datagram)) {
                Some(len) => datagram.truncate(len),
                None => return,
            }
        }
        let mut state = self.state.lock();
        if state.waiting + datagram.len() > MAX_WAITING {
            state.overrun = true;
            return;
        }
        state.waiting += datagram.len();
        state.queue.push_back((datagram, group));
    }

    /// Queues a dump: its messages, as many in a datagram as fit, and the end.
    fn queue_dump(&self, messages: Vec<Vec<u8>>, request: &Header, port: u32) {
        let mut datagram = Vec::new();
        let mut done = Builder::new(DONE, MULTI, request, port);
        done.put(&[0; 4]);
        for message in messages.into_iter().chain([done.finish()]) {
            if !datagram.is_empty() && datagram.len() + message.len() > DATAGRAM {
                self.queue(core::mem::take(&mut datagram));
            }
            datagram.extend_from_slice(&message);
        }
        self.queue(datagram);
    }

    /// Carries out one request.
    fn handle(&self, request: &Header, whole: &[u8]) {
        let port = self.port();
        let body = whole.get(HEADER..).unwrap_or_default();
        let result = match self.protocol {
            ROUTE => {
                let may_change = self.maker.admin == Privilege::Granted;
                route::answer(&*self.stack, request, body, port, may_change)
            }
            SOCK_DIAG if request.kind == diag::BY_FAMILY => {
                diag::dump(&*self.stack, request, body, port).map(route::Answer::Dump)
            }
            GENERIC => Err(Errno::ENOENT),
            _ => Err(Errno::EINVAL),
        };
        let number = match result {
            Ok(route::Answer::Dump(messages)) => return self.queue_dump(messages, request, port),
            Ok(route::Answer::One(message)) => {
                self.queue(message);
                0
            }
            Ok(route::Answer::Done) => 0,
            Err(errno) => errno.number(),
        };
        if number != 0 || request.flags & ACK != 0 {
            self.queue(route::error(request, whole, number, port));
        }
    }

    fn send(&self, from: &mut IoReader<'_>, message: &Outgoing) -> Result<usize, Stop> {
        match message.to {
            None | Some(Address::Netlink(0, _)) => {}
            Some(Address::Netlink(..)) => return Err(Errno::ECONNREFUSED.into()),
            Some(_) => return Err(Errno::EINVAL.into()),
        }
        let (start, len) = (from.done(), from.remaining());
        if len > MAX_SEND {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut bytes = alloc::vec![0; len];
        if from.read(&mut bytes) < len
            && let Some(fault) = from.fault()
        {
            from.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let mut rest = bytes.as_slice();
        while let Some(request) = Header::read(rest) {
            let whole = rest.get(..request.len).unwrap_or_default();
            if request.flags & REQUEST != 0 {
                if request.kind >= FIRST_KIND {
                    self.handle(&request, whole);
                } else if request.flags & ACK != 0 {
                    self.queue(route::error(&request, whole, 0, self.port()));
                }
            }
            rest = rest.get(request.len.next_multiple_of(4)..).unwrap_or_default();
        }
        self.port();
        self.readable.wake_all();
        Ok(len)
    }

    fn receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let mut state = self.state.lock();
        if core::mem::take(&mut state.overrun) {
            return Err(Errno::ENOBUFS.into());
        }
        let (first, group) = state.queue.front().ok_or(Stop::WouldBlock)?;
        let group = *group;
        let start = to.done();
        let (full_len, len) = (first.len(), to.write(first));
        if len < full_len
            && let Some(fault) = to.fault()
        {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let taken = if flags.contains(MsgFlags::PEEK) { None } else { state.queue.pop_front() };
        if taken.is_some() {
            state.waiting = state.waiting.saturating_sub(full_len);
        }
        drop(state);
        drop(taken);
        let mut incoming =
            Incoming { len, full_len, from: Some(Address::Netlink(0, group)), ..Incoming::default() };
        incoming.flags.set(MsgFlags::TRUNC, len < full_len);
        Ok(incoming)
    }
}

impl Socket for Netlink {
    fn kind(&self) -> (u16, SocketType, i32) {
        (AF_NETLINK, self.kind, self.protocol)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let Address::Netlink(port, groups) = address else { return Err(Errno::EINVAL) };
        let known = self.state.lock().port;
        match known {
            Some(known) if *port != 0 && known != *port => return Err(Errno::EINVAL),
            Some(_) => {}
            None if *port == 0 => {
                self.port();
            }
            None => {
                if !self.ports.take(self.protocol, *port) {
                    return Err(Errno::EADDRINUSE);
                }
                self.state.lock().port = Some(*port);
            }
        }
        let mut state = self.state.lock();
        state.groups = state.groups & !0xffff_ffff | u64::from(*groups);
        Ok(())
    }

    fn try_connect(&self, address: &Address, _creds: Ucred) -> Result<(), Stop> {
        match address {
            Address::Unspecified | Address::Netlink(0, _) => {
                self.port();
                Ok(())
            }
            Address::Netlink(..) => Err(Errno::EPERM.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn listen(&self, _backlog: usize, _creds: Ucred) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn try_accept(&self) -> Result<Arc<dyn Socket>, Stop> {
        Err(Errno::EOPNOTSUPP.into())
    }

    fn try_send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        self.send(from, message)
    }

    fn try_receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        self.receive(to, flags)
    }

    fn lose_next(&self) {
        let mut state = self.state.lock();
        if let Some((lost, _)) = state.queue.pop_front() {
            state.waiting = state.waiting.saturating_sub(lost.len());
        }
    }

    fn shutdown(&self, _how: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self) -> Address {
        let state = self.state.lock();
        Address::Netlink(state.port.unwrap_or(0), u32::try_from(state.groups & 0xffff_ffff).unwrap_or(0))
    }

    fn peer(&self) -> Result<Address, Errno> {
        Ok(Address::Netlink(0, 0))
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match (level, name) {
            (SOL_SOCKET, 3) => self.kind.number(),
            (SOL_SOCKET, 4) => 0,
            (SOL_SOCKET, 7) => self.state.lock().sizes.0,
            (SOL_SOCKET, 8) => self.state.lock().sizes.1,
            (SOL_SOCKET, 38) => self.protocol,
            (SOL_SOCKET, 42) => return Err(Errno::EOPNOTSUPP),
            (SOL_SOCKET, 39) => i32::from(AF_NETLINK),
            // NETLINK_LIST_MEMBERSHIPS: groups, as far as there were any.
            (SOL_NETLINK, 9) => {
                let groups = self.state.lock().groups;
                let words = if groups == 0 { 0 } else { 8 };
                return Ok(groups.to_ne_bytes().into_iter().take(words).collect());
            }
            (SOL_NETLINK, 3..=5 | 8 | 10..=12) => {
                i32::from(self.state.lock().options & (1 << name.unsigned_abs()) != 0)
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let number = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        match (level, name) {
            // Buffers: of no effect for what is asked and answered at once.
            (SOL_SOCKET, 7 | 8 | 32 | 33) => {
                let wanted = number.ok_or(Errno::EINVAL)?;
                let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(MOST_BYTES);
                let size = i32::try_from(wanted.saturating_mul(2)).unwrap_or(i32::MAX);
                let mut state = self.state.lock();
                match name {
                    7 | 32 => state.sizes.0 = size.max(LEAST_SEND),
                    _ => state.sizes.1 = size.max(LEAST_RECEIVE),
                }
                Ok(())
            }
            (SOL_SOCKET, 42) if number.is_some() => Err(Errno::EOPNOTSUPP),
            (SOL_SOCKET, _) if number.is_none() => Err(Errno::EINVAL),
            // NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP.
            (SOL_NETLINK, 1 | 2) => {
                let group = u32::try_from(number.ok_or(Errno::EINVAL)?).unwrap_or(0);
                let bit = group.checked_sub(1).and_then(|shift| 1u64.checked_shl(shift));
                let bit = bit.ok_or(Errno::EINVAL)?;
                let mut state = self.state.lock();
                state.groups = if name == 1 { state.groups | bit } else { state.groups & !bit };
                Ok(())
            }
            (SOL_NETLINK, 3..=5 | 8 | 10..=12) => {
                let bit = 1 << name.unsigned_abs();
                let mut state = self.state.lock();
                match number.unwrap_or(0) {
                    0 => state.options &= !bit,
                    _ => state.options |= bit,
                }
                Ok(())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn filter(&self) -> &Slot {
        &self.filter
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.readable);
        }
        let state = self.state.lock();
        let mut mask = PollMask::OUT | PollMask::WRNORM | PollMask::WRBAND;
        mask.set(PollMask::IN | PollMask::RDNORM, !state.queue.is_empty());
        mask.set(PollMask::ERR, state.overrun);
        mask
    }

    fn ioctl(&self, _cx: &IoctlCx<'_>, _command: u32, _argument: u64) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn released(&self) {
        if let Some(port) = self.state.lock().port.take() {
            self.ports.release(self.protocol, port);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
