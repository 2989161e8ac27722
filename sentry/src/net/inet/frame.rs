//! What would be seen on the link of packets that never leave this host: [`Frame`], made for filters and packet sockets only
//! while there are some.

use super::checksum::Sum;
use super::endpoint::Endpoint;
use super::interface::LOOPBACK;
use super::ip::output::{Envelope, Fitting, header};
use super::ip::{ETHER_V4, ETHER_V6, header_len};
use crate::net::filter::{Facts, Packet};
use alloc::vec::Vec;

/// `ARPHRD_LOOPBACK`.
pub(super) const HARDWARE: u16 = 772;
/// Bytes of an Ethernet header.
pub(super) const LINK: usize = 14;
/// Bytes of a UDP header.
pub(super) const UDP_HEADER: usize = 8;

/// A frame of loopback.
pub(super) struct Frame {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Where the header of what IP carries begins.
    pub(super) transport: usize,
    /// Ethernet type.
    pub(super) protocol: u16,
}

/// Addresses and marks of a packet.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
}

/// The header of a datagram; `None` for one that is too long.
pub(super) fn udp_header(label: &Label, data: &[u8]) -> Option<[u8; UDP_HEADER]> {
    let total = data.len() + UDP_HEADER;
    let words = [label.from.port, label.to.port, u16::try_from(total).ok()?, 0].map(u16::to_be_bytes);
    let mut header = [0; UDP_HEADER];
    header.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
    let sum = Sum::pseudo(label.from.ip, label.to.ip, label.protocol, total).add(&header).add(data).finish();
    let sum = if sum == 0 { 0xffff } else { sum };
    [header[6], header[7]] = sum.to_be_bytes();
    Some(header)
}

impl Frame {
    /// The frame of an IP packet; `None` for one that cannot be, or without memory.
    pub(super) fn new(label: &Label, parts: &[&[u8]]) -> Option<Self> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Label { from, to, protocol, ttl, tos } = *label;
        let envelope = Envelope { from: from.ip, to: to.ip, protocol, ttl, tos, fitting: Fitting::Want };
        let header = header(&envelope, len, 0, 0x4000)?;
        let head = header_len(to.ip);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(LINK + head + len).ok()?;
        bytes.resize(LINK - 2, 0);
        let ether = if to.ip.is_ipv4() { ETHER_V4 } else { ETHER_V6 };
        bytes.extend_from_slice(&ether.to_be_bytes());
        bytes.extend_from_slice(header.get(..head)?);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Some(Self { bytes, transport: LINK + head, protocol: ether })
    }

    /// The frame of a datagram.
    pub(super) fn of_datagram(label: &Label, data: &[u8]) -> Option<Self> {
        Self::new(label, &[&udp_header(label, data)?, data])
    }

    /// As a filter sees it whose offset 0 is at `data`.
    pub(super) fn packet(&self, data: usize, kind: u8, mark: i32) -> Packet<'_> {
        let facts = Facts {
            protocol: self.protocol,
            kind,
            device: Some((LOOPBACK, HARDWARE)),
            mark: mark.cast_unsigned(),
        };
        Packet { bytes: &self.bytes, link: Some(0), network: LINK, data, facts }
    }
}
