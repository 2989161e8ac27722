//! Changing attributes with the checks of chmod(2), chown(2) and utimensat(2).

use crate::abi::Errno;
use crate::fs::node::{S_IFLNK, S_IFMT, S_ISGID, S_ISUID};
use crate::fs::permission::{self, Want};
use crate::fs::{Attr, FsCx, Mount, Node, SetAttr, TimeSpec};
use crate::security::Capability;
use alloc::sync::Arc;

fn writable(mount: Option<&Arc<Mount>>) -> Result<(), Errno> {
    if mount.is_some_and(|mount| mount.is_read_only()) { Err(Errno::EROFS) } else { Ok(()) }
}

fn apply(cx: &FsCx<'_>, node: &Arc<Node>, change: &SetAttr) -> Result<(), Errno> {
    let _lock = node.state.lock.lock(cx.sleeper);
    node.ops.set_attr(cx, change)
}

/// Sets the permission bits (chmod(2)).
///
/// # Errors
/// `EPERM`, `EROFS`, `EOPNOTSUPP` for a symbolic link.
pub fn mode(cx: &FsCx<'_>, mount: Option<&Arc<Mount>>, node: &Arc<Node>, mode: u32) -> Result<(), Errno> {
    writable(mount)?;
    let attr = node.ops.attr(cx)?;
    permission::check_owner(cx, &attr)?;
    if attr.mode & S_IFMT == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !cx.creds.in_group(attr.gid) && !cx.creds.has_over(Capability::Fsetid, attr.uid, attr.gid) {
        mode &= !S_ISGID;
    }
    let change = SetAttr { mode: Some(mode), ctime: Some(TimeSpec::now()), ..SetAttr::default() };
    apply(cx, node, &change)
}

/// Sets owner and group (chown(2)); `None` leaves one as it is. Takes the set-id bits of files off.
///
/// # Errors
/// `EPERM`, `EROFS`.
pub fn owner(
    cx: &FsCx<'_>,
    mount: Option<&Arc<Mount>>,
    node: &Arc<Node>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<(), Errno> {
    writable(mount)?;
    let attr = node.ops.attr(cx)?;
    let owns = cx.creds.fsuid == attr.uid;
    let chown = cx.creds.has_over(Capability::Chown, attr.uid, attr.gid);
    let uid_fits = uid.is_none_or(|uid| chown || (owns && uid == attr.uid));
    let gid_fits = gid.is_none_or(|gid| chown || (owns && (gid == attr.gid || cx.creds.in_group(gid))));
    if !uid_fits || !gid_fits {
        return Err(Errno::EPERM);
    }
    let mut off = 0;
    if !node.is_dir() && (uid.is_some() || gid.is_some()) {
        off = attr.mode & S_ISUID;
        if attr.mode & 0o010 != 0 {
            off |= attr.mode & S_ISGID;
        }
    }
    let mode = (off != 0).then_some(attr.mode & 0o7777 & !off);
    let change = SetAttr { uid, gid, mode, ctime: Some(TimeSpec::now()), ..SetAttr::default() };
    apply(cx, node, &change)
}

/// A time to be set (utimensat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// To now (`UTIME_NOW`).
    Now,
    /// To a value.
    To(TimeSpec),
    /// Not (`UTIME_OMIT`).
    Leave,
}

/// Sets access and modification times.
///
/// # Errors
/// `EPERM`, `EACCES`, `EROFS`.
pub fn times(
    cx: &FsCx<'_>,
    mount: Option<&Arc<Mount>>,
    node: &Arc<Node>,
    atime: SetTime,
    mtime: SetTime,
) -> Result<(), Errno> {
    if atime == SetTime::Leave && mtime == SetTime::Leave {
        return Ok(());
    }
    writable(mount)?;
    let attr = node.ops.attr(cx)?;
    may_set_times(cx, &attr, atime == SetTime::Now && mtime == SetTime::Now)?;
    let now = TimeSpec::now();
    let value = |time| match time {
        SetTime::Now => Some(now),
        SetTime::To(time) => Some(time),
        SetTime::Leave => None,
    };
    let change = SetAttr { atime: value(atime), mtime: value(mtime), ctime: Some(now), ..SetAttr::default() };
    apply(cx, node, &change)
}

fn may_set_times(cx: &FsCx<'_>, attr: &Attr, both_now: bool) -> Result<(), Errno> {
    if permission::check_owner(cx, attr).is_ok() {
        return Ok(());
    }
    if both_now { permission::check(cx.creds, attr, Want::WRITE) } else { Err(Errno::EPERM) }
}
