//! [`Layered`]: a file of a layer as the overlay shows it: the layer's until it is changed, then its copy's.

use super::Shared;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::node::{Atime, LinkTarget, NewNode, SymlinkNode};
use crate::fs::tmpfs::{self, inode::Inode};
use crate::fs::{Attr, FileNode, FsCx, Node, NodeKind, NodeOps, SetAttr};
use crate::platform::Access;
use crate::user::IoReader;
use crate::wait::Stop;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::frame::FRAME_SIZE;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::SleepLock;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Level of the lock around a file's copy.
pub(super) const LEVEL: Level = Level(101);

/// Extended attributes that belong to overlays themselves.
const PRIVATE: &[u8] = b"trusted.overlay.";

/// A file of a layer.
pub(super) struct Layered {
    pub(super) shared: Arc<Shared>,
    /// Key in the table of nodes.
    key: usize,
    pub(super) lower: Arc<Node>,
    ino: u64,
    /// Names that lead to it.
    links: AtomicU32,
    copy: SpinLock<Option<Arc<Node>>>,
    /// The contents are the copy's too.
    contents_copied: AtomicBool,
    copying: SleepLock<()>,
}

impl Layered {
    pub(super) fn new(shared: &Arc<Shared>, lower: Arc<Node>, attr: Attr) -> Arc<Self> {
        Arc::new(Self {
            shared: shared.clone(),
            key: Arc::as_ptr(&lower).addr(),
            lower,
            ino: attr.ino,
            links: AtomicU32::new(attr.nlink.max(1)),
            copy: SpinLock::new(LEVEL, None),
            contents_copied: AtomicBool::new(false),
            copying: SleepLock::new(()),
        })
    }

    /// The layered file behind a node, if it is one. Directories have their own.
    pub(super) fn of(node: &Node) -> Option<&Self> {
        node.ops.as_any().downcast_ref()
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    /// The copy, if there is one.
    pub(super) fn copied(&self) -> Option<Arc<Node>> {
        self.copy.lock().clone()
    }

    /// The file whose contents count now.
    pub(super) fn contents(&self) -> Arc<Node> {
        if self.contents_copied.load(Ordering::Acquire)
            && let Some(copy) = self.copied()
        {
            return copy;
        }
        self.lower.clone()
    }

    /// A name was removed. With the last one the overlay forgets the file; those who have it open keep it.
    pub(super) fn unlinked(&self) {
        let before = self.links.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| now.checked_sub(1));
        if before.unwrap_or(0) <= 1 {
            self.shared.unpin(self.key);
        } else {
            self.shared.pin(self.key);
        }
    }

    /// A name was added.
    pub(super) fn linked(&self) -> Result<(), Errno> {
        let more = |now: u32| if now == 0 { None } else { now.checked_add(1) };
        self.links.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).map_err(|_| Errno::ENOENT)?;
        self.shared.pin(self.key);
        Ok(())
    }

    /// All names are gone: the directory was removed.
    pub(super) fn removed(&self) {
        self.links.store(0, Ordering::Release);
        self.shared.unpin(self.key);
    }

    /// It differs from the layer in a way that must be remembered.
    pub(super) fn pin(&self) {
        if self.links.load(Ordering::Acquire) > 0 {
            self.shared.pin(self.key);
        }
    }

    /// The copy, made now if there is none: attributes and extended attributes.
    pub(super) fn copy_up(&self, cx: &FsCx<'_>) -> Result<Arc<Node>, Errno> {
        if let Some(copy) = self.copied() {
            return Ok(copy);
        }
        let _copying = self.copying.lock(cx.sleeper);
        self.copy_up_locked(cx)
    }

    fn copy_up_locked(&self, cx: &FsCx<'_>) -> Result<Arc<Node>, Errno> {
        if let Some(copy) = self.copied() {
            return Ok(copy);
        }
        let attr = self.lower.ops.attr(cx)?;
        let what = match &self.lower.kind {
            NodeKind::Dir(_) => NewNode::Dir,
            NodeKind::File(_) => NewNode::File,
            NodeKind::Symlink(link) => match link.target(cx)? {
                LinkTarget::Path(path) => NewNode::Symlink(path),
                LinkTarget::File(_) | LinkTarget::Place(_) => return Err(Errno::EIO),
            },
            NodeKind::CharDevice(number) => NewNode::CharDevice(*number),
            NodeKind::BlockDevice(number) => NewNode::BlockDevice(*number),
            NodeKind::Fifo => NewNode::Fifo,
            NodeKind::Socket => NewNode::Socket,
            NodeKind::Open(_) => return Err(Errno::EIO),
        };
        let copy = tmpfs::dir::make(&self.shared.upper, cx, &Attr::default(), &what, attr.mode & 0o7777)?;
        let same = SetAttr {
            mode: Some(attr.mode & 0o7777),
            uid: Some(attr.uid),
            gid: Some(attr.gid),
            size: None,
            atime: Some(attr.atime),
            mtime: Some(attr.mtime),
            ctime: Some(attr.ctime),
        };
        copy.ops.set_attr(cx, &same)?;
        // A layer without extended attributes is no error.
        let names = self.lower.ops.list_xattr(cx).unwrap_or_default();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if name.starts_with(PRIVATE) {
                continue;
            }
            if let Ok(value) = self.lower.ops.get_xattr(cx, name) {
                copy.ops.set_xattr(cx, name, &value, 0)?;
            }
        }
        *self.copy.lock() = Some(copy.clone());
        if !matches!(copy.kind, NodeKind::File(_)) || attr.size == 0 {
            self.contents_copied.store(true, Ordering::Release);
        }
        self.pin();
        Ok(copy)
    }

    /// The copy with its contents, made now as far as need be: only the first `limit` bytes are copied, when the rest is
    /// about to go.
    pub(super) fn copy_contents(&self, cx: &FsCx<'_>, limit: u64) -> Result<Arc<Node>, Errno> {
        if self.contents_copied.load(Ordering::Acquire)
            && let Some(copy) = self.copied()
        {
            return Ok(copy);
        }
        let _copying = self.copying.lock(cx.sleeper);
        let copy = self.copy_up_locked(cx)?;
        if self.contents_copied.load(Ordering::Acquire) {
            return Ok(copy);
        }
        let (NodeKind::File(from), NodeKind::File(to)) = (&self.lower.kind, &copy.kind) else {
            return Err(Errno::EIO);
        };
        let (from_pages, to_pages) = (from.mapping().ok_or(Errno::EIO)?, to.mapping().ok_or(Errno::EIO)?);
        // The handle behind the layer's file stays open while its pages are read.
        let open = from.open(cx, 0)?;
        let size = from_pages.size().min(limit);
        if let Err(errno) = copy_pages(cx, &from_pages, &to_pages, size) {
            to_pages.resize(0);
            return Err(errno);
        }
        drop(open);
        self.contents_copied.store(true, Ordering::Release);
        Ok(copy)
    }

    /// What counts for attributes that both sides have.
    fn current(&self) -> Arc<Node> {
        self.copied().unwrap_or_else(|| self.lower.clone())
    }
}

/// Copies pages; those that are all zero stay holes.
fn copy_pages(cx: &FsCx<'_>, from: &Arc<Mapping>, to: &Arc<Mapping>, size: u64) -> Result<(), Errno> {
    let mut buffer = vec![0u8; FRAME_SIZE];
    let mut offset = 0u64;
    while offset < size {
        let frame = from.page(cx.sleeper, offset / FRAME_SIZE as u64, Access::Read)?;
        let len = usize::try_from(size - offset).unwrap_or(FRAME_SIZE).min(FRAME_SIZE);
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        frame.copy_out(0, bytes);
        if bytes.iter().any(|byte| *byte != 0) {
            match to.write(cx.sleeper, offset, &mut IoReader::kernel(bytes)) {
                Ok(done) if done == len => {}
                Ok(_) => return Err(Errno::ENOSPC),
                Err(Stop::Errno(errno)) => return Err(errno),
                Err(Stop::WouldBlock | Stop::Fault(_)) => return Err(Errno::EIO),
            }
        }
        offset += len as u64;
        if offset.is_multiple_of(1 << 20) {
            cx.sleeper.resched_point();
        }
    }
    to.resize(size);
    Ok(())
}

impl Drop for Layered {
    fn drop(&mut self) {
        self.shared.forget(self.key);
    }
}

impl NodeOps for Layered {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let mut attr = match self.copied() {
            None => self.lower.ops.attr(cx)?,
            Some(copy) => {
                let mut attr = copy.ops.attr(cx)?;
                if !self.contents_copied.load(Ordering::Acquire) {
                    let lower = self.lower.ops.attr(cx)?;
                    (attr.size, attr.blocks) = (lower.size, lower.blocks);
                }
                attr
            }
        };
        attr.dev = self.shared.upper.dev;
        attr.ino = self.ino;
        attr.nlink = self.links.load(Ordering::Acquire);
        Ok(attr)
    }

    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let copy = match change.size {
            Some(size) => self.copy_contents(cx, size)?,
            None => self.copy_up(cx)?,
        };
        copy.ops.set_attr(cx, change)
    }

    fn accessed(&self, cx: &FsCx<'_>, how: Atime) {
        // The layer keeps its times; a copy is not made for reading.
        if let Some(copy) = self.copied() {
            copy.ops.accessed(cx, how);
        }
    }

    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::ENODATA);
        }
        self.current().ops.get_xattr(cx, name)
    }

    fn set_xattr(&self, cx: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::EPERM);
        }
        self.copy_up(cx)?.ops.set_xattr(cx, name, value, flags)
    }

    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let names = self.current().ops.list_xattr(cx)?;
        let shown = names.split_inclusive(|byte| *byte == 0).filter(|name| !name.starts_with(PRIVATE));
        Ok(shown.flatten().copied().collect())
    }

    fn remove_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::EPERM);
        }
        self.copy_up(cx)?.ops.remove_xattr(cx, name)
    }
}

/// The inode of a node that the container made, if it is one.
pub(super) fn own(node: &Node) -> Option<&Inode> {
    Inode::of(node)
}

/// The contents of a regular file that counts now.
pub(super) fn file_of(node: &Node) -> Result<&Arc<dyn FileNode>, Errno> {
    match &node.kind {
        NodeKind::File(file) => Ok(file),
        _ => Err(Errno::EIO),
    }
}

/// The target of a symbolic link of a layer.
pub(super) fn target_of(cx: &FsCx<'_>, node: &Node) -> Result<LinkTarget, Errno> {
    match &node.kind {
        NodeKind::Symlink(link) => SymlinkNode::target(&**link, cx),
        _ => Err(Errno::EIO),
    }
}
