//! Tests of the platform on the machine itself, instead of the sentry.

use chitin_core::sleep::Sleeper;
use chitin_proto::boot::BootInfo;

/// Runs all tests and powers off.
pub(crate) fn run(_sleeper: &Sleeper, _boot: &'static BootInfo) {}
