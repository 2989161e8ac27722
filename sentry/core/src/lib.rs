//! The safe substrate of the sentry, and the only sentry-side crate with `unsafe` in it.
//!
//! | module | contents |
//! |---|---|
//! | [`hooks`] | what the substrate asks of the platform: which CPU, how to relax, how to park |
//! | [`lock`] | [`lock::SpinLock`] with declared levels |
//! | [`sleep`] | [`sleep::Sleeper`], the capability to sleep; [`sleep::Woken`]; [`sleep::SleepLock`] |
//! | [`wait`] | [`wait::WaitQueue`]: who wants to hear of an event |
//! | [`once`] | [`once::Once`], a value set once at boot |
//! | [`frame`] | [`frame::Frame`], owned and counted 4 KiB pages, and the buddy allocator below them |
//! | [`cpu`] | [`cpu::Regs`], [`cpu::Xstate`], [`cpu::ExitRequest`]: what it takes to run user code |
//!
//! Everything that sleeps takes a `&Sleeper`; nothing named `try_` does.
#![cfg_attr(not(feature = "loom"), no_std)]

extern crate alloc;
#[cfg(all(test, not(feature = "loom")))]
extern crate std;

pub mod cpu;
#[cfg(not(feature = "loom"))]
pub mod frame;
pub mod hooks;
pub mod lock;
#[cfg(all(test, feature = "loom"))]
mod models;
pub mod once;
pub mod sleep;
mod sync;
pub mod wait;
