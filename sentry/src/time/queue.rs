//! [`Timer`]: something that happens when a deadline passes, called by one worker thread.
//!
//! Lock order: the lock of the object that owns a timer (held around [`Timer::set`], taken by [`Expire::expired`]), then the
//! queue's. The worker calls targets with no lock held.

use crate::abi::Errno;
use crate::platform;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Weak;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use core::task::Waker;

/// Level of the queue's lock.
pub(crate) const LEVEL: Level = Level(200);

/// What a timer does. Called by the worker: it must not sleep.
pub trait Expire: Send + Sync {
    /// The deadline may have passed: look, for the timer may have been set anew meanwhile. Periodic timers set themselves.
    fn expired(&self, now_ns: u64);
}

struct Queue {
    /// By deadline, then by timer.
    entries: BTreeMap<(u64, u64), Weak<dyn Expire>>,
    next_id: u64,
    worker: Option<Waker>,
    started: bool,
}

static QUEUE: SpinLock<Queue> =
    SpinLock::new(LEVEL, Queue { entries: BTreeMap::new(), next_id: 0, worker: None, started: false });

/// A deadline with something to do at it. Owned by the object that acts; ends with it.
pub struct Timer {
    id: u64,
    target: Weak<dyn Expire>,
    deadline_ns: Option<u64>,
}

impl Timer {
    /// A timer that is not set. [`Timer::prepare`] was called before.
    #[must_use]
    pub fn new(target: Weak<dyn Expire>) -> Self {
        let mut queue = QUEUE.lock();
        queue.next_id += 1;
        Self { id: queue.next_id, target, deadline_ns: None }
    }

    /// Starts the worker, unless it runs. Call with no lock held.
    ///
    /// # Errors
    /// `EAGAIN` when its thread cannot be started.
    pub fn prepare() -> Result<(), Errno> {
        if core::mem::replace(&mut QUEUE.lock().started, true) {
            return Ok(());
        }
        platform::get().spawn("timers", Box::new(work)).map(drop).map_err(|_| {
            QUEUE.lock().started = false;
            Errno::EAGAIN
        })
    }

    /// When it is due (monotonic), if it is set.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Sets or stops the timer. A target that is being called at this moment may still run once.
    pub fn set(&mut self, deadline_ns: Option<u64>) {
        let mut queue = QUEUE.lock();
        let old = self.deadline_ns.and_then(|old| queue.entries.remove(&(old, self.id)));
        self.deadline_ns = deadline_ns;
        let waker = deadline_ns.and_then(|deadline| {
            let earliest = queue.entries.first_key_value().is_none_or(|(first, _)| deadline < first.0);
            queue.entries.insert((deadline, self.id), self.target.clone());
            if earliest { queue.worker.clone() } else { None }
        });
        drop(queue);
        drop(old);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.deadline_ns.is_some() {
            self.set(None);
        }
    }
}

/// Leaves the queue as it was before the worker started, should the worker's thread end.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = QUEUE.lock();
        queue.started = false;
        queue.worker = None;
        let entries = core::mem::take(&mut queue.entries);
        drop(queue);
        drop(entries);
    }
}

fn work(sleeper: &Sleeper) {
    let _running = Running;
    QUEUE.lock().worker = Some(sleeper.waker());
    loop {
        let now_ns = sleeper.now_ns();
        let mut queue = QUEUE.lock();
        match queue.entries.first_entry() {
            Some(entry) if entry.key().0 <= now_ns => {
                let target = entry.remove();
                drop(queue);
                if let Some(target) = target.upgrade() {
                    target.expired(now_ns);
                }
            }
            first => {
                let next = first.map(|entry| entry.key().0);
                drop(queue);
                sleeper.park(next);
            }
        }
    }
}
