//! [`Sharing`]: which mounts hear of what is mounted and unmounted in which others (mount_namespaces(7), "shared
//! subtrees").
//!
//! Mounts that hear of each other are members of a [`Group`]. A group may have a master, another group from which it only
//! hears; so may a mount alone, a slave. Groups thus form trees. A group whose members are gone passes on what its master
//! hears. All changes happen under the lock of the mounts' family.

use super::{LEVEL, Mount};
use alloc::collections::BTreeSet;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::sync::atomic::{AtomicU32, Ordering};

/// How a mount takes part.
#[derive(Clone, Default)]
pub enum Sharing {
    /// It neither tells nor hears.
    #[default]
    Private,
    /// As private, and it cannot be bound.
    Unbindable,
    /// A member of a group.
    Shared(Arc<Group>),
    /// It hears from a group.
    Slave(Arc<Group>),
}

/// What `MS_SHARED` and the like ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// `MS_UNBINDABLE`.
    Unbindable,
    /// `MS_PRIVATE`.
    Private,
    /// `MS_SLAVE`.
    Slave,
    /// `MS_SHARED`.
    Shared,
}

impl Propagation {
    /// From the bits of mount(2) and mount_setattr(2); `None` unless there is exactly one.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0x2_0000 => Some(Self::Unbindable),
            0x4_0000 => Some(Self::Private),
            0x8_0000 => Some(Self::Slave),
            0x10_0000 => Some(Self::Shared),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Lists {
    master: Option<Arc<Group>>,
    members: Vec<Weak<Mount>>,
    slaves: Vec<Weak<Mount>>,
    below: Vec<Weak<Group>>,
}

/// A peer group.
pub struct Group {
    /// Number in `/proc/PID/mountinfo`.
    pub id: u32,
    lists: SpinLock<Lists>,
}

impl Group {
    /// A group without members that hears from `master`.
    fn new(master: Option<Arc<Self>>) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let lists = Lists { master: master.clone(), ..Lists::default() };
        let group = Arc::new(Self { id, lists: SpinLock::new(LEVEL, lists) });
        if let Some(master) = master {
            master.lists.lock().below.push(Arc::downgrade(&group));
        }
        group
    }

    /// Members now.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Mount>> {
        self.lists.lock().members.iter().filter_map(Weak::upgrade).collect()
    }

    fn slaves(&self) -> Vec<Arc<Mount>> {
        self.lists.lock().slaves.iter().filter_map(Weak::upgrade).collect()
    }

    fn below(&self) -> Vec<Arc<Self>> {
        self.lists.lock().below.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_empty(&self) -> bool {
        self.lists.lock().members.is_empty()
    }

    fn master(&self) -> Option<Arc<Self>> {
        self.lists.lock().master.clone()
    }

    /// This group, or the next above it that has members.
    #[must_use]
    pub fn live(self: &Arc<Self>) -> Option<Arc<Self>> {
        let mut at = self.clone();
        while at.is_empty() {
            at = at.master()?;
        }
        Some(at)
    }

    /// The group that this one hears from.
    #[must_use]
    pub fn live_master(&self) -> Option<Arc<Self>> {
        self.master()?.live()
    }

    /// Passes over groups above that have lost their members, so that these can go.
    fn relink(self: &Arc<Self>) {
        let Some(master) = self.master() else { return };
        if !master.is_empty() {
            return;
        }
        let live = master.live();
        if let Some(live) = &live {
            live.lists.lock().below.push(Arc::downgrade(self));
        }
        let old = core::mem::replace(&mut self.lists.lock().master, live);
        drop(old);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those above, freed one after another, not by recursion.
        let mut master = self.lists.get_mut().master.take();
        while let Some(group) = master {
            let dead = core::mem::take(&mut group.lists.lock().below);
            let kept: Vec<_> = dead.into_iter().filter(|below| below.strong_count() > 0).collect();
            group.lists.lock().below.extend(kept);
            master = Arc::into_inner(group).and_then(|mut group| group.lists.get_mut().master.take());
        }
    }
}

impl Sharing {
    /// Number of the peer group.
    #[must_use]
    pub const fn group(&self) -> Option<&Arc<Group>> {
        match self {
            Self::Shared(group) => Some(group),
            _ => None,
        }
    }

    /// The group that is heard from.
    #[must_use]
    pub fn master(&self) -> Option<Arc<Group>> {
        match self {
            Self::Shared(group) => group.live_master(),
            Self::Slave(group) => group.live(),
            Self::Private | Self::Unbindable => None,
        }
    }

    /// As [`Sharing::Slave`] of the next group that has members.
    fn slave_of(group: Option<Arc<Group>>) -> Self {
        group.map_or(Self::Private, Self::Slave)
    }
}

impl Mount {
    /// How it takes part in propagation.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.belonging.lock().sharing.clone()
    }

    /// Whether it is a member of a group.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.belonging.lock().sharing, Sharing::Shared(_))
    }

    /// Whether it must not be bound.
    #[must_use]
    pub fn is_unbindable(&self) -> bool {
        matches!(self.belonging.lock().sharing, Sharing::Unbindable)
    }

    /// Leaves its group or master and joins others.
    pub(super) fn join(self: &Arc<Self>, sharing: Sharing) {
        self.leave();
        match &sharing {
            Sharing::Shared(group) => group.lists.lock().members.push(Arc::downgrade(self)),
            Sharing::Slave(group) => group.lists.lock().slaves.push(Arc::downgrade(self)),
            Sharing::Private | Sharing::Unbindable => {}
        }
        self.belonging.lock().sharing = sharing;
    }

    /// Leaves its group or master.
    pub(super) fn leave(&self) {
        let old = core::mem::take(&mut self.belonging.lock().sharing);
        let others = |weak: &Weak<Self>| !core::ptr::eq(weak.as_ptr(), self);
        match &old {
            Sharing::Shared(group) => group.lists.lock().members.retain(others),
            Sharing::Slave(group) => group.lists.lock().slaves.retain(others),
            Sharing::Private | Sharing::Unbindable => {}
        }
    }

    /// Changes how it takes part, as `MS_SHARED` and the like ask. The caller holds the family's lock.
    pub(super) fn change_sharing(self: &Arc<Self>, to: Propagation) {
        let now = self.sharing();
        let new = match (to, now) {
            (Propagation::Shared, Sharing::Shared(_)) | (Propagation::Slave, Sharing::Slave(_)) => return,
            (Propagation::Shared, now) => {
                let group = Group::new(now.master());
                group.relink();
                Sharing::Shared(group)
            }
            (Propagation::Slave, Sharing::Shared(group)) => {
                group.relink();
                self.leave();
                Sharing::slave_of(group.live())
            }
            (Propagation::Slave, now @ (Sharing::Private | Sharing::Unbindable)) => now,
            (Propagation::Private, _) => Sharing::Private,
            (Propagation::Unbindable, _) => Sharing::Unbindable,
        };
        self.join(new);
    }

    /// What a copy of a certain kind has.
    pub(super) fn sharing_of_twin(&self, kind: Twin) -> Sharing {
        match (kind, self.sharing()) {
            (Twin::Peer, sharing) => sharing,
            (Twin::Slave, Sharing::Shared(group)) => Sharing::Slave(group),
            (Twin::SharedSlave, Sharing::Shared(group)) => Sharing::Shared(Group::new(Some(group))),
            (Twin::Slave | Twin::SharedSlave, sharing) => sharing,
        }
    }
}

/// How a copy of a mount takes part in propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twin {
    /// As the mount itself, in the same group.
    Peer,
    /// It hears from the mount's group.
    Slave,
    /// It hears from the mount's group and has one of its own.
    SharedSlave,
}

/// A mount that hears of a change, and what it gets.
pub(super) struct Step {
    /// Where.
    pub(super) mount: Arc<Mount>,
    /// A copy of what: 0 is the tree that was mounted, `n` what step `n - 1` made.
    pub(super) source: usize,
    /// Of which kind.
    pub(super) twin: Twin,
}

/// Who hears when something is mounted on or taken off the dentry of `at` in the mount of `at`, in an order in which what is
/// copied is there before.
pub(super) fn receivers(at: &crate::fs::Path) -> Vec<Step> {
    let Sharing::Shared(group) = at.mount.sharing() else { return Vec::new() };
    let hears = |mount: &Arc<Mount>| {
        !Arc::ptr_eq(mount, &at.mount) && mount.namespace().is_some() && mount.root.is_ancestor_of(&at.dentry)
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut seen = BTreeSet::from([group.id]);
    let mut work = alloc::vec![(group, 0, true)];
    while let Some((group, above, mut has_own)) = work.pop() {
        let mut here = above;
        for mount in group.members().into_iter().filter(hears) {
            let twin = if has_own { Twin::Peer } else { Twin::SharedSlave };
            steps.push(Step { mount, source: here, twin });
            if !has_own {
                (here, has_own) = (steps.len(), true);
            }
        }
        for mount in group.slaves().into_iter().filter(hears) {
            steps.push(Step { mount, source: here, twin: Twin::Slave });
        }
        for below in group.below() {
            if seen.insert(below.id) {
                work.push((below, here, false));
            }
        }
    }
    steps
}
