//! Reading and writing open files at an offset, for system calls and for the kernel's own use. Nothing here resolves faults
//! of user memory: that is the caller's, with no lock held.

use crate::abi::Errno;
use crate::abi::file::{O_APPEND, O_DSYNC, O_NOATIME};
use crate::fs::memfd::{SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_WRITE};
use crate::fs::node::Atime;
use crate::fs::open::mode_without_set_id;
use crate::fs::{FileBody, FileNode, FsCx, MountFlags, Node, NodeKind, OpenFile, SetAttr, block};
use crate::security::Capability;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;

/// Largest file (`s_maxbytes`).
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The regular file or block device behind an open file.
///
/// # Errors
/// `EISDIR` for a directory, `EINVAL` for anything else without contents at offsets.
pub fn regular(file: &OpenFile) -> Result<(&Arc<Node>, &Arc<dyn FileNode>), Errno> {
    match file.body() {
        FileBody::Node(node, _) => match &node.kind {
            NodeKind::File(ops) => Ok((node, ops)),
            NodeKind::BlockDevice(_) => {
                block::Opened::of(file).map(|opened| (node, opened.file())).ok_or(Errno::EINVAL)
            }
            NodeKind::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        },
        FileBody::Path(_) => Err(Errno::EBADF),
        FileBody::Stream(..) => Err(Errno::EINVAL),
    }
}

/// Reads at `offset`.
///
/// # Errors
/// [`Stop`]; `EISDIR`, `EINVAL` as [`regular`].
pub fn read_at(cx: &FsCx<'_>, file: &OpenFile, offset: u64, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
    let (_, ops) = regular(file)?;
    if offset > SIZE_MAX {
        return Err(Errno::EINVAL.into());
    }
    ops.read(cx, file, offset, to)
}

/// The contents of `file` were read.
pub fn touch(cx: &FsCx<'_>, file: &OpenFile) {
    if file.flags() & O_NOATIME != 0 {
        return;
    }
    let (Some(path), Some(node)) = (file.path(), file.node()) else { return };
    let flags = path.mount.flags();
    if flags.intersects(MountFlags::NO_ATIME | MountFlags::READ_ONLY)
        || (node.is_dir() && flags.contains(MountFlags::NO_DIRATIME))
    {
        return;
    }
    let how = if flags.contains(MountFlags::STRICT_ATIME) { Atime::Strict } else { Atime::Relative };
    node.ops.accessed(cx, how);
}

/// Whether an open file is that of a block device: neither limits nor marks of regular files count then.
#[must_use]
pub fn is_block_device(file: &OpenFile) -> bool {
    matches!(file.body(), FileBody::Node(node, _) if matches!(node.kind, NodeKind::BlockDevice(_)))
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAt {
    /// There.
    Offset(u64),
    /// At the end of the file.
    End,
}

impl WriteAt {
    /// At `offset`, or at the end when the file was opened with `O_APPEND`, which block devices ignore.
    #[must_use]
    pub fn of(file: &OpenFile, offset: u64) -> Self {
        let appends = file.flags() & O_APPEND != 0 && !is_block_device(file);
        if appends { Self::End } else { Self::Offset(offset) }
    }
}

/// Writes; returns the offset after the last byte written, and the number of bytes. `size_limit` is `RLIMIT_FSIZE`.
///
/// # Errors
/// [`Stop`]; `EFBIG` beyond the limit (the caller sends SIGXFSZ), `EPERM` against a seal, `ENOSPC`.
pub fn write_at(
    cx: &FsCx<'_>,
    file: &OpenFile,
    at: WriteAt,
    from: &mut IoReader<'_>,
    size_limit: u64,
) -> Result<(u64, usize), Stop> {
    let (node, ops) = regular(file)?;
    let done = {
        let _lock = node.state.lock.lock(cx.sleeper);
        let size = || match ops.mapping() {
            Some(mapping) => Ok(mapping.size()),
            None => node.ops.attr(cx).map(|attr| attr.size),
        };
        let offset = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => size()?,
        };
        let limit = if is_block_device(file) { SIZE_MAX } else { size_limit.min(SIZE_MAX) };
        if from.remaining() == 0 {
            return Ok((offset, 0));
        }
        if offset >= limit {
            return Err(Errno::EFBIG.into());
        }
        let mut room = limit - offset;
        if let Some(seals) = node.state.seals() {
            if seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
                return Err(Errno::EPERM.into());
            }
            if seals & SEAL_GROW != 0 {
                room = room.min(size()?.saturating_sub(offset));
                if room == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
        }
        if !cx.creds.has(Capability::Fsetid)
            && let Some(mode) = mode_without_set_id(cx, node.ops.attr(cx)?.mode)
        {
            node.ops.set_attr(cx, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
        }
        let written = if room < from.remaining() as u64 {
            from.with_limit(usize::try_from(room).unwrap_or(usize::MAX), |from| {
                ops.write(cx, file, offset, from)
            })?
        } else {
            ops.write(cx, file, offset, from)?
        };
        (offset + written as u64, written)
    };
    if file.flags() & O_DSYNC != 0 {
        ops.sync(cx)?;
    }
    Ok(done)
}

/// Fills `bytes` from the file; returns how many there were.
///
/// # Errors
/// As [`read_at`].
pub fn read_bytes(cx: &FsCx<'_>, file: &OpenFile, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let mut to = IoWriter::kernel(bytes.get_mut(done..).unwrap_or_default());
        match read_at(cx, file, offset + done as u64, &mut to) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Stop::Errno(errno)) => return Err(errno),
            Err(Stop::WouldBlock | Stop::Fault(_)) => return Err(Errno::EIO),
        }
    }
    Ok(done)
}

/// What lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`
    Hole,
}

/// The first byte from `offset` on that is data, or a hole; the end of the file is a hole.
///
/// # Errors
/// `ENXIO` beyond the end of the file.
pub fn seek(
    cx: &FsCx<'_>,
    node: &Arc<Node>,
    ops: &Arc<dyn FileNode>,
    offset: u64,
    what: Seek,
) -> Result<u64, Errno> {
    let size = node.ops.attr(cx)?.size;
    if offset >= size {
        return Err(Errno::ENXIO);
    }
    let Some(mapping) = ops.mapping().filter(|mapping| mapping.is_memory()) else {
        // Holes of other file systems are not told apart: all is data.
        return Ok(if what == Seek::Data { offset } else { size });
    };
    let pages = size.div_ceil(4096);
    let mut index = offset / 4096;
    while index < pages {
        let is_data = mapping.try_page(index).is_some();
        if is_data == (what == Seek::Data) {
            return Ok(offset.max(index * 4096));
        }
        index = match what {
            Seek::Data => mapping.next_page(index).unwrap_or(pages),
            Seek::Hole => index + 1,
        };
    }
    if what == Seek::Data { Err(Errno::ENXIO) } else { Ok(size) }
}

/// fallocate(2): `FALLOC_FL_KEEP_SIZE`.
pub const KEEP_SIZE: u32 = 1;
/// fallocate(2): `FALLOC_FL_PUNCH_HOLE`.
pub const PUNCH_HOLE: u32 = 2;
/// fallocate(2): `FALLOC_FL_ZERO_RANGE`.
pub const ZERO_RANGE: u32 = 16;

/// Whether the flags of an fallocate(2) go together and are known.
#[must_use]
pub const fn is_allocation(mode: u32) -> bool {
    matches!(mode, 0 | KEEP_SIZE | ZERO_RANGE)
        || mode == PUNCH_HOLE | KEEP_SIZE
        || mode == ZERO_RANGE | KEEP_SIZE
}

/// Allocates or frees part of a file (fallocate(2)).
///
/// # Errors
/// `EOPNOTSUPP` for modes that are not there, `EPERM` against a seal, `ENODEV` for anything but a regular file.
pub fn allocate(cx: &FsCx<'_>, file: &OpenFile, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
    if !is_allocation(mode) {
        return Err(Errno::EOPNOTSUPP);
    }
    let (node, ops) = regular(file).map_err(|_| Errno::ENODEV)?;
    let _lock = node.state.lock.lock(cx.sleeper);
    if let Some(seals) = node.state.seals() {
        let punches = mode & (PUNCH_HOLE | ZERO_RANGE) != 0;
        let grows = mode & KEEP_SIZE == 0 && offset.saturating_add(len) > node.ops.attr(cx)?.size;
        if (punches && seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0) || (grows && seals & SEAL_GROW != 0) {
            return Err(Errno::EPERM);
        }
    }
    ops.allocate(cx, mode, offset, len)
}
