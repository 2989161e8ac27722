//! Drivers of the paravirtual devices.

use chitin_proto::boot::BootInfo;
use chitin_sentry::platform::{FuseChannel, VsockPort};

/// Finds the devices in the boot information.
pub(crate) fn init(_boot: &'static BootInfo) {}

/// Serves device queues whose interrupt came: bit `n` is vector `VECTOR_QUEUE + n`.
pub(crate) fn interrupts(_queues: u64) {}

/// The file channel.
pub(crate) fn fuse() -> Option<&'static dyn FuseChannel> {
    None
}

/// The socket device.
pub(crate) fn vsock() -> Option<&'static dyn VsockPort> {
    None
}
