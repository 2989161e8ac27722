//! Making, removing and moving names: what mkdir(2), unlink(2), rename(2) and their kin do once the directory is found.
//!
//! Lock order: the file system's rename lock (only for moves between directories), directories from the root down, then
//! the directory that is removed.

use crate::abi::Errno;
use crate::fs::lookup::{Last, Tail};
use crate::fs::node::{NewNode, Node};
use crate::fs::notify::{self, Mask};
use crate::fs::permission::{self, Removal, Want};
use crate::fs::{Dentry, FsCx, Path};
use crate::security::Capability;
use alloc::sync::Arc;

/// Do not replace (`RENAME_NOREPLACE`).
pub const NOREPLACE: u32 = 1;
/// Exchange the two (`RENAME_EXCHANGE`).
pub const EXCHANGE: u32 = 2;
/// Leave a whiteout (`RENAME_WHITEOUT`).
pub const WHITEOUT: u32 = 4;

/// Makes a file in the directory `dir`; returns its dentry.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EROFS`, `EACCES`, `EPERM`, `ENOSPC`.
pub fn create(
    cx: &FsCx<'_>,
    dir: &Path,
    last: &Last<'_>,
    tail: Tail,
    what: &NewNode,
    mode: u32,
) -> Result<Arc<Dentry>, Errno> {
    let Last::Name(name) = last else { return Err(Errno::EEXIST) };
    let node = dir.node()?;
    let _lock = node.state.lock.lock(cx.sleeper);
    let there = dir.dentry.child_locked(cx, name)?;
    if there.node.is_some() {
        return Err(Errno::EEXIST);
    }
    if tail == Tail::Slash && !matches!(what, NewNode::Dir) {
        return Err(Errno::ENOENT);
    }
    if dir.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    permission::may_create(cx, node)?;
    if matches!(what, NewNode::CharDevice(_) | NewNode::BlockDevice(_)) && !cx.creds.has(Capability::Mknod) {
        return Err(Errno::EPERM);
    }
    let made = node.dir()?.create(cx, name, what, mode)?;
    notify::entry(node, name, &made, Mask::CREATE);
    Ok(dir.dentry.add_child(name, Some(made)))
}

/// Makes a further name of `target`.
///
/// # Errors
/// As link(2).
pub fn link(cx: &FsCx<'_>, target: &Path, dir: &Path, last: &Last<'_>, tail: Tail) -> Result<(), Errno> {
    let Last::Name(name) = last else { return Err(Errno::EEXIST) };
    let (node, file) = (dir.node()?, target.node()?);
    let _lock = node.state.lock.lock(cx.sleeper);
    if dir.dentry.child_locked(cx, name)?.node.is_some() {
        return Err(Errno::EEXIST);
    }
    if tail == Tail::Slash {
        return Err(Errno::ENOENT);
    }
    if !Arc::ptr_eq(&target.mount, &dir.mount) {
        return Err(Errno::EXDEV);
    }
    if dir.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    permission::may_create(cx, node)?;
    if file.is_dir() || matches!(file.kind, crate::fs::NodeKind::Open(_)) {
        return Err(Errno::EPERM);
    }
    node.dir()?.link(cx, name, file)?;
    dir.dentry.add_child(name, Some(file.clone()));
    notify::to(file, Mask::ATTRIB);
    notify::entry(node, name, file, Mask::CREATE);
    Ok(())
}

/// Removes a name that is not a directory.
///
/// # Errors
/// As unlink(2).
pub fn unlink(cx: &FsCx<'_>, dir: &Path, last: &Last<'_>, tail: Tail) -> Result<(), Errno> {
    let Last::Name(name) = last else { return Err(Errno::EISDIR) };
    let node = dir.node()?;
    let victim = {
        let _lock = node.state.lock.lock(cx.sleeper);
        let victim = dir.dentry.child_locked(cx, name)?;
        let file = victim.node()?;
        if tail == Tail::Slash {
            return Err(if file.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        if dir.mount.is_read_only() {
            return Err(Errno::EROFS);
        }
        permission::may_remove(cx, node, &victim, Removal::NotDir)?;
        node.dir()?.unlink(cx, name)?;
        dir.dentry.child_removed(&victim);
        victim
    };
    let file = victim.node()?.clone();
    notify::to(&file, Mask::ATTRIB);
    // The last handle of a big file is dropped with no lock held.
    drop_removed(cx, victim);
    notify::entry(node, name, &file, Mask::DELETE);
    Ok(())
}

/// Drops the handle of a name that was removed. Should it have been the last name of its file, the file's watches end with
/// the last handle.
fn drop_removed(cx: &FsCx<'_>, victim: Arc<Dentry>) {
    if !notify::idle()
        && let Some(node) = &victim.node
        && (node.is_dir() || node.ops.attr(cx).is_ok_and(|attr| attr.nlink == 0))
    {
        victim.set_last();
    }
    drop(victim);
}

/// Removes an empty directory.
///
/// # Errors
/// As rmdir(2).
pub fn rmdir(cx: &FsCx<'_>, dir: &Path, last: &Last<'_>) -> Result<(), Errno> {
    let name = match last {
        Last::Name(name) => name,
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::None => return Err(Errno::EBUSY),
    };
    let node = dir.node()?;
    let _lock = node.state.lock.lock(cx.sleeper);
    let victim = dir.dentry.child_locked(cx, name)?;
    let gone = victim.node()?;
    if dir.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    permission::may_remove(cx, node, &victim, Removal::Dir)?;
    let _inner = gone.state.lock.lock(cx.sleeper);
    node.dir()?.rmdir(cx, name)?;
    gone.state.set_dead();
    dir.dentry.child_removed(&victim);
    drop(_inner);
    let gone = gone.clone();
    drop_removed(cx, victim);
    notify::entry(node, name, &gone, Mask::DELETE);
    Ok(())
}

/// One side of a rename: the directory, the name in it, and what followed the name.
pub struct Side<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The name.
    pub last: &'a Last<'a>,
    /// Whether slashes followed.
    pub tail: Tail,
}

/// Moves a name.
///
/// # Errors
/// As renameat2(2).
pub fn rename(cx: &FsCx<'_>, from: &Side<'_>, to: &Side<'_>, flags: u32) -> Result<(), Errno> {
    if flags & !(NOREPLACE | EXCHANGE) != 0 || flags == NOREPLACE | EXCHANGE {
        return Err(Errno::EINVAL);
    }
    if !Arc::ptr_eq(&from.dir.mount, &to.dir.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name(name) = from.last else { return Err(Errno::EBUSY) };
    let Last::Name(new_name) = to.last else {
        return Err(if flags & NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    };
    if from.dir.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let (dir, new_dir) = (&from.dir.dentry, &to.dir.dentry);
    let (node, new_node) = (dir.node()?, new_dir.node()?);
    let superblock = &from.dir.mount.superblock;
    let across = !Arc::ptr_eq(dir, new_dir);
    let _rename = across.then(|| superblock.rename.lock(cx.sleeper));
    let (first, second) =
        if across && new_dir.is_ancestor_of(dir) { (new_node, node) } else { (node, new_node) };
    let _first = first.state.lock.lock(cx.sleeper);
    let _second = across.then(|| second.state.lock.lock(cx.sleeper));

    let source = dir.child_locked(cx, name)?;
    let moved = source.node()?;
    let target = new_dir.child_locked(cx, new_name)?;
    check_sides(from, to, flags, &source, &target)?;
    if across {
        // Moving a directory below itself, or over one of its own ancestors.
        if source.is_ancestor_of(new_dir) {
            return Err(Errno::EINVAL);
        }
        if target.is_ancestor_of(dir) {
            return Err(if flags & EXCHANGE != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
    }
    if let Some(there) = &target.node
        && Arc::ptr_eq(there, moved)
    {
        return Ok(());
    }
    let removal = |node: &Node| if node.is_dir() { Removal::Dir } else { Removal::NotDir };
    permission::may_remove(cx, node, &source, removal(moved))?;
    match &target.node {
        None => permission::may_create(cx, new_node)?,
        Some(there) if flags & EXCHANGE != 0 => {
            permission::may_remove(cx, new_node, &target, removal(there))?;
        }
        Some(_) => permission::may_remove(cx, new_node, &target, removal(moved))?,
    }
    if across && moved.is_dir() {
        permission::check_node(cx, moved, Want::WRITE)?;
    }
    if across && flags & EXCHANGE != 0 && target.is_dir() {
        permission::check_node(cx, target.node()?, Want::WRITE)?;
    }
    let replaced_dir = target.node.as_ref().filter(|there| there.is_dir() && flags & EXCHANGE == 0);
    let _victim = replaced_dir.map(|there| there.state.lock.lock(cx.sleeper));
    node.dir()?.rename(cx, name, new_node, new_name, target.node.as_ref(), flags)?;
    if flags & EXCHANGE != 0 {
        dir.children_exchanged(&source, new_dir, &target);
        notify::moved((node, name), (new_node, new_name), moved, None);
        if let Some(there) = &target.node {
            notify::moved((new_node, new_name), (node, name), there, None);
        }
        return Ok(());
    }
    if let Some(there) = replaced_dir {
        there.state.set_dead();
    }
    if target.node.is_some() {
        new_dir.child_removed(&target);
    }
    dir.child_moved(&source, new_dir, new_name);
    notify::moved((node, name), (new_node, new_name), moved, target.node.as_ref());
    drop(_victim);
    if target.node.is_some() {
        drop_removed(cx, target);
    }
    Ok(())
}

/// What names and trailing slashes ask for.
fn check_sides(
    from: &Side<'_>,
    to: &Side<'_>,
    flags: u32,
    source: &Arc<Dentry>,
    target: &Arc<Dentry>,
) -> Result<(), Errno> {
    if flags & NOREPLACE != 0 && target.node.is_some() {
        return Err(Errno::EEXIST);
    }
    if flags & EXCHANGE != 0 {
        if target.node.is_none() {
            return Err(Errno::ENOENT);
        }
        if to.tail == Tail::Slash && !target.is_dir() {
            return Err(Errno::ENOTDIR);
        }
    }
    let slash = from.tail == Tail::Slash || (flags & EXCHANGE == 0 && to.tail == Tail::Slash);
    if slash && !source.is_dir() { Err(Errno::ENOTDIR) } else { Ok(()) }
}
