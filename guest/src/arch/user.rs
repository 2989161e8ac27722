//! Running user code until it traps.

use crate::arch::entry::{self, SYSCALL_TRAP};
use crate::arch::percpu::{self, PerCpu};
use crate::arch::tables::{USER_CS, USER_SS};
use crate::arch::trap;
use crate::arch::{apic, cpu, xstate};
use crate::clock;
use crate::mem::space::GuestSpace;
use crate::mem::tables;
use crate::report;
use crate::sched::{pending, switch};
use alloc::sync::Arc;
use chitin_core::cpu::{ExitRequest, Regs, UserContext};
use chitin_sentry::platform::{Access, Space, Trap};
use core::sync::atomic::Ordering;

/// How long a thread may run while another one waits.
const SLICE_NS: u64 = 2_000_000;

/// RFLAGS bits that user code may have: CF PF AF ZF SF TF DF OF RF AC ID.
const USER_FLAGS: u64 = 0x25_0dd5;
const ALWAYS_ONE: u64 = 1 << 1;
const TRAP_FLAG: u64 = 1 << 8;
const INTERRUPTS: u64 = 1 << 9;
const RESUME_FLAG: u64 = 1 << 16;

const DEBUG: u8 = 1;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
const FIRST_INTERRUPT: u64 = 32;

/// First address that is not canonical in the lower half.
const LOWER_HALF_END: u64 = 1 << 47;

/// See `Platform::run_user`.
pub(crate) fn run(context: &mut UserContext, space: &Arc<dyn Space>, exit: &ExitRequest) -> Trap {
    loop {
        if exit.is_set() {
            return Trap::Interrupt;
        }
        if percpu::this().pending.load(Ordering::Relaxed) != 0 {
            pending::drain();
            // What the interrupt made runnable goes first: the sentry gives way, and knows that it did.
            if switch::is_due(percpu::this()) {
                return Trap::Interrupt;
            }
        }
        let regs = &mut context.regs;
        if regs.rip >= LOWER_HALF_END {
            // IRETQ or SYSRET would fault in ring 0.
            return Trap::Exception { vector: GENERAL_PROTECTION, code: 0 };
        }
        let sysret = make_fit(regs);

        cpu::interrupts_off();
        let this = percpu::this();
        exit.enter_user(this.number());
        if exit.is_set() || this.pending.load(Ordering::Relaxed) != 0 {
            exit.leave_user();
            cpu::interrupts_on();
            continue;
        }
        if this.queue.len() != 0 && this.slice_end.load(Ordering::Relaxed) == 0 {
            begin_slice(this);
        }
        tables::load(this, GuestSpace::of(space).tables());
        xstate::load(this, &mut context.xstate);
        if !cpu::has_fsgsbase() {
            load_bases(&context.regs);
        }
        // SAFETY: interrupts are off; `make_fit` and the check of rip made the registers fit for user mode.
        let vector = unsafe { entry::enter_user(&raw mut context.regs, sysret) };
        exit.leave_user();
        if vector == SYSCALL_TRAP {
            cpu::interrupts_on();
            return Trap::Syscall;
        }
        if vector < FIRST_INTERRUPT {
            let address = cpu::fault_address();
            let code = this.trap_error.load(Ordering::Relaxed) as u32;
            cpu::interrupts_on();
            return exception(vector as u8, code, address, &context.regs);
        }
        trap::interrupt(vector as u8);
        cpu::interrupts_on();
    }
}

/// Brings selectors and flags into what user mode may have, and addresses of bases into canonical form; tells whether
/// SYSRET restores these registers.
#[inline]
fn make_fit(regs: &mut Regs) -> bool {
    regs.cs = u64::from(USER_CS);
    regs.ss = u64::from(USER_SS);
    let flags = (regs.rflags & USER_FLAGS) | ALWAYS_ONE | INTERRUPTS;
    regs.rflags = flags;
    if (regs.fs_base | regs.gs_base) >= LOWER_HALF_END {
        regs.fs_base = canonical(regs.fs_base);
        regs.gs_base = canonical(regs.gs_base);
    }
    regs.rcx == regs.rip && regs.r11 == flags && flags & (TRAP_FLAG | RESUME_FLAG) == 0
}

/// Sign-extends bit 47, as the base registers want it.
const fn canonical(address: u64) -> u64 {
    ((address << 16).cast_signed() >> 16).cast_unsigned()
}

/// Without FSGSBASE user code cannot change the bases itself, so loading them is enough.
#[cold]
fn load_bases(regs: &Regs) {
    // SAFETY: canonical addresses; the kernel uses neither FS nor, while it runs, KERNEL_GS_BASE.
    unsafe {
        cpu::write_msr(cpu::msr::FS_BASE, regs.fs_base);
        cpu::write_msr(cpu::msr::KERNEL_GS_BASE, regs.gs_base);
    }
}

#[cold]
fn begin_slice(this: &PerCpu) {
    let end = cpu::tsc() + clock::tsc_ticks(SLICE_NS);
    this.slice_end.store(end, Ordering::Relaxed);
    apic::arm(this, end);
}

fn exception(vector: u8, code: u32, address: u64, regs: &Regs) -> Trap {
    match vector {
        PAGE_FAULT => {
            let access = if code & 1 << 4 != 0 {
                Access::Execute
            } else if code & 1 << 1 != 0 {
                Access::Write
            } else {
                Access::Read
            };
            Trap::PageFault { address, access }
        }
        2 | 8 | 18 => report::impossible_user_trap(vector, regs),
        DEBUG => {
            // SAFETY: clears the status bits, which the processor only sets.
            unsafe { core::arch::asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64, options(nostack)) };
            Trap::Exception { vector, code: 0 }
        }
        _ => Trap::Exception { vector, code },
    }
}
