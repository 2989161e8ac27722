//! The kernel log: written to the platform, and kept for syslog(2).

use crate::platform;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock of the lines kept.
const LEVEL: Level = Level(235);
/// Bytes kept.
pub const SIZE: usize = 32 << 10;

struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

static KEPT: SpinLock<Kept> = SpinLock::new(LEVEL, Kept { lines: VecDeque::new(), bytes: 0 });

/// Writes whole lines to the log.
pub fn write(text: &str) {
    platform::get().log(text);
    let now = crate::task::now_ns();
    for line in text.lines() {
        keep(format!("<6>[{:5}.{:06}] {line}\n", now / 1_000_000_000, now / 1000 % 1_000_000));
    }
}

fn keep(line: String) {
    let dropped = {
        let mut kept = KEPT.lock();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        let mut dropped = Vec::new();
        while kept.bytes > SIZE
            && let Some(first) = kept.lines.pop_front()
        {
            kept.bytes -= first.len();
            dropped.push(first);
        }
        dropped
    };
    drop(dropped);
}

/// What dmesg shows: the banner and the lines kept, the latest `max` bytes of whole lines.
#[must_use]
pub fn read(max: usize) -> Vec<u8> {
    let banner = format!(
        "<5>[    0.000000] Linux version {} {}\n<6>[    0.000000] Chitin: this kernel is the Chitin sentry\n",
        crate::abi::version::RELEASE,
        crate::abi::version::VERSION
    );
    let kept = KEPT.lock();
    let mut first = kept.lines.len();
    let mut len = banner.len();
    while let Some(line) = first.checked_sub(1).and_then(|at| kept.lines.get(at)) {
        if len + line.len() > max {
            break;
        }
        len += line.len();
        first -= 1;
    }
    let mut text = if banner.len() <= max { banner.into_bytes() } else { Vec::new() };
    kept.lines.iter().skip(first).for_each(|line| text.extend_from_slice(line.as_bytes()));
    text
}
