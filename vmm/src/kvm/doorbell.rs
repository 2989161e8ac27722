//! Doorbells that exit to user space.
//!
//! An ioeventfd makes a kick cheap, but each costs KVM a grace period when the VM is created. So only queues that are
//! kicked for every request have one; kicks of the others, and of the log, arrive here.

use crate::event::Event;
use std::sync::Arc;

/// Which event a port write signals.
#[derive(Debug)]
pub struct Doorbells {
    queues: Vec<(u16, u16, Arc<Event>)>,
    log: Arc<Event>,
}

impl Doorbells {
    /// Only the log's.
    #[must_use]
    pub const fn new(log: Arc<Event>) -> Self {
        Self { queues: Vec::new(), log }
    }

    /// Adds that of queue `queue` at `port`.
    pub fn add(&mut self, port: u16, queue: u16, kick: Arc<Event>) {
        self.queues.push((port, queue, kick));
    }

    /// The guest wrote `queue` to `port`. False when there is no such doorbell.
    #[must_use]
    pub fn ring(&self, port: u16, queue: u16) -> bool {
        let found = self.queues.iter().find(|(at, index, _)| (*at, *index) == (port, queue));
        found.map(|(_, _, kick)| kick.signal()).is_some()
    }

    /// The guest wrote to its log.
    pub fn ring_log(&self) {
        self.log.signal();
    }
}
