//! [`Inode`]: a file of a tmpfs, directories' entries excepted.

use super::Common;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::io::{KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE};
use crate::fs::node::{Atime, LinkTarget, NewNode, S_IFDIR, S_IFREG, S_ISGID, SymlinkNode, dirent_kind};
use crate::fs::xattr::Store;
use crate::fs::{Attr, FileNode, FsCx, Node, NodeKind, NodeOps, OpenFile, SetAttr, TimeSpec};
use crate::mm::Charge;
use crate::platform::Access;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

/// Level of the lock around an inode's attributes.
pub const LEVEL: Level = Level(108);

/// Owner and mode of a file that is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fresh {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Fresh {
    /// For a file made by the caller in a directory of these attributes (inode(7), set-group-id bit of directories).
    pub(super) fn in_dir(cx: &FsCx<'_>, dir: &Attr, mode: u32, what: &NewNode) -> Self {
        let inherits = dir.mode & S_ISGID != 0;
        let gid = if inherits { dir.gid } else { cx.creds.fsgid };
        let mut mode = mode & 0o7777;
        if inherits && matches!(what, NewNode::Dir) {
            mode |= S_ISGID;
        } else if inherits
            && mode & (S_ISGID | 0o010) == S_ISGID | 0o010
            && !cx.creds.in_group(gid)
            && !cx.creds.has(crate::security::Capability::Fsetid)
        {
            mode &= !S_ISGID;
        }
        Self { mode, uid: cx.creds.fsuid, gid }
    }
}

struct Meta {
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    atime: TimeSpec,
    mtime: TimeSpec,
    ctime: TimeSpec,
    btime: TimeSpec,
    xattrs: Option<alloc::boxed::Box<Store>>,
    /// Made without a name: may be given its first one.
    unnamed: bool,
}

/// What the inode is besides its attributes.
enum Body {
    File(Arc<Mapping>),
    Link(Vec<u8>),
    Device(u64),
    Other,
}

/// A file of a tmpfs.
pub struct Inode {
    common: Arc<Common>,
    ino: u64,
    type_bits: u32,
    meta: SpinLock<Meta>,
    body: Body,
    _charge: Option<Charge>,
}

impl Inode {
    fn new(
        common: &Arc<Common>,
        type_bits: u32,
        fresh: &Fresh,
        body: Body,
        charge: Option<Charge>,
    ) -> Arc<Self> {
        let now = TimeSpec::now();
        let meta = Meta {
            mode: fresh.mode & 0o7777,
            nlink: if type_bits == S_IFDIR { 2 } else { 1 },
            uid: fresh.uid,
            gid: fresh.gid,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: None,
            unnamed: false,
        };
        Arc::new(Self {
            common: common.clone(),
            ino: common.next_ino(),
            type_bits,
            meta: SpinLock::new(LEVEL, meta),
            body,
            _charge: charge,
        })
    }

    /// Attributes of a new directory.
    pub(super) fn dir(common: &Arc<Common>, fresh: &Fresh, charge: Option<Charge>) -> Arc<Self> {
        Self::new(common, S_IFDIR, fresh, Body::Other, charge)
    }

    /// A node of anything but a directory.
    pub(super) fn node(
        common: &Arc<Common>,
        what: &NewNode,
        fresh: &Fresh,
        charge: Charge,
    ) -> Result<Arc<Node>, Errno> {
        use crate::fs::node::{S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFSOCK};
        let charge = Some(charge);
        Ok(match what {
            NewNode::Dir => return Err(Errno::EINVAL),
            NewNode::File => {
                let mapping = Mapping::memory_limited(common.pages.clone());
                let inode = Self::new(common, S_IFREG, fresh, Body::File(mapping), charge);
                Node::new(inode.clone(), NodeKind::File(inode))
            }
            NewNode::Symlink(target) => {
                let fresh = Fresh { mode: 0o777, ..*fresh };
                let inode = Self::new(common, S_IFLNK, &fresh, Body::Link(target.clone()), charge);
                Node::new(inode.clone(), NodeKind::Symlink(inode))
            }
            NewNode::CharDevice(number) => {
                let inode = Self::new(common, S_IFCHR, fresh, Body::Device(*number), charge);
                Node::new(inode, NodeKind::CharDevice(*number))
            }
            NewNode::BlockDevice(number) => {
                let inode = Self::new(common, S_IFBLK, fresh, Body::Device(*number), charge);
                Node::new(inode, NodeKind::BlockDevice(*number))
            }
            NewNode::Fifo => {
                Node::new(Self::new(common, S_IFIFO, fresh, Body::Other, charge), NodeKind::Fifo)
            }
            NewNode::Socket => {
                Node::new(Self::new(common, S_IFSOCK, fresh, Body::Other, charge), NodeKind::Socket)
            }
        })
    }

    /// The inode behind a node of some tmpfs.
    #[must_use]
    pub fn of(node: &Node) -> Option<&Self> {
        node.ops.as_any().downcast_ref()
    }

    /// Whether it belongs to that tmpfs.
    pub(super) fn is_of(&self, common: &Arc<Common>) -> bool {
        Arc::ptr_eq(&self.common, common)
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(in crate::fs) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn dirent_kind(&self) -> u8 {
        dirent_kind(self.type_bits)
    }

    /// Attributes now; they need no waiting here.
    #[must_use]
    pub fn attr_now(&self) -> Attr {
        let meta = self.meta.lock();
        let mut attr = Attr {
            dev: self.common.dev,
            ino: self.ino,
            mode: self.type_bits | meta.mode,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
        };
        drop(meta);
        match &self.body {
            Body::File(mapping) => {
                attr.size = mapping.size();
                attr.blocks = mapping.resident() as u64 * 8;
            }
            Body::Link(target) => attr.size = target.len() as u64,
            Body::Device(number) => attr.rdev = *number,
            Body::Other => {}
        }
        attr
    }

    /// A name of it was made or removed.
    pub(in crate::fs) fn count_link(&self, change: LinkChange) -> Result<(), Errno> {
        let mut meta = self.meta.lock();
        match change {
            LinkChange::Named => {
                if meta.nlink == 0 && !meta.unnamed {
                    return Err(Errno::ENOENT);
                }
                meta.unnamed = false;
                meta.nlink = meta.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
            }
            LinkChange::Unnamed => meta.nlink = meta.nlink.saturating_sub(1),
            LinkChange::Gone => meta.nlink = 0,
            LinkChange::Nameless => {
                meta.nlink = 0;
                meta.unnamed = true;
            }
            LinkChange::None => {}
        }
        meta.ctime = TimeSpec::now();
        Ok(())
    }

    /// The entries of the directory changed; subdirectories by `change`.
    pub(in crate::fs) fn dir_changed(&self, change: LinkChange) {
        let now = TimeSpec::now();
        let mut meta = self.meta.lock();
        (meta.mtime, meta.ctime) = (now, now);
        match change {
            LinkChange::Named => meta.nlink = meta.nlink.saturating_add(1),
            LinkChange::Unnamed => meta.nlink = meta.nlink.saturating_sub(1),
            LinkChange::Gone | LinkChange::Nameless | LinkChange::None => {}
        }
    }

    fn modified(&self) {
        let now = TimeSpec::now();
        let mut meta = self.meta.lock();
        (meta.mtime, meta.ctime) = (now, now);
    }

    /// Allocates the pages of a range.
    fn reserve(cx: &FsCx<'_>, mapping: &Arc<Mapping>, from: u64, to: u64) -> Result<(), Errno> {
        for index in from / 4096..to.div_ceil(4096) {
            mapping.page(cx.sleeper, index, Access::Write)?;
            if index % 1024 == 1023 {
                cx.sleeper.resched_point();
            }
        }
        Ok(())
    }

    fn mapping_ref(&self) -> Result<&Arc<Mapping>, Errno> {
        match &self.body {
            Body::File(mapping) => Ok(mapping),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// How the number of links changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) enum LinkChange {
    /// One more.
    Named,
    /// One less.
    Unnamed,
    /// None left.
    Gone,
    /// Made without a name.
    Nameless,
    /// As before.
    None,
}

impl NodeOps for Inode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _: &FsCx<'_>) -> Result<Attr, Errno> {
        Ok(self.attr_now())
    }

    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let _ = cx;
        if let Some(size) = change.size {
            if i64::try_from(size).is_err() {
                return Err(Errno::EFBIG);
            }
            self.mapping_ref()?.resize(size);
        }
        let mut meta = self.meta.lock();
        let set = |field: &mut u32, value: Option<u32>| {
            if let Some(value) = value {
                *field = value;
            }
        };
        set(&mut meta.mode, change.mode.map(|mode| mode & 0o7777));
        set(&mut meta.uid, change.uid);
        set(&mut meta.gid, change.gid);
        let set = |field: &mut TimeSpec, value: Option<TimeSpec>| {
            if let Some(value) = value {
                *field = value;
            }
        };
        set(&mut meta.atime, change.atime);
        set(&mut meta.mtime, change.mtime);
        set(&mut meta.ctime, change.ctime);
        Ok(())
    }

    fn accessed(&self, _: &FsCx<'_>, how: Atime) {
        let now = TimeSpec::now();
        let mut meta = self.meta.lock();
        if how.moves(meta.atime, meta.mtime, meta.ctime, now) {
            meta.atime = now;
        }
    }

    fn get_xattr(&self, _: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.meta.lock().xattrs.as_ref().map_or(Err(Errno::ENODATA), |store| store.get(name))
    }

    fn set_xattr(&self, _: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let mut meta = self.meta.lock();
        meta.xattrs.get_or_insert_with(Default::default).set(name, value, flags)?;
        meta.ctime = TimeSpec::now();
        Ok(())
    }

    fn list_xattr(&self, _: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        Ok(self.meta.lock().xattrs.as_ref().map_or_else(Vec::new, |store| store.list()))
    }

    fn remove_xattr(&self, _: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let mut meta = self.meta.lock();
        meta.xattrs.as_mut().ok_or(Errno::ENODATA)?.remove(name)?;
        meta.ctime = TimeSpec::now();
        Ok(())
    }
}

impl FileNode for Inode {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        self.mapping_ref().ok().cloned()
    }

    fn read(&self, cx: &FsCx<'_>, _: &OpenFile, offset: u64, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        self.mapping_ref()?.read(cx.sleeper, offset, to)
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        _: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let done = self.mapping_ref()?.write(cx.sleeper, offset, from);
        if done.is_ok() {
            self.modified();
        }
        done
    }

    fn sync(&self, _: &FsCx<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn allocate(&self, cx: &FsCx<'_>, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let mapping = self.mapping_ref()?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
            mapping.punch(cx.sleeper, offset, end.min(mapping.size()).max(offset))?;
        }
        let old_size = mapping.size();
        if mode & PUNCH_HOLE == 0 {
            if end > old_size {
                mapping.resize(end);
            }
            if let Err(errno) = Self::reserve(cx, mapping, offset, end) {
                mapping.resize(old_size);
                return Err(errno);
            }
        }
        if mode & KEEP_SIZE != 0 && mapping.size() > old_size {
            // What is beyond the end is not kept here: it is given back, and allocated again when it is written.
            mapping.resize(old_size);
        }
        self.modified();
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkNode for Inode {
    fn target(&self, _: &FsCx<'_>) -> Result<LinkTarget, Errno> {
        match &self.body {
            Body::Link(target) => Ok(LinkTarget::Path(target.clone())),
            _ => Err(Errno::EINVAL),
        }
    }
}
