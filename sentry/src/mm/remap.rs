//! mremap(2).

use super::area::{AreaFlags, MIN_ADDRESS, Source};
use super::map::MOST_PAGES;
use super::space::{Doomed, Mm, State, pages};
use crate::abi::Errno;
use crate::user::UserAddr;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// Whether and where a mapping may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It stays where it is.
    Never,
    /// Anywhere, when it cannot grow in place (`MREMAP_MAYMOVE`).
    Anywhere,
    /// To this address, in place of what is there (`MREMAP_FIXED`).
    To(UserAddr),
}

/// What stays at the old place of a mapping that is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Nothing.
    Nothing,
    /// The mapping without its pages (`MREMAP_DONTUNMAP`).
    Empty,
}

impl Mm {
    /// Changes the size or place of a mapping and returns its address (mremap(2)).
    ///
    /// # Errors
    /// `EINVAL` for misaligned or overlapping ranges and impossible combinations, `EFAULT` when the old range is not one
    /// mapping, `EPERM` for what is sealed, `ENOMEM` when there is no room or a limit is passed, `EAGAIN` when locked memory would pass its limit.
    pub fn remap(
        &self,
        sleeper: &Sleeper,
        old: UserAddr,
        old_len: u64,
        new_len: u64,
        movement: Move,
        leave: Leave,
    ) -> Result<UserAddr, Errno> {
        if !old.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        // As in Linux, a length that wraps when it is rounded is none.
        let round = |len: u64| len.wrapping_add(4095) & !0xfff;
        let (old_len, new_len) = (round(old_len), round(new_len));
        if new_len == 0 || (leave == Leave::Empty && (movement == Move::Never || old_len != new_len)) {
            return Err(Errno::EINVAL);
        }
        let old_end = old.get().checked_add(old_len).filter(|end| *end <= USER_END).ok_or(Errno::EFAULT)?;
        if new_len > USER_END && !matches!(movement, Move::To(_)) {
            let mapped = self.state.lock().areas.find(old.get()).is_some();
            return Err(if mapped { Errno::ENOMEM } else { Errno::EFAULT });
        }
        let mut job =
            Job { mm: self, from: old.get(), from_end: old_end, new_len, leave, doomed: Doomed::default() };
        let result = job.run(movement);
        let Job { doomed, .. } = job;
        doomed.finish(sleeper);
        let (at, populate) = result?;
        if let Some((from, to)) = populate {
            let _ = self.populate(sleeper, from, to);
        }
        Ok(UserAddr::new(at))
    }
}

struct Job<'a> {
    mm: &'a Mm,
    from: u64,
    from_end: u64,
    new_len: u64,
    leave: Leave,
    doomed: Doomed,
}

/// New address, and what is to be filled because it is locked.
type Outcome = Result<(u64, Option<(u64, u64)>), Errno>;

impl Job<'_> {
    fn run(&mut self, movement: Move) -> Outcome {
        let limits = self.mm.limits();
        let mut guard = self.mm.state.lock();
        let state = &mut *guard;
        let old_len = self.from_end - self.from;
        let (start, area) = state.areas.find(self.from).ok_or(Errno::EFAULT)?;
        if let Move::To(to) = movement {
            let to_end =
                to.get().checked_add(self.new_len).filter(|end| *end <= USER_END).ok_or(Errno::EINVAL)?;
            let overlaps = to.get() < self.from_end && self.from < to_end;
            if !to.is_page_aligned() || overlaps {
                return Err(Errno::EINVAL);
            }
            if to.get() < MIN_ADDRESS {
                return Err(Errno::EPERM);
            }
        }
        let cut = self.from_end.min(self.from.saturating_add(self.new_len));
        let sealed = match movement {
            Move::To(to) => state.is_sealed(to.get(), to.get() + self.new_len),
            Move::Never | Move::Anywhere => state.is_sealed(cut, self.from_end),
        };
        if area.flags.contains(AreaFlags::SEALED) || sealed {
            return Err(Errno::EPERM);
        }
        let shrinks = old_len >= self.new_len && old_len > 0;
        if shrinks && !matches!(movement, Move::To(_)) && self.leave == Leave::Nothing {
            // Shrinking in place may even span several areas.
            state.unmap(self.mm, self.from + self.new_len, self.from_end, &mut self.doomed);
            return Ok((self.from, None));
        }
        if old_len == 0 && !area.source.is_shared() {
            return Err(Errno::EINVAL);
        }
        if area.end < self.from_end {
            return Err(Errno::EFAULT);
        }
        if self.leave == Leave::Empty && !matches!(area.source, Source::Anonymous) {
            return Err(Errno::EINVAL);
        }
        let locked = area.flags.contains(AreaFlags::LOCKED);
        let growth =
            if self.leave == Leave::Empty { self.new_len } else { self.new_len.saturating_sub(old_len) };
        let ends_here = area.end == self.from_end;
        if let Some(file) = area.source.file() {
            let first = file.first + ((self.from - start) >> 12);
            first.checked_add(self.new_len >> 12).filter(|end| *end <= MOST_PAGES).ok_or(Errno::EINVAL)?;
        }
        let is_data = area.is_data();
        if locked && state.locked.saturating_add(growth) > limits.memlock {
            return Err(Errno::EAGAIN);
        }
        state.check_limits(&limits, growth, is_data)?;
        let fits = self.from.checked_add(self.new_len).filter(|end| *end <= USER_END);
        if let Some(end) = fits
            && !matches!(movement, Move::To(_))
            && self.leave == Leave::Nothing
            && old_len > 0
            && ends_here
            && state.areas.is_free(self.from_end, end)
        {
            state.areas.grow_up(start, end);
            state.locked += if locked { growth } else { 0 };
            return Ok((self.from, locked.then_some((self.from_end, end))));
        }
        let to = match movement {
            Move::Never => return Err(Errno::ENOMEM),
            Move::To(to) => to.get(),
            Move::Anywhere => state.areas.find_gap(self.new_len).ok_or(Errno::ENOMEM)?,
        };
        state.check_count(self.from, self.from_end)?;
        state.check_count(to, to + self.new_len)?;
        self.relocate(state, to)?;
        Ok((to, locked.then_some((to, to + self.new_len))))
    }

    /// Moves the mapping to `to`.
    fn relocate(&mut self, state: &mut State, to: u64) -> Result<(), Errno> {
        let to_end = to + self.new_len;
        state.unmap(self.mm, to, to_end, &mut self.doomed);
        // What is cut off goes with the old place.
        let keep_end = self.from_end.min(self.from + self.new_len);
        if keep_end < self.from_end {
            state.unmap(self.mm, keep_end, self.from_end, &mut self.doomed);
        }
        // A length of 0 makes a second mapping of the same pages.
        let duplicate = self.from == self.from_end;
        if !duplicate {
            state.areas.split(self.from);
            state.areas.split(keep_end);
        }
        let (start, area) = state.areas.find(self.from).ok_or(Errno::EFAULT)?;
        let mut moved = area.clone();
        moved.source.skip((self.from - start) >> 12);
        moved.end = to_end;
        if moved.flags.contains(AreaFlags::LOCKED) {
            state.locked += self.new_len;
        }
        state.index.relocate(self.from >> 12, to >> 12, (keep_end - self.from) >> 12);
        self.mm.space.unmap(UserAddr::new(self.from), pages(self.from, keep_end));
        if !duplicate && self.leave == Leave::Nothing {
            state.unmap(self.mm, self.from, keep_end, &mut self.doomed);
        } else if self.leave == Leave::Empty {
            let mut unlocked = 0;
            state.areas.change(self.from, keep_end, |area| {
                unlocked += u64::from(area.flags.contains(AreaFlags::LOCKED));
                area.flags -= AreaFlags::LOCKED;
            });
            state.locked -= if unlocked > 0 { keep_end - self.from } else { 0 };
        }
        state.areas.insert_merged(to, moved);
        Ok(())
    }
}
