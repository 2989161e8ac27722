//! Virtio-blk (virtio 1.2, section 5.2): configuration, requests and their status.
//!
//! A machine has [`SLOTS`] block devices of one queue each, empty at first. The VMM fills a slot's configuration space while
//! the guest runs; a slot whose [`Config::sectors`] is 0 is empty. Whoever tells the guest of a slot does so after that, so the
//! guest reads the configuration anew when it is told, and no notification of a change is needed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Block devices of a machine, attached or not.
pub const SLOTS: usize = 8;
/// Bytes of a sector, the unit of addresses and lengths whatever the block size.
pub const SECTOR: u64 = 512;
/// Descriptors of a slot's queue.
pub const QUEUE_SIZE: u16 = 256;
/// Most data descriptors of one request.
pub const MAX_SEGMENTS: u32 = 128;
/// Most ranges of one discard or write of zeroes.
pub const MAX_RANGES: u32 = 16;
/// Most sectors of one range.
pub const MAX_RANGE_SECTORS: u32 = 1 << 22;
/// Bytes of the serial number, padded with zeroes.
pub const ID_BYTES: usize = 20;

/// Feature bits that a slot may have. They are part of [`Config`] here, because what is attached decides.
pub mod feature {
    /// Writes fail.
    pub const RO: u32 = 1 << 5;
    /// Flush requests are there.
    pub const FLUSH: u32 = 1 << 9;
    /// Discard requests are there.
    pub const DISCARD: u32 = 1 << 13;
    /// Requests to write zeroes are there.
    pub const WRITE_ZEROES: u32 = 1 << 14;
}

/// Values of [`Header::kind`].
pub mod kind {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// What was written before is to survive a loss of power.
    pub const FLUSH: u32 = 4;
    /// Serial number.
    pub const GET_ID: u32 = 8;
    /// The contents of ranges are not needed any more.
    pub const DISCARD: u32 = 11;
    /// Ranges are to read as zeroes.
    pub const WRITE_ZEROES: u32 = 13;
}

/// Last byte of every request.
pub mod status {
    /// Done.
    pub const OK: u8 = 0;
    /// Not done, or in part.
    pub const IOERR: u8 = 1;
    /// No such request.
    pub const UNSUPP: u8 = 2;
    /// The host has no room for it. Chitin's own: virtio knows one error only.
    pub const NO_SPACE: u8 = 3;
}

/// Bit of [`Range::flags`]: the space may be given back.
pub const RANGE_UNMAP: u32 = 1;

/// Configuration space: `struct virtio_blk_config` as far as it is used, with the slot's features at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Sectors of 512 bytes; 0: the slot is empty.
    pub sectors: u64,
    /// Most bytes of one segment.
    pub size_max: u32,
    /// Most segments.
    pub seg_max: u32,
    /// Cylinders, heads, sectors: not used.
    pub geometry: u32,
    /// Logical block size.
    pub block_size: u32,
    /// Physical block size: logical blocks, as a power of two.
    pub physical_block_exp: u8,
    /// First aligned logical block.
    pub alignment_offset: u8,
    /// Least sensible transfer in logical blocks.
    pub min_io_size: u16,
    /// Best transfer in logical blocks, 0: not known.
    pub opt_io_size: u32,
    /// 1: there is a cache that a flush writes back.
    pub writeback: u8,
    /// Keeps the next field aligned.
    pub unused0: u8,
    /// Queues.
    pub num_queues: u16,
    /// Most sectors of a discarded range.
    pub max_discard_sectors: u32,
    /// Most ranges of a discard.
    pub max_discard_seg: u32,
    /// Alignment of discards in sectors.
    pub discard_sector_alignment: u32,
    /// Most sectors of a zeroed range.
    pub max_write_zeroes_sectors: u32,
    /// Most zeroed ranges.
    pub max_write_zeroes_seg: u32,
    /// Whether zeroing may give space back.
    pub write_zeroes_may_unmap: u8,
    /// Keeps the next field aligned.
    pub unused1: [u8; 3],
    /// See [`feature`].
    pub features: u32,
}

const _: () = assert!(size_of::<Config>() == crate::device::CONFIG_SIZE);

/// Head of every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// See [`kind`].
    pub kind: u32,
    /// Not used.
    pub reserved: u32,
    /// First sector of a read or write, else 0.
    pub sector: u64,
}

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    /// First sector.
    pub sector: u64,
    /// Sectors.
    pub sectors: u32,
    /// [`RANGE_UNMAP`], for zeroes only.
    pub flags: u32,
}
