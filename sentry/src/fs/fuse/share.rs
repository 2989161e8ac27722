//! [`Share`]: one share, as a file system to mount.

use super::connection::Connection;
use super::node::{FuseFs, inner_of};
use crate::abi::Errno;
use crate::fs::filesystem::{DentryPolicy, FileSystem, StatFs};
use crate::fs::{FsCx, Node};
use alloc::sync::Arc;
use chitin_proto::fuse::{ROOT_ID, StatfsOut, opcode};
use core::any::Any;

const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// A directory tree of the host, or a single file of it.
pub struct Share {
    fs: Arc<FuseFs>,
    root: Arc<Node>,
    policy: DentryPolicy,
}

impl Share {
    /// Finds the share `name` among those attached to the sandbox.
    ///
    /// # Errors
    /// `ENOENT` when no such share is attached; `EIO`, `ENOMEM`.
    pub fn open(connection: &Arc<Connection>, cx: &FsCx<'_>, name: &str) -> Result<Arc<Self>, Errno> {
        let fs = FuseFs::new(connection);
        let (root, valid) = fs.lookup_entry(cx, ROOT_ID, name.as_bytes())?;
        let policy = if valid == u64::MAX { DentryPolicy::Always } else { DentryPolicy::Revalidate };
        Ok(Arc::new(Self { fs, root, policy }))
    }
}

impl FileSystem for Share {
    fn type_name(&self) -> &str {
        "virtiofs"
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, cx: &FsCx<'_>) -> Result<StatFs, Errno> {
        let id = inner_of(&self.root).map_or(ROOT_ID, |inner| inner.id);
        let out: StatfsOut = self.fs.connection.call_for(cx, opcode::STATFS, id, &[])?;
        Ok(StatFs {
            magic: FUSE_SUPER_MAGIC,
            block_size: u64::from(out.bsize),
            blocks: out.blocks,
            free: out.bfree,
            available: out.bavail,
            files: out.files,
            files_free: out.ffree,
            name_max: u64::from(out.namelen),
            id: 0,
        })
    }

    fn dentry_policy(&self) -> DentryPolicy {
        self.policy
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
