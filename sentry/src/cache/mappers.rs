//! The reverse map of a [`Mapping`]: the address spaces that map its pages.

use super::Mapping;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of the reverse map's lock.
pub(super) const LEVEL: Level = Level(115);

/// What happens to private copies of pages that a file loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// They go as well (truncation).
    Drop,
    /// They stay (punched holes, dropped caches).
    Keep,
}

/// Pages of a file, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// First page.
    pub from: u64,
    /// Page after the last.
    pub to: u64,
}

/// An address space that maps files.
pub trait Mapper: Send + Sync {
    /// Removes the pages of `range` wherever `mapping` is mapped; none is accessible when it returns.
    fn unmap_pages(&self, mapping: &Mapping, range: PageRange, copies: Copies);

    /// Takes the write permission from the pages of `range` wherever `mapping` is mapped shared.
    fn protect_pages(&self, mapping: &Mapping, range: PageRange);
}

/// Whether user code may write to the file through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Private, or shared and never writable.
    ReadOnly,
    /// Shared, and writable or may become so.
    Writable,
}

#[derive(Default)]
struct Table {
    next: u64,
    mappers: BTreeMap<u64, Weak<dyn Mapper>>,
}

/// The mappers of one mapping.
pub(super) struct Mappers {
    table: SpinLock<Table>,
    writable: AtomicU64,
}

impl Mappers {
    pub(super) const fn new() -> Self {
        Self {
            table: SpinLock::new(LEVEL, Table { next: 0, mappers: BTreeMap::new() }),
            writable: AtomicU64::new(0),
        }
    }

    pub(super) fn writable(&self) -> u64 {
        self.writable.load(Ordering::SeqCst)
    }

    /// Calls `each` for every mapper, with no lock held.
    pub(super) fn for_each(&self, mut each: impl FnMut(&dyn Mapper)) {
        let weak: Vec<Weak<dyn Mapper>> = self.table.lock().mappers.values().cloned().collect();
        let mut last: Option<Arc<dyn Mapper>> = None;
        for mapper in weak.iter().filter_map(Weak::upgrade) {
            // One space often maps a file several times, one after the other.
            if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &mapper)) {
                continue;
            }
            each(&*mapper);
            last = Some(mapper);
        }
    }
}

/// Membership of an address space in the reverse map of a mapping, for one or more areas; dropping it ends it.
pub struct Attachment {
    mapping: Arc<Mapping>,
    key: u64,
    sharing: Sharing,
}

impl Attachment {
    pub(super) fn new(mapping: &Arc<Mapping>, mapper: Weak<dyn Mapper>, sharing: Sharing) -> Arc<Self> {
        if sharing == Sharing::Writable {
            mapping.mappers().writable.fetch_add(1, Ordering::SeqCst);
        }
        let mut table = mapping.mappers().table.lock();
        let key = table.next;
        table.next += 1;
        table.mappers.insert(key, mapper);
        drop(table);
        Arc::new(Self { mapping: mapping.clone(), key, sharing })
    }

    /// What is mapped.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// How.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.sharing == Sharing::Writable {
            self.mapping.mappers().writable.fetch_sub(1, Ordering::SeqCst);
        }
        let removed = self.mapping.mappers().table.lock().mappers.remove(&self.key);
        drop(removed);
    }
}
