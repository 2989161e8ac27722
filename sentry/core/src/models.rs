//! Loom models: every interleaving of a few threads.

use crate::lock::{Level, SpinLock};
use crate::once::Once;
use crate::wait::WaitQueue;
use alloc::sync::Arc;
use core::task::Waker;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A value that loom lets only one thread at a time touch.
struct Guarded(UnsafeCell<u32>);

// SAFETY: loom panics when it is used by two threads at once, which is what the models look for.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn add(&self) -> u32 {
        self.0.with_mut(|value| {
            // SAFETY: loom hands out a pointer that is valid now.
            let value = unsafe { &mut *value };
            *value += 1;
            *value
        })
    }
}

#[test]
fn a_spin_lock_excludes() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::new(Level(1), Guarded(UnsafeCell::new(0))));
        let other = lock.clone();
        let thread = thread::spawn(move || other.lock().add());
        let own = lock.lock().add();
        let other = thread.join().unwrap();
        assert_eq!(own + other, 3);
        if let Some(guard) = lock.try_lock() {
            assert_eq!(guard.add(), 3);
        }
    });
}

#[test]
fn a_cell_is_set_once_and_seen_whole() {
    loom::model(|| {
        let cell = Arc::new(Once::new());
        let other = cell.clone();
        let thread = thread::spawn(move || other.set(Guarded(UnsafeCell::new(7))));
        if let Some(seen) = cell.get() {
            seen.0.with(|value| {
                // SAFETY: loom hands out a pointer that is valid now.
                assert_eq!(unsafe { *value }, 7);
            });
        }
        assert!(thread.join().unwrap());
        assert!(!cell.set(Guarded(UnsafeCell::new(8))));
    });
}

struct Unpark(thread::Thread);

impl alloc::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the state to reach `target`, as sleeping code does: register, look, park.
fn wait_for(queue: &WaitQueue, state: &AtomicUsize, target: usize) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let _registration = queue.register(&waker);
    while state.load(Ordering::Acquire) < target {
        thread::park();
    }
}

#[test]
fn no_wake_up_is_lost() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.1.store(1, Ordering::Release);
            other.0.wake_all();
        });
        wait_for(&shared.0, &shared.1, 1);
        thread.join().unwrap();
        assert!(shared.0.is_empty());
    });
}

#[test]
fn a_waiter_that_comes_late_is_woken_by_the_next() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
        let other = shared.clone();
        // The first wake-up finds nobody and lowers the flag while the waiter registers.
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                other.1.fetch_add(1, Ordering::AcqRel);
                other.0.wake_all();
            }
        });
        drop(shared.0.register(Waker::noop()));
        wait_for(&shared.0, &shared.1, 2);
        thread.join().unwrap();
    });
}
