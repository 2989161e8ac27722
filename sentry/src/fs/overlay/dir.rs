//! [`OverlayDir`]: a directory: the names that were changed in it, over those that the layers have.

use super::listing::{Listing, kind_of};
use super::node::{Layered, own};
use super::{Shared, is_opaque, is_whiteout};
use crate::abi::Errno;
use crate::fs::names::{EXCHANGE, NOREPLACE};
use crate::fs::node::{Atime, DirEntry, DirSink, NewNode};
use crate::fs::tmpfs::inode::{Inode, LinkChange};
use crate::fs::{Attr, DirNode, FsCx, Node, NodeKind, NodeOps, SetAttr};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use hashbrown::HashMap;

/// Level of the lock around a directory's changes.
pub(super) const LEVEL: Level = Level(100);

/// Positions from here on are of changed names; below are `.`, `..` and the names of the layers.
const CHANGED: u64 = 1 << 40;
/// Position of the first name of the layers.
const FIRST: u64 = 2;

/// What became of a name.
#[derive(Clone)]
struct Change {
    /// What it leads to now; `None`: it was removed from a layer's directory.
    node: Option<Arc<Node>>,
    /// The layers have the name too: when it is removed, that must be remembered.
    covers: bool,
    /// Its position among changed names.
    place: u64,
}

#[derive(Default)]
struct State {
    changes: HashMap<Arc<[u8]>, Change>,
    /// Changed names that lead somewhere, in the order they were made.
    order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    dead: bool,
    listing: Option<Arc<Listing>>,
}

impl State {
    /// Makes `name` lead to `node`.
    fn set(&mut self, name: &[u8], node: Arc<Node>, covers: bool) -> Option<Arc<Node>> {
        let name: Arc<[u8]> = Arc::from(name);
        let place = self.next;
        self.next += 1;
        let change = Change { node: Some(node), covers, place };
        let old = self.changes.insert(name.clone(), change);
        let old = old.and_then(|old| {
            self.order.remove(&old.place);
            old.node
        });
        self.order.insert(place, name);
        old
    }

    /// Makes `name` lead nowhere.
    fn clear(&mut self, name: &[u8], covers: bool) -> Option<Arc<Node>> {
        let old = self.changes.remove(name);
        if covers {
            self.changes.insert(Arc::from(name), Change { node: None, covers: true, place: u64::MAX });
        }
        let old = old?;
        self.order.remove(&old.place);
        old.node
    }

    /// Puts another node under a name, which keeps its place.
    fn swap(&mut self, name: &[u8], node: Arc<Node>, covers: bool) {
        match self.changes.get_mut(name).filter(|change| change.node.is_some()) {
            Some(change) => change.node = Some(node),
            None => drop(self.set(name, node, covers)),
        }
    }
}

/// Where a directory's attributes are.
enum Source {
    /// It is a layer's.
    Layer(Arc<Layered>),
    /// The container made it: a directory of the tmpfs, without entries.
    Own(Arc<Node>),
}

/// A directory.
pub(super) struct OverlayDir {
    shared: Arc<Shared>,
    source: Source,
    /// The layers' directories of this name, topmost first.
    lowers: Vec<Arc<Node>>,
    /// Inode number of `..`.
    parent: AtomicU64,
    state: SpinLock<State>,
}

/// What a name leads to, and whether the layers have it.
struct Found {
    node: Arc<Node>,
    covers: bool,
}

impl OverlayDir {
    /// A directory of the layers.
    pub(super) fn node(layered: Arc<Layered>, lowers: Vec<Arc<Node>>, parent: Option<u64>) -> Arc<Node> {
        let parent = parent.unwrap_or(layered.ino());
        Self::build(layered.shared.clone(), Source::Layer(layered), lowers, parent)
    }

    /// A directory that the container made; `made` keeps its attributes.
    pub(super) fn made(shared: &Arc<Shared>, made: Arc<Node>, parent: u64) -> Arc<Node> {
        Self::build(shared.clone(), Source::Own(made), Vec::new(), parent)
    }

    fn build(shared: Arc<Shared>, source: Source, lowers: Vec<Arc<Node>>, parent: u64) -> Arc<Node> {
        let state = SpinLock::new(LEVEL, State::default());
        let dir = Arc::new(Self { shared, source, lowers, parent: AtomicU64::new(parent), state });
        Node::new(dir.clone(), NodeKind::Dir(dir))
    }

    fn of(node: &Node) -> Option<&Self> {
        node.ops.as_any().downcast_ref()
    }

    /// Takes the changed names out of a directory of an overlay that ends.
    pub(super) fn take_apart(node: &Node, work: &mut Vec<Arc<Node>>) {
        let Some(dir) = Self::of(node) else { return };
        let taken = core::mem::take(&mut *dir.state.lock());
        work.extend(taken.changes.into_values().filter_map(|change| change.node));
    }

    fn ino(&self) -> u64 {
        match &self.source {
            Source::Layer(layered) => layered.ino(),
            Source::Own(node) => own(node).map_or(0, Inode::ino),
        }
    }

    /// What the layers have under `name`.
    fn find_below(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let mut found: Vec<Arc<Node>> = Vec::new();
        let several = self.shared.layers > 1;
        for lower in &self.lowers {
            let node = match lower.dir()?.lookup(cx, name) {
                Ok(node) => node,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            };
            if several && is_whiteout(cx, &node) {
                break;
            }
            let is_dir = node.is_dir();
            if !is_dir {
                if found.is_empty() {
                    found.push(node);
                }
                break;
            }
            let opaque = several && is_opaque(cx, &node);
            found.push(node);
            if opaque {
                break;
            }
        }
        if found.is_empty() {
            return Err(Errno::ENOENT);
        }
        self.shared.adopt(cx, found, Some(self.ino()))
    }

    fn find(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Found, Errno> {
        let change = self.state.lock().changes.get(name).cloned();
        if let Some(Change { node, covers, .. }) = change {
            return Ok(Found { node: node.ok_or(Errno::ENOENT)?, covers });
        }
        Ok(Found { node: self.find_below(cx, name)?, covers: true })
    }

    /// As [`OverlayDir::find`], where it is known that `name` leads to `node`: the layers are not asked.
    fn found(&self, name: &[u8], node: Arc<Node>) -> Found {
        Found { node, covers: self.state.lock().changes.get(name).is_none_or(|change| change.covers) }
    }

    /// Whether the layers have `name`, which leads nowhere now: it is remembered as removed then.
    fn covers(&self, name: &[u8]) -> bool {
        self.state.lock().changes.get(name).is_some_and(|change| change.covers)
    }

    /// Puts a name in; the caller knows that it leads nowhere.
    fn enter(&self, cx: &FsCx<'_>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let covers = self.covers(name);
        {
            let mut state = self.state.lock();
            if state.dead {
                return Err(Errno::ENOENT);
            }
            if state.changes.get(name).is_some_and(|change| change.node.is_some()) {
                return Err(Errno::EEXIST);
            }
            state.set(name, node.clone(), covers);
        }
        self.changed(cx, if node.is_dir() { LinkChange::Named } else { LinkChange::None })
    }

    /// The names in the directory changed: so do its times, and it must be remembered.
    fn changed(&self, cx: &FsCx<'_>, links: LinkChange) -> Result<(), Errno> {
        let holder = match &self.source {
            Source::Own(node) => node.clone(),
            Source::Layer(layered) => {
                let copy = layered.copy_up(cx)?;
                layered.pin();
                copy
            }
        };
        if let Some(inode) = own(&holder) {
            inode.dir_changed(links);
        }
        Ok(())
    }

    /// Whether nothing is in it.
    fn is_empty(&self, cx: &FsCx<'_>) -> Result<bool, Errno> {
        if !self.state.lock().order.is_empty() {
            return Ok(false);
        }
        if self.lowers.is_empty() {
            return Ok(true);
        }
        let listing = Listing::read(cx, &self.lowers, self.shared.layers)?;
        let state = self.state.lock();
        Ok(listing.0.iter().all(|item| state.changes.contains_key(&item.name)))
    }

    /// Marks an empty directory as removed.
    fn bury(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        if !self.is_empty(cx)? {
            return Err(Errno::ENOTEMPTY);
        }
        self.state.lock().dead = true;
        Ok(())
    }

    /// All names of the directory are gone.
    fn removed(&self) {
        match &self.source {
            Source::Layer(layered) => layered.removed(),
            Source::Own(node) => {
                if let Some(inode) = own(node) {
                    // Counting the last link down cannot fail.
                    let _ = inode.count_link(LinkChange::Gone);
                }
            }
        }
    }

    fn listing(&self, cx: &FsCx<'_>, position: u64) -> Result<Arc<Listing>, Errno> {
        if self.lowers.is_empty() {
            return Ok(Arc::new(Listing(Vec::new())));
        }
        // A listing that goes on needs the order that it began with.
        let kept = self.state.lock().listing.clone().filter(|_| position > 0);
        if let Some(listing) = kept {
            return Ok(listing);
        }
        let fresh = Arc::new(Listing::read(cx, &self.lowers, self.shared.layers)?);
        let old = self.state.lock().listing.replace(fresh.clone());
        drop(old);
        Ok(fresh)
    }
}

/// One name of `node` was removed.
fn unlinked(node: &Arc<Node>) {
    if let Some(layered) = Layered::of(node) {
        layered.unlinked();
    } else if let Some(dir) = OverlayDir::of(node) {
        dir.removed();
    } else if let Some(inode) = own(node) {
        // Counting down cannot fail.
        let _ = inode.count_link(LinkChange::Unnamed);
    }
}

impl DirNode for OverlayDir {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        Ok(self.find(cx, name)?.node)
    }

    fn create(&self, cx: &FsCx<'_>, name: &[u8], what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno> {
        let node = self.shared.make(cx, &self.attr(cx)?, what, mode)?;
        self.enter(cx, name, &node)?;
        Ok(node)
    }

    fn create_unnamed(&self, cx: &FsCx<'_>, mode: u32) -> Result<Arc<Node>, Errno> {
        let node = self.shared.make(cx, &self.attr(cx)?, &NewNode::File, mode)?;
        if let Some(inode) = own(&node) {
            inode.count_link(LinkChange::Nameless)?;
        }
        Ok(node)
    }

    fn link(&self, cx: &FsCx<'_>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        if let Some(layered) = Layered::of(node) {
            layered.linked()?;
        } else if let Some(inode) = own(node) {
            inode.count_link(LinkChange::Named)?;
        } else {
            return Err(Errno::EPERM);
        }
        self.enter(cx, name, node).inspect_err(|_| unlinked(node))
    }

    fn unlink(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let found = self.find(cx, name)?;
        if found.node.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.changed(cx, LinkChange::None)?;
        let old = self.state.lock().clear(name, found.covers);
        unlinked(&found.node);
        drop(old);
        Ok(())
    }

    fn rmdir(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let found = self.find(cx, name)?;
        let dir = Self::of(&found.node).ok_or(Errno::ENOTDIR)?;
        dir.bury(cx)?;
        self.changed(cx, LinkChange::Unnamed)?;
        let old = self.state.lock().clear(name, found.covers);
        dir.removed();
        drop(old);
        Ok(())
    }

    fn rename(
        &self,
        cx: &FsCx<'_>,
        name: &[u8],
        target: &Arc<Node>,
        target_name: &[u8],
        there: Option<&Arc<Node>>,
        flags: u32,
    ) -> Result<(), Errno> {
        let other =
            Self::of(target).filter(|dir| Arc::ptr_eq(&dir.shared, &self.shared)).ok_or(Errno::EXDEV)?;
        if flags & !(NOREPLACE | EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        let source = self.find(cx, name)?;
        let there = there.map(|node| other.found(target_name, node.clone()));
        if flags & EXCHANGE != 0 {
            return self.exchange(cx, name, &source, other, target_name, &there.ok_or(Errno::ENOENT)?);
        }
        if other.state.lock().dead {
            return Err(Errno::ENOENT);
        }
        if let Some(there) = &there {
            if flags & NOREPLACE != 0 {
                return Err(Errno::EEXIST);
            }
            match (source.node.is_dir(), Self::of(&there.node)) {
                (true, None) => return Err(Errno::ENOTDIR),
                (false, Some(_)) => return Err(Errno::EISDIR),
                (true, Some(victim)) => victim.bury(cx)?,
                (false, None) => {}
            }
        }
        let is_dir = source.node.is_dir();
        let across = !core::ptr::eq(self, other);
        let replaced_dir = there.as_ref().is_some_and(|there| there.node.is_dir());
        if across {
            self.changed(cx, if is_dir { LinkChange::Unnamed } else { LinkChange::None })?;
        }
        other.changed(
            cx,
            match (is_dir && across, replaced_dir) {
                (true, false) => LinkChange::Named,
                (false, true) => LinkChange::Unnamed,
                _ => LinkChange::None,
            },
        )?;
        source.keep();
        let covers = there.as_ref().map_or_else(|| other.covers(target_name), |there| there.covers);
        let old = other.state.lock().set(target_name, source.node.clone(), covers);
        let moved = self.state.lock().clear(name, source.covers);
        if let Some(there) = &there {
            unlinked(&there.node);
        }
        if let Some(dir) = Self::of(&source.node) {
            dir.parent.store(other.ino(), Ordering::Relaxed);
        }
        drop((old, moved));
        Ok(())
    }

    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        let dots: [(&[u8], u64); 2] = [(b".", self.ino()), (b"..", self.parent.load(Ordering::Relaxed))];
        for (next, (name, ino)) in (1..).zip(dots) {
            if position < next && !sink(&DirEntry { ino, kind: 4, next, name }) {
                return Ok(());
            }
        }
        if position < CHANGED {
            let listing = self.listing(cx, position)?;
            let start = position.max(FIRST);
            let skip = usize::try_from(start - FIRST).unwrap_or(usize::MAX);
            for (at, item) in (start..).zip(listing.0.iter().skip(skip)) {
                if self.state.lock().changes.contains_key(&item.name) {
                    continue;
                }
                let entry = DirEntry { ino: item.ino, kind: item.kind, next: at + 1, name: &item.name };
                if !sink(&entry) {
                    return Ok(());
                }
            }
        }
        self.list_changed(cx, position.max(CHANGED) - CHANGED, sink)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Found {
    /// Renamed, a layer's file is no longer found by the layer's name: the overlay must remember it.
    fn keep(&self) {
        if let Some(layered) = Layered::of(&self.node) {
            layered.pin();
        } else if let Some(OverlayDir { source: Source::Layer(layered), .. }) = OverlayDir::of(&self.node) {
            layered.pin();
        }
    }
}

impl OverlayDir {
    fn exchange(
        &self,
        cx: &FsCx<'_>,
        name: &[u8],
        source: &Found,
        other: &Self,
        target_name: &[u8],
        there: &Found,
    ) -> Result<(), Errno> {
        let across = !core::ptr::eq(self, other);
        let links = |goes: &Found, comes: &Found| match (goes.node.is_dir(), comes.node.is_dir()) {
            (true, false) if across => LinkChange::Unnamed,
            (false, true) if across => LinkChange::Named,
            _ => LinkChange::None,
        };
        self.changed(cx, links(source, there))?;
        if across {
            other.changed(cx, links(there, source))?;
        }
        source.keep();
        there.keep();
        self.state.lock().swap(name, there.node.clone(), source.covers);
        other.state.lock().swap(target_name, source.node.clone(), there.covers);
        for (found, dir) in [(source, other), (there, self)] {
            if let Some(moved) = Self::of(&found.node) {
                moved.parent.store(dir.ino(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Lists changed names from the `place`th on.
    fn list_changed(&self, cx: &FsCx<'_>, mut place: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        const BATCH: usize = 64;
        loop {
            let batch: Vec<(u64, Arc<[u8]>, Arc<Node>)> = {
                let state = self.state.lock();
                let names = state.order.range(place..).take(BATCH);
                names
                    .filter_map(|(place, name)| {
                        let node = state.changes.get(name)?.node.clone()?;
                        Some((*place, name.clone(), node))
                    })
                    .collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            for (at, name, node) in batch {
                let ino = match Self::of(&node) {
                    Some(dir) => dir.ino(),
                    None => node.ops.attr(cx)?.ino,
                };
                let entry = DirEntry { ino, kind: kind_of(&node), next: CHANGED + at + 1, name: &name };
                if !sink(&entry) {
                    return Ok(());
                }
                place = at + 1;
            }
        }
    }
}

impl NodeOps for OverlayDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        match &self.source {
            Source::Own(node) => node.ops.attr(cx),
            Source::Layer(layered) => {
                let attr = layered.attr(cx)?;
                // How many subdirectories a merged directory has is not known, which 1 says.
                let nlink = if attr.nlink == 0 { 0 } else { 1 };
                Ok(Attr { nlink, ..attr })
            }
        }
    }

    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        self.ops().set_attr(cx, change)
    }

    fn accessed(&self, cx: &FsCx<'_>, how: Atime) {
        self.ops().accessed(cx, how);
    }

    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.ops().get_xattr(cx, name)
    }

    fn set_xattr(&self, cx: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        self.ops().set_xattr(cx, name, value, flags)
    }

    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        self.ops().list_xattr(cx)
    }

    fn remove_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.ops().remove_xattr(cx, name)
    }
}

impl OverlayDir {
    /// Where attributes are kept.
    fn ops(&self) -> &dyn NodeOps {
        match &self.source {
            Source::Own(node) => &*node.ops,
            Source::Layer(layered) => &**layered,
        }
    }
}
