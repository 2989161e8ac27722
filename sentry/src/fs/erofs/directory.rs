//! Directories of an image: blocks of entries, whose names are sorted over all blocks.

use super::image::{Image, Source};
use super::inode::Inode;
use super::layout::{DIRENT, Dirent};
use crate::abi::Errno;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use zerocopy::FromBytes;

/// Longest name.
const NAME_MAX: usize = 255;

/// One block of a directory.
struct Block {
    bytes: Vec<u8>,
    count: usize,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'b> {
    /// Node number.
    pub(super) nid: u64,
    /// `DT_*`.
    pub(super) kind: u8,
    /// Name.
    pub(super) name: &'b [u8],
}

impl Block {
    fn read(image: &Image, source: &impl Source, dir: &Inode, number: u64) -> Result<Self, Errno> {
        let start = number * image.block_size();
        let len = dir.size.saturating_sub(start).min(image.block_size());
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::EUCLEAN)?];
        if image.read(source, dir, start, &mut bytes)? < bytes.len() {
            return Err(Errno::EUCLEAN);
        }
        let first = Dirent::read_from_prefix(&bytes).map_err(|_| Errno::EUCLEAN)?.0;
        let names = usize::from(first.name.get());
        if names < DIRENT || names > bytes.len() || !names.is_multiple_of(DIRENT) {
            return Err(Errno::EUCLEAN);
        }
        Ok(Self { bytes, count: names / DIRENT })
    }

    fn dirent(&self, index: usize) -> Result<Dirent, Errno> {
        let bytes = self.bytes.get(index * DIRENT..).unwrap_or_default();
        Dirent::read_from_prefix(bytes).map(|(dirent, _)| dirent).map_err(|_| Errno::EUCLEAN)
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Errno> {
        let dirent = self.dirent(index)?;
        let end = if index + 1 < self.count {
            usize::from(self.dirent(index + 1)?.name.get())
        } else {
            self.bytes.len()
        };
        let name = self.bytes.get(usize::from(dirent.name.get())..end).ok_or(Errno::EUCLEAN)?;
        let name = match name.iter().position(|byte| *byte == 0) {
            Some(end) => name.get(..end).unwrap_or_default(),
            None => name,
        };
        if usize::from(dirent.name.get()) < self.count * DIRENT
            || name.is_empty()
            || name.len() > NAME_MAX
            || name.contains(&b'/')
        {
            return Err(Errno::EUCLEAN);
        }
        // Chr, fifo and the like are numbered from 1 in the order of `linux/fs_types.h`.
        let kind = match dirent.kind {
            1 => 8,
            2 => 4,
            3 => 2,
            4 => 6,
            5 => 1,
            6 => 12,
            7 => 10,
            _ => 0,
        };
        Ok(Found { nid: dirent.nid.get(), kind, name })
    }
}

/// Finds a name; its node number.
///
/// # Errors
/// `ENOENT`, `EUCLEAN`.
pub(super) fn find(image: &Image, source: &impl Source, dir: &Inode, name: &[u8]) -> Result<u64, Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let (mut low, mut high) = (0, dir.size.div_ceil(image.block_size()));
    while low < high {
        let middle = low + (high - low) / 2;
        let block = Block::read(image, source, dir, middle)?;
        match name.cmp(block.entry(0)?.name) {
            Ordering::Less => high = middle,
            Ordering::Equal => return Ok(block.entry(0)?.nid),
            Ordering::Greater => match find_in(&block, name)? {
                Place::Here(nid) => return Ok(nid),
                Place::Missing => return Err(Errno::ENOENT),
                Place::Later => low = middle + 1,
            },
        }
    }
    Err(Errno::ENOENT)
}

enum Place {
    Here(u64),
    Missing,
    /// Behind the last entry of the block.
    Later,
}

fn find_in(block: &Block, name: &[u8]) -> Result<Place, Errno> {
    let (mut low, mut high) = (0, block.count);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = block.entry(middle)?;
        match name.cmp(entry.name) {
            Ordering::Less => high = middle,
            Ordering::Equal => return Ok(Place::Here(entry.nid)),
            Ordering::Greater => low = middle + 1,
        }
    }
    Ok(if low == block.count { Place::Later } else { Place::Missing })
}

/// Lists entries from `position` on, each with the position behind it, until `each` refuses one.
///
/// # Errors
/// `EUCLEAN`.
pub(super) fn list(
    image: &Image,
    source: &impl Source,
    dir: &Inode,
    position: u64,
    mut each: impl FnMut(Found<'_>, u64) -> bool,
) -> Result<(), Errno> {
    let size = image.block_size();
    let mut number = position / size;
    let mut index = usize::try_from(position % size).unwrap_or(0) / DIRENT;
    while number.checked_mul(size).is_some_and(|start| start < dir.size) {
        let block = Block::read(image, source, dir, number)?;
        while index < block.count {
            let next = if index + 1 < block.count {
                number * size + ((index + 1) * DIRENT) as u64
            } else {
                (number + 1) * size
            };
            if !each(block.entry(index)?, next) {
                return Ok(());
            }
            index += 1;
        }
        (number, index) = (number + 1, 0);
    }
    Ok(())
}
