//! Time: the invariant TSC, and the VMM's pairing of it with the host's wall clock.

use crate::arch::cpu;
use crate::mem::direct;
use crate::vdso::Data;
use chitin_proto::boot::{BootInfo, TimePage};
use chitin_proto::layout::PORT_TIME;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// TSC at boot: zero of the monotonic clock.
static ZERO: AtomicU64 = AtomicU64::new(0);
/// ns per tick, times 2^32.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks per ns, times 2^32.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);
static PAGE: AtomicPtr<TimePage> = AtomicPtr::new(core::ptr::null_mut());
/// TSC of the last pairing call.
static PAIRED: AtomicU64 = AtomicU64::new(0);

/// How old a pairing may be when threads are about to run, ns.
const PAIRING_AGE_NS: u64 = 1_000_000_000;

/// Starts the clock; `false` if the VMM gave no frequency.
pub(crate) fn init(boot: &BootInfo, tsc: u64) -> bool {
    if boot.tsc_khz == 0 {
        return false;
    }
    let scale = |value: u128, by: u64| u64::try_from((value << 32) / u128::from(by)).unwrap_or(u64::MAX);
    ZERO.store(tsc, Ordering::Relaxed);
    NS_PER_TICK.store(scale(1_000_000, boot.tsc_khz), Ordering::Relaxed);
    TICKS_PER_NS.store(scale(u128::from(boot.tsc_khz), 1_000_000), Ordering::Relaxed);
    PAGE.store(direct(boot.time_page), Ordering::Relaxed);
    PAIRED.store(tsc, Ordering::Relaxed);
    true
}

/// Frequency of the TSC in kHz.
pub(crate) fn khz() -> u64 {
    let scaled = u128::from(TICKS_PER_NS.load(Ordering::Relaxed)) * 1_000_000;
    u64::try_from((scaled + (1 << 31)) >> 32).unwrap_or(0)
}

/// Monotonic time, ns since boot.
#[inline]
pub(crate) fn now_ns() -> u64 {
    data(0, 0).monotonic(cpu::tsc())
}

fn data(paired_tsc: u64, paired_ns: u64) -> Data {
    Data {
        sequence: 0,
        ns_per_tick: NS_PER_TICK.load(Ordering::Relaxed),
        zero_tsc: ZERO.load(Ordering::Relaxed),
        paired_tsc,
        paired_ns,
    }
}

/// What the vDSO needs to know, with the newest pairing.
pub(crate) fn snapshot() -> Data {
    let pairing = pairing();
    data(pairing.tsc, pairing.realtime_ns)
}

/// TSC ticks in `ns`.
pub(crate) fn tsc_ticks(ns: u64) -> u64 {
    ((u128::from(ns) * u128::from(TICKS_PER_NS.load(Ordering::Relaxed))) >> 32) as u64
}

/// `ticks` of the TSC in ns.
pub(crate) fn ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64
}

/// TSC at monotonic time `ns`, not before it.
pub(crate) fn tsc_at(ns: u64) -> u64 {
    ZERO.load(Ordering::Relaxed).saturating_add(tsc_ticks(ns)).saturating_add(1)
}

/// The pairing, read whole.
fn pairing() -> TimePage {
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        return TimePage { sequence: 0, tsc: 0, realtime_ns: 0, boottime_ns: 0, first_user_tsc: 0 };
    }
    loop {
        // SAFETY: the time page is part of the boot layout; the VMM may write it at any time, so reads are volatile and
        // repeated until the sequence number was even and did not change.
        let value = unsafe { page.read_volatile() };
        fence(Ordering::Acquire);
        // SAFETY: as above.
        let after = unsafe { (&raw const (*page).sequence).read_volatile() };
        if value.sequence == after && after & 1 == 0 {
            return value;
        }
        core::hint::spin_loop();
    }
}

/// Tells the VMM when user mode was first entered. Called whenever a space is loaded, of which the first counts.
pub(crate) fn note_user_entry() {
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        return;
    }
    // SAFETY: the guest's own field of the time page.
    unsafe {
        let field = &raw mut (*page).first_user_tsc;
        if field.read_volatile() == 0 {
            field.write_volatile(cpu::tsc());
        }
    }
}

/// Wall clock, ns since the epoch.
pub(crate) fn realtime_ns() -> u64 {
    snapshot().realtime(cpu::tsc())
}

/// Takes a fresh pairing if the last one is old. Called when an idle CPU is about to run a thread, and by the timer.
pub(crate) fn renew_pairing() {
    let (now, last) = (cpu::tsc(), PAIRED.load(Ordering::Relaxed));
    if now.saturating_sub(last) > tsc_ticks(PAIRING_AGE_NS)
        && PAIRED.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        cpu::out32(PORT_TIME, 0);
        crate::vdso::update();
    }
}
