//! The page index: private pages of an address space, in leaves of 512 that parent and child share until one writes.
//!
//! A leaf covers 2 MiB of addresses. Fork copies the list of leaves, not the leaves: a leaf with two owners is copied when
//! one of them changes it, and then its frames have two handles each. So a frame may be written in place only when its
//! leaf has one owner and it has one handle ([`is_sole`]).
//!
//! Frames in leaves are charged to the budget of the index once, with whatever handle frees them giving the page back.

use super::budget::Budget;
use crate::platform::OutOfMemory;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::Frame;
use core::sync::atomic::{Ordering, fence};

/// Pages of a leaf.
pub(super) const LEAF_PAGES: u64 = SLOTS as u64;
const SLOTS: usize = 512;

/// 512 pages, aligned to 512. The slots are apart from the rest: together they would not fit the heap's 2 KiB objects.
pub(super) struct Leaf {
    slots: Box<[Option<Frame>]>,
    used: usize,
    budget: Arc<Budget>,
}

/// What a leaf itself costs, in pages: it and the page table that shadows it.
const LEAF_COST: u64 = 1;

impl Leaf {
    fn new(budget: &Arc<Budget>) -> Result<Arc<Self>, OutOfMemory> {
        budget.take(LEAF_COST)?;
        Ok(Self::empty(budget))
    }

    /// A leaf that has been charged.
    fn empty(budget: &Arc<Budget>) -> Arc<Self> {
        // Collected, not built on the stack: kernel stacks are small.
        let slots = core::iter::repeat_with(|| None).take(SLOTS).collect();
        Arc::new(Self { slots, used: 0, budget: budget.clone() })
    }

    /// A leaf with the same frames, each with one handle more. Not refused: unmapping must not fail.
    fn duplicate(&self) -> Arc<Self> {
        self.budget.take_always(LEAF_COST);
        Arc::new(Self { slots: self.slots.clone(), used: self.used, budget: self.budget.clone() })
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        let freed =
            self.slots.iter_mut().filter_map(Option::take).filter_map(|frame| frame.release().then_some(1));
        let freed = freed.sum::<u64>() + LEAF_COST;
        self.budget.give(freed);
    }
}

/// A private page that left the index; dropped like one inside.
pub(super) struct Loan {
    frame: Option<Frame>,
    budget: Arc<Budget>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.frame.take().is_some_and(Frame::release) {
            self.budget.give(1);
        }
    }
}

/// Pages taken out of the index, to be dropped with no lock held and after the space forgot them.
#[derive(Default)]
pub(super) struct Removed {
    leaves: Vec<Arc<Leaf>>,
    frames: Vec<Frame>,
    budget: Option<Arc<Budget>>,
}

impl Removed {
    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.frames.is_empty()
    }

    /// Drops a part, about a thousand pages; tells whether there is more.
    pub(super) fn drop_some(&mut self) -> bool {
        if self.leaves.pop().is_some() {
            self.leaves.pop();
            return !self.is_empty();
        }
        let rest = self.frames.len().saturating_sub(1024);
        let freed = self.frames.drain(rest..).filter_map(|frame| frame.release().then_some(1)).sum();
        if let Some(budget) = &self.budget {
            budget.give(freed);
        }
        !self.is_empty()
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        while self.drop_some() {}
    }
}

/// The private pages of an address space, by page number.
pub(super) struct PageIndex {
    leaves: BTreeMap<u64, Arc<Leaf>>,
    resident: u64,
    peak: u64,
    budget: Arc<Budget>,
}

const fn split(page: u64) -> (u64, usize) {
    (page / LEAF_PAGES, (page % LEAF_PAGES) as usize)
}

impl PageIndex {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { leaves: BTreeMap::new(), resident: 0, peak: 0, budget }
    }

    /// The same pages for a child: leaves become shared.
    pub(super) fn share(&self) -> Self {
        Self {
            leaves: self.leaves.clone(),
            resident: self.resident,
            peak: self.resident,
            budget: self.budget.clone(),
        }
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Pages present.
    pub(super) fn resident(&self) -> u64 {
        self.resident
    }

    /// Most pages present so far.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// Present pages of `from..to`.
    pub(super) fn resident_in(&self, from: u64, to: u64) -> u64 {
        let mut sum = 0;
        for (number, leaf) in self.leaves.range(from / LEAF_PAGES..to.div_ceil(LEAF_PAGES)) {
            let first = number * LEAF_PAGES;
            if first >= from && first + LEAF_PAGES <= to {
                sum += leaf.used as u64;
            } else {
                let slots = (first..).zip(leaf.slots.iter());
                sum +=
                    slots.filter(|(page, slot)| slot.is_some() && (from..to).contains(page)).count() as u64;
            }
        }
        sum
    }

    pub(super) fn get(&self, page: u64) -> Option<&Frame> {
        let (leaf, slot) = split(page);
        self.leaves.get(&leaf)?.slots.get(slot)?.as_ref()
    }

    /// The slots of pages `from..from + len` of one leaf, and whether the leaf has one owner. A slot's frame is exclusive
    /// when the leaf is and [`is_sole`] says so. Empty when there is no such leaf.
    pub(super) fn window(&self, from: u64, len: usize) -> (&[Option<Frame>], bool) {
        let (number, slot) = split(from);
        let Some(leaf) = self.leaves.get(&number) else { return (&[], false) };
        let end = (slot + len).min(leaf.slots.len());
        let exclusive = Arc::strong_count(leaf) == 1;
        // The handles that a former owner's copy took are seen by who sees that it left.
        fence(Ordering::Acquire);
        (leaf.slots.get(slot..end).unwrap_or_default(), exclusive)
    }

    /// Puts a charged frame at `page`; returns the frame that was there, to be dropped after the space maps the new one.
    ///
    /// # Errors
    /// [`OutOfMemory`] when a leaf cannot be charged.
    pub(super) fn put(&mut self, page: u64, frame: Frame) -> Result<Option<Loan>, (OutOfMemory, Frame)> {
        let (number, slot) = split(page);
        let leaf = match self.leaves.entry(number) {
            alloc::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            alloc::collections::btree_map::Entry::Vacant(entry) => match Leaf::new(&self.budget) {
                Ok(leaf) => entry.insert(leaf),
                Err(error) => return Err((error, frame)),
            },
        };
        let Some(slot) = exclusive(leaf).and_then(|leaf| {
            let slot = leaf.slots.get_mut(slot)?;
            leaf.used += usize::from(slot.is_none());
            self.resident += u64::from(slot.is_none());
            Some(slot)
        }) else {
            return Err((OutOfMemory, frame));
        };
        let old = slot.replace(frame);
        self.peak = self.peak.max(self.resident);
        Ok(old.map(|frame| Loan { frame: Some(frame), budget: self.budget.clone() }))
    }

    /// Takes out the pages of `from..to`.
    pub(super) fn remove(&mut self, from: u64, to: u64) -> Removed {
        let mut removed =
            Removed { leaves: Vec::new(), frames: Vec::new(), budget: Some(self.budget.clone()) };
        let touched: Vec<u64> = self
            .leaves
            .range(from / LEAF_PAGES..to.div_ceil(LEAF_PAGES))
            .map(|(number, _)| *number)
            .collect();
        for number in touched {
            let first = number * LEAF_PAGES;
            if first >= from && first + LEAF_PAGES <= to {
                if let Some(leaf) = self.leaves.remove(&number) {
                    self.resident -= leaf.used as u64;
                    removed.leaves.push(leaf);
                }
                continue;
            }
            let (low, high) = (from.max(first) - first, to.min(first + LEAF_PAGES) - first);
            #[expect(clippy::cast_possible_truncation, reason = "at most 512")]
            let range = low as usize..high as usize;
            let Some(leaf) = self.leaves.get_mut(&number) else { continue };
            if leaf.slots.get(range.clone()).is_none_or(|slots| slots.iter().all(Option::is_none)) {
                continue;
            }
            let Some(leaf) = exclusive(leaf) else { continue };
            let before = removed.frames.len();
            removed
                .frames
                .extend(leaf.slots.get_mut(range).unwrap_or_default().iter_mut().filter_map(Option::take));
            let taken = removed.frames.len() - before;
            leaf.used -= taken;
            self.resident -= taken as u64;
            if leaf.used == 0
                && let Some(leaf) = self.leaves.remove(&number)
            {
                removed.leaves.push(leaf);
            }
        }
        removed
    }

    /// Moves the pages of `from..from + count` to `to..`, where nothing is and which does not overlap them. Not refused.
    pub(super) fn relocate(&mut self, from: u64, to: u64, count: u64) {
        let mut page = from;
        while page < from + count {
            let (number, slot) = split(page);
            let Some(leaf) = self.leaves.get_mut(&number) else {
                page = (number + 1) * LEAF_PAGES;
                continue;
            };
            let target = to + (page - from);
            let whole = slot == 0 && target.is_multiple_of(LEAF_PAGES) && from + count - page >= LEAF_PAGES;
            if whole {
                if let Some(leaf) = self.leaves.remove(&number) {
                    self.leaves.insert(target / LEAF_PAGES, leaf);
                }
                page += LEAF_PAGES;
                continue;
            }
            let taken = exclusive(leaf).and_then(|leaf| {
                let frame = leaf.slots.get_mut(slot)?.take()?;
                leaf.used -= 1;
                Some(frame)
            });
            if leaf.used == 0 {
                self.leaves.remove(&number);
            }
            if let Some(frame) = taken {
                self.resident -= 1;
                self.put_always(target, frame);
            }
            page += 1;
        }
    }

    fn put_always(&mut self, page: u64, frame: Frame) {
        let (number, slot) = split(page);
        let budget = &self.budget;
        let leaf = self.leaves.entry(number).or_insert_with(|| {
            budget.take_always(LEAF_COST);
            Leaf::empty(budget)
        });
        if let Some(leaf) = exclusive(leaf)
            && let Some(slot) = leaf.slots.get_mut(slot)
        {
            leaf.used += 1;
            self.resident += 1;
            *slot = Some(frame);
        }
    }
}

/// Whether a frame of an exclusive leaf has no other handle.
pub(super) fn is_sole(frame: &Frame) -> bool {
    frame.handles() == 1
}

/// The leaf, copied first if it has other owners.
fn exclusive(leaf: &mut Arc<Leaf>) -> Option<&mut Leaf> {
    if Arc::get_mut(leaf).is_none() {
        *leaf = leaf.duplicate();
    }
    Arc::get_mut(leaf)
}
