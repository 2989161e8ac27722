//! Regular files and symbolic links of the layers.

use super::node::{Layered, file_of, target_of};
use crate::abi::Errno;
use crate::abi::file::{O_ACCMODE, O_TRUNC};
use crate::cache::Mapping;
use crate::fs::node::{LinkTarget, OpenState, SymlinkNode};
use crate::fs::{FileNode, FsCx, Node, NodeKind, OpenFile};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;
use core::any::Any;

/// A regular file.
struct OverlayFile(Arc<Layered>);

/// A node for a regular file.
pub(super) fn file_node(layered: Arc<Layered>) -> Arc<Node> {
    Node::new(layered.clone(), NodeKind::File(Arc::new(OverlayFile(layered))))
}

/// A node for a symbolic link.
pub(super) fn link_node(layered: Arc<Layered>) -> Arc<Node> {
    Node::new(layered.clone(), NodeKind::Symlink(Arc::new(OverlayLink(layered))))
}

impl FileNode for OverlayFile {
    /// The pages that count now. A mapping made before the file was first opened for writing keeps showing the layer's, as
    /// with Linux's overlayfs.
    fn mapping(&self) -> Option<Arc<Mapping>> {
        file_of(&self.0.contents()).ok()?.mapping()
    }

    fn open(&self, cx: &FsCx<'_>, flags: u32) -> Result<OpenState, Errno> {
        let writes = flags & O_ACCMODE != 0;
        if flags & O_TRUNC != 0 {
            self.0.copy_contents(cx, 0)?;
        } else if writes {
            self.0.copy_contents(cx, u64::MAX)?;
        }
        file_of(&self.0.contents())?.open(cx, flags)
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        file_of(&self.0.contents())?.read(cx, file, offset, to)
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let copy = self.0.copy_contents(cx, u64::MAX)?;
        file_of(&copy)?.write(cx, file, offset, from)
    }

    fn sync(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        match self.0.copied() {
            Some(copy) => file_of(&copy)?.sync(cx),
            None => Ok(()),
        }
    }

    fn allocate(&self, cx: &FsCx<'_>, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let copy = self.0.copy_contents(cx, u64::MAX)?;
        file_of(&copy)?.allocate(cx, mode, offset, len)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A symbolic link.
struct OverlayLink(Arc<Layered>);

impl SymlinkNode for OverlayLink {
    fn target(&self, cx: &FsCx<'_>) -> Result<LinkTarget, Errno> {
        target_of(cx, &self.0.lower)
    }
}
