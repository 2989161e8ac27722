//! [`Listing`]: the names that the layers have in a directory, merged.

use super::is_whiteout;
use crate::abi::Errno;
use crate::fs::node::dirent_kind;
use crate::fs::{DirNode, FsCx, Node};
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashSet;

/// `DT_CHR`.
const KIND_CHAR: u8 = 2;

/// One name.
pub(super) struct Item {
    pub(super) name: Arc<[u8]>,
    pub(super) ino: u64,
    pub(super) kind: u8,
}

/// The names of the layers, those of the topmost first, each once.
pub(super) struct Listing(pub(super) Vec<Item>);

impl Listing {
    /// Reads the directories of the layers; `layers` is how many the overlay has.
    ///
    /// # Errors
    /// `EIO`.
    pub(super) fn read(cx: &FsCx<'_>, dirs: &[Arc<Node>], layers: usize) -> Result<Self, Errno> {
        let mut items: Vec<Item> = Vec::new();
        let mut seen: HashSet<Arc<[u8]>> = HashSet::new();
        for node in dirs {
            let dir = node.dir()?;
            let mut found: Vec<Item> = Vec::new();
            dir.read_dir(cx, 0, &mut |entry| {
                if entry.name != b"." && entry.name != b".." {
                    found.push(Item { name: Arc::from(entry.name), ino: entry.ino, kind: entry.kind });
                }
                true
            })?;
            for item in found {
                // With one layer there are neither duplicates nor whiteouts.
                if layers > 1 {
                    if !seen.insert(item.name.clone()) {
                        continue;
                    }
                    if item.kind == KIND_CHAR && whiteout_named(cx, &**dir, &item.name) {
                        continue;
                    }
                }
                items.push(item);
            }
        }
        Ok(Self(items))
    }
}

fn whiteout_named(cx: &FsCx<'_>, dir: &dyn DirNode, name: &[u8]) -> bool {
    dir.lookup(cx, name).is_ok_and(|node| is_whiteout(cx, &node))
}

/// `DT_*` of a node.
pub(super) fn kind_of(node: &Node) -> u8 {
    dirent_kind(node.type_bits())
}
