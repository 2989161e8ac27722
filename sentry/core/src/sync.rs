//! Atomics of the machine, or those of the model checker loom under the feature `loom`.
//!
//! Only locks, wait queues and [`crate::once`] exist under loom: `cargo test -p chitin-core --features loom`.

#[cfg(not(feature = "loom"))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
#[cfg(feature = "loom")]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};

/// One round of waiting for another CPU.
pub(crate) fn spin() {
    #[cfg(not(feature = "loom"))]
    core::hint::spin_loop();
    #[cfg(feature = "loom")]
    loom::thread::yield_now();
}

/// A function that is `const` but under loom, whose atomics cannot be made at compile time.
macro_rules! const_fn {
    ($(#[$meta:meta])* pub fn $($rest:tt)*) => {
        #[cfg(not(feature = "loom"))]
        $(#[$meta])*
        pub const fn $($rest)*
        #[cfg(feature = "loom")]
        $(#[$meta])*
        pub fn $($rest)*
    };
}
pub(crate) use const_fn;
