//! [`Rights`]: descriptors in flight (unix(7), `SCM_RIGHTS`).
//!
//! A socket whose only reference waits in its own inbox, directly or through others, would never be freed. Such a message
//! is refused with `ETOOMANYREFS`, as is one that nests more than [`MAX_DEPTH`] sockets; so there is nothing to collect.

use super::Unix;
use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::net::socket;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinGuard, SpinLock};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors of one message (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;
/// Sockets in flight inside one another.
const MAX_DEPTH: usize = 4;
/// Descriptors in flight in the sandbox.
const MAX_IN_FLIGHT: usize = 1 << 16;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// Held from the look for cycles until the message is queued, so that no two messages close a cycle together.
static SENDING: SpinLock<()> = SpinLock::new(Level(136), ());

/// Descriptors of a message, counted while they are in flight.
#[derive(Default)]
pub(super) struct Rights(Vec<Arc<OpenFile>>);

impl Rights {
    /// Puts descriptors into flight.
    ///
    /// # Errors
    /// `ETOOMANYREFS` when too many are.
    pub(super) fn new(files: Vec<Arc<OpenFile>>) -> Result<Self, Errno> {
        if IN_FLIGHT.fetch_add(files.len(), Ordering::Relaxed) + files.len() > MAX_IN_FLIGHT {
            IN_FLIGHT.fetch_sub(files.len(), Ordering::Relaxed);
            return Err(Errno::ETOOMANYREFS);
        }
        Ok(Self(files))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn files(&self) -> &[Arc<OpenFile>] {
        &self.0
    }

    /// Takes them out of flight.
    pub(super) fn take(&mut self) -> Vec<Arc<OpenFile>> {
        IN_FLIGHT.fetch_sub(self.0.len(), Ordering::Relaxed);
        core::mem::take(&mut self.0)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// The unix socket behind an open file.
fn unix_of(file: &OpenFile) -> Option<&Unix> {
    socket::of(file).ok()?.socket().as_any().downcast_ref()
}

/// Makes sure that queueing `files` at `target` closes no cycle. The guard is kept until they are queued; files met on the way
/// are put into `met`, to be let go after that.
///
/// # Errors
/// `ETOOMANYREFS`.
pub(super) fn check(
    files: &[Arc<OpenFile>],
    target: &Unix,
    met: &mut Vec<Arc<OpenFile>>,
) -> Result<Option<SpinGuard<'static, ()>>, Errno> {
    if files.iter().all(|file| unix_of(file).is_none()) {
        return Ok(None);
    }
    let guard = SENDING.lock();
    let mut level: Vec<Arc<OpenFile>> = files.to_vec();
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for socket in level.iter().filter_map(|file| unix_of(file)) {
            if core::ptr::eq(socket, target) {
                return Err(Errno::ETOOMANYREFS);
            }
            socket.collect_rights(&mut next);
        }
        met.append(&mut level);
        if next.iter().all(|file| unix_of(file).is_none()) {
            met.append(&mut next);
            return Ok(Some(guard));
        }
        level = next;
    }
    met.append(&mut level);
    Err(Errno::ETOOMANYREFS)
}
