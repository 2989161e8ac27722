//! [`PseudoFs`]: a file system of made-up files.

use crate::abi::Errno;
use crate::fs::filesystem::{DentryPolicy, FileSystem, StatFs};
use crate::fs::{FsCx, Node};
use alloc::sync::Arc;
use core::any::Any;

/// A file system of made-up files.
pub struct PseudoFs {
    type_name: &'static str,
    magic: u64,
    root: Arc<Node>,
}

impl PseudoFs {
    /// `magic` is what statfs(2) tells as `f_type`.
    #[must_use]
    pub fn new(type_name: &'static str, magic: u64, root: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { type_name, magic, root })
    }
}

impl FileSystem for PseudoFs {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _cx: &FsCx<'_>) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: self.magic, block_size: 4096, name_max: 255, ..StatFs::default() })
    }

    fn dentry_policy(&self) -> DentryPolicy {
        DentryPolicy::Never
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
