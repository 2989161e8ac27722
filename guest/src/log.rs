//! The log ring that the VMM reads, even after a triple fault.

use crate::arch::cpu;
use chitin_proto::boot::LogHeader;
use chitin_proto::layout::{DIRECT_VA, LOG_OFFSET, LOG_SIZE, PORT_LOG, RAM_GPA};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const HEADER: u64 = size_of::<LogHeader>() as u64;
const CAPACITY: u64 = LOG_SIZE - HEADER;
/// How long a report waits for a writer that may never finish.
const PATIENCE: u32 = 1_000_000;

static WRITING: AtomicBool = AtomicBool::new(false);

/// Appends text and rings the doorbell.
pub(crate) fn write(text: &str) {
    append(text.as_bytes());
    cpu::out32(PORT_LOG, 0);
}

fn append(bytes: &[u8]) {
    let mut patience = PATIENCE;
    while WRITING.swap(true, Ordering::Acquire) && patience > 0 {
        core::hint::spin_loop();
        patience -= 1;
    }
    let ring = DIRECT_VA + RAM_GPA + LOG_OFFSET;
    // SAFETY: the ring is part of the fixed layout; the header's first word is `head`, which only the guest writes.
    let head = unsafe { &*(ring as *const AtomicU64) };
    let mut at = head.load(Ordering::Relaxed);
    for byte in bytes {
        // SAFETY: inside the ring by the modulus.
        unsafe { ((ring + HEADER + at % CAPACITY) as *mut u8).write_volatile(*byte) };
        at = at.wrapping_add(1);
    }
    head.store(at, Ordering::Release);
    WRITING.store(false, Ordering::Release);
}

/// A writer for `write!`: gathers a line, so that lines of different CPUs do not mix.
pub(crate) struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    /// An empty line.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; 256], len: 0 }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.get(..self.len) {
            append(bytes);
            cpu::out32(PORT_LOG, 0);
        }
    }
}

/// Writes a formatted line, newline included, to the log.
macro_rules! log {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        let mut line = $crate::log::Line::new();
        let _ = writeln!(line, $($argument)*);
    }};
}
pub(crate) use log;
