//! [`PageTable`]: the pages of one file by index, in chunks of 32 with a bit per page for each of its states.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use chitin_core::frame::Frame;

/// Pages of a chunk.
pub(super) const CHUNK: u64 = SLOTS as u64;
const SLOTS: usize = 32;

/// 32 pages. A page is absent, busy (being filled, or on its way out), present, or present and busy.
#[derive(Default)]
struct Chunk {
    frames: [Option<Frame>; SLOTS],
    dirty: u32,
    busy: u32,
    /// Of busy pages: what is being filled in is out of date already.
    stale: u32,
    /// Used since the last look for pages to drop.
    used: u32,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.busy == 0 && self.frames.iter().all(Option::is_none)
    }
}

/// What the table knows of a page.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    Present { frame: &'a Frame, dirty: bool },
    Busy,
    Absent,
}

/// The pages of one file.
#[derive(Default)]
pub(super) struct PageTable {
    chunks: BTreeMap<u64, Box<Chunk>>,
    resident: usize,
    dirty: usize,
}

/// Chunk, slot in it, and the slot's bit.
const fn place(index: u64) -> (u64, usize, u32) {
    let slot = index % CHUNK;
    (index / CHUNK, slot as usize, 1 << slot)
}

impl PageTable {
    /// Pages present.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    /// Pages dirty.
    pub(super) fn dirty(&self) -> usize {
        self.dirty
    }

    /// A busy page counts as busy even when it is present: it is on its way out.
    pub(super) fn slot(&self, index: u64) -> Slot<'_> {
        let (chunk, slot, bit) = place(index);
        let Some(chunk) = self.chunks.get(&chunk) else { return Slot::Absent };
        match chunk.frames.get(slot) {
            _ if chunk.busy & bit != 0 => Slot::Busy,
            Some(Some(frame)) => Slot::Present { frame, dirty: chunk.dirty & bit != 0 },
            _ => Slot::Absent,
        }
    }

    /// Notes that a present page is used, and written to or not; returns its frame and whether it is dirty now.
    pub(super) fn touch(&mut self, index: u64, write: bool) -> Option<(&Frame, bool)> {
        let (chunk, slot, bit) = place(index);
        let chunk = self.chunks.get_mut(&chunk)?;
        if chunk.busy & bit != 0 {
            return None;
        }
        let frame = chunk.frames.get(slot)?.as_ref()?;
        chunk.used |= bit;
        if write && chunk.dirty & bit == 0 {
            chunk.dirty |= bit;
            self.dirty += 1;
        }
        Some((frame, chunk.dirty & bit != 0))
    }

    /// Puts a frame at an absent page that is not busy; gives it back if there is one meanwhile.
    pub(super) fn insert(&mut self, index: u64, frame: Frame, dirty: bool) -> Option<Frame> {
        let (number, slot, bit) = place(index);
        let chunk = self.chunks.entry(number).or_default();
        let Some(place) = chunk.frames.get_mut(slot).filter(|_| chunk.busy & bit == 0) else {
            return Some(frame);
        };
        if place.is_some() {
            return Some(frame);
        }
        *place = Some(frame);
        chunk.used |= bit;
        self.resident += 1;
        if dirty {
            chunk.dirty |= bit;
            self.dirty += 1;
        }
        None
    }

    /// Makes absent pages busy: `index` and what is absent around it within `from..to`. Returns first page and count.
    pub(super) fn claim(&mut self, index: u64, from: u64, to: u64) -> (u64, usize) {
        let absent = |table: &Self, page: u64| matches!(table.slot(page), Slot::Absent);
        let mut first = index;
        while first > from && absent(self, first - 1) {
            first -= 1;
        }
        let mut end = index + 1;
        while end < to && absent(self, end) {
            end += 1;
        }
        for page in first..end {
            let (number, _, bit) = place(page);
            self.chunks.entry(number).or_default().busy |= bit;
        }
        (first, usize::try_from(end - first).unwrap_or(0))
    }

    /// Ends what [`PageTable::claim`] began: puts the frame there, unless it is out of date or `None`. A frame that is not
    /// wanted comes back.
    pub(super) fn settle(&mut self, index: u64, frame: Option<Frame>, dirty: bool) -> Option<Frame> {
        let (number, slot, bit) = place(index);
        let Some(chunk) = self.chunks.get_mut(&number) else { return frame };
        let stale = chunk.stale & bit != 0;
        chunk.busy &= !bit;
        chunk.stale &= !bit;
        let Some(place) = chunk.frames.get_mut(slot).filter(|_| !stale && frame.is_some()) else {
            if chunk.is_empty() {
                self.chunks.remove(&number);
            }
            return frame;
        };
        *place = frame;
        self.resident += 1;
        if dirty {
            chunk.dirty |= bit;
            self.dirty += 1;
        }
        None
    }

    /// Takes the pages of `from..to` out; what is being filled in there is out of date.
    pub(super) fn take(&mut self, from: u64, to: u64) -> Vec<Frame> {
        let mut taken = Vec::new();
        let mut emptied = Vec::new();
        for (number, chunk) in self.chunks.range_mut(from / CHUNK..to.div_ceil(CHUNK).max(from / CHUNK)) {
            for (page, slot) in (number * CHUNK..).zip(&mut chunk.frames) {
                let (_, _, bit) = place(page);
                if !(from..to).contains(&page) {
                    continue;
                }
                chunk.stale |= chunk.busy & bit;
                if let Some(frame) = slot.take() {
                    taken.push(frame);
                    self.resident -= 1;
                    self.dirty -= usize::from(chunk.dirty & bit != 0);
                    chunk.dirty &= !bit;
                }
            }
            if chunk.is_empty() {
                emptied.push(*number);
            }
        }
        for number in emptied {
            self.chunks.remove(&number);
        }
        taken
    }

    /// What is being filled into the page is out of date, if it is being filled.
    pub(super) fn discard_filling(&mut self, index: u64) {
        let (number, _, bit) = place(index);
        if let Some(chunk) = self.chunks.get_mut(&number) {
            chunk.stale |= chunk.busy & bit;
        }
    }

    /// The first present page from `index` on.
    pub(super) fn next_present(&self, index: u64) -> Option<u64> {
        self.chunks.range(index / CHUNK..).find_map(|(number, chunk)| {
            let mut pages = (number * CHUNK..).zip(&chunk.frames);
            pages.find(|(page, slot)| *page >= index && slot.is_some()).map(|(page, _)| page)
        })
    }

    /// Present pages of `from..to`.
    pub(super) fn count(&self, from: u64, to: u64) -> u64 {
        let mut present = 0;
        for (number, chunk) in self.chunks.range(from / CHUNK..to.div_ceil(CHUNK).max(from / CHUNK)) {
            let pages = (number * CHUNK..).zip(&chunk.frames);
            present += pages.filter(|(page, slot)| slot.is_some() && (from..to).contains(page)).count();
        }
        present as u64
    }

    /// Pages of `from..=to` that are present, and those of them that are dirty.
    pub(super) fn count_states(&self, from: u64, to: u64) -> (u64, u64) {
        let (mut present, mut dirty) = (0, 0);
        for (number, chunk) in self.chunks.range(from / CHUNK..=to.max(from) / CHUNK) {
            for (page, slot) in (number * CHUNK..).zip(&chunk.frames) {
                if slot.is_some() && (from..=to).contains(&page) {
                    present += 1;
                    dirty += u64::from(chunk.dirty & place(page).2 != 0);
                }
            }
        }
        (present, dirty)
    }

    /// The first run of dirty pages in `from..to`, at most `most` long, made clean: first page and frames.
    pub(super) fn take_dirty(&mut self, from: u64, to: u64, most: usize) -> Option<(u64, Vec<Frame>)> {
        if self.dirty == 0 {
            return None;
        }
        let chunks = self.chunks.range(from / CHUNK..to.div_ceil(CHUNK).max(from / CHUNK));
        let first = chunks.filter(|(_, chunk)| chunk.dirty != 0).find_map(|(number, chunk)| {
            let bits = (0..CHUNK).filter(|bit| chunk.dirty & (1 << bit) != 0);
            bits.map(|bit| number * CHUNK + bit).find(|page| (from..to).contains(page))
        })?;
        let mut frames = Vec::new();
        for page in first..to.min(first.saturating_add(most as u64)) {
            let (number, slot, bit) = place(page);
            let Some(chunk) = self.chunks.get_mut(&number).filter(|chunk| chunk.dirty & bit != 0) else {
                break;
            };
            let Some(Some(frame)) = chunk.frames.get(slot) else { break };
            chunk.dirty &= !bit;
            self.dirty -= 1;
            frames.push(frame.clone());
        }
        Some((first, frames))
    }

    /// Makes up to `most` pages busy that can be dropped: clean, and not used since the last look. Others are marked as not
    /// used. Returns their indices, which [`PageTable::drop_busy`] takes.
    pub(super) fn choose_victims(&mut self, most: usize) -> Vec<u64> {
        let mut victims = Vec::new();
        for (number, chunk) in &mut self.chunks {
            let second_chance = core::mem::take(&mut chunk.used);
            for (page, slot) in (number * CHUNK..).zip(&chunk.frames) {
                let (_, _, bit) = place(page);
                let idle = slot.as_ref().is_some_and(|frame| frame.handles() == 1);
                if idle && (chunk.dirty | chunk.busy | second_chance) & bit == 0 {
                    chunk.busy |= bit;
                    victims.push(page);
                }
                if victims.len() >= most {
                    return victims;
                }
            }
        }
        victims
    }

    /// Takes victims out that still nobody else has; all stop being busy.
    pub(super) fn drop_busy(&mut self, victims: &[u64]) -> Vec<Frame> {
        let mut dropped = Vec::new();
        for page in victims {
            let (number, slot, bit) = place(*page);
            let Some(chunk) = self.chunks.get_mut(&number) else { continue };
            chunk.busy &= !bit;
            chunk.stale &= !bit;
            if let Some(slot) = chunk.frames.get_mut(slot)
                && slot.as_ref().is_some_and(|frame| frame.handles() == 1)
                && let Some(frame) = slot.take()
            {
                dropped.push(frame);
                self.resident -= 1;
            }
            if chunk.is_empty() {
                self.chunks.remove(&number);
            }
        }
        dropped
    }
}
