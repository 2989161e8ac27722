//! Sending frames as a program made them, by a card or over loopback.

use super::super::Stack;
use super::super::endpoint::Endpoint;
use super::super::frame::LINK;
use super::super::interface::{Cast, LOOPBACK, UP};
use super::super::ip::{self, ETHER_V4, ETHER_V6, Inbound, parse};
use super::super::packet::Packet;
use super::{Checksum, LinkSocket};
use crate::abi::Errno;
use crate::net::Address;
use crate::net::address::LinkAddress;
use crate::net::socket::Outgoing;
use crate::net::stack::NetStack;
use crate::user::IoReader;
use crate::wait::Stop;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use core::net::IpAddr;
use core::sync::atomic::Ordering;

/// Bytes of a VLAN tag, by which a frame may be longer.
const TAG: usize = 4;

impl LinkSocket {
    pub(super) fn send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        let (device, protocol, to) = match &message.to {
            None => {
                let device = self.device.load(Ordering::Relaxed);
                (device.cast_signed(), self.protocol.load(Ordering::Relaxed), None)
            }
            Some(Address::Link(to)) if to.size >= LinkAddress::HEADER + usize::from(to.len) => {
                (to.device, to.protocol, Some(*to))
            }
            Some(_) => return Err(Errno::EINVAL.into()),
        };
        let links = self.base.stack.interfaces();
        let link =
            u32::try_from(device).ok().and_then(|device| links.iter().find(|link| link.index == device));
        let link = link.ok_or(Errno::ENXIO)?;
        if link.flags & UP == 0 {
            return Err(Errno::ENETDOWN.into());
        }
        let len = from.remaining();
        let head = if self.has_header() { LINK } else { 0 };
        let mtu = usize::try_from(link.mtu).unwrap_or(usize::MAX);
        if len > mtu + head + TAG {
            return Err(Errno::EMSGSIZE.into());
        }
        let start = from.done();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len + LINK).map_err(|_| Errno::ENOBUFS)?;
        if !self.has_header() {
            let address = to.map_or([0; 6], |to| to.address.first_chunk().copied().unwrap_or_default());
            bytes.extend_from_slice(&address);
            bytes.extend_from_slice(&link.mac);
            bytes.extend_from_slice(&protocol.to_be_bytes());
        }
        let at = bytes.len();
        bytes.resize(at + len, 0);
        if from.read(bytes.get_mut(at..).unwrap_or_default()) < len
            && let Some(fault) = from.fault()
        {
            from.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let is_tagged = bytes.get(12..14) == Some(&[0x81, 0][..]);
        let too_long = self.has_header() && len > mtu + head && !is_tagged;
        if bytes.len() < LINK || len == 0 || too_long {
            return Err(if too_long { Errno::EMSGSIZE } else { Errno::EINVAL }.into());
        }
        if link.index == LOOPBACK {
            self.base.stack.send_looped(&bytes, self);
        } else if let Some(card) = self.base.stack.plan().card(link.index) {
            card.send_raw(&bytes, self);
        }
        Ok(len)
    }
}

impl Stack {
    /// A frame goes over loopback: who watches sees it, and the host takes in what is for it.
    fn send_looped(&self, bytes: &[u8], sender: &LinkSocket) {
        self.show_looped_frame(bytes, Checksum::Unknown, Some(sender));
        let parsed = match bytes.get(12..14).and_then(|word| word.try_into().ok()).map(u16::from_be_bytes) {
            Some(ETHER_V4) => parse::parse_v4(bytes.get(LINK..).unwrap_or_default(), false),
            Some(ETHER_V6) => parse::parse_v6(bytes.get(LINK..).unwrap_or_default(), false),
            _ => None,
        };
        let Some(parsed) = parsed.filter(|parsed| parsed.fragment.is_none()) else { return };
        // As Linux: such addresses come by no interface, not even this one.
        let is_martian = parsed.to.is_ipv4()
            && (parsed.from.is_loopback() || parsed.to.is_loopback() || self.is_local(parsed.from));
        if is_martian {
            return;
        }
        let cast = match parsed.to {
            to if to.is_multicast() => Cast::Multi,
            IpAddr::V4(to) if to.is_broadcast() => Cast::Broad,
            to if self.is_local(to) => Cast::Uni,
            _ => return,
        };
        let packet = Inbound {
            from: parsed.from,
            to: parsed.to,
            protocol: parsed.protocol,
            ttl: parsed.ttl,
            tos: parsed.tos,
            device: LOOPBACK,
            cast,
            payload: parsed.payload,
            whole: parsed.whole,
        };
        self.loopback.count(1, bytes.len() as u64);
        match parsed.protocol {
            ip::UDP | ip::UDP_LITE => self.take_datagram(&packet, false, now_ns()),
            // Connections over loopback have no segments that one could be added to.
            ip::TCP => {}
            protocol => self.receive_looped(&Packet {
                from: Endpoint::new(parsed.from, 0),
                to: Endpoint::new(parsed.to, 0),
                protocol: i32::from(protocol),
                ttl: parsed.ttl,
                tos: parsed.tos,
                payload: parsed.payload.to_vec(),
            }),
        }
    }
}
