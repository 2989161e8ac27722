//! Nodes of a share: attributes, and the table that keeps one [`Node`] per host inode.

use super::connection::{Connection, LEVEL};
use super::dir::FuseDir;
use super::file::FuseFile;
use crate::abi::Errno;
use crate::fs::filesystem::anonymous_device;
use crate::fs::node::{LinkTarget, SymlinkNode, TimeSpec};
use crate::fs::{Attr, FsCx, Node, NodeKind, NodeOps, SetAttr};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_proto::fuse::{
    self, AttrOut, EntryOut, GetattrIn, GetxattrIn, GetxattrOut, ROOT_ID, SetattrIn, SetxattrIn, opcode,
    setattr,
};
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

const S_IFMT: u32 = 0o170_000;

/// One share, as a file system.
pub(super) struct FuseFs {
    pub(super) connection: Arc<Connection>,
    /// Device number in [`Attr::dev`].
    dev: u64,
    nodes: SpinLock<BTreeMap<u64, Weak<Node>>>,
}

impl FuseFs {
    pub(super) fn new(connection: &Arc<Connection>) -> Arc<Self> {
        let nodes = SpinLock::new(LEVEL, BTreeMap::new());
        Arc::new(Self { connection: connection.clone(), dev: anonymous_device(), nodes })
    }

    /// Sends a `LOOKUP`.
    pub(super) fn lookup(self: &Arc<Self>, cx: &FsCx<'_>, dir: u64, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.lookup_entry(cx, dir, name).map(|(node, _)| node)
    }

    /// Sends a `LOOKUP`; also tells for how many seconds the name holds.
    pub(super) fn lookup_entry(
        self: &Arc<Self>,
        cx: &FsCx<'_>,
        dir: u64,
        name: &[u8],
    ) -> Result<(Arc<Node>, u64), Errno> {
        let entry: EntryOut = self.connection.call_for(cx, opcode::LOOKUP, dir, &[name, &[0]])?;
        if entry.node == 0 {
            return Err(Errno::ENOENT);
        }
        Ok((self.adopt(cx, &entry)?, entry.entry_valid))
    }

    /// The node of an answered entry, which carries one server-side reference.
    pub(super) fn adopt(self: &Arc<Self>, cx: &FsCx<'_>, entry: &EntryOut) -> Result<Arc<Node>, Errno> {
        if entry.node <= ROOT_ID {
            return Err(Errno::EIO);
        }
        let known = self.nodes.lock().get(&entry.node).and_then(Weak::upgrade);
        if let Some(node) = known {
            // The known node holds a reference already: give this one back.
            self.connection.forget(entry.node, 1);
            if let Some(inner) = inner_of(&node) {
                inner.remember(cx, &entry.attr, entry.attr_valid);
                inner.name_expires_ns.store(expiry(cx, entry.entry_valid), Ordering::Relaxed);
            }
            return Ok(node);
        }
        let attr = self.attr_from(&entry.attr);
        let inner = Arc::new(FuseNode {
            fs: self.clone(),
            id: entry.node,
            attr: SpinLock::new(LEVEL, CachedAttr { attr, expires_ns: expiry(cx, entry.attr_valid) }),
            name_expires_ns: AtomicU64::new(expiry(cx, entry.entry_valid)),
        });
        let mut ops: Arc<dyn NodeOps> = inner.clone();
        let kind = match entry.attr.mode & S_IFMT {
            0o040_000 => NodeKind::Dir(Arc::new(FuseDir(inner.clone()))),
            0o100_000 => {
                let file = FuseFile::new(inner.clone(), attr.size);
                ops = file.clone();
                NodeKind::File(file)
            }
            0o120_000 => NodeKind::Symlink(Arc::new(FuseSymlink(inner.clone()))),
            0o020_000 => NodeKind::CharDevice(attr.rdev),
            0o060_000 => NodeKind::BlockDevice(attr.rdev),
            0o010_000 => NodeKind::Fifo,
            0o140_000 => NodeKind::Socket,
            _ => return Err(Errno::EIO),
        };
        let node = Node::new(ops, kind);
        self.nodes.lock().insert(entry.node, Arc::downgrade(&node));
        Ok(node)
    }

    fn attr_from(&self, wire: &fuse::Attr) -> Attr {
        let time = |sec: u64, nsec: u32| TimeSpec { sec: sec.cast_signed(), nsec: nsec.min(999_999_999) };
        Attr {
            dev: self.dev,
            ino: wire.ino,
            mode: wire.mode,
            nlink: wire.nlink,
            uid: wire.uid,
            gid: wire.gid,
            rdev: u64::from(wire.rdev),
            size: wire.size,
            blksize: wire.blksize,
            blocks: wire.blocks,
            atime: time(wire.atime, wire.atime_nsec),
            mtime: time(wire.mtime, wire.mtime_nsec),
            ctime: time(wire.ctime, wire.ctime_nsec),
            btime: TimeSpec::default(),
        }
    }
}

fn expiry(cx: &FsCx<'_>, seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(cx.sleeper.now_ns())
}

/// The client's side of a node, if it is one of a share.
pub(super) fn inner_of(node: &Arc<Node>) -> Option<Arc<FuseNode>> {
    match &node.kind {
        NodeKind::Dir(dir) => dir.as_any().downcast_ref::<FuseDir>().map(|dir| dir.0.clone()),
        NodeKind::File(file) => file.as_any().downcast_ref::<FuseFile>().map(|file| file.inner().clone()),
        _ => None,
    }
}

struct CachedAttr {
    attr: Attr,
    expires_ns: u64,
}

/// What is known of a host inode. Holds one server-side reference.
pub(super) struct FuseNode {
    pub(super) fs: Arc<FuseFs>,
    pub(super) id: u64,
    attr: SpinLock<CachedAttr>,
    /// Until when the name that led here last holds.
    name_expires_ns: AtomicU64,
}

impl FuseNode {
    /// Notes fresh attributes.
    pub(super) fn remember(&self, cx: &FsCx<'_>, attr: &fuse::Attr, valid: u64) -> Attr {
        let attr = self.fs.attr_from(attr);
        *self.attr.lock() = CachedAttr { attr, expires_ns: expiry(cx, valid) };
        attr
    }

    /// Whether the name that led here last still holds.
    pub(super) fn name_holds(&self, cx: &FsCx<'_>) -> bool {
        cx.sleeper.now_ns() < self.name_expires_ns.load(Ordering::Relaxed)
    }

    /// Attributes as last seen, however old.
    pub(super) fn last_attr(&self) -> Attr {
        self.attr.lock().attr
    }

    /// Attributes will be asked anew.
    pub(super) fn expire(&self) {
        self.attr.lock().expires_ns = 0;
    }

    /// Attributes, asked of the server if the last answer has expired.
    pub(super) fn fresh_attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        {
            let cached = self.attr.lock();
            if cx.sleeper.now_ns() < cached.expires_ns {
                return Ok(cached.attr);
            }
        }
        self.ask_attr(cx)
    }

    /// Attributes, asked of the server.
    pub(super) fn ask_attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let argument = GetattrIn::default();
        let out: AttrOut =
            self.fs.connection.call_for(cx, opcode::GETATTR, self.id, &[argument.as_bytes()])?;
        Ok(self.remember(cx, &out.attr, out.attr_valid))
    }

    /// Sends a `SETATTR`.
    pub(super) fn change(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<Attr, Errno> {
        let mut argument = SetattrIn::default();
        let mut set = |bit| argument.valid |= bit;
        let times =
            [(change.atime, setattr::ATIME), (change.mtime, setattr::MTIME), (change.ctime, setattr::CTIME)];
        for (time, bit) in times {
            if time.is_some() {
                set(bit);
            }
        }
        if change.mode.is_some() {
            set(setattr::MODE);
        }
        if change.uid.is_some() {
            set(setattr::UID);
        }
        if change.gid.is_some() {
            set(setattr::GID);
        }
        if change.size.is_some() {
            set(setattr::SIZE);
        }
        let time = |time: Option<TimeSpec>| {
            let time = time.unwrap_or_default();
            (time.sec.cast_unsigned(), time.nsec)
        };
        (argument.atime, argument.atime_nsec) = time(change.atime);
        (argument.mtime, argument.mtime_nsec) = time(change.mtime);
        (argument.ctime, argument.ctime_nsec) = time(change.ctime);
        argument.mode = change.mode.unwrap_or(0);
        argument.uid = change.uid.unwrap_or(0);
        argument.gid = change.gid.unwrap_or(0);
        argument.size = change.size.unwrap_or(0);
        let out: AttrOut =
            self.fs.connection.call_for(cx, opcode::SETATTR, self.id, &[argument.as_bytes()])?;
        Ok(self.remember(cx, &out.attr, out.attr_valid))
    }

    fn xattr_bytes(&self, cx: &FsCx<'_>, opcode: u32, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut argument = GetxattrIn::default();
        let tail: &[u8] = if name.is_empty() { &[] } else { &[0] };
        let parts = |argument: &GetxattrIn| argument.as_bytes().to_vec();
        let bytes = self.fs.connection.call(cx, opcode, self.id, &[&parts(&argument), name, tail], 8)?;
        let (out, _) = GetxattrOut::read_from_prefix(&bytes).map_err(|_| Errno::EIO)?;
        if out.size == 0 {
            return Ok(Vec::new());
        }
        argument.size = out.size.min(65536);
        self.fs.connection.call(cx, opcode, self.id, &[&parts(&argument), name, tail], argument.size as usize)
    }
}

impl Drop for FuseNode {
    fn drop(&mut self) {
        let mut nodes = self.fs.nodes.lock();
        // A fresh node of the same id may have taken the place already.
        if nodes.get(&self.id).is_some_and(|node| node.strong_count() == 0) {
            nodes.remove(&self.id);
        }
        drop(nodes);
        self.fs.connection.forget(self.id, 1);
    }
}

impl NodeOps for FuseNode {
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }

    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        self.fresh_attr(cx)
    }

    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        self.change(cx, change).map(drop)
    }

    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattr_bytes(cx, opcode::GETXATTR, name)
    }

    fn set_xattr(&self, cx: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let argument = SetxattrIn { size: u32::try_from(value.len()).map_err(|_| Errno::E2BIG)?, flags };
        self.fs.connection.call(
            cx,
            opcode::SETXATTR,
            self.id,
            &[argument.as_bytes(), name, &[0], value],
            0,
        )?;
        Ok(())
    }

    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        self.xattr_bytes(cx, opcode::LISTXATTR, &[])
    }

    fn remove_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.fs.connection.call(cx, opcode::REMOVEXATTR, self.id, &[name, &[0]], 0)?;
        Ok(())
    }
}

struct FuseSymlink(Arc<FuseNode>);

impl SymlinkNode for FuseSymlink {
    fn target(&self, cx: &FsCx<'_>) -> Result<LinkTarget, Errno> {
        let path = self.0.fs.connection.call(cx, opcode::READLINK, self.0.id, &[], 4096)?;
        if path.is_empty() { Err(Errno::EIO) } else { Ok(LinkTarget::Path(path)) }
    }
}
