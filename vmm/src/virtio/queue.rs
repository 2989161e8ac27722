//! One virtqueue: rings at a fixed place, a doorbell, an interrupt.

use super::Violation;
use super::chain::Chain;
use crate::event::Event;
use crate::machine::memory::GuestRam;
use chitin_proto::device::{avail_offset, used_offset};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::GuestAddress;

/// A virtqueue, device side.
#[derive(Debug)]
pub struct VirtQueue {
    name: &'static str,
    ring: Queue,
    descriptors: u64,
    kick: Arc<Event>,
    interrupt: Event,
    served: Arc<AtomicU64>,
}

/// Why a queue could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make queue {0}: {1}")]
pub struct QueueError(&'static str, std::io::Error);

impl VirtQueue {
    /// The queue of `size` descriptors whose rings begin at guest-physical `rings`.
    ///
    /// # Errors
    /// [`QueueError`] for a bad size or address, or when eventfd(2) fails.
    pub fn new(name: &'static str, size: u16, rings: u64) -> Result<Self, QueueError> {
        let invalid = |error: virtio_queue::Error| QueueError(name, std::io::Error::other(error));
        let event = || Event::new().map_err(|error| QueueError(name, error));
        let mut ring = Queue::new(size).map_err(invalid)?;
        ring.try_set_size(size).map_err(invalid)?;
        ring.try_set_desc_table_address(GuestAddress(rings)).map_err(invalid)?;
        ring.try_set_avail_ring_address(GuestAddress(rings + avail_offset(size))).map_err(invalid)?;
        ring.try_set_used_ring_address(GuestAddress(rings + used_offset(size))).map_err(invalid)?;
        ring.set_event_idx(true);
        ring.set_ready(true);
        Ok(Self {
            name,
            ring,
            descriptors: rings,
            kick: Arc::new(event()?),
            interrupt: event()?,
            served: Arc::default(),
        })
    }

    /// Name for messages and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Becomes readable when the guest kicks.
    #[must_use]
    pub const fn kick(&self) -> &Arc<Event> {
        &self.kick
    }

    /// A write to it interrupts the guest.
    #[must_use]
    pub const fn interrupt(&self) -> &Event {
        &self.interrupt
    }

    /// Counter of requests given back.
    #[must_use]
    pub const fn served(&self) -> &Arc<AtomicU64> {
        &self.served
    }

    /// A violation of this queue's rules.
    #[must_use]
    pub fn violation(&self, rule: impl Into<String>) -> Violation {
        Violation { queue: self.name, rule: rule.into() }
    }

    /// Takes the next request.
    ///
    /// # Errors
    /// [`Violation`] for an impossible ring index or descriptor.
    pub fn pop<'r>(&mut self, ram: &'r GuestRam) -> Result<Option<Chain<'r>>, Violation> {
        let (name, size, table) = (self.name, self.ring.size(), self.descriptors);
        let wrong = |rule: String| Violation { queue: name, rule };
        let mut available = self.ring.iter(ram.map()).map_err(|error| wrong(error.to_string()))?;
        let Some(head) = available.next().map(|chain| chain.head_index()) else { return Ok(None) };
        Chain::collect(ram, table, size, head).map(Some).map_err(|broken| wrong(broken.to_string()))
    }

    /// Gives the last popped request back to the ring, to be popped again later.
    pub fn unpop(&mut self) {
        self.ring.set_next_avail(self.ring.next_avail().wrapping_sub(1));
    }

    /// Returns a request with `written` bytes of answer.
    ///
    /// # Errors
    /// [`Violation`] for a head that no ring has.
    pub fn push(&mut self, ram: &GuestRam, head: u16, written: u32) -> Result<(), Violation> {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.ring
            .add_used(ram.map(), head, written)
            .map_err(|error| Violation { queue: self.name, rule: error.to_string() })
    }

    /// Interrupts the guest if it wants to know of what was pushed.
    ///
    /// # Errors
    /// [`Violation`] if the ring is not RAM, which cannot be.
    pub fn notify(&mut self, ram: &GuestRam) -> Result<(), Violation> {
        let wanted = self
            .ring
            .needs_notification(ram.map())
            .map_err(|error| Violation { queue: self.name, rule: error.to_string() })?;
        if wanted {
            self.interrupt.signal();
        }
        Ok(())
    }

    /// Asks for a kick at the next request. True when there is one already.
    ///
    /// # Errors
    /// [`Violation`] if the ring is not RAM, which cannot be.
    pub fn wait_for_kick(&mut self, ram: &GuestRam) -> Result<bool, Violation> {
        self.ring
            .enable_notification(ram.map())
            .map_err(|error| Violation { queue: self.name, rule: error.to_string() })
    }
}

#[cfg(test)]
mod tests;
