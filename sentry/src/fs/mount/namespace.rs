//! [`MountNamespace`]: the tree of mounts that a process sees, and every change of it.

use super::sharing::{self, Propagation, Sharing, Step, Twin};
use super::{Depth, Family, MOUNTS_MAX, Mount, MountFlags, NAMESPACE_LEVEL, Unmount};
use crate::abi::Errno;
use crate::fs::filesystem::FileSystem;
use crate::fs::{FsCx, Path};
use crate::security::UserNamespace;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The tree of mounts that a process sees (mount_namespaces(7)).
pub struct MountNamespace {
    /// Inode number of `/proc/PID/ns/mnt`.
    pub id: u64,
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    itself: Weak<Self>,
    root: SpinLock<Arc<Mount>>,
    /// Namespaces that came of one another: their mounts may hear of each other.
    family: Arc<Family>,
    /// Mounts in it.
    pub(super) count: AtomicUsize,
}

/// Whether what is put somewhere was in the tree before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Graft {
    New,
    Moved,
}

impl MountNamespace {
    /// A namespace whose root is `root`.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        let family = Arc::new(Family::default());
        root.adopt(&family);
        Self::owned(root, UserNamespace::outermost(), family)
    }

    fn owned(root: Arc<Mount>, owner: Arc<UserNamespace>, family: Arc<Family>) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        let namespace = Arc::new_cyclic(|itself| Self {
            id: 0xf000_0000 + u64::from(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            owner,
            itself: itself.clone(),
            root: SpinLock::new(NAMESPACE_LEVEL, root.clone()),
            family,
            count: AtomicUsize::new(0),
        });
        root.tree().iter().for_each(|mount| mount.enter(&namespace));
        namespace
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

    /// Whether a mount is in this namespace.
    #[must_use]
    pub fn contains(&self, mount: &Mount) -> bool {
        mount.namespace().is_some_and(|namespace| Weak::ptr_eq(&self.itself, &Arc::downgrade(&namespace)))
    }

    pub(super) const fn family(&self) -> &Arc<Family> {
        &self.family
    }

    fn is_root(&self, mount: &Arc<Mount>) -> bool {
        Arc::ptr_eq(mount, &self.root_mount())
    }

    /// What is on top of `at`, where something can be mounted.
    ///
    /// # Errors
    /// `ENOENT` when it was removed.
    fn top(at: &Path) -> Result<Path, Errno> {
        let mut at = at.clone();
        at.enter_mounts();
        if at.dentry.is_removed() || at.dentry.node.is_none() { Err(Errno::ENOENT) } else { Ok(at) }
    }

    /// Puts `mount`, which is nowhere yet, over `at`.
    ///
    /// # Errors
    /// `EINVAL` when `at` is not in this namespace, `ENOTDIR` when one is a directory and the other is not, `ENOENT` when
    /// `at` was removed, `ENOSPC` with too many mounts.
    pub fn attach(&self, sleeper: &Sleeper, mount: &Arc<Mount>, at: &Path) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let at = Self::top(at)?;
        if !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        if at.dentry.is_dir() != mount.root.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.graft(mount, &at, Graft::New)
    }

    /// Puts a tree somewhere, and copies of it where that is heard of. The caller holds the lock and has checked the rest.
    fn graft(&self, tree: &Arc<Mount>, at: &Path, how: Graft) -> Result<(), Errno> {
        if tree.is_of_other_family(&self.family) {
            return Err(Errno::EINVAL);
        }
        let all = tree.tree();
        let steps = if at.mount.is_shared() { sharing::receivers(at) } else { Vec::new() };
        self.check_room(all.len(), &steps, how)?;
        if at.mount.is_shared() {
            all.iter().for_each(|mount| mount.change_sharing(Propagation::Shared));
        }
        let mut copies = alloc::vec![tree.clone()];
        for step in &steps {
            let source = copies.get(step.source).unwrap_or(tree);
            copies.push(source.copy(&source.root, Depth::Tree, step.twin)?);
        }
        if how == Graft::Moved {
            tree.detach();
        }
        tree.attach(at);
        if let Some(namespace) = self.itself.upgrade() {
            all.iter().for_each(|mount| mount.enter(&namespace));
        }
        for (step, copy) in steps.iter().zip(copies.iter().skip(1)) {
            self.put_copy(copy, &Path { mount: step.mount.clone(), dentry: at.dentry.clone() });
        }
        Ok(())
    }

    /// Whether the mounts of a tree fit into every namespace that gets them.
    fn check_room(&self, len: usize, steps: &[Step], how: Graft) -> Result<(), Errno> {
        let mut more: BTreeMap<u64, (Arc<Self>, usize)> = BTreeMap::new();
        let own = self.itself.upgrade().filter(|_| how == Graft::New);
        for namespace in steps.iter().filter_map(|step| step.mount.namespace()).chain(own) {
            more.entry(namespace.id).or_insert_with(|| (namespace, 0)).1 += len;
        }
        let fits = |(namespace, more): &(Arc<Self>, usize)| {
            namespace.count.load(Ordering::Relaxed).saturating_add(*more) <= MOUNTS_MAX
        };
        if more.values().all(fits) { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Puts a copy where a change was heard of: below what is mounted there already.
    fn put_copy(&self, copy: &Arc<Mount>, at: &Path) {
        let Some(namespace) = at.mount.namespace() else { return };
        let covered = at.mount.mounted_on(&at.dentry);
        if let Some(covered) = &covered {
            covered.detach();
        }
        copy.attach(at);
        if let Some(covered) = covered {
            covered.attach(&copy.root_path());
        }
        let tree = copy.tree();
        if namespace.owner != self.owner {
            tree.iter().for_each(|mount| mount.lock_flags());
            tree.iter().skip(1).for_each(|mount| mount.lock_place());
        }
        copy.unlock_place();
        tree.iter().for_each(|mount| mount.enter(&namespace));
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

    /// A copy of what is mounted at `from`, in no tree yet (`MS_BIND`, `OPEN_TREE_CLONE`).
    fn bindable(&self, from: &Path, depth: Depth) -> Result<Arc<Mount>, Errno> {
        let hides = |child: &Arc<Mount>| {
            child.is_locked() && child.place().is_some_and(|at| from.dentry.is_ancestor_of(&at.dentry))
        };
        if from.mount.is_unbindable()
            || !self.contains(&from.mount)
            || (depth == Depth::One && from.mount.children().iter().any(hides))
        {
            return Err(Errno::EINVAL);
        }
        let copy = from.mount.copy(&from.dentry, depth, Twin::Peer)?;
        copy.unlock_place();
        Ok(copy)
    }

    /// Makes `from` visible at `at` too; a file or a directory. `flags` replaces those of the mount, if given.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`]; `EINVAL` for what must not be bound, `EPERM` when a part of it must not.
    pub fn bind(
        &self,
        sleeper: &Sleeper,
        from: &Path,
        depth: Depth,
        flags: Option<MountFlags>,
        at: &Path,
    ) -> Result<Arc<Mount>, Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let at = Self::top(at)?;
        if !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        let mount = self.bindable(from, depth)?;
        if let Some(flags) = flags {
            mount.set_flags(flags);
        }
        if at.dentry.is_dir() != mount.root.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.graft(&mount, &at, Graft::New)?;
        Ok(mount)
    }

    /// A copy of what is mounted at `from` that is in no tree (`OPEN_TREE_CLONE`).
    ///
    /// # Errors
    /// `EINVAL` for what must not be bound, `EPERM` when a part of it must not.
    pub fn detached_copy(&self, sleeper: &Sleeper, from: &Path, depth: Depth) -> Result<Arc<Mount>, Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let copy = self.bindable(from, depth)?;
        copy.set_detached();
        Ok(copy)
    }

    /// Takes the mount whose root is `at` off, and those that hear of it.
    ///
    /// # Errors
    /// `EINVAL` when `at` is not the root of a mount of this namespace or must stay, `EBUSY` when it is in use or the root
    /// of all, `EAGAIN` when it is only marked.
    pub fn unmount(&self, sleeper: &Sleeper, at: Path, how: Unmount) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        if !Arc::ptr_eq(&at.dentry, &at.mount.root) || !self.contains(&at.mount) || at.mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        let mount = at.mount;
        drop(at.dentry);
        if self.is_root(&mount) {
            return Err(Errno::EBUSY);
        }
        // Two handles: its parent's and ours.
        if how != Unmount::Detach && (Arc::strong_count(&mount) > 2 || !mount.children().is_empty()) {
            return Err(Errno::EBUSY);
        }
        if how == Unmount::WhenExpired && !mount.expires() {
            return Err(Errno::EAGAIN);
        }
        let doomed = mount.tree();
        let others = heard_unmounts(&doomed);
        let is_topper = |child: &Arc<Mount>| child.place().is_some_and(|at| is_root_of_mount(&at));
        let busy = |other: &Arc<Mount>| {
            let children = other.children();
            children.iter().all(is_topper) && Arc::strong_count(other) > 2
        };
        if how != Unmount::Detach && others.iter().any(busy) {
            return Err(Errno::EBUSY);
        }
        for other in others.iter().rev() {
            take_off_below(other);
        }
        for mount in doomed.iter().rev() {
            mount.detach();
            mount.depart();
        }
        Ok(())
    }

    /// Moves the mount whose root is `from` to `to` (`MS_MOVE`), or puts one there that is in no tree yet.
    ///
    /// # Errors
    /// `EINVAL` when `from` is not the root of a mount, is in a shared one or must stay, one of both is a directory and
    /// the other is not, or a shared place would get what must not be bound; `ELOOP` when `to` is below it, `ENOSPC`.
    pub fn move_mount(&self, sleeper: &Sleeper, from: &Path, to: &Path) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let to = Self::top(to)?;
        let mount = &from.mount;
        let parent = mount.place();
        let movable = match &parent {
            Some(parent) => self.contains(mount) && !parent.mount.is_shared(),
            None => mount.is_detached(),
        };
        if !self.contains(&to.mount)
            || !movable
            || mount.is_locked()
            || !is_root_of_mount(from)
            || from.dentry.is_dir() != to.dentry.is_dir()
            || (to.mount.is_shared() && mount.tree().iter().any(|mount| mount.is_unbindable()))
        {
            return Err(Errno::EINVAL);
        }
        let mut at = to.mount.clone();
        loop {
            if Arc::ptr_eq(&at, mount) {
                return Err(Errno::ELOOP);
            }
            match at.place() {
                Some(place) => at = place.mount,
                None => break,
            }
        }
        self.graft(mount, &to, if parent.is_some() { Graft::Moved } else { Graft::New })
    }

    /// Makes `to` a member of the group and a slave of the master of `from` (`MOVE_MOUNT_SET_GROUP`).
    ///
    /// # Errors
    /// `EINVAL` when one is not the root of a mount or not in a tree, they are of different file systems, `from` shows less
    /// than `to`, `to` shares already or `from` does not; `EPERM` for a namespace that the caller has no power over.
    pub fn join_group(
        &self,
        sleeper: &Sleeper,
        from: &Path,
        to: &Path,
        may: impl Fn(&UserNamespace) -> bool,
    ) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let (Some(from_space), Some(to_space)) = (from.mount.namespace(), to.mount.namespace()) else {
            return Err(Errno::EINVAL);
        };
        if !may(&from_space.owner) || !may(&to_space.owner) {
            return Err(Errno::EPERM);
        }
        let sharing = from.mount.sharing();
        let hides = |child: &Arc<Mount>| {
            child.is_locked() && child.place().is_some_and(|at| to.mount.root.is_ancestor_of(&at.dentry))
        };
        if !is_root_of_mount(from)
            || !is_root_of_mount(to)
            || !Arc::ptr_eq(&from.mount.superblock, &to.mount.superblock)
            || to.mount.is_of_other_family(&self.family)
            || from.mount.is_of_other_family(&self.family)
            || !from.mount.root.is_ancestor_of(&to.mount.root)
            || from.mount.children().iter().any(hides)
            || matches!(to.mount.sharing(), Sharing::Shared(_) | Sharing::Slave(_))
            || !matches!(sharing, Sharing::Shared(_) | Sharing::Slave(_))
        {
            return Err(Errno::EINVAL);
        }
        to.mount.join(sharing);
        Ok(())
    }

    /// Changes how the mount whose root is `at`, and with `Depth::Tree` those below it, take part in propagation.
    ///
    /// # Errors
    /// `EINVAL` when it is not the root of a mount of this namespace or of a tree of its own.
    pub fn change_sharing(
        &self,
        sleeper: &Sleeper,
        at: &Path,
        depth: Depth,
        to: Propagation,
    ) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        if !is_root_of_mount(at) || !(self.contains(&at.mount) || at.mount.is_detached()) {
            return Err(Errno::EINVAL);
        }
        let mounts = if depth == Depth::Tree { at.mount.tree() } else { alloc::vec![at.mount.clone()] };
        mounts.iter().for_each(|mount| mount.change_sharing(to));
        Ok(())
    }

    /// Makes the mount of `new_root` the root and puts the old root over `put_old` (pivot_root(2)).
    ///
    /// # Errors
    /// `EINVAL` when `new_root` is no mount or `put_old` is not below it, one of the mounts concerned is in a shared one or
    /// must stay; `ENOENT` when `new_root` was removed, `EBUSY` when either is the root now.
    pub fn pivot(
        &self,
        sleeper: &Sleeper,
        root: &Path,
        new_root: &Path,
        put_old: &Path,
    ) -> Result<(), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let put_old = Self::top(put_old)?;
        let in_shared = |mount: &Arc<Mount>| mount.place().is_some_and(|place| place.mount.is_shared());
        if put_old.mount.is_shared()
            || in_shared(&new_root.mount)
            || in_shared(&root.mount)
            || !self.contains(&root.mount)
            || !self.contains(&new_root.mount)
            || new_root.mount.is_locked()
        {
            return Err(Errno::EINVAL);
        }
        if new_root.dentry.is_removed() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new_root.mount, &root.mount) || Arc::ptr_eq(&put_old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        let outside =
            |path: &Path, top: &Path| crate::fs::path::text(path, top).1 == crate::fs::path::Reach::Outside;
        if !is_root_of_mount(root)
            || !is_root_of_mount(new_root)
            || self.is_root(&new_root.mount)
            || outside(&put_old, new_root)
            || outside(new_root, root)
        {
            return Err(Errno::EINVAL);
        }
        let old = root.mount.clone();
        let above = old.place();
        new_root.mount.detach();
        if old.is_locked() {
            new_root.mount.lock_place();
            old.unlock_place();
        }
        old.detach();
        old.attach(&put_old);
        if let Some(above) = above {
            new_root.mount.attach(&above);
        } else {
            let old = core::mem::replace(&mut *self.root.lock(), new_root.mount.clone());
            drop(old);
        }
        Ok(())
    }

    /// A copy of the tree for `CLONE_NEWNS` of a task of the user namespace `owner`; with it, where each path of `paths` is
    /// in the copy. With another owner the copy only hears, and its mounts must stay where they are.
    ///
    /// # Errors
    /// `ENOSPC` with too many mounts.
    pub fn copy(
        &self,
        sleeper: &Sleeper,
        paths: &[Path],
        owner: Arc<UserNamespace>,
    ) -> Result<(Arc<Self>, Vec<Path>), Errno> {
        let _lock = self.family.lock.lock(sleeper);
        let old_root = self.root_mount();
        let less = owner != self.owner;
        let twin = if less { Twin::Slave } else { Twin::Peer };
        let (new_root, twins) = old_root.copy_all(twin)?;
        if less {
            new_root.tree().iter().for_each(|mount| mount.lock_flags());
            new_root.tree().iter().skip(1).for_each(|mount| mount.lock_place());
        }
        let moved = paths
            .iter()
            .map(|path| {
                let mount = twins.get(&path.mount.id).unwrap_or(&path.mount).clone();
                Path { mount, dentry: path.dentry.clone() }
            })
            .collect();
        Ok((Self::owned(new_root, owner, self.family.clone()), moved))
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

fn is_root_of_mount(path: &Path) -> bool {
    Arc::ptr_eq(&path.dentry, &path.mount.root)
}

/// What goes too when `doomed` goes: what is mounted at the same places of mounts that hear of it, as far as nothing else
/// is mounted in that. Parents first.
fn heard_unmounts(doomed: &[Arc<Mount>]) -> Vec<Arc<Mount>> {
    let mut ids: BTreeSet<u32> = doomed.iter().map(|mount| mount.id).collect();
    let mut others: Vec<Arc<Mount>> = Vec::new();
    for mount in doomed {
        let Some(place) = mount.place() else { continue };
        for step in sharing::receivers(&place) {
            let Some(child) = step.mount.mounted_on(&place.dentry) else { continue };
            let may_go = !child.is_locked() || ids.contains(&step.mount.id);
            if may_go && ids.insert(child.id) {
                others.push(child);
            }
        }
    }
    // What holds a mount that stays, stays.
    loop {
        let before = others.len();
        let mut kept = Vec::with_capacity(before);
        for other in others.into_iter().rev() {
            let holds = |child: &Arc<Mount>| {
                !ids.contains(&child.id) && !child.place().is_some_and(|at| is_root_of_mount(&at))
            };
            if other.children().iter().any(holds) {
                ids.remove(&other.id);
            } else {
                kept.push(other);
            }
        }
        kept.reverse();
        others = kept;
        if others.len() == before {
            return others;
        }
    }
}

/// Takes a mount off; what covers it takes its place.
fn take_off_below(mount: &Arc<Mount>) {
    let place = mount.place();
    let topper = mount.mounted_on(&mount.root);
    mount.detach();
    if let (Some(place), Some(topper)) = (place, topper) {
        topper.detach();
        topper.attach(&place);
    }
    mount.depart();
}
