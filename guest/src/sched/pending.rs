//! Work that interrupt handlers leave for the next safe point: before user mode, on park, yield and idle.
//!
//! No lock is held at a safe point, so drivers and wakers may take any.

use crate::arch::{cpu, percpu};
use crate::sched::{smp, timer};
use core::sync::atomic::Ordering;

/// The deadline timer fired.
pub(crate) const TIMER: u32 = 1 << 0;
/// Look at the queues.
pub(crate) const RESCHEDULE: u32 = 1 << 1;
/// Bits are set in `pending_queues`.
pub(crate) const DEVICE: u32 = 1 << 2;

/// Does the work of the calling CPU; returns what it was.
#[inline]
pub(crate) fn drain() -> u32 {
    let this = percpu::this();
    if this.pending.load(Ordering::Relaxed) == 0 { 0 } else { drain_slow() }
}

#[cold]
fn drain_slow() -> u32 {
    let this = percpu::this();
    let work = this.pending.swap(0, Ordering::AcqRel);
    if work & TIMER != 0 {
        this.slice_end.store(0, Ordering::Relaxed);
        timer::expire(this);
        smp::relieve(this, cpu::tsc());
        crate::clock::renew_pairing();
    }
    if work & DEVICE != 0 {
        let queues = this.pending_queues.swap(0, Ordering::AcqRel);
        crate::virtio::interrupts(queues);
    }
    work
}
