//! TCP (tcp(7)).
//!
//! A connection is a [`Link`] at each of its sockets. Within the sandbox that is two [`flow::Flow`]s, one for each direction,
//! and a [`table::Pair`] that says how far it has ended ([`Near`]). Nothing is lost or delayed between them, so there are no
//! segments, no acknowledgements and no retransmission; what programs can see of the protocol's states is kept as Linux
//! shows it. To other hosts it is a [`wire::Connection`], with all of these.

mod close;
mod connect;
mod flow;
mod listen;
mod options;
mod shown;
mod table;
mod transfer;
mod urgent;
mod wire;

use super::STATE;
use super::base::Base;
use super::endpoint::{Endpoint, Local};
use crate::abi::Errno;
use crate::fs::async_io;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::filter::Slot;
use crate::net::socket::{Incoming, MsgFlags, Outgoing, Shutdown, Socket, SocketType, Ucred};
use crate::time::{Expire, Timer};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::any::Any;
use core::sync::atomic::Ordering;
use flow::Flow;
use listen::Listener;
use options::Options;
pub(super) use table::Table;
use table::{Pair, Tuple};
use wire::Connection;
#[cfg(test)]
pub(super) use wire::Engine;

/// One side of a connection.
struct Link {
    tuple: Tuple,
    carrier: Carrier,
}

/// What carries a connection's bytes.
enum Carrier {
    Near(Near),
    Wire(Arc<Connection>),
}

/// One side of a connection within the sandbox.
struct Near {
    /// What this side sends, and what it receives.
    tx: Arc<Flow>,
    rx: Arc<Flow>,
    peer: Weak<Tcp>,
    pair: Arc<Pair>,
    /// This side's index in the pair.
    index: usize,
}

/// Where a socket is in its life.
enum Phase {
    /// Not connected.
    Closed,
    /// connect(2) is at work.
    Connecting,
    /// The listener has no room yet: until when it is tried.
    SynSent(Endpoint),
    /// SYN was sent over a wire.
    Handshake(Arc<Link>),
    Listening(Listener),
    /// Connected, or half closed.
    Open(Arc<Link>),
    /// The connection is over; what came before can still be received.
    Over(Arc<Link>),
}

/// States as `/proc/net/tcp` and `TCP_INFO` number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TcpState {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

struct State {
    phase: Phase,
    local: Option<Local>,
    /// bind(2) chose the port: it stays when the connection ends.
    is_explicit: bool,
    /// `sk_err`.
    error: Option<Errno>,
    no_receive: bool,
    no_send: bool,
    /// A connect that did not wait has not been told of its end.
    is_connecting: bool,
    options: Options,
    timer: Option<Timer>,
    /// Who gets `SIGURG`.
    owner: Option<async_io::Send>,
}

/// A TCP socket.
pub(super) struct Tcp {
    me: Weak<Self>,
    pub(super) base: Base,
    state: SpinLock<State>,
}

impl Tcp {
    pub(super) fn new(base: Base) -> Arc<Self> {
        Self::with(base, Phase::Closed, None, Options::default())
    }

    fn with(base: Base, phase: Phase, local: Option<Local>, options: Options) -> Arc<Self> {
        let state = State {
            phase,
            local,
            is_explicit: false,
            error: None,
            no_receive: false,
            no_send: false,
            is_connecting: false,
            options,
            timer: None,
            owner: None,
        };
        Arc::new_cyclic(|me| Self { me: me.clone(), base, state: SpinLock::new(STATE, state) })
    }

    /// Its addresses, state, bytes that wait to be sent and received, for tables.
    pub(super) fn describe(&self) -> (Endpoint, Endpoint, TcpState, usize, usize) {
        let state = self.state.lock();
        let local = state.local.map_or(self.base.unspecified(), |local| local.at);
        let none = Endpoint::new(local.ip, 0);
        let unspecified = Endpoint {
            ip: if local.ip.is_ipv4() { super::endpoint::Family::V4 } else { super::endpoint::Family::V6 }
                .unspecified(),
            ..none
        };
        match &state.phase {
            Phase::Open(link) | Phase::Over(link) => {
                let (own, peer) = link.tuple;
                (own, peer, state.tcp_state(), link.unsent(), link.received().1)
            }
            Phase::Handshake(link) => (link.tuple.0, link.tuple.1, state.tcp_state(), 0, 0),
            Phase::Listening(listener) => {
                (local, unspecified, TcpState::Listen, listener.backlog, listener.waiting())
            }
            Phase::SynSent(to) => (local, *to, TcpState::SynSent, 0, 0),
            Phase::Closed | Phase::Connecting => (local, unspecified, TcpState::Close, 0, 0),
        }
    }

    fn poll_socket(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.base.events);
        }
        let state = self.state.lock();
        let mut mask = PollMask::empty();
        let readable = PollMask::IN | PollMask::RDNORM;
        let writable = PollMask::OUT | PollMask::WRNORM;
        mask.set(PollMask::ERR, state.error.is_some());
        let (link, is_over) = match &state.phase {
            Phase::Listening(listener) => {
                mask.set(readable, listener.waiting() > 0);
                return mask;
            }
            Phase::SynSent(_) | Phase::Handshake(_) | Phase::Connecting => return mask,
            Phase::Closed => (None, true),
            Phase::Open(link) => (Some(link), false),
            Phase::Over(link) => (Some(link), true),
        };
        let (fin, waiting) = link.map_or((false, 0), |link| link.received());
        let ended = state.no_receive || fin;
        mask.set(PollMask::HUP, is_over || (ended && state.no_send));
        mask.set(readable | PollMask::RDHUP, ended);
        let (low_water, inline) = {
            let settings = self.base.settings.lock();
            (settings.low_water, settings.oob_inline)
        };
        let mark = link.and_then(|link| link.mark());
        mask.set(PollMask::PRI, mark.is_some_and(|mark| mark.waits));
        let at_mark = !inline && mark.is_some_and(|mark| mark.ahead == 0);
        let waiting = waiting.saturating_sub(usize::from(at_mark));
        mask.set(readable, ended || (waiting > 0 && waiting >= low_water));
        let can_send = state.no_send || link.is_none_or(|link| link.is_writable());
        mask.set(writable, can_send);
        mask
    }
}

impl State {
    fn tcp_state(&self) -> TcpState {
        match &self.phase {
            Phase::Closed | Phase::Connecting | Phase::Over(_) => TcpState::Close,
            Phase::SynSent(_) => TcpState::SynSent,
            Phase::Listening(_) => TcpState::Listen,
            Phase::Open(link) | Phase::Handshake(link) => link.state(),
        }
    }

    fn link(&self) -> Option<&Arc<Link>> {
        match &self.phase {
            Phase::Open(link) | Phase::Over(link) => Some(link),
            _ => None,
        }
    }
}

impl Link {
    fn near(&self) -> Option<&Near> {
        match &self.carrier {
            Carrier::Near(near) => Some(near),
            Carrier::Wire(_) => None,
        }
    }

    /// Whether it is that connection's.
    fn is(&self, connection: &Connection) -> bool {
        matches!(&self.carrier, Carrier::Wire(own) if core::ptr::eq(Arc::as_ptr(own), connection))
    }

    fn state(&self) -> TcpState {
        match &self.carrier {
            Carrier::Near(near) => match (near.tx.ended().0, near.rx.ended().0) {
                (false, false) => TcpState::Established,
                (true, false) => TcpState::FinWait2,
                (false, true) => TcpState::CloseWait,
                (true, true) => TcpState::Close,
            },
            Carrier::Wire(connection) => match connection.state() {
                // The socket is not what waits.
                TcpState::TimeWait => TcpState::Close,
                state => state,
            },
        }
    }

    /// Whether the other side has ended it, and bytes that wait to be received.
    fn received(&self) -> (bool, usize) {
        match &self.carrier {
            Carrier::Near(near) => near.rx.ended(),
            Carrier::Wire(connection) => connection.received(),
        }
    }

    /// Bytes that the other side does not have yet.
    fn unsent(&self) -> usize {
        match &self.carrier {
            Carrier::Near(near) => near.tx.figures().unsent,
            Carrier::Wire(connection) => connection.unsent().0,
        }
    }

    fn is_writable(&self) -> bool {
        match &self.carrier {
            Carrier::Near(near) => near.tx.is_writable(),
            Carrier::Wire(connection) => connection.is_writable(),
        }
    }
}

impl Socket for Tcp {
    fn kind(&self) -> (u16, SocketType, i32) {
        (self.base.family_number(), SocketType::Stream, self.base.protocol)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        self.bind_to(address)
    }

    fn try_connect(&self, address: &Address, _creds: Ucred) -> Result<(), Stop> {
        self.connect(address)
    }

    fn is_connecting(&self) -> Option<bool> {
        Some(self.state.lock().is_connecting)
    }

    fn set_ino(&self, ino: u64) {
        self.base.ino.store(ino, Ordering::Relaxed);
    }

    fn listen(&self, backlog: usize, _creds: Ucred) -> Result<(), Errno> {
        self.start_listening(backlog)
    }

    fn try_accept(&self) -> Result<Arc<dyn Socket>, Stop> {
        Ok(self.accept()?)
    }

    fn try_send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        self.send(from, message)
    }

    fn try_receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        self.receive(to, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.shut_down(how)
    }

    fn local(&self) -> Address {
        let local = self.state.lock().local;
        self.base.family.show(local.map_or(self.base.unspecified(), |local| local.at))
    }

    fn peer(&self) -> Result<Address, Errno> {
        match &self.state.lock().phase {
            Phase::Open(link) if link.state() != TcpState::Close => Ok(self.base.family.show(link.tuple.1)),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn filter(&self) -> &Slot {
        &self.base.filter
    }

    fn runs_filter(&self) -> bool {
        false
    }

    fn set_owner(&self, owner: Option<async_io::Send>) {
        Self::set_owner(self, owner);
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        self.poll_socket(table)
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        self.control(cx, command, argument)
    }

    fn begin_lingering(&self) -> Option<u64> {
        self.linger()
    }

    fn has_lingered(&self) -> bool {
        self.is_drained()
    }

    fn released(&self) {
        self.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Expire for Tcp {
    fn expired(&self, now_ns: u64) {
        self.connect_timed_out();
        self.requests_due(now_ns);
    }
}
