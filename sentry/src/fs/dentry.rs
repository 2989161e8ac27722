//! [`Dentry`]: a name in a directory and what it leads to; [`Dcache`]: those of one file system that are remembered.
//!
//! A dentry's node never changes: a name that is made or removed gets another dentry. Its name and parent change by rename.
//! Children are held by their parents as a cache, parents by their children as a need; the cycle ends when a child is
//! forgotten: on unlink, when the cache is too big, or when the file system goes.
//!
//! | what | excluded by |
//! |---|---|
//! | adding or removing a child | the directory node's sleep lock, then the children lock |
//! | finding a child | the children lock alone |
//! | changing name and parent | both directories' sleep locks, the file system's rename lock, then the place lock |
//! | forgetting unused children | the children lock alone; only those that nobody else holds |

use crate::abi::Errno;
use crate::fs::filesystem::DentryPolicy;
use crate::fs::{FsCx, Node};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use hashbrown::HashMap;

/// Level of the lock around a directory's children.
pub const CHILDREN_LEVEL: Level = Level(88);
/// Level of the lock around a dentry's name and parent.
pub const PLACE_LEVEL: Level = Level(90);

/// Longest name, bytes.
pub const NAME_MAX: usize = 255;

/// Dentries of one file system that are remembered at most before unused ones are forgotten.
const CACHE_MAX: usize = 16 * 1024;

type Children = HashMap<Arc<[u8]>, Arc<Dentry>>;

struct Place {
    name: Arc<[u8]>,
    parent: Option<Arc<Dentry>>,
}

/// A name in a directory.
pub struct Dentry {
    /// What the name leads to; `None`: it is known that there is nothing.
    pub node: Option<Arc<Node>>,
    place: SpinLock<Place>,
    children: SpinLock<Option<Box<Children>>>,
    /// The name was removed; who holds the dentry still uses the node.
    removed: AtomicBool,
    /// It was the last name of its file.
    last: AtomicBool,
    /// Used since the last look for unused ones.
    used: AtomicBool,
    /// Mounts on it, in all namespaces; where names are not remembered, those below it too.
    mounts: AtomicU32,
    cache: Arc<Dcache>,
}

impl Dentry {
    /// The root of a file system.
    pub(crate) fn root(cache: &Arc<Dcache>, node: Arc<Node>) -> Arc<Self> {
        Self::new(cache, Some(node), Arc::from(&b"/"[..]), None)
    }

    /// A dentry in no directory, for files without a name; `name` is what `/proc/PID/fd` shows.
    #[must_use]
    pub fn disconnected(cache: &Arc<Dcache>, node: Arc<Node>, name: &[u8]) -> Arc<Self> {
        let dentry = Self::new(cache, Some(node), Arc::from(name), None);
        dentry.removed.store(true, Ordering::Release);
        dentry
    }

    /// A dentry for a file that was made without a name in `dir` (`O_TMPFILE`).
    pub(crate) fn unnamed(dir: &Arc<Self>, node: Arc<Node>, ino: u64) -> Arc<Self> {
        let name = alloc::format!("#{ino}").into_bytes();
        let dentry = Self::new(&dir.cache, Some(node), Arc::from(name), Some(dir.clone()));
        dentry.removed.store(true, Ordering::Release);
        dentry
    }

    fn new(
        cache: &Arc<Dcache>,
        node: Option<Arc<Node>>,
        name: Arc<[u8]>,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        cache.alive.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            node,
            place: SpinLock::new(PLACE_LEVEL, Place { name, parent }),
            children: SpinLock::new(CHILDREN_LEVEL, None),
            removed: AtomicBool::new(false),
            last: AtomicBool::new(false),
            used: AtomicBool::new(true),
            mounts: AtomicU32::new(0),
            cache: cache.clone(),
        })
    }

    /// The node.
    ///
    /// # Errors
    /// `ENOENT` when the name leads nowhere.
    pub fn node(&self) -> Result<&Arc<Node>, Errno> {
        self.node.as_ref().ok_or(Errno::ENOENT)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.is_dir())
    }

    /// The name in its directory.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// The directory that the name is in, `None` at the root of the file system.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.place.lock().parent.clone()
    }

    /// Name and directory together.
    #[must_use]
    pub fn place(&self) -> (Arc<[u8]>, Option<Arc<Self>>) {
        let place = self.place.lock();
        (place.name.clone(), place.parent.clone())
    }

    /// Whether the name was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// It was the last name of its file: who watches the file is told when the dentry goes.
    pub(crate) fn set_last(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Whether something is mounted on it in some namespace.
    #[must_use]
    pub fn is_mountpoint(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    /// Whether `self` is `other` or an ancestor of it. The caller holds the file system's rename lock.
    pub(crate) fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, self) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// The child `name` as far as it is remembered.
    #[must_use]
    pub fn cached(&self, name: &[u8]) -> Option<Arc<Self>> {
        let children = self.children.lock();
        let child = children.as_ref()?.get(name)?;
        child.used.store(true, Ordering::Relaxed);
        Some(child.clone())
    }

    /// Finds the child `name`, asking the file system when it is not remembered. The dentry may be negative.
    ///
    /// # Errors
    /// `ENOTDIR`, and what [`crate::fs::DirNode::lookup`] gives, `ENOENT` excepted.
    pub fn child(self: &Arc<Self>, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        if let Some(child) = self.valid_cached(cx, name)? {
            return Ok(child);
        }
        let node = self.node()?;
        let _lock = node.state.lock.lock(cx.sleeper);
        self.child_locked(cx, name)
    }

    /// As [`Dentry::child`], when the caller holds the directory's lock.
    ///
    /// # Errors
    /// As [`Dentry::child`].
    pub fn child_locked(self: &Arc<Self>, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Self>, Errno> {
        if let Some(child) = self.valid_cached(cx, name)? {
            return Ok(child);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let node = self.node()?;
        let found = match node.dir()?.lookup(cx, name) {
            Ok(found) => Some(found),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        Ok(self.add_child(name, found))
    }

    fn valid_cached(self: &Arc<Self>, cx: &FsCx<'_>, name: &[u8]) -> Result<Option<Arc<Self>>, Errno> {
        let Some(child) = self.cached(name) else { return Ok(None) };
        let valid = match self.cache.policy {
            DentryPolicy::Always => return Ok(Some(child)),
            DentryPolicy::Never => false,
            DentryPolicy::Revalidate => self.node()?.dir()?.revalidate(cx, name, child.node.as_ref())?,
        };
        if valid || child.is_mountpoint() {
            return Ok(Some(child));
        }
        self.forget_child(&child);
        Ok(None)
    }

    /// Adds a child that was looked up or made; the caller holds the directory's lock.
    pub(crate) fn add_child(self: &Arc<Self>, name: &[u8], node: Option<Arc<Node>>) -> Arc<Self> {
        let child = Self::new(&self.cache, node, Arc::from(name), Some(self.clone()));
        let dead = self.node.as_ref().is_none_or(|node| node.state.is_dead());
        if self.cache.policy != DentryPolicy::Never && !dead {
            self.insert_child(&child);
        }
        child
    }

    fn insert_child(&self, child: &Arc<Self>) {
        let name = child.name();
        let old = self.children.lock().get_or_insert_with(Default::default).insert(name, child.clone());
        drop(old);
    }

    /// Forgets a child without removing it.
    fn forget_child(&self, child: &Arc<Self>) {
        let name = child.name();
        let mut children = self.children.lock();
        let old = match children.as_mut() {
            Some(map) if map.get(&*name).is_some_and(|there| Arc::ptr_eq(there, child)) => map.remove(&*name),
            _ => None,
        };
        drop(children);
        drop(old);
    }

    /// The name of `child` was removed in the file system; the caller holds the directory's lock.
    pub(crate) fn child_removed(self: &Arc<Self>, child: &Arc<Self>) {
        child.removed.store(true, Ordering::Release);
        self.forget_child(child);
        self.name_freed(&child.name());
    }

    /// Nothing has that name any more: that is remembered where what is remembered holds.
    fn name_freed(self: &Arc<Self>, name: &[u8]) {
        if self.cache.policy == DentryPolicy::Always {
            self.add_child(name, None);
        }
    }

    /// `child` of `self` is called `name` in `target` now, and nothing has its old name. The caller holds the locks of both
    /// directories and the file system's rename lock.
    pub(crate) fn child_moved(self: &Arc<Self>, child: &Arc<Self>, target: &Arc<Self>, name: &[u8]) {
        let old = child.name();
        self.move_child(child, target, name);
        self.name_freed(&old);
    }

    fn move_child(&self, child: &Arc<Self>, target: &Arc<Self>, name: &[u8]) {
        self.forget_child(child);
        let old = {
            let mut place = child.place.lock();
            place.name = Arc::from(name);
            place.parent.replace(target.clone())
        };
        drop(old);
        if self.cache.policy != DentryPolicy::Never {
            target.insert_child(child);
        }
    }

    /// Two children changed places, as [`Dentry::child_moved`].
    pub(crate) fn children_exchanged(
        self: &Arc<Self>,
        child: &Arc<Self>,
        target: &Arc<Self>,
        other: &Arc<Self>,
    ) {
        let (name, other_name) = (child.name(), other.name());
        self.forget_child(child);
        target.forget_child(other);
        self.move_child(child, target, &other_name);
        target.move_child(other, self, &name);
    }

    /// This dentry and, where names are otherwise not remembered, those above it: a mount must be found from the root on.
    fn way(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut way = alloc::vec![self.clone()];
        if self.cache.policy == DentryPolicy::Never {
            while let Some(parent) = way.last().and_then(|last| last.parent()) {
                way.push(parent);
            }
        }
        way
    }

    /// A mount was put on it: it must be found from now on.
    pub(crate) fn mounted(self: &Arc<Self>) {
        for dentry in self.way() {
            dentry.mounts.fetch_add(1, Ordering::AcqRel);
            if dentry.cache.policy != DentryPolicy::Always
                && let Some(parent) = dentry.parent()
            {
                parent.insert_child(&dentry);
            }
        }
    }

    /// A mount was taken off it.
    pub(crate) fn unmounted(self: &Arc<Self>) {
        for dentry in self.way() {
            dentry.mounts.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Pushes the remembered children to `list`.
    fn list_children(&self, list: &mut Vec<Arc<Self>>) {
        if let Some(map) = self.children.lock().as_ref() {
            list.extend(map.values().cloned());
        }
    }

    /// Forgets `child` if nobody but the caller and this directory holds it.
    fn forget_unused(&self, child: &Arc<Self>, how: Sweep) {
        let recently = child.used.swap(false, Ordering::Relaxed) && how == Sweep::Unused;
        if recently || child.is_mountpoint() {
            return;
        }
        let name = child.name();
        let mut children = self.children.lock();
        // Two handles: the caller's and the map's. Nobody can take another without the children lock.
        let old = match children.as_mut() {
            Some(map)
                if Arc::strong_count(child) == 2
                    && map.get(&*name).is_some_and(|there| Arc::ptr_eq(there, child)) =>
            {
                map.remove(&*name)
            }
            _ => None,
        };
        if children.as_ref().is_some_and(|map| map.is_empty()) {
            *children = None;
        }
        drop(children);
        drop(old);
    }
}

/// How thorough a sweep of the cache is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    /// What was not used since the last sweep.
    Unused,
    /// Everything that nobody holds.
    All,
}

impl Drop for Dentry {
    fn drop(&mut self) {
        self.cache.alive.fetch_sub(1, Ordering::Relaxed);
        if *self.last.get_mut()
            && let Some(node) = &self.node
        {
            crate::fs::notify::deleted(node);
        }
        // A chain of ancestors that only this one held: freed one after another, not by recursion.
        let mut next = self.place.get_mut().parent.take();
        while let Some(parent) = next {
            next = match Arc::into_inner(parent) {
                Some(mut parent) => parent.place.get_mut().parent.take(),
                None => None,
            };
        }
    }
}

/// The dentries of one file system.
pub struct Dcache {
    policy: DentryPolicy,
    alive: AtomicUsize,
    /// Number of dentries at which unused ones are forgotten.
    limit: AtomicUsize,
}

impl Dcache {
    /// An empty cache.
    #[must_use]
    pub fn new(policy: DentryPolicy) -> Arc<Self> {
        Arc::new(Self { policy, alive: AtomicUsize::new(0), limit: AtomicUsize::new(CACHE_MAX) })
    }

    /// Forgets unused dentries below `root` when there are too many. No lock is held.
    pub(crate) fn trim(&self, root: &Arc<Dentry>) {
        if self.alive.load(Ordering::Relaxed) > self.limit.load(Ordering::Relaxed) {
            Self::sweep(root, Sweep::Unused);
            // What is in use stays: the next sweep comes when there is a quarter more.
            let alive = self.alive.load(Ordering::Relaxed);
            self.limit.store((alive + alive / 4).max(CACHE_MAX), Ordering::Relaxed);
        }
    }

    /// Forgets everything below `root` that nobody holds.
    pub(crate) fn empty(&self, root: &Arc<Dentry>) {
        Self::sweep(root, Sweep::All);
    }

    fn sweep(root: &Arc<Dentry>, how: Sweep) {
        let mut all = Vec::new();
        root.list_children(&mut all);
        let mut next = 0;
        while let Some(dentry) = all.get(next).cloned() {
            dentry.list_children(&mut all);
            next += 1;
        }
        // Children come after their parents in the list, so that this empties directories before it looks at them.
        while let Some(dentry) = all.pop() {
            if let Some(parent) = dentry.parent() {
                parent.forget_unused(&dentry, how);
            }
        }
    }
}
