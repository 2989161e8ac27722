//! overlay: the root of a container. Read-only layers below, and above them what the container changed, in memory.
//!
//! | file | contents |
//! |---|---|
//! | `node` | `Layered`: a file of a layer, and the copy of it once it is changed |
//! | `file` | regular files and symbolic links of the layers |
//! | `dir` | directories: what changed in them, merged with what the layers have |
//! | `listing` | what the layers have in a directory |
//!
//! Unlike Linux's overlayfs there is no upper directory tree. A directory remembers its changed names; a file of a layer
//! remembers its copy, whatever name leads to it, so hard links stay together and directories of a layer can be renamed.
//! What the container makes are nodes of a tmpfs, with nothing around them. A copy has attributes first and contents only
//! when these are written to.
//!
//! Locks: a directory's changes (`dir::LEVEL`), a file's copy (`node::LEVEL`), the table of nodes ([`TABLE_LEVEL`]); none
//! is held while another of these is taken, but for the tmpfs's own below them. Making a copy is serialised by a sleep
//! lock for each file. All changes of a directory come with the VFS's lock of it held.

mod dir;
mod file;
mod listing;
mod node;

use crate::abi::Errno;
use crate::fs::filesystem::{FileSystem, StatFs};
use crate::fs::node::NewNode;
use crate::fs::tmpfs::{self, Common};
use crate::fs::{FsCx, Node, NodeKind};
use crate::mm::Budget;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;
use hashbrown::HashMap;
use node::Layered;

/// `OVERLAYFS_SUPER_MAGIC`.
const MAGIC: u64 = 0x794c_7630;

/// Level of the lock of the table of nodes.
pub const TABLE_LEVEL: Level = Level(102);

/// Inode numbers of what the container makes start here, apart from those of the layers.
const OWN_INODES: u64 = 1 << 48;

/// A mounted overlay.
pub struct OverlayFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
    layers: Vec<Arc<dyn FileSystem>>,
}

/// What all nodes of an overlay share.
struct Shared {
    /// The tmpfs that changes live in.
    upper: Arc<Common>,
    /// Number of layers: with one alone there are no whiteouts to look for.
    layers: usize,
    nodes: SpinLock<Nodes>,
}

#[derive(Default)]
struct Nodes {
    /// By the address of the topmost layer's node, which the overlay's node holds.
    known: HashMap<usize, Weak<Node>>,
    /// Those that differ from their layer and must not be forgotten.
    pinned: HashMap<usize, Arc<Node>>,
}

impl OverlayFs {
    /// An overlay of `layers`, the topmost first; changes are paid for by `budget`.
    ///
    /// # Errors
    /// `EINVAL` without a layer, `ENOTDIR` when the root of one is no directory, `EIO`.
    pub fn new(
        cx: &FsCx<'_>,
        layers: Vec<Arc<dyn FileSystem>>,
        budget: &Arc<Budget>,
    ) -> Result<Arc<Self>, Errno> {
        let roots: Vec<Arc<Node>> = layers.iter().map(|layer| layer.root()).collect();
        if roots.is_empty() {
            return Err(Errno::EINVAL);
        }
        if roots.iter().any(|root| !root.is_dir()) {
            return Err(Errno::ENOTDIR);
        }
        let shared = Arc::new(Shared {
            upper: Common::new(budget, None, None, OWN_INODES),
            layers: layers.len(),
            nodes: SpinLock::new(TABLE_LEVEL, Nodes::default()),
        });
        let root = shared.adopt(cx, roots, None)?;
        Ok(Arc::new(Self { shared, root, layers }))
    }
}

impl Shared {
    /// The overlay's node of what the layers have under one name, the topmost first: one node, or several directories.
    fn adopt(
        self: &Arc<Self>,
        cx: &FsCx<'_>,
        lowers: Vec<Arc<Node>>,
        parent: Option<u64>,
    ) -> Result<Arc<Node>, Errno> {
        let top = lowers.first().ok_or(Errno::ENOENT)?;
        let key = Arc::as_ptr(top).addr();
        let known = self.nodes.lock().known.get(&key).and_then(Weak::upgrade);
        if let Some(node) = known {
            return Ok(node);
        }
        let layered = Layered::new(self, top.clone(), top.ops.attr(cx)?);
        let node = match &top.kind {
            NodeKind::Dir(_) => dir::OverlayDir::node(layered, lowers, parent),
            NodeKind::File(_) => file::file_node(layered),
            NodeKind::Symlink(_) => file::link_node(layered),
            NodeKind::Open(_) => return Err(Errno::EIO),
            other => Node::new(layered, other.clone()),
        };
        let mut nodes = self.nodes.lock();
        // Somebody else may have been faster.
        let there = nodes.known.get(&key).and_then(Weak::upgrade);
        let node = match there {
            Some(there) => {
                drop(nodes);
                drop(node);
                return Ok(there);
            }
            None => {
                nodes.known.insert(key, Arc::downgrade(&node));
                node
            }
        };
        Ok(node)
    }

    /// Makes the overlay remember a node that differs from its layer.
    fn pin(&self, key: usize) {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.known.get(&key).and_then(Weak::upgrade) {
            nodes.pinned.insert(key, node);
        }
    }

    /// The last name of a node was removed.
    fn unpin(&self, key: usize) {
        let node = self.nodes.lock().pinned.remove(&key);
        drop(node);
    }

    /// A layer's node has no overlay's node any more.
    fn forget(&self, key: usize) {
        let mut nodes = self.nodes.lock();
        if nodes.known.get(&key).is_some_and(|node| node.strong_count() == 0) {
            nodes.known.remove(&key);
        }
    }

    /// Makes a new file for a directory with these attributes.
    fn make(
        self: &Arc<Self>,
        cx: &FsCx<'_>,
        dir: &crate::fs::Attr,
        what: &NewNode,
        mode: u32,
    ) -> Result<Arc<Node>, Errno> {
        let made = tmpfs::dir::make(&self.upper, cx, dir, what, mode)?;
        match what {
            NewNode::Dir => Ok(dir::OverlayDir::made(self, made, dir.ino)),
            _ => Ok(made),
        }
    }
}

/// Whether a layer's node says that lower layers are to be ignored for its name.
fn is_whiteout(cx: &FsCx<'_>, node: &Node) -> bool {
    matches!(node.kind, NodeKind::CharDevice(0)) && node.ops.attr(cx).is_ok_and(|attr| attr.rdev == 0)
}

/// Whether a layer's directory hides those below it.
fn is_opaque(cx: &FsCx<'_>, node: &Node) -> bool {
    node.ops.get_xattr(cx, b"trusted.overlay.opaque").is_ok_and(|value| value == b"y")
}

impl Drop for OverlayFs {
    fn drop(&mut self) {
        let pinned = core::mem::take(&mut self.shared.nodes.lock().pinned);
        let mut work: Vec<Arc<Node>> = pinned.into_values().collect();
        work.push(self.root.clone());
        while let Some(node) = work.pop() {
            dir::OverlayDir::take_apart(&node, &mut work);
        }
    }
}

impl FileSystem for OverlayFs {
    fn type_name(&self) -> &str {
        "overlay"
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _: &FsCx<'_>) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: MAGIC, ..self.shared.upper.statfs() })
    }

    fn options(&self) -> String {
        let lower = (0..self.layers.len()).map(|at| alloc::format!("{at}")).collect::<Vec<_>>().join(":");
        alloc::format!("lowerdir={lower},upperdir=memory")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
