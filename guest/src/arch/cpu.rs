//! Single instructions, and which optional ones this CPU has.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// CR4.SMAP is set. Read by assembly, one byte.
pub(crate) static HAS_SMAP: AtomicBool = AtomicBool::new(false);
/// CR4.FSGSBASE is set. Read by assembly, one byte.
pub(crate) static HAS_FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Model-specific registers.
pub(crate) mod msr {
    pub(crate) const APIC_BASE: u32 = 0x1b;
    pub(crate) const TSC_DEADLINE: u32 = 0x6e0;
    pub(crate) const X2APIC_EOI: u32 = 0x80b;
    pub(crate) const X2APIC_SPURIOUS: u32 = 0x80f;
    pub(crate) const X2APIC_ICR: u32 = 0x830;
    pub(crate) const X2APIC_TIMER: u32 = 0x832;
    /// Of KVM (Documentation/virt/kvm/x86/msr.rst of Linux).
    pub(crate) const KVM_PV_EOI: u32 = 0x4b56_4d04;
    pub(crate) const EFER: u32 = 0xc000_0080;
    pub(crate) const STAR: u32 = 0xc000_0081;
    pub(crate) const LSTAR: u32 = 0xc000_0082;
    pub(crate) const CSTAR: u32 = 0xc000_0083;
    pub(crate) const SYSCALL_MASK: u32 = 0xc000_0084;
    pub(crate) const FS_BASE: u32 = 0xc000_0100;
    pub(crate) const GS_BASE: u32 = 0xc000_0101;
    pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(crate) const TSC_AUX: u32 = 0xc000_0103;
}

/// Reads an MSR.
///
/// # Safety
/// The MSR exists.
pub(crate) unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches for the MSR; reading has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR.
///
/// # Safety
/// The MSR exists and the value keeps the kernel's assumptions about the CPU.
pub(crate) unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    };
}

/// Writes 32 bits to a port.
pub(crate) fn out32(port: u16, value: u32) {
    // SAFETY: every port of this machine is a doorbell of proto::layout; none touches memory that Rust knows of
    // except pages that are read volatile.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Writes 16 bits to a port.
pub(crate) fn out16(port: u16, value: u16) {
    // SAFETY: as for out32.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}

/// Time-stamp counter.
#[inline]
pub(crate) fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.TSD does not concern ring 0.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Turns interrupts off.
#[inline]
pub(crate) fn interrupts_off() {
    // SAFETY: ring 0 may; also a compiler barrier, because memory is not declared untouched.
    unsafe { asm!("cli", options(nostack)) };
}

/// Turns interrupts on.
#[inline]
pub(crate) fn interrupts_on() {
    // SAFETY: the IDT is loaded before the first call.
    unsafe { asm!("sti", options(nostack)) };
}

/// Turns interrupts on and halts until one arrives; nothing can come between the two.
pub(crate) fn halt_with_interrupts() {
    // SAFETY: STI takes effect after HLT has begun.
    unsafe { asm!("sti; hlt", options(nostack)) };
}

/// Stops this CPU for good.
pub(crate) fn halt_for_ever() -> ! {
    loop {
        // SAFETY: with interrupts off nothing but an NMI ends the halt, and the loop takes it up again.
        unsafe { asm!("cli; hlt", options(nostack)) };
    }
}

/// Whether interrupts are on.
pub(crate) fn interrupts_are_on() -> bool {
    let flags: u64;
    // SAFETY: pushes and pops one word.
    unsafe { asm!("pushfq; pop {}", out(reg) flags, options(preserves_flags)) };
    flags & 1 << 9 != 0
}

/// The address whose access caused the last page fault.
pub(crate) fn fault_address() -> u64 {
    let value: u64;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// CR4.
pub(crate) fn cr4() -> u64 {
    let value: u64;
    // SAFETY: reading CR4 has no effect.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Root of the page tables in use.
pub(crate) fn page_root() -> u64 {
    let value: u64;
    // SAFETY: reading CR3 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Loads the page-table root; forgets every translation that is not global.
///
/// # Safety
/// The tables map the kernel half as the boot tables do, and live until another root is loaded.
pub(crate) unsafe fn set_page_root(physical: u64) {
    // SAFETY: the caller's contract.
    unsafe { asm!("mov cr3, {}", in(reg) physical, options(nostack, preserves_flags)) };
}

/// Forgets the translation of one page, global or not.
pub(crate) fn invalidate_page(address: u64) {
    // SAFETY: dropping a translation is always allowed.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Forgets all translations, global ones too.
pub(crate) fn forget_everything() {
    const GLOBAL_PAGES: u64 = 1 << 7;
    // SAFETY: changing CR4.PGE drops every translation; it is left as it was. No handler between the two changes CR4.
    unsafe {
        asm!(
            "mov {0}, cr4",
            "xor {0}, {bit}",
            "mov cr4, {0}",
            "xor {0}, {bit}",
            "mov cr4, {0}",
            out(reg) _,
            bit = const GLOBAL_PAGES,
            options(nostack)
        );
    }
}

/// CPUID.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> core::arch::x86_64::CpuidResult {
    core::arch::x86_64::__cpuid_count(leaf, subleaf)
}

/// Whether KVM takes the end of an interrupt without an exit (Documentation/virt/kvm/x86/cpuid.rst of Linux).
pub(crate) fn has_kvm_pv_eoi() -> bool {
    const SIGNATURE: u32 = 0x4000_0000;
    const FEATURES: u32 = 0x4000_0001;
    const PV_EOI: u32 = 1 << 6;
    let found = cpuid(SIGNATURE, 0);
    let name = [found.ebx, found.ecx, found.edx].map(u32::to_le_bytes);
    name.as_flattened() == b"KVMKVMKVM\0\0\0" && found.eax >= FEATURES && cpuid(FEATURES, 0).eax & PV_EOI != 0
}

/// One attempt at RDRAND; `None` if it is missing or dry.
pub(crate) fn hardware_random() -> Option<u64> {
    if cpuid(1, 0).ecx & 1 << 30 == 0 {
        return None;
    }
    for _ in 0..10 {
        let (value, ok): (u64, u8);
        // SAFETY: CPUID says that the instruction exists.
        unsafe { asm!("rdrand {}; setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}

/// Notes the optional features, and sets the control bits that the kernel relies on.
pub(crate) fn detect() {
    let cr4 = cr4();
    HAS_SMAP.store(cr4 & 1 << 21 != 0, Ordering::Relaxed);
    HAS_FSGSBASE.store(cr4 & 1 << 16 != 0, Ordering::Relaxed);
    // SAFETY: CR0: write protection also for ring 0, native FPU errors, no FPU emulation, no lazy-FPU trap.
    unsafe {
        asm!(
            "mov {0}, cr0",
            "or {0}, {set}",
            "and {0}, {keep}",
            "mov cr0, {0}",
            out(reg) _,
            set = const 0x1_0022,
            keep = const !0xci32,
            options(nostack)
        );
    }
}

/// Whether CR4.SMAP is set.
pub(crate) fn has_smap() -> bool {
    HAS_SMAP.load(Ordering::Relaxed)
}

/// Whether CR4.FSGSBASE is set.
pub(crate) fn has_fsgsbase() -> bool {
    HAS_FSGSBASE.load(Ordering::Relaxed)
}
