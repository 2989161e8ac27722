//! Virtio-net (virtio 1.2, section 5.1): feature bits and the header of every frame.
//!
//! Each queue pair has a receive queue (`2 * n`) and a transmit queue (`2 * n + 1`); there is no control queue. Receive
//! buffers are mergeable: a frame fills as many as it needs, [`Header::buffers`] of them. The device gives them back one
//! after the other, so the driver waits for those of a frame that are not there yet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most cards of a sandbox.
pub const MAX_CARDS: usize = 8;
/// Bytes of the Ethernet header.
pub const ETHERNET_HEADER: usize = 14;
/// Longest frame, either way: the longest IP packet with an Ethernet header.
pub const MAX_FRAME: usize = 65535 + ETHERNET_HEADER;
/// Offset of the hardware address in the configuration space; six bytes.
pub const CONFIG_MAC: usize = 0;
/// Offset of the MTU in the configuration space; two bytes.
pub const CONFIG_MTU: usize = 10;

/// Feature bits of [`crate::device::DeviceDesc::features`].
pub mod feature {
    /// The guest may leave checksums to the device.
    pub const CSUM: u64 = 1 << 0;
    /// The guest gets frames whose checksum is not there yet.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// The MTU is told.
    pub const MTU: u64 = 1 << 3;
    /// The hardware address is told.
    pub const MAC: u64 = 1 << 5;
    /// The guest gets large TCP segments over IPv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// The guest gets large TCP segments over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// The guest may send large TCP segments over IPv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// The guest may send large TCP segments over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// A received frame may fill several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The checksum is to be filled in.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum was verified.
    pub const DATA_VALID: u8 = 2;
}

/// Values of [`Header::segmentation`].
pub mod gso {
    /// One segment.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCPV4: u8 = 1;
    /// TCP over IPv6.
    pub const TCPV6: u8 = 4;
}

/// `struct virtio_net_hdr_v1`, before every frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// See [`flag`].
    pub flags: u8,
    /// See [`gso`].
    pub segmentation: u8,
    /// Bytes of all headers of a frame that is to be segmented.
    pub header_bytes: u16,
    /// TCP payload of each segment.
    pub segment_bytes: u16,
    /// Where the checksummed part of the frame begins.
    pub checksum_start: u16,
    /// Where the checksum lies, from there.
    pub checksum_offset: u16,
    /// Receiving: buffers that the frame fills.
    pub buffers: u16,
}
