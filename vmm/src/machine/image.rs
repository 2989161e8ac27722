//! The guest kernel's ELF file and which of its bytes go where.
//!
//! Read-only segments are not copied: the file's own pages become the read-only memory slot at
//! [`layout::IMAGE_GPA`] (guest-physical address = `IMAGE_GPA` + file offset), so every VM of a host shares them through
//! the page cache. Writable segments are copied to RAM.

#![expect(unsafe_code, reason = "maps a kernel file given on the command line")]

use chitin_proto::layout::{self, PAGE_SIZE};
use std::os::fd::AsFd;

#[repr(C, align(4096))]
struct PageAligned<T: ?Sized>(T);

static EMBEDDED: &PageAligned<[u8]> = &PageAligned(*include_bytes!(env!("CHITIN_GUEST_ELF")));

/// Why a kernel image was refused.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Too short, no ELF magic, or not 64-bit x86.
    #[error("guest kernel is not an x86-64 ELF executable")]
    NotElf,
    /// A header or segment lies outside the file.
    #[error("guest kernel is truncated")]
    Truncated,
    /// A segment is not where [`layout`] wants it.
    #[error("guest kernel segment at {0:#x} {1}")]
    BadSegment(u64, &'static str),
    /// The file could not be mapped.
    #[error("cannot map guest kernel {0}: {1}")]
    Map(String, std::io::Error),
}

/// A segment of the kernel that is mapped from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOnlySegment {
    /// Kernel-virtual address of its first page.
    pub va: u64,
    /// Offset of that page in the file.
    pub file_offset: u64,
    /// Bytes, whole pages.
    pub len: u64,
    /// Whether the pages hold code.
    pub executable: bool,
}

/// A segment of the kernel that is copied to RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSegment {
    /// Kernel-virtual address.
    pub va: u64,
    /// Offset of its bytes in the file.
    pub file_offset: u64,
    /// Bytes in the file; the rest up to `mem_len` is zero.
    pub file_len: u64,
    /// Bytes in memory.
    pub mem_len: u64,
}

/// A checked kernel image.
#[derive(Debug)]
pub struct Image {
    bytes: &'static [u8],
    entry: u64,
    read_only: Vec<ReadOnlySegment>,
    data: Vec<DataSegment>,
}

impl Image {
    /// The kernel that was built with this VMM.
    ///
    /// # Errors
    /// [`ImageError`] when the build went wrong.
    pub fn embedded() -> Result<Self, ImageError> {
        Self::parse(&EMBEDDED.0)
    }

    /// Maps a kernel from a file; for kernel developers. The mapping stays for the life of the process.
    ///
    /// # Errors
    /// [`ImageError::Map`] and what [`Image::embedded`] may say.
    pub fn from_file(path: &std::path::Path) -> Result<Self, ImageError> {
        let map_error = |error: std::io::Error| ImageError::Map(path.display().to_string(), error);
        let file = std::fs::File::open(path).map_err(map_error)?;
        let len =
            usize::try_from(file.metadata().map_err(map_error)?.len()).map_err(|_| ImageError::Truncated)?;
        // SAFETY: a fresh private mapping of `len` bytes at an address the kernel picks; it is never unmapped.
        let bytes: &'static [u8] = unsafe {
            use rustix::mm::{MapFlags, ProtFlags, mmap};
            let pointer =
                mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file.as_fd(), 0)
                    .map_err(|errno| map_error(errno.into()))?;
            std::slice::from_raw_parts(pointer.cast::<u8>().cast_const(), len)
        };
        Self::parse(bytes)
    }

    /// Virtual address of the first instruction.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// The file.
    #[must_use]
    pub const fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// Segments mapped from the file.
    #[must_use]
    pub fn read_only(&self) -> &[ReadOnlySegment] {
        &self.read_only
    }

    /// Segments copied to RAM.
    #[must_use]
    pub fn data(&self) -> &[DataSegment] {
        &self.data
    }

    /// Bytes from the start of the file that the read-only slot has to cover, whole pages.
    #[must_use]
    pub fn slot_len(&self) -> u64 {
        self.read_only.iter().map(|segment| segment.file_offset + segment.len).max().unwrap_or(0)
    }

    /// Bytes of RAM from [`layout::DATA_VA`] on that data and bss take, whole pages.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        let end = self.data.iter().map(|segment| segment.va + segment.mem_len).max();
        end.map_or(0, |end| (end - layout::DATA_VA).next_multiple_of(PAGE_SIZE))
    }

    /// File bytes of a data segment.
    #[must_use]
    pub fn data_bytes(&self, segment: &DataSegment) -> &'static [u8] {
        usize::try_from(segment.file_offset)
            .ok()
            .zip(usize::try_from(segment.file_len).ok())
            .and_then(|(at, len)| self.bytes.get(at..at.checked_add(len)?))
            .unwrap_or_default()
    }

    fn parse(bytes: &'static [u8]) -> Result<Self, ImageError> {
        const MACHINE_X86_64: u64 = 62;
        const TYPE_EXEC: u64 = 2;
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01".as_slice())
            || field(bytes, 16, 2)? != TYPE_EXEC
            || field(bytes, 18, 2)? != MACHINE_X86_64
        {
            return Err(ImageError::NotElf);
        }
        let (entry, table) = (field(bytes, 24, 8)?, field(bytes, 32, 8)?);
        let (entry_size, count) = (field(bytes, 54, 2)?, field(bytes, 56, 2)?);
        let mut image = Self { bytes, entry, read_only: Vec::new(), data: Vec::new() };
        for index in 0..count {
            let at = table.checked_add(index * entry_size).ok_or(ImageError::Truncated)?;
            image.add_segment(at)?;
        }
        if !image.read_only.iter().any(|s| s.executable && (s.va..s.va + s.len).contains(&entry)) {
            return Err(ImageError::BadSegment(entry, "holds no code at the entry point"));
        }
        Ok(image)
    }

    fn add_segment(&mut self, at: u64) -> Result<(), ImageError> {
        const LOAD: u64 = 1;
        const EXECUTE: u64 = 1;
        const WRITE: u64 = 2;
        let get = |offset: u64, size: usize| {
            field(self.bytes, at.checked_add(offset).ok_or(ImageError::Truncated)?, size)
        };
        let (kind, flags) = (get(0, 4)?, get(4, 4)?);
        let (file_offset, va) = (get(8, 8)?, get(16, 8)?);
        let (file_len, mem_len) = (get(32, 8)?, get(40, 8)?);
        if kind != LOAD || mem_len == 0 {
            return Ok(());
        }
        let in_file = file_offset.checked_add(file_len).is_some_and(|end| end <= self.bytes.len() as u64);
        if !in_file || file_len > mem_len {
            return Err(ImageError::Truncated);
        }
        let bad = |what| Err(ImageError::BadSegment(va, what));
        if flags & WRITE != 0 {
            if flags & EXECUTE != 0 {
                return bad("is both writable and executable");
            }
            if va < layout::DATA_VA || mem_len > 1 << 28 || va - layout::DATA_VA > 1 << 28 {
                return bad("does not belong to the data range");
            }
            self.data.push(DataSegment { va, file_offset, file_len, mem_len });
            return Ok(());
        }
        if mem_len != file_len {
            return bad("is read-only but has zero-filled bytes");
        }
        if va % PAGE_SIZE != file_offset % PAGE_SIZE {
            return bad("is not page-congruent with its place in the file");
        }
        let slack = va % PAGE_SIZE;
        let len = (mem_len + slack).next_multiple_of(PAGE_SIZE);
        if va < layout::IMAGE_VA || va + len > layout::DATA_VA {
            return bad("does not belong to the image range");
        }
        let (va, file_offset) = (va - slack, file_offset - slack);
        self.read_only.push(ReadOnlySegment { va, file_offset, len, executable: flags & EXECUTE != 0 });
        Ok(())
    }
}

/// Little-endian field of `size` bytes at `at`.
fn field(bytes: &[u8], at: u64, size: usize) -> Result<u64, ImageError> {
    let start = usize::try_from(at).map_err(|_| ImageError::Truncated)?;
    let end = start.checked_add(size).ok_or(ImageError::Truncated)?;
    let bytes = bytes.get(start..end).ok_or(ImageError::Truncated)?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_image_is_sound() {
        let image = Image::embedded().unwrap();
        assert!(image.entry() >= layout::IMAGE_VA);
        assert_eq!(image.bytes().as_ptr().addr() % 4096, 0);
        assert!(image.slot_len() > 0);
    }

    #[test]
    fn broken_images_are_refused() {
        assert!(matches!(Image::parse(b""), Err(ImageError::NotElf)));
        assert!(matches!(Image::parse(b"#!/bin/sh\n"), Err(ImageError::NotElf)));
        let good = Image::embedded().unwrap().bytes();
        let short: &'static [u8] = good.get(..100).unwrap();
        assert!(matches!(Image::parse(short), Err(ImageError::Truncated)));
    }
}
