//! virtio-rng (virtio 1.2, section 5.4): entropy from the host's getrandom(2).

#[cfg(test)]
mod tests;

use super::queue::VirtQueue;
use super::{DeviceSpec, FEATURE_EVENT_IDX, FEATURE_VERSION_1, Violation, VirtioDevice};
use crate::machine::memory::GuestRam;
use chitin_proto::device::{CONFIG_SIZE, kind};
use rustix::rand::{GetRandomFlags, getrandom};
use std::sync::Arc;

/// Requests served in one go before others get their turn.
const BATCH: usize = 32;
/// Most bytes given to one request.
const MAX_REQUEST: usize = 4096;

/// The device.
#[derive(Debug)]
pub struct Rng {
    ram: Arc<GuestRam>,
    queues: Vec<VirtQueue>,
}

impl Rng {
    /// What the guest is told.
    #[must_use]
    pub const fn spec() -> DeviceSpec {
        DeviceSpec {
            kind: kind::RNG,
            queue_names: &["rng.0"],
            busy_queues: &[],
            queues: 1,
            queue_size: 8,
            features: FEATURE_EVENT_IDX | FEATURE_VERSION_1,
            config: [0; CONFIG_SIZE],
        }
    }

    /// A device on `queues`.
    #[must_use]
    pub const fn new(ram: Arc<GuestRam>, queues: Vec<VirtQueue>) -> Self {
        Self { ram, queues }
    }
}

impl VirtioDevice for Rng {
    fn kicked(&mut self, index: usize) -> Result<(), Violation> {
        let Some(queue) = self.queues.get_mut(index) else { return Ok(()) };
        queue.kick().clear();
        for _ in 0..BATCH {
            if let Some(mut request) = queue.pop(&self.ram)? {
                let mut bytes = [0; MAX_REQUEST];
                let room = request.writable.left().min(MAX_REQUEST);
                let got = bytes
                    .get_mut(..room)
                    .and_then(|bytes| getrandom(bytes, GetRandomFlags::empty()).ok())
                    .unwrap_or(0);
                let written = request.writable.write(bytes.get(..got).unwrap_or_default());
                queue.push(&self.ram, request.head, u32::try_from(written).unwrap_or(0))?;
                continue;
            }
            queue.notify(&self.ram)?;
            if !queue.wait_for_kick(&self.ram)? {
                return Ok(());
            }
        }
        // Others first; then here again.
        queue.notify(&self.ram)?;
        queue.kick().signal();
        Ok(())
    }

    fn queues(&self) -> &[VirtQueue] {
        &self.queues
    }
}
