//! GDT, TSS, IDT and the SYSCALL registers, in Linux's selector layout.

use crate::arch::cpu::{self, msr, write_msr};
use crate::arch::entry;
use crate::arch::percpu::PerCpu;
use crate::mem::Exhausted;
use chitin_core::frame::Block;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Kernel code selector.
pub(crate) const KERNEL_CS: u16 = 0x10;
/// Kernel data selector.
pub(crate) const KERNEL_SS: u16 = 0x18;
/// Base from which SYSRET counts: 32-bit user code.
const USER32_CS: u16 = 0x23;
/// User data selector.
pub(crate) const USER_SS: u16 = 0x2b;
/// 64-bit user code selector.
pub(crate) const USER_CS: u16 = 0x33;
const TSS_SELECTOR: u16 = 0x40;
/// Linux keeps the CPU number in this segment's limit, for `getcpu` by LSL.
const CPU_NUMBER_INDEX: usize = 15;

/// Interrupt stack table slots.
const IST_DEBUG: u8 = 1;
const IST_NMI: u8 = 2;
const IST_DOUBLE: u8 = 3;
const IST_MACHINE: u8 = 4;
const IST_COUNT: usize = 4;
/// Pages (as an order) of each of these stacks: reports are printed on them.
const IST_ORDER: u8 = 1;

/// RFLAGS bits that SYSCALL clears: TF, IF, DF, IOPL, NT, RF, AC, ID and the arithmetic ones.
const SYSCALL_FLAGS: u64 = 0x25_7fd5;

/// Global descriptor table of one CPU.
#[repr(C, align(16))]
pub(crate) struct Gdt([u64; 16]);

impl Gdt {
    /// All zero, so that the data of CPUs that never start costs nothing; [`load`] fills it.
    pub(crate) const fn new() -> Self {
        Self([0; 16])
    }
}

/// The code and data segments, from entry 1 on.
const SEGMENTS: [u64; 6] = [
    0x00cf_9b00_0000_ffff, // 32-bit kernel code, as in Linux
    0x00af_9b00_0000_ffff, // kernel code
    0x00cf_9300_0000_ffff, // kernel data
    0x00cf_fb00_0000_ffff, // 32-bit user code
    0x00cf_f300_0000_ffff, // user data
    0x00af_fb00_0000_ffff, // user code
];

/// Task state segment of one CPU; an I/O map beyond its limit means no ports for user code.
#[repr(C, packed(4))]
pub(crate) struct Tss {
    reserved: u32,
    stacks: [u64; 3],
    reserved2: u64,
    interrupt_stacks: [u64; 7],
    reserved3: u64,
    reserved4: u16,
    io_map: u16,
}

impl Tss {
    pub(crate) const fn new() -> Self {
        Self {
            reserved: 0,
            stacks: [0; 3],
            reserved2: 0,
            interrupt_stacks: [0; 7],
            reserved3: 0,
            reserved4: 0,
            io_map: 0,
        }
    }
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

#[repr(C, align(4096))]
struct Idt(UnsafeCell<[Gate; 256]>);

// SAFETY: written once by the boot CPU before it is loaded anywhere.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([Gate { low: 0, high: 0 }; 256]));
static IDT_READY: AtomicBool = AtomicBool::new(false);

fn fill_idt() {
    if IDT_READY.swap(true, Ordering::AcqRel) {
        return;
    }
    let first = entry::stubs();
    // SAFETY: only the boot CPU gets here, once, and no IDT is loaded yet.
    let gates = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in gates.iter_mut().enumerate() {
        let handler = first + (vector as u64) * entry::STUB_SIZE;
        let stack = match vector {
            1 => IST_DEBUG,
            2 => IST_NMI,
            8 => IST_DOUBLE,
            18 => IST_MACHINE,
            _ => 0,
        };
        let user_may: u64 = if vector == 3 || vector == 4 { 3 } else { 0 };
        let present_interrupt_gate = 0x8e00 | user_may << 13;
        gate.low = handler & 0xffff
            | u64::from(KERNEL_CS) << 16
            | u64::from(stack) << 32
            | present_interrupt_gate << 32
            | (handler >> 16 & 0xffff) << 48;
        gate.high = handler >> 32;
    }
}

/// Loads this CPU's descriptor tables and SYSCALL registers.
pub(crate) fn load(this: &'static PerCpu) {
    fill_idt();
    let tss = this.tss.get();
    let tss_address = tss as u64;
    // SAFETY: GDT and TSS belong to this CPU, which is the only one to run this and has not loaded them yet.
    let gdt = unsafe {
        (*tss).stacks = [this.entry_stack_top(), 0, 0];
        (*tss).io_map = size_of::<Tss>() as u16;
        let gdt = &mut (*this.gdt.get()).0;
        gdt[1..=SEGMENTS.len()].copy_from_slice(&SEGMENTS);
        gdt[TSS_SELECTOR as usize / 8] = (size_of::<Tss>() as u64 - 1)
            | (tss_address & 0xff_ffff) << 16
            | 0x89 << 40
            | (tss_address >> 24 & 0xff) << 56;
        gdt[TSS_SELECTOR as usize / 8 + 1] = tss_address >> 32;
        gdt[CPU_NUMBER_INDEX] = 0x0040_f500_0000_0000 | this.number() as u64;
        gdt
    };
    let gdt_pointer = TablePointer { limit: size_of::<Gdt>() as u16 - 1, base: gdt.as_ptr() as u64 };
    let idt_pointer = TablePointer { limit: size_of::<Idt>() as u16 - 1, base: IDT.0.get() as u64 };
    // SAFETY: the tables are complete and live for ever; the far return reloads CS with the same kind of segment. GS and
    // FS selectors are loaded before their bases are set again.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "push {cs}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {ss:e}",
            "xor {scratch:e}, {scratch:e}",
            "mov ds, {scratch:e}",
            "mov es, {scratch:e}",
            "mov fs, {scratch:e}",
            "mov gs, {scratch:e}",
            "ltr {tss:x}",
            gdt = in(reg) &raw const gdt_pointer,
            idt = in(reg) &raw const idt_pointer,
            cs = in(reg) u64::from(KERNEL_CS),
            ss = in(reg) u64::from(KERNEL_SS),
            tss = in(reg) u64::from(TSS_SELECTOR),
            scratch = out(reg) _,
        );
        write_msr(msr::GS_BASE, this.address());
        write_msr(msr::EFER, cpu::read_msr(msr::EFER) | 1);
        write_msr(msr::STAR, u64::from(USER32_CS) << 48 | u64::from(KERNEL_CS) << 32);
        write_msr(msr::LSTAR, entry::syscall_entry_address());
        write_msr(msr::CSTAR, entry::syscall_entry_address());
        write_msr(msr::SYSCALL_MASK, SYSCALL_FLAGS);
        let has_rdtscp = cpu::cpuid(0x8000_0001, 0).edx & 1 << 27 != 0;
        if has_rdtscp {
            write_msr(msr::TSC_AUX, this.number() as u64);
        }
    }
}

/// Gives this CPU its stacks for NMI, machine check, debug and double fault. Until then these run on the current stack's
/// slot zero, which ends in a triple fault; it is called as soon as there are frames.
///
/// # Errors
/// [`Exhausted`].
pub(crate) fn add_interrupt_stacks(this: &'static PerCpu) -> Result<(), Exhausted> {
    let mut tops = [0u64; IST_COUNT];
    for top in &mut tops {
        let block = Block::zeroed(IST_ORDER).ok_or(Exhausted)?;
        // The word at the top tells the handler whose CPU it is on; GS proves nothing there.
        let end = block.as_ptr() as u64 + block.size() as u64 - 16;
        // SAFETY: the last 16 bytes of a block that nobody else has; it is never given back.
        unsafe { (end as *mut u64).write(this.address()) };
        let _: (u32, u8) = block.into_raw();
        *top = end;
    }
    let [debug, nmi, double, machine] = tops;
    // SAFETY: only this CPU writes its TSS; the CPU reads the slots when it takes such a trap.
    unsafe {
        (*this.tss.get()).interrupt_stacks = [debug, nmi, double, machine, 0, 0, 0];
    }
    Ok(())
}
