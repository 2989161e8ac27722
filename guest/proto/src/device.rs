//! The transport: standard split virtqueues (virtio 1.2, section 2.7) at places that the VMM lays out before boot.
//!
//! There is no status register, no feature negotiation and no reset: guest and VMM ship together, so the VMM writes
//! down what it offers and the guest uses exactly that. A queue is live from the first instruction.
//!
//! * kick: 16-bit write of the queue's index to the device's doorbell port (an ioeventfd with datamatch where kicks are
//!   frequent, else an exit),
//! * interrupt: one MSI route and irqfd per queue, vector [`crate::layout::VECTOR_QUEUE`] + `first_vector + queue`,
//!   delivered to CPU 0,
//! * `VIRTIO_F_EVENT_IDX` is always on, indirect descriptors are off.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Virtio device type numbers (virtio 1.2, section 5) of [`DeviceDesc::kind`].
pub mod kind {
    /// Network card.
    pub const NET: u32 = 1;
    /// Block device.
    pub const BLOCK: u32 = 2;
    /// Entropy source.
    pub const RNG: u32 = 4;
    /// Memory balloon.
    pub const BALLOON: u32 = 5;
    /// Socket device.
    pub const VSOCK: u32 = 19;
    /// File system device.
    pub const FS: u32 = 26;
}

/// Bytes of device configuration in [`DeviceDesc::config`].
pub const CONFIG_SIZE: usize = 64;

/// One device. `kind == 0` marks an unused entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceDesc {
    /// Virtio device type, see [`kind`].
    pub kind: u32,
    /// Number of queues.
    pub queues: u16,
    /// Descriptors per queue, a power of two.
    pub queue_size: u16,
    /// Doorbell port.
    pub doorbell: u16,
    /// Index of the first queue among all queues of all devices.
    pub first_vector: u16,
    /// Keeps the next field aligned.
    pub reserved: u32,
    /// Feature bits in force.
    pub features: u64,
    /// Guest-physical address of the rings, [`ring_bytes`] for each queue, page aligned each.
    pub rings: u64,
    /// Device-specific configuration space (virtio 1.2, section 5.x.4).
    pub config: [u8; CONFIG_SIZE],
}

/// Offset of the available ring from the start of a queue's memory.
#[must_use]
pub const fn avail_offset(queue_size: u16) -> u64 {
    queue_size as u64 * 16
}

/// Offset of the used ring from the start of a queue's memory.
#[must_use]
pub const fn used_offset(queue_size: u16) -> u64 {
    (avail_offset(queue_size) + 6 + 2 * queue_size as u64 + 3) & !3
}

/// Bytes of one queue's memory: descriptor table, available ring, used ring, rounded up to pages.
#[must_use]
pub const fn ring_bytes(queue_size: u16) -> u64 {
    (used_offset(queue_size) + 6 + 8 * queue_size as u64 + 4095) & !4095
}
