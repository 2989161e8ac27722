//! The local APIC in x2APIC mode: end of interrupt, interrupts between CPUs, the TSC-deadline timer.

use crate::arch::cpu;
use crate::arch::cpu::{msr, read_msr, write_msr};
use crate::arch::percpu::PerCpu;
use crate::arch::trap::{VECTOR_SPURIOUS, VECTOR_TIMER};
use crate::mem::tables;
use core::sync::atomic::Ordering;

const TIMER_TSC_DEADLINE: u64 = 2 << 17;
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;

/// Turns the local APIC of the calling CPU on. The boot tables are known.
pub(crate) fn enable(this: &PerCpu) {
    // SAFETY: the machine has an x2APIC; the mode is entered by way of xAPIC mode as the SDM asks.
    unsafe {
        let base = read_msr(msr::APIC_BASE);
        if base & X2APIC == 0 {
            write_msr(msr::APIC_BASE, base | ENABLED);
            write_msr(msr::APIC_BASE, base | ENABLED | X2APIC);
        }
        write_msr(msr::X2APIC_SPURIOUS, 1 << 8 | u64::from(VECTOR_SPURIOUS));
        write_msr(msr::X2APIC_TIMER, TIMER_TSC_DEADLINE | u64::from(VECTOR_TIMER));
    }
    if cpu::has_kvm_pv_eoi()
        && let Some(word) = tables::physical_of_kernel(core::ptr::from_ref(&this.soft_eoi) as u64)
    {
        // SAFETY: the MSR exists by CPUID; the word is this CPU's for good, and read with one instruction only.
        unsafe { write_msr(msr::KVM_PV_EOI, word | 1) };
    }
}

/// Tells the local APIC of `this` CPU, which runs the caller, that the interrupt in service is done.
pub(crate) fn end_of_interrupt(this: &PerCpu) {
    // One instruction: the hypervisor looks at the word whenever this CPU leaves the guest.
    if this.soft_eoi.swap(0, Ordering::Relaxed) & 1 != 0 {
        return;
    }
    // SAFETY: x2APIC mode is on.
    unsafe { write_msr(msr::X2APIC_EOI, 0) };
}

/// Interrupts CPU `cpu`.
pub(crate) fn send(cpu: usize, vector: u8) {
    // x2APIC ids are CPU numbers. An ICR write does not order earlier stores, so a fence comes first.
    core::sync::atomic::fence(Ordering::SeqCst);
    // SAFETY: fixed delivery to a physical id; all our vectors have handlers.
    unsafe {
        core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
        write_msr(msr::X2APIC_ICR, (cpu as u64) << 32 | u64::from(vector));
    }
}

/// Makes the deadline timer of `this` CPU, which runs the caller, fire at `tsc` or earlier.
pub(crate) fn arm(this: &PerCpu, tsc: u64) {
    let armed = this.armed.load(Ordering::Relaxed);
    if armed != 0 && armed <= tsc {
        return;
    }
    this.armed.store(tsc.max(1), Ordering::Relaxed);
    // SAFETY: the timer is in TSC-deadline mode.
    unsafe { write_msr(msr::TSC_DEADLINE, tsc.max(1)) };
}
