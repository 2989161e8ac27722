//! Page tables of a user address space: 4 KiB pages in the lower half, the boot tables' upper half shared.
//!
//! Tables are only added while the space lives and all freed with it, so a walk needs no lock to stay inside valid tables;
//! entries are read and written as atomics.

use crate::arch::cpu;
use crate::arch::percpu::{self, PerCpu};
use crate::mem::{Exhausted, direct};
use chitin_core::frame::Block;
use chitin_proto::layout::RAM_GPA;
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) const PRESENT: u64 = 1 << 0;
/// The entry of a higher level maps a page, not a table.
const LARGE_PAGE: u64 = 1 << 7;
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
pub(crate) const ACCESSED: u64 = 1 << 5;
pub(crate) const DIRTY: u64 = 1 << 6;
pub(crate) const GLOBAL: u64 = 1 << 8;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const PAGE_BITS: u32 = 12;
const INDEX_BITS: u32 = 9;
const ENTRIES: usize = 512;
const USER_ROOT_ENTRIES: usize = 256;
/// Bytes that one leaf table maps.
const TABLE_SPAN: u64 = 1 << (PAGE_BITS + INDEX_BITS);

static BOOT_ROOT: AtomicU64 = AtomicU64::new(0);

/// Remembers the boot tables' root.
pub(crate) fn set_boot_root(physical: u64) {
    BOOT_ROOT.store(physical, Ordering::Relaxed);
}

/// Root of the boot tables, which map the kernel alone.
pub(crate) fn boot_root() -> u64 {
    BOOT_ROOT.load(Ordering::Relaxed)
}

/// Entry `index` of the table at `physical`.
fn entry(physical: u64, index: usize) -> &'static AtomicU64 {
    // SAFETY: `physical` is the address of a live table (see the module), and the index is masked to its size.
    unsafe { &*direct::<AtomicU64>(physical).add(index & (ENTRIES - 1)) }
}

const fn index_at(address: u64, level: u32) -> usize {
    (address >> (PAGE_BITS + INDEX_BITS * level)) as usize & (ENTRIES - 1)
}

fn new_table() -> Result<u64, Exhausted> {
    let block = Block::zeroed(0).ok_or(Exhausted)?;
    let address = block.address();
    let _: (u32, u8) = block.into_raw();
    Ok(address)
}

/// # Safety
/// The table came from `new_table` and nothing refers to it.
unsafe fn free_table(physical: u64) {
    let number = (physical - RAM_GPA) >> PAGE_BITS;
    // SAFETY: a block of order 0 given up by `new_table`.
    drop(unsafe { Block::from_raw((number as u32, 0)) });
}

/// The leaf entry of `address` below `root`, making tables on the way with `flags`.
pub(crate) fn leaf_or_make(root: u64, address: u64, flags: u64) -> Result<&'static AtomicU64, Exhausted> {
    let mut table = root;
    for level in (1..=3).rev() {
        let slot = entry(table, index_at(address, level));
        let found = slot.load(Ordering::Relaxed);
        table = if found & PRESENT == 0 {
            let fresh = new_table()?;
            slot.store(fresh | PRESENT | WRITABLE | ACCESSED | flags, Ordering::Release);
            fresh
        } else {
            found & ADDRESS
        };
    }
    Ok(entry(table, index_at(address, 0)))
}

/// The leaf entry of `address` below `root`, if its table exists.
#[inline]
pub(crate) fn leaf(root: u64, address: u64) -> Option<&'static AtomicU64> {
    leaf_table(root, address).ok().map(|table| entry(table, index_at(address, 0)))
}

/// The table that holds the leaf entry of `address`; the error is the first address past what is missing.
#[inline]
fn leaf_table(root: u64, address: u64) -> Result<u64, u64> {
    let mut table = root;
    for level in (1..=3).rev() {
        let found = entry(table, index_at(address, level)).load(Ordering::Acquire);
        if found & PRESENT == 0 {
            let size = 1u64 << (PAGE_BITS + INDEX_BITS * level);
            return Err((address | (size - 1)).wrapping_add(1));
        }
        table = found & ADDRESS;
    }
    Ok(table)
}

/// Guest-physical address of what the kernel has mapped at `address`, by the boot tables.
pub(crate) fn physical_of_kernel(address: u64) -> Option<u64> {
    let mut table = boot_root();
    for level in (0..=3).rev() {
        let found = entry(table, index_at(address, level)).load(Ordering::Acquire);
        if found & PRESENT == 0 {
            return None;
        }
        if level == 0 || found & LARGE_PAGE != 0 {
            let inside = (1u64 << (PAGE_BITS + INDEX_BITS * level)) - 1;
            return Some(found & ADDRESS & !inside | address & inside);
        }
        table = found & ADDRESS;
    }
    None
}

/// The tables of one space. A CPU that has them in CR3 holds a count of its own, so that they may outlive the space.
pub(crate) struct Tables {
    root: u64,
    /// CPUs that have the root in CR3.
    active: AtomicU64,
}

impl Tables {
    /// Tables that map nothing below the kernel.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub(crate) fn new() -> Result<Self, Exhausted> {
        let root = new_table()?;
        for index in USER_ROOT_ENTRIES..ENTRIES {
            entry(root, index).store(entry(boot_root(), index).load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Ok(Self { root, active: AtomicU64::new(0) })
    }

    /// Guest-physical address of the root.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// CPUs that have these tables loaded.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Ordering::SeqCst)
    }

    /// Whether the calling CPU has them loaded.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        core::ptr::eq(percpu::this().tables.load(Ordering::Relaxed), self)
    }

    /// Calls `change` with each leaf entry of a range whose table exists.
    pub(crate) fn each_leaf(&self, from: u64, pages: usize, mut change: impl FnMut(&AtomicU64)) {
        let end = from.saturating_add((pages as u64) << PAGE_BITS);
        let mut at = from;
        while at < end {
            let next_table = (at | (TABLE_SPAN - 1)).wrapping_add(1);
            match leaf_table(self.root, at) {
                Ok(table) => {
                    let last = index_at(end.min(next_table) - 1, 0);
                    (index_at(at, 0)..=last).for_each(|index| change(entry(table, index)));
                    at = next_table;
                }
                Err(next) => at = next,
            }
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for top in 0..USER_ROOT_ENTRIES {
            free_below(entry(self.root, top).load(Ordering::Relaxed), 3);
        }
        // SAFETY: no CPU has the root loaded, or it would hold a count; nobody else refers to it.
        unsafe { free_table(self.root) };
    }
}

/// Frees the table that `found`, an entry at `level`, points to, and those below it.
fn free_below(found: u64, level: u32) {
    if found & PRESENT == 0 {
        return;
    }
    let table = found & ADDRESS;
    if level > 1 {
        for index in 0..ENTRIES {
            free_below(entry(table, index).load(Ordering::Relaxed), level - 1);
        }
    }
    // SAFETY: the only reference was the entry of a table that is being freed too.
    unsafe { free_table(table) };
}

/// Makes `tables` the current ones on `this` CPU if they are not. Interrupts are off.
#[inline]
pub(crate) fn load(this: &'static PerCpu, tables: &alloc::sync::Arc<Tables>) {
    if !core::ptr::eq(this.tables.load(Ordering::Relaxed), alloc::sync::Arc::as_ptr(tables)) {
        load_slow(this, tables);
    }
}

#[cold]
fn load_slow(this: &'static PerCpu, tables: &alloc::sync::Arc<Tables>) {
    let bit = 1u64 << this.number();
    // Set before the load: whoever changes an entry after reading `active` without this bit knows that the load, which
    // comes later, sees the change.
    tables.active.fetch_or(bit, Ordering::SeqCst);
    let raw = alloc::sync::Arc::into_raw(tables.clone()).cast_mut();
    let old = this.tables.swap(raw, Ordering::Relaxed);
    // SAFETY: the root shares the kernel half and is kept alive by the count just taken.
    unsafe { cpu::set_page_root(tables.root) };
    release(old, bit);
    crate::clock::note_user_entry();
}

/// Gives tables up whose space is gone: before idling, so that they do not wait for the next user thread.
pub(crate) fn unload_orphan(this: &'static PerCpu) {
    let tables = this.tables.load(Ordering::Relaxed);
    if tables.is_null() {
        return;
    }
    // SAFETY: `this.tables` holds a count; it is looked at without being given up.
    let tables = core::mem::ManuallyDrop::new(unsafe { alloc::sync::Arc::from_raw(tables.cast_const()) });
    if alloc::sync::Arc::strong_count(&tables) == 1 {
        unload(this);
    }
}

/// Goes back to the boot tables on the calling CPU.
fn unload(this: &'static PerCpu) {
    let old = this.tables.swap(core::ptr::null_mut(), Ordering::Relaxed);
    if !old.is_null() {
        // SAFETY: the boot tables live for ever.
        unsafe { cpu::set_page_root(boot_root()) };
        release(old, 1 << this.number());
    }
}

fn release(old: *mut Tables, bit: u64) {
    if !old.is_null() {
        // SAFETY: `this.tables` held a count made by `into_raw`.
        let old = unsafe { alloc::sync::Arc::from_raw(old) };
        old.active.fetch_and(!bit, Ordering::SeqCst);
    }
}
