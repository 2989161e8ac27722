//! Virtio devices on Chitin's transport ([`chitin_proto::device`]).
//!
//! A device is a folder: the device with its configuration, its queue handler, its tests. All see their queues as
//! [`queue::VirtQueue`]s and requests as [`chain::Chain`]s whose every byte is hostile: what a well-behaved guest cannot
//! do is a [`Violation`] and ends the sandbox.

pub mod block;
pub mod chain;
pub mod fs;
pub mod io;
pub mod net;
pub mod queue;
pub mod rng;
pub mod vsock;
pub mod worker;

#[cfg(test)]
pub(crate) mod driver;

use chitin_proto::device::CONFIG_SIZE;
use queue::VirtQueue;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// `VIRTIO_F_EVENT_IDX`, always on.
pub const FEATURE_EVENT_IDX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1`, always on.
pub const FEATURE_VERSION_1: u64 = 1 << 32;

/// What the guest is told about a device.
#[derive(Clone, Debug)]
pub struct DeviceSpec {
    /// [`chitin_proto::device::kind`].
    pub kind: u32,
    /// Name of each queue, `device.queue`.
    pub queue_names: &'static [&'static str],
    /// Queues that are kicked for every request: they get an ioeventfd each.
    pub busy_queues: &'static [u16],
    /// Number of queues.
    pub queues: u16,
    /// Descriptors per queue.
    pub queue_size: u16,
    /// Features.
    pub features: u64,
    /// Configuration space.
    pub config: [u8; CONFIG_SIZE],
}

/// The guest broke a rule of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{queue}: {rule}")]
pub struct Violation {
    /// Queue name.
    pub queue: &'static str,
    /// What it did.
    pub rule: String,
}

/// A device whose work is only to serve its queues.
pub trait VirtioDevice: Send {
    /// Serves what is in queue `index`, which the guest has kicked.
    ///
    /// # Errors
    /// [`Violation`] ends the sandbox.
    fn kicked(&mut self, index: usize) -> Result<(), Violation>;

    /// The queues, for waiting and counting.
    fn queues(&self) -> &[VirtQueue];

    /// A descriptor to be watched beside the queues, as long as this returns one.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// [`VirtioDevice::source`] is readable, or in error.
    ///
    /// # Errors
    /// [`Violation`] ends the sandbox.
    fn source_ready(&mut self) -> Result<(), Violation> {
        Ok(())
    }

    /// When [`VirtioDevice::deadline_passed`] is to be called, if at all.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// [`VirtioDevice::deadline`] has come.
    ///
    /// # Errors
    /// [`Violation`] ends the sandbox.
    fn deadline_passed(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}
