//! Drivers of the paravirtual devices.
//!
//! | module | contents |
//! |---|---|
//! | [`ring`] | the split virtqueue |
//! | [`block`] | block devices |
//! | [`fuse`] | the request channel of virtio-fs |
//! | [`net`] | network cards |
//! | [`vsock`] | packets of virtio-vsock |
//!
//! Interrupt handlers only mark queues; [`interrupts`] serves them at a safe point, where locks may be taken.

pub(crate) mod block;
pub(crate) mod fuse;
pub(crate) mod net;
pub(crate) mod ring;
pub(crate) mod vsock;

use alloc::vec::Vec;
use block::Block;
use chitin_core::lock::Level;
use chitin_core::once::Once;
use chitin_proto::boot::BootInfo;
use chitin_proto::device::{DeviceDesc, kind};
use chitin_sentry::platform::{BlockPort, FuseChannel, NetPort, VsockPort, device_events};
use fuse::Fuse;
use net::Net;
use vsock::Vsock;

/// Level of the drivers' locks: above the sentry's, below the memory allocators'.
pub(crate) const LEVEL: Level = Level(230);

static FUSE: Once<Fuse> = Once::new();
static VSOCK: Once<Vsock> = Once::new();
/// By their index; `None` for one that cannot be driven.
static CARDS: Once<Vec<Option<Net>>> = Once::new();
/// By their slot.
static BLOCKS: Once<Vec<Block>> = Once::new();

/// Finds the devices in the boot information.
pub(crate) fn init(boot: &'static BootInfo) {
    let (mut cards, mut blocks) = (Vec::new(), Vec::new());
    for (index, device) in boot.devices.iter().take(boot.device_count as usize).enumerate() {
        match device.kind {
            kind::FS => {
                if let Some(fuse) = Fuse::new(device) {
                    FUSE.set(fuse);
                }
            }
            kind::VSOCK => {
                if let Some(vsock) = Vsock::new(device) {
                    VSOCK.set(vsock);
                }
            }
            kind::BLOCK => blocks.push(Block::new(device, index)),
            kind::NET => cards.push(Net::new(device)),
            _ => {}
        }
    }
    CARDS.set(cards);
    BLOCKS.set(blocks);
}

/// The bits of `interrupts` that belong to a device.
fn vectors(device: &DeviceDesc) -> u64 {
    let one_each = 1u64.checked_shl(u32::from(device.queues)).map_or(u64::MAX, |bit| bit - 1);
    one_each.checked_shl(u32::from(device.first_vector)).unwrap_or(0)
}

/// Serves device queues whose interrupt came: bit `n` is vector `VECTOR_QUEUE + n`.
pub(crate) fn interrupts(queues: u64) {
    if let Some(fuse) = FUSE.get()
        && queues & fuse.vectors() != 0
    {
        fuse.serve();
    }
    if let Some(vsock) = VSOCK.get()
        && queues & vsock.vectors() != 0
        && let Some(events) = device_events()
    {
        events.vsock_ready();
    }
    for block in BLOCKS.get().into_iter().flatten() {
        if queues & block.vectors() != 0 {
            block.serve();
        }
    }
    for (index, card) in CARDS.get().into_iter().flatten().enumerate() {
        if let Some(card) = card
            && queues & card.vectors() != 0
            && let Some(events) = device_events()
        {
            events.net_ready(index);
        }
    }
}

/// The file channel.
pub(crate) fn fuse() -> Option<&'static dyn FuseChannel> {
    FUSE.get().map(|fuse| -> &'static dyn FuseChannel { fuse })
}

/// The socket device.
pub(crate) fn vsock() -> Option<&'static dyn VsockPort> {
    VSOCK.get().map(|vsock| -> &'static dyn VsockPort { vsock })
}

/// The network card of that index.
pub(crate) fn net(card: usize) -> Option<&'static dyn NetPort> {
    CARDS.get()?.get(card)?.as_ref().map(|net| -> &'static dyn NetPort { net })
}

/// The block device slot of that index.
pub(crate) fn block(slot: usize) -> Option<&'static dyn BlockPort> {
    BLOCKS.get()?.get(slot).map(|block| -> &'static dyn BlockPort { block })
}
