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

/// One processor of `/proc/cpuinfo`.
#[must_use]
pub fn cpu_text(cpu: u32, cpus: u32) -> String {
    format!(
        "processor\t: {cpu}\nvendor_id\t: Chitin\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: Chitin virtual CPU\n\
         stepping\t: 0\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\n\
         fpu\t\t: yes\nfpu_exception\t: yes\nwp\t\t: yes\n\
         flags\t\t: fpu tsc msr pae cx8 apic cmov fxsr sse sse2 syscall nx lm rep_good nopl cpuid pni ssse3 cx16 \
         sse4_1 sse4_2 x2apic popcnt hypervisor lahf_lm\n\
         clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\n\n"
    )
}
