//! Names and directories: mkdir, unlink, rename, link, getdents, chdir and their kin.

use super::descriptor;
use super::place::{Empty, PATH_MAX, Scope, Target, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW};
use crate::fs::lookup::Follow;
use crate::fs::names::{self, Side};
use crate::fs::node::{DirEntry, NewNode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK};
use crate::fs::path::{self, Reach};
use crate::fs::permission::{self, Want};
use crate::fs::{FileBody, Path, io};
use crate::security::Capability;
use crate::user::UserAddr;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(78, "getdents", 3, getdents, Restart::Never, Support::Full),
    row!(79, "getcwd", 2, getcwd, Restart::Never, Support::Full),
    row!(80, "chdir", 1, chdir, Restart::Never, Support::Full),
    row!(81, "fchdir", 1, fchdir, Restart::Never, Support::Full),
    row!(82, "rename", 2, rename, Restart::Never, Support::Full),
    row!(83, "mkdir", 2, mkdir, Restart::Never, Support::Full),
    row!(84, "rmdir", 1, rmdir, Restart::Never, Support::Full),
    row!(86, "link", 2, link, Restart::Never, Support::Full),
    row!(87, "unlink", 1, unlink, Restart::Never, Support::Full),
    row!(88, "symlink", 2, symlink, Restart::Never, Support::Full),
    row!(95, "umask", 1, umask, Restart::Never, Support::Full),
    row!(133, "mknod", 3, mknod, Restart::Never, Support::Full),
    row!(161, "chroot", 1, chroot, Restart::Never, Support::Full),
    row!(217, "getdents64", 3, getdents64, Restart::Never, Support::Full),
    row!(258, "mkdirat", 3, mkdirat, Restart::Never, Support::Full),
    row!(259, "mknodat", 4, mknodat, Restart::Never, Support::Full),
    row!(263, "unlinkat", 3, unlinkat, Restart::Never, Support::Full),
    row!(264, "renameat", 4, renameat, Restart::Never, Support::Full),
    row!(265, "linkat", 5, linkat, Restart::Never, Support::Full),
    row!(266, "symlinkat", 3, symlinkat, Restart::Never, Support::Full),
    row!(316, "renameat2", 5, renameat2, Restart::Never, Support::Partial("no RENAME_WHITEOUT")),
];

const CWD: Fd = Fd(AT_FDCWD);

fn create(cx: &Cx<'_>, dir: Fd, path: UserAddr, what: &NewNode, mode: u32) -> SysResult {
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let (parent, last, tail) = scope.find_parent(cx, dir, &path)?;
    let mode = if matches!(what, NewNode::Symlink(_)) { 0o777 } else { mode & !scope.fs.umask() };
    names::create(&scope.cx(cx), &parent, &last, tail, what, mode)?;
    Ok(0)
}

fn mkdirat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32) -> SysResult {
    create(cx, dir, path, &NewNode::Dir, mode & 0o1777)
}

fn mkdir(cx: &mut Cx<'_>, path: UserAddr, mode: u32) -> SysResult {
    mkdirat(cx, CWD, path, mode)
}

fn mknodat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, mode: u32, device: u32) -> SysResult {
    // The 32-bit device number of this call has the bits of stat's.
    let device = u64::from(device);
    let what = match mode & S_IFMT {
        0 | S_IFREG => NewNode::File,
        S_IFCHR => NewNode::CharDevice(device),
        S_IFBLK => NewNode::BlockDevice(device),
        S_IFIFO => NewNode::Fifo,
        S_IFSOCK => NewNode::Socket,
        S_IFDIR => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    create(cx, dir, path, &what, mode & 0o7777)
}

fn mknod(cx: &mut Cx<'_>, path: UserAddr, mode: u32, device: u32) -> SysResult {
    mknodat(cx, CWD, path, mode, device)
}

fn symlinkat(cx: &mut Cx<'_>, target: UserAddr, dir: Fd, path: UserAddr) -> SysResult {
    let target = read_path(cx, target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    create(cx, dir, path, &NewNode::Symlink(target), 0o777)
}

fn symlink(cx: &mut Cx<'_>, target: UserAddr, path: UserAddr) -> SysResult {
    symlinkat(cx, target, CWD, path)
}

fn unlinkat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, flags: u32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let (parent, last, tail) = scope.find_parent(cx, dir, &path)?;
    if flags & AT_REMOVEDIR != 0 {
        names::rmdir(&scope.cx(cx), &parent, &last)?;
    } else {
        names::unlink(&scope.cx(cx), &parent, &last, tail)?;
    }
    Ok(0)
}

fn unlink(cx: &mut Cx<'_>, path: UserAddr) -> SysResult {
    unlinkat(cx, CWD, path, 0)
}

fn rmdir(cx: &mut Cx<'_>, path: UserAddr) -> SysResult {
    unlinkat(cx, CWD, path, AT_REMOVEDIR)
}

fn linkat(cx: &mut Cx<'_>, from: Fd, path: UserAddr, to: Fd, new: UserAddr, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let scope = Scope::new(cx);
    if flags & AT_EMPTY_PATH != 0 && !scope.creds.has(Capability::DacReadSearch) {
        return Err(Errno::ENOENT.into());
    }
    let path = read_path(cx, path)?;
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let target = scope.find_target(cx, from, &path, follow, Empty::by(flags))?;
    let new = read_path(cx, new)?;
    let (parent, last, tail) = scope.find_parent(cx, to, &new)?;
    let Target::Place(target) = target else { return Err(Errno::EXDEV.into()) };
    names::link(&scope.cx(cx), &target, &parent, &last, tail)?;
    Ok(0)
}

fn link(cx: &mut Cx<'_>, path: UserAddr, new: UserAddr) -> SysResult {
    linkat(cx, CWD, path, CWD, new, 0)
}

fn renameat2(cx: &mut Cx<'_>, from: Fd, path: UserAddr, to: Fd, new: UserAddr, flags: u32) -> SysResult {
    let replaces_none = flags & (names::NOREPLACE | names::WHITEOUT) != 0;
    if flags & !(names::NOREPLACE | names::EXCHANGE | names::WHITEOUT) != 0
        || (replaces_none && flags & names::EXCHANGE != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let scope = Scope::new(cx);
    // What is wrong with the old name is told before what is wrong with the new one.
    let path = read_path(cx, path)?;
    let (dir, last, tail) = scope.find_parent(cx, from, &path)?;
    let new = read_path(cx, new)?;
    let (new_dir, new_last, new_tail) = scope.find_parent(cx, to, &new)?;
    let from = Side { dir: &dir, last: &last, tail };
    let to = Side { dir: &new_dir, last: &new_last, tail: new_tail };
    names::rename(&scope.cx(cx), &from, &to, flags)?;
    Ok(0)
}

fn renameat(cx: &mut Cx<'_>, from: Fd, path: UserAddr, to: Fd, new: UserAddr) -> SysResult {
    renameat2(cx, from, path, to, new, 0)
}

fn rename(cx: &mut Cx<'_>, path: UserAddr, new: UserAddr) -> SysResult {
    renameat2(cx, CWD, path, CWD, new, 0)
}

/// The two forms of directory records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `struct linux_dirent`: the type is in the last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

/// Appends a record; answers whether it fitted into `room` bytes.
fn push_record(records: &mut Vec<u8>, form: Form, entry: &DirEntry<'_>, room: usize) -> bool {
    let fixed = if form == Form::New { 19 } else { 18 };
    // Name, null byte, and in the old form the type.
    let tail = if form == Form::New { 1 } else { 2 };
    let len = (fixed + entry.name.len() + tail).next_multiple_of(8);
    let Ok(wire_len) = u16::try_from(len) else { return true };
    if len > room - records.len() {
        return false;
    }
    let start = records.len();
    records.extend_from_slice(&entry.ino.to_le_bytes());
    records.extend_from_slice(&entry.next.to_le_bytes());
    records.extend_from_slice(&wire_len.to_le_bytes());
    if form == Form::New {
        records.push(entry.kind);
    }
    records.extend_from_slice(entry.name);
    records.resize(start + len, 0);
    if form == Form::Old
        && let Some(last) = records.last_mut()
    {
        *last = entry.kind;
    }
    true
}

fn list(cx: &Cx<'_>, fd: Fd, to: UserAddr, len: u32, form: Form) -> SysResult {
    /// Most bytes of one call: user-sized buffers are not for the kernel heap.
    const ROOM_MAX: usize = 32 * 1024;
    let file = descriptor::file(cx, fd)?;
    let FileBody::Node(node, _) = file.body() else { return Err(Errno::ENOTDIR.into()) };
    let dir = node.dir()?;
    let room = usize::try_from(len).unwrap_or(ROOM_MAX).min(ROOM_MAX);
    let mut position = file.position.lock(cx.sleeper);
    if node.state.is_dead() {
        return Err(Errno::ENOENT.into());
    }
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let mut records = Vec::with_capacity(room.min(4096));
    let mut next = *position;
    let mut full = false;
    dir.read_dir(&fs, *position, &mut |entry| {
        let took = push_record(&mut records, form, entry, room);
        if took {
            next = entry.next;
        } else {
            full = true;
        }
        took
    })?;
    if records.is_empty() {
        return if full { Err(Errno::EINVAL.into()) } else { Ok(0) };
    }
    cx.user().write_bytes(to, &records)?;
    *position = next;
    io::touch(&fs, &file);
    crate::fs::notify::through(&file, crate::fs::notify::Mask::ACCESS);
    Ok(records.len())
}

fn getdents64(cx: &mut Cx<'_>, fd: Fd, to: UserAddr, len: u32) -> SysResult {
    list(cx, fd, to, len, Form::New)
}

fn getdents(cx: &mut Cx<'_>, fd: Fd, to: UserAddr, len: u32) -> SysResult {
    list(cx, fd, to, len, Form::Old)
}

fn getcwd(cx: &mut Cx<'_>, to: UserAddr, len: usize) -> SysResult {
    let fs = cx.task.fs();
    let cwd = fs.cwd();
    if cwd.dentry.is_removed() {
        return Err(Errno::ENOENT.into());
    }
    let (shown, reach) = path::text(&cwd, &fs.root());
    let mut text = if reach == Reach::Outside { b"(unreachable)".to_vec() } else { Vec::new() };
    text.extend_from_slice(&shown);
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if text.len() > len {
        return Err(Errno::ERANGE.into());
    }
    cx.user().write_bytes(to, &text)?;
    Ok(text.len())
}

/// A directory that the caller may search.
fn find_dir(cx: &Cx<'_>, scope: &Scope, path: UserAddr) -> Result<Path, Errno> {
    let path = read_path(cx, path)?;
    let found = scope.find(cx, CWD, &path, Follow::Yes)?;
    let node = found.node()?;
    node.dir()?;
    permission::check_node(&scope.cx(cx), node, Want::EXECUTE)?;
    Ok(found)
}

fn chdir(cx: &mut Cx<'_>, path: UserAddr) -> SysResult {
    let scope = Scope::new(cx);
    let found = find_dir(cx, &scope, path)?;
    scope.fs.set_cwd(found);
    Ok(0)
}

fn fchdir(cx: &mut Cx<'_>, fd: Fd) -> SysResult {
    let file = cx.files.get(fd)?;
    let scope = Scope::new(cx);
    let found = file.path().cloned().ok_or(Errno::ENOTDIR)?;
    let node = found.node()?;
    node.dir()?;
    permission::check_node(&scope.cx(cx), node, Want::EXECUTE)?;
    scope.fs.set_cwd(found);
    Ok(0)
}

fn chroot(cx: &mut Cx<'_>, path: UserAddr) -> SysResult {
    let scope = Scope::new(cx);
    let found = find_dir(cx, &scope, path)?;
    if !scope.creds.has_own(Capability::SysChroot) {
        return Err(Errno::EPERM.into());
    }
    scope.fs.set_root(found);
    Ok(0)
}

fn umask(cx: &mut Cx<'_>, mask: u32) -> SysResult {
    Ok(cx.task.fs().set_umask(mask) as usize)
}
