//! Register state of a vCPU before its first instruction, as [`chitin_proto::boot`] promises it.

use super::KvmError;
use super::cpuid::CpuFeatures;
use chitin_proto::layout::DIRECT_VA;
use kvm_bindings::{kvm_mp_state, kvm_regs, kvm_segment, kvm_xcrs};
use kvm_ioctls::VcpuFd;

const KERNEL_CODE: u16 = 0x10;
const KERNEL_DATA: u16 = 0x18;

/// Boot GDT in Linux's layout: null, 32-bit kernel code, kernel code, kernel data, 32-bit user code, user data, user
/// code.
pub const GDT: [u64; 7] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];

/// Where a vCPU begins.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// First instruction, kernel-virtual.
    pub rip: u64,
    /// PML4, guest-physical.
    pub pml4: u64,
    /// GDT, guest-physical.
    pub gdt: u64,
    /// Boot information, kernel-virtual.
    pub boot_info: u64,
    /// What the CPU offers.
    pub features: CpuFeatures,
}

const fn segment(selector: u16, type_: u8, long: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

/// Puts `vcpu` (number `index`, stack ending at `stack_top`) at the entry.
///
/// # Errors
/// [`KvmError::Ioctl`].
pub fn set(vcpu: &VcpuFd, entry: &Entry, index: u32, stack_top: u64) -> Result<(), KvmError> {
    const CR0: u64 = 1 << 31 | 1 << 18 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1; // PG AM WP NE ET MP PE
    const CR4: u64 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 18; // PAE PGE OSFXSR OSXMMEXCPT OSXSAVE
    const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11; // SCE LME LMA NXE
    const APIC_ENABLED_X2: u64 = 1 << 11 | 1 << 10;
    const APIC_BOOT_CPU: u64 = 1 << 8;

    let mut sregs = vcpu.get_sregs().map_err(KvmError::ioctl("KVM_GET_SREGS"))?;
    sregs.cs = segment(KERNEL_CODE, 0xb, 1);
    let data = segment(KERNEL_DATA, 0x3, 0);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..kvm_segment::default() };
    sregs.ldt = kvm_segment { unusable: 1, ..kvm_segment::default() };
    sregs.gdt.base = DIRECT_VA + entry.gdt;
    sregs.gdt.limit = u16::try_from(size_of_val(&GDT) - 1).unwrap_or(0);
    (sregs.idt.base, sregs.idt.limit) = (0, 0);
    sregs.cr0 = CR0;
    sregs.cr3 = entry.pml4;
    sregs.cr4 = CR4 | entry.features.cr4;
    sregs.efer = EFER;
    sregs.apic_base = 0xfee0_0000 | APIC_ENABLED_X2 | if index == 0 { APIC_BOOT_CPU } else { 0 };
    vcpu.set_sregs(&sregs).map_err(KvmError::ioctl("KVM_SET_SREGS"))?;

    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
    xcrs.xcrs[0].value = entry.features.xcr0;
    vcpu.set_xcrs(&xcrs).map_err(KvmError::ioctl("KVM_SET_XCRS"))?;

    let regs = kvm_regs {
        rip: entry.rip,
        rsp: stack_top,
        rdi: entry.boot_info,
        rsi: u64::from(index),
        rflags: 2,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&regs).map_err(KvmError::ioctl("KVM_SET_REGS"))?;
    if index != 0 {
        // Secondary CPUs wait for a SIPI unless told otherwise.
        let runnable = kvm_mp_state { mp_state: kvm_bindings::KVM_MP_STATE_RUNNABLE };
        vcpu.set_mp_state(runnable).map_err(KvmError::ioctl("KVM_SET_MP_STATE"))?;
    }
    Ok(())
}
