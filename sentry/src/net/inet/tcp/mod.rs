//! TCP (tcp(7)) between sockets of the sandbox.
//!
//! A connection is a [`Link`] at each of two sockets: two [`flow::Flow`]s, one for each direction, and a [`table::Pair`]
//! that says how far it has ended. Nothing is lost or delayed between them, so there are no segments, no acknowledgements and
//! no retransmission; what programs can see of the protocol's states is kept as Linux shows it. A connection over a wire
//! will be another kind of link with the same two flows, filled and drained by segments.

mod close;
mod connect;
mod flow;
mod listen;
mod options;
mod table;
mod transfer;

use super::STATE;
use super::base::Base;
use super::endpoint::{Endpoint, Local};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
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

/// One side of a connection.
struct Link {
    tuple: Tuple,
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
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    Listen = 10,
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
                let unsent = link.tx.figures().unsent;
                (own, peer, state.tcp_state(), unsent, link.rx.figures().waiting)
            }
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
            Phase::SynSent(_) | Phase::Connecting => return mask,
            Phase::Closed => (None, true),
            Phase::Open(link) => (Some(link), false),
            Phase::Over(link) => (Some(link), true),
        };
        let (fin, waiting) = link.map_or((false, 0), |link| link.rx.ended());
        let ended = state.no_receive || fin;
        mask.set(PollMask::HUP, is_over || (ended && state.no_send));
        mask.set(readable | PollMask::RDHUP, ended);
        let low_water = self.base.settings.lock().low_water;
        mask.set(readable, ended || (waiting > 0 && waiting >= low_water));
        let can_send = state.no_send || link.is_none_or(|link| link.tx.is_writable());
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
            Phase::Open(link) => match (link.tx.ended().0, link.rx.ended().0) {
                (false, false) => TcpState::Established,
                (true, false) => TcpState::FinWait2,
                (false, true) => TcpState::CloseWait,
                (true, true) => TcpState::Close,
            },
        }
    }

    fn link(&self) -> Option<&Arc<Link>> {
        match &self.phase {
            Phase::Open(link) | Phase::Over(link) => Some(link),
            _ => None,
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
            Phase::Open(link) if !(link.tx.ended().0 && link.rx.ended().0) => {
                Ok(self.base.family.show(link.tuple.1))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        self.poll_socket(table)
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        self.control(cx, command, argument)
    }

    fn released(&self) {
        self.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl super::Stack {
    /// Takes a segment from a card in.
    pub(super) fn take_segment(&self, _packet: &super::ip::Inbound<'_>, _trusts: bool, _now_ns: u64) {}

    /// A segment that was sent met with trouble.
    pub(super) fn tcp_trouble(
        &self,
        _own: Endpoint,
        _other: Endpoint,
        _sequence: u32,
        _trouble: super::ip::icmp::Trouble,
    ) {
    }

    /// A batch of frames is over.
    pub(super) fn end_batch(&self) {}
}

impl Expire for Tcp {
    fn expired(&self, _now_ns: u64) {
        self.connect_timed_out();
    }
}
