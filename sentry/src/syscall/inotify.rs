//! inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch.

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_ONLY};
use super::place::{Scope, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::AT_FDCWD;
use crate::fs::OpenFile;
use crate::fs::lookup::Follow;
use crate::fs::notify::{Inotify, Mask};
use crate::fs::permission::{self, Want};
use crate::user::UserAddr;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(253, "inotify_init", 0, inotify_init, Restart::Never, Support::Full),
    row!(254, "inotify_add_watch", 3, inotify_add_watch, Restart::Never, Support::Full),
    row!(255, "inotify_rm_watch", 2, inotify_rm_watch, Restart::Never, Support::Full),
    row!(294, "inotify_init1", 1, inotify_init1, Restart::Never, Support::Full),
];

fn inotify_init(cx: &mut Cx<'_>) -> SysResult {
    inotify_init1(cx, 0)
}

fn inotify_init1(cx: &mut Cx<'_>, flags: u32) -> SysResult {
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    descriptor::number(descriptor::install(cx, Inotify::new()?, flags | READ_ONLY)?)
}

fn with<T>(file: &OpenFile, act: impl FnOnce(&Inotify) -> Result<T, Errno>) -> Result<T, Errno> {
    act(file.stream().and_then(|stream| stream.as_any().downcast_ref()).ok_or(Errno::EINVAL)?)
}

fn inotify_add_watch(cx: &mut Cx<'_>, fd: Fd, path: UserAddr, mask: u32) -> SysResult {
    let mask = Mask::from_bits_retain(mask);
    let known = Mask::all() - Mask::ISDIR - Mask::UNMOUNT - Mask::Q_OVERFLOW - Mask::IGNORED;
    if !mask.intersects(known | Mask::ISDIR) {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    if mask.contains(Mask::MASK_ADD | Mask::MASK_CREATE) {
        return Err(Errno::EINVAL.into());
    }
    with(&file, |_| Ok(()))?;
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let follow = if mask.contains(Mask::DONT_FOLLOW) { Follow::No } else { Follow::Yes };
    let found = scope.find(cx, Fd(AT_FDCWD), &path, follow)?;
    let node = found.node()?;
    if mask.contains(Mask::ONLYDIR) && !node.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    permission::check_node(&scope.cx(cx), node, Want::READ)?;
    let attr = node.ops.attr(&scope.cx(cx))?;
    let watched = (node, (attr.dev, attr.ino));
    let number = with(&file, |inotify| inotify.watch(watched, &found.mount.superblock, mask))?;
    usize::try_from(number).map_err(|_| Errno::EINVAL.into())
}

fn inotify_rm_watch(cx: &mut Cx<'_>, fd: Fd, watch: i32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    with(&file, |inotify| inotify.remove(watch))?;
    Ok(0)
}
