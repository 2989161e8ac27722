//! The Chitin guest kernel: the bare-metal platform of the sentry.
//!
//! The VMM enters [`boot`] in 64-bit mode; boot sets up the CPU ([`arch`]), memory ([`mem`]) and threads ([`sched`]),
//! finds the devices ([`virtio`]), installs [`platform::Guest`] and starts the sentry on a thread of its own.
//!
//! Nothing here knows what a system call means. What goes wrong ends in [`report`].
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits on the only target; register halves are cut on purpose"
)]

extern crate alloc;

mod arch;
mod boot;
mod clock;
mod entropy;
mod log;
mod mem;
mod platform;
mod report;
mod sched;
#[cfg(feature = "selftest")]
mod selftest;
mod vdso;
mod virtio;
