//! One request: a descriptor chain, checked whole before a byte of it is used.

use crate::machine::memory::GuestRam;
use vm_memory::VolatileSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Most bytes of one chain, either way.
const MAX_BYTES: usize = 1 << 27;

/// `struct virtq_desc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Descriptor {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// NEXT, WRITE, INDIRECT.
    pub flags: u16,
    /// Next descriptor.
    pub next: u16,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Index beyond the table.
    #[error("descriptor index {0} is beyond the table")]
    Index(u16),
    /// More descriptors than the table has: a loop.
    #[error("descriptor chain at {0} is a loop")]
    Loop(u16),
    /// Indirect descriptors were not offered.
    #[error("descriptor {0} is indirect")]
    Indirect(u16),
    /// Not RAM.
    #[error("descriptor {0} names memory {1:#x}+{2:#x}, which is not RAM")]
    Address(u16, u64, u32),
    /// A readable descriptor after a writable one.
    #[error("descriptor {0} is readable but follows a writable one")]
    Order(u16),
    /// Too many bytes.
    #[error("descriptor chain at {0} is too long")]
    TooLong(u16),
}

/// A checked request.
#[derive(Debug)]
pub struct Chain<'r> {
    /// Index of its first descriptor, to be given to [`super::queue::VirtQueue::push`].
    pub head: u16,
    /// What the guest says.
    pub readable: Cursor<'r>,
    /// Room for the answer.
    pub writable: Cursor<'r>,
}

impl<'r> Chain<'r> {
    /// Follows the chain from `head`.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn collect(ram: &'r GuestRam, table: u64, size: u16, head: u16) -> Result<Self, Broken> {
        let mut chain = Self { head, readable: Cursor::default(), writable: Cursor::default() };
        let mut index = head;
        for _ in 0..size {
            if index >= size {
                return Err(Broken::Index(index));
            }
            let descriptor: Descriptor =
                ram.read_value(table + u64::from(index) * 16).map_err(|_| Broken::Index(index))?;
            if descriptor.flags & INDIRECT != 0 {
                return Err(Broken::Indirect(index));
            }
            let side = if descriptor.flags & WRITE != 0 {
                &mut chain.writable
            } else if chain.writable.is_empty() {
                &mut chain.readable
            } else {
                return Err(Broken::Order(index));
            };
            if descriptor.len > 0 {
                let slice = ram
                    .slice(descriptor.addr, u64::from(descriptor.len))
                    .map_err(|_| Broken::Address(index, descriptor.addr, descriptor.len))?;
                side.add(slice);
                if side.left > MAX_BYTES {
                    return Err(Broken::TooLong(head));
                }
            }
            if descriptor.flags & NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
        Err(Broken::Loop(head))
    }
}

/// A place in a list of guest memory slices.
#[derive(Clone, Debug, Default)]
pub struct Cursor<'r> {
    slices: Vec<VolatileSlice<'r>>,
    first: usize,
    left: usize,
    done: usize,
}

impl<'r> Cursor<'r> {
    fn add(&mut self, slice: VolatileSlice<'r>) {
        self.left += slice.len();
        self.slices.push(slice);
    }

    /// Bytes ahead.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Bytes passed.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    /// Whether nothing is ahead.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Passes up to `len` bytes, giving each piece to `each` with its offset from where the cursor stood. Returns how
    /// many were passed.
    fn pass(&mut self, len: usize, mut each: impl FnMut(usize, VolatileSlice<'r>)) -> usize {
        let mut passed = 0;
        while passed < len {
            let Some(slice) = self.slices.get_mut(self.first) else { break };
            let take = slice.len().min(len - passed);
            let Ok((piece, rest)) = slice.split_at(take) else { break };
            each(passed, piece);
            if rest.is_empty() {
                self.first += 1;
            } else {
                *slice = rest;
            }
            passed += take;
        }
        self.left -= passed;
        self.done += passed;
        passed
    }

    /// Takes up to `len` bytes off the front as a cursor of their own.
    #[must_use]
    pub fn split_front(&mut self, len: usize) -> Self {
        let mut front = Self::default();
        self.pass(len, |_, piece| front.add(piece));
        front
    }

    /// Passes `len` bytes (or what is left) without looking.
    pub fn skip(&mut self, len: usize) -> usize {
        self.pass(len, |_, _| {})
    }

    /// Reads bytes; returns how many, fewer only at the end.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        self.pass(into.len(), |at, piece| {
            if let Some(into) = into.get_mut(at..at + piece.len()) {
                piece.copy_to(into);
            }
        })
    }

    /// Reads a plain value; `None` when too little is left.
    pub fn read_value<T: FromBytes + IntoBytes>(&mut self) -> Option<T> {
        if self.left < size_of::<T>() {
            return None;
        }
        let mut value = T::new_zeroed();
        self.read(value.as_mut_bytes());
        Some(value)
    }

    /// Writes bytes; returns how many, fewer only at the end.
    pub fn write(&mut self, from: &[u8]) -> usize {
        self.pass(from.len(), |at, piece| {
            if let Some(from) = from.get(at..at + piece.len()) {
                piece.copy_from(from);
            }
        })
    }

    /// Writes a plain value if it fits.
    pub fn write_value<T: IntoBytes + Immutable>(&mut self, value: &T) -> bool {
        self.left >= size_of::<T>() && self.write(value.as_bytes()) == size_of::<T>()
    }

    /// The slices ahead.
    pub fn slices(&self) -> impl Iterator<Item = &VolatileSlice<'r>> {
        self.slices.iter().skip(self.first)
    }
}
