//! Regular files of a share: a page cache filled by `READ` and written through by `WRITE`.

use super::connection::{Handle, LEVEL};
use super::node::FuseNode;
use crate::abi::Errno;
use crate::cache::{Backing, Mapping};
use crate::fs::node::OpenState;
use crate::fs::{Attr, FileNode, FsCx, NodeOps, OpenFile, SetAttr};
use crate::security::Creds;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::SpinLock;
use chitin_core::sleep::Sleeper;
use chitin_proto::fuse::{FallocateIn, FsyncIn, MAX_TRANSFER, ReadIn, WriteIn, WriteOut, opcode};
use zerocopy::{FromBytes, IntoBytes};

const O_ACCMODE: u32 = 3;
const O_RDWR: u32 = 2;
const O_TRUNC: u32 = 0o1000;

/// A regular file.
pub(super) struct FuseFile {
    pages: Arc<Pages>,
    mapping: Arc<Mapping>,
}

/// Where the file's pages come from: the server, by a handle opened when needed.
struct Pages {
    inner: Arc<FuseNode>,
    reading: SpinLock<Weak<Handle>>,
    writing: SpinLock<Weak<Handle>>,
}

impl FuseFile {
    pub(super) fn new(inner: Arc<FuseNode>, size: u64) -> Arc<Self> {
        let pages = Arc::new(Pages {
            inner,
            reading: SpinLock::new(LEVEL, Weak::new()),
            writing: SpinLock::new(LEVEL, Weak::new()),
        });
        Arc::new(Self { mapping: Mapping::cached(pages.clone(), size), pages })
    }

    pub(super) fn inner(&self) -> &Arc<FuseNode> {
        &self.pages.inner
    }
}

impl Pages {
    fn handle(&self, cx: &FsCx<'_>, slot: &SpinLock<Weak<Handle>>, flags: u32) -> Result<Arc<Handle>, Errno> {
        let open = slot.lock().upgrade();
        if let Some(handle) = open {
            return Ok(handle);
        }
        let handle = self.inner.fs.connection.open(cx, self.inner.id, flags)?;
        *slot.lock() = Arc::downgrade(&handle);
        Ok(handle)
    }

    fn read_handle(&self, cx: &FsCx<'_>) -> Result<Arc<Handle>, Errno> {
        // A file that is open for writing may be readable by that handle alone.
        let writing = self.writing.lock().upgrade();
        writing.map_or_else(|| self.handle(cx, &self.reading, 0), Ok)
    }

    fn write_handle(&self, cx: &FsCx<'_>) -> Result<Arc<Handle>, Errno> {
        self.handle(cx, &self.writing, O_RDWR)
    }
}

impl Backing for Pages {
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno> {
        let root = Creds::root();
        let handle = self.read_handle(&FsCx::kernel(sleeper, &root))?;
        let most = MAX_TRANSFER as usize / FRAME_SIZE;
        for (chunk, frames) in frames.chunks(most).enumerate() {
            let offset = index.saturating_add((chunk * most) as u64).saturating_mul(FRAME_SIZE as u64);
            let size = u32::try_from(frames.len() * FRAME_SIZE).unwrap_or(MAX_TRANSFER);
            let argument = ReadIn { fh: handle.fh, offset, size, ..ReadIn::default() };
            self.inner.fs.connection.call_into_frames(sleeper, self.inner.id, argument.as_bytes(), frames)?;
        }
        Ok(())
    }

    fn write_back(&self, sleeper: &Sleeper, index: u64, frames: &[Frame], len: usize) -> Result<(), Errno> {
        let root = Creds::root();
        let handle = self.write_handle(&FsCx::kernel(sleeper, &root))?;
        let most = MAX_TRANSFER as usize / FRAME_SIZE;
        let mut left = len;
        for (chunk, frames) in frames.chunks(most).enumerate() {
            let offset = index.saturating_add((chunk * most) as u64).saturating_mul(FRAME_SIZE as u64);
            let part = left.min(frames.len() * FRAME_SIZE);
            let size = u32::try_from(part).unwrap_or(MAX_TRANSFER);
            let argument = WriteIn { fh: handle.fh, offset, size, ..WriteIn::default() };
            let connection = &self.inner.fs.connection;
            let answer =
                connection.call_from_frames(sleeper, self.inner.id, argument.as_bytes(), frames, part)?;
            let (out, _) = WriteOut::read_from_prefix(&answer).map_err(|_| Errno::EIO)?;
            if out.size != size {
                return Err(Errno::EIO);
            }
            left -= part;
        }
        self.inner.expire();
        Ok(())
    }
}

impl FileNode for FuseFile {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        Some(self.mapping.clone())
    }

    fn open(&self, cx: &FsCx<'_>, flags: u32) -> Result<OpenState, Errno> {
        // Close-to-open: what others changed since is seen from here on.
        let before = self.pages.inner.last_attr();
        let now = self.pages.inner.fresh_attr(cx)?;
        if (before.mtime, before.size) != (now.mtime, now.size) && self.mapping.size() != now.size {
            self.mapping.resize(now.size);
        }
        let handle = if flags & O_ACCMODE == 0 && flags & O_TRUNC == 0 {
            self.pages.handle(cx, &self.pages.reading, 0)?
        } else {
            self.pages.write_handle(cx)?
        };
        Ok(Some(Box::new(handle)))
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        _file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        self.mapping.read(cx.sleeper, offset, to)
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        _file: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let done = self.mapping.write(cx.sleeper, offset, from)?;
        self.mapping.flush(cx.sleeper)?;
        Ok(done)
    }

    fn sync(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        self.mapping.flush(cx.sleeper)?;
        let handle = self.pages.write_handle(cx).or_else(|_| self.pages.read_handle(cx))?;
        let argument = FsyncIn { fh: handle.fh, fsync_flags: 0, padding: 0 };
        let inner = &self.pages.inner;
        inner.fs.connection.call(cx, opcode::FSYNC, inner.id, &[argument.as_bytes()], 0).map(drop)
    }

    fn allocate(&self, cx: &FsCx<'_>, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        self.mapping.flush(cx.sleeper)?;
        let handle = self.pages.write_handle(cx)?;
        let argument = FallocateIn { fh: handle.fh, offset, length: len, mode, padding: 0 };
        let inner = &self.pages.inner;
        inner.fs.connection.call(cx, opcode::FALLOCATE, inner.id, &[argument.as_bytes()], 0)?;
        let size = inner.ask_attr(cx)?.size;
        if mode != 0 {
            // Holes and collapsed ranges: what is cached may be stale.
            self.mapping.resize(0);
        }
        self.mapping.resize(size);
        Ok(())
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl NodeOps for FuseFile {
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }

    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        let mut attr = self.pages.inner.attr(cx)?;
        // Writes that were not flushed yet are part of the file.
        attr.size = attr.size.max(self.mapping.size());
        Ok(attr)
    }

    fn set_attr(&self, cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let mut held = None;
        if change.size.is_some() {
            self.mapping.flush(cx.sleeper)?;
            // Nothing is written behind the new end until the cache knows it too.
            held = Some(self.mapping.hold_write_back(cx.sleeper));
        }
        self.pages.inner.change(cx, change)?;
        if let Some(size) = change.size {
            self.mapping.resize(size);
        }
        drop(held);
        Ok(())
    }

    fn get_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.pages.inner.get_xattr(cx, name)
    }

    fn set_xattr(&self, cx: &FsCx<'_>, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        self.pages.inner.set_xattr(cx, name, value, flags)
    }

    fn list_xattr(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        self.pages.inner.list_xattr(cx)
    }

    fn remove_xattr(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.pages.inner.remove_xattr(cx, name)
    }
}
