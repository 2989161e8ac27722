//! What becomes of received packets: who they are for is tested, fragments are put together, protocols take their payloads.

use super::super::Stack;
use super::super::card::Card;
use super::super::endpoint::Endpoint;
use super::super::interface::Cast;
use super::super::packet::Packet;
use super::super::plan::Plan;
use super::parse::Parsed;
use super::{ICMP, ICMPV6, Inbound, TCP, UDP, UDP_LITE};
use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::Ordering;

/// Who a packet is for; `None` when it is not for us, or may not come over a wire.
fn cast_of(plan: &Plan, card: &Card, from: IpAddr, to: IpAddr) -> Option<Cast> {
    let from_host = match from {
        IpAddr::V4(ip) => !(ip.is_multicast() || card.is_broadcast(ip)),
        IpAddr::V6(ip) => !ip.is_multicast(),
    };
    // Loopback addresses never come by a wire, nor do our own.
    if !from_host || from.is_loopback() || to.is_loopback() || plan.owns(from) {
        return None;
    }
    match to {
        _ if to.is_multicast() => Some(Cast::Multi),
        IpAddr::V4(ip) if card.is_broadcast(ip) => Some(Cast::Broad),
        // Who has no address yet speaks to all.
        _ if from.is_unspecified() => None,
        _ => plan.owns(to).then_some(Cast::Uni),
    }
}

impl Stack {
    /// Takes a packet or fragment in. `is_group`: its frame was for a group; `trusts`: checksums are known to be right.
    pub(in super::super) fn take_packet(
        &self,
        card: &Card,
        parsed: &Parsed<'_>,
        is_group: bool,
        trusts: bool,
        now_ns: u64,
    ) {
        let mut packet = Inbound {
            from: parsed.from,
            to: parsed.to,
            protocol: parsed.protocol,
            ttl: parsed.ttl,
            tos: parsed.tos,
            device: card.index,
            cast: Cast::Uni,
            payload: parsed.payload,
            whole: parsed.whole,
        };
        // What belongs to a connection is for us, and needs no look at the plan.
        let is_plain = parsed.protocol == TCP && parsed.fragment.is_none() && !is_group;
        if is_plain && self.raw_count.load(Ordering::Relaxed) == 0 && self.take_known(&packet, trusts, now_ns)
        {
            return;
        }
        let cast = cast_of(&self.plan(), card, parsed.from, parsed.to);
        let Some(cast) = cast.filter(|cast| !(is_group && *cast == Cast::Uni)) else {
            card.counts.in_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        packet.cast = cast;
        let Some(place) = parsed.fragment else { return self.deliver(card, &packet, trusts, now_ns) };
        if let Some(whole) = self.reassembly.add(parsed, place, now_ns) {
            (packet.protocol, packet.ttl, packet.tos) = (whole.protocol, whole.ttl, whole.tos);
            (packet.payload, packet.whole) = (&whole.payload, &whole.start);
            self.deliver(card, &packet, false, now_ns);
        }
    }

    fn deliver(&self, card: &Card, packet: &Inbound<'_>, trusts: bool, now_ns: u64) {
        let is_heard = self.raw_count.load(Ordering::Relaxed) > 0 && self.deliver_raw(packet);
        match (packet.protocol, packet.to) {
            (TCP, _) => self.take_segment(packet, trusts, now_ns),
            (UDP | UDP_LITE, _) => self.take_datagram(packet, trusts, now_ns),
            (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => self.take_icmp(card, packet, now_ns),
            // Nothing follows, or an extension of IPv6 that was not looked at.
            (0 | 43 | 44 | 59 | 60, IpAddr::V6(_)) => {}
            (_, IpAddr::V4(_)) if !is_heard => self.send_trouble(packet, 3, 2, now_ns),
            (_, IpAddr::V6(_)) if !is_heard => self.send_trouble(packet, 4, 1, now_ns),
            _ => {}
        }
    }

    /// Gives raw and ping sockets what they want of a packet. Whether a raw socket took it.
    fn deliver_raw(&self, packet: &Inbound<'_>) -> bool {
        let sockets: alloc::vec::Vec<_> = {
            let raw = self.raw.lock();
            raw.iter().filter_map(|socket| socket.upgrade()).collect()
        };
        if sockets.is_empty() {
            return false;
        }
        let scope = |ip: IpAddr| {
            if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) { packet.device } else { 0 }
        };
        let end = |ip: IpAddr| Endpoint { ip, port: 0, scope: scope(ip) };
        let copy = Packet {
            from: end(packet.from),
            to: end(packet.to),
            protocol: i32::from(packet.protocol),
            ttl: packet.ttl,
            tos: packet.tos,
            payload: packet.payload.to_vec(),
        };
        let mut taken = false;
        for socket in &sockets {
            taken |= socket.take_in(&copy);
        }
        taken
    }

    /// The broadcast address that an IPv4 address is, when a card is on that network.
    pub(in super::super) fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast() || self.plan().cards.iter().any(|card| card.is_broadcast(ip))
    }
}
