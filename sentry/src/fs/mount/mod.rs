//! [`Mount`]: a file system (or part of one) at a place of the tree; [`MountNamespace`]: the tree that a container sees;
//! [`Sharing`]: which mounts hear of changes in which others.
//!
//! A parent holds its children; a child knows its parent and its namespace weakly, so a mount that was taken off lives as
//! long as files in it are open. Namespaces that came of one another are a [`Family`], whose lock is held around every
//! change of their trees.

mod copy;
mod namespace;
mod sharing;

pub use namespace::MountNamespace;
pub use sharing::{Group, Propagation, Sharing};

use crate::fs::Path;
use crate::fs::dentry::Dentry;
use crate::fs::filesystem::{FileSystem, Superblock};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::SleepLock;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// Level of the locks around a mount's place and its children.
pub const LEVEL: Level = Level(84);
/// Level of the lock around a namespace's root.
pub const NAMESPACE_LEVEL: Level = Level(82);

/// Mounts in a namespace at most (`fs.mount-max`, 100000 on Linux).
const MOUNTS_MAX: usize = 10_000;
/// Mounts in all namespaces that came of one another, and in trees of their own, at most.
const FAMILY_MAX: usize = 50_000;

bitflags! {
    /// Per-mount flags, with the bits of mount(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// `MS_RDONLY`.
        const READ_ONLY = 1;
        /// `MS_NOSUID`.
        const NO_SUID = 2;
        /// `MS_NODEV`.
        const NO_DEV = 4;
        /// `MS_NOEXEC`.
        const NO_EXEC = 8;
        /// `MS_SYNCHRONOUS`.
        const SYNCHRONOUS = 16;
        /// `MS_NOSYMFOLLOW`.
        const NO_SYMFOLLOW = 256;
        /// `MS_NOATIME`.
        const NO_ATIME = 1024;
        /// `MS_NODIRATIME`.
        const NO_DIRATIME = 2048;
        /// `MS_RELATIME`, as Linux does unless told otherwise.
        const RELATIME = 1 << 21;
        /// `MS_STRICTATIME`.
        const STRICT_ATIME = 1 << 24;
    }
}

bitflags! {
    /// What must not be changed in a namespace of less privileged users (mount_namespaces(7), "restrictions").
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    struct Locks: u32 {
        /// Where it is.
        const PLACE = 1;
        /// How access times move.
        const ATIME = 2;
        /// That it is read-only, and so on.
        const READ_ONLY = 4;
        const NO_SUID = 8;
        const NO_DEV = 16;
        const NO_EXEC = 32;
    }
}

/// Which lock keeps which flag.
const LOCKED_FLAGS: [(Locks, MountFlags); 4] = [
    (Locks::READ_ONLY, MountFlags::READ_ONLY),
    (Locks::NO_SUID, MountFlags::NO_SUID),
    (Locks::NO_DEV, MountFlags::NO_DEV),
    (Locks::NO_EXEC, MountFlags::NO_EXEC),
];

/// How access times move.
const ATIME_FLAGS: MountFlags = MountFlags::NO_ATIME
    .union(MountFlags::NO_DIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICT_ATIME);

/// Namespaces that came of one another.
struct Family {
    /// Held around every change of their trees.
    lock: SleepLock<()>,
    /// Mounts there are.
    alive: AtomicUsize,
}

impl Default for Family {
    fn default() -> Self {
        Self { lock: SleepLock::new(()), alive: AtomicUsize::new(0) }
    }
}

/// What a mount belongs to.
#[derive(Default)]
struct Belonging {
    sharing: Sharing,
    namespace: Weak<MountNamespace>,
    family: Option<Arc<Family>>,
}

/// A file system at a place.
pub struct Mount {
    /// Id, as `/proc/self/mountinfo` shows it.
    pub id: u32,
    /// The file system.
    pub superblock: Arc<Superblock>,
    /// What of it is seen here.
    pub root: Arc<Dentry>,
    /// What was mounted, as the caller named it.
    pub source: Vec<u8>,
    flags: AtomicU32,
    locks: AtomicU32,
    /// 2 once `MNT_EXPIRE` has marked it; each look-up that enters it takes one away.
    expiry: AtomicU8,
    /// It was made by descriptor and is in no tree yet.
    detached: AtomicBool,
    place: SpinLock<Option<(Weak<Self>, Arc<Dentry>)>>,
    children: SpinLock<BTreeMap<usize, Arc<Self>>>,
    belonging: SpinLock<Belonging>,
}

impl Mount {
    /// A mount that is nowhere yet.
    #[must_use]
    pub fn new(
        superblock: Arc<Superblock>,
        root: Arc<Dentry>,
        source: &[u8],
        flags: MountFlags,
    ) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            superblock,
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags.bits()),
            locks: AtomicU32::new(0),
            expiry: AtomicU8::new(0),
            detached: AtomicBool::new(false),
            place: SpinLock::new(LEVEL, None),
            children: SpinLock::new(LEVEL, BTreeMap::new()),
            belonging: SpinLock::new(LEVEL, Belonging::default()),
        })
    }

    /// A mount of a whole file system, nowhere yet.
    #[must_use]
    pub fn of(fs: Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        let superblock = Superblock::new(fs);
        let root = superblock.root.clone();
        Self::new(superblock, root, source, flags)
    }

    /// Flags now.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes the flags (`MS_REMOUNT | MS_BIND`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// It is in no tree, and may be put into one by its descriptor (fsmount(2), open_tree(2)).
    pub fn set_detached(&self) {
        self.detached.store(true, Ordering::Release);
    }

    /// Whether it was never put into a tree.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    fn locks(&self) -> Locks {
        Locks::from_bits_truncate(self.locks.load(Ordering::Relaxed))
    }

    /// Whether it must stay where it is.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locks().contains(Locks::PLACE)
    }

    fn lock_place(&self) {
        self.locks.fetch_or(Locks::PLACE.bits(), Ordering::Relaxed);
    }

    fn unlock_place(&self) {
        self.locks.fetch_and(!Locks::PLACE.bits(), Ordering::Relaxed);
    }

    /// Keeps the flags as they are.
    fn lock_flags(&self) {
        let flags = self.flags();
        let locks = LOCKED_FLAGS.iter().filter(|(_, flag)| flags.contains(*flag));
        let locks = locks.fold(Locks::ATIME, |locks, (lock, _)| locks | *lock);
        self.locks.fetch_or(locks.bits(), Ordering::Relaxed);
    }

    /// Whether the flags may become `new`.
    #[must_use]
    pub fn may_become(&self, new: MountFlags) -> bool {
        let (locks, now) = (self.locks(), self.flags());
        LOCKED_FLAGS.iter().all(|(lock, flag)| !locks.contains(*lock) || new.contains(*flag))
            && (!locks.contains(Locks::ATIME) || (now & ATIME_FLAGS) == (new & ATIME_FLAGS))
    }

    /// How access times move.
    #[must_use]
    pub fn atime_flags(&self) -> MountFlags {
        self.flags() & ATIME_FLAGS
    }

    /// A look-up enters it.
    pub(crate) fn entered(&self) {
        let marks = self.expiry.load(Ordering::Relaxed);
        if marks != 0 {
            self.expiry.store(marks - 1, Ordering::Relaxed);
        }
    }

    /// Whether it was marked before and only the caller's look-up came since; else it is marked (`MNT_EXPIRE`).
    fn expires(&self) -> bool {
        self.expiry.swap(2, Ordering::Relaxed) != 0
    }

    /// The namespace that it is in.
    #[must_use]
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.belonging.lock().namespace.upgrade()
    }

    /// It is counted among the mounts of a family.
    fn adopt(&self, family: &Arc<Family>) {
        let mut belonging = self.belonging.lock();
        if belonging.family.is_none() {
            family.alive.fetch_add(1, Ordering::Relaxed);
            belonging.family = Some(family.clone());
        }
    }

    fn family(&self) -> Option<Arc<Family>> {
        self.belonging.lock().family.clone()
    }

    fn is_of_other_family(&self, family: &Arc<Family>) -> bool {
        self.family().is_some_and(|own| !Arc::ptr_eq(&own, family))
    }

    /// It is in a namespace now.
    fn enter(&self, namespace: &Arc<MountNamespace>) {
        self.adopt(namespace.family());
        let new = Arc::downgrade(namespace);
        let old = core::mem::replace(&mut self.belonging.lock().namespace, new.clone());
        if !Weak::ptr_eq(&old, &new) {
            namespace.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is in no namespace any more, and hears nothing.
    fn depart(&self) {
        let old = core::mem::take(&mut self.belonging.lock().namespace);
        if let Some(namespace) = old.upgrade() {
            namespace.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.leave();
    }

    /// Whether nothing may be changed through it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.flags().contains(MountFlags::READ_ONLY) || self.superblock.fs.is_read_only()
    }

    /// Its root.
    #[must_use]
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path { mount: self.clone(), dentry: self.root.clone() }
    }

    /// What it is mounted over, `None` for the root of a namespace and for mounts that were taken off.
    #[must_use]
    pub fn place(&self) -> Option<Path> {
        let place = self.place.lock().clone()?;
        Some(Path { mount: place.0.upgrade()?, dentry: place.1 })
    }

    /// What is mounted on `dentry` in this mount.
    #[must_use]
    pub fn mounted_on(&self, dentry: &Arc<Dentry>) -> Option<Arc<Self>> {
        self.children.lock().get(&key(dentry)).cloned()
    }

    /// Mounts directly in this one.
    #[must_use]
    pub fn children(&self) -> Vec<Arc<Self>> {
        self.children.lock().values().cloned().collect()
    }

    /// This mount and all below it, parents first.
    #[must_use]
    pub fn tree(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut all = alloc::vec![self.clone()];
        let mut next = 0;
        while let Some(mount) = all.get(next).cloned() {
            all.extend(mount.children());
            next += 1;
        }
        all
    }

    /// Puts `self` over `at`, which has nothing mounted on it. The caller holds the namespace's lock.
    fn attach(self: &Arc<Self>, at: &Path) {
        at.dentry.mounted();
        self.detached.store(false, Ordering::Release);
        *self.place.lock() = Some((Arc::downgrade(&at.mount), at.dentry.clone()));
        let old = at.mount.children.lock().insert(key(&at.dentry), self.clone());
        drop(old);
    }

    /// Takes `self` off. The caller holds the namespace's lock.
    fn detach(self: &Arc<Self>) {
        let Some((parent, dentry)) = self.place.lock().take() else { return };
        if let Some(parent) = parent.upgrade() {
            let old = parent.children.lock().remove(&key(&dentry));
            drop(old);
        }
        dentry.unmounted();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.leave();
        if let Some(family) = self.belonging.get_mut().family.take() {
            family.alive.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some((_, dentry)) = self.place.get_mut().take() {
            dentry.unmounted();
        }
        // Mounts below, freed one after another, not by recursion.
        let mut work: Vec<Arc<Self>> = core::mem::take(self.children.get_mut()).into_values().collect();
        while let Some(mount) = work.pop() {
            if let Some(mut mount) = Arc::into_inner(mount) {
                work.extend(core::mem::take(mount.children.get_mut()).into_values());
            }
        }
    }
}

fn key(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry).addr()
}

/// How much a bind mount or a copy takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The mount alone.
    One,
    /// The mounts below it too (`MS_REC`).
    Tree,
}

/// Whether unmounting waits for files that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Fails when the mount is in use.
    WhenIdle,
    /// Takes it off now; it ends with its last user (`MNT_DETACH`).
    Detach,
    /// As when it is idle, but the first time it is only marked (`MNT_EXPIRE`).
    WhenExpired,
}
