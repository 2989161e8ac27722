//! Open files: data straight between the file and guest memory.

use super::attributes::check_writable;
use super::handles::Handle;
use super::request::{Reply, Request};
use super::{Answer, FileServer};
use crate::virtio::io::{Position, read_into, write_from};
use chitin_proto::fuse::{
    FallocateIn, FsyncIn, LseekIn, LseekOut, MAX_TRANSFER, OpenIn, OpenOut, ReadIn, ReleaseIn, WriteIn,
    WriteOut,
};
use chitin_proto::vmm::CachePolicy;
use rustix::fs::{FallocateFlags, FileType, OFlags, SeekFrom};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// Answer of `OPEN`: pages cached earlier are still good.
const KEEP_CACHE: u32 = 2;

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl FileServer {
    /// Flags of open(2) that the guest may use on a file of this policy.
    pub(super) fn open_flags(flags: u32, policy: CachePolicy) -> OFlags {
        let mut allowed =
            OFlags::RDONLY | OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC;
        if policy == CachePolicy::Shared {
            // Others append too, so only the host knows where the end is.
            allowed |= OFlags::APPEND;
        }
        OFlags::from_bits_truncate(flags) & allowed
    }

    /// What the guest may keep of its page cache when it opens a file.
    pub(super) const fn cache_flags(policy: CachePolicy) -> u32 {
        match policy {
            CachePolicy::Immutable | CachePolicy::Exclusive => KEEP_CACHE,
            CachePolicy::Shared => 0,
        }
    }

    pub(super) fn open(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let OpenIn { flags, .. } = request.argument()?;
        let node = request.header.node;
        let known = self.nodes.get(node)?;
        let (share, kind) = (Arc::clone(&known.share), known.kind);
        let flags = Self::open_flags(flags, share.policy);
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            check_writable(&share)?;
        }
        if kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let fd = self.reopen(node, flags)?;
        let open_flags = Self::cache_flags(share.policy);
        let fh = self.handles.insert(Handle { fd: Some(fd), node, share: Some(share), position: 0 });
        reply.put(&OpenOut { fh, open_flags, padding: 0 }).inspect_err(|_| {
            let _ = self.handles.remove(fh);
        })
    }

    pub(super) fn read(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let ReadIn { fh, offset, size, .. } = request.argument()?;
        let fd = self.handles.fd(fh)?.as_fd();
        let mut room = reply.room.split_front(size.min(MAX_TRANSFER) as usize);
        let mut position = offset;
        while !room.is_empty() {
            match read_into(fd, Position::At(position), &mut room) {
                Ok(0) => break,
                Ok(n) => position += n as u64,
                Err(_) if room.done() > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        // The cursor of the reply moved past the whole room; count what was filled.
        reply.set_len(room.done());
        Ok(())
    }

    pub(super) fn write(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let WriteIn { fh, offset, size, .. } = request.argument()?;
        if size > MAX_TRANSFER || request.body.left() < size as usize {
            return Err(Errno::INVAL);
        }
        let fd = self.handles.fd(fh)?.as_fd();
        let mut data = request.body.split_front(size as usize);
        let mut position = offset;
        while !data.is_empty() {
            match write_from(fd, Position::At(position), &mut data) {
                Ok(0) => break,
                Ok(n) => position += n as u64,
                Err(_) if data.done() > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        reply.put(&WriteOut { size: u32::try_from(data.done()).unwrap_or(0), padding: 0 })
    }

    pub(super) fn release(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let ReleaseIn { fh, .. } = request.argument()?;
        self.handles.remove(fh)
    }

    pub(super) fn fsync(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let FsyncIn { fh, fsync_flags, .. } = request.argument()?;
        let fd = self.handles.fd(fh)?;
        if fsync_flags & 1 != 0 { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }
    }

    pub(super) fn fallocate(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let FallocateIn { fh, offset, length, mode, .. } = request.argument()?;
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        rustix::fs::fallocate(self.handles.fd(fh)?, flags, offset, length)
    }

    pub(super) fn lseek(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let LseekIn { fh, offset, whence, .. } = request.argument()?;
        let to = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let offset = rustix::fs::seek(self.handles.fd(fh)?, to)?;
        reply.put(&LseekOut { offset })
    }
}
