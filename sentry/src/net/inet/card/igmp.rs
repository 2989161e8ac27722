//! Reports of IPv4 groups (RFC 2236): switches and routers hear once that somebody here listens. Queries are not answered.

use super::super::checksum::Sum;
use super::super::ip::ETHER_V4;
use super::{Card, output};
use crate::platform::Offload;
use core::net::{IpAddr, Ipv4Addr};

/// Membership report, version 2.
const REPORT: u8 = 0x16;

/// The hardware address of a group.
pub(super) fn group_mac(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [1, 0, 0x5e, b & 0x7f, c, d]
}

impl Card {
    /// Says that somebody here listens to a group.
    pub(in super::super) fn report_group4(&self, group: Ipv4Addr) {
        let own = self.with_addresses(|own| {
            own.iter().find_map(|own| if let IpAddr::V4(ip) = own.ip { Some(ip) } else { None })
        });
        let (from, to) = (own.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(), group.octets());
        // An IP header with the router alert option.
        let mut header = [
            0x46, 0xc0, 0, 32, 0, 0, 0x40, 0, 1, 2, 0, 0, from[0], from[1], from[2], from[3], to[0], to[1],
            to[2], to[3], 0x94, 4, 0, 0,
        ];
        let sum = Sum::new().add(&header).finish().to_be_bytes();
        (header[10], header[11]) = (sum[0], sum[1]);
        let mut message = [REPORT, 0, 0, 0, to[0], to[1], to[2], to[3]];
        let sum = Sum::new().add(&message).finish().to_be_bytes();
        (message[2], message[3]) = (sum[0], sum[1]);
        let parts: [&[u8]; 2] = [&header, &message];
        self.send_frame(group_mac(group), ETHER_V4, &parts, Offload::default(), output::Full::Wait);
    }
}
