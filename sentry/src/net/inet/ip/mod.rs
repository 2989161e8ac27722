//! IP over cards (RFC 791, RFC 8200): [`parse`] takes received packets apart, [`reassembly`] puts fragments together,
//! [`output`] sends, [`path`] remembers what fits through a path, [`icmp`] tells and hears of errors.
//!
//! Everything in a received packet is hostile: lengths are tested against what is there, nothing is allocated by a
//! length that a packet names, and what waits (fragments, path MTUs) is bounded in number, bytes and time.

pub(super) mod icmp;
pub(super) mod input;
pub(super) mod output;
pub(super) mod parse;
pub(super) mod path;
pub(super) mod reassembly;

use super::interface::Cast;
use core::net::IpAddr;

/// Protocol number of ICMP.
pub(super) const ICMP: u8 = 1;
/// Protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(super) const UDP: u8 = 17;
/// Protocol number of UDP-Lite.
pub(super) const UDP_LITE: u8 = 136;
/// Protocol number of ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// Ethernet type of IPv4.
pub(super) const ETHER_V4: u16 = 0x0800;
/// Ethernet type of IPv6.
pub(super) const ETHER_V6: u16 = 0x86dd;

/// The Ethernet type of packets to an address.
pub(super) fn ether_type(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { ETHER_V4 } else { ETHER_V6 }
}

/// Bytes of the IP header of packets that we send to an address.
pub(super) fn header_len(ip: IpAddr) -> usize {
    if ip.is_ipv4() { 20 } else { 40 }
}

/// A received packet, complete and with a sound header.
#[derive(Clone, Copy)]
pub(super) struct Inbound<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    /// Index of the interface that it came by.
    pub(super) device: u32,
    /// Who it is for.
    pub(super) cast: Cast,
    /// What follows the headers.
    pub(super) payload: &'a [u8],
    /// The whole packet, for ICMP errors that quote it.
    pub(super) whole: &'a [u8],
}
