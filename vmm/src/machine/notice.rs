//! What vCPU and device threads tell the main loop: that the guest wants a CPU started, or that the VM is over.

use crate::event::Event;
use chitin_proto::layout::PowerOff;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the guest ended, before the log is consulted for the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// It said so itself.
    PowerOff(PowerOff),
    /// It cannot go on; why, and the registers.
    Crash(String),
    /// It broke a rule of a port or a device.
    Violation(String),
}

/// Mailbox with an eventfd that becomes readable when there is something.
#[derive(Debug)]
pub struct Notices {
    event: Event,
    pending: Mutex<Pending>,
}

/// What has been told since the last look.
#[derive(Debug, Default)]
pub struct Pending {
    /// CPUs to start.
    pub start: Vec<u32>,
    /// The first end that was told.
    pub end: Option<GuestEnd>,
}

impl Notices {
    /// An empty mailbox.
    ///
    /// # Errors
    /// That of eventfd(2).
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { event: Event::new()?, pending: Mutex::default() })
    }

    /// Becomes readable when something is told.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// The VM is over. Only the first call counts.
    pub fn end(&self, end: GuestEnd) {
        self.lock().end.get_or_insert(end);
        self.event.signal();
    }

    /// The guest wants CPU `index`.
    pub fn start_cpu(&self, index: u32) {
        let mut pending = self.lock();
        // The guest can ask no faster than once an exit, but nobody says when we look.
        if pending.start.len() > 2 * chitin_proto::layout::MAX_CPUS {
            pending.end.get_or_insert(GuestEnd::Violation("too many requests to start CPUs".to_owned()));
        } else {
            pending.start.push(index);
        }
        drop(pending);
        self.event.signal();
    }

    /// Takes what has been told.
    #[must_use]
    pub fn take(&self) -> Pending {
        self.event.clear();
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
