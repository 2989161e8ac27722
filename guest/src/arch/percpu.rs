//! The data that belongs to one CPU. GS points at it while the kernel runs.
//!
//! Kernel code is not preempted, so a `&PerCpu` stays right until its holder parks or yields. Other CPUs touch only the
//! fields marked as shared; the rest uses relaxed atomics because interrupt handlers of the same CPU look at it.

use crate::arch::tables::{Gdt, Tss};
use crate::mem::heap::Magazines;
use crate::sched::queue::RunQueue;
use crate::sched::thread::Thread;
use crate::sched::timer::TimerQueue;
use chitin_core::lock::HeldLocks;
use chitin_core::once::Once;
use chitin_proto::layout::MAX_CPUS;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Words of the stack on which the CPU pushes when a trap leaves user mode.
const ENTRY_STACK_WORDS: usize = 64;

/// Data of one CPU.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// Address of this value; `gs:[0]`.
    this: AtomicPtr<PerCpu>,
    /// Kernel stack pointer to go back to when user mode is left.
    pub(crate) kernel_stack: AtomicU64,
    /// Address just after `ss` in the registers of the running user thread.
    pub(crate) user_frame_end: AtomicU64,
    /// User stack pointer for the few instructions between SYSCALL and the first push.
    pub(crate) scratch: AtomicU64,
    /// Error code of the last trap from user mode.
    pub(crate) trap_error: AtomicU64,
    /// Number of this CPU.
    pub(crate) index: AtomicUsize,

    /// Work that interrupt handlers left: bits of [`crate::sched::pending`]. Shared.
    pub(crate) pending: AtomicU32,
    /// Device queues whose interrupt came. Shared.
    pub(crate) pending_queues: AtomicU64,
    /// The CPU waits for work. Shared.
    pub(crate) idle: AtomicBool,
    /// The CPU is idle and may be left out of shoot-downs if [`PerCpu::stale`] is set for it. Shared.
    pub(crate) lazy: AtomicBool,
    /// Translations of user pages must be dropped on leaving idle. Shared.
    pub(crate) stale: AtomicBool,
    /// The CPU runs. Shared.
    pub(crate) online: AtomicBool,

    /// The thread that runs here.
    pub(crate) current: AtomicPtr<Thread>,
    /// The thread that ran before, until the switch is finished.
    pub(crate) previous: AtomicPtr<Thread>,
    /// The thread that the CPU is switching away from because it may not run here any more.
    pub(crate) leaving: AtomicPtr<Thread>,
    /// The thread that waits for work.
    pub(crate) idle_thread: AtomicPtr<Thread>,
    /// Runnable threads. Shared.
    pub(crate) queue: RunQueue,
    /// Deadlines of threads that parked here. Shared.
    timers: Once<TimerQueue>,
    /// TSC value the deadline timer is set to; 0: not set.
    pub(crate) armed: AtomicU64,
    /// Bit 0: the interrupt in service needs no exit to end. The hypervisor sets and takes it back while this CPU does not run.
    pub(crate) soft_eoi: AtomicU32,
    /// TSC value at which the running thread's slice ends; 0: no slice.
    pub(crate) slice_end: AtomicU64,

    /// Page tables in CR3 (`Arc::into_raw`), null for the boot tables.
    pub(crate) tables: AtomicPtr<crate::mem::tables::Tables>,
    /// XSAVE area whose contents the registers hold, null if nobody's.
    pub(crate) xstate_owner: AtomicPtr<u8>,
    /// The registers are newer than the area.
    pub(crate) xstate_dirty: AtomicBool,

    /// Free objects of the heap.
    pub(crate) magazines: UnsafeCell<Magazines>,
    /// Spin locks held, in debug builds.
    pub(crate) held: HeldLocks,
    /// Where this CPU's NMI report stands.
    pub(crate) nmi_depth: AtomicU32,

    pub(crate) gdt: UnsafeCell<Gdt>,
    pub(crate) tss: UnsafeCell<Tss>,
    entry_stack: UnsafeCell<EntryStack>,
}

#[repr(C, align(16))]
struct EntryStack([u64; ENTRY_STACK_WORDS]);

// SAFETY: the UnsafeCell fields are used by their own CPU alone, outside interrupt handlers.
unsafe impl Sync for PerCpu {}

/// All zero at boot, so that CPUs that never start touch no memory.
static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

impl PerCpu {
    const fn new() -> Self {
        Self {
            this: AtomicPtr::new(null_mut()),
            kernel_stack: AtomicU64::new(0),
            user_frame_end: AtomicU64::new(0),
            scratch: AtomicU64::new(0),
            trap_error: AtomicU64::new(0),
            index: AtomicUsize::new(0),
            pending: AtomicU32::new(0),
            pending_queues: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            lazy: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            online: AtomicBool::new(false),
            current: AtomicPtr::new(null_mut()),
            previous: AtomicPtr::new(null_mut()),
            leaving: AtomicPtr::new(null_mut()),
            idle_thread: AtomicPtr::new(null_mut()),
            queue: RunQueue::new(),
            timers: Once::new(),
            armed: AtomicU64::new(0),
            soft_eoi: AtomicU32::new(0),
            slice_end: AtomicU64::new(0),
            tables: AtomicPtr::new(null_mut()),
            xstate_owner: AtomicPtr::new(null_mut()),
            xstate_dirty: AtomicBool::new(false),
            magazines: UnsafeCell::new(Magazines::new()),
            held: HeldLocks::new(),
            nmi_depth: AtomicU32::new(0),
            gdt: UnsafeCell::new(Gdt::new()),
            tss: UnsafeCell::new(Tss::new()),
            entry_stack: UnsafeCell::new(EntryStack([0; ENTRY_STACK_WORDS])),
        }
    }

    /// Top of the stack for traps from user mode.
    pub(crate) fn entry_stack_top(&self) -> u64 {
        self.entry_stack.get() as u64 + (ENTRY_STACK_WORDS as u64) * 8
    }

    /// Deadlines of threads that parked here; none before [`install`].
    #[inline]
    pub(crate) fn timers(&self) -> Option<&TimerQueue> {
        self.timers.get()
    }

    /// Number of this CPU.
    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Address for GS.
    pub(crate) fn address(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }
}

/// The CPU that runs the caller.
#[inline]
pub(crate) fn this() -> &'static PerCpu {
    let address: *const PerCpu;
    // SAFETY: GS was set by `install` before anything else ran here; volatile, because a thread may move.
    unsafe { asm!("mov {}, gs:[0]", out(reg) address, options(nostack, preserves_flags, readonly)) };
    // SAFETY: `this` holds the address of an element of CPUS.
    unsafe { &*address }
}

/// CPU `index`.
pub(crate) fn get(index: usize) -> Option<&'static PerCpu> {
    CPUS.get(index)
}

/// CPUs that were started, with their numbers.
pub(crate) fn online() -> impl Iterator<Item = &'static PerCpu> {
    CPUS.iter().take(crate::sched::smp::started()).filter(|cpu| cpu.online.load(Ordering::Acquire))
}

/// Points GS of the calling CPU at its data.
pub(crate) fn install(index: usize) -> Option<&'static PerCpu> {
    use crate::arch::cpu::{msr, write_msr};
    let cpu = CPUS.get(index)?;
    cpu.index.store(index, Ordering::Relaxed);
    cpu.timers.set(TimerQueue::new());
    cpu.this.store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Relaxed);
    // SAFETY: these MSRs exist in long mode; the value is the address of this CPU's data.
    unsafe {
        write_msr(msr::GS_BASE, cpu.address());
        write_msr(msr::KERNEL_GS_BASE, 0);
        write_msr(msr::FS_BASE, 0);
    }
    Some(cpu)
}
