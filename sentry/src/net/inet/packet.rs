//! [`Packet`]s of raw and ping sockets, and what the host answers to them: echo replies.

use super::Stack;
use super::checksum::Sum;
use super::endpoint::Endpoint;
use super::frame::Label;
use super::link::Checksum;
use super::raw::Raw;
use super::{ICMP, ICMPV6};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const ECHO_REPLY_V6: u8 = 129;
const ECHO_V6: u8 = 128;

/// A packet on its way, without its IP header.
#[derive(Clone)]
pub(super) struct Packet {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) protocol: i32,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) payload: Vec<u8>,
}

/// The internet checksum (RFC 1071) of `parts`.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    parts.iter().fold(Sum::new(), |sum, part| sum.add(part)).finish()
}

impl Packet {
    /// Puts the checksum of an ICMP message where it belongs.
    pub(super) fn seal_icmp(&mut self) {
        if let Some(place) = self.payload.get_mut(2..4) {
            place.copy_from_slice(&[0; 2]);
        }
        let sum = match (self.from.ip, self.to.ip) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let len = u32::try_from(self.payload.len()).unwrap_or(0).to_be_bytes();
                checksum(&[&from.octets(), &to.octets(), &len, &[0, 0, 0, 58], &self.payload])
            }
            _ => checksum(&[&self.payload]),
        };
        if let Some(place) = self.payload.get_mut(2..4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// The packet with its IPv4 header.
    pub(super) fn with_header(&self) -> Option<Vec<u8>> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip, self.to.ip) else { return None };
        let total = u16::try_from(self.payload.len() + 20).ok()?.to_be_bytes();
        let protocol = u8::try_from(self.protocol).ok()?;
        let mut header =
            [0x45, self.tos, total[0], total[1], 0, 0, 0x40, 0, self.ttl, protocol, 0, 0].to_vec();
        header.extend_from_slice(&from.octets());
        header.extend_from_slice(&to.octets());
        let sum = checksum(&[&header]).to_be_bytes();
        if let Some(place) = header.get_mut(10..12) {
            place.copy_from_slice(&sum);
        }
        header.extend_from_slice(&self.payload);
        Some(header)
    }

    /// The answer to an echo request.
    fn echo_reply(&self) -> Option<Self> {
        let reply = match (self.protocol, self.payload.first()) {
            (ICMP, Some(&ECHO)) => ECHO_REPLY,
            (ICMPV6, Some(&ECHO_V6)) => ECHO_REPLY_V6,
            _ => return None,
        };
        if self.payload.len() < 8 {
            return None;
        }
        let mut packet = Self { from: self.to, to: self.from, ttl: 64, ..self.clone() };
        if let Some(kind) = packet.payload.first_mut() {
            *kind = reply;
        }
        packet.seal_icmp();
        Some(packet)
    }

    /// The identifier of an echo reply.
    pub(super) fn echo_id(&self) -> Option<u16> {
        match (self.protocol, self.payload.as_slice()) {
            (ICMP, [ECHO_REPLY, _, _, _, high, low, ..])
            | (ICMPV6, [ECHO_REPLY_V6, _, _, _, high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

impl Stack {
    /// Takes a packet to this host in: every socket that it is for gets it, and an echo request is answered.
    pub(super) fn take_in(&self, packet: &Packet) {
        self.loopback.count(1, packet.payload.len() as u64 + 20);
        if self.packets.are_watched() {
            let protocol = u8::try_from(packet.protocol).unwrap_or(0);
            let Packet { from, to, ttl, tos, .. } = *packet;
            let label = Label { from, to, protocol, ttl, tos };
            self.show_looped(&label, &[&packet.payload], Checksum::Unknown);
        }
        self.receive_looped(packet);
    }

    /// A packet came back over loopback.
    pub(super) fn receive_looped(&self, packet: &Packet) {
        let sockets: Vec<Arc<Raw>> = {
            let raw = self.raw.lock();
            raw.iter().filter_map(|socket| socket.upgrade()).collect()
        };
        for socket in &sockets {
            socket.take_in(packet);
        }
        let silent = self.sysctls.number("ipv4/icmp_echo_ignore_all") != 0 && packet.protocol == ICMP;
        if let Some(reply) = packet.echo_reply().filter(|_| !silent && !packet.to.ip.is_multicast()) {
            self.counts.icmp_echo();
            self.take_in(&reply);
        }
    }
}
