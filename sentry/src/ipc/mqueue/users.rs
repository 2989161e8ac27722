//! [`Users`]: what the queues of each user may take at most (`RLIMIT_MSGQUEUE`, getrlimit(2)).

use super::Attributes;
use crate::abi::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};

/// Level of the sums' lock.
const LEVEL: Level = Level(149);

/// What Linux counts for a message beside its bytes, and for a priority that may be in use.
const PER_MESSAGE: u64 = 48;
const PER_PRIORITY: u64 = 48;

/// Bytes that queues could take, by the user who made them.
pub(super) struct Users(SpinLock<BTreeMap<u32, u64>>);

impl Users {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(SpinLock::new(LEVEL, BTreeMap::new())))
    }

    /// Counts a queue of that size for a user who may have `limit` bytes.
    ///
    /// # Errors
    /// `EMFILE` beyond the limit, `EOVERFLOW` for a size beyond all numbers.
    pub(super) fn claim(self: &Arc<Self>, uid: u32, limit: u64, size: Attributes) -> Result<Claim, Errno> {
        let bytes = bytes_of(size).ok_or(Errno::EOVERFLOW)?;
        let mut users = self.0.lock();
        let held = users.get(&uid).copied().unwrap_or(0);
        let sum = held.checked_add(bytes).filter(|sum| *sum <= limit).ok_or(Errno::EMFILE)?;
        users.insert(uid, sum);
        Ok(Claim { users: self.clone(), uid, bytes })
    }
}

fn bytes_of(size: Attributes) -> Option<u64> {
    let (messages, each) = (size.max_messages as u64, size.max_bytes as u64);
    let tree = messages.min(u64::from(super::queue::PRIORITIES)).checked_mul(PER_PRIORITY)?;
    messages.checked_mul(each.checked_add(PER_MESSAGE)?)?.checked_add(tree)
}

/// What is counted for a queue, for as long as it is there.
pub(super) struct Claim {
    users: Arc<Users>,
    uid: u32,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut users = self.users.0.lock();
        if let Some(sum) = users.get_mut(&self.uid) {
            *sum = sum.saturating_sub(self.bytes);
            if *sum == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_no_more_than_its_limit() {
        let users = Users::new();
        let size = Attributes { max_messages: 10, max_bytes: 8192 };
        let bytes = bytes_of(size).unwrap();
        let first = users.claim(5, 2 * bytes, size).unwrap();
        let _second = users.claim(5, 2 * bytes, size).unwrap();
        assert_eq!(users.claim(5, 2 * bytes, size).err(), Some(Errno::EMFILE));
        assert!(users.claim(6, 2 * bytes, size).is_ok());
        drop(first);
        assert!(users.claim(5, 2 * bytes, size).is_ok());
        let huge = Attributes { max_messages: usize::MAX, max_bytes: usize::MAX };
        assert_eq!(users.claim(5, u64::MAX, huge).err(), Some(Errno::EOVERFLOW));
    }
}
