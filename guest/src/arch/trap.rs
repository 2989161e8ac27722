//! Exceptions and interrupts that arrive in ring 0, and the interrupt vectors in use.
//!
//! An interrupt handler takes no lock and wakes nobody: it marks work in the CPU's data, which is done at the next safe
//! point (return to user mode, park, yield, idle). Shoot-downs alone are served at once.
//! A page fault in ring 0 either has a fix-up in the exception table or is a bug.

use crate::arch::apic;
use crate::arch::cpu;
use crate::arch::entry::TrapFrame;
use crate::arch::percpu;
use crate::mem::tlb;
use crate::report;
use crate::sched::pending;
use chitin_proto::layout::{MAX_QUEUES, PowerOff, VECTOR_QUEUE};
use core::sync::atomic::Ordering;

/// Deadline timer.
pub(crate) const VECTOR_TIMER: u8 = 0xec;
/// Look at the run queue.
pub(crate) const VECTOR_RESCHEDULE: u8 = 0xf0;
/// Drop translations.
pub(crate) const VECTOR_SHOOT_DOWN: u8 = 0xf1;
/// Leave user mode.
pub(crate) const VECTOR_KICK: u8 = 0xf2;
/// Spurious interrupts of the local APIC.
pub(crate) const VECTOR_SPURIOUS: u8 = 0xff;

const DEBUG: u64 = 1;
const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;
const FIRST_INTERRUPT: u64 = 32;

/// Serves an interrupt, from whatever ring. Interrupts are off.
pub(crate) fn interrupt(vector: u8) {
    let this = percpu::this();
    let queue = vector.wrapping_sub(VECTOR_QUEUE);
    match vector {
        VECTOR_TIMER => {
            this.armed.store(0, Ordering::Relaxed);
            this.pending.fetch_or(pending::TIMER, Ordering::Relaxed);
        }
        VECTOR_RESCHEDULE => {
            this.pending.fetch_or(pending::RESCHEDULE, Ordering::Relaxed);
        }
        VECTOR_SHOOT_DOWN => tlb::serve(),
        VECTOR_KICK => {}
        VECTOR_SPURIOUS => return,
        _ if usize::from(queue) < MAX_QUEUES => {
            this.pending_queues.fetch_or(1 << queue, Ordering::Relaxed);
            this.pending.fetch_or(pending::DEVICE, Ordering::Relaxed);
        }
        _ => {}
    }
    apic::end_of_interrupt(this);
}

/// Any trap from ring 0, called by the assembly with interrupts off.
pub(crate) extern "C" fn kernel_trap(frame: &mut TrapFrame) {
    if frame.vector >= FIRST_INTERRUPT {
        interrupt(frame.vector as u8);
        return;
    }
    if matches!(frame.vector, PAGE_FAULT | GENERAL_PROTECTION)
        && let Some(fix_up) = fix_up_for(frame.rip)
    {
        frame.rip = fix_up;
        return;
    }
    report::exception(frame, fault_detail(frame));
}

/// NMI, machine check, double fault, and #DB from ring 0, on their own stacks.
pub(crate) extern "C" fn own_stack_trap(frame: &mut TrapFrame) {
    match frame.vector {
        // MOV SS with a pending breakpoint just before SYSCALL brings #DB to the first kernel instruction; no kernel
        // breakpoints exist, so it is dropped.
        DEBUG => {
            // SAFETY: clears the status bits of the debug facility.
            unsafe { core::arch::asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64, options(nostack)) };
            frame.rflags &= !(1 << 8);
        }
        NMI => report::not_maskable(frame),
        _ => report::exception(frame, fault_detail(frame)),
    }
}

fn fault_detail(frame: &TrapFrame) -> Option<u64> {
    matches!(frame.vector, PAGE_FAULT | DOUBLE_FAULT).then(cpu::fault_address)
}

#[repr(C)]
struct FixUp {
    fault: u64,
    resume: u64,
}

unsafe extern "C" {
    #[link_name = "__ex_table_start"]
    static FIX_UPS_START: FixUp;
    #[link_name = "__ex_table_end"]
    static FIX_UPS_END: FixUp;
}

/// Where to go on after a fault of the instruction at `rip`.
fn fix_up_for(rip: u64) -> Option<u64> {
    let start = &raw const FIX_UPS_START;
    let count = (&raw const FIX_UPS_END as usize - start as usize) / size_of::<FixUp>();
    // SAFETY: the linker script puts the table between these symbols.
    let table = unsafe { core::slice::from_raw_parts(start, count) };
    table.iter().find(|entry| entry.fault == rip).map(|entry| entry.resume)
}

/// Ends the machine after a report.
pub(crate) fn stop(reason: PowerOff) -> ! {
    cpu::interrupts_off();
    cpu::out32(chitin_proto::layout::PORT_POWER, reason as u32);
    cpu::halt_for_ever()
}
