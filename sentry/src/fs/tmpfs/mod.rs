//! tmpfs (tmpfs(5)): files that live in memory, and the upper layer of the overlay.
//!
//! | file | contents |
//! |---|---|
//! | `inode` | [`inode::Inode`]: attributes, extended attributes, contents of regular files |
//! | `dir` | [`dir::TmpDir`]: directories |
//!
//! Locks, outer first: a directory's entries ([`dir::LEVEL`]), an inode's attributes ([`inode::LEVEL`]). Two directories are
//! never locked at once but by a rename, which the VFS serialises.

pub mod dir;
pub mod inode;

use crate::abi::Errno;
use crate::fs::filesystem::{FileSystem, StatFs, anonymous_device};
use crate::fs::{FsCx, Node};
use crate::mm::Budget;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use inode::Fresh;

/// `TMPFS_MAGIC`.
pub const MAGIC: u64 = 0x0102_1994;

/// What a tmpfs is made with (tmpfs(5), "Mount options").
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that files may have together; `None`: as much as the budget gives.
    pub size: Option<u64>,
    /// Files that there may be; `None`: as many as the budget gives.
    pub files: Option<u64>,
    /// Permission bits of the root.
    pub mode: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: None, files: None, mode: 0o1777, uid: 0, gid: 0 }
    }
}

impl Options {
    /// Reads mount options such as `size=64k,mode=755`. Those that change nothing here (`huge`, `mpol`, `noswap`) are taken.
    ///
    /// # Errors
    /// `EINVAL` for a bad value or an unknown option.
    pub fn parse(self, text: &[u8]) -> Result<Self, Errno> {
        let mut options = self;
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "size" => options.size = Some(bytes(value)?).filter(|size| *size != 0),
                "nr_blocks" => {
                    let blocks = bytes(value)?.checked_mul(4096).ok_or(Errno::EINVAL)?;
                    options.size = Some(blocks).filter(|size| *size != 0);
                }
                "nr_inodes" => options.files = Some(bytes(value)?).filter(|files| *files != 0),
                "mode" => {
                    options.mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
                }
                "uid" => options.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => options.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                "huge" | "mpol" | "noswap" | "inode64" | "inode32" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// A number with an optional suffix k, m, g. Percentages need the size of memory, which a container is not told.
fn bytes(text: &str) -> Result<u64, Errno> {
    let digits = text.trim_end_matches(|last: char| "kKmMgG".contains(last));
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(Errno::EINVAL),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

/// What all files of one tmpfs share.
pub struct Common {
    /// `st_dev`.
    pub dev: u64,
    /// Pages of contents.
    pub pages: Arc<Budget>,
    /// Files, a page of budget each for what the kernel keeps of it.
    pub files: Arc<Budget>,
    next_ino: AtomicU64,
}

impl Common {
    /// For a tmpfs of at most `pages` of contents and `files` files, whose inode numbers start at `first_ino`.
    pub(in crate::fs) fn new(
        budget: &Arc<Budget>,
        pages: Option<u64>,
        files: Option<u64>,
        first_ino: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            dev: anonymous_device(),
            pages: budget.child(pages.unwrap_or(UNLIMITED)),
            files: budget.child(files.unwrap_or(UNLIMITED)),
            next_ino: AtomicU64::new(first_ino),
        })
    }

    /// What statfs(2) tells. Without a limit of its own, a tmpfs may have all of memory.
    pub(in crate::fs) fn statfs(&self) -> StatFs {
        let (total, unused) = chitin_core::frame::usage();
        let left = |budget: &Budget| match budget.limit() {
            UNLIMITED => (u64::from(total), u64::from(unused)),
            limit => (limit, limit.saturating_sub(budget.used())),
        };
        let (blocks, free) = left(&self.pages);
        let (files, files_free) = left(&self.files);
        StatFs {
            magic: MAGIC,
            block_size: 4096,
            blocks,
            free,
            available: free,
            files,
            files_free,
            name_max: 255,
            id: self.dev,
        }
    }

    fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }
}

/// A mounted tmpfs.
pub struct TmpFs {
    common: Arc<Common>,
    root: Arc<Node>,
    type_name: &'static str,
}

const UNLIMITED: u64 = crate::mm::UNLIMITED;

impl TmpFs {
    /// An empty one, paid for by `budget`.
    #[must_use]
    pub fn new(budget: &Arc<Budget>, options: &Options) -> Arc<Self> {
        Self::named("tmpfs", budget, options)
    }

    /// As [`TmpFs::new`], with another type name, such as `devtmpfs` or `mqueue`.
    #[must_use]
    pub fn named(type_name: &'static str, budget: &Arc<Budget>, options: &Options) -> Arc<Self> {
        let pages = options.size.map(|size| size.div_ceil(4096));
        let common = Common::new(budget, pages, options.files, 1);
        let fresh = Fresh { mode: options.mode, uid: options.uid, gid: options.gid };
        let root = dir::TmpDir::node(&common, &fresh, None);
        Arc::new(Self { common, root, type_name })
    }

    /// What its files share.
    #[must_use]
    pub fn common(&self) -> &Arc<Common> {
        &self.common
    }
}

impl Drop for TmpFs {
    fn drop(&mut self) {
        dir::TmpDir::empty_tree(&self.root);
    }
}

impl FileSystem for TmpFs {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _: &FsCx<'_>) -> Result<StatFs, Errno> {
        Ok(self.common.statfs())
    }

    fn options(&self) -> String {
        let mut text = String::new();
        if self.common.pages.limit() != UNLIMITED {
            text.push_str(&format!("size={}k", self.common.pages.limit().saturating_mul(4)));
        }
        if self.common.files.limit() != UNLIMITED {
            let comma = if text.is_empty() { "" } else { "," };
            text.push_str(&format!("{comma}nr_inodes={}", self.common.files.limit()));
        }
        text
    }

    fn remount(&self, options: &[u8]) -> Result<(), Errno> {
        let options = Options::default().parse(options)?;
        if let Some(size) = options.size {
            let pages = size.div_ceil(4096);
            if pages < self.common.pages.used() {
                return Err(Errno::EINVAL);
            }
            self.common.pages.set_limit(pages);
        }
        if let Some(files) = options.files {
            if files < self.common.files.used() {
                return Err(Errno::EINVAL);
            }
            self.common.files.set_limit(files);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
