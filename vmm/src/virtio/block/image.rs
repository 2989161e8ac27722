//! What is behind a block device: a raw image or a block device of the host, by the descriptor that the shim opened.
//!
//! Every operation names its place; the descriptor's own position is never used, so any number of threads may work on it.

use super::request::Span;
use crate::virtio::chain::Cursor;
use crate::virtio::io::{Position, read_into, write_from};
use chitin_proto::block::{
    Config, ID_BYTES, MAX_RANGE_SECTORS, MAX_RANGES, MAX_SEGMENTS, SECTOR, feature, status,
};
use chitin_proto::vmm::{Access, Block};
use rustix::fs::{FallocateFlags, FileType, OFlags, fallocate, fcntl_getfl, fdatasync, fstat};
use rustix::io::{Errno, pwrite};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Zeroes written at a time where the host cannot make them by itself; aligned for direct I/O.
const ZEROES: usize = 64 << 10;

/// Why a descriptor cannot be a block device.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is something else.
    #[error("the descriptor is neither a regular file nor a block device")]
    Kind,
    /// It cannot be looked at.
    #[error("cannot look at the descriptor: {0}")]
    Look(io::Error),
    /// It was not opened for what is wanted.
    #[error("the descriptor is not open for {0}")]
    Access(&'static str),
    /// Sizes that no block device has.
    #[error(
        "a block device of {bytes} bytes with blocks of {block_size} and {physical} bytes is not possible"
    )]
    Size {
        /// Bytes.
        bytes: u64,
        /// Logical block size.
        block_size: u32,
        /// Physical block size.
        physical: u32,
    },
    /// The file is shorter than it is said to be.
    #[error("the image has {0} bytes only")]
    Short(u64),
    /// The serial number is too long.
    #[error("the serial number {0:?} is longer than {ID_BYTES} bytes")]
    Serial(String),
}

/// What requests are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Whether it may be written to.
    pub is_writable: bool,
}

/// An image.
#[derive(Debug)]
pub struct Image {
    file: OwnedFd,
    geometry: Geometry,
    serial: [u8; ID_BYTES],
    config: Config,
}

impl Image {
    /// Takes a descriptor over.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn new(file: OwnedFd, block: &Block) -> Result<Self, ImageError> {
        let look = |errno: Errno| ImageError::Look(errno.into());
        let stat = fstat(&file).map_err(look)?;
        let is_writable = block.access == Access::ReadWrite;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let there = u64::try_from(stat.st_size).unwrap_or(0);
                if there < block.bytes {
                    return Err(ImageError::Short(there));
                }
            }
            FileType::BlockDevice => {}
            _ => return Err(ImageError::Kind),
        }
        let flags = fcntl_getfl(&file).map_err(look)?;
        match flags & OFlags::ACCMODE {
            mode if mode == OFlags::RDWR => {}
            mode if mode == OFlags::RDONLY && !is_writable => {}
            _ if is_writable => return Err(ImageError::Access("reading and writing")),
            _ => return Err(ImageError::Access("reading")),
        }
        let (block_size, physical) = (block.block_size, block.physical_block_size);
        let per_block = (u64::from(block_size) / SECTOR).max(1);
        let sectors = block.bytes / SECTOR / per_block * per_block;
        let sizes = block_size.is_power_of_two()
            && (512..=4096).contains(&block_size)
            && physical.is_power_of_two()
            && (block_size..=1 << 20).contains(&physical);
        if !sizes || sectors == 0 || i64::try_from(block.bytes).is_err() {
            return Err(ImageError::Size { bytes: block.bytes, block_size, physical });
        }
        let mut serial = [0; ID_BYTES];
        serial
            .get_mut(..block.serial.len())
            .ok_or_else(|| ImageError::Serial(block.serial.clone()))?
            .copy_from_slice(block.serial.as_bytes());
        let config = Self::describe(sectors, block, is_writable);
        Ok(Self { file, geometry: Geometry { sectors, is_writable }, serial, config })
    }

    fn describe(sectors: u64, block: &Block, is_writable: bool) -> Config {
        let exponent = block.physical_block_size.trailing_zeros() - block.block_size.trailing_zeros();
        let shared = Config {
            sectors,
            size_max: 1 << 20,
            seg_max: MAX_SEGMENTS,
            block_size: block.block_size,
            physical_block_exp: u8::try_from(exponent).unwrap_or(0),
            min_io_size: 1,
            writeback: 1,
            num_queues: 1,
            features: feature::FLUSH,
            ..Config::default()
        };
        if !is_writable {
            return Config { features: feature::FLUSH | feature::RO, ..shared };
        }
        Config {
            max_discard_sectors: MAX_RANGE_SECTORS,
            max_discard_seg: MAX_RANGES,
            discard_sector_alignment: block.block_size / 512,
            max_write_zeroes_sectors: MAX_RANGE_SECTORS,
            max_write_zeroes_seg: MAX_RANGES,
            write_zeroes_may_unmap: 1,
            features: feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES,
            ..shared
        }
    }

    /// What the guest is told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What requests are checked against.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Serial number.
    #[must_use]
    pub const fn serial(&self) -> &[u8; ID_BYTES] {
        &self.serial
    }

    /// Fills `room` from byte `at` on.
    ///
    /// # Errors
    /// The status.
    pub fn read(&self, mut at: u64, room: &mut Cursor<'_>) -> Result<(), u8> {
        while !room.is_empty() {
            match read_into(self.file.as_fd(), Position::At(at), room) {
                // The file became shorter behind our back.
                Ok(0) => return Err(status::IOERR),
                Ok(done) => at += done as u64,
                Err(error) => return Err(of_error(&error)),
            }
        }
        Ok(())
    }

    /// Writes `data` from byte `at` on.
    ///
    /// # Errors
    /// The status.
    pub fn write(&self, mut at: u64, data: &mut Cursor<'_>) -> Result<(), u8> {
        while !data.is_empty() {
            match write_from(self.file.as_fd(), Position::At(at), data) {
                Ok(0) => return Err(status::IOERR),
                Ok(done) => at += done as u64,
                Err(error) => return Err(of_error(&error)),
            }
        }
        Ok(())
    }

    /// Makes what was written survive a loss of power.
    ///
    /// # Errors
    /// The status; the host tells an error of an earlier write once.
    pub fn flush(&self) -> Result<(), u8> {
        loop {
            match fdatasync(&self.file) {
                Err(Errno::INTR) => {}
                done => return done.map_err(of_errno),
            }
        }
    }

    /// Gives space back; what is read there afterwards is anything.
    ///
    /// # Errors
    /// The status; [`status::UNSUPP`] where the host cannot.
    pub fn discard(&self, span: Span) -> Result<(), u8> {
        self.change(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, span).map_err(of_errno)
    }

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// The status.
    pub fn zero(&self, span: Span) -> Result<(), u8> {
        let how = if span.unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        match self.change(how | FallocateFlags::KEEP_SIZE, span) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.write_zeroes(span).map_err(of_errno),
            done => done.map_err(of_errno),
        }
    }

    fn change(&self, how: FallocateFlags, span: Span) -> Result<(), Errno> {
        loop {
            match span.len {
                0 => return Ok(()),
                len => match fallocate(&self.file, how, span.start, len) {
                    Err(Errno::INTR) => {}
                    done => return done,
                },
            }
        }
    }

    fn write_zeroes(&self, span: Span) -> Result<(), Errno> {
        let zeroes = AlignedZeroes::new();
        let (mut at, mut left) = (span.start, span.len);
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROES);
            match pwrite(&self.file, zeroes.bytes(part), at) {
                Ok(0) => return Err(Errno::IO),
                Ok(done) => {
                    at += done as u64;
                    left = left.saturating_sub(done as u64);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Zeroes whose address direct I/O accepts.
struct AlignedZeroes {
    room: Vec<u8>,
    start: usize,
}

impl AlignedZeroes {
    const ALIGNMENT: usize = 4096;

    fn new() -> Self {
        let room = vec![0; ZEROES + Self::ALIGNMENT];
        let start = room.as_ptr().align_offset(Self::ALIGNMENT).min(Self::ALIGNMENT);
        Self { room, start }
    }

    fn bytes(&self, len: usize) -> &[u8] {
        self.room.get(self.start..self.start + len).unwrap_or_default()
    }
}

fn of_error(error: &io::Error) -> u8 {
    of_errno(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn of_errno(errno: Errno) -> u8 {
    match errno {
        Errno::NOSPC | Errno::DQUOT => status::NO_SPACE,
        Errno::OPNOTSUPP | Errno::NOSYS => status::UNSUPP,
        _ => status::IOERR,
    }
}
