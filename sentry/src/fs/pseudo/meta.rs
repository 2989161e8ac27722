//! [`Meta`]: attributes of a made-up file.

use crate::abi::Errno;
use crate::fs::node::TimeSpec;
use crate::fs::{Attr, FsCx, NodeOps, SetAttr};
use alloc::sync::Arc;
use core::any::Any;

/// Attributes of a made-up file. They cannot be changed.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
}

impl Meta {
    /// Root's file.
    #[must_use]
    pub const fn new(dev: u64, ino: u64, mode: u32) -> Self {
        Self { dev, ino, mode, uid: 0, gid: 0, nlink: 1 }
    }

    /// The same, owned by another.
    #[must_use]
    pub const fn owned(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    pub(in crate::fs) fn into_ops(self) -> Arc<dyn NodeOps> {
        Arc::new(self)
    }
}

impl NodeOps for Meta {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let now = TimeSpec::now();
        Ok(Attr {
            dev: self.dev,
            ino: self.ino,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            blksize: 1024,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        })
    }

    fn set_attr(&self, _cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        // Opening with O_TRUNC is how shells write to such files; their size is 0 and stays so.
        if change.mode.is_none() && change.uid.is_none() && change.gid.is_none() {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}
