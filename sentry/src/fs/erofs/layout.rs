//! What an EROFS image is made of (`fs/erofs/erofs_fs.h` of Linux); everything is little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Magic number of the superblock.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Where the superblock is.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Bytes of a unit in which nodes are numbered.
pub(super) const NODE_UNIT: u64 = 32;
/// Block address of a hole.
pub(super) const NO_BLOCK: u32 = u32::MAX;

/// Bit of [`SuperBlock::compat`]: the checksum counts.
pub(super) const COMPAT_CHECKSUM: u32 = 1;
/// Bit of [`SuperBlock::incompat`]: how compressed data would be padded; without any it means nothing.
pub(super) const INCOMPAT_ZERO_PADDING: u32 = 1;
/// Bit of [`SuperBlock::incompat`]: files may be made of chunks.
pub(super) const INCOMPAT_CHUNKS: u32 = 4;

/// `struct erofs_super_block`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) magic: U32,
    pub(super) checksum: U32,
    pub(super) compat: U32,
    pub(super) block_bits: u8,
    pub(super) slots: u8,
    pub(super) root: U16,
    pub(super) inodes: U64,
    pub(super) build_time: U64,
    pub(super) build_nsec: U32,
    pub(super) blocks: U32,
    pub(super) meta_block: U32,
    pub(super) xattr_block: U32,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) incompat: U32,
    pub(super) algorithms: U16,
    pub(super) extra_devices: U16,
    pub(super) device_slot: U16,
    pub(super) dir_block_bits: u8,
    pub(super) prefixes: u8,
    pub(super) prefix_start: U32,
    pub(super) packed: U64,
    pub(super) reserved: [u8; 24],
}

const _: () = assert!(size_of::<SuperBlock>() == 128);

/// `struct erofs_inode_compact`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CompactInode {
    pub(super) format: U16,
    pub(super) xattrs: U16,
    pub(super) mode: U16,
    pub(super) links: U16,
    pub(super) size: U32,
    pub(super) reserved: U32,
    pub(super) place: U32,
    pub(super) ino: U32,
    pub(super) uid: U16,
    pub(super) gid: U16,
    pub(super) reserved2: U32,
}

const _: () = assert!(size_of::<CompactInode>() == 32);

/// `struct erofs_inode_extended`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtendedInode {
    pub(super) format: U16,
    pub(super) xattrs: U16,
    pub(super) mode: U16,
    pub(super) reserved: U16,
    pub(super) size: U64,
    pub(super) place: U32,
    pub(super) ino: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) mtime: U64,
    pub(super) mtime_nsec: U32,
    pub(super) links: U32,
    pub(super) reserved2: [u8; 16],
}

const _: () = assert!(size_of::<ExtendedInode>() == 64);

/// `struct erofs_dirent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Dirent {
    pub(super) nid: U64,
    pub(super) name: U16,
    pub(super) kind: u8,
    pub(super) reserved: u8,
}

/// Bytes of a [`Dirent`].
pub(super) const DIRENT: usize = 12;
const _: () = assert!(size_of::<Dirent>() == DIRENT);

/// `struct erofs_xattr_ibody_header`, without the shared ones that follow it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub(super) filter: U32,
    pub(super) shared: u8,
    pub(super) reserved: [u8; 7],
}

/// `struct erofs_xattr_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrEntry {
    pub(super) name_len: u8,
    pub(super) prefix: u8,
    pub(super) value_len: U16,
}

/// `struct erofs_inode_chunk_index`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ChunkIndex {
    pub(super) advise: U16,
    pub(super) device: U16,
    pub(super) block: U32,
}

/// Which way a file's bytes lie: bits 1 to 3 of a node's format.
pub(super) mod data {
    /// In blocks that follow each other.
    pub(in super::super) const PLAIN: u16 = 0;
    /// Likewise, with what does not fill the last block behind the node.
    pub(in super::super) const INLINE: u16 = 2;
    /// In chunks, with a table behind the node.
    pub(in super::super) const CHUNKS: u16 = 4;
}
