//! [`Path`]: a place in the tree of mounts, and how it is written ([`display`], getcwd(2), `/proc/PID/fd`).

use crate::abi::Errno;
use crate::fs::dentry::Dentry;
use crate::fs::mount::Mount;
use crate::fs::{FsCx, Node};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A dentry seen through a mount.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry, of the mount's file system.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// The node.
    ///
    /// # Errors
    /// `ENOENT` when the dentry is negative.
    pub fn node(&self) -> Result<&Arc<Node>, Errno> {
        self.dentry.node()
    }

    /// Goes to the root of whatever is mounted here.
    pub fn enter_mounts(&mut self) {
        while self.dentry.is_mountpoint()
            && let Some(mount) = self.mount.mounted_on(&self.dentry)
        {
            mount.entered();
            self.dentry = mount.root.clone();
            self.mount = mount;
        }
    }

    /// The path that this one is mounted over, when it is the root of a mount.
    #[must_use]
    pub fn mountpoint(&self) -> Option<Self> {
        if Arc::ptr_eq(&self.dentry, &self.mount.root) { self.mount.place() } else { None }
    }

    /// The directory above, through mount borders, not above `root`.
    #[must_use]
    pub fn parent(&self, root: &Self) -> Self {
        let mut at = self.clone();
        loop {
            if at == *root {
                break;
            }
            if let Some(below) = at.mountpoint() {
                at = below;
                continue;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                break;
            }
            if let Some(parent) = at.dentry.parent() {
                at.dentry = parent;
            }
            break;
        }
        at.enter_mounts();
        at
    }

    /// Finds the child `name` and enters what is mounted on it. The dentry may be negative.
    ///
    /// # Errors
    /// As [`Dentry::child`].
    pub fn child(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Self, Errno> {
        let mut path = Self { mount: self.mount.clone(), dentry: self.dentry.child(cx, name)? };
        path.enter_mounts();
        Ok(path)
    }
}

/// How a path ended at the root that it is shown from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is below the root.
    Inside,
    /// It is not: outside a chroot(2), or in a mount that was taken off.
    Outside,
}

/// The path as text seen from `root`, without a mark for removed files.
#[must_use]
pub fn text(path: &Path, root: &Path) -> (Vec<u8>, Reach) {
    let mut names = Vec::new();
    let mut at = path.clone();
    let reach = loop {
        if at == *root {
            break Reach::Inside;
        }
        if let Some(below) = at.mountpoint() {
            at = below;
            continue;
        }
        if Arc::ptr_eq(&at.dentry, &at.mount.root) {
            break Reach::Outside;
        }
        let (name, parent) = at.dentry.place();
        names.push(name);
        match parent {
            Some(parent) => at.dentry = parent,
            None => break Reach::Outside,
        }
    };
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    (text, reach)
}

/// The path as `/proc/PID/fd/N` shows it: with ` (deleted)` after the name of a removed file.
#[must_use]
pub fn display(path: &Path, root: &Path) -> Vec<u8> {
    let (mut text, _) = text(path, root);
    if path.dentry.is_removed() {
        text.extend_from_slice(b" (deleted)");
    }
    text
}
