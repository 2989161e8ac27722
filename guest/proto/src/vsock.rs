//! Virtio-vsock (virtio 1.2, section 5.10): the packet header and Chitin's ports.
//!
//! Queue 0 is rx, 1 is tx, 2 is event. Only stream sockets are used. The guest opens every connection, to host
//! CID 2; the VMM answers a request for a port that has a stream attached to it ([`crate::vmm::Request::AttachStream`])
//! and resets any other.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CID of the host.
pub const HOST_CID: u64 = 2;
/// CID of the guest.
pub const GUEST_CID: u64 = 3;

/// Host port of the control channel ([`crate::control`]).
pub const PORT_CONTROL: u32 = 1;
/// First host port for stdio streams; the shim hands them out.
pub const PORT_STREAMS: u32 = 1024;

/// Largest payload of one packet.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Packet operations.
pub mod op {
    /// Open a connection.
    pub const REQUEST: u16 = 1;
    /// Accept it.
    pub const RESPONSE: u16 = 2;
    /// Refuse or end it at once.
    pub const RST: u16 = 3;
    /// No more data in the direction(s) of [`super::flag`].
    pub const SHUTDOWN: u16 = 4;
    /// Payload.
    pub const RW: u16 = 5;
    /// Tells buffer space.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks for a credit update.
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flags of [`op::SHUTDOWN`].
pub mod flag {
    /// The sender will receive no more.
    pub const SHUTDOWN_RECV: u32 = 1;
    /// The sender will send no more.
    pub const SHUTDOWN_SEND: u32 = 2;
}

/// `struct virtio_vsock_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct Header {
    /// CID of the sender.
    pub src_cid: u64,
    /// CID of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Payload bytes.
    pub len: u32,
    /// Socket type, 1 = stream.
    pub kind: u16,
    /// Operation, see [`op`].
    pub op: u16,
    /// Flags, see [`flag`].
    pub flags: u32,
    /// Bytes of receive buffer of the sender.
    pub buf_alloc: u32,
    /// Bytes the sender has consumed of what it received, modulo 2^32.
    pub fwd_cnt: u32,
}
