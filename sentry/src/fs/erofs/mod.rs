//! EROFS (`Documentation/filesystems/erofs.rst` of Linux): read-only images on a block device, without compression.
//!
//! | file | contents |
//! |---|---|
//! | `layout` | what an image is made of |
//! | `image` | reading it: superblock, where a file's bytes lie |
//! | `inode`, `directory`, `xattr` | nodes, entries, extended attributes |
//! | `node` | the nodes as the VFS has them |
//!
//! Of data layouts there are plain, inline and chunk-based; images with compression, further devices or long attribute
//! prefixes are refused when they are mounted (`EINVAL`). An image may be hostile: everything read from it is checked, sizes
//! before they are used. Names, nodes and tables are read through the device's page cache; contents of files go from the device to
//! the file's own pages.

mod directory;
mod image;
mod inode;
mod layout;
mod node;
#[cfg(test)]
mod tests;
mod xattr;

use crate::abi::Errno;
use crate::fs::block::Disk;
use crate::fs::filesystem::{FileSystem, StatFs};
use crate::fs::{FsCx, Node};
use alloc::sync::Arc;
use core::any::Any;
use node::Shared;

/// Magic number that statfs(2) tells.
const SUPER_MAGIC: u64 = 0xe0f5_e1e2;

/// A mounted image.
pub struct ErofsFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

impl ErofsFs {
    /// Mounts the image on a device.
    ///
    /// # Errors
    /// `EINVAL` when there is none, or one of a kind that is not known; `EUCLEAN` for one that is damaged; `EIO`.
    pub fn open(cx: &FsCx<'_>, disk: &Arc<Disk>) -> Result<Arc<Self>, Errno> {
        let shared = Shared::open(cx, disk)?;
        let root = shared.root(cx)?;
        if !root.is_dir() {
            return Err(Errno::EUCLEAN);
        }
        Ok(Arc::new(Self { shared, root }))
    }
}

impl FileSystem for ErofsFs {
    fn type_name(&self) -> &str {
        "erofs"
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _cx: &FsCx<'_>) -> Result<StatFs, Errno> {
        let image = &self.shared.image;
        Ok(StatFs {
            magic: SUPER_MAGIC,
            block_size: image.block_size(),
            blocks: image.blocks,
            files: image.inodes,
            name_max: 255,
            ..StatFs::default()
        })
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
