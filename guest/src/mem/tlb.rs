//! Shoot-down: making other CPUs forget translations.
//!
//! One request at a time, guarded by [`OWNER`]; waiting for it and for the answers happens with interrupts on, so two CPUs
//! that want each other's answer serve each other. Idle CPUs are not woken: they are marked, and forget everything when
//! they leave idle.

use crate::arch::apic;
use crate::arch::cpu;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::trap::VECTOR_SHOOT_DOWN;
use crate::mem::tables::Tables;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// From this many pages on, everything is forgotten instead of page by page.
const PAGE_BY_PAGE: usize = 32;

static OWNER: AtomicBool = AtomicBool::new(false);
static FROM: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicUsize = AtomicUsize::new(0);
/// CPUs that still have to answer.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Stands for everything, kernel pages too, in place of a number of pages.
const EVERYTHING: usize = usize::MAX;

/// Forgets a range on the calling CPU.
fn forget_here(from: u64, pages: usize) {
    if pages == EVERYTHING {
        cpu::forget_everything();
    } else if pages <= PAGE_BY_PAGE {
        for page in 0..pages {
            cpu::invalidate_page(from + (page as u64) * 4096);
        }
    } else {
        // SAFETY: the root that is loaded already.
        unsafe { cpu::set_page_root(cpu::page_root()) };
    }
}

/// Serves a request of another CPU; called by the interrupt handler.
pub(crate) fn serve() {
    let bit = 1 << percpu::this().number();
    if WAITING.load(Ordering::Acquire) & bit != 0 {
        forget_here(FROM.load(Ordering::Relaxed), PAGES.load(Ordering::Relaxed));
        WAITING.fetch_and(!bit, Ordering::Release);
    }
}

/// Forgets a range of user pages on every CPU that has `tables` loaded; on return none uses the old translations.
pub(crate) fn flush(tables: &Tables, from: u64, pages: usize) {
    let this = percpu::this();
    // Orders the entry changes before the look at who has the tables loaded.
    core::sync::atomic::fence(Ordering::SeqCst);
    let bit = 1 << this.number();
    let active = tables.active();
    if active & bit != 0 {
        forget_here(from, pages);
    }
    let others = active & !bit;
    if others != 0 {
        flush_others(others, from, pages);
    }
}

/// Forgets all pages, the kernel's too, on every CPU.
pub(crate) fn flush_kernel() {
    let this = percpu::this();
    core::sync::atomic::fence(Ordering::SeqCst);
    cpu::forget_everything();
    let others = percpu::online().fold(0, |mask, cpu| mask | 1u64 << cpu.number()) & !(1 << this.number());
    if others != 0 {
        // Idle CPUs too: what they do on leaving idle does not drop the kernel's pages, which are global.
        interrupt_and_wait(others, 0, EVERYTHING);
    }
}

#[cold]
fn flush_others(others: u64, from: u64, pages: usize) {
    let mut wanted = 0;
    for cpu in percpu::online() {
        let bit = 1 << cpu.number();
        if others & bit != 0 && !leave_for_later(cpu) {
            wanted |= bit;
        }
    }
    if wanted != 0 {
        interrupt_and_wait(wanted, from, pages);
    }
}

/// Marks an idle CPU; `false` if it is not idle.
fn leave_for_later(cpu: &PerCpu) -> bool {
    if !cpu.lazy.load(Ordering::SeqCst) {
        return false;
    }
    cpu.stale.store(true, Ordering::SeqCst);
    // Either it still was idle after the mark, and sees it on leaving, or it is interrupted like the rest.
    cpu.lazy.load(Ordering::SeqCst)
}

/// On leaving idle, with interrupts off or on: forgets what was marked meanwhile.
pub(crate) fn leave_lazy(this: &PerCpu) {
    this.lazy.store(false, Ordering::SeqCst);
    if this.stale.swap(false, Ordering::SeqCst) {
        // SAFETY: the root that is loaded already.
        unsafe { cpu::set_page_root(cpu::page_root()) };
    }
}

fn interrupt_and_wait(wanted: u64, from: u64, pages: usize) {
    debug_assert!(cpu::interrupts_are_on(), "a shoot-down with interrupts off");
    while OWNER.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        core::hint::spin_loop();
    }
    FROM.store(from, Ordering::Relaxed);
    PAGES.store(pages, Ordering::Relaxed);
    WAITING.store(wanted, Ordering::Release);
    let mut left = wanted;
    while left != 0 {
        apic::send(left.trailing_zeros() as usize, VECTOR_SHOOT_DOWN);
        left &= left - 1;
    }
    while WAITING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
    OWNER.store(false, Ordering::Release);
}
