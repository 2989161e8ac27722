//! mlock(2) and its like. Nothing is ever swapped, so a lock fills pages in, counts, and keeps caches from dropping pages.

use super::area::AreaFlags;
use super::space::{LockFuture, Mm, State};
use crate::abi::Errno;
use crate::user::UserAddr;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// When pages of locked memory are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Now.
    Now,
    /// When they are touched (`MLOCK_ONFAULT`).
    OnFault,
}

/// What mlockall(2) locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockAll {
    /// `MCL_CURRENT`.
    pub current: bool,
    /// `MCL_FUTURE`.
    pub future: bool,
    /// Whether `MCL_ONFAULT` was given.
    pub filling: Filling,
}

impl Mm {
    /// Locks the pages that the range touches (mlock(2)).
    ///
    /// # Errors
    /// `ENOMEM` when part is not mapped, a limit is passed (`EPERM` when it is 0) or there are too many areas; `EAGAIN`
    /// when pages could not be filled in.
    pub fn lock(&self, sleeper: &Sleeper, addr: UserAddr, len: u64, filling: Filling) -> Result<(), Errno> {
        let limit = self.limits().memlock;
        if limit == 0 {
            return Err(Errno::EPERM);
        }
        let (from, to) = touched(addr, len)?;
        if from == to {
            return Ok(());
        }
        {
            let mut state = self.state.lock();
            let new = state.unlocked_in(from, to);
            if state.locked.saturating_add(new) > limit {
                return Err(Errno::ENOMEM);
            }
            if !state.areas.covers(from, to) {
                return Err(Errno::ENOMEM);
            }
            state.check_count(from, to)?;
            state.areas.change(from, to, |area| area.flags |= AreaFlags::LOCKED);
            state.locked += new;
        }
        if filling == Filling::Now {
            self.populate(sleeper, from, to).map_err(|_| Errno::EAGAIN)?;
        }
        Ok(())
    }

    /// Unlocks the pages that the range touches (munlock(2)).
    ///
    /// # Errors
    /// `ENOMEM` when part is not mapped or there are too many areas.
    pub fn unlock(&self, addr: UserAddr, len: u64) -> Result<(), Errno> {
        let (from, to) = touched(addr, len)?;
        if from == to {
            return Ok(());
        }
        let mut state = self.state.lock();
        if !state.areas.covers(from, to) {
            return Err(Errno::ENOMEM);
        }
        state.check_count(from, to)?;
        state.locked -= (to - from) - state.unlocked_in(from, to);
        state.areas.change(from, to, |area| area.flags -= AreaFlags::LOCKED);
        Ok(())
    }

    /// Locks everything (mlockall(2)).
    ///
    /// # Errors
    /// `ENOMEM` when a limit is passed, `EPERM` when it is 0.
    pub fn lock_all(&self, sleeper: &Sleeper, what: LockAll) -> Result<(), Errno> {
        let limit = self.limits().memlock;
        if limit == 0 {
            return Err(Errno::EPERM);
        }
        let mut ranges = alloc::vec::Vec::new();
        {
            let mut state = self.state.lock();
            if what.current && state.areas.total() > limit {
                return Err(Errno::ENOMEM);
            }
            state.lock_future = if what.future { LockFuture::Yes } else { LockFuture::No };
            if what.current {
                state.areas.change(0, USER_END, |area| area.flags |= AreaFlags::LOCKED);
                state.locked = state.areas.total();
                ranges.extend(state.areas.iter().map(|(start, area)| (start, area.end)));
            }
        }
        if what.filling == Filling::Now {
            for (from, to) in ranges {
                // Areas without permission or page cannot be filled; Linux ignores it too.
                let _ = self.populate(sleeper, from, to);
            }
        }
        Ok(())
    }

    /// Unlocks everything (munlockall(2)).
    pub fn unlock_all(&self) {
        let mut state = self.state.lock();
        state.lock_future = LockFuture::No;
        state.locked = 0;
        state.areas.change(0, USER_END, |area| area.flags -= AreaFlags::LOCKED);
    }
}

impl State {
    /// Bytes of areas in `from..to` that are not locked.
    fn unlocked_in(&self, from: u64, to: u64) -> u64 {
        let parts = self.areas.overlapping(from, to);
        let parts = parts.filter(|(_, area)| !area.flags.contains(AreaFlags::LOCKED));
        parts.map(|(start, area)| area.end.min(to) - start.max(from)).sum()
    }
}

/// The pages that a range touches. As in Linux, a length that wraps when it is rounded is none.
fn touched(addr: UserAddr, len: u64) -> Result<(u64, u64), Errno> {
    let from = addr.page_down().get();
    let len = len.wrapping_add(addr.get() - from).wrapping_add(4095) & !0xfff;
    let to = from.checked_add(len).ok_or(Errno::EINVAL)?;
    if from == to || to <= USER_END { Ok((from, to)) } else { Err(Errno::ENOMEM) }
}
