//! [`PseudoDir`]: a directory made of a [`Listing`].

use super::Meta;
use crate::abi::Errno;
use crate::fs::node::{DirEntry, DirSink, NewNode};
use crate::fs::{DirNode, FsCx, Node, NodeKind};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

/// One entry of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// `DT_*`.
    pub kind: u8,
}

/// Makes the entries of a directory.
pub trait Listing: Send + Sync {
    /// Finds an entry.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno>;

    /// All entries but `.` and `..`, in a stable order.
    ///
    /// # Errors
    /// `ENOENT` when what the directory tells of is gone.
    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno>;

    /// Itself, where it can be asked for by [`PseudoDir::listing`].
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// A directory of fixed entries.
pub struct StaticDir(pub BTreeMap<&'static str, Arc<Node>>);

impl Listing for StaticDir {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        self.0.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let entry = |(name, node): (&&str, &Arc<Node>)| {
            let ino = node.ops.attr(cx).map_or(0, |attr| attr.ino);
            Entry {
                name: name.as_bytes().to_vec(),
                ino,
                kind: crate::fs::node::dirent_kind(node.type_bits()),
            }
        };
        Ok(self.0.iter().map(entry).collect())
    }
}

/// A directory made of a [`Listing`]. Nothing can be made, removed or renamed in it.
pub struct PseudoDir {
    ino: u64,
    listing: Box<dyn Listing>,
}

impl PseudoDir {
    /// A node; `meta.mode` has the permission bits, the type is added.
    #[must_use]
    pub fn node(meta: Meta, listing: impl Listing + 'static) -> Arc<Node> {
        let meta = Meta { mode: meta.mode | 0o040_000, nlink: 2, ..meta };
        let dir = Self { ino: meta.ino, listing: Box::new(listing) };
        Node::new(meta.into_ops(), NodeKind::Dir(Arc::new(dir)))
    }

    /// The listing of a node, if it is a directory of that kind.
    #[must_use]
    pub fn listing<T: Listing + 'static>(node: &Node) -> Option<&T> {
        let NodeKind::Dir(dir) = &node.kind else { return None };
        dir.as_any().downcast_ref::<Self>()?.listing.as_any()?.downcast_ref()
    }

    /// A directory of fixed entries.
    #[must_use]
    pub fn fixed(meta: Meta, entries: impl IntoIterator<Item = (&'static str, Arc<Node>)>) -> Arc<Node> {
        Self::node(meta, StaticDir(entries.into_iter().collect()))
    }
}

impl DirNode for PseudoDir {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.listing.lookup(cx, name)
    }

    fn create(&self, _cx: &FsCx<'_>, _name: &[u8], _what: &NewNode, _mode: u32) -> Result<Arc<Node>, Errno> {
        Err(Errno::EPERM)
    }

    fn link(&self, _cx: &FsCx<'_>, _name: &[u8], _node: &Arc<Node>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn unlink(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn rmdir(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
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
        Err(Errno::EPERM)
    }

    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        let dots = [&b"."[..], b".."].map(|name| Entry { name: name.to_vec(), ino: self.ino, kind: 4 });
        let entries = self.listing.entries(cx)?;
        let skip = usize::try_from(position).unwrap_or(usize::MAX);
        for (index, entry) in (1u64..).zip(dots.into_iter().chain(entries)).skip(skip) {
            if !sink(&DirEntry { ino: entry.ino, kind: entry.kind, next: index, name: &entry.name }) {
                break;
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
