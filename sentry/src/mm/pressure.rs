//! What is done when memory is short.
//!
//! The kernel heap aborts when it is exhausted, so frames are kept back for it: [`check`], at the entry of every system call
//! and fault, frees caches when free frames are few, or says that somebody must be killed. Budgets refuse before frames run
//! out: the root budget's limit is all frames less the reserve.

use super::Budget;
use crate::cache::reclaim::shrink;
use crate::platform::OutOfMemory;
use alloc::sync::Arc;
use chitin_core::frame;
use chitin_core::once::Once;
use chitin_core::sleep::Sleeper;

/// Pages freed at a time.
const PORTION: usize = 256;

/// What became of a wish for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Somebody else is ending: it is worth trying again.
    Coming,
    /// There is nobody to end, or it is the one who asks.
    None,
}

/// Who ends processes when memory is short and no cache can be dropped. A higher room: it knows the processes.
pub trait Killer: Sync {
    /// Chooses a process whose memory `short` pays for, ends it and waits a little. No lock may
    /// be held.
    fn relieve(&self, sleeper: &Sleeper, short: &Budget) -> Relief;
}

static KILLER: Once<&'static dyn Killer> = Once::new();

/// Sets who ends processes; the first call wins.
pub fn set_killer(killer: &'static dyn Killer) {
    KILLER.set(killer);
}

fn relieve(sleeper: &Sleeper, short: &Budget) -> Result<(), OutOfMemory> {
    match KILLER.get().map(|killer| killer.relieve(sleeper, short)) {
        Some(Relief::Coming) => Ok(()),
        Some(Relief::None) | None => Err(OutOfMemory),
    }
}

/// Sets reserve and root budget by the frames there are. For boot, when everything that boot allocates is allocated.
pub fn init() {
    let (_, free) = frame::usage();
    let reserve = reserve_of(free);
    frame::set_low_mark(reserve);
    Budget::root().set_limit(u64::from(free.saturating_sub(reserve)));
}

/// Frames kept back: a thirty-second part, between 1 and 16 MiB.
fn reserve_of(free: u32) -> u32 {
    (free / 32).clamp(256, 4096)
}

/// Whether the call or fault that begins here may go on. Cheap when memory is not short.
///
/// # Errors
/// [`OutOfMemory`] when nothing can be freed, or who asks is to end.
#[inline]
pub fn check(sleeper: &Sleeper) -> Result<(), OutOfMemory> {
    if frame::is_low() { make_room(sleeper) } else { Ok(()) }
}

#[cold]
fn make_room(sleeper: &Sleeper) -> Result<(), OutOfMemory> {
    let root = Budget::root();
    while frame::is_low() {
        if shrink(sleeper, &root, PORTION) == 0 {
            // The reserve is there to be used by those who are about to end.
            if frame::usage().1 >= reserve_of(frame::usage().0) / 2 {
                return Ok(());
            }
            relieve(sleeper, &root)?;
        }
    }
    Ok(())
}

/// Frees memory for who was refused a page of `budget`: what nobody needs, else that of a process. No lock may be held.
///
/// # Errors
/// [`OutOfMemory`] when nothing can be freed, or who asks is to end.
pub fn obtain(sleeper: &Sleeper, budget: &Arc<Budget>) -> Result<(), OutOfMemory> {
    if reclaim(sleeper, budget).is_ok() {
        return Ok(());
    }
    let root = Budget::root();
    relieve(sleeper, budget.exhausted(1).unwrap_or(&root))
}

/// Frees memory that `budget` pays for and that nobody needs. No lock may be held.
///
/// # Errors
/// [`OutOfMemory`] when nothing could be freed.
pub fn reclaim(sleeper: &Sleeper, budget: &Arc<Budget>) -> Result<(), OutOfMemory> {
    let root = Budget::root();
    let exhausted = budget.exhausted(1).unwrap_or(&root);
    if shrink(sleeper, exhausted, PORTION) > 0 { Ok(()) } else { Err(OutOfMemory) }
}
