//! Memory of an address space that need not be the one in use: for building a program image, `/proc/PID/mem` and
//! process_vm_readv(2). Bytes are copied between kernel memory and the frames themselves, under the lock.

use super::area::{AreaFlags, Source};
use super::leaf::is_sole;
use super::protect::{Reach, Seals};
use super::space::{Mm, State};
use super::zero;
use crate::abi::Errno;
use crate::cache::Lookup;
use crate::platform::{Access, Perm};
use crate::user::UserAddr;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;

impl Mm {
    /// Reads memory of a process that need not be the caller's; returns the bytes read before the first that cannot be.
    pub fn read_remote(&self, sleeper: &Sleeper, from: UserAddr, to: &mut [u8]) -> usize {
        let mut done = 0;
        while done < to.len() {
            let Some(at) = from.checked_add(done as u64) else { break };
            let part = to.get_mut(done..).unwrap_or_default();
            match self.with_page(sleeper, at, Access::Read, |frame| frame.copy_out(at.page_offset(), part)) {
                Some(copied) if copied > 0 => done += copied,
                _ => break,
            }
        }
        done
    }

    /// Writes memory of a process that need not be the caller's.
    ///
    /// # Errors
    /// `EFAULT` when part of the range cannot be written; the part before it has been.
    pub fn write_remote(&self, sleeper: &Sleeper, to: UserAddr, from: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < from.len() {
            let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            let part = from.get(done..).unwrap_or_default();
            let copied =
                self.with_page(sleeper, at, Access::Write, |frame| frame.copy_in(at.page_offset(), part));
            done += copied.filter(|copied| *copied > 0).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// As [`Mm::write_remote`], also to private pages that the program itself may not write: a tracer's breakpoints. Those
    /// pages can be written for the moment that it takes.
    ///
    /// # Errors
    /// As [`Mm::write_remote`].
    pub fn write_forced(&self, sleeper: &Sleeper, to: UserAddr, from: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < from.len() {
            let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            let len = (from.len() - done).min(FRAME_SIZE - at.page_offset());
            let part = from.get(done..done + len).unwrap_or_default();
            let locked = {
                let state = self.state.lock();
                let area = state.areas.find(at.page_down().get()).map(|(_, area)| area);
                area.filter(|area| !area.perm.contains(Perm::WRITE) && !area.source.is_shared())
                    .map(|area| area.perm)
            };
            match locked {
                None => self.write_remote(sleeper, at, part)?,
                Some(perm) => {
                    let page = at.page_down();
                    self.change_perm(
                        page,
                        FRAME_SIZE as u64,
                        perm | Perm::READ | Perm::WRITE,
                        Reach::Range,
                        Seals::Passed,
                    )?;
                    let written = self.write_remote(sleeper, at, part);
                    self.change_perm(page, FRAME_SIZE as u64, perm, Reach::Range, Seals::Passed)?;
                    written?;
                }
            }
            done += len;
        }
        Ok(())
    }

    /// Zeroes memory within one page.
    ///
    /// # Errors
    /// `EFAULT` when it cannot be written.
    pub(crate) fn zero_remote(&self, sleeper: &Sleeper, at: UserAddr, len: u64) -> Result<(), Errno> {
        let len = usize::try_from(len).unwrap_or(FRAME_SIZE);
        if len == 0 {
            return Ok(());
        }
        self.with_page(sleeper, at, Access::Write, |frame| frame.zero(at.page_offset(), len))
            .ok_or(Errno::EFAULT)
    }

    /// Calls `copy` with the frame at `at` once it may be accessed so; `None` when it may not.
    fn with_page<T>(
        &self,
        sleeper: &Sleeper,
        at: UserAddr,
        access: Access,
        mut copy: impl FnMut(&Frame) -> T,
    ) -> Option<T> {
        loop {
            let found = {
                let state = self.state.lock();
                state.with_frame(at.page_down().get(), access, &mut copy)
            };
            if found.is_some() {
                return found;
            }
            self.resolve_fault(sleeper, at, access).ok()?;
        }
    }
}

impl State {
    /// Calls `copy` with the frame that an access at the page would meet; `None` when it would fault.
    fn with_frame<T>(&self, at: u64, access: Access, copy: &mut impl FnMut(&Frame) -> T) -> Option<T> {
        let (start, area) = self.areas.find(at)?;
        let writes = access == Access::Write;
        if area.perm.is_empty() || (writes && !area.perm.contains(Perm::WRITE)) {
            return None;
        }
        if !area.source.is_shared() {
            let (slots, exclusive) = self.index.window(at >> 12, 1);
            if let Some(Some(frame)) = slots.first() {
                return (!writes || (exclusive && is_sole(frame))).then(|| copy(frame));
            }
        }
        match &area.source {
            Source::Anonymous => (!writes).then(zero::frame).flatten().map(copy),
            Source::Frames(frames) => {
                let frame = usize::try_from((at - start) >> 12).ok().and_then(|page| frames.get(page))?;
                (!writes && area.flags.contains(AreaFlags::VDSO)).then(|| copy(frame))
            }
            Source::Private(file) | Source::Shared(file) => {
                if writes && !area.source.is_shared() {
                    return None;
                }
                match file.mapping().lookup(area.file_page(start, at), access) {
                    Lookup::Present(frame, _) => Some(copy(&frame)),
                    Lookup::Absent | Lookup::Beyond => None,
                }
            }
        }
    }
}
