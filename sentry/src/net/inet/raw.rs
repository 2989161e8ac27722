//! [`Raw`]: raw sockets (raw(7)), and ping sockets: datagram sockets of ICMP (icmp(7)).
//!
//! They send and receive packets of ICMP and of protocols without sockets of their own. What TCP and UDP sockets send each
//! other is no packet and not seen here.

use super::Stack;
use super::base::Base;
use super::buffer::{self};
use super::datagram::{self, Datagram, Ends, Inbox};
use super::endpoint::{Endpoint, Family, Local};
use super::frame::HARDWARE;
use super::interface::{Cast, LOOPBACK};
use super::ip;
use super::ip::icmp::Trouble;
use super::ip::output::{Envelope, Fitting};
use super::packet::Packet;
use super::plan::Hop;
use super::settings::Settings;
use super::{ICMP, ICMPV6, STATE};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::filter::{self, Facts, Slot};
use crate::net::socket::{Incoming, MsgFlags, Outgoing, Shutdown, Socket, SocketType, Ucred};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::any::Any;
use core::net::IpAddr;
use core::sync::atomic::Ordering;

const SOL_SOCKET: i32 = 1;
const SO_ERROR: i32 = 4;
const SOL_RAW: i32 = 255;
const SOL_ICMPV6: i32 = 58;
/// `IPPROTO_RAW`: only sends, whole packets.
const ANY_PROTOCOL: i32 = 255;
const MAX_PACKET: usize = 65_535;

struct State {
    local: Option<Local>,
    remote: Option<Endpoint>,
    error: Option<Errno>,
    no_receive: bool,
    no_send: bool,
    /// `ICMP_FILTER` or `ICMP6_FILTER`: types that are not wanted.
    filter: [u32; 8],
}

/// A raw or ping socket.
pub(super) struct Raw {
    me: Weak<Self>,
    pub(super) base: Base,
    state: SpinLock<State>,
    inbox: Inbox,
}

impl Raw {
    pub(super) fn new(base: Base) -> Arc<Self> {
        let state = State {
            local: None,
            remote: None,
            error: None,
            no_receive: false,
            no_send: false,
            filter: [0; 8],
        };
        let socket = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            base,
            state: SpinLock::new(STATE, state),
            inbox: Inbox::new(),
        });
        socket.base.settings.lock().header_included = socket.base.protocol == ANY_PROTOCOL;
        socket.base.stack.raw.lock().push(socket.me.clone());
        socket.base.stack.raw_count.fetch_add(1, Ordering::Relaxed);
        socket.base.stack.observers.fetch_add(1, Ordering::Relaxed);
        socket
    }

    fn is_ping(&self) -> bool {
        self.base.kind == SocketType::Datagram
    }

    /// Own and other address, for tables; of a raw socket the port is the protocol.
    pub(super) fn describe(&self) -> (Endpoint, Endpoint, usize, u64) {
        let state = self.state.lock();
        let mut local = state.local.map_or(self.base.unspecified(), |local| local.at);
        if !self.is_ping() {
            local.port = u16::try_from(self.base.protocol).unwrap_or(0);
        }
        let (used, drops) = self.inbox.figures();
        (local, state.remote.unwrap_or(self.base.unspecified()), used, drops)
    }

    /// A ping socket's identifier, chosen with the first use.
    fn identifier(&self, wanted: u16) -> u16 {
        let known = self.state.lock().local;
        if let Some(local) = known.filter(|local| local.at.port != 0) {
            return local.at.port;
        }
        let next = self.base.stack.ping.fetch_add(1, Ordering::Relaxed);
        let chosen = if wanted != 0 { wanted } else { u16::try_from(next % 65_535).unwrap_or(0) + 1 };
        let mut local = known.unwrap_or_else(|| self.base.any(0));
        local.at.port = chosen;
        self.state.lock().local = Some(local);
        chosen
    }

    /// Whether a packet is for this socket.
    fn takes(&self, packet: &Packet) -> bool {
        let state = self.state.lock();
        let family = if packet.to.ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let here = state.local.is_none_or(|local| local.fits(packet.to.ip).is_some());
        let there = state.remote.is_none_or(|remote| remote.ip == packet.from.ip);
        if family != self.base.family || packet.protocol != self.base.protocol || !here || !there {
            return false;
        }
        if self.is_ping() {
            let own = state.local.map(|local| local.at.port);
            return packet.echo_id().is_some_and(|id| Some(id) == own);
        }
        let kind = usize::from(packet.payload.first().copied().unwrap_or(0));
        let is_icmp = matches!(packet.protocol, ICMP | ICMPV6);
        let masked = state.filter.get(kind / 32).is_some_and(|word| word >> (kind % 32) & 1 != 0);
        !(is_icmp && masked)
    }

    /// A packet came. Whether this is a raw socket that takes it.
    pub(super) fn take_in(&self, packet: &Packet) -> bool {
        if !self.takes(packet) {
            return false;
        }
        self.queue(packet);
        !self.is_ping()
    }

    fn queue(&self, packet: &Packet) {
        let with_header = !self.is_ping() && self.base.family == Family::V4;
        let bytes = if with_header { packet.with_header() } else { Some(packet.payload.clone()) };
        let Some(mut bytes) = bytes else { return };
        if self.base.filter.is_set() {
            let protocol = ip::ether_type(packet.to.ip);
            let facts = Facts { protocol, device: Some((LOOPBACK, HARDWARE)), ..Facts::default() };
            let seen = filter::Packet { facts, ..filter::Packet::plain(&bytes) };
            match self.base.filter.judge(&seen) {
                Some(len) => bytes.truncate(len),
                None => return,
            }
        }
        let Ok(data) = buffer::whole(&mut IoReader::kernel(&bytes), &self.base.maker.budget) else { return };
        let from = Endpoint { port: 0, ..packet.from };
        let settings = self.base.settings.lock().clone();
        let limit = settings.receive.bytes;
        let mut datagram = Datagram::new(data, from, packet.to, &settings);
        (datagram.ttl, datagram.tos) = (i32::from(packet.ttl), i32::from(packet.tos));
        if self.inbox.push(datagram, limit) {
            self.base.events.wake_all();
        }
    }

    fn send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let len = from.remaining();
        if len > MAX_PACKET {
            return Err(Errno::EMSGSIZE.into());
        }
        let to = match &message.to {
            Some(address) => self.base.destination(address)?,
            None => self.state.lock().remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        let mut settings = self.base.settings.lock().clone();
        let source = datagram::sent_with(self.base.family, &mut settings, &message.control)?;
        {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error.into());
            }
            if state.no_send {
                return Err(Errno::EPIPE.into());
            }
        }
        if self.is_ping() && len < 8 {
            return Err(Errno::EINVAL.into());
        }
        let way = self.base.stack.route(to, &settings)?;
        if way.cast == Cast::Broad && !settings.broadcast {
            return Err(Errno::EACCES.into());
        }
        let payload = read_all(from)?;
        let local = self.state.lock().local.map(|local| local.at.ip).filter(|ip| !ip.is_unspecified());
        let own = Endpoint::new(source.or(local).unwrap_or(way.source), 0);
        let packet = self.packet(payload, own, Endpoint { ip: way.to, ..to }, &settings)?;
        match &way.hop {
            Some(hop) => self.send_by(hop, &packet, &settings)?,
            None => self.base.stack.take_in(&packet),
        }
        Ok(len)
    }

    /// Sends a packet by a card.
    fn send_by(&self, hop: &Hop, packet: &Packet, settings: &Settings) -> Result<(), Errno> {
        let is_v4 = packet.to.ip.is_ipv4();
        let discover = if is_v4 { settings.mtu_discover } else { settings.mtu_discover6 };
        let envelope = Envelope {
            from: packet.from.ip,
            to: packet.to.ip,
            protocol: u8::try_from(packet.protocol).map_err(|_| Errno::EINVAL)?,
            ttl: packet.ttl,
            tos: packet.tos,
            fitting: Fitting::from_option(discover),
        };
        self.base.stack.send_packet(hop, &envelope, &packet.payload)?;
        hop.card.flush();
        Ok(())
    }

    /// An echo request of this socket met with trouble.
    fn heard(&self, to: IpAddr, id: u16, protocol: i32, trouble: &Trouble) {
        let wants = {
            let settings = self.base.settings.lock();
            if to.is_ipv4() { settings.receive_errors } else { settings.receive_errors6 }
        };
        let mut state = self.state.lock();
        let is_mine = if self.is_ping() {
            state.local.is_some_and(|local| local.at.port == id)
        } else {
            state.remote.is_none_or(|remote| remote.ip == to)
        };
        let is_told = wants || (state.remote.is_some() && trouble.is_fatal);
        if self.base.protocol != protocol || !is_mine || !is_told {
            return;
        }
        state.error = Some(trouble.errno);
        drop(state);
        if wants {
            self.inbox.push_error(*trouble, Endpoint::new(to, 0));
        }
        self.base.events.wake_all();
    }

    /// What goes out for the bytes that a program sent.
    fn packet(
        &self,
        payload: Vec<u8>,
        from: Endpoint,
        to: Endpoint,
        settings: &Settings,
    ) -> Result<Packet, Errno> {
        let model = Datagram::new(buffer::Buffer::new(&self.base.maker.budget), from, to, settings);
        let byte = |value: i32| u8::try_from(value & 0xff).unwrap_or(0);
        let protocol = self.base.protocol;
        let mut packet = Packet { from, to, protocol, ttl: byte(model.ttl), tos: byte(model.tos), payload };
        if settings.header_included && self.base.family == Family::V4 {
            return unwrap_header(packet);
        }
        if self.is_ping() {
            let wanted = if protocol == ICMP { 8 } else { 128 };
            if packet.payload.first() != Some(&wanted) || packet.payload.get(1) != Some(&0) {
                return Err(Errno::EINVAL);
            }
            let id = self.identifier(0).to_be_bytes();
            if let Some(place) = packet.payload.get_mut(4..6) {
                place.copy_from_slice(&id);
            }
        }
        if self.is_ping() || protocol == ICMPV6 {
            packet.seal_icmp();
        }
        Ok(packet)
    }
}

impl Stack {
    /// An ICMP message that was sent met with trouble.
    pub(super) fn raw_trouble(&self, to: IpAddr, id: u16, protocol: i32, trouble: Trouble) {
        let sockets: Vec<_> = self.raw.lock().iter().filter_map(|socket| socket.upgrade()).collect();
        sockets.iter().for_each(|socket| socket.heard(to, id, protocol, &trouble));
    }
}

/// All bytes of a message.
fn read_all(from: &mut IoReader<'_>) -> Result<Vec<u8>, Stop> {
    let start = from.done();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(from.remaining()).map_err(|_| Errno::ENOBUFS)?;
    bytes.resize(from.remaining(), 0);
    let done = from.read(&mut bytes);
    if done < bytes.len()
        && let Some(fault) = from.fault()
    {
        from.rewind(start);
        return Err(Stop::Fault(fault));
    }
    Ok(bytes)
}

/// A packet whose header the program made (`IP_HDRINCL`).
fn unwrap_header(mut packet: Packet) -> Result<Packet, Errno> {
    let header = packet.payload.first_chunk::<20>().ok_or(Errno::EINVAL)?;
    let len = usize::from(header[0] & 15) * 4;
    if len < 20 || len > packet.payload.len() {
        return Err(Errno::EINVAL);
    }
    let source = IpAddr::from([header[12], header[13], header[14], header[15]]);
    if !source.is_unspecified() {
        packet.from.ip = source;
    }
    (packet.tos, packet.ttl, packet.protocol) = (header[1], header[8], i32::from(header[9]));
    packet.payload.drain(..len);
    Ok(packet)
}

impl Socket for Raw {
    fn kind(&self) -> (u16, SocketType, i32) {
        (self.base.family_number(), self.base.kind, self.base.protocol)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let mut local = self.base.local(address)?;
        if self.is_ping() {
            if self.state.lock().local.is_some() {
                return Err(Errno::EINVAL);
            }
            local.at.port = self.identifier(local.at.port);
        } else {
            local.at.port = 0;
        }
        self.state.lock().local = Some(local);
        Ok(())
    }

    fn try_connect(&self, address: &Address, _creds: Ucred) -> Result<(), Stop> {
        if matches!(address, Address::Unspecified) {
            self.state.lock().remote = None;
            return Ok(());
        }
        let to = self.base.destination(address)?;
        let settings = self.base.settings.lock().clone();
        let way = self.base.stack.route(to, &settings)?;
        self.state.lock().remote = Some(Endpoint { ip: way.to, ..to });
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
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Ok(self.inbox.receive_error(self.base.family)?);
        }
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match self.inbox.receive(&self.base, to, flags) {
            Err(Stop::WouldBlock) if self.state.lock().no_receive => Ok(Incoming::default()),
            other => other,
        }
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
        self.base.family.show(self.describe().0)
    }

    fn peer(&self) -> Result<Address, Errno> {
        self.state.lock().remote.map(|remote| self.base.family.show(remote)).ok_or(Errno::ENOTCONN)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match (level, name, self.base.protocol) {
            (SOL_RAW, 1, ICMP) => {}
            (SOL_RAW, 1, _) => return Err(Errno::EOPNOTSUPP),
            (SOL_RAW, ..) => return Err(Errno::ENOPROTOOPT),
            _ => {}
        }
        if matches!((level, name), (SOL_RAW, 1) | (SOL_ICMPV6, 1)) {
            let filter = self.state.lock().filter;
            let words = if level == SOL_RAW { 1 } else { 8 };
            return Ok(filter.iter().take(words).flat_map(|word| word.to_ne_bytes()).collect());
        }
        let takes_error = (level, name) == (SOL_SOCKET, SO_ERROR);
        let error = if takes_error { self.state.lock().error.take() } else { None };
        let mut facts = self.base.facts(false, false, error);
        self.base.settings.lock().get(level, name, &mut facts)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name, self.base.protocol) {
            (SOL_RAW, 1, ICMP) | (SOL_ICMPV6, 1, ICMPV6) if !self.is_ping() => {
                let mut state = self.state.lock();
                let words = if level == SOL_RAW { 1 } else { 8 };
                for (word, bytes) in state.filter.iter_mut().take(words).zip(value.chunks(4)) {
                    // What is not given stays.
                    let mut whole = word.to_ne_bytes();
                    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    *word = u32::from_ne_bytes(whole);
                }
                Ok(())
            }
            // The checksum of ICMPv6 is always made, where it belongs.
            (SOL_RAW | 41, 7, ICMPV6) => {
                if super::settings::number(value)? == 2 {
                    Ok(())
                } else {
                    Err(Errno::EINVAL)
                }
            }
            (SOL_RAW, 1, _) => Err(Errno::EOPNOTSUPP),
            (SOL_RAW, ..) => Err(Errno::ENOPROTOOPT),
            _ => self.base.set_option(level, name, value, self.state.lock().local.is_some()),
        }
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
        let (before, after) = {
            let mut raw = self.base.stack.raw.lock();
            let before = raw.len();
            raw.retain(|socket| !socket.ptr_eq(&self.me));
            (before, raw.len())
        };
        self.base.stack.raw_count.fetch_sub(before - after, Ordering::Relaxed);
        self.base.stack.observers.fetch_sub(before - after, Ordering::Relaxed);
        self.inbox.clear();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
