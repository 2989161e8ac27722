//! A value that is set once, usually at boot, and then only read.

use crate::sync::{AtomicU8, Ordering, const_fn};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

const EMPTY: u8 = 0;
const WRITING: u8 = 1;
const FULL: u8 = 2;

/// Set once, read often without a lock.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one thread before `state` becomes FULL and only shared references to it exist after.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    const_fn! {
        /// An empty cell.
        #[must_use]
        pub fn new() -> Self {
            Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Stores `value` if the cell is empty; returns whether it did.
    pub fn set(&self, value: T) -> bool {
        if self.state.compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: the exchange above gave this thread alone the right to write.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(FULL, Ordering::Release);
        true
    }

    /// The value, if it was set.
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: FULL was stored with Release after the write.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if self.state.load(Ordering::Relaxed) == FULL {
            // SAFETY: FULL means initialised, and `&mut self` means nobody else looks.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn first_value_stays() {
        let cell = Once::new();
        assert!(cell.get().is_none());
        assert!(cell.set(std::string::String::from("one")));
        assert!(!cell.set(std::string::String::from("two")));
        assert_eq!(cell.get().unwrap(), "one");
    }
}
