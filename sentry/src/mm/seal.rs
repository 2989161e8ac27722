//! Areas that stay as they are (mseal(2)), the memory of a process that is ending (process_mrelease(2)), and where pages are
//! (move_pages(2)).

use super::area::{Area, AreaFlags, Source};
use super::space::{Doomed, Mm, State, pages};
use crate::abi::Errno;
use crate::platform::Perm;
use crate::user::UserAddr;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// What is at a page of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Nothing is mapped, or nothing that could ever move.
    NotMapped,
    /// Something is mapped, and has not been touched.
    Absent,
    /// The page of zeroes, which all share.
    Zero,
    /// A page.
    Present,
}

impl Area {
    /// Whether it is sealed and its contents could not be changed by writing either, so that advice must not do it.
    pub(super) fn keeps_contents(&self) -> bool {
        self.flags.contains(AreaFlags::SEALED)
            && matches!(self.source, Source::Anonymous)
            && !self.perm.contains(Perm::WRITE)
    }
}

impl State {
    /// Whether anything in `from..to` is sealed.
    pub(super) fn is_sealed(&self, from: u64, to: u64) -> bool {
        let sealed = |(_, area): (u64, &Area)| area.flags.contains(AreaFlags::SEALED);
        from < to && self.areas.overlapping(from, to).any(sealed)
    }
}

impl Mm {
    /// Seals a range: it cannot be unmapped, moved or given another permission any more (mseal(2)).
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address or a range that wraps, `ENOMEM` when part of it is not mapped or there are too many
    /// areas.
    pub fn seal(&self, addr: UserAddr, len: u64) -> Result<(), Errno> {
        let rounded = len.wrapping_add(4095) & !0xfff;
        if !addr.is_page_aligned() || (len != 0 && rounded == 0) {
            return Err(Errno::EINVAL);
        }
        let (from, to) = (addr.get(), addr.get().checked_add(rounded).ok_or(Errno::EINVAL)?);
        if from == to {
            return Ok(());
        }
        let mut state = self.state.lock();
        if to > USER_END || !state.areas.covers(from, to) {
            return Err(Errno::ENOMEM);
        }
        state.check_count(from, to)?;
        state.areas.change(from, to, |area| area.flags |= AreaFlags::SEALED);
        Ok(())
    }

    /// Gives private pages back before the process has ended; nobody relies on them any more (process_mrelease(2)).
    pub fn reap(&self, sleeper: &Sleeper) {
        let mut doomed = Doomed::default();
        {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            for (start, area) in state.areas.iter() {
                if !area.source.is_shared() && !matches!(area.source, Source::Frames(_)) {
                    doomed.pages.push(state.index.remove(start >> 12, area.end >> 12));
                    self.space.unmap(UserAddr::new(start), pages(start, area.end));
                }
            }
        }
        doomed.finish(sleeper);
    }

    /// What is at `at`, without touching it.
    #[must_use]
    pub fn page_state(&self, at: UserAddr) -> PageState {
        let at = at.page_down();
        let state = self.state.lock();
        let Some((start, area)) = state.areas.find(at.get()) else { return PageState::NotMapped };
        if !area.source.is_shared() && state.index.get(at.get() >> 12).is_some() {
            return PageState::Present;
        }
        let mapped = self.space.load_u32(at).is_ok();
        match &area.source {
            Source::Anonymous if mapped => PageState::Zero,
            Source::Anonymous => PageState::Absent,
            Source::Frames(_) => PageState::NotMapped,
            Source::Private(file) | Source::Shared(file) => {
                let page = area.file_page(start, at.get());
                let there = mapped && file.mapping().resident_in(page, page + 1) > 0;
                if there { PageState::Present } else { PageState::Absent }
            }
        }
    }
}
