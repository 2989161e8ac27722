//! UDP (udp(7)): within the sandbox a datagram is queued at the socket that it is for; [`wire`] has the others.

mod lite;
mod transfer;
mod wire;

use super::STATE;
use super::base::Base;
use super::buffer::Buffer;
use super::checksum::Sum;
use super::datagram::{Ends, Inbox};
use super::endpoint::{Endpoint, Family, Local};
use super::frame::Label;
use super::ip::icmp::Trouble;
use super::ip::{ICMP, ICMPV6};
use super::link::Checksum;
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::filter::Slot;
use crate::net::socket::{Incoming, MsgFlags, Outgoing, PeekOffset, Shutdown, Socket, SocketType, Ucred};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::any::Any;
use core::sync::atomic::Ordering;
use lite::Coverage;

const SOL_SOCKET: i32 = 1;
const SO_ERROR: i32 = 4;
const SO_PEEK_OFF: i32 = 42;
const SOL_UDP: i32 = 17;
const UDP_CORK: i32 = 1;

struct State {
    local: Option<Local>,
    /// bind(2) chose the address, and the port.
    is_bound: bool,
    remote: Option<Endpoint>,
    error: Option<Errno>,
    no_receive: bool,
    no_send: bool,
    /// `UDP_CORK`.
    cork: bool,
    /// What `MSG_MORE` or `UDP_CORK` holds back, and where it is to go.
    pending: Option<(Endpoint, Buffer)>,
    coverage: Coverage,
}

/// A UDP socket.
pub(super) struct Udp {
    me: Weak<Self>,
    pub(super) base: Base,
    state: SpinLock<State>,
    pub(super) inbox: Inbox,
}

impl Udp {
    pub(super) fn new(base: Base) -> Arc<Self> {
        let state = State {
            local: None,
            is_bound: false,
            remote: None,
            error: None,
            no_receive: false,
            no_send: false,
            cork: false,
            pending: None,
            coverage: Coverage::default(),
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            base,
            state: SpinLock::new(STATE, state),
            inbox: Inbox::new(),
        })
    }

    /// Own and other address, and whether it is connected, for tables.
    pub(super) fn describe(&self) -> (Endpoint, Endpoint, bool) {
        let state = self.state.lock();
        let local = state.local.map_or(self.base.unspecified(), |local| local.at);
        let none = Endpoint::new(
            if local.ip.is_ipv4() {
                super::Family::V4.unspecified()
            } else {
                super::Family::V6.unspecified()
            },
            0,
        );
        (local, state.remote.unwrap_or(none), state.remote.is_some())
    }

    /// Takes a port, any one when `local` has none.
    fn take_port(&self, mut local: Local, none_left: Errno) -> Result<Local, Errno> {
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let range = self.base.stack.sysctls.port_range();
        let mut ports = self.ports().lock();
        if local.at.port == 0 {
            local.at.port = ports.bind_any(local, range, sharing, &self.me).ok_or(none_left)?;
        } else if !ports.bind(local, sharing, &self.me) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(local)
    }

    /// The socket has a port after this.
    fn bind_any(&self) -> Result<Local, Errno> {
        if let Some(local) = self.state.lock().local {
            return Ok(local);
        }
        let local = self.take_port(self.base.any(0), Errno::EAGAIN)?;
        let mut state = self.state.lock();
        if let Some(other) = state.local {
            drop(state);
            self.ports().lock().release(local.at.port, &self.me);
            return Ok(other);
        }
        state.local = Some(local);
        Ok(local)
    }

    /// Tells the table where the socket is and whom it hears.
    fn tell_table(&self) {
        let (local, remote) = {
            let state = self.state.lock();
            (state.local, state.remote)
        };
        let Some(local) = local else { return };
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        self.ports().lock().change(local.at.port, &self.me, |owner| {
            (owner.local, owner.remote, owner.sharing) = (local, remote, sharing);
        });
    }

    fn disconnect(&self) {
        let mut state = self.state.lock();
        state.remote = None;
        let mut release = None;
        let any = self.base.any(0);
        let is_bound = state.is_bound;
        match &mut state.local {
            Some(local) if !is_bound => {
                release = Some(local.at.port);
                state.local = None;
            }
            Some(local) => local.at.ip = if local.at.ip.is_unspecified() { any.at.ip } else { local.at.ip },
            None => {}
        }
        drop(state);
        match release {
            Some(port) => self.ports().lock().release(port, &self.me),
            None => self.tell_table(),
        }
    }

    /// Something that was sent to `to` met with trouble.
    pub(super) fn heard(&self, to: Endpoint, trouble: &Trouble) {
        let (wants, discovers) = {
            let settings = self.base.settings.lock();
            if to.ip.is_ipv4() {
                (settings.receive_errors, settings.mtu_discover)
            } else {
                (settings.receive_errors6, settings.mtu_discover6)
            }
        };
        let too_long = trouble.errno == Errno::EMSGSIZE;
        if too_long && discovers == 0 {
            return;
        }
        let mut state = self.state.lock();
        let is_told = wants || (state.remote.is_some() && (trouble.is_fatal || too_long));
        if !is_told {
            return;
        }
        state.error = Some(trouble.errno);
        drop(state);
        if wants {
            self.inbox.push_error(*trouble, to);
        }
        self.base.events.wake_all();
    }

    /// Shows the error that a host tells of a datagram which nobody there takes.
    fn show_refusal(&self, own: Endpoint, to: Endpoint, packet: &[u8]) {
        /// Bytes of the datagram that are quoted at most.
        const QUOTED: usize = 548;
        let v4 = to.ip.is_ipv4();
        let (protocol, start) = if v4 { (ICMP, [3, 3]) } else { (ICMPV6, [1, 4]) };
        let mut payload =
            [&start[..], &[0; 6], packet.get(..packet.len().min(QUOTED)).unwrap_or_default()].concat();
        let label = Label { from: to, to: own, protocol, ttl: 64, tos: if v4 { 0xc0 } else { 0 } };
        let sum = if v4 { Sum::new() } else { Sum::pseudo(to.ip, own.ip, protocol, payload.len()) };
        let sum = sum.add(&payload).finish().to_be_bytes();
        if let Some(place) = payload.get_mut(2..4) {
            place.copy_from_slice(&sum);
        }
        self.base.stack.show_looped(&label, &[&payload], Checksum::Unknown);
    }

    /// Nobody in this host takes what was sent to `to`.
    fn refused(&self, to: Endpoint) {
        let (origin, kind, code) = if to.ip.is_ipv4() { (2, 3, 3) } else { (3, 1, 4) };
        let errno = Errno::ECONNREFUSED;
        self.heard(to, &Trouble { errno, is_fatal: true, origin, kind, code, info: 0, offender: to.ip });
    }
}

impl Socket for Udp {
    fn kind(&self) -> (u16, SocketType, i32) {
        (self.base.family_number(), SocketType::Datagram, self.base.protocol)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let local = self.take_port(self.base.local(address)?, Errno::EADDRINUSE)?;
        let mut state = self.state.lock();
        if state.local.is_none() {
            (state.local, state.is_bound) = (Some(local), true);
            return Ok(());
        }
        drop(state);
        self.ports().lock().release(local.at.port, &self.me);
        Err(Errno::EINVAL)
    }

    fn try_connect(&self, address: &Address, _creds: Ucred) -> Result<(), Stop> {
        if matches!(address, Address::Unspecified) {
            self.disconnect();
            return Ok(());
        }
        let to = self.base.destination(address)?;
        let settings = self.base.settings.lock().clone();
        let way = self.base.stack.route(to, &settings)?;
        let to = Endpoint { scope: way.hop.as_ref().map_or(to.scope, |hop| hop.scope(way.to)), ..to };
        if way.cast == super::interface::Cast::Broad && !settings.broadcast {
            return Err(Errno::EACCES.into());
        }
        let mut local = self.bind_any()?;
        if local.at.ip.is_unspecified() {
            local.at.ip = way.source;
            local.at.scope = way.hop.as_ref().map_or(0, |hop| hop.scope(way.source));
        }
        let mut state = self.state.lock();
        (state.local, state.remote) = (Some(local), Some(Endpoint { ip: way.to, ..to }));
        drop(state);
        self.tell_table();
        Ok(())
    }

    fn set_ino(&self, ino: u64) {
        self.base.ino.store(ino, Ordering::Relaxed);
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
        self.inbox.lose_next();
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.no_receive |= how != Shutdown::Write;
        state.no_send |= how != Shutdown::Read;
        let connected = state.remote.is_some();
        drop(state);
        self.base.events.wake_all();
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn local(&self) -> Address {
        let local = self.state.lock().local;
        self.base.family.show(local.map_or(self.base.unspecified(), |local| local.at))
    }

    fn peer(&self) -> Result<Address, Errno> {
        self.state.lock().remote.map(|remote| self.base.family.show(remote)).ok_or(Errno::ENOTCONN)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level == lite::SOL_UDP_LITE && self.is_lite() {
            return self.state.lock().coverage.get(name);
        }
        if level == SOL_UDP {
            return match name {
                UDP_CORK => Ok(i32::from(self.state.lock().cork).to_ne_bytes().to_vec()),
                100..=104 => Ok(0i32.to_ne_bytes().to_vec()),
                _ => Err(Errno::ENOPROTOOPT),
            };
        }
        if matches!((level, name), (0, 14)) || (level, name) == (41, 24) && self.base.family == Family::V6 {
            let remote = self.state.lock().remote;
            return self.base.path_mtu(remote);
        }
        if (level, name) == (SOL_SOCKET, SO_PEEK_OFF) {
            return Ok(self.inbox.peek_offset().0.to_ne_bytes().to_vec());
        }
        let takes_error = (level, name) == (SOL_SOCKET, SO_ERROR);
        let error = if takes_error { self.state.lock().error.take() } else { None };
        let mut facts = self.base.facts(false, false, error);
        self.base.settings.lock().get(level, name, &mut facts)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == lite::SOL_UDP_LITE && self.is_lite() {
            return self.state.lock().coverage.set(name, value);
        }
        if level == SOL_UDP {
            let on = super::settings::number(value)? != 0;
            return match name {
                UDP_CORK => {
                    self.state.lock().cork = on;
                    if on { Ok(()) } else { self.send_pending() }
                }
                _ => Err(Errno::ENOPROTOOPT),
            };
        }
        if (level, name) == (SOL_SOCKET, SO_PEEK_OFF) {
            self.inbox.set_peek_offset(PeekOffset(super::settings::number(value)?));
            return Ok(());
        }
        let is_bound = self.state.lock().local.is_some();
        self.base.set_option(level, name, value, is_bound)?;
        self.tell_table();
        Ok(())
    }

    fn filter(&self) -> &Slot {
        &self.base.filter
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.base.events);
        }
        let state = self.state.lock();
        let (no_receive, no_send) = (state.no_receive, state.no_send);
        self.inbox.poll(&Ends { has_error: state.error.is_some(), no_receive, no_send })
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        self.inbox.ioctl(&self.base, cx, command, argument)
    }

    fn released(&self) {
        let (local, pending) = {
            let mut state = self.state.lock();
            state.no_receive = true;
            (state.local.take(), state.pending.take())
        };
        drop(pending);
        if let Some(local) = local {
            self.ports().lock().release(local.at.port, &self.me);
        }
        self.inbox.clear();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
