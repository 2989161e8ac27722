//! [`Area`]: a range of an address space with one permission and one source; [`AreaMap`]: all of them, and the gaps.

use crate::cache::{Attachment, Mapping};
use crate::fs::OpenFile;
use crate::platform::Perm;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::frame::Frame;

/// Most areas of one address space (Linux: `vm.max_map_count`).
pub const MAX_AREAS: usize = 65530;
/// Lowest address of a mapping (Linux: `vm.mmap_min_addr`).
pub const MIN_ADDRESS: u64 = 65536;
/// Kept free below a growing stack (Linux: `stack_guard_gap`, 256 pages).
pub(super) const STACK_GUARD: u64 = 256 << 12;

bitflags! {
    /// Properties of an area.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AreaFlags: u32 {
        /// Grows towards lower addresses (`MAP_GROWSDOWN`, stacks).
        const GROWS_DOWN = 1;
        /// Locked in memory (mlock(2)).
        const LOCKED = 2;
        /// `MADV_DONTFORK`.
        const DONT_FORK = 4;
        /// `MADV_WIPEONFORK`.
        const WIPE_ON_FORK = 8;
        /// `MADV_DONTDUMP`.
        const DONT_DUMP = 0x10;
        /// `MAP_NORESERVE`.
        const NO_RESERVE = 0x20;
        /// `MADV_HUGEPAGE`.
        const HUGE = 0x40;
        /// `MADV_NOHUGEPAGE`.
        const NO_HUGE = 0x80;
        /// May be made writable: private, or a shared mapping of a file opened for writing.
        const MAY_WRITE = 0x100;
        /// `MADV_SEQUENTIAL`.
        const SEQUENTIAL = 0x200;
        /// `MADV_RANDOM`.
        const RANDOM = 0x400;
        /// The vDSO image or its data.
        const VDSO = 0x800;
        /// It stays as it is (mseal(2)).
        const SEALED = 0x1000;
        /// Memory policy (mbind(2)); the bits are those of the system call's module.
        const POLICY = 0x7f_0000;
    }
}

/// Part of a file that is mapped.
#[derive(Clone)]
pub(super) struct FileRange {
    /// The cached pages, and this address space among those that are told of changes.
    pub(super) attachment: Arc<Attachment>,
    /// Page of the file at the start of the area.
    pub(super) first: u64,
    /// The open file, for its name; `None` for anonymous shared memory.
    pub(super) file: Option<Arc<OpenFile>>,
}

impl FileRange {
    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        self.attachment.mapping()
    }

    fn continues(&self, next: &Self, pages: u64) -> bool {
        let same_file = match (&self.file, &next.file) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_file && Arc::ptr_eq(self.mapping(), next.mapping()) && self.first + pages == next.first
    }
}

/// Where pages of an area come from.
#[derive(Clone)]
pub(super) enum Source {
    /// Zeroes; pages are private.
    Anonymous,
    /// A file; pages that are written are copied first.
    Private(FileRange),
    /// A file or shared memory; pages are the file's.
    Shared(FileRange),
    /// Frames of the platform, read-only.
    Frames(&'static [Frame]),
}

impl Source {
    pub(super) fn file(&self) -> Option<&FileRange> {
        match self {
            Self::Private(range) | Self::Shared(range) => Some(range),
            Self::Anonymous | Self::Frames(_) => None,
        }
    }

    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// The source `pages` further on.
    pub(super) fn skip(&mut self, pages: u64) {
        match self {
            Self::Anonymous => {}
            Self::Private(range) | Self::Shared(range) => range.first += pages,
            Self::Frames(frames) => {
                *frames =
                    usize::try_from(pages).ok().and_then(|pages| frames.get(pages..)).unwrap_or_default();
            }
        }
    }

    fn continues(&self, next: &Self, pages: u64) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Private(one), Self::Private(other)) | (Self::Shared(one), Self::Shared(other)) => {
                one.continues(other, pages)
            }
            _ => false,
        }
    }
}

/// A range with one permission and one source. Its start is its key in the [`AreaMap`].
#[derive(Clone)]
pub(super) struct Area {
    pub(super) end: u64,
    pub(super) perm: Perm,
    pub(super) flags: AreaFlags,
    pub(super) source: Source,
}

impl Area {
    /// Counts as data: private and writable, and no stack.
    pub(super) fn is_data(&self) -> bool {
        self.perm.contains(Perm::WRITE)
            && !self.source.is_shared()
            && !self.flags.contains(AreaFlags::GROWS_DOWN)
    }

    /// Page of the file at `at`, which lies in the area that starts at `start`.
    pub(super) fn file_page(&self, start: u64, at: u64) -> u64 {
        self.source.file().map_or(0, |range| range.first + ((at - start) >> 12))
    }
}

/// The areas of an address space, by start; they do not overlap.
pub(super) struct AreaMap {
    areas: BTreeMap<u64, Area>,
    /// Bytes of all areas.
    total: u64,
    peak: u64,
    /// Top of the space for mappings without a wish.
    base: u64,
    /// No gap above this address, below `base`, is larger than `largest_above`.
    search_from: u64,
    largest_above: u64,
}

impl AreaMap {
    pub(super) const fn new(base: u64) -> Self {
        Self { areas: BTreeMap::new(), total: 0, peak: 0, base, search_from: base, largest_above: 0 }
    }

    /// Copies the layout, not the areas.
    pub(super) const fn empty_like(&self) -> Self {
        Self::new(self.base)
    }

    pub(super) fn set_base(&mut self, base: u64) {
        self.base = base;
        self.search_from = base;
        self.largest_above = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.areas.len()
    }

    /// Bytes of all areas.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Area)> {
        self.areas.iter().map(|(start, area)| (*start, area))
    }

    /// The area that `at` lies in.
    pub(super) fn find(&self, at: u64) -> Option<(u64, &Area)> {
        let (start, area) = self.areas.range(..=at).next_back()?;
        (at < area.end).then_some((*start, area))
    }

    /// The first area that ends above `at`.
    pub(super) fn find_from(&self, at: u64) -> Option<(u64, &Area)> {
        self.find(at).or_else(|| self.areas.range(at..).next().map(|(start, area)| (*start, area)))
    }

    /// The last area that starts below `at`.
    pub(super) fn before(&self, at: u64) -> Option<(u64, &Area)> {
        self.areas.range(..at).next_back().map(|(start, area)| (*start, area))
    }

    /// Areas that overlap `from..to`, in order.
    pub(super) fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Area)> {
        let first = self.find(from).map_or(from, |(start, _)| start);
        self.areas.range(first..to.max(first)).map(|(start, area)| (*start, area))
    }

    /// Whether `from..to` is covered by areas without a gap.
    pub(super) fn covers(&self, from: u64, to: u64) -> bool {
        let mut at = from;
        for (start, area) in self.overlapping(from, to) {
            if start > at {
                return false;
            }
            at = area.end;
        }
        at >= to
    }

    /// Most bytes of all areas so far.
    pub(super) const fn peak(&self) -> u64 {
        self.peak
    }

    fn add(&mut self, bytes: u64) {
        self.total += bytes;
        self.peak = self.peak.max(self.total);
    }

    pub(super) fn insert(&mut self, start: u64, area: Area) {
        self.add(area.end - start);
        self.areas.insert(start, area);
    }

    /// Inserts and merges with neighbours.
    pub(super) fn insert_merged(&mut self, start: u64, area: Area) {
        let end = area.end;
        self.insert(start, area);
        self.merge(start, end);
    }

    /// Merges areas that touch at a border in `from..=to` and are alike.
    pub(super) fn merge(&mut self, from: u64, to: u64) {
        let mut at = self.before(from).map_or(from, |(start, _)| start);
        while let Some((start, area)) = self.areas.range(at..).next() {
            let (start, end) = (*start, area.end);
            if start > to {
                break;
            }
            let joins = self.areas.get(&end).is_some_and(|next| {
                area.perm == next.perm
                    && area.flags == next.flags
                    && !area.flags.contains(AreaFlags::GROWS_DOWN)
                    && area.source.continues(&next.source, (end - start) >> 12)
            });
            if joins && let Some(next) = self.areas.remove(&end) {
                if let Some(area) = self.areas.get_mut(&start) {
                    area.end = next.end;
                }
                at = start;
            } else {
                at = end.max(start + 1);
            }
        }
    }

    /// Makes `at` a border between areas.
    pub(super) fn split(&mut self, at: u64) {
        let Some((start, area)) = self.areas.range_mut(..at).next_back() else { return };
        if area.end <= at {
            return;
        }
        let mut right = area.clone();
        right.source.skip((at - *start) >> 12);
        area.end = at;
        self.areas.insert(at, right);
    }

    /// How many areas more there would be after a hole is made in `from..to`.
    pub(super) fn splits(&self, from: u64, to: u64) -> usize {
        let inside = |at: u64| self.find(at).is_some_and(|(start, _)| start < at);
        usize::from(inside(from)) + usize::from(inside(to))
    }

    /// Takes out what overlaps `from..to`, splitting at the ends.
    pub(super) fn remove(&mut self, from: u64, to: u64) -> Vec<(u64, Area)> {
        self.split(from);
        self.split(to);
        let starts: Vec<u64> = self.areas.range(from..to).map(|(start, _)| *start).collect();
        let removed: Vec<(u64, Area)> =
            starts.iter().filter_map(|start| Some((*start, self.areas.remove(start)?))).collect();
        self.total -= removed.iter().map(|(start, area)| area.end - start).sum::<u64>();
        if !removed.is_empty() && to > self.search_from {
            self.search_from = to.min(self.base);
        }
        removed
    }

    /// Splits at the ends and lets `change` at every area of `from..to`; merges afterwards.
    pub(super) fn change(&mut self, from: u64, to: u64, mut change: impl FnMut(&mut Area)) {
        self.split(from);
        self.split(to);
        self.areas.range_mut(from..to).for_each(|(_, area)| change(area));
        self.merge(from, to);
    }

    /// Moves the start of a growing area down to `to`.
    pub(super) fn grow_down(&mut self, start: u64, to: u64) {
        if let Some(area) = self.areas.remove(&start) {
            self.add(start - to);
            self.areas.insert(to, area);
        }
    }

    /// Moves the end of an area up to `to`, where nothing is.
    pub(super) fn grow_up(&mut self, start: u64, to: u64) {
        let Some(area) = self.areas.get_mut(&start) else { return };
        let added = to - core::mem::replace(&mut area.end, to);
        self.add(added);
        self.merge(start, to);
    }

    /// Whether nothing is in `from..to`, nor a growing stack whose guard would be.
    pub(super) fn is_free(&self, from: u64, to: u64) -> bool {
        self.find_from(from).is_none_or(|(start, area)| low_edge(start, area) >= to)
    }

    /// The highest gap of `len` bytes below the base, else the lowest above it.
    pub(super) fn find_gap(&mut self, len: u64) -> Option<u64> {
        let from_top = len <= self.largest_above;
        let (mut high, mut largest) =
            if from_top { (self.base, 0) } else { (self.search_from, self.largest_above) };
        let mut found = None;
        for (start, area) in self.areas.range(..high).rev() {
            if area.end < high {
                if high - area.end >= len {
                    found = Some(high - len);
                    break;
                }
                largest = largest.max(high - area.end);
            }
            high = high.min(low_edge(*start, area));
        }
        let found = found
            .or_else(|| high.checked_sub(len).filter(|at| *at >= MIN_ADDRESS))
            .or_else(|| self.gap_above(len));
        if let Some(found) = found.filter(|found| *found < self.base) {
            (self.search_from, self.largest_above) = (found, largest);
        }
        found
    }

    fn gap_above(&self, len: u64) -> Option<u64> {
        self.gap_between(self.base, chitin_proto::layout::USER_END, len)
    }

    /// The lowest gap of `len` bytes in `from..to`.
    pub(super) fn gap_between(&self, from: u64, to: u64, len: u64) -> Option<u64> {
        let mut low = from;
        for (start, area) in self.overlapping(from, to) {
            if low_edge(start, area).saturating_sub(low) >= len && low < start {
                return Some(low);
            }
            low = low.max(area.end);
        }
        (to.saturating_sub(low) >= len).then_some(low)
    }
}

/// Where the space below an area ends: a growing stack keeps a guard.
fn low_edge(start: u64, area: &Area) -> u64 {
    if area.flags.contains(AreaFlags::GROWS_DOWN) { start.saturating_sub(STACK_GUARD) } else { start }
}
