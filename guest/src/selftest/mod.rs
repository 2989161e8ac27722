//! Tests of the platform on the machine itself, instead of the sentry: `chitin-vmm boot --guest ELF` prints their lines
//! `ok NAME` and `not ok NAME`, measurements as `measure NAME VALUE ns`, and ends with a count.
//!
//! | module | tests |
//! |---|---|
//! | [`program`] | the ring-3 programs, and how one is set up |
//! | [`user`] | system calls, faults, exceptions, extended state |
//! | [`memory`] | heap, address spaces, copies that fault |
//! | [`threads`] | park, wake, deadlines, preemption, shoot-down on several CPUs |
//! | [`devices`] | file channel and sockets |
//! | [`card`] | the network card |
//! | [`block`] | the block device |

mod block;
mod card;
mod devices;
mod memory;
mod program;
mod threads;
mod user;

use crate::log::log;
use crate::platform::Guest;
use chitin_core::sleep::Sleeper;
use chitin_proto::boot::BootInfo;
use chitin_proto::layout::PowerOff;
use core::sync::atomic::{AtomicU32, Ordering};

static PASSED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Runs all tests and powers off.
pub(crate) fn run(sleeper: &Sleeper, boot: &'static BootInfo) {
    memory::run();
    user::run();
    threads::run(sleeper, boot.cpus as usize);
    devices::run(sleeper);
    let (passed, failed) = (PASSED.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed));
    log!("{passed} passed, {failed} failed, 0 skipped");
    Guest::get().power_off(if failed == 0 { PowerOff::Orderly } else { PowerOff::Panic });
}

/// Notes and prints the outcome of a test.
fn check(name: &str, good: bool) {
    let counter = if good { &PASSED } else { &FAILED };
    counter.fetch_add(1, Ordering::Relaxed);
    log!("{} {name}", if good { "ok" } else { "not ok" });
}

/// Like [`check`] for two values, which are printed when they differ.
fn check_eq<T: PartialEq + core::fmt::Debug>(name: &str, found: &T, wanted: &T) {
    check(name, found == wanted);
    if found != wanted {
        log!("  found  {found:x?}");
        log!("  wanted {wanted:x?}");
    }
}

/// Prints a measurement.
fn measure(name: &str, ns: u64, rounds: u64) {
    let tenths = ns.saturating_mul(10) / rounds.max(1);
    log!("measure {name} {}.{} ns", tenths / 10, tenths % 10);
}
