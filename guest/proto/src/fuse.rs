//! FUSE wire structures, protocol 7.36 (Linux `include/uapi/linux/fuse.h`), as spoken over virtio-fs between the sentry's
//! `fs/fuse` and the VMM's file server.
//!
//! Node 1 is a directory of shares: its entries are the names given to [`crate::vmm::Request::AttachShare`]; it cannot
//! be changed by the guest. There is no `FUSE_INIT` exchange: [`MAX_TRANSFER`] and the flags in the module are fixed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Node id of the directory of shares.
pub const ROOT_ID: u64 = 1;
/// Most bytes of one `READ` or `WRITE`.
pub const MAX_TRANSFER: u32 = 1 << 20;

/// Operation codes.
pub mod opcode {
    /// `FUSE_LOOKUP`.
    pub const LOOKUP: u32 = 1;
    /// `FUSE_FORGET`.
    pub const FORGET: u32 = 2;
    /// `FUSE_GETATTR`.
    pub const GETATTR: u32 = 3;
    /// `FUSE_SETATTR`.
    pub const SETATTR: u32 = 4;
    /// `FUSE_READLINK`.
    pub const READLINK: u32 = 5;
    /// `FUSE_SYMLINK`.
    pub const SYMLINK: u32 = 6;
    /// `FUSE_MKNOD`.
    pub const MKNOD: u32 = 8;
    /// `FUSE_MKDIR`.
    pub const MKDIR: u32 = 9;
    /// `FUSE_UNLINK`.
    pub const UNLINK: u32 = 10;
    /// `FUSE_RMDIR`.
    pub const RMDIR: u32 = 11;
    /// `FUSE_RENAME`.
    pub const RENAME: u32 = 12;
    /// `FUSE_LINK`.
    pub const LINK: u32 = 13;
    /// `FUSE_OPEN`.
    pub const OPEN: u32 = 14;
    /// `FUSE_READ`.
    pub const READ: u32 = 15;
    /// `FUSE_WRITE`.
    pub const WRITE: u32 = 16;
    /// `FUSE_STATFS`.
    pub const STATFS: u32 = 17;
    /// `FUSE_RELEASE`.
    pub const RELEASE: u32 = 18;
    /// `FUSE_FSYNC`.
    pub const FSYNC: u32 = 20;
    /// `FUSE_SETXATTR`.
    pub const SETXATTR: u32 = 21;
    /// `FUSE_GETXATTR`.
    pub const GETXATTR: u32 = 22;
    /// `FUSE_LISTXATTR`.
    pub const LISTXATTR: u32 = 23;
    /// `FUSE_REMOVEXATTR`.
    pub const REMOVEXATTR: u32 = 24;
    /// `FUSE_FLUSH`.
    pub const FLUSH: u32 = 25;
    /// `FUSE_INIT`.
    pub const INIT: u32 = 26;
    /// `FUSE_OPENDIR`.
    pub const OPENDIR: u32 = 27;
    /// `FUSE_READDIR`.
    pub const READDIR: u32 = 28;
    /// `FUSE_RELEASEDIR`.
    pub const RELEASEDIR: u32 = 29;
    /// `FUSE_FSYNCDIR`.
    pub const FSYNCDIR: u32 = 30;
    /// `FUSE_CREATE`.
    pub const CREATE: u32 = 35;
    /// `FUSE_BATCH_FORGET`.
    pub const BATCH_FORGET: u32 = 42;
    /// `FUSE_FALLOCATE`.
    pub const FALLOCATE: u32 = 43;
    /// `FUSE_READDIRPLUS`.
    pub const READDIRPLUS: u32 = 44;
    /// `FUSE_RENAME2`.
    pub const RENAME2: u32 = 45;
    /// `FUSE_LSEEK`.
    pub const LSEEK: u32 = 46;
    /// `FUSE_COPY_FILE_RANGE`.
    pub const COPY_FILE_RANGE: u32 = 47;
}

/// Bits of [`SetattrIn::valid`].
pub mod setattr {
    /// `FATTR_MODE`.
    pub const MODE: u32 = 1 << 0;
    /// `FATTR_UID`.
    pub const UID: u32 = 1 << 1;
    /// `FATTR_GID`.
    pub const GID: u32 = 1 << 2;
    /// `FATTR_SIZE`.
    pub const SIZE: u32 = 1 << 3;
    /// `FATTR_ATIME`.
    pub const ATIME: u32 = 1 << 4;
    /// `FATTR_MTIME`.
    pub const MTIME: u32 = 1 << 5;
    /// `FATTR_FH`.
    pub const FH: u32 = 1 << 6;
    /// `FATTR_ATIME_NOW`.
    pub const ATIME_NOW: u32 = 1 << 7;
    /// `FATTR_MTIME_NOW`.
    pub const MTIME_NOW: u32 = 1 << 8;
    /// `FATTR_CTIME`.
    pub const CTIME: u32 = 1 << 10;
}

/// `struct fuse_in_header`, first of every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InHeader {
    /// Bytes of the request, this header included.
    pub len: u32,
    /// See [`opcode`].
    pub opcode: u32,
    /// Pairs request and answer.
    pub unique: u64,
    /// Node operated on.
    pub node: u64,
    /// File system user of the caller.
    pub uid: u32,
    /// File system group of the caller.
    pub gid: u32,
    /// Process of the caller.
    pub pid: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_out_header`, first of every answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OutHeader {
    /// Bytes of the answer, this header included.
    pub len: u32,
    /// 0 or a negated errno.
    pub error: i32,
    /// That of the request.
    pub unique: u64,
}

/// `struct fuse_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks allocated.
    pub blocks: u64,
    /// Seconds.
    pub atime: u64,
    /// Seconds.
    pub mtime: u64,
    /// Seconds.
    pub ctime: u64,
    /// Nanoseconds.
    pub atime_nsec: u32,
    /// Nanoseconds.
    pub mtime_nsec: u32,
    /// Nanoseconds.
    pub ctime_nsec: u32,
    /// Type and permission bits.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a special file.
    pub rdev: u32,
    /// Preferred transfer size.
    pub blksize: u32,
    /// Zero.
    pub flags: u32,
}

/// `struct fuse_entry_out`: answer to `LOOKUP`, `MKDIR`, `MKNOD`, `SYMLINK`, `LINK` and first part of `CREATE`'s. Every one counts one reference of the node, given back by `FORGET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryOut {
    /// Node id; 0 in a `LOOKUP` answer is a cacheable "no such entry".
    pub node: u64,
    /// Tells apart inodes that reused a number.
    pub generation: u64,
    /// Seconds that the name may be cached; `u64::MAX` is for ever.
    pub entry_valid: u64,
    /// Seconds that the attributes may be cached.
    pub attr_valid: u64,
    /// Nanoseconds.
    pub entry_valid_nsec: u32,
    /// Nanoseconds.
    pub attr_valid_nsec: u32,
    /// Attributes.
    pub attr: Attr,
}

/// `struct fuse_forget_in`; there is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForgetIn {
    /// References given back.
    pub nlookup: u64,
}

/// `struct fuse_forget_one`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForgetOne {
    /// Node.
    pub node: u64,
    /// References given back.
    pub nlookup: u64,
}

/// `struct fuse_batch_forget_in`, followed by `count` [`ForgetOne`]; there is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BatchForgetIn {
    /// How many follow.
    pub count: u32,
    /// Zero.
    pub dummy: u32,
}

/// `struct fuse_getattr_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetattrIn {
    /// 1: `fh` is valid.
    pub flags: u32,
    /// Zero.
    pub dummy: u32,
    /// File handle.
    pub fh: u64,
}

/// `struct fuse_attr_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttrOut {
    /// Seconds that the attributes may be cached.
    pub attr_valid: u64,
    /// Nanoseconds.
    pub attr_valid_nsec: u32,
    /// Zero.
    pub dummy: u32,
    /// Attributes.
    pub attr: Attr,
}

/// `struct fuse_setattr_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetattrIn {
    /// See [`setattr`].
    pub valid: u32,
    /// Zero.
    pub padding: u32,
    /// File handle.
    pub fh: u64,
    /// Bytes.
    pub size: u64,
    /// Zero.
    pub lock_owner: u64,
    /// Seconds.
    pub atime: u64,
    /// Seconds.
    pub mtime: u64,
    /// Seconds.
    pub ctime: u64,
    /// Nanoseconds.
    pub atime_nsec: u32,
    /// Nanoseconds.
    pub mtime_nsec: u32,
    /// Nanoseconds.
    pub ctime_nsec: u32,
    /// Permission bits.
    pub mode: u32,
    /// Zero.
    pub unused4: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Zero.
    pub unused5: u32,
}

/// `struct fuse_mknod_in`, followed by the name. Only regular files are made; other types fail with `EPERM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MknodIn {
    /// Type and permission bits.
    pub mode: u32,
    /// Zero.
    pub rdev: u32,
    /// Already applied to mode.
    pub umask: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_mkdir_in`, followed by the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MkdirIn {
    /// Permission bits.
    pub mode: u32,
    /// Already applied to mode.
    pub umask: u32,
}

/// `struct fuse_rename2_in`, followed by old and new name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rename2In {
    /// Target directory.
    pub newdir: u64,
    /// As renameat2(2).
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_link_in`, followed by the new name; the header names the new directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinkIn {
    /// What is linked.
    pub oldnode: u64,
}

/// `struct fuse_open_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenIn {
    /// Flags of open(2) less O_CREAT, O_EXCL.
    pub flags: u32,
    /// Zero.
    pub open_flags: u32,
}

/// `struct fuse_open_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenOut {
    /// File handle.
    pub fh: u64,
    /// 1: bypass the page cache; 2: keep it.
    pub open_flags: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_create_in`, followed by the name; answered by [`EntryOut`] and [`OpenOut`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateIn {
    /// Flags of open(2).
    pub flags: u32,
    /// Type and permission bits.
    pub mode: u32,
    /// Already applied to mode.
    pub umask: u32,
    /// Zero.
    pub open_flags: u32,
}

/// `struct fuse_read_in`, of `READ`, `READDIR` and `READDIRPLUS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReadIn {
    /// File handle.
    pub fh: u64,
    /// Where to begin; for directories the `off` of the last entry seen.
    pub offset: u64,
    /// Most bytes to answer.
    pub size: u32,
    /// Zero.
    pub read_flags: u32,
    /// Zero.
    pub lock_owner: u64,
    /// Zero.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_write_in`, followed by the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WriteIn {
    /// File handle.
    pub fh: u64,
    /// Where to begin.
    pub offset: u64,
    /// Bytes that follow.
    pub size: u32,
    /// Zero.
    pub write_flags: u32,
    /// Zero.
    pub lock_owner: u64,
    /// Zero.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_write_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WriteOut {
    /// Bytes written.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_release_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReleaseIn {
    /// File handle.
    pub fh: u64,
    /// Flags of open(2).
    pub flags: u32,
    /// Zero.
    pub release_flags: u32,
    /// Zero.
    pub lock_owner: u64,
}

/// `struct fuse_fsync_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FsyncIn {
    /// File handle.
    pub fh: u64,
    /// 1: data only.
    pub fsync_flags: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_kstatfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatfsOut {
    /// Blocks in all.
    pub blocks: u64,
    /// Free.
    pub bfree: u64,
    /// Free for users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free.
    pub ffree: u64,
    /// Bytes of a block.
    pub bsize: u32,
    /// Longest name.
    pub namelen: u32,
    /// Fragment size.
    pub frsize: u32,
    /// Zero.
    pub padding: u32,
    /// Zero.
    pub spare: [u32; 6],
}

/// `struct fuse_setxattr_in`, followed by name and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetxattrIn {
    /// Bytes of the value.
    pub size: u32,
    /// As setxattr(2).
    pub flags: u32,
}

/// `struct fuse_getxattr_in`, of `GETXATTR` (followed by the name) and `LISTXATTR`; size 0 asks for the size, answered by [`GetxattrOut`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetxattrIn {
    /// Room in the answer.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_getxattr_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetxattrOut {
    /// Bytes needed.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_fallocate_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FallocateIn {
    /// File handle.
    pub fh: u64,
    /// Where to begin.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// As fallocate(2).
    pub mode: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_lseek_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LseekIn {
    /// File handle.
    pub fh: u64,
    /// Where to begin.
    pub offset: u64,
    /// SEEK_DATA or SEEK_HOLE.
    pub whence: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct fuse_lseek_out`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LseekOut {
    /// Where it is.
    pub offset: u64,
}

/// `struct fuse_dirent`, followed by the name, padded to 8 bytes. `.` and `..` are not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dirent {
    /// Inode number.
    pub ino: u64,
    /// Where to go on after this entry.
    pub off: u64,
    /// Bytes of the name.
    pub namelen: u32,
    /// `DT_*`.
    pub kind: u32,
}

/// `struct fuse_direntplus`, followed by the name, padded to 8 bytes. `entry.node == 0`: no reference was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirentPlus {
    /// As of a lookup.
    pub entry: EntryOut,
    /// The entry.
    pub dirent: Dirent,
}
