//! [`CallRecord`]: the system call that a task is in, for `/proc/PID/syscall` and for who looks into a sandbox that seems to
//! hang. It is noted when a call puts the task to sleep.

use crate::fs::proc::CallDetails;
use chitin_core::cpu::Regs;
use core::sync::atomic::{AtomicU64, Ordering};

/// Written by the task alone; others read it while the task sleeps, and what they read of one that runs may be mixed.
#[derive(Default)]
pub(crate) struct CallRecord {
    number: AtomicU64,
    /// Which of the task's calls this is, counted from 1.
    sequence: AtomicU64,
    arguments: [AtomicU64; 6],
    stack_pointer: AtomicU64,
    pc: AtomicU64,
}

impl CallRecord {
    /// Notes the task's call number `sequence`.
    pub(super) fn note(&self, sequence: u64, regs: &Regs) {
        self.number.store(regs.orig_rax, Ordering::Relaxed);
        let arguments = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        self.arguments.iter().zip(arguments).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
        self.stack_pointer.store(regs.rsp, Ordering::Relaxed);
        self.pc.store(regs.rip, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Release);
    }

    /// The call that began last, if it put the task to sleep; `sequence` is how many calls the task has begun.
    pub(super) fn get(&self, sequence: u64) -> Option<CallDetails> {
        let is_noted = sequence != 0 && self.sequence.load(Ordering::Acquire) == sequence;
        is_noted.then(|| CallDetails {
            number: self.number.load(Ordering::Relaxed),
            arguments: self.arguments.each_ref().map(|place| place.load(Ordering::Relaxed)),
            stack_pointer: self.stack_pointer.load(Ordering::Relaxed),
            pc: self.pc.load(Ordering::Relaxed),
        })
    }
}
