//! Flags and records of the file system calls (open(2), stat(2), getdents(2), statfs(2), fcntl(2)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! constants {
    ($($name:ident = $value:expr, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u32 = $value;)*
    };
}

constants! {
    O_ACCMODE = 0o3, "Mask of the access mode.";
    O_RDONLY = 0, "Reading only.";
    O_WRONLY = 0o1, "Writing only.";
    O_RDWR = 0o2, "Reading and writing.";
    O_CREAT = 0o100, "Make the file if it is not there.";
    O_EXCL = 0o200, "Fail if it is there.";
    O_NOCTTY = 0o400, "Do not take a controlling terminal.";
    O_TRUNC = 0o1000, "Truncate.";
    O_APPEND = 0o2000, "Write at the end.";
    O_NONBLOCK = 0o4000, "Do not wait.";
    O_DSYNC = 0o10000, "Write data through.";
    FASYNC = 0o20000, "Signal-driven I/O.";
    O_DIRECT = 0o40000, "Around the page cache.";
    O_LARGEFILE = 0o100_000, "Always on.";
    O_DIRECTORY = 0o200_000, "Only a directory.";
    O_NOFOLLOW = 0o400_000, "Not through a symbolic link.";
    O_NOATIME = 0o1_000_000, "Leave the access time.";
    O_CLOEXEC = 0o2_000_000, "Close on execve(2).";
    O_SYNC = 0o4_010_000, "Write through.";
    O_PATH = 0o10_000_000, "A place, not its contents.";
    O_TMPFILE = 0o20_200_000, "A file without a name in this directory.";
    AT_SYMLINK_NOFOLLOW = 0x100, "Do not follow a symbolic link.";
    AT_REMOVEDIR = 0x200, "unlinkat(2): as rmdir(2). Also `AT_EACCESS` of faccessat2(2).";
    AT_EACCESS = 0x200, "faccessat2(2): with effective ids.";
    AT_SYMLINK_FOLLOW = 0x400, "linkat(2): follow a symbolic link.";
    AT_NO_AUTOMOUNT = 0x800, "No automounts; there are none.";
    AT_EMPTY_PATH = 0x1000, "An empty path means the descriptor itself.";
    AT_STATX_SYNC_TYPE = 0x6000, "statx(2): how fresh.";
}

/// The working directory, in place of a directory's descriptor.
pub const AT_FDCWD: i32 = -100;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: i64,
}

/// `struct stat`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of stat(2)")]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub pad: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub unused: [i64; 3],
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatxTimestamp {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
    /// Nothing.
    pub reserved: i32,
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of statx(2)")]
pub struct Statx {
    pub mask: u32,
    pub blksize: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub spare0: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub atime: StatxTimestamp,
    pub btime: StatxTimestamp,
    pub ctime: StatxTimestamp,
    pub mtime: StatxTimestamp,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub mnt_id: u64,
    pub dio_mem_align: u32,
    pub dio_offset_align: u32,
    pub spare3: [u64; 12],
}

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of statfs(2)")]
pub struct Statfs {
    pub kind: i64,
    pub bsize: i64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: [i32; 2],
    pub namelen: i64,
    pub frsize: i64,
    pub flags: i64,
    pub spare: [i64; 4],
}

/// `struct flock`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of fcntl(2)")]
pub struct Flock {
    pub kind: i16,
    pub whence: i16,
    pub pad0: i32,
    pub start: i64,
    pub len: i64,
    pub pid: i32,
    pub pad1: i32,
}

/// `struct open_how`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of openat2(2)")]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// `struct iovec`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of readv(2)")]
pub struct Iovec {
    pub base: u64,
    pub len: u64,
}
