//! [`Account`]: bytes of small objects, charged to a memory budget by whole pages of their sum.

use crate::abi::Errno;
use crate::mm::{Budget, Charge};
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock of the sum.
const LEVEL: Level = Level(156);

struct Sum {
    bytes: u64,
    charge: Option<Charge>,
}

/// Bytes that the objects of a namespace take.
pub struct Account {
    budget: Arc<Budget>,
    sum: SpinLock<Sum>,
}

impl Account {
    /// Nothing taken, `budget` pays.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { budget, sum: SpinLock::new(LEVEL, Sum { bytes: 0, charge: None }) })
    }

    /// Takes `bytes` as a value that gives them back when it is dropped.
    ///
    /// # Errors
    /// `ENOMEM` when the budget does not allow it.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Taken, Errno> {
        let mut sum = self.sum.lock();
        let after = sum.bytes.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        let pages = after.div_ceil(4096);
        match &mut sum.charge {
            Some(charge) => {
                let more = pages.saturating_sub(charge.pages());
                charge.grow(more).map_err(|_| Errno::ENOMEM)?;
            }
            None => sum.charge = Some(self.budget.charge(pages).map_err(|_| Errno::ENOMEM)?),
        }
        sum.bytes = after;
        Ok(Taken { account: self.clone(), bytes })
    }

    fn give(&self, bytes: u64) {
        let mut sum = self.sum.lock();
        sum.bytes = sum.bytes.saturating_sub(bytes);
        let pages = sum.bytes.div_ceil(4096);
        if let Some(charge) = &mut sum.charge {
            let less = charge.pages().saturating_sub(pages);
            charge.shrink(less);
        }
    }
}

/// Bytes taken from an [`Account`].
pub struct Taken {
    account: Arc<Account>,
    bytes: u64,
}

impl Taken {
    /// Takes further bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Errno> {
        let mut more = self.account.take(bytes)?;
        self.bytes += core::mem::take(&mut more.bytes);
        Ok(())
    }

    /// Gives part of them back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.account.give(bytes);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.give(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_whole_pages_of_the_sum() {
        let budget = Budget::root().child(2);
        let account = Account::new(budget.clone());
        let one = account.take(100).unwrap();
        let mut two = account.take(4000).unwrap();
        assert_eq!(budget.used(), 2);
        assert!(account.take(5000).is_err());
        two.shrink(3000);
        assert_eq!(budget.used(), 1);
        two.grow(6000).unwrap();
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }
}
