//! Spin locks with declared levels.
//!
//! A lock of level `n` may be taken only while every lock held by the thread has a lower level. Debug builds keep the
//! stack of held locks and panic on a violation and on sleeping with a spin lock held; release builds pay nothing.
//! Kernel code is not preempted and interrupt handlers take no spin lock, so interrupts stay on.

use crate::hooks;
use crate::sync::{AtomicBool, Ordering, const_fn};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU8, AtomicUsize};

/// Place of a lock in the order: only locks of a higher level may be taken below it. Same level: not together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub u8);

/// Mutual exclusion for short sections that never sleep.
pub struct SpinLock<T: ?Sized> {
    locked: AtomicBool,
    level: Level,
    value: UnsafeCell<T>,
}

// SAFETY: the guard gives out references to the value only to the one thread that holds the lock.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}
// SAFETY: owning the lock is owning the value.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    const_fn! {
        /// A free lock of the given level.
        pub fn new(level: Level, value: T) -> Self {
            Self { locked: AtomicBool::new(false), level, value: UnsafeCell::new(value) }
        }
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock, spinning while another CPU has it.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        if cfg!(debug_assertions)
            && let Some(hooks) = hooks::get()
        {
            hooks.lock_point();
            hooks.held_locks().push(self.level);
        }
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.relax();
        }
        SpinGuard { lock: self, not_send: PhantomData }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        if cfg!(debug_assertions)
            && let Some(hooks) = hooks::get()
        {
            hooks.held_locks().push_unordered(self.level);
        }
        Some(SpinGuard { lock: self, not_send: PhantomData })
    }

    /// The value, without locking: the caller has the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    fn relax(&self) {
        while self.locked.load(Ordering::Relaxed) {
            match hooks::get() {
                Some(hooks) => hooks.relax(),
                None => crate::sync::spin(),
            }
        }
    }
}

impl<T: ?Sized + core::fmt::Debug> core::fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("SpinLock").field(&&*guard).finish(),
            None => f.write_str("SpinLock(locked)"),
        }
    }
}

/// The right to use the value of a [`SpinLock`].
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    not_send: PhantomData<*const ()>,
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while this thread holds the lock, and it is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
        if cfg!(debug_assertions)
            && let Some(hooks) = hooks::get()
        {
            hooks.held_locks().pop(self.lock.level);
        }
    }
}

const MAX_HELD: usize = 16;

/// Locks held by one thread (hosted) or one CPU (bare metal), in debug builds.
#[derive(Debug)]
pub struct HeldLocks {
    levels: [AtomicU8; MAX_HELD],
    count: AtomicUsize,
}

impl HeldLocks {
    /// Nothing held.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: [const { AtomicU8::new(0) }; MAX_HELD], count: AtomicUsize::new(0) }
    }

    /// Number of spin locks held.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    #[expect(clippy::panic, reason = "a wrong lock order is a bug of the sentry; debug builds stop at it")]
    fn push(&self, level: Level) {
        let count = self.count();
        for held in self.levels.iter().take(count) {
            let held = held.load(Ordering::Relaxed);
            if held >= level.0 {
                panic!("lock order: taking level {} while holding level {held}", level.0);
            }
        }
        self.push_unordered(level);
    }

    fn push_unordered(&self, level: Level) {
        let count = self.count();
        if let Some(slot) = self.levels.get(count) {
            slot.store(level.0, Ordering::Relaxed);
        }
        self.count.store(count + 1, Ordering::Relaxed);
    }

    fn pop(&self, level: Level) {
        // Guards may be dropped in any order: remove the topmost entry of this level.
        let count = self.count();
        let top = count.min(MAX_HELD);
        if let Some(at) = (0..top).rev().find(|at| self.levels[*at].load(Ordering::Relaxed) == level.0) {
            for next in at + 1..top {
                self.levels[next - 1].store(self.levels[next].load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.count.store(count.saturating_sub(1), Ordering::Relaxed);
    }
}

impl Default for HeldLocks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn excludes_and_counts() {
        let lock = std::sync::Arc::new(SpinLock::new(Level(1), 0u64));
        let threads: std::vec::Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || {
                    (0..if cfg!(miri) { 20 } else { 1000 }).for_each(|_| *lock.lock() += 1)
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*lock.lock(), if cfg!(miri) { 80 } else { 4000 });
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn held_locks_allow_any_release_order() {
        let held = HeldLocks::new();
        held.push(Level(1));
        held.push(Level(5));
        held.pop(Level(1));
        held.push(Level(6));
        held.pop(Level(6));
        held.pop(Level(5));
        assert_eq!(held.count(), 0);
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn wrong_order_panics() {
        let held = HeldLocks::new();
        held.push(Level(5));
        held.push(Level(5));
    }
}
