//! Dropping clean pages when memory is short.

use super::mappers::{Copies, PageRange};
use super::mapping::Mapping;
use crate::mm::Budget;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;

/// Level of the list of mappings.
const LEVEL: Level = Level(110);
/// Pages dropped of one mapping before the next has its turn.
const PART: usize = 256;

/// Mappings with a backing that hold or held pages.
struct Registry {
    mappings: Vec<Weak<Mapping>>,
    /// Who is next.
    hand: usize,
    /// The list is cleared of those that are gone when it is as long as this.
    clear_at: usize,
}

static REGISTRY: SpinLock<Registry> =
    SpinLock::new(LEVEL, Registry { mappings: Vec::new(), hand: 0, clear_at: 64 });

/// Adds a mapping; called once for each.
pub(super) fn register(mapping: &Mapping) {
    let mut registry = REGISTRY.lock();
    if registry.mappings.len() >= registry.clear_at {
        registry.mappings.retain(|mapping| mapping.strong_count() > 0);
        registry.clear_at = (registry.mappings.len() * 2).max(64);
    }
    registry.mappings.push(mapping.me().clone());
}

fn next() -> Option<(Option<Arc<Mapping>>, usize)> {
    let mut registry = REGISTRY.lock();
    let count = registry.mappings.len();
    if count == 0 {
        return None;
    }
    let hand = registry.hand % count;
    registry.hand = hand + 1;
    Some((registry.mappings.get(hand).and_then(Weak::upgrade), count))
}

/// Drops up to `wanted` pages of `budget` and those below it that can be had from their files again, the longest unused
/// first; writes changed ones back when clean ones do not suffice. Returns how many were dropped. No lock may be held.
pub fn shrink(sleeper: &Sleeper, budget: &Budget, wanted: usize) -> usize {
    let mut dropped = shrink_clean(sleeper, budget, wanted);
    if dropped < wanted {
        for_all(sleeper, budget, |mapping| {
            let _ = mapping.flush(sleeper);
            true
        });
        dropped += shrink_clean(sleeper, budget, wanted - dropped);
    }
    dropped
}

/// Writes dirty pages of every file back; errors stay with their files. No lock may be held.
pub fn flush_all(sleeper: &Sleeper) {
    for_all(sleeper, &Budget::root(), |mapping| {
        let _ = mapping.flush(sleeper);
        true
    });
}

/// Two rounds: the first takes away the marks of use.
fn shrink_clean(sleeper: &Sleeper, budget: &Budget, wanted: usize) -> usize {
    let mut dropped = 0;
    for _ in 0..2 {
        for_all(sleeper, budget, |mapping| {
            while dropped < wanted {
                let now = mapping.drop_clean(PART.min(wanted - dropped));
                dropped += now;
                if now == 0 {
                    break;
                }
                sleeper.resched_point();
            }
            dropped < wanted
        });
        if dropped >= wanted {
            break;
        }
    }
    dropped
}

/// Calls `each` once for every mapping that `budget` pays for until it says that it is enough.
fn for_all(sleeper: &Sleeper, budget: &Budget, mut each: impl FnMut(&Mapping) -> bool) {
    let mut left = next().map_or(0, |(_, count)| count);
    while left > 0 {
        left -= 1;
        match next() {
            Some((Some(mapping), _)) => {
                if mapping.budget.is_within(budget) && !each(&mapping) {
                    return;
                }
            }
            Some((None, _)) => {}
            None => return,
        }
        sleeper.resched_point();
    }
}

impl Mapping {
    /// Drops every clean page that nobody uses just now.
    pub fn forget_clean(&self) {
        // The first round takes away the marks of use.
        for _ in 0..2 {
            while self.drop_clean(PART) > 0 {}
        }
    }

    /// Drops up to `most` clean pages not used lately; returns how many.
    fn drop_clean(&self, most: usize) -> usize {
        if self.is_memory() {
            return 0;
        }
        let victims = self.table.lock().choose_victims(most);
        for run in victims.chunk_by(|one, other| one + 1 == *other) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.unmap(PageRange { from: *first, to: *last + 1 }, Copies::Keep);
            }
        }
        let dropped = self.table.lock().drop_busy(&victims);
        let count = dropped.len();
        self.release(dropped);
        self.settled.wake_all();
        count
    }
}
