//! [`UserNamespace`]: whose ids and capabilities count where (user_namespaces(7)).
//!
//! Credentials, files and everything else keep the ids of the outermost namespace; a namespace only says what they are
//! called inside. A task has capabilities in its own namespace and in those below it, never above.

use crate::abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::once::Once;
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of the lock around the maps of a namespace.
const LEVEL: Level = Level(61);

/// Namespaces one below another, at most.
const DEPTH_MAX: u32 = 32;
/// Extents of a map, at most.
const EXTENTS_MAX: usize = 340;

/// What an id that has no name in a namespace is called there.
pub const OVERFLOW: u32 = 65534;
/// No id.
pub const NO_ID: u32 = u32::MAX;

/// `count` ids from `first` on are those from `lower` on of the outermost namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First id inside.
    pub first: u32,
    /// First id outside.
    pub lower: u32,
    /// How many.
    pub count: u32,
}

/// Which ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    User,
    /// Groups.
    Group,
}

#[derive(Debug, Default)]
struct Maps {
    users: Vec<Extent>,
    groups: Vec<Extent>,
    no_setgroups: bool,
}

/// See the module.
#[derive(Debug)]
pub struct UserNamespace {
    parent: Option<Arc<UserNamespace>>,
    level: u32,
    /// Who made it, in the outermost namespace.
    pub owner: u32,
    /// Inode number of its file.
    pub ino: u64,
    maps: SpinLock<Maps>,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(4_026_532_200);

/// Inode number of a new namespace of any kind.
#[must_use]
pub fn new_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}

/// Inode number of the outermost user namespace.
const INITIAL_INO: u64 = 4_026_531_837;

impl UserNamespace {
    /// The outermost namespace, where ids are what they are.
    #[must_use]
    pub fn outermost() -> Arc<Self> {
        static OUTERMOST: Once<Arc<UserNamespace>> = Once::new();
        match OUTERMOST.get() {
            Some(outermost) => outermost.clone(),
            None => {
                OUTERMOST.set(Self::new_outermost());
                OUTERMOST.get().cloned().unwrap_or_else(Self::new_outermost)
            }
        }
    }

    fn new_outermost() -> Arc<Self> {
        let all = alloc::vec![Extent { first: 0, lower: 0, count: u32::MAX }];
        let maps = Maps { users: all.clone(), groups: all, no_setgroups: false };
        Arc::new(Self {
            parent: None,
            level: 0,
            owner: 0,
            ino: INITIAL_INO,
            maps: SpinLock::new(LEVEL, maps),
        })
    }

    /// A namespace below this one, without maps.
    ///
    /// # Errors
    /// `ENOSPC` when there are too many above it, `EPERM` when the maker has no name here.
    pub fn new(self: &Arc<Self>, (uid, gid): (u32, u32)) -> Result<Arc<Self>, Errno> {
        if self.level >= DEPTH_MAX {
            return Err(Errno::ENOSPC);
        }
        if self.inside(Kind::User, uid).is_none() || self.inside(Kind::Group, gid).is_none() {
            return Err(Errno::EPERM);
        }
        let no_setgroups = self.maps.lock().no_setgroups;
        let maps = SpinLock::new(LEVEL, Maps { no_setgroups, ..Maps::default() });
        let (parent, level) = (Some(self.clone()), self.level + 1);
        Ok(Arc::new(Self { parent, level, owner: uid, ino: new_ino(), maps }))
    }

    /// The namespace above.
    #[must_use]
    pub const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Whether it has none above.
    #[must_use]
    pub const fn is_outermost(&self) -> bool {
        self.level == 0
    }

    fn with_map<T>(&self, kind: Kind, act: impl FnOnce(&[Extent]) -> T) -> T {
        let maps = self.maps.lock();
        act(match kind {
            Kind::User => &maps.users,
            Kind::Group => &maps.groups,
        })
    }

    /// What an id of the outermost namespace is called here.
    #[must_use]
    pub fn inside(&self, kind: Kind, id: u32) -> Option<u32> {
        if self.level == 0 {
            return Some(id).filter(|id| *id != NO_ID);
        }
        self.with_map(kind, |map| {
            map.iter().find_map(|extent| {
                let offset = id.checked_sub(extent.lower).filter(|offset| *offset < extent.count)?;
                extent.first.checked_add(offset)
            })
        })
    }

    /// As [`UserNamespace::inside`], with [`OVERFLOW`] for one that has no name.
    #[must_use]
    pub fn shown(&self, kind: Kind, id: u32) -> u32 {
        self.inside(kind, id).unwrap_or(OVERFLOW)
    }

    /// The id of the outermost namespace that is called `id` here.
    #[must_use]
    pub fn outside(&self, kind: Kind, id: u32) -> Option<u32> {
        if self.level == 0 {
            return Some(id).filter(|id| *id != NO_ID);
        }
        self.with_map(kind, |map| {
            map.iter().find_map(|extent| {
                let offset = id.checked_sub(extent.first).filter(|offset| *offset < extent.count)?;
                extent.lower.checked_add(offset)
            })
        })
    }

    /// The map as `viewer` sees it: first id inside, first id in `viewer` or in what is above it, count.
    #[must_use]
    pub fn map_for(&self, kind: Kind, viewer: &Self) -> Vec<Extent> {
        let map = self.with_map(kind, <[Extent]>::to_vec);
        let above = if core::ptr::eq(viewer, self) { self.parent.as_deref() } else { Some(viewer) };
        let lower = |id| above.map_or(id, |above| above.inside(kind, id).unwrap_or(NO_ID));
        map.into_iter().map(|extent| Extent { lower: lower(extent.lower), ..extent }).collect()
    }

    /// Sets a map, once; `extents` name ids of the namespace above.
    ///
    /// # Errors
    /// `EPERM` when it is set already or names ids that the namespace above has no name for; `EINVAL` for a map that is
    /// empty, too long, or has overlaps.
    pub fn set_map(&self, kind: Kind, mut extents: Vec<Extent>) -> Result<(), Errno> {
        check(&extents)?;
        let parent = self.parent.as_ref().ok_or(Errno::EPERM)?;
        for extent in &mut extents {
            let last = extent.lower + (extent.count - 1);
            let lower = parent.outside(kind, extent.lower).ok_or(Errno::EPERM)?;
            // The whole range lies in one extent of the parent's.
            if parent.outside(kind, last) != lower.checked_add(extent.count - 1) {
                return Err(Errno::EPERM);
            }
            extent.lower = lower;
        }
        let mut maps = self.maps.lock();
        let map = match kind {
            Kind::User => &mut maps.users,
            Kind::Group => &mut maps.groups,
        };
        if !map.is_empty() {
            return Err(Errno::EPERM);
        }
        *map = extents;
        Ok(())
    }

    /// Whether a map is set.
    #[must_use]
    pub fn has_map(&self, kind: Kind) -> bool {
        self.with_map(kind, |map| !map.is_empty())
    }

    /// Whether setgroups(2) is allowed by `/proc/PID/setgroups`.
    #[must_use]
    pub fn allows_setgroups(&self) -> bool {
        !self.maps.lock().no_setgroups
    }

    /// Writes `/proc/PID/setgroups`.
    ///
    /// # Errors
    /// `EPERM` when it is too late, or was denied before.
    pub fn set_setgroups(&self, allow: SetGroups) -> Result<(), Errno> {
        let mut maps = self.maps.lock();
        match allow {
            SetGroups::Deny if !maps.groups.is_empty() => Err(Errno::EPERM),
            SetGroups::Deny => {
                maps.no_setgroups = true;
                Ok(())
            }
            SetGroups::Allow if maps.no_setgroups => Err(Errno::EPERM),
            SetGroups::Allow => Ok(()),
        }
    }
}

/// What `/proc/PID/setgroups` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetGroups {
    /// setgroups(2) may be used.
    Allow,
    /// It may not.
    Deny,
}

/// # Errors
/// `EINVAL`.
fn check(extents: &[Extent]) -> Result<(), Errno> {
    let overlaps = |a: u32, a_count: u32, b: u32, b_count: u32| a < b + b_count && b < a + a_count;
    let whole = |extent: &Extent| {
        extent.count > 0
            && extent.first != NO_ID
            && extent.lower != NO_ID
            && extent.first.checked_add(extent.count).is_some()
            && extent.lower.checked_add(extent.count).is_some()
    };
    let apart = extents.iter().enumerate().all(|(index, a)| {
        extents.iter().skip(index + 1).all(|b| {
            !overlaps(a.first, a.count, b.first, b.count) && !overlaps(a.lower, a.count, b.lower, b.count)
        })
    });
    let fits = !extents.is_empty() && extents.len() <= EXTENTS_MAX;
    if fits && extents.iter().all(whole) && apart { Ok(()) } else { Err(Errno::EINVAL) }
}

impl PartialEq for UserNamespace {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl Eq for UserNamespace {}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first: u32, lower: u32, count: u32) -> Extent {
        Extent { first, lower, count }
    }

    #[test]
    fn maps_are_set_once_and_nest() {
        let outer = UserNamespace::outermost();
        let middle = outer.new((1000, 1000)).unwrap();
        assert_eq!(middle.shown(Kind::User, 1000), OVERFLOW);
        assert_eq!(middle.new((1000, 1000)).map(drop), Err(Errno::EPERM), "the maker has no name yet");
        assert_eq!(middle.set_map(Kind::User, alloc::vec![]), Err(Errno::EINVAL));
        let overlapping = alloc::vec![extent(0, 1000, 5), extent(4, 2000, 5)];
        assert_eq!(middle.set_map(Kind::User, overlapping), Err(Errno::EINVAL));
        assert_eq!(middle.set_map(Kind::User, alloc::vec![extent(0, 1000, 10)]), Ok(()));
        assert_eq!(middle.set_map(Kind::User, alloc::vec![extent(0, 1000, 10)]), Err(Errno::EPERM));
        assert_eq!(middle.set_map(Kind::Group, alloc::vec![extent(0, 1000, 10)]), Ok(()));
        assert_eq!((middle.inside(Kind::User, 1003), middle.outside(Kind::User, 9)), (Some(3), Some(1009)));
        assert_eq!(middle.outside(Kind::User, 10), None);

        let inner = middle.new((1000, 1000)).unwrap();
        assert_eq!(inner.set_map(Kind::User, alloc::vec![extent(7, 8, 5)]), Err(Errno::EPERM));
        assert_eq!(inner.set_map(Kind::User, alloc::vec![extent(7, 8, 2)]), Ok(()));
        assert_eq!(inner.outside(Kind::User, 8), Some(1009));
        assert_eq!(inner.map_for(Kind::User, &inner), [extent(7, 8, 2)]);
        assert_eq!(inner.map_for(Kind::User, &outer), [extent(7, 1008, 2)]);
        assert_eq!(middle.set_setgroups(SetGroups::Deny), Err(Errno::EPERM), "the groups are mapped");
    }
}
