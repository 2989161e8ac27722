//! Sleeping is a capability: what may sleep takes a [`Sleeper`], and only a thread body is given one.

use crate::hooks;
use crate::lock::{Level, SpinLock};
use crate::sync::{AtomicBool, const_fn};
use crate::wait::WaitQueue;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;
use core::task::Waker;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// What was waited for may have happened.
    Ready,
    /// A signal (or another request to return to user mode) is pending.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// Tells whether the sleeping thread should give up: a pending signal, a kill.
pub trait Interrupt: Sync {
    /// An unmasked signal is pending, or the task must exit.
    fn interrupted(&self) -> bool;
    /// The task must exit.
    fn killed(&self) -> bool;
    /// The task is about to sleep in a call that it made with these registers.
    fn parks(&self, regs: &crate::cpu::Regs) {
        let _ = regs;
    }
}

/// The capability to sleep, of one kernel thread. Neither `Send` nor `Clone`.
pub struct Sleeper {
    not_send: PhantomData<*const ()>,
}

impl Sleeper {
    /// For platforms: called once at the start of a kernel thread, on that thread.
    ///
    /// # Safety
    /// The caller is the platform, on a thread that may park, and hands the value only to that thread's body.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self { not_send: PhantomData }
    }

    /// For the hosted platform: runs `body` with the capability. Any thread of an ordinary host may park, so this is safe.
    #[cfg(not(target_os = "none"))]
    pub fn with_hosted<R>(body: impl FnOnce(&Self) -> R) -> R {
        body(&Self { not_send: PhantomData })
    }

    /// Sleeps until woken, or until `deadline_ns` (monotonic). May return early: callers loop over their condition.
    ///
    /// # Panics
    /// In debug builds when the caller holds a spin lock.
    pub fn park(&self, deadline_ns: Option<u64>) {
        if let Some(hooks) = hooks::get() {
            debug_assert_eq!(hooks.held_locks().count(), 0, "sleeping with a spin lock held");
            hooks.park(deadline_ns);
        }
    }

    /// A handle that wakes this thread.
    ///
    /// # Panics
    /// Never once the hooks are installed.
    #[must_use]
    pub fn waker(&self) -> Waker {
        hooks::get().map_or_else(|| Waker::noop().clone(), hooks::Hooks::waker)
    }

    /// Monotonic time in ns.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        hooks::get().map_or(0, hooks::Hooks::now_ns)
    }

    /// Lets other threads run before this one goes on, as sched_yield(2) does.
    pub fn give_way(&self) {
        if let Some(hooks) = hooks::get() {
            debug_assert_eq!(hooks.held_locks().count(), 0, "rescheduling with a spin lock held");
            hooks.give_way();
        }
    }

    /// Lets other threads run, should it be their turn; every loop over more than about a thousand pages calls it.
    pub fn resched_point(&self) {
        if let Some(hooks) = hooks::get() {
            debug_assert_eq!(hooks.held_locks().count(), 0, "rescheduling with a spin lock held");
            hooks.yield_now();
        }
    }
}

/// Mutual exclusion for sections that may sleep: directories, inode writes, renames, mounts.
///
/// Not interruptible: holders finish in bounded time.
pub struct SleepLock<T: ?Sized> {
    locked: AtomicBool,
    waiters: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: as for SpinLock, the guard belongs to the one thread that holds the lock.
unsafe impl<T: ?Sized + Send> Sync for SleepLock<T> {}
// SAFETY: owning the lock is owning the value.
unsafe impl<T: ?Sized + Send> Send for SleepLock<T> {}

impl<T> SleepLock<T> {
    const_fn! {
        /// A free lock.
        pub fn new(value: T) -> Self {
            Self { locked: AtomicBool::new(false), waiters: WaitQueue::new(), value: UnsafeCell::new(value) }
        }
    }
}

impl<T: ?Sized> SleepLock<T> {
    /// Takes the lock, sleeping while another thread has it.
    pub fn lock<'a>(&'a self, sleeper: &Sleeper) -> SleepGuard<'a, T> {
        if let Some(guard) = self.try_lock() {
            return guard;
        }
        let entry = self.waiters.register(&sleeper.waker());
        loop {
            if let Some(guard) = self.try_lock() {
                drop(entry);
                return guard;
            }
            sleeper.park(None);
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SleepGuard<'_, T>> {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(SleepGuard { lock: self })
    }
}

/// The right to use the value of a [`SleepLock`].
pub struct SleepGuard<'a, T: ?Sized> {
    lock: &'a SleepLock<T>,
}

impl<T: ?Sized> Deref for SleepGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for SleepGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while the lock is held, and it is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for SleepGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
        self.lock.waiters.wake_all();
    }
}

/// A value that changes rarely and is read as a clone, such as an `Arc`.
pub struct Shared<T: Clone>(SpinLock<T>);

impl<T: Clone> Shared<T> {
    const_fn! {
        /// Wraps a value; `level` as for [`SpinLock`].
        pub fn new(level: Level, value: T) -> Self {
            Self(SpinLock::new(level, value))
        }
    }

    /// A clone of the value.
    pub fn get(&self) -> T {
        self.0.lock().clone()
    }

    /// Puts another value in its place and returns the old one.
    pub fn replace(&self, value: T) -> T {
        core::mem::replace(&mut *self.0.lock(), value)
    }
}
