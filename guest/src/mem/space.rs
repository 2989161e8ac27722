//! [`GuestSpace`]: the platform's `Space` over hardware page tables.
//!
//! | | map, unmap, protect | walk copies | direct copies and user code |
//! |---|---|---|---|
//! | map, unmap, protect | the lock | the lock | shoot-down before they return |
//! | walk copies | the lock | the lock | nothing to exclude |
//!
//! A copy goes directly when the space is loaded on the calling CPU, else by a walk over the direct map, page by page,
//! with the lock held, so that no frame is unmapped under it.

use crate::mem::tables::{
    ACCESSED, ADDRESS, DIRTY, NO_EXECUTE, PRESENT, Tables, USER, WRITABLE, leaf, leaf_or_make,
};
use crate::mem::{Exhausted, SPACE, copy, direct, tlb};
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::SpinLock;
use chitin_proto::layout::USER_END;
use chitin_sentry::platform::{CopyFault, OutOfMemory, Perm, Space};
use chitin_sentry::user::UserAddr;
use core::sync::atomic::{AtomicU32, Ordering};

/// A user address space.
pub(crate) struct GuestSpace {
    tables: Arc<Tables>,
    changing: SpinLock<()>,
}

/// Which permission a walk asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
}

impl GuestSpace {
    /// An empty space.
    ///
    /// # Errors
    /// [`Exhausted`] when there is no frame for the root.
    pub(crate) fn new() -> Result<Self, Exhausted> {
        Ok(Self { tables: Arc::new(Tables::new()?), changing: SpinLock::new(SPACE, ()) })
    }

    /// The tables, for loading them.
    #[inline]
    pub(crate) fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The platform's own type behind a `Space`.
    #[inline]
    pub(crate) fn of(space: &Arc<dyn Space>) -> &Self {
        // SAFETY: this platform makes every `Space` there is, and all are GuestSpace.
        unsafe { &*Arc::as_ptr(space).cast::<Self>() }
    }

    /// Address of the byte at `at` in the direct map, if user code could use it like that. The lock is held.
    fn walk(&self, at: u64, need: Need) -> Option<*mut u8> {
        let found = leaf(self.tables.root(), at)?.load(Ordering::Relaxed);
        let wanted = PRESENT | USER | if need == Need::Write { WRITABLE } else { 0 };
        if found & wanted != wanted {
            return None;
        }
        Some(direct::<u8>((found & ADDRESS) + (at & 0xfff)))
    }

    /// Calls `step` with each piece of `at..at + len` that lies in one page: pointer, offset in the range, bytes.
    fn by_walk(
        &self,
        at: u64,
        len: usize,
        need: Need,
        mut step: impl FnMut(*mut u8, usize, usize),
    ) -> Result<(), CopyFault> {
        let mut done = 0;
        while done < len {
            let address = at + done as u64;
            let piece = (FRAME_SIZE - (address as usize & (FRAME_SIZE - 1))).min(len - done);
            let _changing = self.changing.lock();
            let Some(pointer) = self.walk(address, need) else { return Err(CopyFault { done }) };
            step(pointer, done, piece);
            done += piece;
        }
        Ok(())
    }

    /// Copies `len` bytes of user memory to `to`.
    ///
    /// # Safety
    /// `to..to + len` may be written.
    unsafe fn read_user(&self, from: UserAddr, to: *mut u8, len: usize) -> Result<(), CopyFault> {
        let inside = clip(from, len);
        if self.tables.is_loaded() {
            // SAFETY: clipped to user space; the caller's contract.
            return finish(unsafe { copy::from_user(to, from.get(), inside) }, len);
        }
        self.by_walk(from.get(), inside, Need::Read, |pointer, offset, piece| {
            // SAFETY: `piece` bytes of one mapped frame, kept mapped by the lock; user code may race byte-wise, and the
            // other side may be the same frame.
            unsafe { core::ptr::copy(pointer, to.add(offset), piece) };
        })?;
        finish(inside, len)
    }

    /// Copies `len` bytes at `from` to user memory.
    ///
    /// # Safety
    /// `from..from + len` may be read.
    unsafe fn write_user(&self, to: UserAddr, from: *const u8, len: usize) -> Result<(), CopyFault> {
        let inside = clip(to, len);
        if self.tables.is_loaded() {
            // SAFETY: clipped to user space; the caller's contract.
            return finish(unsafe { copy::to_user(to.get(), from, inside) }, len);
        }
        self.by_walk(to.get(), inside, Need::Write, |pointer, offset, piece| {
            // SAFETY: as in read_user.
            unsafe { core::ptr::copy(from.add(offset), pointer, piece) };
        })?;
        finish(inside, len)
    }

    /// Sets the entry of a page; tells whether the old one may be cached and must be forgotten. The lock is held.
    fn set(&self, at: u64, new: u64) -> Result<bool, Exhausted> {
        let old = leaf_or_make(self.tables.root(), at, USER)?.swap(new, Ordering::AcqRel);
        // Entries that were not present are not cached, and one that only gained rights is reloaded at the next fault.
        let gained_only =
            (old ^ new) & ADDRESS == 0 && old & WRITABLE & !new == 0 && new & NO_EXECUTE & !old == 0;
        Ok(old & PRESENT != 0 && !gained_only)
    }

    /// Changes entries of a range; `change` answers the new value. Shoots down if any changed.
    fn change(&self, from: UserAddr, pages: usize, change: impl Fn(u64) -> u64) {
        let mut changed = false;
        {
            let _changing = self.changing.lock();
            self.tables.each_leaf(from.get(), pages, |entry| {
                let old = entry.load(Ordering::Relaxed);
                let new = change(old);
                // The CPU may set accessed and dirty bits meanwhile; losing them is fine, they are hints.
                if old & PRESENT != 0 && old != new {
                    entry.store(new, Ordering::Relaxed);
                    changed = true;
                }
            });
        }
        if changed {
            tlb::flush(&self.tables, from.get(), pages);
        }
    }
}

/// The entry that maps `frame`.
fn entry_of(frame: &Frame, perm: Perm) -> u64 {
    let mut entry = frame.address() | PRESENT | USER | ACCESSED;
    if perm.contains(Perm::WRITE) {
        entry |= WRITABLE | DIRTY;
    }
    if !perm.contains(Perm::EXECUTE) {
        entry |= NO_EXECUTE;
    }
    entry
}

/// Bytes of `at..at + len` that lie in user space.
fn clip(at: UserAddr, len: usize) -> usize {
    usize::try_from(USER_END.saturating_sub(at.get())).unwrap_or(0).min(len)
}

fn finish(done: usize, len: usize) -> Result<(), CopyFault> {
    if done == len { Ok(()) } else { Err(CopyFault { done }) }
}

impl Space for GuestSpace {
    fn map(&self, at: UserAddr, frame: &Frame, perm: Perm) -> Result<(), OutOfMemory> {
        if !at.is_range(FRAME_SIZE as u64) {
            return Ok(());
        }
        if perm.is_empty() {
            self.unmap(at, 1);
            return Ok(());
        }
        let stale = {
            let _changing = self.changing.lock();
            self.set(at.get(), entry_of(frame, perm)).map_err(|Exhausted| OutOfMemory)?
        };
        if stale {
            tlb::flush(&self.tables, at.get(), 1);
        }
        Ok(())
    }

    fn map_run(&self, at: UserAddr, run: &[Option<(&Frame, Perm)>]) -> Result<(), OutOfMemory> {
        if !at.is_range((run.len() * FRAME_SIZE) as u64) {
            return Ok(());
        }
        let mut stale = false;
        let result = {
            let _changing = self.changing.lock();
            (at.get()..).step_by(FRAME_SIZE).zip(run).try_for_each(|(at, wanted)| {
                if let Some((frame, perm)) = wanted.filter(|(_, perm)| !perm.is_empty()) {
                    stale |= self.set(at, entry_of(frame, perm))?;
                }
                Ok(())
            })
        };
        if stale {
            tlb::flush(&self.tables, at.get(), run.len());
        }
        result.map_err(|Exhausted| OutOfMemory)
    }

    fn write_protect(&self, from: UserAddr, pages: usize) {
        self.change(from, pages, |old| old & !(WRITABLE | DIRTY));
    }

    fn restrict(&self, from: UserAddr, pages: usize, perm: Perm) {
        if !perm.contains(Perm::READ) {
            self.unmap(from, pages);
            return;
        }
        let clear = if perm.contains(Perm::WRITE) { 0 } else { WRITABLE | DIRTY };
        let set = if perm.contains(Perm::EXECUTE) { 0 } else { NO_EXECUTE };
        self.change(from, pages, |old| (old & !clear) | set);
    }

    fn unmap(&self, from: UserAddr, pages: usize) {
        self.change(from, pages, |_| 0);
    }

    fn copy_in(&self, from: UserAddr, to: &mut [u8]) -> Result<(), CopyFault> {
        // SAFETY: the slice may be written.
        unsafe { self.read_user(from, to.as_mut_ptr(), to.len()) }
    }

    fn copy_out(&self, to: UserAddr, from: &[u8]) -> Result<(), CopyFault> {
        // SAFETY: the slice may be read.
        unsafe { self.write_user(to, from.as_ptr(), from.len()) }
    }

    fn copy_out_frame(
        &self,
        to: UserAddr,
        frame: &Frame,
        offset: usize,
        len: usize,
    ) -> Result<(), CopyFault> {
        let room = len.min(FRAME_SIZE.saturating_sub(offset));
        // SAFETY: inside the frame; user code may race byte-wise.
        unsafe { self.write_user(to, frame.as_ptr().add(offset.min(FRAME_SIZE)), room)? };
        finish(room, len)
    }

    fn copy_in_frame(
        &self,
        from: UserAddr,
        frame: &Frame,
        offset: usize,
        len: usize,
    ) -> Result<(), CopyFault> {
        let room = len.min(FRAME_SIZE.saturating_sub(offset));
        // SAFETY: as above.
        unsafe { self.read_user(from, frame.as_ptr().add(offset.min(FRAME_SIZE)), room)? };
        finish(room, len)
    }

    fn load_u32(&self, at: UserAddr) -> Result<u32, CopyFault> {
        let fault = CopyFault { done: 0 };
        if !at.is_range(4) || !at.get().is_multiple_of(4) {
            return Err(fault);
        }
        if self.tables.is_loaded() {
            // SAFETY: aligned and inside user space.
            return unsafe { copy::load_user(at.get()) }.ok_or(fault);
        }
        let _changing = self.changing.lock();
        let pointer = self.walk(at.get(), Need::Read).ok_or(fault)?;
        // SAFETY: an aligned word of a mapped frame, kept mapped by the lock.
        Ok(unsafe { &*pointer.cast::<AtomicU32>() }.load(Ordering::SeqCst))
    }

    fn compare_exchange_u32(&self, at: UserAddr, current: u32, new: u32) -> Result<u32, CopyFault> {
        let fault = CopyFault { done: 0 };
        if !at.is_range(4) || !at.get().is_multiple_of(4) {
            return Err(fault);
        }
        if self.tables.is_loaded() {
            // SAFETY: aligned and inside user space.
            return unsafe { copy::exchange_user(at.get(), current, new) }.ok_or(fault);
        }
        let _changing = self.changing.lock();
        let pointer = self.walk(at.get(), Need::Write).ok_or(fault)?;
        // SAFETY: as in load_u32.
        let word = unsafe { &*pointer.cast::<AtomicU32>() };
        Ok(word
            .compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|held| held))
    }
}
