//! [`Ranges`]: disjoint ranges of numbers in order: what the other side has of what we sent (its SACK blocks), or what came
//! here ahead of a gap.

use super::sequence::Seq;
use alloc::vec::Vec;

/// Ranges that are kept: what would make more is ignored.
const MAX_RANGES: usize = 128;

/// Disjoint ranges, rising; each from its first number up to the one after its last.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(Seq, Seq)>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a range could be added, whatever it is.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_RANGES
    }

    /// Adds a range; the numbers of it that were not there before.
    pub(super) fn add(&mut self, from: Seq, end: Seq) -> usize {
        if !end.is_after(from) {
            return 0;
        }
        let (mut from, mut end) = (from, end);
        let first = self.0.iter().position(|(_, old_end)| !old_end.is_before(from)).unwrap_or(self.0.len());
        let mut last = first;
        let mut old = 0;
        while let Some((old_from, old_end)) = self.0.get(last).filter(|(old_from, _)| !old_from.is_after(end))
        {
            old += old_end.since(*old_from);
            from = from.min(*old_from);
            end = end.max(*old_end);
            last += 1;
        }
        if first == last && !self.has_room() {
            return 0;
        }
        self.0.splice(first..last, [(from, end)]);
        end.since(from) - old
    }

    /// Forgets what comes before `at`.
    pub(super) fn forget(&mut self, at: Seq) {
        self.0.retain(|(_, end)| end.is_after(at));
        if let Some((from, _)) = self.0.first_mut() {
            *from = from.max(at);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Numbers in ranges.
    pub(super) fn total(&self) -> usize {
        self.0.iter().map(|(from, end)| end.since(*from)).sum()
    }

    /// Numbers in ranges from `from` up to `end`.
    pub(super) fn within(&self, from: Seq, end: Seq) -> usize {
        let part = |(start, stop): &(Seq, Seq)| {
            let (start, stop) = (start.max(from), stop.min(end));
            if stop.is_after(start) { stop.since(start) } else { 0 }
        };
        self.0.iter().map(part).sum()
    }

    /// The end of the last range.
    pub(super) fn last(&self) -> Option<Seq> {
        self.0.last().map(|(_, end)| *end)
    }

    /// The first gap at or after `at`, up to `end` at most.
    pub(super) fn gap(&self, at: Seq, end: Seq) -> Option<(Seq, Seq)> {
        let mut at = at;
        for (from, stop) in &self.0 {
            if from.is_after(at) {
                let stop = from.min(end);
                return stop.is_after(at).then_some((at, stop));
            }
            at = at.max(*stop);
        }
        end.is_after(at).then_some((at, end))
    }

    /// Takes out the first range when it begins at `at` or before: its end.
    pub(super) fn take_first(&mut self, at: Seq) -> Option<Seq> {
        let (from, end) = self.0.first()?;
        if from.is_after(at) {
            return None;
        }
        let end = *end;
        self.0.remove(0);
        Some(end)
    }

    /// The ranges, the one that `latest` is in first.
    pub(super) fn blocks(&self, latest: Seq) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        let holds = move |(from, end): &&(Seq, Seq)| !latest.is_before(*from) && latest.is_before(*end);
        let first = self.0.iter().find(holds);
        let rest = self.0.iter().rev().filter(move |range| !holds(range));
        first.into_iter().chain(rest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_gaps_are_found() {
        let mut ranges = Ranges::default();
        let base = Seq(u32::MAX - 50);
        let mut add = |from: usize, end: usize| ranges.add(base.plus(from), base.plus(end));
        assert_eq!((add(10, 20), add(30, 40), add(15, 18), add(60, 60)), (10, 10, 0, 0));
        assert_eq!((add(20, 30), add(100, 110), add(39, 50)), (10, 10, 10));
        assert_eq!(ranges.total(), 50);
        assert_eq!(ranges.within(base.plus(45), base.plus(105)), 10);
        let gap = |at: usize| {
            ranges.gap(base.plus(at), base.plus(200)).map(|(from, end)| (from.since(base), end.since(base)))
        };
        assert_eq!(
            (gap(0), gap(10), gap(60), gap(105)),
            (Some((0, 10)), Some((50, 100)), Some((60, 100)), Some((110, 200)))
        );
        assert_eq!(ranges.blocks(base.plus(105)).next(), Some((base.plus(100), base.plus(110))));
        ranges.forget(base.plus(35));
        assert_eq!((ranges.total(), ranges.take_first(base.plus(30))), (25, None));
        assert_eq!(ranges.take_first(base.plus(35)), Some(base.plus(50)));
    }
}
