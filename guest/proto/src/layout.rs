//! Guest-physical and kernel-virtual layout, and the doorbell ports.
//!
//! ```text
//! guest-physical                          kernel-virtual
//! IMAGE_GPA .. +image      read-only slot  IMAGE_VA   text (RX), rodata (R)   shared by every VM of a host
//! RAM_GPA   .. +ram        RAM slot        DIRECT_VA + gpa  (RW, NX)          one contiguous block
//!   RAM_GPA + 0            boot info page
//!   RAM_GPA + LOG_OFFSET   log ring
//!   RAM_GPA + ...          data and bss of the kernel, mapped at their link address DATA_VA
//!   then                   device rings, boot page tables, boot stacks, boot GDT
//!   BootInfo::free_start   first byte that the guest's frame allocator owns
//! ```
//!
//! RAM starts at 4 GiB so that one slot holds all of it: no 32-bit device, no BIOS and no real mode exist in this
//! machine, and the local APIC page below 4 GiB needs no hole.

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// First guest-physical address of RAM.
pub const RAM_GPA: u64 = 0x1_0000_0000;
/// Guest-physical address of the kernel's read-only segments.
pub const IMAGE_GPA: u64 = 0x4000_0000;

/// The direct map: every guest-physical address `p` of RAM is readable and writable at `DIRECT_VA + p`.
pub const DIRECT_VA: u64 = 0xffff_8880_0000_0000;
/// Link address of the kernel's text and read-only data.
pub const IMAGE_VA: u64 = 0xffff_ffff_8000_0000;
/// Link address of the kernel's data and bss.
pub const DATA_VA: u64 = 0xffff_ffff_8800_0000;
/// Base of the range in which the guest maps kernel stacks (with guard pages).
pub const STACKS_VA: u64 = 0xffff_c000_0000_0000;
/// First address that user space may not use (Linux's `TASK_SIZE_MAX` on x86-64).
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// Bytes of one CPU's boot stack.
pub const BOOT_STACK_SIZE: u64 = 32 * 1024;
/// Most virtual CPUs of one sandbox.
pub const MAX_CPUS: usize = 64;

/// Offset of the log ring from [`RAM_GPA`]; it stays there so that the host can read it after a triple fault.
pub const LOG_OFFSET: u64 = 0x1000;
/// Bytes of the log ring, header included.
pub const LOG_SIZE: u64 = 0x1_0000;

/// Port to which the guest writes (32 bits) a [`PowerOff`] value to end the VM.
pub const PORT_POWER: u16 = 0x600;
/// Port to which the guest writes (32 bits) the index of a CPU to start. The VMM creates the vCPU's thread on the
/// first such write; a second one for the same CPU is a violation.
pub const PORT_START_CPU: u16 = 0x604;
/// Doorbell (32 bits, any value): new text is in the log ring.
pub const PORT_LOG: u16 = 0x608;
/// Port at which the guest reads a fresh wall-clock/TSC pairing: it writes (32 bits) any value, and the VMM fills
/// [`crate::boot::TimePage`] before it resumes the vCPU.
pub const PORT_TIME: u16 = 0x60c;
/// Doorbell of device `n`: `PORT_DOORBELL + 2 * n`, a 16-bit write of the queue's index.
pub const PORT_DOORBELL: u16 = 0x700;

/// First interrupt vector of device queues: queue `q` of all devices counted together fires `VECTOR_QUEUE + q`.
pub const VECTOR_QUEUE: u8 = 0x40;
/// Most queues of all devices together.
pub const MAX_QUEUES: usize = 64;

/// What the guest writes to [`PORT_POWER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PowerOff {
    /// Orderly end: every container has exited and the control channel asked for it.
    Orderly = 0,
    /// The sentry panicked; the report is in the log ring.
    Panic = 1,
    /// A CPU exception in ring 0; the report is in the log ring.
    Exception = 2,
    /// Boot information was refused (version or layout mismatch).
    BadBoot = 3,
}

impl PowerOff {
    /// Reads a port value; `None` for a value that no guest of this version writes.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Orderly),
            1 => Some(Self::Panic),
            2 => Some(Self::Exception),
            3 => Some(Self::BadBoot),
            _ => None,
        }
    }
}
