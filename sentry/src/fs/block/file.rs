//! An open block special file: reads and writes through the device's page cache, or around it.

use super::disk::{Disk, Room};
use crate::abi::Errno;
use crate::abi::file::{O_DIRECT, O_EXCL};
use crate::cache::{self, Mapping};
use crate::fs::io::{KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE};
use crate::fs::node::OpenState;
use crate::fs::{FileNode, FsCx, OpenFile};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::boxed::Box;
use alloc::sync::Arc;
use chitin_core::sleep::SleepLock;
use core::any::Any;
use core::sync::atomic::Ordering;

/// State of an open file of a block device.
pub struct Opened {
    file: Arc<dyn FileNode>,
    disk: Arc<Disk>,
}

impl Opened {
    /// What reads, writes and the like go to.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn FileNode> {
        &self.file
    }

    /// The device.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// That of an open file, if it is one of a block device.
    #[must_use]
    pub fn of(file: &OpenFile) -> Option<&Self> {
        file.state::<Self>()
    }
}

/// One open of a device.
struct BlockFile {
    disk: Arc<Disk>,
    /// Number of the last failure that fsync has told.
    seen: SleepLock<u32>,
    is_exclusive: bool,
}

/// Opens a device.
///
/// # Errors
/// `ENXIO` when there is none of that number, `EPERM` when it is another container's, `EBUSY` for `O_EXCL` when somebody else
/// has it so.
pub fn open(cx: &FsCx<'_>, number: u64, flags: u32) -> Result<OpenState, Errno> {
    let disk = super::usable(cx, number)?;
    let is_exclusive = flags & O_EXCL != 0;
    if is_exclusive {
        disk.claim()?;
    }
    let seen = SleepLock::new(disk.pages.errors_at_open());
    let file = Arc::new(BlockFile { disk: disk.clone(), seen, is_exclusive });
    Ok(Some(Box::new(Opened { file, disk })))
}

impl Drop for BlockFile {
    fn drop(&mut self) {
        if self.is_exclusive {
            self.disk.claimed.store(false, Ordering::Release);
        }
        if self.disk.mapping().dirty() > 0 {
            cache::notice();
        }
    }
}

impl FileNode for BlockFile {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        Some(self.disk.mapping().clone())
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        if file.flags() & O_DIRECT != 0 {
            self.disk.read_direct(cx.sleeper, offset, to)
        } else {
            self.disk.mapping().read(cx.sleeper, offset, to)
        }
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        if self.disk.is_read_only() {
            return Err(Errno::EPERM.into());
        }
        let room = self.disk.size().saturating_sub(offset);
        if room == 0 {
            return Err(Errno::ENOSPC.into());
        }
        if file.flags() & O_DIRECT != 0 {
            return self.disk.write_direct(cx.sleeper, offset, from);
        }
        let _writing = self.disk.writing.lock(cx.sleeper);
        cache::notice();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        from.with_limit(room, |from| self.disk.mapping().write(cx.sleeper, offset, from))
    }

    fn sync(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        self.disk.mapping().flush(cx.sleeper)?;
        self.disk.pages.flush(cx.sleeper);
        self.disk.pages.tell_error(&mut self.seen.lock(cx.sleeper))
    }

    fn allocate(&self, cx: &FsCx<'_>, mode: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let room = match mode {
            _ if mode == PUNCH_HOLE | KEEP_SIZE => Room::GiveBack,
            _ if mode == ZERO_RANGE | KEEP_SIZE || mode == ZERO_RANGE => Room::Keep,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let size = self.disk.size();
        let end = offset.saturating_add(len);
        if offset >= size || (end > size && mode & KEEP_SIZE == 0) {
            return Err(Errno::EINVAL);
        }
        let end = end.min(size);
        let mask = u64::from(self.disk.geometry().block_size) - 1;
        if (offset | end) & mask != 0 {
            return Err(Errno::EINVAL);
        }
        if self.disk.is_read_only() {
            return Err(Errno::EPERM);
        }
        self.disk.zero(cx.sleeper, offset, end, room)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
