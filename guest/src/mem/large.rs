//! Heap allocations for which no block of frames is large enough, or whole enough: single frames, mapped one after the
//! other in a window of kernel addresses.
//!
//! They are rare, and each one given back makes every CPU forget its pages, so speed is no aim here.

use crate::mem::tables::{self, ACCESSED, ADDRESS, DIRTY, GLOBAL, NO_EXECUTE, PRESENT, WRITABLE};
use crate::mem::{Exhausted, LARGE, tlb};
use chitin_core::frame::{Block, FRAME_SIZE};
use chitin_core::lock::SpinLock;
use chitin_proto::layout::{RAM_GPA, STACKS_VA};
use core::sync::atomic::Ordering;

/// Start of the window: the top-level entry after that of the stacks.
const WINDOW_VA: u64 = STACKS_VA + (1 << 39);
/// Addresses are handed out in slots of 4 MiB.
const SLOT_SIZE: usize = 4 << 20;
/// Slots of the window: 64 GiB.
const SLOTS: usize = 1 << 14;
const WORD: usize = u64::BITS as usize;

/// Slots in use, a bit each.
struct Slots([u64; SLOTS / WORD]);

static WINDOW: SpinLock<Slots> = SpinLock::new(LARGE, Slots([0; SLOTS / WORD]));

impl Slots {
    fn is_used(&self, slot: usize) -> bool {
        self.0.get(slot / WORD).is_none_or(|word| word >> (slot % WORD) & 1 != 0)
    }

    fn set(&mut self, slot: usize, used: bool) {
        if let Some(word) = self.0.get_mut(slot / WORD) {
            let bit = 1 << (slot % WORD);
            *word = if used { *word | bit } else { *word & !bit };
        }
    }

    /// The first run of `count` slots that are free.
    fn find(&self, count: usize) -> Option<usize> {
        let mut start = 0;
        while start + count <= SLOTS {
            match (start..start + count).rev().find(|slot| self.is_used(*slot)) {
                Some(used) => start = used + 1,
                None => return Some(start),
            }
        }
        None
    }
}

/// Makes the table below the window's top-level entry, before any space copies that entry.
///
/// # Errors
/// [`Exhausted`].
pub(crate) fn init() -> Result<(), Exhausted> {
    tables::leaf_or_make(tables::boot_root(), WINDOW_VA, 0).map(|_| ())
}

/// Whether an allocation lies in the window.
#[inline]
pub(crate) fn contains(pointer: *const u8) -> bool {
    (WINDOW_VA..WINDOW_VA + (SLOTS * SLOT_SIZE) as u64).contains(&(pointer as u64))
}

/// Zeroed memory of `size` bytes, rounded up to pages, aligned to 4 MiB.
pub(crate) fn take(size: usize) -> Option<*mut u8> {
    let mut window = WINDOW.lock();
    let count = size.div_ceil(SLOT_SIZE);
    let slot = window.find(count)?;
    let start = WINDOW_VA + (slot * SLOT_SIZE) as u64;
    (slot..slot + count).for_each(|slot| window.set(slot, true));
    for page in 0..size.div_ceil(FRAME_SIZE) {
        if map_page(start + (page * FRAME_SIZE) as u64).is_err() {
            drop(window);
            give_pages(start, page, count);
            return None;
        }
    }
    Some(start as *mut u8)
}

fn map_page(at: u64) -> Result<(), Exhausted> {
    let entry = tables::leaf_or_make(tables::boot_root(), at, 0)?;
    let frame = Block::zeroed(0).ok_or(Exhausted)?;
    let flags = PRESENT | WRITABLE | ACCESSED | DIRTY | GLOBAL | NO_EXECUTE;
    entry.store(frame.address() | flags, Ordering::Release);
    let _: (u32, u8) = frame.into_raw();
    Ok(())
}

/// # Safety
/// `pointer` came from [`take`] with a size of as many pages, and has no user any more.
pub(crate) unsafe fn give(pointer: *mut u8, size: usize) {
    give_pages(pointer as u64, size.div_ceil(FRAME_SIZE), size.div_ceil(SLOT_SIZE));
}

/// Frees `pages` pages and then the slots they lie in.
fn give_pages(start: u64, pages: usize, slots: usize) {
    unmap(start, pages);
    let first = (start - WINDOW_VA) as usize / SLOT_SIZE;
    let mut window = WINDOW.lock();
    (first..first + slots).for_each(|slot| window.set(slot, false));
}

/// Frees the frames of `pages` pages once no CPU knows them there. Their slots are not free yet.
fn unmap(start: u64, pages: usize) {
    let entries = || {
        (0..pages).filter_map(|page| tables::leaf(tables::boot_root(), start + (page * FRAME_SIZE) as u64))
    };
    entries().for_each(|entry| {
        entry.fetch_and(!PRESENT, Ordering::AcqRel);
    });
    tlb::flush_kernel();
    entries().for_each(|entry| {
        let number = ((entry.swap(0, Ordering::AcqRel) & ADDRESS) - RAM_GPA) / FRAME_SIZE as u64;
        // SAFETY: a frame given up by `map_page`, which nothing refers to any more.
        drop(unsafe { Block::from_raw((number as u32, 0)) });
    });
}
