//! Wait queues: who wants to hear of an event.
//!
//! A waiter registers its [`Waker`], tests its condition, and parks; dropping the [`Registration`] takes it out. Wakers
//! are handles only, nothing here polls futures. An event source calls [`WaitQueue::wake_all`] after its state changed.
//! Registrations may outlive nothing: the queue's list is shared by an `Arc` made with the first waiter, so a queue that
//! nobody waits on costs two words.

use crate::lock::{Level, SpinLock};
use crate::sync::{AtomicUsize, Ordering, const_fn, fence};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;

/// Level of the lock inside a wait queue: innermost but for the scheduler's own.
pub const LEVEL: Level = Level(240);

/// Waiters that are woken without allocating.
const FEW: usize = 4;

/// Tells a waiter of which one is enough; answers whether somebody there takes care of the event.
pub type Exclusive = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct List {
    next_key: u64,
    wakers: Vec<(u64, Waker)>,
    /// Asked one after another until one takes the event.
    exclusive: Vec<(u64, Exclusive)>,
}

/// Threads (and epoll entries) that wait for an event.
pub struct WaitQueue {
    waiting: AtomicUsize,
    list: SpinLock<Option<Arc<SpinLock<List>>>>,
}

impl WaitQueue {
    const_fn! {
        /// Nobody waits.
        #[must_use]
        pub fn new() -> Self {
            Self { waiting: AtomicUsize::new(0), list: SpinLock::new(LEVEL, None) }
        }
    }

    /// Adds `waker`; it is woken by every [`WaitQueue::wake_all`] until the registration is dropped.
    pub fn register(&self, waker: &Waker) -> Registration {
        let list = {
            let mut list = self.list.lock();
            list.get_or_insert_with(|| Arc::new(SpinLock::new(Level(LEVEL.0 + 1), List::default()))).clone()
        };
        let key = {
            let mut inner = list.lock();
            let key = inner.next_key;
            inner.next_key += 1;
            inner.wakers.push((key, waker.clone()));
            key
        };
        self.waiting.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Registration { list, key }
    }

    /// Adds a waiter of which one is enough (`EPOLLEXCLUSIVE`): a wake-up goes to the first that answers that it takes it.
    pub fn register_exclusive(&self, waiter: Exclusive) -> Registration {
        let registration = self.register(Waker::noop());
        let mut list = registration.list.lock();
        list.wakers.retain(|(key, _)| *key != registration.key);
        list.exclusive.push((registration.key, waiter));
        drop(list);
        registration
    }

    /// Wakes everyone registered.
    pub fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Wakes up to `count` waiters, the longest waiting first; returns how many were woken. The woken stay registered
    /// until they drop their registration.
    pub fn wake(&self, count: usize) -> usize {
        // Pairs with the fence in `register`: either the waiter sees the state that changed before this call, or
        // this call sees the waiter.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let Some(list) = self.list.lock().clone() else { return 0 };
        // Most queues have one or two waiters: those cost no memory.
        let mut few = [const { None }; FEW];
        let mut more = Vec::new();
        let mut woken = 0;
        let exclusive = {
            let list = list.lock();
            for (_, waker) in list.wakers.iter().take(count) {
                match few.get_mut(woken) {
                    Some(slot) => *slot = Some(waker.clone()),
                    None => more.push(waker.clone()),
                }
                woken += 1;
            }
            if list.exclusive.is_empty() { Vec::new() } else { list.exclusive.clone() }
        };
        if woken == 0 && exclusive.is_empty() {
            self.waiting.store(0, Ordering::SeqCst);
            // A registration may have come in between: look again.
            let left = list.lock();
            let come = !left.wakers.is_empty() || !left.exclusive.is_empty();
            drop(left);
            if come {
                self.waiting.store(1, Ordering::SeqCst);
                return self.wake(count);
            }
        }
        few.into_iter().flatten().chain(more).for_each(Waker::wake);
        let _ = exclusive.iter().any(|(_, waiter)| waiter());
        woken
    }

    /// Whether anybody is registered.
    pub fn is_empty(&self) -> bool {
        self.list.lock().as_ref().is_none_or(|list| list.lock().wakers.is_empty())
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("WaitQueue")
    }
}

/// Membership of a [`WaitQueue`]; dropping it ends it.
pub struct Registration {
    list: Arc<SpinLock<List>>,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut list = self.list.lock();
        if let Some(at) = list.wakers.iter().position(|(key, _)| *key == self.key) {
            let removed = list.wakers.remove(at);
            drop(list);
            drop(removed);
        } else if let Some(at) = list.exclusive.iter().position(|(key, _)| *key == self.key) {
            let removed = list.exclusive.remove(at);
            drop(list);
            drop(removed);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_the_registered_and_only_them() {
        let queue = WaitQueue::new();
        let first = std::sync::Arc::new(Count(AtomicU32::new(0)));
        let second = std::sync::Arc::new(Count(AtomicU32::new(0)));
        assert_eq!(queue.wake(1), 0);
        let one = queue.register(&first.clone().into());
        let two = queue.register(&second.clone().into());
        assert_eq!(queue.wake(1), 1);
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (1, 0));
        drop(one);
        queue.wake_all();
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (1, 1));
        drop(two);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_exclusive_waiter_is_enough() {
        let queue = WaitQueue::new();
        let told = std::sync::Arc::new(std::sync::Mutex::new(std::vec::Vec::new()));
        let waiter = |number: u32, takes: bool| {
            let told = told.clone();
            queue.register_exclusive(Arc::new(move || {
                told.lock().unwrap().push(number);
                takes
            }))
        };
        let _busy = waiter(1, false);
        let free = waiter(2, true);
        let _other = waiter(3, true);
        queue.wake_all();
        assert_eq!(*told.lock().unwrap(), [1, 2]);
        drop(free);
        queue.wake_all();
        assert_eq!(*told.lock().unwrap(), [1, 2, 1, 3]);
    }
}
