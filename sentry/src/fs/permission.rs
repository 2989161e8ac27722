//! Who may do what to a file: mode bits, owners, the sticky bit, capabilities (path_resolution(7), capabilities(7)).

use crate::abi::Errno;
use crate::fs::node::{S_IFDIR, S_IFMT, S_ISVTX};
use crate::fs::{Attr, Dentry, FsCx, Node, Path};
use crate::security::{Capability, Creds};
use alloc::sync::Arc;
use bitflags::bitflags;

bitflags! {
    /// What is asked for, with the bits of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Want: u32 {
        /// Run it, or search the directory.
        const EXECUTE = 1;
        /// Change it.
        const WRITE = 2;
        /// Read it.
        const READ = 4;
    }
}

/// Whether `creds` allow `want` on a file of these attributes.
///
/// # Errors
/// `EACCES`.
pub fn check(creds: &Creds, attr: &Attr, want: Want) -> Result<(), Errno> {
    let shift = if creds.fsuid == attr.uid {
        6
    } else if creds.in_group(attr.gid) {
        3
    } else {
        0
    };
    if Want::from_bits_truncate(attr.mode >> shift).contains(want) {
        return Ok(());
    }
    let is_dir = attr.mode & S_IFMT == S_IFDIR;
    let read_search = if is_dir { !want.contains(Want::WRITE) } else { want == Want::READ };
    let over = |capability| creds.has_over(capability, attr.uid, attr.gid);
    if read_search && over(Capability::DacReadSearch) {
        return Ok(());
    }
    let override_fits = is_dir || !want.contains(Want::EXECUTE) || attr.mode & 0o111 != 0;
    if override_fits && over(Capability::DacOverride) { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether the caller may do `want` to `node`.
///
/// # Errors
/// `EACCES`, and what reading the attributes gives.
pub fn check_node(cx: &FsCx<'_>, node: &Node, want: Want) -> Result<(), Errno> {
    if want.is_empty() {
        return Ok(());
    }
    if node.is_dir() && cx.creds.has(Capability::DacOverride) {
        return Ok(());
    }
    check(cx.creds, &node.ops.attr(cx)?, want)
}

/// Whether the caller may do `want` to what is at `path`; writing needs a file system that can be written.
///
/// # Errors
/// `EROFS`, `EACCES`.
pub fn check_path(cx: &FsCx<'_>, path: &Path, want: Want) -> Result<(), Errno> {
    let node = path.node()?;
    if want.contains(Want::WRITE) && path.mount.superblock.fs.is_read_only() && !is_special(node) {
        return Err(Errno::EROFS);
    }
    check_node(cx, node, want)
}

/// Whether the contents are not the file system's: devices, FIFOs, sockets.
#[must_use]
pub fn is_special(node: &Node) -> bool {
    use crate::fs::NodeKind::{BlockDevice, CharDevice, Fifo, Open, Socket};
    matches!(node.kind, CharDevice(_) | BlockDevice(_) | Fifo | Socket | Open(_))
}

/// Whether the caller may search the directory. Cheap for those with capabilities.
///
/// # Errors
/// `EACCES`.
pub fn may_search(cx: &FsCx<'_>, dir: &Dentry) -> Result<(), Errno> {
    if cx.creds.has(Capability::DacOverride) || cx.creds.has(Capability::DacReadSearch) {
        return Ok(());
    }
    check_node(cx, dir.node()?, Want::EXECUTE)
}

/// Whether the caller may make names in the directory; the caller holds its lock.
///
/// # Errors
/// `ENOENT` when it was removed, `EACCES`.
pub fn may_create(cx: &FsCx<'_>, dir: &Node) -> Result<(), Errno> {
    if dir.state.is_dead() {
        return Err(Errno::ENOENT);
    }
    check_node(cx, dir, Want::WRITE | Want::EXECUTE)
}

/// Whether the victim of a removal must be a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// rmdir(2), or a rename of a directory over it.
    Dir,
    /// unlink(2), or a rename of something else over it.
    NotDir,
}

/// Whether the caller may remove `victim` from the directory; the caller holds its lock.
///
/// # Errors
/// `ENOENT`, `EACCES`, `EPERM` by the sticky bit, `ENOTDIR`, `EISDIR`, `EBUSY` for a mount point.
pub fn may_remove(cx: &FsCx<'_>, dir: &Node, victim: &Arc<Dentry>, kind: Removal) -> Result<(), Errno> {
    let node = victim.node()?;
    check_node(cx, dir, Want::WRITE | Want::EXECUTE)?;
    if !cx.creds.has(Capability::Fowner) {
        let attr = node.ops.attr(cx)?;
        let over = cx.creds.has_over(Capability::Fowner, attr.uid, attr.gid);
        let dir_attr = dir.ops.attr(cx)?;
        if dir_attr.mode & S_ISVTX != 0
            && !over
            && cx.creds.fsuid != dir_attr.uid
            && cx.creds.fsuid != attr.uid
        {
            return Err(Errno::EPERM);
        }
    }
    match (kind, node.is_dir()) {
        (Removal::Dir, false) => return Err(Errno::ENOTDIR),
        (Removal::NotDir, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if dir.state.is_dead() {
        return Err(Errno::ENOENT);
    }
    if victim.is_mountpoint() { Err(Errno::EBUSY) } else { Ok(()) }
}

/// Whether the caller owns the file or may act as if.
///
/// # Errors
/// `EPERM`.
pub fn check_owner(cx: &FsCx<'_>, attr: &Attr) -> Result<(), Errno> {
    if cx.creds.fsuid == attr.uid || cx.creds.has_over(Capability::Fowner, attr.uid, attr.gid) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
