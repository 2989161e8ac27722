//! [`Image`]: reading an EROFS image. Nothing in it is believed: what does not fit is `EUCLEAN`, as on Linux.

use super::inode::{Inode, Layout};
use super::layout::{
    COMPAT_CHECKSUM, ChunkIndex, INCOMPAT_CHUNKS, INCOMPAT_ZERO_PADDING, MAGIC, NO_BLOCK, SUPER_OFFSET,
    SuperBlock,
};
use crate::abi::Errno;
use crate::fs::TimeSpec;
use alloc::vec;
use zerocopy::{FromBytes, IntoBytes};

/// Where an image's bytes come from.
pub(super) trait Source {
    /// Fills `to` from byte `at` on; all of it, or an error.
    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Errno>;

    /// A plain value.
    fn value<T: FromBytes + IntoBytes>(&self, at: u64) -> Result<T, Errno>
    where
        Self: Sized,
    {
        let mut value = T::new_zeroed();
        self.read(at, value.as_mut_bytes())?;
        Ok(value)
    }
}

/// Part of a file: where its bytes lie in the image, and how many there are in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// First byte in the image; `None`: a hole.
    pub(super) place: Option<u64>,
    /// Bytes, not 0.
    pub(super) len: u64,
}

/// An image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    block_bits: u8,
    /// Node number of the root.
    pub(super) root: u64,
    /// First byte of the nodes.
    pub(super) meta: u64,
    /// First byte of the shared extended attributes.
    pub(super) xattrs: u64,
    /// Blocks of the image.
    pub(super) blocks: u64,
    /// Nodes.
    pub(super) inodes: u64,
    /// Time stamp of compact nodes.
    pub(super) built: TimeSpec,
    /// Bytes of the image: nothing lies beyond.
    size: u64,
}

impl Image {
    /// Looks at the superblock of an image on something of `room` bytes.
    ///
    /// # Errors
    /// `EINVAL` when it is none, or one with compression or other things that are not known here; `EUCLEAN` for a wrong
    /// checksum or sizes.
    pub(super) fn open(source: &impl Source, room: u64) -> Result<Self, Errno> {
        if room < SUPER_OFFSET + size_of::<SuperBlock>() as u64 {
            return Err(Errno::EINVAL);
        }
        let block: SuperBlock = source.value(SUPER_OFFSET)?;
        let known = INCOMPAT_ZERO_PADDING | INCOMPAT_CHUNKS;
        if block.magic.get() != MAGIC
            || !(9..=12).contains(&block.block_bits)
            || block.dir_block_bits != 0
            || block.incompat.get() & !known != 0
            || block.extra_devices.get() != 0
        {
            return Err(Errno::EINVAL);
        }
        let bits = block.block_bits;
        let size = u64::from(block.blocks.get()) << bits;
        let image = Self {
            block_bits: bits,
            root: u64::from(block.root.get()),
            meta: u64::from(block.meta_block.get()) << bits,
            xattrs: u64::from(block.xattr_block.get()) << bits,
            blocks: u64::from(block.blocks.get()),
            inodes: block.inodes.get(),
            built: TimeSpec {
                sec: block.build_time.get().cast_signed(),
                nsec: block.build_nsec.get().min(999_999_999),
            },
            size: size.min(room),
        };
        if size > room || size < SUPER_OFFSET + size_of::<SuperBlock>() as u64 {
            return Err(Errno::EUCLEAN);
        }
        if block.compat.get() & COMPAT_CHECKSUM != 0 {
            image.check(source, block.checksum.get())?;
        }
        Ok(image)
    }

    fn check(&self, source: &impl Source, wanted: u32) -> Result<(), Errno> {
        let end = self.block_size().max(SUPER_OFFSET + size_of::<SuperBlock>() as u64);
        let end = if self.block_size() > SUPER_OFFSET { end } else { SUPER_OFFSET + self.block_size() };
        let mut bytes = vec![0; usize::try_from(end - SUPER_OFFSET).map_err(|_| Errno::EUCLEAN)?];
        source.read(SUPER_OFFSET, &mut bytes)?;
        if let Some(checksum) = bytes.get_mut(4..8) {
            checksum.fill(0);
        }
        if crc32c(&bytes) == wanted { Ok(()) } else { Err(Errno::EUCLEAN) }
    }

    /// Bytes of a block.
    pub(super) fn block_size(&self) -> u64 {
        1 << self.block_bits
    }

    /// Checks that `len` bytes from `at` on are part of the image.
    pub(super) fn within(&self, at: u64, len: u64) -> Result<u64, Errno> {
        match at.checked_add(len) {
            Some(end) if end <= self.size => Ok(at),
            _ => Err(Errno::EUCLEAN),
        }
    }

    /// A plain value of the image.
    pub(super) fn value<T: FromBytes + IntoBytes>(&self, source: &impl Source, at: u64) -> Result<T, Errno> {
        source.value(self.within(at, size_of::<T>() as u64)?)
    }

    /// Where the bytes of a file from `offset` on lie; `None` at its end.
    pub(super) fn extent(
        &self,
        source: &impl Source,
        inode: &Inode,
        offset: u64,
    ) -> Result<Option<Extent>, Errno> {
        let Some(left) = inode.size.checked_sub(offset).filter(|left| *left > 0) else { return Ok(None) };
        let (place, len) = match inode.layout {
            Layout::None => return Ok(None),
            Layout::Plain(block) => (Some(self.address(block)?.checked_add(offset)), left),
            Layout::Inline(block) => {
                let last = (inode.size - 1) / self.block_size() * self.block_size();
                if offset < last {
                    (Some(self.address(block)?.checked_add(offset)), last - offset)
                } else {
                    // What is left of the node's own block.
                    let room = self.block_size() - inode.end % self.block_size();
                    if inode.size - last > room {
                        return Err(Errno::EUCLEAN);
                    }
                    (Some(inode.end.checked_add(offset - last)), left)
                }
            }
            Layout::Chunks { bits, has_indexes } => {
                let (number, within) = (offset >> bits, offset & ((1 << bits) - 1));
                let block = self.chunk(source, inode, number, has_indexes)?;
                let place = match block {
                    NO_BLOCK => None,
                    block => Some(self.address(block)?.checked_add(within)),
                };
                (place, left.min((1 << bits) - within))
            }
        };
        let place = match place {
            Some(place) => Some(self.within(place.ok_or(Errno::EUCLEAN)?, len)?),
            None => None,
        };
        Ok(Some(Extent { place, len }))
    }

    fn address(&self, block: u32) -> Result<u64, Errno> {
        if block == NO_BLOCK { Err(Errno::EUCLEAN) } else { Ok(u64::from(block) << self.block_bits) }
    }

    /// Block at which a chunk begins.
    fn chunk(
        &self,
        source: &impl Source,
        inode: &Inode,
        number: u64,
        has_indexes: bool,
    ) -> Result<u32, Errno> {
        let unit = if has_indexes { 8 } else { 4 };
        let at = number.checked_mul(unit).and_then(|at| at.checked_add(inode.end.next_multiple_of(unit)));
        let at = at.ok_or(Errno::EUCLEAN)?;
        if !has_indexes {
            return self.value::<zerocopy::little_endian::U32>(source, at).map(|block| block.get());
        }
        let index: ChunkIndex = self.value(source, at)?;
        // There are no further devices.
        if index.device.get() != 0 { Err(Errno::EUCLEAN) } else { Ok(index.block.get()) }
    }

    /// Reads bytes of a file; returns how many there were.
    pub(super) fn read(
        &self,
        source: &impl Source,
        inode: &Inode,
        offset: u64,
        to: &mut [u8],
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < to.len() {
            let Some(extent) = self.extent(source, inode, offset.saturating_add(done as u64))? else { break };
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(to.len() - done);
            let part = to.get_mut(done..done + len).unwrap_or_default();
            match extent.place {
                Some(place) => source.read(place, part)?,
                None => part.fill(0),
            }
            done += len;
        }
        Ok(done)
    }

    /// Exponent of the block size.
    pub(super) fn block_bits(&self) -> u8 {
        self.block_bits
    }
}

/// CRC-32C without the final inversion, as Linux's `crc32c(~0, ...)`.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let low = crc & 1;
            (crc >> 1) ^ (low * 0x82f6_3b78)
        })
    })
}
