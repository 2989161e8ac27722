//! Buddy allocator over frame numbers. All-zero metadata means "never handed out", so a large arena costs nothing until
//! it is used: frames above the watermark `fresh` have not been touched, read as zero and are in no list.

use core::sync::atomic::{AtomicU32, Ordering};

/// Largest block: 2^9 frames, 2 MiB.
pub const MAX_ORDER: u8 = 9;

const NONE: u32 = u32::MAX;

/// Metadata of one frame. Valid when zero.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Meta {
    /// Handles of an allocated frame.
    pub(super) refs: AtomicU32,
    /// Order plus one while the frame heads a free block, else 0.
    free_order: AtomicU32,
    prev: AtomicU32,
    next: AtomicU32,
}

#[derive(Debug)]
pub(super) struct Buddy {
    heads: [u32; MAX_ORDER as usize + 1],
    fresh: u32,
    end: u32,
    free: u32,
}

impl Buddy {
    pub(super) fn new(first: u32, end: u32) -> Self {
        Self { heads: [NONE; MAX_ORDER as usize + 1], fresh: first, end, free: end - first }
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Takes a block; the flag says that it was never used and reads as zero.
    pub(super) fn take(&mut self, metas: &[Meta], order: u8) -> Option<(u32, bool)> {
        if order > MAX_ORDER {
            return None;
        }
        let found = (order..=MAX_ORDER).find(|at| self.heads[*at as usize] != NONE);
        let (number, zero) = match found {
            Some(mut at) => {
                let number = self.heads[at as usize];
                self.unlink(metas, number, at);
                while at > order {
                    at -= 1;
                    self.link(metas, number + (1 << at), at);
                }
                (number, false)
            }
            None => (self.carve(metas, order)?, true),
        };
        self.free -= 1 << order;
        Some((number, zero))
    }

    /// Takes a block from above the watermark; what alignment skips goes to the lists.
    fn carve(&mut self, metas: &[Meta], order: u8) -> Option<u32> {
        let size = 1u32 << order;
        let number = self.fresh.checked_next_multiple_of(size)?;
        let end = number.checked_add(size)?;
        if end > self.end {
            return None;
        }
        while self.fresh < number {
            let skip = (self.fresh.trailing_zeros()).min(u32::from(order));
            self.link(metas, self.fresh, u8::try_from(skip).unwrap_or(0));
            self.fresh += 1 << skip;
        }
        self.fresh = end;
        Some(number)
    }

    pub(super) fn give(&mut self, metas: &[Meta], mut number: u32, mut order: u8) {
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = number ^ (1 << order);
            let is_free = metas
                .get(buddy as usize)
                .is_some_and(|meta| meta.free_order.load(Ordering::Relaxed) == u32::from(order) + 1);
            if !is_free {
                break;
            }
            self.unlink(metas, buddy, order);
            number = number.min(buddy);
            order += 1;
        }
        self.link(metas, number, order);
    }

    fn link(&mut self, metas: &[Meta], number: u32, order: u8) {
        let head = core::mem::replace(&mut self.heads[order as usize], number);
        if let Some(meta) = metas.get(number as usize) {
            meta.free_order.store(u32::from(order) + 1, Ordering::Relaxed);
            meta.prev.store(NONE, Ordering::Relaxed);
            meta.next.store(head, Ordering::Relaxed);
        }
        if let Some(meta) = metas.get(head as usize) {
            meta.prev.store(number, Ordering::Relaxed);
        }
    }

    fn unlink(&mut self, metas: &[Meta], number: u32, order: u8) {
        let Some(meta) = metas.get(number as usize) else { return };
        let (prev, next) = (meta.prev.load(Ordering::Relaxed), meta.next.load(Ordering::Relaxed));
        meta.free_order.store(0, Ordering::Relaxed);
        match metas.get(prev as usize) {
            Some(meta) => meta.next.store(next, Ordering::Relaxed),
            None => self.heads[order as usize] = next,
        }
        if let Some(meta) = metas.get(next as usize) {
            meta.prev.store(prev, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn everything_comes_back_and_merges() {
        let metas: Vec<Meta> = (0..1024).map(|_| Meta::default()).collect();
        let mut buddy = Buddy::new(3, 1024);
        let mut taken = Vec::new();
        let mut seed = 12345u32;
        for _ in 0..if cfg!(miri) { 300 } else { 20000 } {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let order = u8::try_from((seed >> 16) % 4).unwrap();
            if seed & 0x100 == 0 {
                if let Some((number, _)) = buddy.take(&metas, order) {
                    assert_eq!(number % (1 << order), 0);
                    assert!(number >= 3 && number + (1 << order) <= 1024);
                    for (other, size) in &taken {
                        assert!(number + (1 << order) <= *other || other + (1u32 << size) <= number);
                    }
                    taken.push((number, order));
                }
            } else if !taken.is_empty() {
                let at = seed as usize % taken.len();
                let (number, order) = taken.swap_remove(at);
                buddy.give(&metas, number, order);
            }
        }
        for (number, order) in taken {
            buddy.give(&metas, number, order);
        }
        assert_eq!(buddy.free(), 1021);
        assert!(buddy.take(&metas, 9).is_some(), "a whole 2 MiB block is there again");
        assert!(buddy.take(&metas, 10).is_none());
    }
}
