//! Changing attributes: chmod, chown, utimensat, truncate, fallocate, fsync and their kin.

use super::descriptor;
use super::place::{Empty, Scope, Target, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Timespec};
use crate::fs::change::{self, SetTime};
use crate::fs::io;
use crate::fs::lookup::Follow;
use crate::fs::node_state::WriteAccess;
use crate::fs::notify::{self, Mask};
use crate::fs::permission::{self, Want};
use crate::fs::{FileBody, NodeKind, OpenFile, TimeSpec, open};
use crate::security::user_ns::Kind;
use crate::user::{UserAddr, UserPtr};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(74, "fsync", 1, fsync, Restart::Never, Support::Full),
    row!(75, "fdatasync", 1, fsync, Restart::Never, Support::Full),
    row!(76, "truncate", 2, truncate, Restart::Never, Support::Full),
    row!(77, "ftruncate", 2, ftruncate, Restart::Never, Support::Full),
    row!(90, "chmod", 2, chmod, Restart::Never, Support::Full),
    row!(91, "fchmod", 2, fchmod, Restart::Never, Support::Full),
    row!(92, "chown", 3, chown, Restart::Never, Support::Full),
    row!(93, "fchown", 3, fchown, Restart::Never, Support::Full),
    row!(94, "lchown", 3, lchown, Restart::Never, Support::Full),
    row!(132, "utime", 2, utime, Restart::Never, Support::Full),
    row!(162, "sync", 0, sync, Restart::Never, Support::Full),
    row!(187, "readahead", 3, readahead, Restart::Never, Support::Partial("reads nothing ahead")),
    row!(221, "fadvise64", 4, fadvise, Restart::Never, Support::Partial("the advice is not taken")),
    row!(235, "utimes", 2, utimes, Restart::Never, Support::Full),
    row!(260, "fchownat", 5, fchownat, Restart::Never, Support::Full),
    row!(261, "futimesat", 3, futimesat, Restart::Never, Support::Full),
    row!(268, "fchmodat", 3, fchmodat, Restart::Never, Support::Full),
    row!(277, "sync_file_range", 4, sync_file_range, Restart::Never, Support::Full),
    row!(280, "utimensat", 4, utimensat, Restart::Never, Support::Full),
    row!(285, "fallocate", 4, fallocate, Restart::Never, Support::Partial("no collapse, insert or unshare")),
    row!(306, "syncfs", 1, syncfs, Restart::Never, Support::Full),
    row!(452, "fchmodat2", 4, fchmodat2, Restart::Never, Support::Full),
];

const CWD: Fd = Fd(AT_FDCWD);

/// Applies a change to the node of a target; a stream without a node keeps no attributes and takes any.
fn set_mode(cx: &Cx<'_>, scope: &Scope, target: &Target, mode: u32) -> SysResult {
    if let Some(node) = target.node()? {
        change::mode(&scope.cx(cx), target.mount(), node, mode)?;
        target.tell(Mask::ATTRIB);
    }
    Ok(0)
}

fn fchmodat2(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let target = scope.find_target(cx, dir, &path, flags, Empty::by(flags))?;
    set_mode(cx, &scope, &target, mode)
}

fn fchmodat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32) -> SysResult {
    fchmodat2(cx, dir, path, mode, 0)
}

fn chmod(cx: &mut Cx<'_>, path: UserAddr, mode: u32) -> SysResult {
    fchmodat2(cx, CWD, path, mode, 0)
}

fn fchmod(cx: &mut Cx<'_>, fd: Fd, mode: u32) -> SysResult {
    let target = Target::of(descriptor::file(cx, fd)?);
    set_mode(cx, &Scope::new(cx), &target, mode)
}

/// -1 leaves the id as it is.
fn id(value: u32) -> Option<u32> {
    (value != u32::MAX).then_some(value)
}

fn set_owner(cx: &Cx<'_>, scope: &Scope, target: &Target, uid: u32, gid: u32) -> SysResult {
    let user_ns = &scope.creds.user_ns;
    let real = |kind, id: Option<u32>| match id {
        Some(id) => user_ns.outside(kind, id).map(Some).ok_or(Errno::EINVAL),
        None => Ok(None),
    };
    let (uid, gid) = (real(Kind::User, id(uid))?, real(Kind::Group, id(gid))?);
    if let Some(node) = target.node()? {
        change::owner(&scope.cx(cx), target.mount(), node, uid, gid)?;
        target.tell(Mask::ATTRIB);
    }
    Ok(0)
}

fn fchownat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, uid: u32, gid: u32, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let target = scope.find_target(cx, dir, &path, flags, Empty::by(flags))?;
    set_owner(cx, &scope, &target, uid, gid)
}

fn chown(cx: &mut Cx<'_>, path: UserAddr, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, CWD, path, uid, gid, 0)
}

fn lchown(cx: &mut Cx<'_>, path: UserAddr, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, CWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

fn fchown(cx: &mut Cx<'_>, fd: Fd, uid: u32, gid: u32) -> SysResult {
    let target = Target::of(descriptor::file(cx, fd)?);
    set_owner(cx, &Scope::new(cx), &target, uid, gid)
}

fn set_times(cx: &Cx<'_>, scope: &Scope, target: &Target, times: [SetTime; 2]) -> SysResult {
    let [atime, mtime] = times;
    if let Some(node) = target.node()? {
        change::times(&scope.cx(cx), target.mount(), node, atime, mtime)?;
        target.tell(Mask::ATTRIB);
    }
    Ok(0)
}

fn set_time(time: &Timespec) -> Result<SetTime, Errno> {
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    match time.nsec {
        UTIME_NOW => Ok(SetTime::Now),
        UTIME_OMIT => Ok(SetTime::Leave),
        nsec @ 0..1_000_000_000 => {
            let nsec = u32::try_from(nsec).map_err(|_| Errno::EINVAL)?;
            Ok(SetTime::To(TimeSpec { sec: time.sec, nsec }))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn utimensat(
    cx: &mut Cx<'_>,
    dir: Fd,
    path: UserAddr,
    times: UserPtr<[Timespec; 2]>,
    flags: u32,
) -> SysResult {
    let times = match times.non_null() {
        None => [Ok(SetTime::Now); 2],
        Some(times) => {
            let [atime, mtime] = cx.user().read(times)?;
            [set_time(&atime), set_time(&mtime)]
        }
    };
    if times == [Ok(SetTime::Leave); 2] {
        return Ok(0);
    }
    let scope = Scope::new(cx);
    let target = if path.is_null() && dir.0 != AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        Target::of(descriptor::file(cx, dir)?)
    } else {
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = read_path(cx, path)?;
        scope.find_target(cx, dir, &path, flags, Empty::by(flags))?
    };
    // The file is looked for before the times are looked at.
    let [atime, mtime] = times;
    set_times(cx, &scope, &target, [atime?, mtime?])
}

/// Times in seconds and microseconds.
fn futimesat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, times: UserPtr<[[i64; 2]; 2]>) -> SysResult {
    let times = match times.non_null() {
        None => [SetTime::Now; 2],
        Some(times) => {
            let convert = |[sec, usec]: [i64; 2]| {
                if !(0..1_000_000).contains(&usec) {
                    return Err(Errno::EINVAL);
                }
                let nsec = u32::try_from(usec * 1000).map_err(|_| Errno::EINVAL)?;
                Ok(SetTime::To(TimeSpec { sec, nsec }))
            };
            let [atime, mtime] = cx.user().read(times)?;
            [convert(atime)?, convert(mtime)?]
        }
    };
    let scope = Scope::new(cx);
    let target = if path.is_null() && dir.0 != AT_FDCWD {
        Target::of(descriptor::file(cx, dir)?)
    } else {
        let path = read_path(cx, path)?;
        scope.find_target(cx, dir, &path, 0, Empty::Error)?
    };
    set_times(cx, &scope, &target, times)
}

fn utimes(cx: &mut Cx<'_>, path: UserAddr, times: UserPtr<[[i64; 2]; 2]>) -> SysResult {
    futimesat(cx, CWD, path, times)
}

fn utime(cx: &mut Cx<'_>, path: UserAddr, times: UserPtr<[i64; 2]>) -> SysResult {
    let times = match times.non_null() {
        None => [SetTime::Now; 2],
        Some(times) => cx.user().read(times)?.map(|sec| SetTime::To(TimeSpec { sec, nsec: 0 })),
    };
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let target = scope.find_target(cx, CWD, &path, 0, Empty::Error)?;
    set_times(cx, &scope, &target, times)
}

/// Checks a new size; beyond `RLIMIT_FSIZE` the caller gets SIGXFSZ.
fn check_size(cx: &Cx<'_>, size: i64) -> Result<u64, Errno> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > descriptor::file_size_limit(cx) {
        descriptor::raise_file_size(cx);
        return Err(Errno::EFBIG);
    }
    Ok(size)
}

fn truncate(cx: &mut Cx<'_>, path: UserAddr, size: i64) -> SysResult {
    if size < 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let found = scope.find(cx, CWD, &path, Follow::Yes)?;
    let node = found.node()?;
    match &node.kind {
        NodeKind::File(_) => {}
        NodeKind::Dir(_) => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    let fs = scope.cx(cx);
    if found.mount.is_read_only() {
        return Err(Errno::EROFS.into());
    }
    permission::check_node(&fs, node, Want::WRITE)?;
    let _access = WriteAccess::new(node)?;
    let size = check_size(cx, size)?;
    open::truncate(&fs, node, size)?;
    notify::at(&found.dentry, Mask::MODIFY);
    Ok(0)
}

fn ftruncate(cx: &mut Cx<'_>, fd: Fd, size: i64) -> SysResult {
    if size < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    if !file.is_writable() {
        return Err(Errno::EINVAL.into());
    }
    let (node, _) = io::regular(&file).map_err(|_| Errno::EINVAL)?;
    if io::is_block_device(&file) {
        return Err(Errno::EINVAL.into());
    }
    let size = check_size(cx, size)?;
    let scope = Scope::new(cx);
    open::truncate(&scope.cx(cx), node, size)?;
    notify::through(&file, Mask::MODIFY);
    Ok(0)
}

/// Whether Linux knows the mode at all; what a file cannot do comes after what the file is.
fn check_allocation(mode: u32) -> Result<(), Errno> {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    const COLLAPSE: u32 = 8;
    const ZERO: u32 = 0x10;
    const INSERT: u32 = 0x20;
    const UNSHARE: u32 = 0x40;
    let known = KEEP_SIZE | PUNCH_HOLE | COLLAPSE | ZERO | INSERT | UNSHARE;
    let punches = mode & PUNCH_HOLE != 0;
    if mode & !known != 0 || (punches && (mode & ZERO != 0 || mode & KEEP_SIZE == 0)) {
        return Err(Errno::EOPNOTSUPP);
    }
    let alone = |bit: u32, with: u32| mode & bit != 0 && mode & !(bit | with) != 0;
    if alone(COLLAPSE, 0) || alone(INSERT, 0) || alone(UNSHARE, KEEP_SIZE) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn fallocate(cx: &mut Cx<'_>, fd: Fd, mode: u32, offset: i64, len: i64) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let (offset, len) = match (u64::try_from(offset), u64::try_from(len)) {
        (Ok(offset), Ok(len)) if len > 0 => (offset, len),
        _ => return Err(Errno::EINVAL.into()),
    };
    check_allocation(mode)?;
    if !file.is_writable() {
        return Err(Errno::EBADF.into());
    }
    match file.body() {
        FileBody::Stream(_, Some(node)) if !matches!(node.kind, NodeKind::Fifo) => {
            return Err(Errno::ENODEV.into());
        }
        FileBody::Stream(stream, None) if !crate::fs::pipe::is_end(&**stream) => {
            return Err(Errno::ENODEV.into());
        }
        FileBody::Stream(..) => return Err(Errno::ESPIPE.into()),
        FileBody::Node(node, _) if node.is_dir() => return Err(Errno::EISDIR.into()),
        _ => {}
    }
    let scope = Scope::new(cx);
    let end = offset.checked_add(len).filter(|end| *end <= io::SIZE_MAX).ok_or(Errno::EFBIG)?;
    if !io::is_allocation(mode) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if end > descriptor::file_size_limit(cx) && !io::is_block_device(&file) {
        descriptor::raise_file_size(cx);
        return Err(Errno::EFBIG.into());
    }
    io::allocate(&scope.cx(cx), &file, mode, offset, len)?;
    notify::through(&file, Mask::MODIFY);
    Ok(0)
}

fn fsync(cx: &mut Cx<'_>, fd: Fd) -> SysResult {
    sync_file(cx, &*descriptor::file(cx, fd)?)
}

/// Makes what was written last.
pub(super) fn sync_file(cx: &Cx<'_>, file: &OpenFile) -> SysResult {
    let scope = Scope::new(cx);
    match file.body() {
        FileBody::Node(node, _) => {
            if !node.is_dir()
                && let Ok((_, ops)) = io::regular(file)
            {
                ops.sync(&scope.cx(cx))?;
            }
        }
        FileBody::Stream(..) | FileBody::Path(_) => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn syncfs(cx: &mut Cx<'_>, fd: Fd) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let scope = Scope::new(cx);
    if let Some(path) = file.path() {
        path.mount.superblock.fs.sync(&scope.cx(cx))?;
    }
    Ok(0)
}

fn sync(cx: &mut Cx<'_>) -> SysResult {
    let scope = Scope::new(cx);
    for mount in scope.fs.namespace().mounts() {
        // sync(2) tells no errors.
        let _ = mount.superblock.fs.sync(&scope.cx(cx));
    }
    Ok(0)
}

fn sync_file_range(cx: &mut Cx<'_>, fd: Fd, offset: i64, len: i64, flags: u32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if matches!(file.body(), FileBody::Node(node, _) if node.is_dir()) {
        return Ok(0);
    }
    let (_, ops) = io::regular(&file).map_err(|_| Errno::ESPIPE)?;
    let scope = Scope::new(cx);
    if flags != 0 {
        ops.sync(&scope.cx(cx))?;
    }
    Ok(0)
}

fn fadvise(cx: &mut Cx<'_>, fd: Fd, _offset: i64, len: i64, advice: u32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let is_fifo = match file.body() {
        FileBody::Stream(_, Some(node)) => matches!(node.kind, NodeKind::Fifo),
        FileBody::Stream(stream, None) => crate::fs::pipe::is_end(&**stream),
        _ => false,
    };
    if is_fifo {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || advice > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

fn readahead(cx: &mut Cx<'_>, fd: Fd, _offset: i64, _len: usize) -> SysResult {
    let file = cx.files.get(fd)?;
    if !file.is_readable() {
        return Err(Errno::EBADF.into());
    }
    io::regular(&file).map_err(|_| Errno::EINVAL)?;
    Ok(0)
}
