//! Datagrams over cards (RFC 768, RFC 8200 section 8.1).

use super::super::Stack;
use super::super::buffer::{self, Buffer};
use super::super::checksum::Sum;
use super::super::datagram::Datagram;
use super::super::endpoint::Endpoint;
use super::super::interface::Cast;
use super::super::ip::icmp::Trouble;
use super::super::ip::output::{Envelope, Fitting};
use super::super::ip::parse::word;
use super::super::ip::{self, Inbound};
use super::super::plan::Hop;
use super::super::settings::Settings;
use super::Udp;
use crate::abi::Errno;
use crate::user::{IoReader, IoWriter};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Bytes of the header.
const HEADER: usize = 8;

impl Udp {
    /// Sends a datagram by a card.
    ///
    /// # Errors
    /// `EMSGSIZE`, `ENOBUFS`.
    pub(super) fn send_by(
        &self,
        hop: &Hop,
        data: &Buffer,
        from: Endpoint,
        to: Endpoint,
        settings: &Settings,
    ) -> Result<(), Errno> {
        let total = data.len() + HEADER;
        let len = u16::try_from(total).map_err(|_| Errno::EMSGSIZE)?;
        let mut packet = Vec::new();
        packet.try_reserve_exact(total).map_err(|_| Errno::ENOBUFS)?;
        let covered = if self.is_lite() { self.coverage().of(total) } else { total };
        // UDP-Lite has there what is covered.
        let field = if covered < total { u16::try_from(covered).unwrap_or(len) } else { len };
        packet.extend_from_slice(&[from.port, to.port, field, 0].map(u16::to_be_bytes).concat());
        packet.resize(total, 0);
        data.copy(0, &mut IoWriter::kernel(packet.get_mut(HEADER..).unwrap_or_default()), data.len());
        let is_v4 = to.ip.is_ipv4();
        if !(is_v4 && settings.no_check) || self.is_lite() {
            let part = packet.get(..covered).unwrap_or_default();
            let sum = Sum::pseudo(from.ip, to.ip, self.protocol(), total).add(part).finish();
            // A sum of 0 would say that there is none.
            let sum = if sum == 0 { 0xffff } else { sum };
            if let Some(place) = packet.get_mut(6..8) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        let model = Datagram::new(Buffer::new(&self.base.maker.budget), from, to, settings);
        let byte = |value: i32| u8::try_from(value & 0xff).unwrap_or(0);
        let discover = if is_v4 { settings.mtu_discover } else { settings.mtu_discover6 };
        let group = to.ip.is_multicast();
        let envelope = Envelope {
            from: from.ip,
            to: to.ip,
            protocol: self.protocol(),
            ttl: byte(model.ttl),
            tos: byte(model.tos),
            fitting: if group { Fitting::Fragments } else { Fitting::from_option(discover) },
        };
        self.base.stack.counts.udp_sent();
        self.base.stack.send_packet(hop, &envelope, &packet)?;
        hop.card.flush();
        Ok(())
    }

    /// Queues what came for this socket.
    fn take_bytes(&self, bytes: &[u8], from: Endpoint, to: Endpoint, packet: &Inbound<'_>) {
        // What the socket cannot keep is not worth memory.
        let limit = self.base.settings.lock().receive.bytes;
        if self.inbox.figures().0 > limit {
            self.base.stack.counts.udp_dropped();
            return;
        }
        let Ok(data) = buffer::whole(&mut IoReader::kernel(bytes), &self.base.maker.budget) else {
            self.base.stack.counts.udp_dropped();
            return;
        };
        self.take_in(Datagram {
            data,
            from,
            to,
            ttl: i32::from(packet.ttl),
            tos: i32::from(packet.tos),
            at_ns: crate::platform::get().realtime_ns(),
            device: packet.device,
        });
    }

    /// Whether it takes what comes by an interface (`SO_BINDTODEVICE`).
    fn hears(&self, device: u32) -> bool {
        let own = self.base.settings.lock().device;
        own == 0 || own == device
    }
}

impl Stack {
    /// Takes a datagram from a card in.
    pub(in super::super) fn take_datagram(&self, packet: &Inbound<'_>, trusts: bool, now_ns: u64) {
        let payload = packet.payload;
        let (Some(from), Some(to), Some(len), Some(sum)) =
            (word(payload, 0), word(payload, 2), word(payload, 4), word(payload, 6))
        else {
            return;
        };
        let is_lite = packet.protocol == ip::UDP_LITE;
        let covered = if is_lite && len == 0 { payload.len() } else { usize::from(len) };
        let total = if is_lite { payload.len() } else { covered };
        let Some(whole) = payload.get(..total).filter(|_| (HEADER..=total).contains(&covered)) else {
            return;
        };
        let is_summed = sum != 0 || packet.to.is_ipv6() || is_lite;
        let part = whole.get(..covered).unwrap_or_default();
        let is_right = || Sum::pseudo(packet.from, packet.to, packet.protocol, total).add(part).finish() == 0;
        if is_summed && !trusts && !is_right() {
            return;
        }
        let data = whole.get(HEADER..).unwrap_or_default();
        let scope = |ip: IpAddr| {
            if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) { packet.device } else { 0 }
        };
        let from = Endpoint { ip: packet.from, port: from, scope: scope(packet.from) };
        let to = Endpoint { ip: packet.to, port: to, scope: scope(packet.to) };
        if packet.cast != Cast::Uni {
            let found = self.datagram_ports(packet.protocol).lock().find_all(to, from);
            let sockets: Vec<Arc<Udp>> = found.into_iter().filter_map(|socket| socket.upgrade()).collect();
            let joined = sockets.iter().any(|socket| socket.base.joined(to.ip));
            for socket in sockets.iter().filter(|socket| socket.hears(packet.device)) {
                let takes = socket.base.takes_group(to.ip, from.ip, joined);
                if packet.cast == Cast::Broad || takes {
                    socket.take_bytes(data, from, to, packet);
                }
            }
            return;
        }
        let found = self.datagram_ports(packet.protocol).lock().find(to, from, usize::from(from.port));
        match found.and_then(|socket| socket.upgrade()).filter(|socket| socket.hears(packet.device)) {
            Some(socket) if covered < total && !socket.coverage().accepts(covered, total) => {
                self.counts.udp_dropped();
            }
            Some(socket) => socket.take_bytes(data, from, to, packet),
            None => {
                self.counts.udp_no_port();
                self.send_no_port(packet, now_ns);
            }
        }
    }

    /// Something that was sent from `own` to `other` met with trouble.
    pub(in super::super) fn udp_trouble(&self, own: Endpoint, other: Endpoint, trouble: Trouble) {
        let found = self.udp.lock().find(own, other, usize::from(other.port));
        if let Some(socket) = found.and_then(|socket| socket.upgrade()) {
            socket.heard(other, &trouble);
        }
    }
}
