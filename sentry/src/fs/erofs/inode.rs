//! [`Inode`]: a node of an image.

use super::image::{Image, Source};
use super::layout::{CompactInode, ExtendedInode, NODE_UNIT, data};
use crate::abi::Errno;
use crate::fs::TimeSpec;
use crate::fs::node::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};

/// Where a file's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// It has none.
    None,
    /// In the blocks from this one on.
    Plain(u32),
    /// Likewise but for the last, whose bytes follow the node.
    Inline(u32),
    /// In chunks of `1 << bits` bytes; a table of them follows the node.
    Chunks {
        /// Exponent of a chunk's size.
        bits: u8,
        /// Entries have eight bytes, else four.
        has_indexes: bool,
    },
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    /// Its number.
    pub(super) nid: u64,
    /// Type and permission bits.
    pub(super) mode: u32,
    /// Links.
    pub(super) links: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Bytes.
    pub(super) size: u64,
    /// Last change.
    pub(super) mtime: TimeSpec,
    /// Device number of a special file.
    pub(super) rdev: u64,
    /// Where its bytes lie.
    pub(super) layout: Layout,
    /// First byte of its extended attributes.
    pub(super) xattrs: u64,
    /// Bytes of them, 0 for none.
    pub(super) xattr_len: u64,
    /// First byte behind it and its extended attributes.
    pub(super) end: u64,
}

impl Inode {
    /// Reads node `nid`.
    ///
    /// # Errors
    /// `EUCLEAN` for what cannot be, `EOPNOTSUPP` for compressed contents.
    pub(super) fn read(image: &Image, source: &impl Source, nid: u64) -> Result<Self, Errno> {
        let at =
            nid.checked_mul(NODE_UNIT).and_then(|at| at.checked_add(image.meta)).ok_or(Errno::EUCLEAN)?;
        let compact: CompactInode = image.value(source, at)?;
        let format = compact.format.get();
        let is_extended = format & 1 != 0;
        let (len, mode, links, uid, gid, size, mtime, place) = if is_extended {
            let full: ExtendedInode = image.value(source, at)?;
            let mtime = TimeSpec {
                sec: full.mtime.get().cast_signed(),
                nsec: full.mtime_nsec.get().min(999_999_999),
            };
            let owner = (full.uid.get(), full.gid.get());
            (64, full.mode, full.links.get(), owner.0, owner.1, full.size.get(), mtime, full.place.get())
        } else {
            let owner = (u32::from(compact.uid.get()), u32::from(compact.gid.get()));
            let links = u32::from(compact.links.get());
            let size = u64::from(compact.size.get());
            (32, compact.mode, links, owner.0, owner.1, size, image.built, compact.place.get())
        };
        if format >> 4 != 0 || i64::try_from(size).is_err() {
            return Err(Errno::EUCLEAN);
        }
        let xattr_len = match u64::from(compact.xattrs.get()) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        };
        let mode = u32::from(mode.get());
        let has_data = matches!(mode & S_IFMT, S_IFREG | S_IFDIR | S_IFLNK);
        let is_special = matches!(mode & S_IFMT, S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK);
        if !has_data && !is_special {
            return Err(Errno::EUCLEAN);
        }
        let layout = match (format >> 1) & 7 {
            _ if !has_data => Layout::None,
            data::PLAIN => Layout::Plain(place),
            data::INLINE => Layout::Inline(place),
            data::CHUNKS => Self::chunks(image, place)?,
            1 | 3 => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::EUCLEAN),
        };
        let rdev = if matches!(mode & S_IFMT, S_IFCHR | S_IFBLK) { decode_device(place) } else { 0 };
        let xattrs = at + len;
        let size = if has_data { size } else { 0 };
        let end = image.within(xattrs, xattr_len)? + xattr_len;
        Ok(Self { nid, mode, links, uid, gid, size, mtime, rdev, layout, xattrs, xattr_len, end })
    }

    fn chunks(image: &Image, place: u32) -> Result<Layout, Errno> {
        const BITS: u32 = 31;
        const INDEXES: u32 = 32;
        let bits = u32::from(image.block_bits()) + (place & BITS);
        if place & 0xffff & !(BITS | INDEXES) != 0 || bits > 40 {
            return Err(Errno::EUCLEAN);
        }
        let bits = u8::try_from(bits).map_err(|_| Errno::EUCLEAN)?;
        Ok(Layout::Chunks { bits, has_indexes: place & INDEXES != 0 })
    }
}

/// A device number as `new_decode_dev` of Linux reads it.
fn decode_device(number: u32) -> u64 {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    crate::fs::filesystem::device(u64::from(major), u64::from(minor))
}
