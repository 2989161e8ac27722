//! The flusher: a kernel thread that writes back what user code wrote to mapped files, some seconds later.
//!
//! It sleeps without a timer until the first page becomes dirty, so that an idle sandbox stays idle.

use super::reclaim;
use crate::platform::{self, OutOfMemory};
use alloc::boxed::Box;
use chitin_core::sleep::Sleeper;
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, Ordering};

/// How long changes may stay in memory alone (Linux: `dirty_writeback_centisecs`).
const DELAY_NS: u64 = 5_000_000_000;

static NOTICED: AtomicBool = AtomicBool::new(false);
static QUEUE: WaitQueue = WaitQueue::new();

/// A page is about to become dirty. Cheap when the flusher knows already.
#[inline]
pub fn notice() {
    if !NOTICED.load(Ordering::Relaxed) && !NOTICED.swap(true, Ordering::SeqCst) {
        QUEUE.wake_all();
    }
}

/// Starts the flusher. For boot, once.
///
/// # Errors
/// [`OutOfMemory`] when there is no thread for it.
pub fn start() -> Result<(), OutOfMemory> {
    platform::get().spawn("flusher", Box::new(run)).map(drop)
}

fn run(sleeper: &Sleeper) {
    let _registration = QUEUE.register(&sleeper.waker());
    loop {
        while !NOTICED.load(Ordering::SeqCst) {
            sleeper.park(None);
        }
        let deadline = sleeper.now_ns().saturating_add(DELAY_NS);
        while sleeper.now_ns() < deadline {
            sleeper.park(Some(deadline));
        }
        // Pages that become dirty from here on are for the next round.
        NOTICED.store(false, Ordering::SeqCst);
        reclaim::flush_all(sleeper);
    }
}
