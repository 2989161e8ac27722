//! What the guest kernel and the host side share.
//!
//! | module | contents |
//! |---|---|
//! | [`layout`] | where things are in guest-physical and kernel-virtual memory, and which port does what |
//! | [`boot`] | [`boot::BootInfo`], the page that the VMM fills before the first guest instruction |
//! | [`device`] | the transport: one [`device::DeviceDesc`] per virtio device, rings laid out by the VMM |
//! | [`block`] | virtio-blk's configuration, requests and status |
//! | [`fuse`] | FUSE wire structures spoken over virtio-fs |
//! | [`net`] | virtio-net's frame header and feature bits |
//! | [`network`] | interfaces, addresses and routes of a pod |
//! | [`vsock`] | virtio-vsock packet header and the reserved ports |
//! | [`frame`] | length-prefixed frames with a postcard payload, used on every control channel |
//! | [`vmm`] | messages between the shim and the VMM |
//! | [`control`] | messages between the shim and the sentry |
//!
//! Guest and VMM ship together: [`VERSION`] is compared at boot and a mismatch is refused, so nothing here carries
//! compatibility code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod boot;
pub mod control;
pub mod device;
pub mod frame;
pub mod fuse;
pub mod layout;
pub mod net;
pub mod network;
pub mod vmm;
pub mod vsock;

/// Version of everything in this crate; raised with every incompatible change.
pub const VERSION: u32 = 2;
