//! Page frames: owned, counted 4 KiB pages of one arena, never seen as a `&[u8]`, because user code may write to them.
//!
//! The platform calls [`init`] once with the arena (guest RAM, or a block of host memory under the hosted platform).
//! [`Frame`] is a counted handle: cloning counts up, dropping the last one frees. [`Block`] is an uncounted run of 2^n
//! frames for kernel stacks, page tables and large pages. Allocation fails, it never reclaims and never panics.

mod buddy;

use crate::lock::{Level, SpinLock};
use crate::once::Once;
use buddy::Buddy;
pub use buddy::{MAX_ORDER, Meta};
use core::num::NonZeroU32;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Bytes of a frame.
pub const FRAME_SIZE: usize = 4096;

/// Level of the allocator's lock.
pub const LEVEL: Level = Level(250);

struct Arena {
    base: NonNull<u8>,
    physical_base: u64,
    metas: &'static [Meta],
    buddy: SpinLock<Buddy>,
    /// Fewer frames than this are few.
    low_mark: AtomicU32,
    low: AtomicBool,
}

// SAFETY: the pointer is to memory that lives for ever and is only accessed by the atomic and raw-copy operations below.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

static ARENA: Once<Arena> = Once::new();

/// Makes the arena known. `first_free` frames at its start are never handed out.
///
/// # Safety
/// `base` points to `metas.len()` frames of readable and writable memory that live for ever and are used through this
/// module alone from now on (the first `first_free` excepted); frames from `first_free` on read as zero; all `metas` are
/// zero.
pub unsafe fn init(base: NonNull<u8>, physical_base: u64, metas: &'static [Meta], first_free: u32) -> bool {
    let count = u32::try_from(metas.len()).unwrap_or(u32::MAX);
    let buddy = SpinLock::new(LEVEL, Buddy::new(first_free.min(count), count));
    let low_mark = AtomicU32::new(0);
    ARENA.set(Arena { base, physical_base, metas, buddy, low_mark, low: AtomicBool::new(false) })
}

/// Frames in all, and frames free.
#[must_use]
pub fn usage() -> (u32, u32) {
    ARENA.get().map_or((0, 0), |arena| {
        (u32::try_from(arena.metas.len()).unwrap_or(u32::MAX), arena.buddy.lock().free())
    })
}

/// Sets how many free frames are few.
pub fn set_low_mark(frames: u32) {
    if let Some(arena) = ARENA.get() {
        arena.low_mark.store(frames, Ordering::Relaxed);
        arena.low.store(usage().1 < frames, Ordering::Relaxed);
    }
}

/// Whether free frames are few. Cheap enough for every system call: the answer is kept, and seldom changes.
#[must_use]
#[inline]
pub fn is_low() -> bool {
    ARENA.get().is_some_and(|arena| arena.low.load(Ordering::Relaxed))
}

/// Pointer to the first byte of a frame.
fn pointer(number: u32) -> *mut u8 {
    match ARENA.get() {
        // SAFETY: numbers come only from the allocator, so the frame is inside the arena.
        Some(arena) => unsafe { arena.base.as_ptr().add(number as usize * FRAME_SIZE) },
        None => core::ptr::null_mut(),
    }
}

fn physical(number: u32) -> u64 {
    ARENA.get().map_or(0, |arena| arena.physical_base + u64::from(number) * FRAME_SIZE as u64)
}

fn meta(number: u32) -> Option<&'static Meta> {
    ARENA.get()?.metas.get(number as usize)
}

fn take(order: u8) -> Option<(u32, bool)> {
    let arena = ARENA.get()?;
    let (taken, free) = {
        let mut buddy = arena.buddy.lock();
        (buddy.take(arena.metas, order), buddy.free())
    };
    if free < arena.low_mark.load(Ordering::Relaxed) && !arena.low.load(Ordering::Relaxed) {
        arena.low.store(true, Ordering::Relaxed);
    }
    taken
}

fn give(number: u32, order: u8) {
    if let Some(arena) = ARENA.get() {
        let free = {
            let mut buddy = arena.buddy.lock();
            buddy.give(arena.metas, number, order);
            buddy.free()
        };
        if arena.low.load(Ordering::Relaxed) && free >= arena.low_mark.load(Ordering::Relaxed) {
            arena.low.store(false, Ordering::Relaxed);
        }
    }
}

fn zero(number: u32, frames: usize) {
    // SAFETY: the frames are inside the arena and owned by the caller; volatile-free bulk write is fine, since nobody
    // else has a handle yet or concurrent user writes are allowed to race byte-wise.
    unsafe { core::ptr::write_bytes(pointer(number), 0, frames * FRAME_SIZE) };
}

/// A counted handle of one frame.
///
/// `Option<Frame>` is as small as `Frame`: page tables of the sentry hold hundreds of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number plus one.
    id: NonZeroU32,
}

impl Frame {
    /// Allocates a frame whose bytes are all zero; `None` when memory is exhausted.
    #[must_use]
    pub fn zeroed() -> Option<Self> {
        let (number, is_zero) = take(0)?;
        if !is_zero {
            zero(number, 1);
        }
        Some(Self::first(number))
    }

    /// Allocates a frame with arbitrary old contents, for callers that overwrite all of it.
    #[must_use]
    pub fn uncleared() -> Option<Self> {
        Some(Self::first(take(0)?.0))
    }

    fn first(number: u32) -> Self {
        if let Some(meta) = meta(number) {
            meta.refs.store(1, Ordering::Relaxed);
        }
        Self { id: NonZeroU32::MIN.saturating_add(number) }
    }

    /// Index in the arena, for use as a key.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.id.get() - 1
    }

    /// Guest-physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        physical(self.number())
    }

    /// Handles of this frame. Exact only while the caller excludes cloning.
    #[must_use]
    pub fn handles(&self) -> u32 {
        meta(self.number()).map_or(1, |meta| meta.refs.load(Ordering::Acquire))
    }

    /// Drops the handle; tells whether it was the last one, so that the frame is free now.
    #[must_use]
    pub fn release(self) -> bool {
        let number = self.number();
        core::mem::forget(self);
        let Some(meta) = meta(number) else { return false };
        if meta.refs.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        core::sync::atomic::fence(Ordering::Acquire);
        give(number, 0);
        true
    }

    /// Copies into the frame; stops at its end. Returns the bytes copied.
    pub fn copy_in(&self, offset: usize, from: &[u8]) -> usize {
        let len = from.len().min(FRAME_SIZE.saturating_sub(offset));
        if len > 0 {
            // SAFETY: offset + len <= FRAME_SIZE; `from` is not frame memory, which nobody can borrow.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), pointer(self.number()).add(offset), len) };
        }
        len
    }

    /// Copies out of the frame; stops at its end. Returns the bytes copied.
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) -> usize {
        let len = to.len().min(FRAME_SIZE.saturating_sub(offset));
        if len > 0 {
            // SAFETY: offset + len <= FRAME_SIZE; `to` is not frame memory, which nobody can borrow.
            unsafe {
                core::ptr::copy_nonoverlapping(pointer(self.number()).add(offset), to.as_mut_ptr(), len)
            };
        }
        len
    }

    /// Zeroes part of the frame; stops at its end.
    pub fn zero(&self, offset: usize, len: usize) {
        let len = len.min(FRAME_SIZE.saturating_sub(offset));
        if len > 0 {
            // SAFETY: offset + len <= FRAME_SIZE.
            unsafe { core::ptr::write_bytes(pointer(self.number()).add(offset), 0, len) };
        }
    }

    /// Copies part of another frame; stops at the end of either. Returns the bytes copied.
    pub fn copy_from(&self, offset: usize, other: &Self, other_offset: usize, len: usize) -> usize {
        let room = FRAME_SIZE.saturating_sub(offset).min(FRAME_SIZE.saturating_sub(other_offset));
        let len = len.min(room);
        if len > 0 {
            // SAFETY: both ranges are inside their frames; `copy` allows overlap should both be the same frame.
            unsafe {
                core::ptr::copy(
                    pointer(other.number()).add(other_offset),
                    pointer(self.number()).add(offset),
                    len,
                );
            }
        }
        len
    }

    /// The aligned 32-bit word at `offset`, for futexes and kernel-user shared counters; `None` if misaligned or outside.
    #[must_use]
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(4) || offset + 4 > FRAME_SIZE {
            return None;
        }
        // SAFETY: aligned and inside the frame, which lives at least as long as this handle.
        Some(unsafe { &*pointer(self.number()).add(offset).cast::<AtomicU32>() })
    }

    /// The byte at `offset`, as an atomic; `None` if outside.
    #[must_use]
    pub fn byte(&self, offset: usize) -> Option<&AtomicU8> {
        if offset >= FRAME_SIZE {
            return None;
        }
        // SAFETY: inside the frame, which lives at least as long as this handle.
        Some(unsafe { &*pointer(self.number()).add(offset).cast::<AtomicU8>() })
    }

    /// For platforms: the kernel-virtual address.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        pointer(self.number())
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        if let Some(meta) = meta(self.number()) {
            meta.refs.fetch_add(1, Ordering::Relaxed);
        }
        Self { id: self.id }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let number = self.number();
        let Some(meta) = meta(number) else { return };
        if meta.refs.fetch_sub(1, Ordering::Release) == 1 {
            core::sync::atomic::fence(Ordering::Acquire);
            give(number, 0);
        }
    }
}

/// Names a frame without keeping it: what a page table of the hosted platform holds. Using one whose frame is free again
/// (it has no handles then) reads or writes another owner's bytes, but never leaves the arena.
#[cfg(not(target_os = "none"))]
#[derive(Debug)]
pub struct Alias(core::mem::ManuallyDrop<Frame>);

#[cfg(not(target_os = "none"))]
impl Frame {
    /// See [`Alias`].
    #[must_use]
    pub fn alias(&self) -> Alias {
        Alias(core::mem::ManuallyDrop::new(Self { id: self.id }))
    }
}

#[cfg(not(target_os = "none"))]
impl core::ops::Deref for Alias {
    type Target = Frame;
    fn deref(&self) -> &Frame {
        &self.0
    }
}

/// A run of 2^`order` frames, aligned to its size, with one owner.
#[derive(Debug)]
pub struct Block {
    number: u32,
    order: u8,
}

impl Block {
    /// Allocates a run; `None` when there is none, or `order` is above [`MAX_ORDER`].
    #[must_use]
    pub fn zeroed(order: u8) -> Option<Self> {
        let (number, is_zero) = take(order)?;
        if !is_zero {
            zero(number, 1 << order);
        }
        Some(Self { number, order })
    }

    /// Guest-physical address of the first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        physical(self.number)
    }

    /// Kernel-virtual address of the first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        pointer(self.number)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        FRAME_SIZE << self.order
    }

    /// Gives up ownership; [`Block::from_raw`] takes it back.
    #[must_use]
    pub fn into_raw(self) -> (u32, u8) {
        let raw = (self.number, self.order);
        core::mem::forget(self);
        raw
    }

    /// Takes back what [`Block::into_raw`] gave up.
    ///
    /// # Safety
    /// The pair came from `into_raw` and was not taken back before.
    #[must_use]
    pub unsafe fn from_raw(raw: (u32, u8)) -> Self {
        Self { number: raw.0, order: raw.1 }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        give(self.number, self.order);
    }
}

/// A frame arena of ordinary memory, for tests and the hosted platform. Made once per process.
#[cfg(not(target_os = "none"))]
pub fn init_hosted(frames: u32) {
    use alloc::alloc::{Layout, alloc_zeroed};
    use alloc::boxed::Box;
    static MAKING: SpinLock<()> = SpinLock::new(Level(249), ());
    let _making = MAKING.lock();
    if ARENA.get().is_some() {
        return;
    }
    let Ok(layout) = Layout::from_size_align(frames as usize * FRAME_SIZE, 2 << 20) else { return };
    // SAFETY: the layout has a size that is not zero; the memory is leaked, so it lives for ever.
    let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return };
    let metas: &'static [Meta] = Box::leak((0..frames).map(|_| Meta::default()).collect());
    // SAFETY: fresh zeroed memory of the right size that nobody else knows.
    unsafe { init(base, 0x1_0000_0000, metas, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_count_and_copy() {
        init_hosted(256);
        let frame = Frame::zeroed().unwrap();
        assert_eq!(frame.copy_in(4090, b"0123456789"), 6);
        let mut bytes = [1; 8];
        assert_eq!(frame.copy_out(4088, &mut bytes), 8);
        assert_eq!(&bytes, b"\0\x00012345");
        let other = frame.clone();
        assert_eq!(frame.handles(), 2);
        drop(other);
        assert_eq!(frame.handles(), 1);
        assert!(frame.word(4094).is_none());
        frame.word(4092).unwrap().store(7, Ordering::Relaxed);
        let copy = Frame::uncleared().unwrap();
        assert_eq!(copy.copy_from(0, &frame, 0, 5000), 4096);
        assert_eq!(copy.word(4092).unwrap().load(Ordering::Relaxed), 7);
    }

    #[test]
    fn reused_frames_are_cleared() {
        init_hosted(256);
        for _ in 0..300 {
            let frame = Frame::zeroed().unwrap();
            assert_eq!(frame.word(8).unwrap().load(Ordering::Relaxed), 0);
            frame.word(8).unwrap().store(1, Ordering::Relaxed);
        }
        let block = Block::zeroed(3).unwrap();
        assert_eq!(block.size(), 32768);
        assert_eq!(block.address() % 32768, 0);
    }
}
