//! What packet sockets see of a card, and frames that they send.

use super::super::Stack;
use super::super::link::{Checksum, LinkSocket, Seen, kind};
use super::output::{Full, Sent};
use super::{Card, ETHERNET, arp};
use crate::platform::Offload;
use core::sync::atomic::Ordering;

impl Card {
    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// A frame came for `to`.
    pub(super) fn show_received(&self, stack: &Stack, bytes: &[u8], to: [u8; 6], trusts: bool) {
        let kind = match to {
            arp::ALL => kind::BROADCAST,
            [first, ..] if first & 1 != 0 => kind::MULTICAST,
            to if to == self.mac => kind::HOST,
            _ => kind::OTHER,
        };
        let checksum = if trusts { Checksum::Valid } else { Checksum::Unknown };
        stack.show_frame(&Seen { bytes, device: self.index, hardware: ETHERNET, kind, checksum }, None);
    }

    /// A frame is sent.
    pub(super) fn show_sent(&self, bytes: &[u8], offload: Offload, sender: Option<&LinkSocket>) {
        let Some(stack) = self.stack.upgrade() else { return };
        let checksum = if offload.checksum_start.is_some() { Checksum::NotReady } else { Checksum::Unknown };
        let seen = Seen { bytes, device: self.index, hardware: ETHERNET, kind: kind::OUTGOING, checksum };
        stack.show_frame(&seen, sender);
    }

    /// Sends a frame as it is.
    pub(in super::super) fn send_raw(&self, bytes: &[u8], sender: &LinkSocket) -> Sent {
        let sent = self.send_parts(&[bytes], Offload::default(), Full::Wait);
        self.flush();
        self.show_sent(bytes, Offload::default(), Some(sender));
        sent
    }
}
