//! Who owns the x87/SSE/AVX registers.
//!
//! The kernel does not use them, so user state stays there across system calls. It is saved when its thread leaves the
//! CPU ([`save_on_switch`]), and loaded by [`load`] when another state is there. A CPU remembers the area whose contents it
//! holds; [`Xstate::live_cpu`] remembers the CPU: only when both agree the load is left out.

use crate::arch::cpu;
use crate::arch::percpu::{self, PerCpu};
use chitin_core::cpu::{XsaveBlock, Xstate};
use core::arch::asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

static HAS_XSAVEOPT: AtomicBool = AtomicBool::new(false);
static SIZE: AtomicUsize = AtomicUsize::new(576);
static MASK: AtomicU64 = AtomicU64::new(3);

/// Reads what the VMM set up. The guest never writes XCR0.
pub(crate) fn detect() {
    let (low, high): (u32, u32);
    // SAFETY: CR4.OSXSAVE is part of the entry state.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    MASK.store(u64::from(high) << 32 | u64::from(low), Ordering::Relaxed);
    SIZE.store(cpu::cpuid(0xd, 0).ebx as usize, Ordering::Relaxed);
    HAS_XSAVEOPT.store(cpu::cpuid(0xd, 1).eax & 1 != 0, Ordering::Relaxed);
}

/// Bytes of an area and XCR0.
pub(crate) fn layout() -> (usize, u64) {
    (SIZE.load(Ordering::Relaxed), MASK.load(Ordering::Relaxed))
}

/// # Safety
/// `area` points to an XSAVE area of [`layout`] bytes, aligned to 64.
unsafe fn save(area: *mut u8) {
    let mask = MASK.load(Ordering::Relaxed);
    // SAFETY: the caller's contract.
    unsafe {
        if HAS_XSAVEOPT.load(Ordering::Relaxed) {
            asm!("xsaveopt64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                options(nostack));
        } else {
            asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                options(nostack));
        }
    }
}

/// Loads an area; `false` if the CPU refused it (reserved bits set by a crafted signal frame).
///
/// # Safety
/// `area` points to an XSAVE area of [`layout`] bytes, aligned to 64.
unsafe fn restore(area: *const u8) -> bool {
    let mask = MASK.load(Ordering::Relaxed);
    let refused: u32;
    // SAFETY: the caller's contract; a #GP goes to the fix-up, which reports it.
    unsafe {
        asm!(
            "xor {refused:e}, {refused:e}",
            "2: xrstor64 [{area}]",
            "jmp 4f",
            "3: mov {refused:e}, 1",
            "4:",
            ".pushsection .ex_table, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            area = in(reg) area,
            refused = out(reg) refused,
            in("eax") mask as u32,
            in("edx") (mask >> 32) as u32,
            options(nostack)
        );
    }
    refused == 0
}

/// Makes the registers hold `xstate` for user mode on `this` CPU. Interrupts are off.
#[inline]
pub(crate) fn load(this: &PerCpu, xstate: &mut Xstate) {
    let area = xstate.blocks().as_ptr().cast_mut().cast::<u8>();
    let live = this.number() as u32 + 1;
    if xstate.live_cpu != live || this.xstate_owner.load(Ordering::Relaxed) != area {
        load_slow(this, xstate, area, live);
    }
    this.xstate_dirty.store(true, Ordering::Relaxed);
}

#[cold]
fn load_slow(this: &PerCpu, xstate: &mut Xstate, area: *mut u8, live: u32) {
    save_on_switch(this);
    let fits = xstate.size() >= SIZE.load(Ordering::Relaxed);
    // SAFETY: the area has the size that XCR0 asks for, checked first; blocks are aligned to 64 bytes.
    let good = fits && unsafe { restore(area) };
    if !good {
        let size = layout().0.max(xstate.size());
        *xstate = Xstate::new(size);
        // SAFETY: a fresh area in initial state, of the right size.
        unsafe { restore(xstate.blocks().as_ptr().cast()) };
    }
    xstate.live_cpu = live;
    this.xstate_owner.store(xstate.blocks().as_ptr().cast_mut().cast(), Ordering::Relaxed);
}

/// Before the thread whose state is in the registers may go to another CPU: brings its area up to date.
#[inline]
pub(crate) fn save_on_switch(this: &PerCpu) {
    if this.xstate_dirty.load(Ordering::Relaxed) {
        this.xstate_dirty.store(false, Ordering::Relaxed);
        let owner = this.xstate_owner.load(Ordering::Relaxed);
        if !owner.is_null() {
            // SAFETY: a dirty owner is the area of the thread that runs here now; it is not freed before `forget`.
            unsafe { save(owner) };
        }
    }
}

/// The thread whose state is in the registers has ended: they are nobody's.
pub(crate) fn abandon(this: &PerCpu) {
    this.xstate_owner.store(null_mut(), Ordering::Relaxed);
    this.xstate_dirty.store(false, Ordering::Relaxed);
}

/// Brings the area up to date and disowns the registers. Called on the thread that owns `xstate`, or while that thread is
/// off its CPU.
pub(crate) fn flush(xstate: &mut Xstate) {
    let this = percpu::this();
    if this.xstate_owner.load(Ordering::Relaxed) == xstate.blocks_mut().as_mut_ptr().cast() {
        save_on_switch(this);
        this.xstate_owner.store(null_mut(), Ordering::Relaxed);
    }
    xstate.live_cpu = 0;
}

/// An area is being freed: nothing may be saved there any more.
pub(crate) fn forget(area: *const XsaveBlock) {
    let this = percpu::this();
    if this.xstate_owner.load(Ordering::Relaxed) == area.cast::<u8>().cast_mut() {
        this.xstate_owner.store(null_mut(), Ordering::Relaxed);
        this.xstate_dirty.store(false, Ordering::Relaxed);
    }
}
