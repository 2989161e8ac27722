//! The sentry: the Linux system-call ABI in safe Rust. It knows no hardware and no hypervisor.
//!
//! Rooms, higher ones first; a lower room does not name a higher one:
//! `syscall → {task, exec, signal, fs, net, mm, ipc, time} → objects (file, node, mapping, wait) → platform`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests compute with small numbers"
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "hosted"))]
extern crate std;

pub mod abi;
pub mod bpf;
pub mod cache;
pub mod control;
pub mod exec;
pub mod fs;
pub mod ipc;
pub mod log;
pub mod mm;
pub mod net;
pub mod platform;
pub mod security;
pub mod signal;
pub mod syscall;
pub mod task;
pub mod time;
pub mod user;
pub mod wait;

/// Starts the sentry on the installed platform: the boot thread's body.
///
/// Brings up the root file systems and the control channel, and serves until the machine is powered off.
pub fn main(sleeper: &chitin_core::sleep::Sleeper) {
    log::write(&alloc::format!(
        "Linux version {}",
        abi::version::proc_version().trim_start_matches("Linux version ")
    ));
    mm::pressure::init();
    if cache::flusher::start().is_err() {
        log::write("sentry: no memory for the flusher\n");
    }
    if let Err(errno) = control::serve(sleeper) {
        log::write(&alloc::format!("sentry: control channel: {}\n", errno.text()));
    }
    cache::reclaim::flush_all(sleeper);
    platform::get().power_off(chitin_proto::layout::PowerOff::Orderly);
}
