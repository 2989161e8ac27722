//! [`FileSystem`]: one instance of a file system, and [`Superblock`], the VFS's part of it.

use crate::abi::Errno;
use crate::fs::dentry::{Dcache, Dentry};
use crate::fs::{FsCx, Node};
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::sleep::SleepLock;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

/// How long an answer of [`crate::fs::DirNode::lookup`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DentryPolicy {
    /// For ever: every change goes through the VFS.
    Always,
    /// Not beyond the look-up: names are made up as they are asked for (proc).
    Never,
    /// As long as [`crate::fs::DirNode::revalidate`] says so.
    Revalidate,
}

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Magic number of the type.
    pub magic: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for all but root.
    pub available: u64,
    /// Files in all.
    pub files: u64,
    /// Free files.
    pub files_free: u64,
    /// Longest name, bytes.
    pub name_max: u64,
    /// File system id.
    pub id: u64,
}

/// An instance of a file system.
pub trait FileSystem: Send + Sync {
    /// Type as in `/proc/mounts`, such as `tmpfs`.
    fn type_name(&self) -> &str;

    /// The root directory (or the one file, for a share of a single file).
    fn root(&self) -> Arc<Node>;

    /// What statfs(2) tells.
    ///
    /// # Errors
    /// `EIO`, `ENOSYS`.
    fn statfs(&self, cx: &FsCx<'_>) -> Result<StatFs, Errno>;

    /// How long look-ups hold.
    fn dentry_policy(&self) -> DentryPolicy {
        DentryPolicy::Always
    }

    /// Whether nothing in it can ever be changed.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Options for `/proc/mounts` beyond those of the mount, without a leading comma, such as `size=64k`.
    fn options(&self) -> String {
        String::new()
    }

    /// Changes options (mount(2) with `MS_REMOUNT`).
    ///
    /// # Errors
    /// `EINVAL` for options that it does not know.
    fn remount(&self, options: &[u8]) -> Result<(), Errno> {
        let _ = options;
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// `EIO`.
    fn sync(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        let _ = cx;
        Ok(())
    }

    /// For `downcast_ref` to the file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// The VFS's part of a file system instance.
pub struct Superblock {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// Its root.
    pub root: Arc<Dentry>,
    /// Names looked up.
    pub(crate) cache: Arc<Dcache>,
    /// Held around renames from one directory to another.
    pub(crate) rename: SleepLock<()>,
}

impl Superblock {
    /// Makes a file system usable by the VFS; done once for each instance.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>) -> Arc<Self> {
        let cache = Dcache::new(fs.dentry_policy());
        let root = Dentry::root(&cache, fs.root());
        Arc::new(Self { fs, root, cache, rename: SleepLock::new(()) })
    }
}

impl Drop for Superblock {
    fn drop(&mut self) {
        crate::fs::notify::unmounted(self);
        self.cache.empty(&self.root);
    }
}

/// A device number (`st_dev`) for a file system without a device: major 0, minor in use once.
#[must_use]
pub fn anonymous_device() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(20);
    let minor = u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
    device(0, minor)
}

/// A device number in the encoding that stat(2) uses (makedev(3)).
#[must_use]
pub const fn device(major: u64, minor: u64) -> u64 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Major and minor number of a device number (major(3), minor(3)).
#[must_use]
pub const fn device_parts(device: u64) -> (u64, u64) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    (major, minor)
}
