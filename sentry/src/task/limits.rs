//! Resource limits of a process (getrlimit(2)).

use chitin_core::lock::{Level, SpinLock};

/// Level of the lock of a process's limits.
pub const LEVEL: Level = Level(58);

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// `RLIMIT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of getrlimit(2)")]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// Number of resources.
pub const COUNT: usize = 16;

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// Ceiling of the soft one.
    pub hard: u64,
}

impl Limit {
    /// Soft and hard.
    #[must_use]
    pub const fn new(soft: u64, hard: u64) -> Self {
        Self { soft, hard }
    }
}

/// The limits of a process.
pub struct Limits(SpinLock<[Limit; COUNT]>);

impl Limits {
    /// The limits that Linux gives to init.
    #[must_use]
    pub const fn new() -> Self {
        let none = Limit::new(INFINITY, INFINITY);
        let mut limits = [none; COUNT];
        limits[Resource::Stack as usize] = Limit::new(8 << 20, INFINITY);
        limits[Resource::Core as usize] = Limit::new(0, INFINITY);
        limits[Resource::Nofile as usize] = Limit::new(1024, 1 << 20);
        limits[Resource::Memlock as usize] = Limit::new(8 << 20, 8 << 20);
        limits[Resource::Sigpending as usize] = Limit::new(8192, 8192);
        limits[Resource::Msgqueue as usize] = Limit::new(819_200, 819_200);
        limits[Resource::Nice as usize] = Limit::new(0, 0);
        limits[Resource::Rtprio as usize] = Limit::new(0, 0);
        Self(SpinLock::new(LEVEL, limits))
    }

    /// A copy (fork(2)).
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(SpinLock::new(LEVEL, *self.0.lock()))
    }

    /// The limit of `RLIMIT_*` number `index`; none outside the table.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Limit> {
        self.0.lock().get(index).copied()
    }

    /// Sets the limit of `RLIMIT_*` number `index`.
    pub fn set_at(&self, index: usize, limit: Limit) {
        if let Some(slot) = self.0.lock().get_mut(index) {
            *slot = limit;
        }
    }

    /// The soft limit of a resource.
    #[must_use]
    pub fn soft(&self, resource: Resource) -> u64 {
        self.at(resource as usize).map_or(INFINITY, |limit| limit.soft)
    }

    /// The soft limit of a resource as a `usize`.
    #[must_use]
    pub fn soft_usize(&self, resource: Resource) -> usize {
        usize::try_from(self.soft(resource)).unwrap_or(usize::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
