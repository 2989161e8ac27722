//! Neighbour discovery of IPv6 (RFC 4861) and multicast listener reports (RFC 3810).
//!
//! Addresses and routes come from the pod's configuration: router advertisements and redirects are not followed.
//! Duplicate addresses are not searched for: the addresses were given by whoever made the pod's network.

use super::super::checksum::Sum;
use super::super::ip::{ETHER_V6, ICMPV6, Inbound};
use super::neighbour::Heard;
use super::{Card, output};
use crate::platform::Offload;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const LISTENER_REPORT: u8 = 143;

/// All hosts of the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers that listen for reports.
const ALL_LISTENERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The group in which a host hears questions for an address.
pub(super) fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let low = ip.to_bits() & 0xff_ffff;
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | low)
}

/// The hardware address of a group.
pub(super) fn group_mac(group: Ipv6Addr) -> [u8; 6] {
    let octets = group.octets();
    [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
}

/// The link-local address that a hardware address makes (RFC 4291, appendix A).
pub(in super::super) fn from_mac(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The hardware address in the options of a message.
fn hardware_option(mut options: &[u8], wanted: u8) -> Option<[u8; 6]> {
    while let [kind, units, ..] = options {
        let len = usize::from(*units) * 8;
        let option = options.get(..len).filter(|_| len > 0)?;
        if *kind == wanted {
            return option.get(2..8)?.try_into().ok();
        }
        options = options.get(len..)?;
    }
    None
}

impl Card {
    fn send_icmp6(&self, mac: [u8; 6], from: Ipv6Addr, to: Ipv6Addr, message: &mut [u8], router_alert: bool) {
        let sum = Sum::pseudo(from.into(), to.into(), ICMPV6, message.len()).add(message).finish();
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        // Hop-by-hop options: router alert for listener reports.
        let alert: &[u8] = if router_alert { &[ICMPV6, 0, 5, 2, 0, 0, 1, 0] } else { &[] };
        let len = u16::try_from(message.len() + alert.len()).unwrap_or(0).to_be_bytes();
        let (next, hops) = if router_alert { (0, 1) } else { (ICMPV6, 255) };
        let mut header = [0; 40];
        let parts: [&[u8]; 4] =
            [&[0x60, 0, 0, 0, len[0], len[1], next, hops], &from.octets(), &to.octets(), &[]];
        header.iter_mut().zip(parts.iter().flat_map(|part| part.iter())).for_each(|(to, from)| *to = *from);
        let parts: [&[u8]; 3] = [&header, alert, message];
        self.send_frame(mac, ETHER_V6, &parts, Offload::default(), output::Full::Wait);
    }

    /// Asks where `target` is: everybody, or the host of a hardware address.
    pub(super) fn solicit(&self, target: Ipv6Addr, mac: Option<[u8; 6]>) {
        let global = || {
            self.with_addresses(|own| {
                own.iter().find_map(|own| if let IpAddr::V6(ip) = own.ip { Some(ip) } else { None })
            })
        };
        let Some(own) = self.link_local().or_else(global) else { return };
        let to = if mac.is_some() { target } else { solicited_node(target) };
        let mut message =
            [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &self.mac].concat();
        self.send_icmp6(mac.unwrap_or_else(|| group_mac(to)), own, to, &mut message, false);
    }

    /// Says that `own` is here, to one host that asked for it or to all.
    pub(super) fn advertise(&self, own: Ipv6Addr, to: Ipv6Addr, is_solicited: bool) {
        let flags = if is_solicited { 0x60 } else { 0x20 };
        let mut message =
            [&[ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0][..], &own.octets(), &[2, 1], &self.mac].concat();
        if to.is_multicast() {
            self.send_icmp6(group_mac(to), own, to, &mut message, false);
            return;
        }
        let known = self.neighbours.lock().list(self.index);
        if let Some(known) = known.iter().find(|known| known.ip == IpAddr::V6(to) && known.state != 1) {
            self.send_icmp6(known.mac, own, to, &mut message, false);
        }
    }

    /// Says that somebody here listens to a group.
    pub(in super::super) fn report_group(&self, group: Ipv6Addr) {
        let own = self.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED);
        // One record: the filter of a group changes to exclude nothing.
        let mut message: Vec<u8> =
            [&[LISTENER_REPORT, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &group.octets()].concat();
        self.send_icmp6(group_mac(ALL_LISTENERS), own, ALL_LISTENERS, &mut message, true);
    }

    /// Takes a message of neighbour discovery in, whose checksum is right. Whether it was one.
    pub(in super::super) fn take_discovery(&self, packet: &Inbound<'_>, now_ns: u64) -> bool {
        let (Some([kind, code, ..]), IpAddr::V6(from), IpAddr::V6(to)) =
            (packet.payload.first_chunk::<4>(), packet.from, packet.to)
        else {
            return false;
        };
        // Router solicitations and advertisements, redirects: not followed.
        if !matches!(*kind, 133..=137) {
            return false;
        }
        // A lower hop limit has come through a router: from outside the link.
        let target: Option<[u8; 16]> = packet.payload.get(8..24).and_then(|octets| octets.try_into().ok());
        let Some(target) = target.map(Ipv6Addr::from).filter(|ip| !ip.is_multicast()) else { return true };
        if packet.ttl != 255 || *code != 0 {
            return true;
        }
        let options = packet.payload.get(24..).unwrap_or_default();
        let is_host = |mac: &[u8; 6]| mac[0] & 1 == 0 && *mac != self.mac;
        match *kind {
            SOLICITATION if self.owns(target.into()) => {
                let mac = hardware_option(options, 1).filter(is_host);
                if from.is_unspecified() {
                    // Somebody tests whether the address is free.
                    self.advertise(target, ALL_NODES, false);
                } else if !from.is_multicast() && !self.owns(from.into()) {
                    if let Some(mac) = mac {
                        self.learn(from.into(), mac, now_ns, Heard::Asked);
                    }
                    self.advertise(target, from, true);
                }
            }
            ADVERTISEMENT => {
                let flags = packet.payload.get(4).copied().unwrap_or(0);
                let heard = match (flags & 0x40 != 0, flags & 0x20 != 0) {
                    (true, _) if to.is_multicast() => return true,
                    (true, true) => Heard::Answered,
                    (false, true) => Heard::Told,
                    (true, false) => Heard::Answered,
                    (false, false) => Heard::Hint,
                };
                if let Some(mac) = hardware_option(options, 2).filter(is_host)
                    && !self.owns(target.into())
                {
                    self.learn(target.into(), mac, now_ns, heard);
                }
            }
            _ => {}
        }
        true
    }
}
