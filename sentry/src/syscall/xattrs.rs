//! Extended attributes: the twelve calls of xattr(7).

use super::descriptor;
use super::place::{Empty, Scope, Target, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use crate::fs::node::{S_IFDIR, S_IFMT, S_IFREG, S_ISVTX};
use crate::fs::notify::Mask;
use crate::fs::permission::{self, Want};
use crate::fs::{FsCx, Node, xattr};
use crate::security::Capability;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

const REMARK: &str = "POSIX ACLs are refused";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(188, "setxattr", 5, setxattr, Restart::Never, Support::Partial(REMARK)),
    row!(189, "lsetxattr", 5, lsetxattr, Restart::Never, Support::Partial(REMARK)),
    row!(190, "fsetxattr", 5, fsetxattr, Restart::Never, Support::Partial(REMARK)),
    row!(191, "getxattr", 4, getxattr, Restart::Never, Support::Partial(REMARK)),
    row!(192, "lgetxattr", 4, lgetxattr, Restart::Never, Support::Partial(REMARK)),
    row!(193, "fgetxattr", 4, fgetxattr, Restart::Never, Support::Partial(REMARK)),
    row!(194, "listxattr", 3, listxattr, Restart::Never, Support::Full),
    row!(195, "llistxattr", 3, llistxattr, Restart::Never, Support::Full),
    row!(196, "flistxattr", 3, flistxattr, Restart::Never, Support::Full),
    row!(197, "removexattr", 2, removexattr, Restart::Never, Support::Partial(REMARK)),
    row!(198, "lremovexattr", 2, lremovexattr, Restart::Never, Support::Partial(REMARK)),
    row!(199, "fremovexattr", 2, fremovexattr, Restart::Never, Support::Partial(REMARK)),
];

/// What a call names.
#[derive(Clone, Copy)]
enum On {
    Path(UserAddr),
    Link(UserAddr),
    File(Fd),
}

/// Reads or changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn find(cx: &Cx<'_>, scope: &Scope, on: On) -> Result<Target, Errno> {
    let (path, flags) = match on {
        On::File(fd) => return Ok(Target::of(descriptor::file(cx, fd)?)),
        On::Path(path) => (path, 0),
        On::Link(path) => (path, AT_SYMLINK_NOFOLLOW),
    };
    scope.find_target(cx, Fd(AT_FDCWD), &read_path(cx, path)?, flags, Empty::Error)
}

fn read_name(cx: &Cx<'_>, name: UserAddr) -> Result<Vec<u8>, Errno> {
    let name = cx.user().read_cstr(name, xattr::NAME_MAX + 1, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

/// Who may use which name space (xattr(7)).
fn check(fs: &FsCx<'_>, target: &Target, node: &Arc<Node>, name: &[u8], access: Access) -> Result<(), Errno> {
    if access == Access::Write && target.mount().is_some_and(|mount| mount.is_read_only()) {
        return Err(Errno::EROFS);
    }
    let attr = node.ops.attr(fs)?;
    let want = if access == Access::Write { Want::WRITE } else { Want::READ };
    if name.starts_with(b"user.") {
        let kind = attr.mode & S_IFMT;
        if kind != S_IFREG && kind != S_IFDIR {
            return Err(if access == Access::Write { Errno::EPERM } else { Errno::ENODATA });
        }
        if kind == S_IFDIR && attr.mode & S_ISVTX != 0 && access == Access::Write {
            permission::check_owner(fs, &attr)?;
        }
        permission::check(fs.creds, &attr, want)
    } else if name.starts_with(b"trusted.") {
        match (fs.creds.has(Capability::SysAdmin), access) {
            (true, _) => Ok(()),
            (false, Access::Write) => Err(Errno::EPERM),
            (false, Access::Read) => Err(Errno::ENODATA),
        }
    } else if name == b"security.capability" {
        if access == Access::Read || fs.creds.has(Capability::Setfcap) { Ok(()) } else { Err(Errno::EPERM) }
    } else if name.starts_with(b"security.") {
        if access == Access::Read || fs.creds.has(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    } else {
        Err(Errno::EOPNOTSUPP)
    }?;
    // A name space alone names nothing.
    let bare = [&b"user."[..], b"trusted.", b"security."].contains(&name);
    if bare { Err(Errno::EINVAL) } else { Ok(()) }
}

fn set(cx: &Cx<'_>, on: On, name: UserAddr, value: UserAddr, len: usize, flags: u32) -> SysResult {
    let scope = Scope::new(cx);
    let target = find(cx, &scope, on)?;
    if flags & !(xattr::CREATE | xattr::REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = read_name(cx, name)?;
    if len > xattr::SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0; len];
    cx.user().read_bytes(value, &mut bytes)?;
    let node = target.node()?.ok_or(Errno::EOPNOTSUPP)?;
    let fs = scope.cx(cx);
    check(&fs, &target, node, &name, Access::Write)?;
    let _lock = node.state.lock.lock(cx.sleeper);
    node.ops.set_xattr(&fs, &name, &bytes, flags)?;
    target.tell(Mask::ATTRIB);
    Ok(0)
}

/// Gives a value, or with no room its length.
fn give(cx: &Cx<'_>, bytes: &[u8], to: UserAddr, room: usize) -> SysResult {
    if room == 0 || bytes.is_empty() {
        return Ok(bytes.len());
    }
    if bytes.len() > room {
        return Err(Errno::ERANGE.into());
    }
    cx.user().write_bytes(to, bytes)?;
    Ok(bytes.len())
}

fn get(cx: &Cx<'_>, on: On, name: UserAddr, to: UserAddr, room: usize) -> SysResult {
    let scope = Scope::new(cx);
    let target = find(cx, &scope, on)?;
    let name = read_name(cx, name)?;
    let node = target.node()?.ok_or(Errno::EOPNOTSUPP)?;
    let fs = scope.cx(cx);
    check(&fs, &target, node, &name, Access::Read)?;
    give(cx, &node.ops.get_xattr(&fs, &name)?, to, room)
}

fn list(cx: &Cx<'_>, on: On, to: UserAddr, room: usize) -> SysResult {
    let scope = Scope::new(cx);
    let target = find(cx, &scope, on)?;
    let Some(node) = target.node()? else { return Ok(0) };
    let fs = scope.cx(cx);
    let trusted = fs.creds.has(Capability::SysAdmin);
    let mut shown = Vec::new();
    for name in node.ops.list_xattr(&fs)?.split_inclusive(|byte| *byte == 0) {
        if trusted || !name.starts_with(b"trusted.") {
            shown.extend_from_slice(name);
        }
    }
    if shown.len() > xattr::LIST_MAX {
        return Err(Errno::E2BIG.into());
    }
    give(cx, &shown, to, room)
}

fn remove(cx: &Cx<'_>, on: On, name: UserAddr) -> SysResult {
    let scope = Scope::new(cx);
    let target = find(cx, &scope, on)?;
    let name = read_name(cx, name)?;
    let node = target.node()?.ok_or(Errno::EOPNOTSUPP)?;
    let fs = scope.cx(cx);
    check(&fs, &target, node, &name, Access::Write)?;
    let _lock = node.state.lock.lock(cx.sleeper);
    node.ops.remove_xattr(&fs, &name)?;
    target.tell(Mask::ATTRIB);
    Ok(0)
}

fn setxattr(
    cx: &mut Cx<'_>,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    set(cx, On::Path(path), name, value, len, flags)
}

fn lsetxattr(
    cx: &mut Cx<'_>,
    path: UserAddr,
    name: UserAddr,
    value: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    set(cx, On::Link(path), name, value, len, flags)
}

fn fsetxattr(cx: &mut Cx<'_>, fd: Fd, name: UserAddr, value: UserAddr, len: usize, flags: u32) -> SysResult {
    set(cx, On::File(fd), name, value, len, flags)
}

fn getxattr(cx: &mut Cx<'_>, path: UserAddr, name: UserAddr, to: UserAddr, room: usize) -> SysResult {
    get(cx, On::Path(path), name, to, room)
}

fn lgetxattr(cx: &mut Cx<'_>, path: UserAddr, name: UserAddr, to: UserAddr, room: usize) -> SysResult {
    get(cx, On::Link(path), name, to, room)
}

fn fgetxattr(cx: &mut Cx<'_>, fd: Fd, name: UserAddr, to: UserAddr, room: usize) -> SysResult {
    get(cx, On::File(fd), name, to, room)
}

fn listxattr(cx: &mut Cx<'_>, path: UserAddr, to: UserAddr, room: usize) -> SysResult {
    list(cx, On::Path(path), to, room)
}

fn llistxattr(cx: &mut Cx<'_>, path: UserAddr, to: UserAddr, room: usize) -> SysResult {
    list(cx, On::Link(path), to, room)
}

fn flistxattr(cx: &mut Cx<'_>, fd: Fd, to: UserAddr, room: usize) -> SysResult {
    list(cx, On::File(fd), to, room)
}

fn removexattr(cx: &mut Cx<'_>, path: UserAddr, name: UserAddr) -> SysResult {
    remove(cx, On::Path(path), name)
}

fn lremovexattr(cx: &mut Cx<'_>, path: UserAddr, name: UserAddr) -> SysResult {
    remove(cx, On::Link(path), name)
}

fn fremovexattr(cx: &mut Cx<'_>, fd: Fd, name: UserAddr) -> SysResult {
    remove(cx, On::File(fd), name)
}
