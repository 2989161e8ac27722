//! The boot information page, filled by the VMM and read once by the guest.
//!
//! Entry state of CPU `n` (also of secondaries, which start at the same place on [`crate::layout::PORT_START_CPU`]):
//! 64-bit mode, CR3 = the VMM's page tables, CS/SS/DS = Linux's kernel selectors (0x10, 0x18), RSP = top of boot stack
//! `n`, RDI = kernel-virtual address of [`BootInfo`] (direct map), RSI = `n`, interrupts off, x2APIC id = `n`.
//! CR4 has PAE, OSFXSR, OSXMMEXCPT, OSXSAVE and what CPUID offers of FSGSBASE, SMEP, SMAP, UMIP, PGE;
//! EFER has LME, LMA, SCE, NXE; XCR0 is set by the VMM and must not be written by the guest.

use crate::device::DeviceDesc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of [`BootInfo::magic`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"CHITIN\0\x01");
/// Most devices of one sandbox.
pub const MAX_DEVICES: usize = 24;

/// Everything the guest is told at boot. Lives at [`crate::layout::RAM_GPA`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::VERSION`].
    pub version: u32,
    /// Virtual CPUs that may be started, the boot CPU included.
    pub cpus: u32,
    /// Bytes of RAM from [`crate::layout::RAM_GPA`].
    pub ram_size: u64,
    /// Guest-physical address of the first byte that belongs to the frame allocator (page aligned).
    pub free_start: u64,
    /// Guest-physical address of the boot PML4. Entries 256 to 511 are the kernel half, to be copied to every space.
    pub boot_pml4: u64,
    /// Invariant TSC frequency in kHz.
    pub tsc_khz: u64,
    /// Guest-physical address of the [`TimePage`].
    pub time_page: u64,
    /// TSC at the moment the VMM created the VM's memory: zero point of start-up measurements.
    pub tsc_at_create: u64,
    /// Bytes of the XSAVE area for the XCR0 that the VMM set (CPUID 0xD.0 EBX).
    pub xsave_size: u32,
    /// Valid entries of [`BootInfo::devices`].
    pub device_count: u32,
    /// Entropy from the host.
    pub seed: [u8; 32],
    /// Devices in the order of their doorbells.
    pub devices: [DeviceDesc; MAX_DEVICES],
}

const _: () = assert!(size_of::<BootInfo>() as u64 <= crate::layout::PAGE_SIZE);

/// A pairing of host wall clock and guest TSC. Written by the VMM at start, at [`crate::layout::PORT_TIME`] and on
/// restore; `sequence` is odd while it is being written.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TimePage {
    /// Odd while the page is being written.
    pub sequence: u64,
    /// Guest TSC at the pairing.
    pub tsc: u64,
    /// CLOCK_REALTIME at the pairing, ns since the epoch.
    pub realtime_ns: u64,
    /// CLOCK_BOOTTIME of the host at the pairing, ns.
    pub boottime_ns: u64,
    /// Guest TSC just before the first return to user mode. Written once by the guest, 0 before; read by the VMM for
    /// [`crate::vmm::Stats::first_user_ns`].
    pub first_user_tsc: u64,
}

/// Header of the log ring at [`crate::layout::LOG_OFFSET`]; text follows it.
///
/// The guest appends bytes at `head % capacity` and then advances `head` (capacity = [`crate::layout::LOG_SIZE`] minus
/// this header). Both counters only grow; a reader that finds `head - tail > capacity` has lost the difference.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LogHeader {
    /// Bytes ever written, by the guest.
    pub head: u64,
    /// Bytes ever read, by the VMM.
    pub tail: u64,
}
