//! [`PseudoLink`]: a symbolic link whose target is made when it is read.

use super::Meta;
use crate::abi::Errno;
use crate::fs::node::{LinkTarget, SymlinkNode};
use crate::fs::{FsCx, Node, NodeKind};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Makes a link's target.
pub type Target = Box<dyn Fn(&FsCx<'_>) -> Result<LinkTarget, Errno> + Send + Sync>;

/// A symbolic link whose target is made when it is read.
pub struct PseudoLink(Target);

impl PseudoLink {
    /// A node.
    #[must_use]
    pub fn node(
        meta: Meta,
        target: impl Fn(&FsCx<'_>) -> Result<LinkTarget, Errno> + Send + Sync + 'static,
    ) -> Arc<Node> {
        let meta = Meta { mode: 0o120_777, ..meta };
        Node::new(meta.into_ops(), NodeKind::Symlink(Arc::new(Self(Box::new(target)))))
    }

    /// A link to a fixed path.
    #[must_use]
    pub fn fixed(meta: Meta, path: &'static str) -> Arc<Node> {
        Self::node(meta, move |_| Ok(LinkTarget::Path(path.as_bytes().to_vec())))
    }
}

impl SymlinkNode for PseudoLink {
    fn target(&self, cx: &FsCx<'_>) -> Result<LinkTarget, Errno> {
        (self.0)(cx)
    }
}
