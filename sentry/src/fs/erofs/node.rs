//! Nodes of an image as the VFS has them.

use super::image::{Image, Source};
use super::inode::Inode;
use super::{directory, xattr};
use crate::abi::Errno;
use crate::cache::{Backing, Mapping};
use crate::fs::block::Disk;
use crate::fs::node::{
    DirEntry, DirSink, LinkTarget, NewNode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
    SymlinkNode,
};
use crate::fs::{Attr, DirNode, FileNode, FsCx, Node, NodeKind, NodeOps, OpenFile, SetAttr};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use core::any::Any;
use hashbrown::HashMap;

/// Level of the lock of the table of nodes.
const LEVEL: Level = Level(103);
/// Longest target of a symbolic link.
const LINK_MAX: u64 = 4096;

/// What the nodes of an image share.
pub(super) struct Shared {
    disk: Arc<Disk>,
    pub(super) image: Image,
    nodes: SpinLock<Nodes>,
}

/// Nodes that somebody holds, by number.
struct Nodes {
    known: HashMap<u64, Weak<Node>>,
    /// It is cleared of those that are gone when it has as many.
    clear_at: usize,
}

/// The device through its page cache.
struct Cached<'a> {
    disk: &'a Disk,
    sleeper: &'a Sleeper,
}

impl Source for Cached<'_> {
    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < to.len() {
            let mut part = IoWriter::kernel(to.get_mut(done..).unwrap_or_default());
            match self.disk.mapping().read(self.sleeper, at.saturating_add(done as u64), &mut part) {
                Ok(0) => return Err(Errno::EUCLEAN),
                Ok(read) => done += read,
                Err(Stop::Errno(errno)) => return Err(errno),
                Err(Stop::WouldBlock | Stop::Fault(_)) => return Err(Errno::EIO),
            }
        }
        Ok(())
    }
}

impl Shared {
    pub(super) fn open(cx: &FsCx<'_>, disk: &Arc<Disk>) -> Result<Arc<Self>, Errno> {
        let image = Image::open(&Cached { disk, sleeper: cx.sleeper }, disk.size())?;
        let nodes = SpinLock::new(LEVEL, Nodes { known: HashMap::new(), clear_at: 256 });
        Ok(Arc::new(Self { disk: disk.clone(), image, nodes }))
    }

    fn source<'a>(&'a self, sleeper: &'a Sleeper) -> Cached<'a> {
        Cached { disk: &self.disk, sleeper }
    }

    pub(super) fn root(self: &Arc<Self>, cx: &FsCx<'_>) -> Result<Arc<Node>, Errno> {
        self.node(cx, self.image.root)
    }

    /// The node of that number.
    fn node(self: &Arc<Self>, cx: &FsCx<'_>, nid: u64) -> Result<Arc<Node>, Errno> {
        let known = self.nodes.lock().known.get(&nid).and_then(Weak::upgrade);
        if let Some(node) = known {
            return Ok(node);
        }
        let inode = Inode::read(&self.image, &self.source(cx.sleeper), nid)?;
        let file = Arc::new(File { shared: self.clone(), inode });
        let kind = match inode.mode & S_IFMT {
            S_IFDIR => NodeKind::Dir(file.clone()),
            S_IFREG => {
                let mapping = Mapping::cached(file.clone(), inode.size);
                NodeKind::File(Arc::new(Regular { mapping }))
            }
            S_IFLNK => NodeKind::Symlink(file.clone()),
            S_IFCHR => NodeKind::CharDevice(inode.rdev),
            S_IFBLK => NodeKind::BlockDevice(inode.rdev),
            S_IFIFO => NodeKind::Fifo,
            _ => NodeKind::Socket,
        };
        let fresh = Node::new(file, kind);
        let mut nodes = self.nodes.lock();
        // Somebody else may have been faster.
        if let Some(there) = nodes.known.get(&nid).and_then(Weak::upgrade) {
            drop(nodes);
            return Ok(there);
        }
        if nodes.known.len() >= nodes.clear_at {
            nodes.known.retain(|_, node| node.strong_count() > 0);
            nodes.clear_at = (nodes.known.len() * 2).max(256);
        }
        nodes.known.insert(nid, Arc::downgrade(&fresh));
        Ok(fresh)
    }
}

/// A node of any kind.
struct File {
    shared: Arc<Shared>,
    inode: Inode,
}

/// A regular file.
struct Regular {
    mapping: Arc<Mapping>,
}

impl NodeOps for File {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let Inode { nid, mode, links, uid, gid, size, mtime, rdev, .. } = self.inode;
        Ok(Attr {
            dev: self.shared.disk.number(),
            ino: nid,
            mode,
            nlink: links,
            uid,
            gid,
            rdev,
            size,
            blksize: 4096,
            blocks: size.div_ceil(self.shared.image.block_size()) * (self.shared.image.block_size() / 512),
            atime: mtime,
            mtime,
            ctime: mtime,
            ..Attr::default()
        })
    }

    fn set_attr(&self, _cx: &FsCx<'_>, _change: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        xattr::get(&self.shared.image, &self.shared.source(cx.sleeper), &self.inode, name)
    }

    fn set_xattr(&self, _cx: &FsCx<'_>, _name: &[u8], _value: &[u8], _flags: u32) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        xattr::list(&self.shared.image, &self.shared.source(cx.sleeper), &self.inode)
    }

    fn remove_xattr(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }
}

impl DirNode for File {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let nid = directory::find(&self.shared.image, &self.shared.source(cx.sleeper), &self.inode, name)?;
        self.shared.node(cx, nid)
    }

    fn create(&self, _cx: &FsCx<'_>, _name: &[u8], _what: &NewNode, _mode: u32) -> Result<Arc<Node>, Errno> {
        Err(Errno::EROFS)
    }

    fn link(&self, _cx: &FsCx<'_>, _name: &[u8], _node: &Arc<Node>) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn unlink(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn rmdir(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn rename(
        &self,
        _cx: &FsCx<'_>,
        _name: &[u8],
        _target: &Arc<Node>,
        _target_name: &[u8],
        _there: Option<&Arc<Node>>,
        _flags: u32,
    ) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        let source = self.shared.source(cx.sleeper);
        directory::list(&self.shared.image, &source, &self.inode, position, |found, next| {
            sink(&DirEntry { ino: found.nid, kind: found.kind, next, name: found.name })
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkNode for File {
    fn target(&self, cx: &FsCx<'_>) -> Result<LinkTarget, Errno> {
        if self.inode.size == 0 || self.inode.size > LINK_MAX {
            return Err(Errno::EUCLEAN);
        }
        let mut target = vec![0; usize::try_from(self.inode.size).map_err(|_| Errno::EUCLEAN)?];
        let source = self.shared.source(cx.sleeper);
        let len = self.shared.image.read(&source, &self.inode, 0, &mut target)?;
        target.truncate(len);
        if target.contains(&0) { Err(Errno::EUCLEAN) } else { Ok(LinkTarget::Path(target)) }
    }
}

impl Backing for File {
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno> {
        let Shared { disk, image, .. } = &*self.shared;
        let source = self.shared.source(sleeper);
        let mut at = index.saturating_mul(FRAME_SIZE as u64);
        let mut rest = frames;
        while let Some(first) = rest.first() {
            let Some(extent) = image.extent(&source, &self.inode, at)? else { break };
            let whole = usize::try_from(extent.len).unwrap_or(usize::MAX) / FRAME_SIZE;
            let block = u64::from(disk.geometry().block_size);
            let taken = match extent.place {
                // Pages that lie on the device in a row need no copy.
                Some(place) if whole > 0 && place.is_multiple_of(block) => {
                    let (now, _) = rest.split_at(whole.min(rest.len()));
                    disk.fill(sleeper, place, now)?;
                    now.len()
                }
                // A hole: the frames are zeroes.
                None if whole > 0 => whole.min(rest.len()),
                _ => {
                    let mut bytes = [0; FRAME_SIZE];
                    let len = image.read(&source, &self.inode, at, &mut bytes)?;
                    first.copy_in(0, bytes.get(..len).unwrap_or_default());
                    1
                }
            };
            at = at.saturating_add((taken * FRAME_SIZE) as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn write_back(&self, _: &Sleeper, _: u64, _: &[Frame], _: usize) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }
}

impl FileNode for Regular {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        Some(self.mapping.clone())
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        _file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        self.mapping.read(cx.sleeper, offset, to)
    }

    fn write(
        &self,
        _cx: &FsCx<'_>,
        _file: &OpenFile,
        _offset: u64,
        _from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        Err(Errno::EROFS.into())
    }

    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
