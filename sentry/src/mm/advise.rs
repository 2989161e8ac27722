//! madvise(2), msync(2), mincore(2).

use super::area::{AreaFlags, Source};
use super::fault::FaultError;
use super::map::range_of;
use super::space::{Doomed, Mm, pages};
use crate::abi::Errno;
use crate::cache::{Mapping, PageRange};
use crate::platform::{Access, Perm};
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;

/// Advice about a range of memory (madvise(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Sets and clears properties; nothing else happens.
    Flags {
        /// To be set.
        set: AreaFlags,
        /// To be cleared.
        clear: AreaFlags,
    },
    /// Nothing to be done (`MADV_MERGEABLE` and its like).
    Nothing,
    /// `MADV_COLD`, `MADV_PAGEOUT`: nothing is swapped, but locked memory is refused.
    Cold,
    /// `MADV_WILLNEED`.
    WillNeed,
    /// `MADV_DONTNEED`, and whether locked memory is refused.
    DontNeed(Locked),
    /// `MADV_FREE`. The pages go at once, which the manual allows.
    Free,
    /// `MADV_REMOVE`.
    Remove,
    /// `MADV_POPULATE_READ` or `MADV_POPULATE_WRITE`.
    Populate(Access),
}

/// What happens to locked memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// `EINVAL`.
    Refused,
    /// As other memory.
    Included,
}

/// Part of a file below a range of memory.
struct FilePart {
    mapping: Arc<Mapping>,
    range: PageRange,
}

impl Mm {
    /// Acts on advice.
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, a range that wraps, and where the advice does not apply; `ENOMEM` when part of
    /// the range is not mapped (the rest is done), `EFAULT` and `ENOMEM` from populating, `EACCES` from removing.
    pub fn advise(&self, sleeper: &Sleeper, addr: UserAddr, len: u64, advice: Advice) -> Result<(), Errno> {
        let wraps =
            len.checked_next_multiple_of(4096).is_none_or(|len| addr.get().checked_add(len).is_none());
        let outside = if wraps { Errno::EINVAL } else { Errno::ENOMEM };
        let (from, to) = range_of(addr, len, outside)?;
        if from == to {
            return Ok(());
        }
        match advice {
            Advice::Nothing => self.check_mapped(from, to),
            Advice::Cold => {
                let state = self.state.lock();
                let locked = |area: &super::Area| area.flags.contains(AreaFlags::LOCKED);
                if state.areas.overlapping(from, to).any(|(_, area)| locked(area)) {
                    return Err(Errno::EINVAL);
                }
                if state.areas.covers(from, to) { Ok(()) } else { Err(Errno::ENOMEM) }
            }
            Advice::Flags { set, clear } => self.advise_flags(from, to, set, clear),
            Advice::WillNeed => {
                for part in self.file_parts(from, to) {
                    part.mapping.read_ahead(sleeper, part.range);
                }
                self.check_mapped(from, to)
            }
            Advice::DontNeed(_) | Advice::Free => self.discard(sleeper, from, to, advice),
            Advice::Remove => self.punch(sleeper, from, to),
            Advice::Populate(access) => self.populate_as(sleeper, from, to, access),
        }
    }

    /// Whether the whole range is mapped (msync(2) without `MS_SYNC`).
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, `ENOMEM` when part of the range is not mapped.
    pub fn check_range(&self, addr: UserAddr, len: u64) -> Result<(), Errno> {
        let (from, to) = sync_range(addr, len)?;
        if from < to { self.check_mapped(from, to) } else { Ok(()) }
    }

    fn check_mapped(&self, from: u64, to: u64) -> Result<(), Errno> {
        if self.state.lock().areas.covers(from, to) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn advise_flags(&self, from: u64, to: u64, set: AreaFlags, clear: AreaFlags) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let wipe = set.contains(AreaFlags::WIPE_ON_FORK);
        let loses = set.intersects(AreaFlags::WIPE_ON_FORK | AreaFlags::DONT_FORK);
        if loses && state.areas.overlapping(from, to).any(|(_, area)| area.keeps_contents()) {
            return Err(Errno::EPERM);
        }
        let anonymous = |area: &super::Area| matches!(area.source, Source::Anonymous);
        if wipe && !state.areas.overlapping(from, to).all(|(_, area)| anonymous(area)) {
            return Err(Errno::EINVAL);
        }
        state.check_count(from, to)?;
        state.areas.change(from, to, |area| {
            area.flags -= clear;
            area.flags |= set;
        });
        if state.areas.covers(from, to) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn discard(&self, sleeper: &Sleeper, from: u64, to: u64, advice: Advice) -> Result<(), Errno> {
        let mut doomed = Doomed::default();
        let result = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let refused = |area: &super::Area| match advice {
                Advice::Free if !matches!(area.source, Source::Anonymous) => true,
                Advice::Free | Advice::DontNeed(Locked::Refused) => area.flags.contains(AreaFlags::LOCKED),
                _ => false,
            };
            let mut result = Ok(());
            for (start, area) in state.areas.overlapping(from, to) {
                if area.keeps_contents() {
                    result = Err(Errno::EPERM);
                    break;
                }
                if refused(area) || matches!(area.source, Source::Frames(_)) {
                    result = Err(Errno::EINVAL);
                    break;
                }
                let (low, high) = (start.max(from), area.end.min(to));
                if !area.source.is_shared() {
                    doomed.pages.push(state.index.remove(low >> 12, high >> 12));
                }
                self.space.unmap(UserAddr::new(low), pages(low, high));
            }
            if result.is_ok() && !state.areas.covers(from, to) { Err(Errno::ENOMEM) } else { result }
        };
        doomed.finish(sleeper);
        result
    }

    fn punch(&self, sleeper: &Sleeper, from: u64, to: u64) -> Result<(), Errno> {
        {
            let state = self.state.lock();
            for (_, area) in state.areas.overlapping(from, to) {
                if area.keeps_contents() {
                    return Err(Errno::EPERM);
                }
                if area.flags.contains(AreaFlags::LOCKED) || area.source.file().is_none() {
                    return Err(Errno::EINVAL);
                }
                if !area.source.is_shared() || !area.flags.contains(AreaFlags::MAY_WRITE) {
                    return Err(Errno::EACCES);
                }
            }
        }
        for part in self.file_parts(from, to) {
            part.mapping.punch(sleeper, part.range.from << 12, part.range.to << 12)?;
        }
        self.check_mapped(from, to)
    }

    fn populate_as(&self, sleeper: &Sleeper, from: u64, to: u64, access: Access) -> Result<(), Errno> {
        for at in (from..to).step_by(4096) {
            self.resolve_fault(sleeper, UserAddr::new(at), access).map_err(|error| match error {
                FaultError::NotMapped | FaultError::OutOfMemory => Errno::ENOMEM,
                FaultError::Denied => Errno::EINVAL,
                FaultError::Bus => Errno::EFAULT,
            })?;
            if at & 0x3f_ffff == 0 {
                sleeper.resched_point();
            }
        }
        Ok(())
    }

    /// The parts of files that are mapped in a range.
    fn file_parts(&self, from: u64, to: u64) -> Vec<FilePart> {
        let state = self.state.lock();
        let parts = state.areas.overlapping(from, to).filter_map(|(start, area)| {
            let file = area.source.file()?;
            let (low, high) = (start.max(from), area.end.min(to));
            let first = area.file_page(start, low);
            let range = PageRange { from: first, to: first + ((high - low) >> 12) };
            Some(FilePart { mapping: file.mapping().clone(), range })
        });
        parts.collect()
    }

    /// Writes changed pages of shared mappings of files back (msync(2) with `MS_SYNC`).
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, `ENOMEM` when part of the range is not mapped, what writing gives.
    pub fn sync(&self, sleeper: &Sleeper, addr: UserAddr, len: u64) -> Result<(), Errno> {
        let (from, to) = sync_range(addr, len)?;
        for part in self.file_parts(from, to) {
            part.mapping.sync_range(sleeper, part.range)?;
        }
        if from < to { self.check_mapped(from, to) } else { Ok(()) }
    }

    /// Whether any locked area lies in the range (`MS_INVALIDATE` refuses it).
    #[must_use]
    pub fn has_locked(&self, addr: UserAddr, len: u64) -> bool {
        let Ok((from, to)) = range_of(addr, len, Errno::ENOMEM) else { return false };
        let state = self.state.lock();
        state.areas.overlapping(from, to).any(|(_, area)| area.flags.contains(AreaFlags::LOCKED))
    }

    /// Which pages of `count` from `addr` on are in memory, one byte each, up to the first that is not mapped (mincore(2)).
    ///
    /// # Errors
    /// `ENOMEM` when that is the first page.
    pub fn in_core(&self, addr: UserAddr, count: usize) -> Result<Vec<u8>, Errno> {
        let mut resident = vec![0; count];
        let (from, to) = range_of(addr, (count as u64) << 12, Errno::ENOMEM)?;
        let state = self.state.lock();
        let mut mapped = 0;
        for (at, byte) in (from..to).step_by(4096).zip(&mut resident) {
            let Some((start, area)) = state.areas.find(at) else { break };
            mapped += 1;
            let private = !area.source.is_shared() && state.index.get(at >> 12).is_some();
            let cached = || {
                let file = area.source.file()?;
                let page = area.file_page(start, at);
                Some(file.mapping().resident_in(page, page + 1) > 0)
            };
            *byte = u8::from(private || cached().unwrap_or(matches!(area.source, Source::Frames(_))));
        }
        if mapped == 0 && count > 0 {
            return Err(Errno::ENOMEM);
        }
        resident.truncate(mapped);
        Ok(resident)
    }

    /// What may be done at `at`, `None` where nothing is mapped.
    #[must_use]
    pub fn perm_at(&self, at: UserAddr) -> Option<Perm> {
        self.state.lock().areas.find(at.get()).map(|(_, area)| area.perm)
    }

    /// Properties of the area at `at`, `None` where nothing is mapped.
    #[must_use]
    pub fn flags_at(&self, at: UserAddr) -> Option<AreaFlags> {
        self.state.lock().areas.find(at.get()).map(|(_, area)| area.flags)
    }

    /// Properties of the areas that overlap a range, in order.
    #[must_use]
    pub fn flags_in(&self, from: u64, to: u64) -> Vec<AreaFlags> {
        self.state.lock().areas.overlapping(from, to).map(|(_, area)| area.flags).collect()
    }

    /// What makes the byte at `at` the same one for everybody who maps it: an identity of the shared file or memory, and the
    /// offset in it. `None` for private memory.
    #[must_use]
    pub fn shared_place(&self, at: UserAddr) -> Option<(usize, u64)> {
        let state = self.state.lock();
        let (start, area) = state.areas.find(at.get())?;
        match &area.source {
            Source::Shared(file) => {
                Some((Arc::as_ptr(file.mapping()).addr(), (file.first << 12) + (at.get() - start)))
            }
            _ => None,
        }
    }
}

/// As [`range_of`] for msync(2): a length that wraps when it is rounded is none.
fn sync_range(addr: UserAddr, len: u64) -> Result<(u64, u64), Errno> {
    range_of(addr, len.wrapping_add(4095) & !0xfff, Errno::ENOMEM)
}
