//! virtio-fs (virtio 1.2, section 5.11): carries FUSE requests to the [file server](crate::fileserver).
//!
//! Queue 0 takes forgets, queue 1 everything else (forgets too).

use super::queue::VirtQueue;
use super::{DeviceSpec, FEATURE_EVENT_IDX, FEATURE_VERSION_1, Violation, VirtioDevice};
use crate::fileserver::FileServer;
use crate::machine::memory::GuestRam;
use chitin_proto::device::{CONFIG_SIZE, kind};
use std::sync::Arc;

/// Descriptors per queue: a transfer of the largest size in single pages fits.
const QUEUE_SIZE: u16 = 512;
/// Requests served before other queues are looked at.
const BATCH: usize = 256;

/// The device.
#[derive(Debug)]
pub struct Fs {
    ram: Arc<GuestRam>,
    queues: Vec<VirtQueue>,
    server: FileServer,
}

impl Fs {
    /// What the guest is told: tag `chitin`, one request queue.
    #[must_use]
    pub const fn spec() -> DeviceSpec {
        let mut config = [0; CONFIG_SIZE];
        let tag = b"chitin";
        let mut n = 0;
        while n < tag.len() {
            config[n] = tag[n];
            n += 1;
        }
        config[36] = 1;
        DeviceSpec {
            kind: kind::FS,
            queue_names: &["fs.0", "fs.1"],
            busy_queues: &[1],
            queues: 2,
            queue_size: QUEUE_SIZE,
            features: FEATURE_EVENT_IDX | FEATURE_VERSION_1,
            config,
        }
    }

    /// A device on `queues`.
    #[must_use]
    pub const fn new(ram: Arc<GuestRam>, queues: Vec<VirtQueue>, server: FileServer) -> Self {
        Self { ram, queues, server }
    }
}

impl VirtioDevice for Fs {
    fn kicked(&mut self, index: usize) -> Result<(), Violation> {
        let Some(queue) = self.queues.get_mut(index) else { return Ok(()) };
        queue.kick().clear();
        for _ in 0..BATCH {
            if let Some(mut chain) = queue.pop(&self.ram)? {
                let written = self.server.serve(&mut chain).map_err(|rule| queue.violation(rule))?;
                queue.push(&self.ram, chain.head, u32::try_from(written).unwrap_or(0))?;
                // Each answer is somebody's wake-up; do not make the first wait for the last.
                queue.notify(&self.ram)?;
            } else if !queue.wait_for_kick(&self.ram)? {
                return Ok(());
            }
        }
        // The other queue first; then here again.
        queue.kick().signal();
        Ok(())
    }

    fn queues(&self) -> &[VirtQueue] {
        &self.queues
    }
}
