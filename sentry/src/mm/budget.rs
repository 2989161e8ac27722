//! [`Budget`]: pages that a container (or a pod, or a tmpfs mount) may have, and [`Charge`], pages taken from one.
//!
//! Budgets form a tree: a charge counts in the budget it is taken from and in every budget above it. Whatever a user can
//! make the sentry allocate is charged before it is allocated.

use crate::platform::OutOfMemory;
use alloc::sync::Arc;
use chitin_core::once::Once;
use core::sync::atomic::{AtomicU64, Ordering};

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// A limit on pages.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
    parent: Option<Arc<Self>>,
}

/// Which budget refused a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The budget that was asked: its own limit.
    Own,
    /// One above it.
    Above,
}

impl From<Refused> for OutOfMemory {
    fn from(_: Refused) -> Self {
        Self
    }
}

static ROOT: Once<Arc<Budget>> = Once::new();

impl Budget {
    /// The budget of the whole machine: every other one is below it. Unlimited until [`Budget::set_limit`].
    #[must_use]
    pub fn root() -> Arc<Self> {
        loop {
            if let Some(root) = ROOT.get() {
                return root.clone();
            }
            ROOT.set(Arc::new(Self::with(UNLIMITED, None)));
        }
    }

    /// A budget of `limit` pages below this one.
    #[must_use]
    pub fn child(self: &Arc<Self>, limit: u64) -> Arc<Self> {
        Arc::new(Self::with(limit, Some(self.clone())))
    }

    const fn with(limit: u64, parent: Option<Arc<Self>>) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            parent,
        }
    }

    /// Whether it is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        core::ptr::eq(self, other) || self.parent.as_ref().is_some_and(|parent| parent.is_within(other))
    }

    /// The one of this budget and those above it that a charge of `pages` would meet refusal at.
    #[must_use]
    pub fn exhausted(&self, pages: u64) -> Option<&Self> {
        if self.used().saturating_add(pages) > self.limit() {
            return Some(self);
        }
        self.parent.as_ref()?.exhausted(pages)
    }

    /// The limit in pages.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit in pages. What is used above it stays until it is given back.
    pub fn set_limit(&self, pages: u64) {
        self.limit.store(pages, Ordering::Relaxed);
    }

    /// Pages in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Most pages ever in use.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Charges refused by this budget's own limit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes `pages`, to be given back by [`Budget::give`].
    ///
    /// # Errors
    /// [`Refused`] when a limit does not allow it; nothing is taken then.
    pub fn take(&self, pages: u64) -> Result<(), Refused> {
        let used = self.used.fetch_add(pages, Ordering::Relaxed).saturating_add(pages);
        if used > self.limit() {
            self.used.fetch_sub(pages, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Own);
        }
        if let Some(parent) = &self.parent
            && parent.take(pages).is_err()
        {
            self.used.fetch_sub(pages, Ordering::Relaxed);
            return Err(Refused::Above);
        }
        // A racy maximum is good enough for a statistic, and cheap when it does not change.
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes `pages` whatever the limit: for what must not fail, such as unmapping part of shared pages.
    pub fn take_always(&self, pages: u64) {
        self.used.fetch_add(pages, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.take_always(pages);
        }
    }

    /// Gives back `pages` that [`Budget::take`] took.
    pub fn give(&self, pages: u64) {
        if pages == 0 {
            return;
        }
        self.used.fetch_sub(pages, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give(pages);
        }
    }

    /// Takes `pages` as a value that gives them back when it is dropped.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub fn charge(self: &Arc<Self>, pages: u64) -> Result<Charge, Refused> {
        self.take(pages)?;
        Ok(Charge { budget: self.clone(), pages })
    }
}

/// Pages taken from a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    pages: u64,
}

impl Charge {
    /// Pages of this charge.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Takes `pages` more.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub fn grow(&mut self, pages: u64) -> Result<(), Refused> {
        self.budget.take(pages)?;
        self.pages += pages;
        Ok(())
    }

    /// Gives back `pages` of it, at most all.
    pub fn shrink(&mut self, pages: u64) {
        let pages = pages.min(self.pages);
        self.pages -= pages;
        self.budget.give(pages);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_count_upwards_and_come_back() {
        let pod = Budget::root().child(10);
        let one = pod.child(8);
        let two = pod.child(UNLIMITED);
        let first = one.charge(6).unwrap();
        assert_eq!(one.take(3), Err(Refused::Own));
        let mut second = two.charge(4).unwrap();
        assert_eq!(one.take(1), Err(Refused::Above));
        assert_eq!((one.used(), two.used(), pod.used()), (6, 4, 10));
        second.shrink(3);
        assert!(second.grow(4).is_err());
        assert_eq!(pod.used(), 7);
        drop((first, second));
        assert_eq!((one.used(), two.used(), pod.used(), pod.peak()), (0, 0, 0, 10));
    }
}
