//! [`Disk`]: a block device with its page cache.

use super::pages::{Pages, Way};
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::mm::Budget;
use crate::platform::{BlockGeometry, BlockPort, BlockRequest};
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::{SleepLock, Sleeper};
use chitin_proto::block::{ID_BYTES, SECTOR};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A block device.
pub struct Disk {
    slot: usize,
    number: u64,
    owner: usize,
    geometry: BlockGeometry,
    pub(super) pages: Arc<Pages>,
    mapping: Arc<Mapping>,
    /// Held around changes of the device, which are made behind the cache or through it.
    pub(super) writing: SleepLock<()>,
    /// What BLKBSZGET tells.
    pub(super) soft_block_size: AtomicU32,
    /// Somebody has it open with `O_EXCL`.
    pub(super) claimed: AtomicBool,
}

/// What becomes of the space of zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It stays the device's.
    Keep,
    /// The host may have it.
    GiveBack,
}

impl Disk {
    pub(super) fn new(
        slot: usize,
        number: u64,
        owner: usize,
        port: &'static dyn BlockPort,
        geometry: BlockGeometry,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let size = geometry.sectors.saturating_mul(SECTOR);
        let pages = Pages::new(port, size);
        let mapping = Mapping::cached_in(pages.clone(), size, budget.clone());
        Arc::new(Self {
            slot,
            number,
            owner,
            geometry,
            pages,
            mapping,
            writing: SleepLock::new(()),
            soft_block_size: AtomicU32::new(4096),
            claimed: AtomicBool::new(false),
        })
    }

    /// Slot of the machine.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Device number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Container that it is for.
    #[must_use]
    pub fn owner(&self) -> usize {
        self.owner
    }

    /// Name, as in `/proc/partitions`.
    #[must_use]
    pub fn name(&self) -> String {
        let letter = u8::try_from(self.slot).unwrap_or(25).min(25) + b'a';
        alloc::format!("vd{}", char::from(letter))
    }

    /// Its sizes.
    #[must_use]
    pub fn geometry(&self) -> &BlockGeometry {
        &self.geometry
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.mapping.size()
    }

    /// Its cached pages.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Whether writes fail.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.geometry.is_read_only
    }

    /// Serial number; empty when it cannot be asked for.
    #[must_use]
    pub fn serial(&self, sleeper: &Sleeper) -> String {
        let mut serial = [0; ID_BYTES];
        if self.pages.call(sleeper, BlockRequest::Identify(&mut serial)).is_err() {
            return String::new();
        }
        let end = serial.iter().position(|byte| *byte == 0).unwrap_or(ID_BYTES);
        String::from_utf8_lossy(serial.get(..end).unwrap_or_default()).into_owned()
    }

    /// Reads whole pages from byte `at` on, around the cache, for a file system whose files have pages of their own.
    ///
    /// # Errors
    /// `EIO`.
    pub fn fill(&self, sleeper: &Sleeper, at: u64, frames: &[Frame]) -> Result<(), Errno> {
        self.pages.transfer(sleeper, at, frames, frames.len() * FRAME_SIZE, Way::In)
    }

    /// Hands changed pages to the device, without asking that they be durable.
    ///
    /// # Errors
    /// What writing gave; fsync tells it too.
    pub fn write_back(&self, sleeper: &Sleeper) -> Result<(), Errno> {
        let before = self.pages.errors();
        self.mapping.flush(sleeper)?;
        self.pages.error_since(before)
    }

    /// The device is gone: everything fails from now on.
    pub(super) fn remove(&self) {
        self.pages.remove();
        self.mapping.invalidate(crate::cache::PageRange { from: 0, to: u64::MAX });
    }

    /// Changes bytes `start..end` by a request to the device: what is cached of them goes first.
    fn change<'r>(
        &self,
        sleeper: &Sleeper,
        start: u64,
        end: u64,
        most: u32,
        request: impl Fn(u64, u32) -> BlockRequest<'r>,
    ) -> Result<(), Errno> {
        let page = FRAME_SIZE as u64;
        let pages = crate::cache::PageRange { from: start / page, to: end.div_ceil(page) };
        let _writing = self.writing.lock(sleeper);
        self.mapping.flush_range(sleeper, pages)?;
        let (mut sector, last) = (start / SECTOR, end / SECTOR);
        let mut result = Ok(());
        while sector < last && result.is_ok() {
            let part = u32::try_from(last - sector).unwrap_or(u32::MAX).min(most);
            result = self.pages.call(sleeper, request(sector, part));
            sector += u64::from(part);
            sleeper.resched_point();
        }
        self.mapping.invalidate(pages);
        result
    }

    /// Gives the bytes from `start` to `end`, whole blocks, up.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EIO`.
    pub(super) fn discard(&self, sleeper: &Sleeper, start: u64, end: u64) -> Result<(), Errno> {
        match self.geometry.max_discard_sectors {
            0 => Err(Errno::EOPNOTSUPP),
            most => self.change(sleeper, start, end, most, |sector, sectors| BlockRequest::Discard {
                sector,
                sectors,
            }),
        }
    }

    /// Makes the bytes from `start` to `end`, whole blocks, zero.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EIO`, `ENOSPC`.
    pub(super) fn zero(&self, sleeper: &Sleeper, start: u64, end: u64, room: Room) -> Result<(), Errno> {
        match self.geometry.max_zero_sectors {
            0 => Err(Errno::EOPNOTSUPP),
            most => self.change(sleeper, start, end, most, |sector, sectors| BlockRequest::WriteZeroes {
                sector,
                sectors,
                unmap: room == Room::GiveBack,
            }),
        }
    }

    /// Takes the right to be the only one with `O_EXCL`.
    pub(super) fn claim(&self) -> Result<(), Errno> {
        if self.claimed.swap(true, Ordering::AcqRel) { Err(Errno::EBUSY) } else { Ok(()) }
    }
}
