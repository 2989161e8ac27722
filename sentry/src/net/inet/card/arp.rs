//! ARP (RFC 826, RFC 5227): who has which IPv4 address.

use super::super::ip::parse::word;
use super::neighbour::Heard;
use super::{Card, output};
use crate::platform::Offload;
use core::net::Ipv4Addr;

/// Ethernet type of ARP.
pub(super) const ETHER: u16 = 0x0806;
/// Operations.
pub(super) const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// The hardware address that all hosts hear.
pub(super) const ALL: [u8; 6] = [0xff; 6];

impl Card {
    /// Sends an ARP packet to the hardware address `to`.
    pub(super) fn send_arp(
        &self,
        operation: u16,
        to: [u8; 6],
        target_mac: [u8; 6],
        own: Ipv4Addr,
        target: Ipv4Addr,
    ) {
        let mut packet = [0; 28];
        let parts: [&[u8]; 6] = [
            // Ethernet and IPv4, with the lengths of their addresses.
            &[0, 1, 8, 0, 6, 4],
            &operation.to_be_bytes(),
            &self.mac,
            &own.octets(),
            &target_mac,
            &target.octets(),
        ];
        let bytes = parts.iter().flat_map(|part| part.iter());
        packet.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.send_frame(to, ETHER, &[&packet], Offload::default(), output::Full::Wait);
    }

    /// Takes an ARP packet in.
    pub(super) fn take_arp(&self, packet: &[u8], now_ns: u64) {
        let Some(packet) = packet.first_chunk::<28>() else { return };
        if packet.get(..6) != Some(&[0, 1, 8, 0, 6, 4]) {
            return;
        }
        let mac = |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk::<6>()).copied();
        let ip = |at: usize| {
            packet.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|ip| Ipv4Addr::from(*ip))
        };
        let (Some(operation), Some(sender_mac)) = (word(packet, 6), mac(8)) else { return };
        let (Some(sender), Some(target)) = (ip(14), ip(24)) else { return };
        // Groups and everybody are no hosts; a host that claims our address changes nothing here.
        let is_host = sender_mac[0] & 1 == 0 && !sender.is_multicast() && !sender.is_broadcast();
        if !is_host || sender_mac == self.mac || sender.is_loopback() || target.is_loopback() {
            return;
        }
        let is_ours = self.owns(target.into());
        if operation == REQUEST && is_ours && (sender.is_unspecified() || !self.owns(sender.into())) {
            self.send_arp(REPLY, sender_mac, sender_mac, target, sender);
        }
        if sender.is_unspecified() || self.owns(sender.into()) {
            return;
        }
        let heard = match operation {
            REPLY if is_ours => Heard::Answered,
            REQUEST if is_ours => Heard::Asked,
            REQUEST | REPLY => Heard::Told,
            _ => return,
        };
        self.learn(sender.into(), sender_mac, now_ns, heard);
    }
}
