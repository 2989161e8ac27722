//! mprotect(2).

use super::INFINITY;
use super::area::AreaFlags;
use super::map::range_of;
use super::space::{Mm, pages};
use crate::abi::Errno;
use crate::platform::Perm;
use crate::user::UserAddr;

/// Whether a change of permission reaches down to the start of a growing area (`PROT_GROWSDOWN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The range alone.
    Range,
    /// From the start of the growing area that the range starts in.
    GrowsDown,
}

/// Whether what is sealed stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seals {
    /// It does.
    Heeded,
    /// A tracer writes: for a moment it does not.
    Passed,
}

impl Mm {
    /// Changes the permission of a range (mprotect(2)).
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, or with [`Reach::GrowsDown`] where no area grows; `ENOMEM` when part of the
    /// range is not mapped (what is before it has been changed), a limit is passed or there are too many areas; `EACCES`
    /// when a shared mapping of a file not opened for writing is to become writable, `EPERM` at what is sealed.
    pub fn protect(&self, addr: UserAddr, len: u64, perm: Perm, reach: Reach) -> Result<(), Errno> {
        self.change_perm(addr, len, perm, reach, Seals::Heeded)
    }

    /// As [`Mm::protect`].
    pub(super) fn change_perm(
        &self,
        addr: UserAddr,
        len: u64,
        perm: Perm,
        reach: Reach,
        seals: Seals,
    ) -> Result<(), Errno> {
        let (mut from, to) = range_of(addr, len, Errno::ENOMEM)?;
        if from == to {
            return Ok(());
        }
        let limits = self.limits();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if reach == Reach::GrowsDown {
            let (start, area) = state.areas.find(from).ok_or(Errno::ENOMEM)?;
            if !area.flags.contains(AreaFlags::GROWS_DOWN) {
                return Err(Errno::EINVAL);
            }
            from = start;
        }
        state.check_count(from, to)?;
        let mut end = from;
        let mut result = Ok(());
        let mut new_data = 0;
        for (start, area) in state.areas.overlapping(from, to) {
            if start > end {
                break;
            }
            if perm.contains(Perm::WRITE) && !area.flags.contains(AreaFlags::MAY_WRITE) {
                result = Err(Errno::EACCES);
                break;
            }
            if seals == Seals::Heeded && area.flags.contains(AreaFlags::SEALED) {
                result = Err(Errno::EPERM);
                break;
            }
            let part = area.end.min(to) - start.max(from);
            let becomes_data = perm.contains(Perm::WRITE) && !area.is_data() && !area.source.is_shared();
            new_data += if becomes_data { part } else { 0 };
            end = area.end.min(to);
        }
        if result.is_ok() && end < to {
            result = Err(Errno::ENOMEM);
        }
        if limits.data != INFINITY
            && new_data > 0
            && state.data_bytes().saturating_add(new_data) > limits.data
        {
            return Err(Errno::ENOMEM);
        }
        if from < end {
            state.areas.change(from, end, |area| area.perm = perm);
            let (at, pages) = (UserAddr::new(from), pages(from, end));
            if perm.is_empty() {
                self.space.unmap(at, pages);
            } else {
                // What becomes more is granted by the next fault.
                self.space.restrict(at, pages, perm | Perm::READ);
            }
        }
        result
    }
}
