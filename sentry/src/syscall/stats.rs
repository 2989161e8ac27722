//! stat, statx, statfs, access, readlink and their kin.

use super::place::{Empty, Scope, Target, read_path, read_path_or_null};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW, Stat,
    Statfs, Statx, StatxTimestamp, Timespec,
};
use crate::fs::filesystem::device_parts;
use crate::fs::lookup::{self, Follow};
use crate::fs::node::LinkTarget;
use crate::fs::permission::{self, Want};
use crate::fs::{Attr, Mount, MountFlags, NodeKind, Path, TimeSpec, path};
use crate::security::user_ns::Kind;
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(4, "stat", 2, stat, Restart::Never, Support::Full),
    row!(5, "fstat", 2, fstat, Restart::Never, Support::Full),
    row!(6, "lstat", 2, lstat, Restart::Never, Support::Full),
    row!(21, "access", 2, access, Restart::Never, Support::Full),
    row!(89, "readlink", 3, readlink, Restart::Never, Support::Full),
    row!(136, "ustat", 2, ustat, Restart::Never, Support::Full),
    row!(137, "statfs", 2, statfs, Restart::Never, Support::Full),
    row!(138, "fstatfs", 2, fstatfs, Restart::Never, Support::Full),
    row!(262, "newfstatat", 4, newfstatat, Restart::Never, Support::Full),
    row!(267, "readlinkat", 4, readlinkat, Restart::Never, Support::Full),
    row!(269, "faccessat", 3, faccessat, Restart::Never, Support::Full),
    row!(332, "statx", 5, statx, Restart::Never, Support::Full),
    row!(439, "faccessat2", 4, faccessat2, Restart::Never, Support::Full),
];

fn wire_time(time: TimeSpec) -> Timespec {
    Timespec { sec: time.sec, nsec: i64::from(time.nsec) }
}

/// With the owners as the caller's user namespace calls them.
fn named(cx: &Cx<'_>, attr: Attr) -> Attr {
    let user_ns = cx.task.creds().user_ns.clone();
    if user_ns.is_outermost() {
        return attr;
    }
    Attr { uid: user_ns.shown(Kind::User, attr.uid), gid: user_ns.shown(Kind::Group, attr.gid), ..attr }
}

fn wire_stat(attr: &Attr) -> Stat {
    Stat {
        dev: attr.dev,
        ino: attr.ino,
        nlink: u64::from(attr.nlink),
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        size: attr.size.cast_signed(),
        blksize: i64::from(attr.blksize),
        blocks: attr.blocks.cast_signed(),
        atime: wire_time(attr.atime),
        mtime: wire_time(attr.mtime),
        ctime: wire_time(attr.ctime),
        ..Stat::default()
    }
}

fn fstat(cx: &mut Cx<'_>, fd: Fd, to: UserPtr<Stat>) -> SysResult {
    let scope = Scope::new(cx);
    let attr = Target::of(cx.files.get(fd)?).attr(&scope.cx(cx))?;
    cx.user().write(to, &wire_stat(&named(cx, attr)))?;
    Ok(0)
}

fn newfstatat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, to: UserPtr<Stat>, flags: u32) -> SysResult {
    // AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC: taken here too.
    const SYNC: u32 = 0x6000;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | SYNC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path_or_null(cx, path, flags)?;
    let scope = Scope::new(cx);
    let target = scope.find_target(cx, dir, &path, flags, Empty::by(flags))?;
    let attr = target.attr(&scope.cx(cx))?;
    cx.user().write(to, &wire_stat(&named(cx, attr)))?;
    Ok(0)
}

fn stat(cx: &mut Cx<'_>, path: UserAddr, to: UserPtr<Stat>) -> SysResult {
    newfstatat(cx, Fd(AT_FDCWD), path, to, 0)
}

fn lstat(cx: &mut Cx<'_>, path: UserAddr, to: UserPtr<Stat>) -> SysResult {
    newfstatat(cx, Fd(AT_FDCWD), path, to, AT_SYMLINK_NOFOLLOW)
}

const STATX_BASIC: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;
const STATX_MNT_ID: u32 = 0x1000;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const STATX_RESERVED: u32 = 1 << 31;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}

fn wire_statx(attr: &Attr, target: &Target, asked: u32) -> Statx {
    let time = |time: TimeSpec| StatxTimestamp { sec: time.sec, nsec: time.nsec, reserved: 0 };
    let (rdev, dev) = (device_parts(attr.rdev), device_parts(attr.dev));
    let has_birth = attr.btime != TimeSpec::default();
    let mut wire = Statx {
        mask: STATX_BASIC | STATX_MNT_ID | if has_birth { STATX_BTIME } else { 0 },
        blksize: attr.blksize,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: u16::try_from(attr.mode & 0xffff).unwrap_or(0),
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        attributes_mask: STATX_ATTR_MOUNT_ROOT,
        atime: time(attr.atime),
        btime: time(attr.btime),
        ctime: time(attr.ctime),
        mtime: time(attr.mtime),
        rdev_major: low(rdev.0),
        rdev_minor: low(rdev.1),
        dev_major: low(dev.0),
        dev_minor: low(dev.1),
        ..Statx::default()
    };
    if let Target::Place(path) = target {
        wire.mnt_id = u64::from(path.mount.id);
        if asked & STATX_MNT_ID_UNIQUE != 0 {
            wire.mnt_id = super::mount_query::unique_id(&path.mount);
            wire.mask ^= STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
        }
        if Arc::ptr_eq(&path.dentry, &path.mount.root) {
            wire.attributes |= STATX_ATTR_MOUNT_ROOT;
        }
    }
    wire
}

fn statx(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, flags: u32, mask: u32, to: UserPtr<Statx>) -> SysResult {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if mask & STATX_RESERVED != 0 || flags & !known != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path_or_null(cx, path, flags)?;
    let scope = Scope::new(cx);
    let target = scope.find_target(cx, dir, &path, flags, Empty::by(flags))?;
    let attr = target.attr(&scope.cx(cx))?;
    cx.user().write(to, &wire_statx(&named(cx, attr), &target, mask))?;
    Ok(0)
}

fn mount_flags(mount: &Arc<Mount>) -> i64 {
    const VALID: i64 = 0x20;
    const RELATIME: i64 = 0x1000;
    let flags = mount.flags();
    // The low bits are those of mount(2).
    let same = MountFlags::NO_SUID
        | MountFlags::NO_DEV
        | MountFlags::NO_EXEC
        | MountFlags::NO_ATIME
        | MountFlags::NO_DIRATIME;
    let mut wire = VALID | i64::from((flags & same).bits());
    if mount.is_read_only() {
        wire |= 1;
    }
    if flags.contains(MountFlags::RELATIME) {
        wire |= RELATIME;
    }
    wire
}

fn write_statfs(cx: &Cx<'_>, scope: &Scope, mount: &Arc<Mount>, to: UserPtr<Statfs>) -> SysResult {
    let stat = mount.superblock.fs.statfs(&scope.cx(cx))?;
    let wire = Statfs {
        kind: stat.magic.cast_signed(),
        bsize: stat.block_size.cast_signed(),
        blocks: stat.blocks,
        bfree: stat.free,
        bavail: stat.available,
        files: stat.files,
        ffree: stat.files_free,
        fsid: [low(stat.id).cast_signed(), low(stat.id >> 32).cast_signed()],
        namelen: stat.name_max.cast_signed(),
        frsize: stat.block_size.cast_signed(),
        flags: mount_flags(mount),
        spare: [0; 4],
    };
    cx.user().write(to, &wire)?;
    Ok(0)
}

fn statfs(cx: &mut Cx<'_>, path: UserAddr, to: UserPtr<Statfs>) -> SysResult {
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let found = scope.find(cx, Fd(AT_FDCWD), &path, Follow::Yes)?;
    write_statfs(cx, &scope, &found.mount, to)
}

/// `struct ustat`, whose names have always been empty.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ustat {
    free: i32,
    padding: u32,
    files_free: u64,
    names: [u8; 12],
    end: u32,
}

/// The file system on a device, if one of the caller's mounts is of it.
fn ustat(cx: &mut Cx<'_>, device: u32, to: UserPtr<Ustat>) -> SysResult {
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let on_device = |mount: &Arc<Mount>| {
        let attr = mount.superblock.root.node().and_then(|node| node.ops.attr(&fs));
        matches!(attr, Ok(attr) if attr.dev == u64::from(device))
    };
    let found = scope.fs.namespace().mounts().into_iter().find(on_device).ok_or(Errno::EINVAL)?;
    let stat = found.superblock.fs.statfs(&fs)?;
    let wire = Ustat {
        free: low(stat.free).cast_signed(),
        padding: 0,
        files_free: stat.files_free,
        names: [0; 12],
        end: 0,
    };
    cx.user().write(to, &wire)?;
    Ok(0)
}

fn fstatfs(cx: &mut Cx<'_>, fd: Fd, to: UserPtr<Statfs>) -> SysResult {
    const PIPEFS_MAGIC: i64 = 0x5049_5045;
    const SOCKFS_MAGIC: i64 = 0x534f_434b;
    const ANON_MAGIC: i64 = 0x0904_1934;
    let file = cx.files.get(fd)?;
    let scope = Scope::new(cx);
    if let Some(path) = file.path() {
        return write_statfs(cx, &scope, &path.mount, to);
    }
    let kind = match Target::of(file).attr(&scope.cx(cx))?.mode & crate::fs::node::S_IFMT {
        crate::fs::node::S_IFIFO => PIPEFS_MAGIC,
        crate::fs::node::S_IFSOCK => SOCKFS_MAGIC,
        _ => ANON_MAGIC,
    };
    let wire = Statfs { kind, bsize: 4096, frsize: 4096, namelen: 255, flags: 0x20, ..Statfs::default() };
    cx.user().write(to, &wire)?;
    Ok(0)
}

/// The caller with real in place of effective ids, as access(2) asks.
fn real_scope(cx: &Cx<'_>) -> Scope {
    let mut scope = Scope::new(cx);
    let mut creds = (*scope.creds).clone();
    creds.fsuid = creds.uid;
    creds.fsgid = creds.gid;
    creds.effective = if creds.root_uid() == Some(creds.uid) { creds.permitted } else { 0 };
    scope.creds = Arc::new(creds);
    scope
}

fn faccessat2(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32, flags: u32) -> SysResult {
    if flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let want = Want::from_bits(mode).ok_or(Errno::EINVAL)?;
    let path = read_path_or_null(cx, path, flags)?;
    let scope = if flags & AT_EACCESS != 0 { Scope::new(cx) } else { real_scope(cx) };
    let target = scope.find_target(cx, dir, &path, flags, Empty::by(flags))?;
    let fs = scope.cx(cx);
    match &target {
        Target::Place(path) => lookup::check_access(&fs, path, want)?,
        Target::File(_) if want.is_empty() => {}
        Target::File(_) => permission::check(fs.creds, &target.attr(&fs)?, want)?,
    }
    Ok(0)
}

fn faccessat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32) -> SysResult {
    faccessat2(cx, dir, path, mode, 0)
}

fn access(cx: &mut Cx<'_>, path: UserAddr, mode: u32) -> SysResult {
    faccessat2(cx, Fd(AT_FDCWD), path, mode, 0)
}

fn link_text(cx: &Cx<'_>, scope: &Scope, target: &Path) -> Result<Vec<u8>, Errno> {
    let NodeKind::Symlink(link) = &target.node()?.kind else { return Err(Errno::EINVAL) };
    Ok(match link.target(&scope.cx(cx))? {
        LinkTarget::Path(text) => text,
        LinkTarget::File(file) => file.display_path(&scope.fs.root()),
        LinkTarget::Place(place) => path::display(&place, &scope.fs.root()),
    })
}

fn readlinkat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, to: UserAddr, len: i32) -> SysResult {
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let was_empty = path.is_empty();
    let target = scope.find_target(cx, dir, &path, AT_SYMLINK_NOFOLLOW, Empty::Descriptor)?;
    let Target::Place(place) = target else { return Err(Errno::ENOENT.into()) };
    // An empty path is for descriptors of symbolic links alone.
    if was_empty && !place.node()?.is_symlink() {
        return Err(Errno::ENOENT.into());
    }
    let text = link_text(cx, &scope, &place)?;
    let text = text.get(..len).unwrap_or(&text);
    cx.user().write_bytes(to, text)?;
    Ok(text.len())
}

fn readlink(cx: &mut Cx<'_>, path: UserAddr, to: UserAddr, len: i32) -> SysResult {
    readlinkat(cx, Fd(AT_FDCWD), path, to, len)
}
