//! [`Mount`]: a file system (or part of one) at a place of the tree; [`MountNamespace`]: the tree that a container sees.
//!
//! Mounts are private: nothing propagates between namespaces or copies. A parent holds its children; a child knows its
//! parent weakly, so a mount that was taken off lives as long as files in it are open.

use crate::abi::Errno;
use crate::fs::dentry::Dentry;
use crate::fs::filesystem::{FileSystem, Superblock};
use crate::fs::{FsCx, Path};
use crate::security::UserNamespace;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{SleepLock, Sleeper};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Level of the locks around a mount's place and its children.
pub const LEVEL: Level = Level(84);
/// Level of the lock around a namespace's root.
pub const NAMESPACE_LEVEL: Level = Level(82);

/// Mounts in a namespace at most (`fs.mount-max` is 100000 on Linux).
const MOUNTS_MAX: usize = 10_000;

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
    /// It was made by descriptor and is in no tree yet.
    detached: AtomicBool,
    place: SpinLock<Option<(Weak<Self>, Arc<Dentry>)>>,
    children: SpinLock<BTreeMap<usize, Arc<Self>>>,
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
            detached: AtomicBool::new(false),
            place: SpinLock::new(LEVEL, None),
            children: SpinLock::new(LEVEL, BTreeMap::new()),
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

    /// A copy of this mount from `root` on that is in no tree (`OPEN_TREE_CLONE`).
    #[must_use]
    pub fn detached_copy(self: &Arc<Self>, root: &Arc<Dentry>, depth: Depth) -> Arc<Self> {
        let copy = self.copy(root, depth);
        copy.set_detached();
        copy
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

    /// A copy of this mount and, with `Depth::Tree`, of those below `root`.
    fn copy(self: &Arc<Self>, root: &Arc<Dentry>, depth: Depth) -> Arc<Self> {
        let copy = Self::new(self.superblock.clone(), root.clone(), &self.source, self.flags());
        if depth == Depth::Tree {
            let mut work = alloc::vec![(self.clone(), copy.clone())];
            while let Some((from, to)) = work.pop() {
                for child in from.children() {
                    let Some(at) = child.place() else { continue };
                    if !to.root.is_ancestor_of(&at.dentry) {
                        continue;
                    }
                    let twin =
                        Self::new(child.superblock.clone(), child.root.clone(), &child.source, child.flags());
                    twin.attach(&Path { mount: to.clone(), dentry: at.dentry });
                    work.push((child, twin));
                }
            }
        }
        copy
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
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
}

/// The tree of mounts that a container sees (mount_namespaces(7)).
pub struct MountNamespace {
    /// Inode number of `/proc/PID/ns/mnt`.
    pub id: u64,
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    root: SpinLock<Arc<Mount>>,
    /// Held around every change of the tree.
    lock: SleepLock<()>,
    changed: AtomicBool,
}

impl MountNamespace {
    /// A namespace whose root is `root`.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        Self::owned(root, UserNamespace::outermost())
    }

    fn owned(root: Arc<Mount>, owner: Arc<UserNamespace>) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        Arc::new(Self {
            id: 0xf000_0000 + u64::from(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            owner,
            root: SpinLock::new(NAMESPACE_LEVEL, root),
            lock: SleepLock::new(()),
            changed: AtomicBool::new(false),
        })
    }

    /// The root mount.
    #[must_use]
    pub fn root_mount(&self) -> Arc<Mount> {
        self.root.lock().clone()
    }

    /// The root directory: what is mounted topmost over the root mount.
    #[must_use]
    pub fn root(&self) -> Path {
        let mut root = self.root_mount().root_path();
        root.enter_mounts();
        root
    }

    /// All mounts in the order they were made, for `/proc/PID/mounts`.
    #[must_use]
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        let mut mounts = self.root_mount().tree();
        mounts.sort_by_key(|mount| mount.id);
        mounts
    }

    fn contains(&self, mount: &Arc<Mount>) -> bool {
        let root = self.root_mount();
        let mut at = mount.clone();
        loop {
            if Arc::ptr_eq(&at, &root) {
                return true;
            }
            match at.place() {
                Some(place) => at = place.mount,
                None => return false,
            }
        }
    }

    /// Puts `mount`, which is nowhere yet, over `at`.
    ///
    /// # Errors
    /// `EINVAL` when `at` is not in this namespace, `ENOTDIR` when one is a directory and the other is not, `ENOENT` when
    /// `at` was removed, `ENOSPC` with too many mounts.
    pub fn attach(&self, sleeper: &Sleeper, mount: &Arc<Mount>, at: &Path) -> Result<(), Errno> {
        let _lock = self.lock.lock(sleeper);
        let mut at = at.clone();
        at.enter_mounts();
        if !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        if at.dentry.is_removed() || at.dentry.node.is_none() {
            return Err(Errno::ENOENT);
        }
        if at.dentry.is_dir() != mount.root.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if self.root_mount().tree().len() >= MOUNTS_MAX {
            return Err(Errno::ENOSPC);
        }
        mount.attach(&at);
        self.changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Mounts a file system over `at`.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`].
    pub fn mount(
        &self,
        sleeper: &Sleeper,
        fs: Arc<dyn FileSystem>,
        source: &[u8],
        flags: MountFlags,
        at: &Path,
    ) -> Result<Arc<Mount>, Errno> {
        let mount = Mount::of(fs, source, flags);
        self.attach(sleeper, &mount, at)?;
        Ok(mount)
    }

    /// Makes `from` visible at `at` too; a file or a directory. `flags` replaces those of the mount, if given.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`].
    pub fn bind(
        &self,
        sleeper: &Sleeper,
        from: &Path,
        depth: Depth,
        flags: Option<MountFlags>,
        at: &Path,
    ) -> Result<Arc<Mount>, Errno> {
        let mount = from.mount.copy(&from.dentry, depth);
        if let Some(flags) = flags {
            mount.set_flags(flags);
        }
        self.attach(sleeper, &mount, at)?;
        Ok(mount)
    }

    /// Takes the mount whose root is `at` off.
    ///
    /// # Errors
    /// `EINVAL` when `at` is not the root of a mount of this namespace, `EBUSY` when it is in use or the root of all.
    pub fn unmount(&self, sleeper: &Sleeper, at: Path, how: Unmount) -> Result<(), Errno> {
        let _lock = self.lock.lock(sleeper);
        if !Arc::ptr_eq(&at.dentry, &at.mount.root) || !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        let mount = at.mount;
        drop(at.dentry);
        if Arc::ptr_eq(&mount, &self.root_mount()) {
            return Err(Errno::EBUSY);
        }
        match how {
            // Two handles: its parent's and ours.
            Unmount::WhenIdle if Arc::strong_count(&mount) > 2 || !mount.children().is_empty() => {
                return Err(Errno::EBUSY);
            }
            Unmount::WhenIdle => mount.detach(),
            Unmount::Detach => mount.tree().iter().rev().for_each(Mount::detach),
        }
        self.changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Moves the mount whose root is `from` to `to` (`MS_MOVE`).
    ///
    /// # Errors
    /// `EINVAL` when `from` is not the root of a mount, `ELOOP` when `to` is below it, `ENOTDIR`.
    pub fn move_mount(&self, sleeper: &Sleeper, from: &Path, to: &Path) -> Result<(), Errno> {
        let _lock = self.lock.lock(sleeper);
        let mut to = to.clone();
        to.enter_mounts();
        if from.mountpoint().is_none() || !self.contains(&from.mount) || !self.contains(&to.mount) {
            return Err(Errno::EINVAL);
        }
        if from.dentry.is_dir() != to.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let mut at = to.mount.clone();
        loop {
            if Arc::ptr_eq(&at, &from.mount) {
                return Err(Errno::ELOOP);
            }
            match at.place() {
                Some(place) => at = place.mount,
                None => break,
            }
        }
        let mount = from.mount.clone();
        mount.detach();
        mount.attach(&to);
        Ok(())
    }

    /// Makes the mount of `new_root` the root and puts the old root over `put_old` (pivot_root(2)).
    ///
    /// # Errors
    /// `EINVAL` when `new_root` is no mount or `put_old` is not below it, `EBUSY` when either is the root now.
    pub fn pivot(
        &self,
        sleeper: &Sleeper,
        root: &Path,
        new_root: &Path,
        put_old: &Path,
    ) -> Result<(), Errno> {
        let _lock = self.lock.lock(sleeper);
        if Arc::ptr_eq(&new_root.mount, &root.mount) || Arc::ptr_eq(&put_old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        let is_root = |path: &Path| Arc::ptr_eq(&path.dentry, &path.mount.root);
        if !is_root(root) || !is_root(new_root) || !self.contains(&new_root.mount) {
            return Err(Errno::EINVAL);
        }
        if crate::fs::path::text(put_old, new_root).1 == crate::fs::path::Reach::Outside {
            return Err(Errno::EINVAL);
        }
        let old = root.mount.clone();
        let above = old.place();
        new_root.mount.detach();
        old.detach();
        match above {
            Some(above) => new_root.mount.attach(&above),
            None => *self.root.lock() = new_root.mount.clone(),
        }
        let mut put_old = put_old.clone();
        put_old.enter_mounts();
        old.attach(&put_old);
        self.changed.store(true, Ordering::Release);
        Ok(())
    }

    /// A copy of the tree for `CLONE_NEWNS` of a task of the user namespace `owner`; with it, where each path of `paths` is in the copy.
    #[must_use]
    pub fn copy(
        &self,
        sleeper: &Sleeper,
        paths: &[Path],
        owner: Arc<UserNamespace>,
    ) -> (Arc<Self>, Vec<Path>) {
        let _lock = self.lock.lock(sleeper);
        let old_root = self.root_mount();
        let new_root = old_root.copy(&old_root.root, Depth::Tree);
        let (olds, news) = (old_root.tree(), new_root.tree());
        let moved = paths
            .iter()
            .map(|path| {
                let twin = olds.iter().zip(&news).find(|(old, _)| Arc::ptr_eq(old, &path.mount));
                let mount = twin.map_or_else(|| path.mount.clone(), |(_, new)| new.clone());
                Path { mount, dentry: path.dentry.clone() }
            })
            .collect();
        (Self::owned(new_root, owner), moved)
    }

    /// Whether mounts changed since the last call (`POLLPRI` of `/proc/self/mounts`).
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// Makes the directories of `path` that are not there (mode 0755, owned by the caller); for building a container's
    /// tree. Symbolic links are followed inside the namespace.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn mkdir_all(&self, cx: &FsCx<'_>, path: &[u8]) -> Result<Path, Errno> {
        crate::fs::lookup::mkdir_all(cx, &self.root(), path)
    }
}
