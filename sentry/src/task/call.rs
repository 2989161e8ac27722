//! [`CallRecord`]: the system call that a task is in, for `/proc/PID/syscall` and for who looks into a sandbox that seems to
//! hang. The number is noted at every call, the rest only by calls that may wait.

use crate::fs::proc::CallDetails;
use chitin_core::cpu::Regs;
use core::sync::atomic::{AtomicU64, Ordering};

/// Written by the task alone; others read it while the task sleeps, and what they read of one that runs may be mixed.
#[derive(Default)]
pub(crate) struct CallRecord {
    number: AtomicU64,
    /// Which of the task's calls the details belong to, counted from 1.
    sequence: AtomicU64,
    arguments: [AtomicU64; 6],
    stack_pointer: AtomicU64,
    pc: AtomicU64,
}

impl CallRecord {
    pub(super) fn begin(&self, number: u16) {
        self.number.store(u64::from(number), Ordering::Relaxed);
    }

    /// Notes the details of the task's call number `sequence`.
    pub(super) fn describe(&self, sequence: u64, regs: &Regs) {
        let arguments = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        self.arguments.iter().zip(arguments).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
        self.stack_pointer.store(regs.rsp, Ordering::Relaxed);
        self.pc.store(regs.rip, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Release);
    }

    /// The number of the call that began last, and its details if it noted them; `sequence` is how many calls the task has
    /// begun.
    pub(super) fn get(&self, sequence: u64) -> (u64, Option<CallDetails>) {
        let is_described = sequence != 0 && self.sequence.load(Ordering::Acquire) == sequence;
        let details = is_described.then(|| CallDetails {
            arguments: self.arguments.each_ref().map(|place| place.load(Ordering::Relaxed)),
            stack_pointer: self.stack_pointer.load(Ordering::Relaxed),
            pc: self.pc.load(Ordering::Relaxed),
        });
        (self.number.load(Ordering::Relaxed), details)
    }
}
