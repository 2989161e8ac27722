//! [`Node`]: a file of a file system, by kind. Names belong to dentries, open state to [`crate::fs::OpenFile`].
//!
//! A file system implements [`NodeOps`] for what every file has, and the trait of the node's kind. `ENOTDIR` and `EISDIR`
//! are a `match` on [`NodeKind`], never a default body.

use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::stream::Caller;
use crate::fs::{NodeState, OpenFile, Path};
use crate::security::Creds;
use crate::user::{IoReader, IoWriter};
use crate::wait::{Stop, Waiter};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::{Interrupt, Sleeper};
use core::any::Any;

/// Who asks a file system for something, and the capability to sleep for it.
#[derive(Clone, Copy)]
pub struct FsCx<'a> {
    /// The capability.
    pub sleeper: &'a Sleeper,
    /// What may interrupt it: waits for another machine give up when the caller is killed.
    pub interrupt: &'a dyn Interrupt,
    /// Credentials: fsuid, fsgid own what is created.
    pub creds: &'a Creds,
    /// Ids of the calling task: `/proc/self`, controlling terminals, lock owners. All zero for the kernel's own acts.
    pub caller: Caller,
}

/// Never interrupted: the kernel's own acts.
struct Uninterrupted;

impl Interrupt for Uninterrupted {
    fn interrupted(&self) -> bool {
        false
    }

    fn killed(&self) -> bool {
        false
    }
}

impl<'a> FsCx<'a> {
    /// The kernel itself acts, as `creds`.
    #[must_use]
    pub fn kernel(sleeper: &'a Sleeper, creds: &'a Creds) -> Self {
        Self { sleeper, interrupt: &Uninterrupted, creds, caller: Caller::default() }
    }

    /// The caller as one who waits.
    #[must_use]
    pub fn waiter(&self) -> Waiter<'a> {
        Waiter { sleeper: self.sleeper, interrupt: self.interrupt, regs: None }
    }
}

/// Seconds and nanoseconds of a time stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpec {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

/// Attributes of a file, as stat(2) tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type (`S_IFMT`) and permission bits.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred transfer size.
    pub blksize: u32,
    /// 512-byte blocks.
    pub blocks: u64,
    /// Last access.
    pub atime: TimeSpec,
    /// Last change of the contents.
    pub mtime: TimeSpec,
    /// Last change of the node.
    pub ctime: TimeSpec,
    /// Birth, zero when unknown.
    pub btime: TimeSpec,
}

/// When a read moves the access time (mount(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atime {
    /// Always (`MS_STRICTATIME`).
    Strict,
    /// When it is not after the last change, or a day old (`MS_RELATIME`).
    Relative,
}

impl Atime {
    /// Whether a read now moves the access time.
    #[must_use]
    pub fn moves(self, atime: TimeSpec, mtime: TimeSpec, ctime: TimeSpec, now: TimeSpec) -> bool {
        const DAY: i64 = 24 * 60 * 60;
        self == Self::Strict || atime <= mtime || atime <= ctime || now.sec.saturating_sub(atime.sec) >= DAY
    }
}

/// A change of attributes; `None` leaves one as it is. The VFS has checked permission and computed the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits with set-id and sticky bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes, for regular files.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeSpec>,
    /// Last change of the contents.
    pub mtime: Option<TimeSpec>,
    /// Last change of the node.
    pub ctime: Option<TimeSpec>,
}

impl TimeSpec {
    /// From ns since the epoch.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        let nsec = u32::try_from(ns % 1_000_000_000).unwrap_or(0);
        Self { sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX), nsec }
    }

    /// The wall clock now.
    #[must_use]
    pub fn now() -> Self {
        Self::from_ns(crate::platform::get().realtime_ns())
    }
}

/// A file of a file system.
///
/// A file has one `Node` as long as anybody holds it: a file system gives out the same `Arc` for every name and every
/// look-up of the same file, because locks, FIFOs and socket names hang on it ([`NodeState`]).
pub struct Node {
    /// What every file can do.
    pub ops: Arc<dyn NodeOps>,
    /// What its kind can do.
    pub kind: NodeKind,
    /// What the VFS keeps with it.
    pub state: NodeState,
}

impl Node {
    /// A node with nothing hanging on it yet.
    #[must_use]
    pub fn new(ops: Arc<dyn NodeOps>, kind: NodeKind) -> Arc<Self> {
        Arc::new(Self { ops, kind, state: NodeState::new() })
    }

    /// The directory.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn dir(&self) -> Result<&Arc<dyn DirNode>, Errno> {
        match &self.kind {
            NodeKind::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir(_))
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        matches!(self.kind, NodeKind::Symlink(_))
    }

    /// `S_IFMT` bits of its kind.
    #[must_use]
    pub fn type_bits(&self) -> u32 {
        match &self.kind {
            NodeKind::Dir(_) => S_IFDIR,
            NodeKind::File(_) => S_IFREG,
            NodeKind::Symlink(_) => S_IFLNK,
            NodeKind::CharDevice(_) => S_IFCHR,
            NodeKind::BlockDevice(_) => S_IFBLK,
            NodeKind::Fifo => S_IFIFO,
            NodeKind::Socket => S_IFSOCK,
            NodeKind::Open(_) => 0,
        }
    }
}

/// Type bits of [`Attr::mode`].
pub const S_IFMT: u32 = 0o170_000;
/// Unix socket.
pub const S_IFSOCK: u32 = 0o140_000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120_000;
/// Regular file.
pub const S_IFREG: u32 = 0o100_000;
/// Block device.
pub const S_IFBLK: u32 = 0o060_000;
/// Directory.
pub const S_IFDIR: u32 = 0o040_000;
/// Character device.
pub const S_IFCHR: u32 = 0o020_000;
/// Named pipe.
pub const S_IFIFO: u32 = 0o010_000;
/// Set-user-id bit.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-id bit.
pub const S_ISGID: u32 = 0o2000;
/// Sticky bit.
pub const S_ISVTX: u32 = 0o1000;

/// `DT_*` of type bits (readdir(3)).
#[must_use]
pub fn dirent_kind(mode: u32) -> u8 {
    u8::try_from((mode & S_IFMT) >> 12).unwrap_or(0)
}

/// The kinds of files.
#[derive(Clone)]
pub enum NodeKind {
    /// Directory.
    Dir(Arc<dyn DirNode>),
    /// Regular file.
    File(Arc<dyn FileNode>),
    /// Symbolic link.
    Symlink(Arc<dyn SymlinkNode>),
    /// Character device with its device number.
    CharDevice(u64),
    /// Block device with its device number.
    BlockDevice(u64),
    /// Named pipe; the VFS keeps its pipe.
    Fifo,
    /// Name of a unix socket; the VFS keeps the socket bound to it.
    Socket,
    /// An open file that no name of a file system leads to, such as a pipe, met through `/proc/PID/fd`. Only the VFS
    /// makes these.
    Open(Arc<OpenFile>),
}

/// What every file has.
pub trait NodeOps: Send + Sync {
    /// For `downcast_ref` to the file system's own type.
    fn as_any(&self) -> &dyn Any;

    /// Attributes now.
    ///
    /// # Errors
    /// `EIO`, `ESTALE`.
    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno>;

    /// Changes attributes.
    ///
    /// # Errors
    /// `EPERM` where the file system does not allow it, `EROFS`, `EFBIG`, `ENOSPC`.
    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno>;

    /// The contents were read through a mount without `noatime`: the access time may have to move.
    fn accessed(&self, cx: &FsCx<'_>, how: Atime) {
        let _ = (cx, how);
    }

    /// Reads an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `ENOTSUP`.
    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = (cx, name);
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute; `flags` as setxattr(2).
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `ENOTSUP`, `ENOSPC`.
    fn set_xattr(&self, cx: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let _ = (cx, name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of extended attributes, each ended by a null byte.
    ///
    /// # Errors
    /// `ENOTSUP`.
    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let _ = cx;
        Ok(Vec::new())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `ENOTSUP`.
    fn remove_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        let _ = (cx, name);
        Err(Errno::EOPNOTSUPP)
    }
}

/// What is made by [`DirNode::create`].
#[derive(Clone, Debug)]
pub enum NewNode {
    /// Empty regular file.
    File,
    /// Empty directory.
    Dir,
    /// Symbolic link to a target.
    Symlink(Vec<u8>),
    /// Character device.
    CharDevice(u64),
    /// Block device.
    BlockDevice(u64),
    /// Named pipe.
    Fifo,
    /// Unix socket name.
    Socket,
}

/// One entry of a directory listing.
#[derive(Clone, Debug)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// `DT_*`.
    pub kind: u8,
    /// Position after this entry (`d_off`), for [`DirNode::read_dir`] and lseek(2).
    pub next: u64,
    /// Name.
    pub name: &'a [u8],
}

/// Takes entries of a listing; answers whether it took the entry. A refused entry is listed again next time.
pub type DirSink<'s> = &'s mut dyn FnMut(&DirEntry<'_>) -> bool;

/// What directories can do. The VFS holds the directory's lock around every changing call, has checked permission, and
/// looks after `.` and `..` except in [`DirNode::read_dir`], which lists them.
pub trait DirNode: Send + Sync {
    /// Finds an entry.
    ///
    /// # Errors
    /// `ENOENT`, `ENAMETOOLONG`, `EIO`.
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno>;

    /// Whether a cached answer of [`DirNode::lookup`] (`None`: the name was not there) still holds. Asked only in file
    /// systems whose policy is [`crate::fs::DentryPolicy::Revalidate`].
    ///
    /// # Errors
    /// `EIO`.
    fn revalidate(&self, cx: &FsCx<'_>, name: &[u8], node: Option<&Arc<Node>>) -> Result<bool, Errno> {
        let _ = (cx, name, node);
        Ok(true)
    }

    /// Makes a file; `mode` has the permission bits after umask; owner and group are the caller's fsuid and fsgid (or the
    /// directory's group when it is set-gid).
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EROFS`, `EPERM` for a kind that cannot be.
    fn create(&self, cx: &FsCx<'_>, name: &[u8], what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno>;

    /// Makes a further name of `node`, which is of the same file system.
    ///
    /// # Errors
    /// `EEXIST`, `EMLINK`, `EPERM`, `EXDEV`.
    fn link(&self, cx: &FsCx<'_>, name: &[u8], node: &Arc<Node>) -> Result<(), Errno>;

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    /// `ENOENT`, `EROFS`.
    fn unlink(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`, `EROFS`.
    fn rmdir(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno>;

    /// Moves an entry; `flags` as renameat2(2) (`RENAME_NOREPLACE` 1, `RENAME_EXCHANGE` 2). `there` is what the caller, who
    /// holds the locks of both directories, found under `target_name`.
    ///
    /// # Errors
    /// As rename(2); `EXDEV` when `target` is of another file system, `EINVAL` for flags that are not supported.
    fn rename(
        &self,
        cx: &FsCx<'_>,
        name: &[u8],
        target: &Arc<Node>,
        target_name: &[u8],
        there: Option<&Arc<Node>>,
        flags: u32,
    ) -> Result<(), Errno>;

    /// Lists entries from `position` (0, or [`DirEntry::next`] of an entry) until `sink` refuses one or all are listed.
    ///
    /// # Errors
    /// `EIO`.
    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno>;

    /// Makes a regular file without a name (`O_TMPFILE`).
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system cannot.
    fn create_unnamed(&self, cx: &FsCx<'_>, mode: u32) -> Result<Arc<Node>, Errno> {
        let _ = (cx, mode);
        Err(Errno::EOPNOTSUPP)
    }

    /// For `downcast_ref` to the file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// What regular files can do.
pub trait FileNode: Send + Sync {
    /// The page cache of the file, for mmap and for the default read and write; `None` for files whose contents are made
    /// when they are read (proc, sys).
    fn mapping(&self) -> Option<Arc<Mapping>>;

    /// Called once for each open file description, before it is used; may return the state that stands behind it.
    ///
    /// # Errors
    /// `EACCES`, `ETXTBSY`, `ENOMEM`, and for special files what they need.
    fn open(&self, cx: &FsCx<'_>, flags: u32) -> Result<OpenState, Errno> {
        let _ = (cx, flags);
        Ok(None)
    }

    /// Reads at `offset`. The caller continues after [`Stop::Fault`].
    ///
    /// # Errors
    /// [`Stop`].
    fn read(&self, cx: &FsCx<'_>, file: &OpenFile, offset: u64, to: &mut IoWriter<'_>)
    -> Result<usize, Stop>;

    /// Writes at `offset`; the VFS holds the node's write lock.
    ///
    /// # Errors
    /// [`Stop`].
    fn write(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop>;

    /// Makes contents durable.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn sync(&self, cx: &FsCx<'_>) -> Result<(), Errno>;

    /// fallocate(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system cannot.
    fn allocate(&self, cx: &FsCx<'_>, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (cx, mode, offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// For `downcast_ref` to the file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// State of one open of a file, kept by the open file description.
pub type OpenState = Option<alloc::boxed::Box<dyn Any + Send + Sync>>;

/// What symbolic links can do.
pub trait SymlinkNode: Send + Sync {
    /// Where it points.
    ///
    /// # Errors
    /// `EIO`.
    fn target(&self, cx: &FsCx<'_>) -> Result<LinkTarget, Errno>;
}

/// Where a symbolic link points.
#[derive(Clone)]
pub enum LinkTarget {
    /// A path.
    Path(Vec<u8>),
    /// An open file, as `/proc/self/fd/N` does. What readlink(2) says of it comes from [`OpenFile::display_path`].
    File(Arc<OpenFile>),
    /// A place, as `/proc/self/{cwd,root,exe}` do.
    Place(Path),
}
