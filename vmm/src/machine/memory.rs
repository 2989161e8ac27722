//! Guest RAM: one block of private anonymous memory at [`layout::RAM_GPA`].
//!
//! It is reserved, not committed: pages appear when the guest first touches them. Whoever works on guest memory takes a
//! `&GuestRam`; every access is bounds-checked by `vm-memory`.

use chitin_proto::layout;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion, VolatileSlice,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Guest RAM as the devices see it.
#[derive(Debug)]
pub struct GuestRam {
    map: GuestMemoryMmap<()>,
    size: u64,
}

/// Why guest RAM could not be had or reached.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// mmap(2) failed.
    #[error("cannot reserve {0} bytes of guest memory: {1}")]
    Reserve(u64, MmapRegionError),
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
        let bytes = usize::try_from(size).map_err(|_| MemoryError::Layout(size))?;
        let region = MmapRegion::build(
            None,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        )
        .map_err(|error| MemoryError::Reserve(size, error))?;
        let region =
            GuestRegionMmap::new(region, GuestAddress(layout::RAM_GPA)).ok_or(MemoryError::Layout(size))?;
        let map = GuestMemoryMmap::from_regions(vec![region]).map_err(|_| MemoryError::Layout(size))?;
        Ok(Self { map, size })
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
