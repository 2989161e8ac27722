//! [`TmpDir`]: a directory of a tmpfs. Entries keep the order in which they were made; an entry's place in it is its offset.

use super::Common;
use super::inode::{Fresh, Inode, LinkChange};
use crate::abi::Errno;
use crate::fs::names::{EXCHANGE, NOREPLACE};
use crate::fs::node::{DirEntry, DirSink, NewNode};
use crate::fs::{Attr, DirNode, FsCx, Node, NodeKind};
use crate::mm::Charge;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use hashbrown::HashMap;

/// Level of the lock around a directory's entries.
pub const LEVEL: Level = Level(104);

/// Offsets below are of `.` and `..`.
const FIRST: u64 = 2;

struct Entry {
    name: Arc<[u8]>,
    node: Arc<Node>,
}

#[derive(Default)]
struct Entries {
    places: HashMap<Arc<[u8]>, u64>,
    entries: BTreeMap<u64, Entry>,
    next: u64,
    dead: bool,
}

impl Entries {
    fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.entries.get(self.places.get(name)?).map(|entry| &entry.node)
    }

    fn add(&mut self, name: &[u8], node: Arc<Node>) {
        let name: Arc<[u8]> = Arc::from(name);
        let place = self.next.max(FIRST);
        self.next = place + 1;
        self.places.insert(name.clone(), place);
        self.entries.insert(place, Entry { name, node });
    }

    fn take(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let place = self.places.remove(name)?;
        self.entries.remove(&place).map(|entry| entry.node)
    }

    /// Puts another node under a name that is there.
    fn swap(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let entry = self.entries.get_mut(self.places.get(name)?)?;
        Some(core::mem::replace(&mut entry.node, node))
    }
}

/// A directory.
pub struct TmpDir {
    inode: Arc<Inode>,
    /// Inode number of `..`.
    parent: AtomicU64,
    entries: SpinLock<Entries>,
}

impl TmpDir {
    /// A new directory below `parent`; the root has none.
    pub(super) fn node(common: &Arc<Common>, fresh: &Fresh, parent: Option<(u64, Charge)>) -> Arc<Node> {
        let (parent, charge) = match parent {
            Some((ino, charge)) => (Some(ino), Some(charge)),
            None => (None, None),
        };
        let inode = Inode::dir(common, fresh, charge);
        let dir = Arc::new(Self {
            parent: AtomicU64::new(parent.unwrap_or(inode.ino())),
            inode: inode.clone(),
            entries: SpinLock::new(LEVEL, Entries::default()),
        });
        Node::new(inode, NodeKind::Dir(dir))
    }

    fn of(node: &Node) -> Option<&Self> {
        match &node.kind {
            NodeKind::Dir(dir) => dir.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// Takes everything below `node` apart, one directory after another, not by recursion. Files that are open stay.
    pub(super) fn empty_tree(node: &Node) {
        let mut work: Vec<Arc<Node>> = Vec::new();
        let take = |node: &Node, work: &mut Vec<Arc<Node>>| {
            let Some(dir) = Self::of(node) else { return };
            let taken = core::mem::take(&mut *dir.entries.lock());
            work.extend(taken.entries.into_values().map(|entry| entry.node));
        };
        take(node, &mut work);
        while let Some(node) = work.pop() {
            take(&node, &mut work);
        }
    }

    /// Makes a node for this directory, not yet entered.
    fn make(&self, cx: &FsCx<'_>, what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno> {
        make(self.inode.common(), cx, &self.inode.attr_now(), what, mode)
    }

    /// Runs `f` with the entries of this directory and, unless it is the same one, of `other`.
    fn with_both<R>(&self, other: &Self, f: impl FnOnce(&mut Entries, Option<&mut Entries>) -> R) -> R {
        if core::ptr::eq(self, other) {
            return f(&mut self.entries.lock(), None);
        }
        // Both at once: the VFS lets only one rename between directories of a file system run, so the order is free; the
        // second is taken without the order check, by trying.
        loop {
            let mut mine = self.entries.lock();
            if let Some(mut theirs) = other.entries.try_lock() {
                return f(&mut mine, Some(&mut theirs));
            }
            drop(mine);
            core::hint::spin_loop();
        }
    }
}

/// Makes a node as for a directory of these attributes, entered nowhere yet.
///
/// # Errors
/// `ENOSPC` when there are too many files.
pub(in crate::fs) fn make(
    common: &Arc<Common>,
    cx: &FsCx<'_>,
    dir: &Attr,
    what: &NewNode,
    mode: u32,
) -> Result<Arc<Node>, Errno> {
    let charge = common.files.charge(1).map_err(|_| Errno::ENOSPC)?;
    let fresh = Fresh::in_dir(cx, dir, mode, what);
    match what {
        NewNode::Dir => Ok(TmpDir::node(common, &fresh, Some((dir.ino, charge)))),
        _ => Inode::node(common, what, &fresh, charge),
    }
}

/// Whether `node` may be replaced by `by`.
fn check_replace(node: &Node, by: &Node) -> Result<(), Errno> {
    match (by.is_dir(), TmpDir::of(node)) {
        (true, None) => Err(Errno::ENOTDIR),
        (false, Some(_)) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

impl DirNode for TmpDir {
    fn lookup(&self, _: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.entries.lock().get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn create(&self, cx: &FsCx<'_>, name: &[u8], what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno> {
        let node = self.make(cx, what, mode)?;
        {
            let mut entries = self.entries.lock();
            if entries.dead {
                return Err(Errno::ENOENT);
            }
            if entries.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            entries.add(name, node.clone());
        }
        self.inode.dir_changed(if node.is_dir() { LinkChange::Named } else { LinkChange::None });
        Ok(node)
    }

    fn create_unnamed(&self, cx: &FsCx<'_>, mode: u32) -> Result<Arc<Node>, Errno> {
        let node = self.make(cx, &NewNode::File, mode)?;
        if let Some(inode) = Inode::of(&node) {
            inode.count_link(LinkChange::Nameless)?;
        }
        Ok(node)
    }

    fn link(&self, _: &FsCx<'_>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let inode = Inode::of(node).filter(|inode| inode.is_of(self.inode.common())).ok_or(Errno::EXDEV)?;
        {
            let mut entries = self.entries.lock();
            if entries.dead {
                return Err(Errno::ENOENT);
            }
            if entries.get(name).is_some() {
                return Err(Errno::EEXIST);
            }
            inode.count_link(LinkChange::Named)?;
            entries.add(name, node.clone());
        }
        self.inode.dir_changed(LinkChange::None);
        Ok(())
    }

    fn unlink(&self, _: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let node = {
            let mut entries = self.entries.lock();
            match entries.get(name) {
                None => return Err(Errno::ENOENT),
                Some(node) if node.is_dir() => return Err(Errno::EISDIR),
                Some(_) => entries.take(name).ok_or(Errno::ENOENT)?,
            }
        };
        if let Some(inode) = Inode::of(&node) {
            inode.count_link(LinkChange::Unnamed)?;
        }
        self.inode.dir_changed(LinkChange::None);
        Ok(())
    }

    fn rmdir(&self, _: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let node = self.entries.lock().get(name).cloned().ok_or(Errno::ENOENT)?;
        let dir = Self::of(&node).ok_or(Errno::ENOTDIR)?;
        dir.bury()?;
        let old = self.entries.lock().take(name);
        dir.inode.count_link(LinkChange::Gone)?;
        self.inode.dir_changed(LinkChange::Unnamed);
        drop(old);
        Ok(())
    }

    fn rename(
        &self,
        _: &FsCx<'_>,
        name: &[u8],
        target: &Arc<Node>,
        target_name: &[u8],
        _: Option<&Arc<Node>>,
        flags: u32,
    ) -> Result<(), Errno> {
        let other = Self::of(target).ok_or(Errno::EXDEV)?;
        if !other.inode.is_of(self.inode.common()) {
            return Err(Errno::EXDEV);
        }
        if flags & !(NOREPLACE | EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        // A directory that is to be replaced is marked first, so that nothing is made in it any more; the VFS holds the
        // locks of both directories, so the name still leads to it below.
        let victim = match flags & EXCHANGE {
            0 => other.entries.lock().get(target_name).cloned(),
            _ => None,
        };
        let source = self.entries.lock().get(name).cloned();
        let replaces = source.is_some_and(|source| source.is_dir()) && flags & NOREPLACE == 0;
        let victim_dir = victim.as_deref().and_then(Self::of).filter(|_| replaces);
        if let Some(dir) = victim_dir {
            dir.bury()?;
        }
        let done =
            self.with_both(other, |mine, theirs| rename_entries(mine, theirs, name, target_name, flags));
        let (moved, replaced) = done.inspect_err(|_| {
            if let Some(dir) = victim_dir {
                dir.entries.lock().dead = false;
            }
        })?;
        let across = !core::ptr::eq(self, other);
        let exchanged = flags & EXCHANGE != 0;
        let (mut ours, mut theirs) = (0i32, 0i32);
        if across && moved.is_dir() {
            (ours, theirs) = (ours - 1, theirs + 1);
            if let Some(dir) = Self::of(&moved) {
                dir.parent.store(other.inode.ino(), Ordering::Relaxed);
            }
        }
        if let Some(replaced) = &replaced {
            if replaced.is_dir() && exchanged && across {
                (ours, theirs) = (ours + 1, theirs - 1);
                if let Some(dir) = Self::of(replaced) {
                    dir.parent.store(self.inode.ino(), Ordering::Relaxed);
                }
            }
            if let Some(inode) = Inode::of(replaced) {
                let change = match (exchanged, replaced.is_dir()) {
                    (true, _) => LinkChange::None,
                    (false, true) => LinkChange::Gone,
                    (false, false) => LinkChange::Unnamed,
                };
                inode.count_link(change)?;
            }
            if replaced.is_dir() && !exchanged {
                theirs -= 1;
            }
        }
        let change = |count: i32| match count {
            ..0 => LinkChange::Unnamed,
            0 => LinkChange::None,
            1.. => LinkChange::Named,
        };
        if across {
            self.inode.dir_changed(change(ours));
        }
        other.inode.dir_changed(change(theirs));
        if let Some(inode) = Inode::of(&moved) {
            inode.count_link(LinkChange::None)?;
        }
        Ok(())
    }

    fn read_dir(&self, _: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        const BATCH: usize = 64;
        let dots: [(&[u8], u64); 2] =
            [(b".", self.inode.ino()), (b"..", self.parent.load(Ordering::Relaxed))];
        for (next, (name, ino)) in (1..).zip(dots) {
            if position < next && !sink(&DirEntry { ino, kind: 4, next, name }) {
                return Ok(());
            }
        }
        let mut position = position.max(FIRST);
        loop {
            let batch: Vec<(u64, Arc<[u8]>, u64, u8)> = {
                let entries = self.entries.lock();
                let from = entries.entries.range(position..).take(BATCH);
                from.map(|(place, entry)| {
                    let inode = Inode::of(&entry.node);
                    let (ino, kind) = inode.map_or((0, 0), |inode| (inode.ino(), inode.dirent_kind()));
                    (*place, entry.name.clone(), ino, kind)
                })
                .collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            for (place, name, ino, kind) in batch {
                if !sink(&DirEntry { ino, kind, next: place + 1, name: &name }) {
                    return Ok(());
                }
                position = place + 1;
            }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TmpDir {
    /// Marks an empty directory as removed.
    fn bury(&self) -> Result<(), Errno> {
        let mut entries = self.entries.lock();
        if !entries.entries.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        entries.dead = true;
        Ok(())
    }
}

/// The part of a rename that happens under the locks: what was moved, and what it replaced or was exchanged with.
fn rename_entries(
    mine: &mut Entries,
    mut theirs: Option<&mut Entries>,
    name: &[u8],
    target_name: &[u8],
    flags: u32,
) -> Result<(Arc<Node>, Option<Arc<Node>>), Errno> {
    let moved = mine.get(name).cloned().ok_or(Errno::ENOENT)?;
    let target = theirs.as_deref().unwrap_or(mine);
    if target.dead {
        return Err(Errno::ENOENT);
    }
    let there = target.get(target_name).cloned();
    if flags & EXCHANGE != 0 {
        let there = there.ok_or(Errno::ENOENT)?;
        mine.swap(name, there.clone());
        match theirs {
            Some(theirs) => theirs.swap(target_name, moved.clone()),
            None => mine.swap(target_name, moved.clone()),
        };
        return Ok((moved, Some(there)));
    }
    if let Some(there) = &there {
        if flags & NOREPLACE != 0 {
            return Err(Errno::EEXIST);
        }
        check_replace(there, &moved)?;
        let target = theirs.as_deref_mut().unwrap_or(mine);
        target.take(target_name);
    }
    mine.take(name);
    theirs.unwrap_or(mine).add(target_name, moved.clone());
    Ok((moved, there))
}
