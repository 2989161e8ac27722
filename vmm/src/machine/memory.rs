//! Guest RAM: one block of private anonymous memory at [`layout::RAM_GPA`].
//!
//! It is reserved, not committed: pages appear when the guest first touches them. Whoever works on guest memory takes a
//! `&GuestRam`; every access is bounds-checked by `vm-memory`.

#![expect(unsafe_code, reason = "maps memory at an aligned address")]

use chitin_proto::layout;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ptr::null_mut;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, VolatileSlice};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// RAM begins at a multiple of this in the host's address space too: only then can a huge page of the host be one of the
/// guest's second-level tables.
const HUGE_PAGE: usize = 2 << 20;

/// Guest RAM as the devices see it.
#[derive(Debug)]
pub struct GuestRam {
    map: GuestMemoryMmap<()>,
    size: u64,
    // Dropped after `map`, which points into it.
    _mapping: Mapping,
}

/// A mapping of this process that ends with the value.
#[derive(Debug)]
struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is only used to unmap.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Mapping::new`; whoever borrowed guest memory borrowed the `GuestRam` that owns this.
        // It cannot fail for a range that was mapped whole.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

impl Mapping {
    fn new(len: usize) -> std::io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address that the kernel picks.
        let start = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        Ok(Self { start: start.cast(), len })
    }
}

/// Why guest RAM could not be had or reached.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// mmap(2) failed.
    #[error("cannot reserve {0} bytes of guest memory: {1}")]
    Reserve(u64, std::io::Error),
    /// The size cannot be mapped.
    #[error("guest memory of {0} bytes cannot be laid out")]
    Layout(u64),
    /// Not inside RAM.
    #[error("guest address {0:#x}+{1:#x} is outside guest memory")]
    OutOfRange(u64, u64),
}

impl GuestRam {
    /// Reserves `size` bytes.
    ///
    /// # Errors
    /// [`MemoryError::Reserve`] when the host refuses the mapping.
    pub fn new(size: u64) -> Result<Self, MemoryError> {
        let layout = || MemoryError::Layout(size);
        let bytes = usize::try_from(size).map_err(|_| layout())?;
        let mapping = Mapping::new(bytes.checked_add(HUGE_PAGE).ok_or_else(layout)?)
            .map_err(|error| MemoryError::Reserve(size, error))?;
        let slack = mapping.start.addr().next_multiple_of(HUGE_PAGE) - mapping.start.addr();
        // SAFETY: `slack` is less than what the mapping has beyond `bytes`.
        let start = unsafe { mapping.start.add(slack) };
        // SAFETY: `bytes` bytes from `start` on are within the mapping, which outlives the region.
        let region = unsafe { MmapRegionBuilder::new(bytes).with_raw_mmap_pointer(start) }
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .build()
            .map_err(|_| layout())?;
        let region = GuestRegionMmap::new(region, GuestAddress(layout::RAM_GPA)).ok_or_else(layout)?;
        let map = GuestMemoryMmap::from_regions(vec![region]).map_err(|_| layout())?;
        Ok(Self { map, size, _mapping: mapping })
    }

    /// Bytes of RAM.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// First guest-physical address after RAM.
    #[must_use]
    pub const fn end(&self) -> u64 {
        layout::RAM_GPA + self.size
    }

    /// What `virtio-queue` works on.
    #[must_use]
    pub const fn map(&self) -> &GuestMemoryMmap<()> {
        &self.map
    }

    /// Address of RAM in this process.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`] if RAM is not mapped, which cannot be.
    pub fn host_address(&self) -> Result<u64, MemoryError> {
        self.map
            .get_host_address(GuestAddress(layout::RAM_GPA))
            .map(|pointer| pointer.addr() as u64)
            .map_err(|_| MemoryError::OutOfRange(layout::RAM_GPA, 0))
    }

    /// `len` bytes at guest-physical `gpa`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`] when they are not all RAM.
    pub fn slice(&self, gpa: u64, len: u64) -> Result<VolatileSlice<'_>, MemoryError> {
        let bytes = usize::try_from(len).map_err(|_| MemoryError::OutOfRange(gpa, len))?;
        self.map.get_slice(GuestAddress(gpa), bytes).map_err(|_| MemoryError::OutOfRange(gpa, len))
    }

    /// Copies `bytes` to `gpa`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.map
            .write_slice(bytes, GuestAddress(gpa))
            .map_err(|_| MemoryError::OutOfRange(gpa, bytes.len() as u64))
    }

    /// Copies from `gpa` into `bytes`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let len = bytes.len() as u64;
        self.map.read_slice(bytes, GuestAddress(gpa)).map_err(|_| MemoryError::OutOfRange(gpa, len))
    }

    /// Writes a plain value.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn write_value<T: IntoBytes + Immutable>(&self, gpa: u64, value: &T) -> Result<(), MemoryError> {
        self.write(gpa, value.as_bytes())
    }

    /// Reads a plain value.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read_value<T: FromBytes + IntoBytes>(&self, gpa: u64) -> Result<T, MemoryError> {
        let mut value = T::new_zeroed();
        self.read(gpa, value.as_mut_bytes())?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        let ram = GuestRam::new(1 << 21).unwrap();
        ram.write_value(layout::RAM_GPA + (1 << 21) - 8, &7u64).unwrap();
        assert_eq!(ram.read_value::<u64>(layout::RAM_GPA + (1 << 21) - 8).unwrap(), 7);
        assert!(ram.write_value(layout::RAM_GPA + (1 << 21) - 7, &7u64).is_err());
        assert!(ram.slice(layout::RAM_GPA - 1, 1).is_err());
        assert!(ram.slice(u64::MAX, 2).is_err());
        assert!(ram.slice(layout::RAM_GPA, u64::MAX).is_err());
    }
}
