//! Taking IP packets apart: [`parse_v4`], [`parse_v6`].

use super::super::checksum::Sum;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers of an IPv6 packet that are looked at.
const MAX_EXTENSIONS: usize = 8;

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Fragment {
    /// Names the packet, together with its addresses.
    pub(in super::super) id: u32,
    /// Offset in the packet's payload; a multiple of 8.
    pub(in super::super) offset: u16,
    /// More follow.
    pub(in super::super) is_more: bool,
}

/// A packet or a fragment of one.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Parsed<'a> {
    pub(in super::super) from: IpAddr,
    pub(in super::super) to: IpAddr,
    pub(in super::super) protocol: u8,
    pub(in super::super) ttl: u8,
    pub(in super::super) tos: u8,
    pub(in super::super) fragment: Option<Fragment>,
    pub(in super::super) payload: &'a [u8],
    /// The packet without what the link added behind it.
    pub(in super::super) whole: &'a [u8],
}

/// Two bytes of a header, in network byte order.
pub(in super::super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Four bytes of a header, in network byte order.
pub(in super::super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Takes an IPv4 packet apart; `quoted` packets, in ICMP errors, may be cut off and have any checksum.
pub(in super::super) fn parse_v4(packet: &[u8], quoted: bool) -> Option<Parsed<'_>> {
    let header = packet.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total = usize::from(word(packet, 2)?);
    if header[0] >> 4 != 4 || header_len < 20 || total < header_len {
        return None;
    }
    let whole = packet.get(..if quoted { total.min(packet.len()) } else { total })?;
    let full_header = whole.get(..header_len)?;
    if !quoted && Sum::new().add(full_header).finish() != 0 {
        return None;
    }
    // Source routes would have us send to where the sender says.
    if !quoted && has_source_route(full_header.get(20..).unwrap_or_default()) {
        return None;
    }
    let place = word(packet, 6)?;
    let (offset, is_more) = ((place & 0x1fff) << 3, place & 0x2000 != 0);
    let id = u32::from(word(packet, 4)?);
    let fragment = (offset != 0 || is_more).then_some(Fragment { id, offset, is_more });
    Some(Parsed {
        from: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        to: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol: header[9],
        ttl: header[8],
        tos: header[1],
        fragment,
        payload: whole.get(header_len..)?,
        whole,
    })
}

fn has_source_route(mut options: &[u8]) -> bool {
    loop {
        match options {
            [] | [0, ..] => return false,
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] | [_] | [_, 0 | 1, ..] => return true,
            [_, len, ..] => match options.get(usize::from(*len)..) {
                Some(rest) => options = rest,
                None => return true,
            },
        }
    }
}

/// Takes an IPv6 packet apart, as far as the first header that is no extension.
pub(in super::super) fn parse_v6(packet: &[u8], quoted: bool) -> Option<Parsed<'_>> {
    let header = packet.first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let total = usize::from(word(packet, 4)?) + 40;
    let whole = packet.get(..if quoted { total.min(packet.len()) } else { total })?;
    let address = |at: usize| {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets))
    };
    let (mut protocol, mut rest) = (header[6], whole.get(40..)?);
    let mut fragment = None;
    for _ in 0..MAX_EXTENSIONS {
        let len = match protocol {
            // Hop-by-hop options, destination options.
            0 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            // A routing header must have nothing left to visit.
            43 if *rest.get(3)? == 0 => (usize::from(*rest.get(1)?) + 1) * 8,
            43 => return None,
            44 if fragment.is_none() => {
                let place = word(rest, 2)?;
                let (offset, is_more) = (place & 0xfff8, place & 1 != 0);
                fragment = Some(Fragment { id: long(rest, 4)?, offset, is_more });
                8
            }
            _ => break,
        };
        protocol = *rest.first()?;
        rest = rest.get(len..)?;
        // What follows the first fragment's header is looked at when the packet is whole.
        if fragment.is_some_and(|part| part.offset != 0 || part.is_more) {
            break;
        }
    }
    // A fragment that is the whole packet (RFC 6946).
    let fragment = fragment.filter(|part| part.offset != 0 || part.is_more);
    Some(Parsed {
        from: address(8)?.into(),
        to: address(24)?.into(),
        protocol,
        ttl: header[7],
        tos: header[0] << 4 | header[1] >> 4,
        fragment,
        payload: rest,
        whole,
    })
}

/// Takes a packet of either family apart.
pub(in super::super) fn parse(packet: &[u8], quoted: bool) -> Option<Parsed<'_>> {
    match packet.first()? >> 4 {
        4 => parse_v4(packet, quoted),
        6 => parse_v6(packet, quoted),
        _ => None,
    }
}
