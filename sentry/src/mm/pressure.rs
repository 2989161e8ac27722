//! What is done when memory is short.

use super::Budget;
use crate::platform::OutOfMemory;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;

/// Frees memory that `budget` pays for and that nobody needs. No lock may be held.
///
/// # Errors
/// [`OutOfMemory`] when nothing could be freed: the OOM killer must choose.
pub fn reclaim(sleeper: &Sleeper, budget: &Arc<Budget>) -> Result<(), OutOfMemory> {
    let _ = (sleeper, budget);
    Err(OutOfMemory)
}
