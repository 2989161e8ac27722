//! [`UndoList`]: the semaphores that a process, or tasks made with `CLONE_SYSVSEM`, changed with `SEM_UNDO` (semop(2)).

use super::sem::SemSet;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Level of the lock of a list: nothing is taken below it.
const LEVEL: Level = Level(154);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Sets with adjustments to be undone. When the last task lets go of the list, they are.
pub struct UndoList {
    id: u64,
    pid: AtomicU32,
    sets: SpinLock<Vec<Weak<SemSet>>>,
}

impl UndoList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            pid: AtomicU32::new(0),
            sets: SpinLock::new(LEVEL, Vec::new()),
        })
    }

    /// Identity, as the owner of adjustments.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// `set` may have adjustments of this list from now on, made by `pid`.
    pub fn add(&self, set: &Arc<SemSet>, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
        let mut sets = self.sets.lock();
        if !sets.iter().any(|other| core::ptr::eq(other.as_ptr(), Arc::as_ptr(set))) {
            sets.retain(|other| other.strong_count() > 0);
            sets.push(Arc::downgrade(set));
        }
    }
}

impl Drop for UndoList {
    fn drop(&mut self) {
        let pid = self.pid.load(Ordering::Relaxed);
        for set in core::mem::take(self.sets.get_mut()) {
            if let Some(set) = set.upgrade() {
                set.undo(self.id, pid);
            }
        }
    }
}
