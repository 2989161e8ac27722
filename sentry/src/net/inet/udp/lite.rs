//! UDP-Lite (udplite(7), RFC 3828): UDP whose checksum may cover the start of a datagram only.

use super::super::ip;
use super::super::ports::Ports;
use super::super::settings::number;
use super::super::{Stack, UDP_LITE};
use super::Udp;
use crate::abi::Errno;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;

/// Level of its options.
pub(super) const SOL_UDP_LITE: i32 = 136;
const SEND_COVERAGE: i32 = 10;
const RECEIVE_COVERAGE: i32 = 11;

/// Bytes of the header, which are always covered.
const HEADER: u16 = 8;

/// What checksums cover; 0 is everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    sent: u16,
    /// The least that is accepted of what is covered in part, once that was set.
    received: Option<u16>,
}

impl Coverage {
    /// getsockopt(2).
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(super) fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            SEND_COVERAGE => self.sent,
            RECEIVE_COVERAGE => self.received.unwrap_or(0),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(i32::from(value).to_ne_bytes().to_vec())
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// `EINVAL`, `ENOPROTOOPT`.
    pub(super) fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        let bytes = match number(value)? {
            0 => 0,
            value => u16::try_from(value.max(i32::from(HEADER))).unwrap_or(u16::MAX),
        };
        match name {
            SEND_COVERAGE => self.sent = bytes,
            RECEIVE_COVERAGE => self.received = Some(bytes),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// What is covered of a datagram of `total` bytes with its header.
    pub(super) fn of(&self, total: usize) -> usize {
        if self.sent == 0 { total } else { usize::from(self.sent).min(total) }
    }

    /// Whether a datagram of `total` bytes of which `covered` are is accepted.
    pub(super) fn accepts(&self, covered: usize, total: usize) -> bool {
        covered >= total || self.received.is_none_or(|least| least != 0 && covered >= usize::from(least))
    }
}

impl Udp {
    pub(super) fn is_lite(&self) -> bool {
        self.base.protocol == UDP_LITE
    }

    /// The number of its protocol in packets.
    pub(super) fn protocol(&self) -> u8 {
        if self.is_lite() { ip::UDP_LITE } else { ip::UDP }
    }

    pub(super) fn coverage(&self) -> Coverage {
        self.state.lock().coverage
    }

    /// The ports of its protocol.
    pub(super) fn ports(&self) -> &SpinLock<Ports<Self>> {
        self.base.stack.datagram_ports(self.protocol())
    }
}

impl Stack {
    /// The ports of UDP or UDP-Lite.
    pub(in super::super) fn datagram_ports(&self, protocol: u8) -> &SpinLock<Ports<Udp>> {
        if protocol == ip::UDP_LITE { &self.udp_lite } else { &self.udp }
    }
}
