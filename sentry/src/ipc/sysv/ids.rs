//! [`Ids`]: the objects of one kind in a namespace, by id and by key.
//!
//! An id is an index with a sequence number above it, so that the id of a removed object does not soon mean another one.

use super::{CREATE, EXCLUSIVE, PRIVATE};
use crate::abi::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bits of the index.
const INDEX_BITS: u32 = 15;
/// Indexes at most.
pub const INDEXES: u32 = 1 << INDEX_BITS;
/// Indexes are used in turn, over at least so many.
const CYCLE: u32 = 64;

struct Slot<T> {
    seq: u16,
    key: i32,
    object: Arc<T>,
}

impl<T> Slot<T> {
    fn found(&self, index: u32) -> Found<T> {
        let id = (u32::from(self.seq) << INDEX_BITS | index).cast_signed();
        Found { id, key: self.key, seq: self.seq, object: self.object.clone() }
    }
}

/// An object and what it is known by.
pub struct Found<T> {
    /// Its id.
    pub id: i32,
    /// Its key.
    pub key: i32,
    /// The sequence number in its id.
    pub seq: u16,
    /// The object.
    pub object: Arc<T>,
}

/// What a `*get` call is to do.
pub enum Get<T> {
    /// Use this object.
    There(Found<T>),
    /// Make one.
    Make,
}

/// The objects of one kind.
pub struct Ids<T> {
    slots: BTreeMap<u32, Slot<T>>,
    keys: BTreeMap<i32, u32>,
    next: u32,
    seq: u16,
}

impl<T> Ids<T> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: BTreeMap::new(), keys: BTreeMap::new(), next: 0, seq: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The highest index in use, 0 for none: what the `*_INFO` commands return.
    #[must_use]
    pub fn highest(&self) -> usize {
        self.slots.keys().next_back().map_or(0, |index| *index as usize)
    }

    /// What a `*get` call with this key and these flags does.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`.
    pub fn get(&self, key: i32, flags: u32) -> Result<Get<T>, Errno> {
        if key == PRIVATE {
            return Ok(Get::Make);
        }
        let there = self.keys.get(&key).and_then(|index| Some(self.slots.get(index)?.found(*index)));
        match there {
            None if flags & CREATE == 0 => Err(Errno::ENOENT),
            None => Ok(Get::Make),
            Some(_) if flags & CREATE != 0 && flags & EXCLUSIVE != 0 => Err(Errno::EEXIST),
            Some(found) => Ok(Get::There(found)),
        }
    }

    /// Adds an object; `limit` is how many there may be.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn add(&mut self, key: i32, object: Arc<T>, limit: usize) -> Result<i32, Errno> {
        let count = u32::try_from(self.slots.len()).map_err(|_| Errno::ENOSPC)?;
        if self.slots.len() >= limit || count >= INDEXES {
            return Err(Errno::ENOSPC);
        }
        let range = (count.saturating_mul(3) / 2).clamp(CYCLE, INDEXES);
        let free = |index: &u32| !self.slots.contains_key(index);
        let from_next = (self.next..range).find(free);
        let index = match from_next {
            Some(index) => index,
            None => {
                self.seq = (self.seq + 1) & 0xffff >> 1;
                (0..INDEXES).find(free).ok_or(Errno::ENOSPC)?
            }
        };
        self.next = index + 1;
        if key != PRIVATE {
            self.keys.insert(key, index);
        }
        let slot = Slot { seq: self.seq, key, object };
        let id = slot.found(index).id;
        self.slots.insert(index, slot);
        Ok(id)
    }

    /// The object of an id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Found<T>, Errno> {
        let id = u32::try_from(id).map_err(|_| Errno::EINVAL)?;
        let index = id % INDEXES;
        let slot = self.slots.get(&index).filter(|slot| u32::from(slot.seq) == id >> INDEX_BITS);
        Ok(slot.ok_or(Errno::EINVAL)?.found(index))
    }

    /// The object at an index, whatever its sequence number (`SHM_STAT` and its like).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at(&self, index: i32) -> Result<Found<T>, Errno> {
        let index = u32::try_from(index).map_err(|_| Errno::EINVAL)? % INDEXES;
        Ok(self.slots.get(&index).ok_or(Errno::EINVAL)?.found(index))
    }

    /// Takes an object out, if it still is the one of that id.
    pub fn remove(&mut self, id: i32) -> Option<Arc<T>> {
        let index = id.cast_unsigned() % INDEXES;
        self.find(id).ok()?;
        let slot = self.slots.remove(&index)?;
        if slot.key != PRIVATE {
            self.keys.remove(&slot.key);
        }
        Some(slot.object)
    }

    /// The object stays, but no key leads to it any more.
    pub fn forget_key(&mut self, id: i32) {
        let index = id.cast_unsigned() % INDEXES;
        if let Some(slot) = self.slots.get_mut(&index)
            && slot.key != PRIVATE
        {
            self.keys.remove(&slot.key);
            slot.key = PRIVATE;
        }
    }

    /// All objects, by index.
    #[must_use]
    pub fn all(&self) -> Vec<Found<T>> {
        self.slots.iter().map(|(index, slot)| slot.found(*index)).collect()
    }
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_soon_used_again() {
        let mut ids = Ids::new();
        let first = ids.add(7, Arc::new(1), 10).unwrap();
        assert!(matches!(ids.get(7, 0), Ok(Get::There(found)) if found.id == first));
        assert!(matches!(ids.get(7, CREATE | EXCLUSIVE), Err(Errno::EEXIST)));
        assert!(matches!(ids.get(8, 0), Err(Errno::ENOENT)));
        assert!(ids.remove(first).is_some());
        assert!(ids.find(first).is_err());
        let mut seen = std::vec![first];
        for _ in 0..300 {
            let id = ids.add(PRIVATE, Arc::new(2), 10).unwrap();
            assert!(!seen.contains(&id));
            seen.push(id);
            ids.remove(id);
        }
    }
}
