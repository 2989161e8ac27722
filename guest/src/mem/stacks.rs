//! Kernel stacks: 16 KiB each, in slots of 32 KiB whose lower half is never mapped, so an overflow faults.
//!
//! Stacks of ended threads stay mapped for the next ones, up to [`SPARE`]; what is beyond goes back, [`BATCH`] at a time,
//! because every CPU has to forget them.

use crate::arch::entry;
use crate::log;
use crate::mem::tables::{self, ACCESSED, DIRTY, GLOBAL, NO_EXECUTE, PRESENT, WRITABLE};
use crate::mem::{Exhausted, STACKS, tlb};
use alloc::format;
use alloc::vec::Vec;
use chitin_core::frame::Block;
use chitin_core::lock::SpinLock;
use chitin_proto::layout::STACKS_VA;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a stack.
pub(crate) const STACK_SIZE: u64 = 16 * 1024;
const ORDER: u8 = 2;
const SLOT_SIZE: u64 = 2 * STACK_SIZE;
/// Stacks kept for reuse.
const SPARE: usize = 128;
/// Stacks given back together when there are more.
const BATCH: usize = 96;
/// Most slots: what one top-level entry maps.
const MAX_SLOTS: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Depth from which a new record is told.
pub(crate) const REMARKABLE: u64 = STACK_SIZE / 2;
/// Bytes beyond the record at which a stack is looked at.
const PROBE: u64 = 512;
/// Lines of code addresses told with a record.
const CODE_LINES: usize = 8;

/// Most bytes of a stack that an ended thread used.
static DEEPEST: AtomicU64 = AtomicU64::new(0);

/// A mapped kernel stack.
#[derive(Debug)]
pub(crate) struct Stack {
    slot: u64,
    frames: Block,
}

#[derive(Default)]
struct Pool {
    spare: Vec<Stack>,
    unmapped: Vec<u64>,
    next: u64,
}

static POOL: SpinLock<Pool> =
    SpinLock::new(STACKS, Pool { spare: Vec::new(), unmapped: Vec::new(), next: 0 });

/// Makes the table below the top-level entry of the stacks, before any space copies that entry.
///
/// # Errors
/// [`Exhausted`].
pub(crate) fn init() -> Result<(), Exhausted> {
    tables::leaf_or_make(tables::boot_root(), STACKS_VA, 0).map(|_| ())
}

/// Whether `address` is in a stack or its guard.
pub(crate) fn contains(address: u64) -> bool {
    (STACKS_VA..STACKS_VA + MAX_SLOTS * SLOT_SIZE).contains(&address)
}

/// Whether `address` lies in the unmapped part of a slot.
pub(crate) fn is_guard(address: u64) -> bool {
    contains(address) && (address - STACKS_VA) % SLOT_SIZE < STACK_SIZE
}

impl Stack {
    /// A stack from the pool or a new one.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub(crate) fn new() -> Result<Self, Exhausted> {
        let slot = {
            let mut pool = POOL.lock();
            if let Some(stack) = pool.spare.pop() {
                return Ok(stack);
            }
            match pool.unmapped.pop() {
                Some(slot) => slot,
                None if pool.next < MAX_SLOTS => {
                    pool.next += 1;
                    pool.next - 1
                }
                None => return Err(Exhausted),
            }
        };
        Self::map(slot).inspect_err(|_| POOL.lock().unmapped.push(slot))
    }

    fn map(slot: u64) -> Result<Self, Exhausted> {
        let frames = Block::zeroed(ORDER).ok_or(Exhausted)?;
        let stack = Self { slot, frames };
        let _pool = POOL.lock();
        for page in 0..STACK_SIZE / PAGE {
            let entry = tables::leaf_or_make(tables::boot_root(), stack.bottom() + page * PAGE, 0)?;
            let physical = stack.frames.address() + page * PAGE;
            entry.store(
                physical | PRESENT | WRITABLE | ACCESSED | DIRTY | GLOBAL | NO_EXECUTE,
                Ordering::Release,
            );
        }
        Ok(stack)
    }

    /// Lowest address.
    pub(crate) fn bottom(&self) -> u64 {
        STACKS_VA + self.slot * SLOT_SIZE + STACK_SIZE
    }

    /// End address, 16-byte aligned.
    pub(crate) fn top(&self) -> u64 {
        self.bottom() + STACK_SIZE
    }

    /// The words at depths `from..to` bytes below the top, deepest first. Nobody else runs on the stack.
    fn words(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let low = self.top() - to.min(STACK_SIZE);
        // SAFETY: the stack is mapped; it belongs to a thread that is not running or reads its own.
        (low..self.top() - from).step_by(8).map(|at| unsafe { (at as *const u64).read_volatile() })
    }

    /// Bytes that were ever used, found by the lowest word that is not zero.
    pub(crate) fn used(&self) -> u64 {
        let untouched = self.words(0, STACK_SIZE).take_while(|word| *word == 0).count();
        STACK_SIZE - (untouched as u64) * 8
    }

    /// Keeps the greatest depth of all stacks; a new one beyond half of the stack is told in the log, with the code that may
    /// have been there. Mostly it costs a look at a few words.
    fn note_depth(&self) {
        let deepest = DEEPEST.load(Ordering::Relaxed);
        if self.words(deepest, deepest + PROBE).all(|word| word == 0) {
            return;
        }
        let used = self.used();
        if DEEPEST.fetch_max(used, Ordering::Relaxed) < used && used > REMARKABLE {
            let mut text =
                format!("chitin: {used} of {STACK_SIZE} bytes of a kernel stack were used, perhaps by\n");
            let mut code = self.words(0, used).filter(|word| entry::is_text(*word));
            for _ in 0..CODE_LINES {
                let mut four = [0; 4];
                four.iter_mut().zip(&mut code).for_each(|(to, from)| *to = from);
                let [one, two, three, four] = four;
                let _ = writeln!(text, "  {one:#x} {two:#x} {three:#x} {four:#x}");
            }
            // In one piece: each leaves the VM.
            log::write(&text);
        }
    }

    /// Gives the stack of an ended thread back. Nobody runs on it.
    pub(crate) fn recycle(self) {
        self.note_depth();
        let surplus: Vec<Self> = {
            let mut pool = POOL.lock();
            pool.spare.push(self);
            if pool.spare.len() <= SPARE {
                return;
            }
            let kept = pool.spare.len().saturating_sub(BATCH);
            pool.spare.drain(kept..).collect()
        };
        for stack in &surplus {
            for page in 0..STACK_SIZE / PAGE {
                if let Some(entry) = tables::leaf(tables::boot_root(), stack.bottom() + page * PAGE) {
                    entry.store(0, Ordering::Release);
                }
            }
        }
        tlb::flush_kernel();
        // No CPU knows the addresses any more: now the frames may have other owners, and the slots other frames.
        let slots: Vec<u64> = surplus.iter().map(|stack| stack.slot).collect();
        drop(surplus);
        POOL.lock().unmapped.extend(slots);
    }
}
