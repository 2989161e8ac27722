//! What the sentry calls itself towards programs.

use alloc::format;
use alloc::string::String;

/// `uname -r`: a release whose features programs may expect.
pub const RELEASE: &str = "6.1.0-chitin";
/// `uname -v`.
pub const VERSION: &str = concat!("#1 SMP PREEMPT_DYNAMIC Chitin ", env!("CARGO_PKG_VERSION"));

/// `uname -r` under the personality `UNAME26`: 2.6.(60 + minor), and what follows the first three numbers.
#[must_use]
pub fn release_26() -> String {
    let minor: u32 = RELEASE.split('.').nth(1).and_then(|part| part.parse().ok()).unwrap_or(0);
    let is_number = |byte: char| byte.is_ascii_digit() || byte == '.';
    format!("2.6.{}{}", 60 + minor, RELEASE.trim_start_matches(is_number))
}

/// `/proc/version`.
#[must_use]
pub fn proc_version() -> String {
    format!("Linux version {RELEASE} (chitin@chitin) (rustc) {VERSION}\n")
}
