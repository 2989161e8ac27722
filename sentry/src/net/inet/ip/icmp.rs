//! ICMP over cards (RFC 792, RFC 1122 section 3.2.2, RFC 4443): echo requests are answered, errors are told to the sockets
//! that they are for, and sent, at a bounded rate, for what nobody here takes.

use super::super::Stack;
use super::super::card::Card;
use super::super::checksum::Sum;
use super::super::endpoint::Endpoint;
use super::super::interface::{Cast, NET_INNER};
use super::super::packet::Packet;
use super::super::plan::Hop;
use super::super::settings::Settings;
use super::output::{Envelope, Fitting};
use super::parse::{self, long, word};
use super::{ICMP, ICMPV6, Inbound, TCP, UDP};
use crate::abi::Errno;
use crate::net::socket::SocketType;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use chitin_core::lock::SpinLock;
use core::net::IpAddr;

/// Errors that are sent: so many at once (`icmp_msgs_burst`), and per second (`icmp_msgs_per_sec`).
const BURST: u64 = 50;
const PER_SECOND: u64 = 1000;
/// Bytes of a packet that an error quotes: IPv4 (RFC 1812), and what keeps an IPv6 packet at 1280 bytes.
const QUOTE_V4: usize = 548;
const QUOTE_V6: usize = 1232;

/// An error that a packet of ours met with.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Trouble {
    pub(in super::super) errno: Errno,
    /// Trying again is of no use.
    pub(in super::super) is_fatal: bool,
    /// `SO_EE_ORIGIN_*`: 1 this host, 2 ICMP, 3 ICMPv6.
    pub(in super::super) origin: u8,
    pub(in super::super) kind: u8,
    pub(in super::super) code: u8,
    /// The MTU, of one that did not fit.
    pub(in super::super) info: u32,
    /// Who told it.
    pub(in super::super) offender: IpAddr,
}

/// What may be sent of errors.
pub(in super::super) struct Limiter(SpinLock<(u64, u64)>);

impl Limiter {
    pub(in super::super) fn new() -> Self {
        Self(SpinLock::new(NET_INNER, (BURST, 0)))
    }

    /// Whether one more may go.
    pub(in super::super) fn admits(&self, now_ns: u64) -> bool {
        let mut bucket = self.0.lock();
        let (left, since_ns) = *bucket;
        let earned = now_ns.saturating_sub(since_ns) / (1_000_000_000 / PER_SECOND);
        let (left, since_ns) =
            if earned > 0 { (left.saturating_add(earned).min(BURST), now_ns) } else { (left, since_ns) };
        *bucket = (left.saturating_sub(1), since_ns);
        left > 0
    }
}

/// What an error of ICMP means.
fn meaning_v4(kind: u8, code: u8) -> Option<(Errno, bool)> {
    Some(match (kind, code) {
        (3, 0 | 11) => (Errno::ENETUNREACH, false),
        (3, 1 | 12) => (Errno::EHOSTUNREACH, false),
        (3, 2) => (Errno::ENOPROTOOPT, true),
        (3, 3) => (Errno::ECONNREFUSED, true),
        (3, 4) => (Errno::EMSGSIZE, false),
        (3, 5) => (Errno::EOPNOTSUPP, false),
        (3, 6 | 9) => (Errno::ENETUNREACH, true),
        (3, 7) => (Errno::EHOSTDOWN, true),
        (3, 8 | 10 | 13 | 14 | 15) | (11, _) => (Errno::EHOSTUNREACH, kind == 3),
        (12, _) => (Errno::EPROTO, true),
        _ => return None,
    })
}

/// What an error of ICMPv6 means.
fn meaning_v6(kind: u8, code: u8) -> Option<(Errno, bool)> {
    Some(match (kind, code) {
        (1, 0) => (Errno::ENETUNREACH, false),
        (1, 1 | 5 | 6) => (Errno::EACCES, true),
        (1, 4) => (Errno::ECONNREFUSED, true),
        (1, _) | (3, _) => (Errno::EHOSTUNREACH, false),
        (2, _) => (Errno::EMSGSIZE, false),
        (4, _) => (Errno::EPROTO, true),
        _ => return None,
    })
}

impl Stack {
    /// Takes an ICMP or ICMPv6 message in. Raw sockets have it already.
    pub(in super::super) fn take_icmp(&self, card: &Card, packet: &Inbound<'_>, now_ns: u64) {
        let is_v4 = packet.protocol == ICMP;
        let sum = if is_v4 {
            Sum::new().add(packet.payload)
        } else {
            Sum::pseudo(packet.from, packet.to, ICMPV6, packet.payload.len()).add(packet.payload)
        };
        let Some([kind, code, ..]) = packet.payload.first_chunk::<8>().copied() else { return };
        if sum.finish() != 0 || is_v4 != packet.to.is_ipv4() {
            return;
        }
        if !is_v4 && card.take_discovery(packet, now_ns) {
            return;
        }
        match (is_v4, kind) {
            (true, 8) | (false, 128) => return self.answer_echo(packet),
            _ => {}
        }
        let meaning = if is_v4 { meaning_v4(kind, code) } else { meaning_v6(kind, code) };
        let (Some((errno, is_fatal)), Some(quoted)) = (meaning, packet.payload.get(8..)) else { return };
        if packet.cast != Cast::Uni {
            return;
        }
        let info = match (errno, is_v4) {
            (Errno::EMSGSIZE, true) => u32::from(word(packet.payload, 6).unwrap_or(0)),
            (Errno::EMSGSIZE, false) => long(packet.payload, 4).unwrap_or(0),
            _ => 0,
        };
        let origin = if is_v4 { 2 } else { 3 };
        let trouble = Trouble { errno, is_fatal, origin, kind, code, info, offender: packet.from };
        self.take_trouble(quoted, trouble, now_ns);
    }

    fn answer_echo(&self, packet: &Inbound<'_>) {
        let is_v4 = packet.protocol == ICMP;
        let silent =
            is_v4 && (self.sysctls.number("ipv4/icmp_echo_ignore_all") != 0 || packet.cast != Cast::Uni);
        if silent || packet.from.is_unspecified() {
            return;
        }
        let mut reply = Vec::new();
        if reply.try_reserve_exact(packet.payload.len()).is_err() {
            return;
        }
        reply.extend_from_slice(packet.payload);
        if let Some(kind) = reply.first_mut() {
            *kind = if is_v4 { 0 } else { 129 };
        }
        self.counts.icmp_echo();
        let from = (packet.cast == Cast::Uni).then_some(packet.to);
        self.send_icmp(from, packet.from, packet.device, reply, packet.tos);
    }

    /// Sends an ICMP or ICMPv6 message whose checksum is still to be made.
    fn send_icmp(&self, from: Option<IpAddr>, to: IpAddr, device: u32, payload: Vec<u8>, tos: u8) {
        let mut settings = Settings::new(&self.sysctls, SocketType::Raw);
        let scoped = matches!(to, IpAddr::V6(ip) if ip.is_unicast_link_local());
        settings.device = if scoped { device } else { 0 };
        let Ok(way) = self.route(Endpoint::new(to, 0), &settings) else { return };
        let Some(hop) = &way.hop else { return };
        let from = from.unwrap_or(way.source);
        let protocol = if to.is_ipv4() { ICMP } else { ICMPV6 };
        let mut packet = Packet {
            from: Endpoint::new(from, 0),
            to: Endpoint::new(to, 0),
            protocol: i32::from(protocol),
            ttl: 64,
            tos,
            payload,
        };
        packet.seal_icmp();
        let envelope = Envelope { from, to, protocol, ttl: 64, tos, fitting: Fitting::Fragments };
        let _ = self.send_packet(hop, &envelope, &packet.payload);
    }

    /// Tells the sender of a packet that it cannot be taken: of the given kind and code.
    pub(in super::super) fn send_trouble(&self, packet: &Inbound<'_>, kind: u8, code: u8, now_ns: u64) {
        // Never about groups, about errors, or to nobody.
        let is_error = match packet.protocol {
            ICMP => !matches!(packet.payload.first(), Some(0 | 8 | 13 | 14)),
            ICMPV6 => packet.payload.first().is_none_or(|kind| kind & 0x80 == 0),
            _ => false,
        };
        if packet.cast != Cast::Uni
            || is_error
            || packet.from.is_unspecified()
            || !self.limiter.admits(now_ns)
        {
            return;
        }
        let most = if packet.to.is_ipv4() { QUOTE_V4 } else { QUOTE_V6 };
        let quoted = packet.whole.get(..packet.whole.len().min(most)).unwrap_or_default();
        let message = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quoted].concat();
        self.send_icmp(Some(packet.to), packet.from, packet.device, message, packet.tos & 0xfc);
    }

    /// Nobody takes the port of a packet.
    pub(in super::super) fn send_no_port(&self, packet: &Inbound<'_>, now_ns: u64) {
        let (kind, code) = if packet.to.is_ipv4() { (3, 3) } else { (1, 4) };
        self.send_trouble(packet, kind, code, now_ns);
    }

    /// A neighbour does not answer: what was to go to it cannot be delivered.
    pub(in super::super) fn unreachable(&self, packet: &[u8]) {
        let Some(parsed) = parse::parse(packet, true) else { return };
        let (origin, kind, code) = if parsed.from.is_ipv4() { (2, 3, 1) } else { (3, 1, 3) };
        let (errno, offender) = (Errno::EHOSTUNREACH, parsed.from);
        let trouble = Trouble { errno, is_fatal: false, origin, kind, code, info: 0, offender };
        self.take_trouble(packet, trouble, now_ns());
    }

    /// Tells the socket that sent the quoted packet of an error.
    fn take_trouble(&self, quoted: &[u8], trouble: Trouble, now_ns: u64) {
        let Some(sent) = parse::parse(quoted, true) else { return };
        if sent.fragment.is_some_and(|part| part.offset != 0) || !self.is_local(sent.from) {
            return;
        }
        let mut trouble = trouble;
        if trouble.errno == Errno::EMSGSIZE {
            // A router that says nothing of the MTU leaves a guess (RFC 1191, section 7.1).
            let told = if trouble.info == 0 { 576 } else { trouble.info };
            trouble.info = self.paths.learn(sent.to, told, now_ns);
        }
        let (Some(own), Some(other)) = (word(sent.payload, 0), word(sent.payload, 2)) else { return };
        let (own, other) = (Endpoint::new(sent.from, own), Endpoint::new(sent.to, other));
        match sent.protocol {
            UDP => self.udp_trouble(own, other, trouble),
            TCP => self.tcp_trouble(own, other, long(sent.payload, 4).unwrap_or(0), trouble),
            ICMP | ICMPV6 => {
                let id = word(sent.payload, 4).unwrap_or(0);
                self.raw_trouble(sent.to, id, i32::from(sent.protocol), trouble);
            }
            _ => {}
        }
    }

    /// The hop that answers to `from` take.
    pub(in super::super) fn hop_back(&self, to: Endpoint, device: u32) -> Option<Hop> {
        let mut settings = Settings::new(&self.sysctls, SocketType::Raw);
        settings.device = if to.scope != 0 { device } else { 0 };
        self.route(to, &settings).ok()?.hop
    }
}
