//! Sending IP packets: [`Stack::send_packet`] with fragments where they may be, [`header`] for who makes packets of one
//! piece.

use super::super::Stack;
use super::super::card::output::{Full, Sent};
use super::super::checksum::Sum;
use super::super::plan::Hop;
use super::header_len;
use crate::abi::Errno;
use crate::platform::Offload;
use chitin_core::hooks::now_ns;
use core::net::IpAddr;
use core::sync::atomic::Ordering;

/// Protocol number of the fragment header of IPv6.
const FRAGMENT: u8 = 44;

/// What may be done with packets that do not fit (`IP_MTU_DISCOVER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fitting {
    /// They are cut into fragments, by us or by routers.
    Fragments,
    /// They are cut by us; routers tell what does not fit.
    Want,
    /// They are refused.
    Refuse,
    /// As that, but what routers told is not asked.
    Probe,
}

impl Fitting {
    /// What the option's value says.
    pub(in super::super) fn from_option(value: i32) -> Self {
        match value {
            0 => Self::Fragments,
            2 => Self::Refuse,
            3 => Self::Probe,
            // `IP_PMTUDISC_INTERFACE`, `IP_PMTUDISC_OMIT`: what routers say is not believed.
            4 | 5 => Self::Fragments,
            _ => Self::Want,
        }
    }
}

/// What the header of a packet says.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Envelope {
    pub(in super::super) from: IpAddr,
    pub(in super::super) to: IpAddr,
    pub(in super::super) protocol: u8,
    pub(in super::super) ttl: u8,
    pub(in super::super) tos: u8,
    pub(in super::super) fitting: Fitting,
}

/// The header of a packet with `len` bytes behind it: 20 or 40 bytes of what is returned. `None` when it is too long.
pub(in super::super) fn header(envelope: &Envelope, len: usize, id: u16, place: u16) -> Option<[u8; 40]> {
    let mut header = [0; 40];
    match (envelope.from, envelope.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [total, id, place] = [u16::try_from(len + 20).ok()?, id, place].map(u16::to_be_bytes);
            let (from, to) = (from.octets(), to.octets());
            let fields: [u8; 20] = [
                0x45,
                envelope.tos,
                total[0],
                total[1],
                id[0],
                id[1],
                place[0],
                place[1],
                envelope.ttl,
                envelope.protocol,
                0,
                0,
                from[0],
                from[1],
                from[2],
                from[3],
                to[0],
                to[1],
                to[2],
                to[3],
            ];
            let sum = Sum::new().add(&fields).finish().to_be_bytes();
            header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
            (header[10], header[11]) = (sum[0], sum[1]);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = u16::try_from(len).ok()?.to_be_bytes();
            let start = [
                0x60 | envelope.tos >> 4,
                envelope.tos << 4,
                0,
                0,
                len[0],
                len[1],
                envelope.protocol,
                envelope.ttl,
            ];
            let fields = start.into_iter().chain(from.octets()).chain(to.octets());
            header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        }
        _ => return None,
    }
    Some(header)
}

impl Stack {
    /// A number for the next packet (RFC 6864).
    pub(in super::super) fn next_id(&self) -> u32 {
        self.packet_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a packet by `hop`, in fragments if it may be and must.
    ///
    /// # Errors
    /// `EMSGSIZE` when it does not fit and may not be cut.
    pub(in super::super) fn send_packet(
        &self,
        hop: &Hop,
        envelope: &Envelope,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let link = hop.card.mtu();
        let mtu = match envelope.fitting {
            Fitting::Probe => link,
            _ => self.paths.get(envelope.to, link, now_ns()),
        };
        let mtu = usize::try_from(mtu).unwrap_or(0);
        let head = header_len(envelope.to);
        if head + payload.len() <= mtu {
            let place = if envelope.fitting == Fitting::Fragments { 0 } else { 0x4000 };
            let id = u16::try_from(self.next_id() & 0xffff).unwrap_or(0);
            let header = header(envelope, payload.len(), id, place).ok_or(Errno::EMSGSIZE)?;
            let header = header.get(..head).unwrap_or_default();
            return sent(hop.card.send_ip(
                (hop.next, hop.cast),
                &[header, payload],
                Offload::default(),
                Full::Wait,
            ));
        }
        if matches!(envelope.fitting, Fitting::Refuse | Fitting::Probe) {
            return Err(Errno::EMSGSIZE);
        }
        self.send_fragments(hop, envelope, payload, mtu)
    }

    fn send_fragments(
        &self,
        hop: &Hop,
        envelope: &Envelope,
        payload: &[u8],
        mtu: usize,
    ) -> Result<(), Errno> {
        let is_v4 = envelope.to.is_ipv4();
        let head = header_len(envelope.to) + if is_v4 { 0 } else { 8 };
        let room = mtu.saturating_sub(head) / 8 * 8;
        if room == 0 || payload.len() > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        let id = self.next_id();
        let mut offset = 0usize;
        let mut result = Ok(());
        for part in payload.chunks(room) {
            let is_more = offset + part.len() < payload.len();
            let at = u16::try_from(offset).map_err(|_| Errno::EMSGSIZE)?;
            let done = if is_v4 {
                let place = at >> 3 | if is_more { 0x2000 } else { 0 };
                let id = u16::try_from(id & 0xffff).unwrap_or(0);
                let header = header(envelope, part.len(), id, place).ok_or(Errno::EMSGSIZE)?;
                let header = header.get(..20).unwrap_or_default();
                hop.card.send_ip((hop.next, hop.cast), &[header, part], Offload::default(), Full::Wait)
            } else {
                let outer = Envelope { protocol: FRAGMENT, ..*envelope };
                let header = header(&outer, part.len() + 8, 0, 0).ok_or(Errno::EMSGSIZE)?;
                let ([place_high, place_low], id) =
                    ((at | u16::from(is_more)).to_be_bytes(), id.to_be_bytes());
                let extension = [envelope.protocol, 0, place_high, place_low, id[0], id[1], id[2], id[3]];
                hop.card.send_ip(
                    (hop.next, hop.cast),
                    &[&header, &extension, part],
                    Offload::default(),
                    Full::Wait,
                )
            };
            result = result.and(sent(done));
            offset += part.len();
        }
        result
    }
}

/// What a sender is told: what is thrown away for want of room is lost silently, as on any wire.
fn sent(sent: Sent) -> Result<(), Errno> {
    match sent {
        Sent::Gone | Sent::Dropped | Sent::Refused => Ok(()),
    }
}
