//! Reports of what must not happen: panics, exceptions in ring 0, NMIs. Each prints where, and who called whom by frame
//! pointers, and ends the machine (but an NMI's).

use crate::arch::entry::{self, TrapFrame};
use crate::arch::{cpu, percpu, trap};
use crate::log::log;
use crate::mem::stacks;
use chitin_core::cpu::Regs;
use chitin_proto::layout::{DATA_VA, DIRECT_VA, PowerOff};
use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

const MAX_DEPTH: usize = 32;

/// One CPU reports, the first.
static REPORTING: AtomicBool = AtomicBool::new(false);

fn begin() {
    cpu::interrupts_off();
    if REPORTING.swap(true, Ordering::AcqRel) {
        // Another CPU is at it, or the report itself failed.
        cpu::halt_for_ever();
    }
}

fn current_name() -> &'static str {
    let thread = percpu::this().current.load(Ordering::Relaxed);
    if thread.is_null() {
        return "boot";
    }
    // SAFETY: the running thread lives.
    unsafe { (*thread).name }
}

/// Whether two words can be read at `address` without a fault.
fn is_stack(address: u64) -> bool {
    let in_stack = stacks::contains(address) && !stacks::is_guard(address);
    // Boot stacks and interrupt stacks lie in the direct map, below the image.
    let in_direct = (DIRECT_VA..DIRECT_VA + (1 << 46)).contains(&address);
    address.is_multiple_of(8) && (in_stack || in_direct || address >= DATA_VA)
}

/// Prints `first`, if it is not 0, and the return addresses above `frame`.
fn backtrace(first: u64, frame: u64) {
    if first != 0 {
        log!("  at {first:#x}");
    }
    let mut frame = frame;
    for _ in 0..MAX_DEPTH {
        if !is_stack(frame) || frame & 0xfff > 0xff0 && !is_stack(frame + 8) {
            return;
        }
        // SAFETY: kernel code is built with frame pointers, so a pointer into a stack leads to a saved frame pointer
        // and a return address.
        let (next, back) = unsafe { ((frame as *const u64).read(), (frame as *const u64).add(1).read()) };
        if !entry::is_text(back) {
            return;
        }
        log!("  at {back:#x}");
        if next <= frame {
            return;
        }
        frame = next;
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let frame: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    begin();
    log!("chitin: panic on CPU {} in thread {}:", percpu::this().number(), current_name());
    log!("{}", info.message());
    if let Some(location) = info.location() {
        log!("  in {location}");
    }
    backtrace(0, frame);
    trap::stop(PowerOff::Panic)
}

/// An exception in ring 0 that has no fix-up.
pub(crate) fn exception(frame: &TrapFrame, address: Option<u64>) -> ! {
    begin();
    let name = match frame.vector {
        0 => "division error",
        6 => "invalid instruction",
        8 => "double fault",
        13 => "general protection fault",
        14 => "page fault",
        18 => "machine check",
        _ => "exception",
    };
    log!(
        "chitin: {name} (vector {}, code {:#x}) in ring 0 on CPU {} in thread {}",
        frame.vector,
        frame.error,
        percpu::this().number(),
        current_name()
    );
    if let Some(address) = address {
        let overflow = stacks::is_guard(address) || stacks::is_guard(frame.rsp);
        log!("  address {address:#x}{}", if overflow { ": kernel stack overflow" } else { "" });
    }
    registers(frame);
    backtrace(frame.rip, frame.rbp);
    trap::stop(PowerOff::Exception)
}

fn registers(frame: &TrapFrame) {
    log!(
        "  rip {:#x} rsp {:#x} rbp {:#x} flags {:#x} cs {:#x}",
        frame.rip,
        frame.rsp,
        frame.rbp,
        frame.rflags,
        frame.cs
    );
    log!("  rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x}", frame.rax, frame.rbx, frame.rcx, frame.rdx);
    log!("  rsi {:#x} rdi {:#x} r8 {:#x} r9 {:#x}", frame.rsi, frame.rdi, frame.r8, frame.r9);
    log!("  r10 {:#x} r11 {:#x} r12 {:#x} r13 {:#x}", frame.r10, frame.r11, frame.r12, frame.r13);
    log!("  r14 {:#x} r15 {:#x} ss {:#x}", frame.r14, frame.r15, frame.ss);
}

/// An NMI: the host wants to know where this CPU is. The machine goes on.
pub(crate) fn not_maskable(frame: &TrapFrame) {
    let user = frame.cs & 3 != 0;
    log!(
        "chitin: CPU {} is in {} in thread {}",
        percpu::this().number(),
        if user { "user mode" } else { "ring 0" },
        current_name()
    );
    if user {
        log!("  at {:#x}", frame.rip);
    } else {
        backtrace(frame.rip, frame.rbp);
    }
}

/// A trap from user mode that the assembly never passes on.
pub(crate) fn impossible_user_trap(vector: u8, regs: &Regs) -> ! {
    begin();
    log!("chitin: trap {vector} in user mode at {:#x}", regs.rip);
    trap::stop(PowerOff::Exception)
}

/// The boot information cannot be used.
pub(crate) fn bad_boot(what: &str) -> ! {
    log!("chitin: boot refused: {what}");
    trap::stop(PowerOff::BadBoot)
}
