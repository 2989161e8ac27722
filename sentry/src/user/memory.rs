//! [`UserMemory`]: copies of small things at the edge of a system call, resolving faults.

use super::UserAddr;
use crate::abi::Errno;
use crate::mm::{FaultError, Mm};
use crate::platform::Access;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An alleged pointer to a `T` in user memory.
pub struct UserPtr<T> {
    addr: UserAddr,
    target: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> core::fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.addr.fmt(f)
    }
}

impl<T> UserPtr<T> {
    /// A pointer to whatever is at `addr`.
    #[must_use]
    pub const fn new(addr: UserAddr) -> Self {
        Self { addr, target: PhantomData }
    }

    /// The address.
    #[must_use]
    pub const fn addr(self) -> UserAddr {
        self.addr
    }

    /// Whether it is the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.addr.is_null()
    }

    /// `None` for the null pointer.
    #[must_use]
    pub fn non_null(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    /// Pointer to element `index` of an array.
    ///
    /// # Errors
    /// `EFAULT` past the end of the address space.
    pub fn element(self, index: usize) -> Result<Self, Errno> {
        let offset = (index as u64).checked_mul(size_of::<T>() as u64).ok_or(Errno::EFAULT)?;
        Ok(Self::new(self.addr.checked_add(offset).ok_or(Errno::EFAULT)?))
    }
}

/// User memory of an address space, for a thread that may sleep. No lock may be held while it is used.
#[derive(Clone, Copy)]
pub struct UserMemory<'a> {
    /// The address space.
    pub mm: &'a Mm,
    /// The capability to sleep in a fault.
    pub sleeper: &'a Sleeper,
}

impl UserMemory<'_> {
    /// Fills `to` from user memory.
    ///
    /// # Errors
    /// `EFAULT` when part of the range cannot be read; nothing is known of `to` then.
    pub fn read_bytes(&self, from: UserAddr, to: &mut [u8]) -> Result<(), Errno> {
        if !from.is_range(to.len() as u64) {
            return Err(Errno::EFAULT);
        }
        let mut done = 0;
        loop {
            let at = from.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            match self.mm.space().copy_in(at, to.get_mut(done..).unwrap_or_default()) {
                Ok(()) => return Ok(()),
                Err(fault) => done += fault.done,
            }
            let at = from.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            self.mm.resolve_fault(self.sleeper, at, Access::Read).map_err(FaultError::errno)?;
        }
    }

    /// Copies `from` to user memory.
    ///
    /// # Errors
    /// `EFAULT` when part of the range cannot be written; the part before it may have been.
    pub fn write_bytes(&self, to: UserAddr, from: &[u8]) -> Result<(), Errno> {
        if !to.is_range(from.len() as u64) {
            return Err(Errno::EFAULT);
        }
        let mut done = 0;
        loop {
            let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            match self.mm.space().copy_out(at, from.get(done..).unwrap_or_default()) {
                Ok(()) => return Ok(()),
                Err(fault) => done += fault.done,
            }
            let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            self.mm.resolve_fault(self.sleeper, at, Access::Write).map_err(FaultError::errno)?;
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be read.
    pub fn read<T: FromBytes + IntoBytes>(&self, from: UserPtr<T>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(from.addr(), value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be written.
    pub fn write<T: IntoBytes + Immutable>(&self, to: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.write_bytes(to.addr(), value.as_bytes())
    }

    /// Writes a value unless the pointer is null.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be written.
    pub fn write_if<T: IntoBytes + Immutable>(&self, to: UserPtr<T>, value: &T) -> Result<(), Errno> {
        to.non_null().map_or(Ok(()), |to| self.write(to, value))
    }

    /// Reads `count` values. The caller has bounded `count`.
    ///
    /// # Errors
    /// `EFAULT` when one cannot be read.
    pub fn read_array<T: FromBytes + IntoBytes + Clone>(
        &self,
        from: UserPtr<T>,
        count: usize,
    ) -> Result<Vec<T>, Errno> {
        let mut values = vec![T::new_zeroed(); count];
        for (index, value) in values.iter_mut().enumerate() {
            self.read_bytes(from.element(index)?.addr(), value.as_mut_bytes())?;
        }
        Ok(values)
    }

    /// Reads a string up to its null byte, which is not part of the result; `max` counts the null byte.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be read, `too_long` when `max` bytes hold no null byte.
    pub fn read_cstr(&self, from: UserAddr, max: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut at = from;
        let mut chunk = [0u8; 256];
        while text.len() < max {
            // Never read across a page border: the string may end before it.
            let len = (4096 - at.page_offset()).min(chunk.len()).min(max - text.len());
            let part = chunk.get_mut(..len).ok_or(Errno::EFAULT)?;
            self.read_bytes(at, part)?;
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(part.get(..end).unwrap_or_default());
                return Ok(text);
            }
            text.extend_from_slice(part);
            at = at.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        }
        Err(too_long)
    }
}
