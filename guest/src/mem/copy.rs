//! Copies between kernel memory and the user half of the loaded address space. A fault ends the copy, it never enters the
//! sentry: the exception table sends the CPU to a fix-up that finishes the bytes before the fault.

use crate::arch::cpu;
use core::arch::{asm, global_asm};

unsafe extern "C" {
    /// Copies `len` bytes; returns how many were not copied. Either side may be user memory.
    fn copy_with_fix_up(to: *mut u8, from: *const u8, len: usize) -> usize;
}

global_asm!(
    ".balign 32",
    ".globl copy_with_fix_up",
    "copy_with_fix_up:",
    "mov rcx, rdx",
    "shr rcx, 3",
    "and edx, 7",
    "2: rep movsq",
    "mov ecx, edx",
    "3: rep movsb",
    "4: mov rax, rcx",
    "ret",
    // A fault in the words: what is left, byte by byte up to the faulting one.
    "5: lea rcx, [rdx + rcx * 8]",
    "jmp 3b",
    ".pushsection .ex_table, \"a\"",
    ".quad 2b, 5b",
    ".quad 3b, 4b",
    ".popsection",
);

/// Runs `body` with access to user pages allowed.
#[inline]
fn with_user_access<R>(body: impl FnOnce() -> R) -> R {
    let smap = cpu::has_smap();
    if smap {
        // SAFETY: SMAP exists; access is taken back below, and a fault inside goes to a fix-up inside.
        unsafe { asm!("stac", options(nostack)) };
    }
    let result = body();
    if smap {
        // SAFETY: as above.
        unsafe { asm!("clac", options(nostack)) };
    }
    result
}

/// Copies from user address `from`; returns the bytes copied.
///
/// # Safety
/// `from..from + len` lies in the user half; `to` may be written.
pub(crate) unsafe fn from_user(to: *mut u8, from: u64, len: usize) -> usize {
    // SAFETY: the caller's contract; reading user memory may fault, which the fix-up ends.
    len - with_user_access(|| unsafe { copy_with_fix_up(to, from as *const u8, len) })
}

/// Copies to user address `to`; returns the bytes copied.
///
/// # Safety
/// `to..to + len` lies in the user half; `from` may be read.
pub(crate) unsafe fn to_user(to: u64, from: *const u8, len: usize) -> usize {
    // SAFETY: the caller's contract; writes user memory, which no Rust reference covers.
    len - with_user_access(|| unsafe { copy_with_fix_up(to as *mut u8, from, len) })
}

/// Loads the aligned user word at `at`.
///
/// # Safety
/// `at` is aligned and lies in the user half.
pub(crate) unsafe fn load_user(at: u64) -> Option<u32> {
    with_user_access(|| {
        let (value, bad): (u32, u32);
        // SAFETY: the caller's contract; a fault goes to the fix-up.
        unsafe {
            asm!(
                "xor {bad:e}, {bad:e}",
                "2: mov {value:e}, [{at}]",
                "jmp 4f",
                "3: mov {bad:e}, 1",
                "4:",
                ".pushsection .ex_table, \"a\"",
                ".quad 2b, 3b",
                ".popsection",
                at = in(reg) at,
                value = out(reg) value,
                bad = out(reg) bad,
                options(nostack)
            );
        }
        (bad == 0).then_some(value)
    })
}

/// Compares and exchanges the aligned user word at `at`; returns what it held.
///
/// # Safety
/// `at` is aligned and lies in the user half.
pub(crate) unsafe fn exchange_user(at: u64, current: u32, new: u32) -> Option<u32> {
    with_user_access(|| {
        let (held, bad): (u32, u32);
        // SAFETY: the caller's contract; a fault goes to the fix-up.
        unsafe {
            asm!(
                "xor {bad:e}, {bad:e}",
                "2: lock cmpxchg [{at}], {new:e}",
                "jmp 4f",
                "3: mov {bad:e}, 1",
                "4:",
                ".pushsection .ex_table, \"a\"",
                ".quad 2b, 3b",
                ".popsection",
                at = in(reg) at,
                new = in(reg) new,
                inout("eax") current => held,
                bad = out(reg) bad,
                options(nostack)
            );
        }
        (bad == 0).then_some(held)
    })
}
