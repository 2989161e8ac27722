//! Telling of what happens to files (inotify(7), and `F_NOTIFY` of fcntl(2)).
//!
//! | module | contents |
//! |---|---|
//! | [`event`] | the events, and the queue of an instance |
//! | [`instance`] | [`Inotify`]: an instance and its watches |
//! | [`directory`] | signals when something happens in a directory |
//! | here | what the VFS calls when something happened |
//!
//! The watches of a file hang on its node. Locks: watches of a node (130), then one instance (142). Nothing here sleeps; what is
//! taken out of either is dropped unlocked. While nobody watches anything, a call costs one load.

pub mod directory;
pub mod event;
pub mod instance;

use crate::fs::{Dentry, Node, OpenFile, Superblock};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

pub use event::Mask;
pub use instance::{Inotify, Watch};

/// Watches of all instances.
pub(super) static WATCHES: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Lists {
    watches: Vec<Arc<Watch>>,
    bells: Vec<Arc<directory::Bell>>,
}

/// The watches of one node.
pub struct Watched(SpinLock<Lists>);

impl Watched {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(SpinLock::new(Level(130), Lists { watches: Vec::new(), bells: Vec::new() }))
    }

    pub(super) fn add(&self, watch: &Arc<Watch>) {
        self.0.lock().watches.push(watch.clone());
    }

    pub(super) fn remove(&self, watch: &Watch) {
        let gone = {
            let list = &mut self.0.lock().watches;
            let at = list.iter().position(|other| core::ptr::eq(&raw const **other, watch));
            at.map(|at| list.swap_remove(at))
        };
        drop(gone);
    }

    fn all(&self) -> Vec<Arc<Watch>> {
        self.0.lock().watches.clone()
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether nobody watches anything.
pub(crate) fn idle() -> bool {
    WATCHES.load(Ordering::Relaxed) == 0
}

/// Whether a directory's entry was named when it happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Linked,
    /// The name was removed before: `IN_EXCL_UNLINK` leaves such events out.
    Unlinked,
}

fn kind(node: &Node) -> Mask {
    if node.is_dir() { Mask::ISDIR } else { Mask::empty() }
}

fn tell(node: &Arc<Node>, mask: Mask, name: Option<&[u8]>, cookie: u32, linked: Name) {
    for watch in node.state.watched.all() {
        if linked == Name::Unlinked && watch.mask().contains(Mask::EXCL_UNLINK) {
            continue;
        }
        watch.tell(mask, name, cookie);
    }
    directory::ring(node, mask);
}

/// Something happened to what a name leads to: its directory is told with the name, then the file itself.
pub fn at(dentry: &Arc<Dentry>, mask: Mask) {
    if idle() {
        return;
    }
    let Some(node) = &dentry.node else { return };
    let mask = mask | kind(node);
    let (name, parent) = dentry.place();
    if let Some(dir) = parent.as_ref().and_then(|parent| parent.node.as_ref()) {
        let linked = if dentry.is_removed() { Name::Unlinked } else { Name::Linked };
        tell(dir, mask, Some(&name), 0, linked);
    }
    tell(node, mask, None, 0, Name::Linked);
}

/// Something happened through an open file.
pub fn through(file: &OpenFile, mask: Mask) {
    if !idle()
        && let Some(path) = file.path()
    {
        at(&path.dentry, mask);
    }
}

/// Something happened to a file, whatever its names.
pub fn to(node: &Arc<Node>, mask: Mask) {
    if !idle() {
        tell(node, mask | kind(node), None, 0, Name::Linked);
    }
}

/// An entry of a directory was made or removed; `node` is what it leads or led to.
pub fn entry(dir: &Arc<Node>, name: &[u8], node: &Node, mask: Mask) {
    if !idle() {
        tell(dir, mask | kind(node), Some(name), 0, Name::Linked);
    }
}

/// An entry was moved, over `replaced` if there was something.
pub fn moved(
    from: (&Arc<Node>, &[u8]),
    to: (&Arc<Node>, &[u8]),
    node: &Arc<Node>,
    replaced: Option<&Arc<Node>>,
) {
    static COOKIE: AtomicU32 = AtomicU32::new(1);
    if idle() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    tell(from.0, Mask::MOVED_FROM | kind(node), Some(from.1), cookie, Name::Linked);
    if Arc::ptr_eq(from.0, to.0) {
        directory::renamed(from.0);
    }
    tell(to.0, Mask::MOVED_TO | kind(node), Some(to.1), cookie, Name::Linked);
    if let Some(replaced) = replaced {
        tell(replaced, Mask::ATTRIB | kind(replaced), None, 0, Name::Linked);
    }
    tell(node, Mask::MOVE_SELF, None, 0, Name::Linked);
}

/// The last name of a file and its last user are gone.
pub fn deleted(node: &Arc<Node>) {
    if idle() {
        return;
    }
    tell(node, Mask::DELETE_SELF, None, 0, Name::Linked);
    for watch in node.state.watched.all() {
        watch.end();
    }
}

/// A file system is gone: its watches are.
pub fn unmounted(superblock: &Superblock) {
    if idle() {
        return;
    }
    for instance in instance::all() {
        for watch in instance.watches_of(superblock) {
            watch.tell(Mask::UNMOUNT, None, 0);
            watch.end();
        }
    }
}
