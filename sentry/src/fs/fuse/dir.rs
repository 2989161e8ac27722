//! Directories of a share.

use super::node::{FuseNode, inner_of};
use crate::abi::Errno;
use crate::fs::node::{DirEntry, DirSink, NewNode};
use crate::fs::{DirNode, FsCx, Node};
use alloc::sync::Arc;
use chitin_proto::fuse::{
    Dirent, EntryOut, LinkIn, MkdirIn, MknodIn, OpenIn, OpenOut, ReadIn, ReleaseIn, Rename2In, opcode,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes asked for by one `READDIR`.
const LISTING: u32 = 32 * 1024;

/// A directory.
pub(super) struct FuseDir(pub(super) Arc<FuseNode>);

impl FuseDir {
    fn entry(&self, cx: &FsCx<'_>, opcode: u32, parts: &[&[u8]]) -> Result<Arc<Node>, Errno> {
        self.0.expire();
        let entry: EntryOut = self.0.fs.connection.call_for(cx, opcode, self.0.id, parts)?;
        self.0.fs.adopt(cx, &entry)
    }

    /// Lists the directory that is open as `fh` from `position` on.
    fn list(&self, cx: &FsCx<'_>, fh: u64, mut position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        loop {
            let argument = ReadIn { fh, offset: position, size: LISTING, ..ReadIn::default() };
            let connection = &self.0.fs.connection;
            let bytes =
                connection.call(cx, opcode::READDIR, self.0.id, &[argument.as_bytes()], LISTING as usize)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (head, tail) = Dirent::read_from_prefix(rest).map_err(|_| Errno::EIO)?;
                let len = head.namelen as usize;
                let name = tail.get(..len).filter(|name| !name.is_empty()).ok_or(Errno::EIO)?;
                let kind = u8::try_from(head.kind & 15).unwrap_or(0);
                if !sink(&DirEntry { ino: head.ino, kind, next: head.off, name }) {
                    return Ok(());
                }
                position = head.off;
                rest = tail.get(len.next_multiple_of(8).min(tail.len())..).unwrap_or_default();
            }
        }
    }
}

impl DirNode for FuseDir {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.0.fs.lookup(cx, self.0.id, name)
    }

    fn revalidate(&self, cx: &FsCx<'_>, name: &[u8], node: Option<&Arc<Node>>) -> Result<bool, Errno> {
        if node.and_then(inner_of).is_some_and(|inner| inner.name_holds(cx)) {
            return Ok(true);
        }
        match (self.lookup(cx, name), node) {
            (Ok(now), Some(node)) => Ok(Arc::ptr_eq(&now, node)),
            (Err(Errno::ENOENT), None) => Ok(true),
            (Err(Errno::ENOENT), Some(_)) | (Ok(_), None) => Ok(false),
            (Err(errno), _) => Err(errno),
        }
    }

    fn create(&self, cx: &FsCx<'_>, name: &[u8], what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno> {
        match what {
            NewNode::File => {
                let argument = MknodIn { mode: 0o100_000 | mode, ..MknodIn::default() };
                self.entry(cx, opcode::MKNOD, &[argument.as_bytes(), name, &[0]])
            }
            NewNode::Dir => {
                let argument = MkdirIn { mode, umask: 0 };
                self.entry(cx, opcode::MKDIR, &[argument.as_bytes(), name, &[0]])
            }
            NewNode::Symlink(target) => self.entry(cx, opcode::SYMLINK, &[name, &[0], target, &[0]]),
            // A share holds regular files, directories and links only: see the VMM's file server.
            NewNode::CharDevice(_) | NewNode::BlockDevice(_) | NewNode::Fifo | NewNode::Socket => {
                Err(Errno::EPERM)
            }
        }
    }

    fn link(&self, cx: &FsCx<'_>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let target = inner_of(node).ok_or(Errno::EPERM)?;
        let argument = LinkIn { oldnode: target.id };
        self.entry(cx, opcode::LINK, &[argument.as_bytes(), name, &[0]])?;
        target.expire();
        Ok(())
    }

    fn unlink(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.0.expire();
        self.0.fs.connection.call(cx, opcode::UNLINK, self.0.id, &[name, &[0]], 0).map(drop)
    }

    fn rmdir(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.0.expire();
        self.0.fs.connection.call(cx, opcode::RMDIR, self.0.id, &[name, &[0]], 0).map(drop)
    }

    fn rename(
        &self,
        cx: &FsCx<'_>,
        name: &[u8],
        target: &Arc<Node>,
        target_name: &[u8],
        _: Option<&Arc<Node>>,
        flags: u32,
    ) -> Result<(), Errno> {
        let target =
            inner_of(target).filter(|target| Arc::ptr_eq(&target.fs, &self.0.fs)).ok_or(Errno::EXDEV)?;
        let argument = Rename2In { newdir: target.id, flags, padding: 0 };
        self.0.expire();
        target.expire();
        let parts: [&[u8]; 5] = [argument.as_bytes(), name, &[0], target_name, &[0]];
        self.0.fs.connection.call(cx, opcode::RENAME2, self.0.id, &parts, 0).map(drop)
    }

    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        let connection = &self.0.fs.connection;
        let open: OpenOut =
            connection.call_for(cx, opcode::OPENDIR, self.0.id, &[OpenIn::default().as_bytes()])?;
        let listed = self.list(cx, open.fh, position, sink);
        let argument = ReleaseIn { fh: open.fh, ..ReleaseIn::default() };
        connection.call(cx, opcode::RELEASEDIR, self.0.id, &[argument.as_bytes()], 0)?;
        listed
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
