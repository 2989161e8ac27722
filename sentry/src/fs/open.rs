//! Opening files: open(2), openat2(2) with all their flags, and opening for execution.

use crate::abi::Errno;
use crate::abi::file::{
    O_ACCMODE, O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOCTTY, O_NOFOLLOW, O_PATH, O_TMPFILE,
    O_TRUNC,
};
use crate::fs::lookup::{Follow, Last, Resolve, Tail, Walker};
use crate::fs::node::{NewNode, S_ISGID, S_ISUID};
use crate::fs::node_state::WriteAccess;
use crate::fs::notify::{self, Mask};
use crate::fs::permission::{self, Want};
use crate::fs::pipe::{self, Pipe};
use crate::fs::{
    Dentry, FileBody, FsCx, MountFlags, Node, NodeKind, OpenFile, Path, SetAttr, TimeSpec, block, dev,
};
use crate::security::Capability;
use crate::wait::Blocked;
use alloc::sync::Arc;

/// What open(2) is asked for, checked by the system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// `O_*`.
    pub flags: u32,
    /// Permission bits of a file that is made, after umask.
    pub mode: u32,
    /// `RESOLVE_*`.
    pub resolve: Resolve,
}

impl How {
    /// Opens with these flags; files are made with mode 0644.
    #[must_use]
    pub fn flags(flags: u32) -> Self {
        Self { flags, mode: 0o644, resolve: Resolve::empty() }
    }

    const fn has(&self, flag: u32) -> bool {
        self.flags & flag == flag
    }

    fn follow(&self) -> Follow {
        if self.has(O_NOFOLLOW) { Follow::No } else { Follow::Yes }
    }
}

/// Whether an open has just made the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Found,
    Made,
}

/// Opens `path` for a process with this root directory; relative paths start at `start`.
///
/// # Errors
/// As open(2); [`Blocked::Interrupted`] while a FIFO waits for its other end.
pub fn open(
    cx: &FsCx<'_>,
    root: &Path,
    start: &Path,
    path: &[u8],
    how: &How,
) -> Result<Arc<OpenFile>, Blocked> {
    let mut walker = Walker::new(cx, root.clone(), start.clone(), path, how.resolve)?;
    if how.has(O_PATH) {
        let path = walker.target(how.follow())?;
        return Ok(open_place(path, how)?);
    }
    if how.has(O_TMPFILE) {
        return open_unnamed(cx, walker.target(how.follow())?, how);
    }
    if !how.has(O_CREAT) {
        return open_existing(cx, walker.target(how.follow())?, how, Origin::Found);
    }
    loop {
        let (last, tail) = walker.parent()?;
        let name = match last {
            Last::Name(name) => name,
            Last::DotDot => {
                walker.step_up()?;
                return open_existing(cx, walker.at().clone(), how, Origin::Found);
            }
            Last::Dot | Last::None => {
                return open_existing(cx, walker.at().clone(), how, Origin::Found);
            }
        };
        if tail == Tail::Slash {
            return Err(Errno::EISDIR.into());
        }
        let dir = walker.at().clone();
        let child = dir.dentry.child(cx, &name)?;
        let (child, origin) = match &child.node {
            Some(_) => (child, Origin::Found),
            None => create_or_find(cx, &dir, &name, how)?,
        };
        let node = child.node()?;
        if origin == Origin::Found {
            if how.has(O_EXCL) {
                return Err(Errno::EEXIST.into());
            }
            if node.is_symlink() && !child.is_mountpoint() {
                if how.has(O_NOFOLLOW) {
                    return Err(Errno::ELOOP.into());
                }
                walker.follow(&node.clone())?;
                continue;
            }
        }
        walker.enter(child, Follow::No)?;
        return open_existing(cx, walker.at().clone(), how, origin);
    }
}

/// Makes a regular file, or finds the one that somebody else made meanwhile.
fn create_or_find(cx: &FsCx<'_>, dir: &Path, name: &[u8], how: &How) -> Result<(Arc<Dentry>, Origin), Errno> {
    let node = dir.node()?;
    let _lock = node.state.lock.lock(cx.sleeper);
    let child = dir.dentry.child_locked(cx, name)?;
    if child.node.is_some() {
        return Ok((child, Origin::Found));
    }
    if dir.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    permission::may_create(cx, node)?;
    let made = node.dir()?.create(cx, name, &NewNode::File, how.mode)?;
    notify::entry(node, name, &made, Mask::CREATE);
    Ok((dir.dentry.add_child(name, Some(made)), Origin::Made))
}

/// `O_PATH`.
fn open_place(path: Path, how: &How) -> Result<Arc<OpenFile>, Errno> {
    let node = path.node()?.clone();
    if how.has(O_DIRECTORY) && !node.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    Ok(OpenFile::at(FileBody::Path(node), how.flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), path))
}

/// `O_TMPFILE`.
fn open_unnamed(cx: &FsCx<'_>, dir: Path, how: &How) -> Result<Arc<OpenFile>, Blocked> {
    let node = dir.node()?;
    let made = {
        let ops = node.dir()?;
        if dir.mount.is_read_only() {
            return Err(Errno::EROFS.into());
        }
        permission::may_create(cx, node)?;
        ops.create_unnamed(cx, how.mode)?
    };
    let ino = made.ops.attr(cx)?.ino;
    let dentry = Dentry::unnamed(&dir.dentry, made, ino);
    open_existing(cx, Path { mount: dir.mount, dentry }, how, Origin::Made)
}

/// Opens what is at `path`.
///
/// # Errors
/// As open(2).
pub fn open_path(cx: &FsCx<'_>, path: Path, how: &How) -> Result<Arc<OpenFile>, Blocked> {
    open_existing(cx, path, how, Origin::Found)
}

fn open_existing(cx: &FsCx<'_>, path: Path, how: &How, origin: Origin) -> Result<Arc<OpenFile>, Blocked> {
    let file = open_unseen(cx, path, how, origin)?;
    if how.has(O_TRUNC) && origin == Origin::Found && matches!(file.body(), FileBody::Node(..)) {
        notify::through(&file, Mask::MODIFY);
    }
    notify::through(&file, Mask::OPEN);
    Ok(file)
}

/// As [`open_existing`], telling nobody.
fn open_unseen(cx: &FsCx<'_>, path: Path, how: &How, origin: Origin) -> Result<Arc<OpenFile>, Blocked> {
    let node = path.node()?.clone();
    if origin == Origin::Found {
        check_kind(&node, how)?;
    }
    let special = permission::is_special(&node);
    if matches!(node.kind, NodeKind::CharDevice(_) | NodeKind::BlockDevice(_))
        && path.mount.flags().contains(MountFlags::NO_DEV)
    {
        return Err(Errno::EACCES.into());
    }
    if origin == Origin::Found {
        let want = wanted(how);
        if want.contains(Want::WRITE) && !special && path.mount.is_read_only() {
            // The permission error comes first, as on Linux.
            permission::check_node(cx, &node, want)?;
            return Err(Errno::EROFS.into());
        }
        permission::check_node(cx, &node, want)?;
    }
    if how.has(O_NOATIME) {
        permission::check_owner(cx, &node.ops.attr(cx)?)?;
    }
    let flags = how.flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC) | crate::abi::file::O_LARGEFILE;
    match &node.kind {
        NodeKind::File(file) => {
            let writes = matches!(flags & O_ACCMODE, 1 | 2);
            let access = (writes || how.has(O_TRUNC)).then(|| WriteAccess::new(&node)).transpose()?;
            let state = file.open(cx, how.flags)?;
            if how.has(O_TRUNC) && origin == Origin::Found {
                truncate(cx, &node, 0)?;
            }
            let access = access.filter(|_| writes);
            Ok(OpenFile::at_writable(FileBody::Node(node, state), flags, path, access))
        }
        NodeKind::Dir(_) => Ok(OpenFile::at(FileBody::Node(node, None), flags, path)),
        NodeKind::Symlink(_) => Err(Errno::ELOOP.into()),
        NodeKind::Socket => Err(Errno::ENXIO.into()),
        NodeKind::Fifo => {
            let pipe = node.state.attach_with(Pipe::new).ok_or(Errno::ENXIO)?;
            let end = pipe::fifo::open(&pipe, how.flags, &cx.waiter())?;
            Ok(OpenFile::at(FileBody::Stream(end, Some(node)), flags, path))
        }
        NodeKind::CharDevice(device) => {
            let request = dev::DeviceOpen { cx, path: &path, node: &node, flags: how.flags, device: *device };
            let stream = dev::open_char(&request)?;
            Ok(OpenFile::at(FileBody::Stream(stream, Some(node)), flags, path))
        }
        NodeKind::BlockDevice(number) => {
            let state = block::open(cx, *number, how.flags)?;
            Ok(OpenFile::at(FileBody::Node(node, state), flags, path))
        }
        NodeKind::Open(file) => reopen(file, flags),
    }
}

/// Whether the kind of file goes with the flags.
fn check_kind(node: &Arc<Node>, how: &How) -> Result<(), Errno> {
    if how.has(O_CREAT) {
        if how.has(O_EXCL) {
            return Err(Errno::EEXIST);
        }
        if node.is_dir() {
            return Err(Errno::EISDIR);
        }
    }
    if how.has(O_DIRECTORY) && !node.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if node.is_symlink() {
        return Err(Errno::ELOOP);
    }
    if node.is_dir() && wanted(how).contains(Want::WRITE) {
        return Err(Errno::EISDIR);
    }
    Ok(())
}

/// Permissions that the flags need.
fn wanted(how: &How) -> Want {
    let mut want = match how.flags & O_ACCMODE {
        0 => Want::READ,
        1 => Want::WRITE,
        _ => Want::READ | Want::WRITE,
    };
    if how.has(O_TRUNC) {
        want |= Want::WRITE;
    }
    want
}

/// Opens again what `/proc/PID/fd/N` leads to, when no path does.
fn reopen(file: &Arc<OpenFile>, flags: u32) -> Result<Arc<OpenFile>, Blocked> {
    let stream = file.stream().ok_or(Errno::ENXIO)?.clone().reopen(flags)?;
    Ok(OpenFile::new(FileBody::Stream(stream, None), flags & !O_DIRECTORY))
}

/// Opens a program for execution (execve(2)): the caller takes [`crate::fs::node_state::DenyWrite`] of its node.
///
/// # Errors
/// `EACCES` when it is not a regular file, may not be executed, or its mount says `noexec`; `ELOOP`; as open(2).
pub fn open_executable(
    cx: &FsCx<'_>,
    root: &Path,
    start: &Path,
    path: &[u8],
    follow: Follow,
) -> Result<Arc<OpenFile>, Errno> {
    let target = Walker::new(cx, root.clone(), start.clone(), path, Resolve::empty())?.target(follow)?;
    open_path_executable(cx, target)
}

/// As [`open_executable`], of a place.
///
/// # Errors
/// As [`open_executable`].
pub fn open_path_executable(cx: &FsCx<'_>, path: Path) -> Result<Arc<OpenFile>, Errno> {
    let node = path.node()?.clone();
    let NodeKind::File(file) = &node.kind else {
        return Err(if node.is_symlink() { Errno::ELOOP } else { Errno::EACCES });
    };
    if path.mount.flags().contains(MountFlags::NO_EXEC) {
        return Err(Errno::EACCES);
    }
    permission::check_node(cx, &node, Want::EXECUTE)?;
    let state = file.open(cx, 0)?;
    let opened = OpenFile::at(FileBody::Node(node, state), crate::abi::file::O_LARGEFILE, path);
    notify::through(&opened, Mask::OPEN);
    Ok(opened)
}

/// Sets the size of a regular file (truncate(2)); permission has been checked. Takes the set-id bits off.
///
/// # Errors
/// `EINVAL` when it is no regular file, `EPERM` against a seal, `EFBIG`, `ENOSPC`.
pub fn truncate(cx: &FsCx<'_>, node: &Arc<Node>, size: u64) -> Result<(), Errno> {
    let _lock = node.state.lock.lock(cx.sleeper);
    let attr = node.ops.attr(cx)?;
    if let Some(seals) = node.state.seals() {
        let shrinks = seals & crate::fs::memfd::SEAL_SHRINK != 0 && size < attr.size;
        let grows = seals & crate::fs::memfd::SEAL_GROW != 0 && size > attr.size;
        if shrinks || grows || (seals & crate::fs::memfd::SEAL_WRITE != 0 && size != attr.size) {
            return Err(Errno::EPERM);
        }
    }
    let now = TimeSpec::now();
    let mode = mode_without_set_id(cx, attr.mode);
    let change = SetAttr { size: Some(size), mode, mtime: Some(now), ctime: Some(now), ..SetAttr::default() };
    node.ops.set_attr(cx, &change)
}

/// The mode of a file that was written to by someone who may not keep its set-id bits; `None`: it stays.
#[must_use]
pub fn mode_without_set_id(cx: &FsCx<'_>, mode: u32) -> Option<u32> {
    if cx.creds.has(Capability::Fsetid) || mode & crate::fs::node::S_IFMT != crate::fs::node::S_IFREG {
        return None;
    }
    let mut off = mode & S_ISUID;
    if mode & 0o010 != 0 {
        off |= mode & S_ISGID;
    }
    (off != 0).then_some(mode & 0o7777 & !off)
}

/// Flags that fcntl(F_SETFL) may change.
pub const SETTABLE: u32 = O_APPEND | crate::abi::file::O_NONBLOCK | crate::abi::file::O_DIRECT | O_NOATIME;
