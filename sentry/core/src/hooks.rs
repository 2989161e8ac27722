//! What the substrate needs from below: installed once at boot by the platform.

#[cfg(not(feature = "loom"))]
use crate::once::Once;
use core::task::Waker;

/// Services of the platform. All may be called with spin locks held, except [`Hooks::park`].
pub trait Hooks: Sync {
    /// Index of the CPU that runs the caller.
    fn cpu(&self) -> usize;
    /// Called in each round of waiting for a contended spin lock. The hosted platform lets another thread run.
    fn relax(&self);
    /// Called before each acquisition of a lock; the hosted platform's seeded scheduler may switch here.
    fn lock_point(&self) {}
    /// Stack of locks held by the caller, for the order check of debug builds.
    fn held_locks(&self) -> &crate::lock::HeldLocks;
    /// Monotonic time in ns since boot.
    fn now_ns(&self) -> u64;
    /// Sleeps until the waker of the calling thread is woken or `deadline_ns` (monotonic) passes. A wake-up that
    /// came since the last return makes it return at once. May return early.
    fn park(&self, deadline_ns: Option<u64>);
    /// A handle that wakes the calling thread.
    fn waker(&self) -> Waker;
    /// Lets other runnable threads have the CPU that go before the caller.
    fn yield_now(&self);
    /// Lets other runnable threads have the CPU that the caller does not go before for reasons of policy.
    fn give_way(&self) {
        self.yield_now();
    }
    /// The area of an [`crate::cpu::Xstate`] whose newest contents may be in a CPU's registers is about to be freed.
    fn xstate_dropped(&self, area: *const crate::cpu::XsaveBlock) {
        let _ = area;
    }
}

#[cfg(not(feature = "loom"))]
static HOOKS: Once<&'static dyn Hooks> = Once::new();

/// Installs the hooks. The first call wins.
#[cfg(not(feature = "loom"))]
pub fn install(hooks: &'static dyn Hooks) {
    HOOKS.set(hooks);
}

pub(crate) fn get() -> Option<&'static dyn Hooks> {
    #[cfg(not(feature = "loom"))]
    return HOOKS.get().copied();
    #[cfg(feature = "loom")]
    return None;
}

/// Monotonic time in ns since boot; 0 before [`install`].
pub fn now_ns() -> u64 {
    get().map_or(0, Hooks::now_ns)
}

/// Index of the CPU that runs the caller; 0 before [`install`].
pub fn cpu() -> usize {
    get().map_or(0, Hooks::cpu)
}
