//! Page faults.
//!
//! A fault is a loop: look everything up under the lock and map; when a frame or a file page is missing, get it with no
//! lock held and look everything up again. Nothing found in one round is believed in the next, so whatever happened
//! meanwhile (unmap, truncation, another thread's fault at the same page) is seen.
//!
//! Each fault costs more than the work it does, so neighbours are mapped along: present private pages and cached file
//! pages around the address, and fresh zero pages ahead of a thread that touches one page after the other.

use super::area::{AreaFlags, STACK_GUARD, Source};
use super::leaf::is_sole;
use super::space::{Mm, State};
use super::spare::{Contents, MAX_SPARE, Spare};
use super::{Limits, zero};
use crate::abi::Errno;
use crate::cache::{Lookup, Mapped, Mapping};
use crate::platform::{Access, OutOfMemory, Perm, Space};
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// Pages around a fault that are mapped along, a power of two.
const AROUND: usize = 16;

/// Why a fault could not be resolved, as the signal it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// SIGSEGV, SEGV_MAPERR: nothing is mapped there.
    NotMapped,
    /// SIGSEGV, SEGV_ACCERR: what is mapped does not allow the access.
    Denied,
    /// SIGBUS, BUS_ADRERR: beyond the end of the mapped file, or its page cannot be read.
    Bus,
    /// No memory: the task is to be killed by the OOM killer.
    OutOfMemory,
}

impl FaultError {
    /// What a system call answers whose argument met it.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::OutOfMemory => Errno::ENOMEM,
            Self::NotMapped | Self::Denied | Self::Bus => Errno::EFAULT,
        }
    }
}

/// What a round of a fault needs before the next.
enum Need {
    Frames(usize, Contents),
    Page(Arc<Mapping>, u64, Access),
    Tables,
}

enum Stopped {
    Need(Need),
    Failed(FaultError),
}

impl From<FaultError> for Stopped {
    fn from(error: FaultError) -> Self {
        Self::Failed(error)
    }
}

impl From<OutOfMemory> for Stopped {
    fn from(_: OutOfMemory) -> Self {
        Self::Need(Need::Tables)
    }
}

impl Mm {
    /// Makes the page at `at` accessible, filling or copying it as needed. No lock may be held.
    ///
    /// # Errors
    /// See [`FaultError`].
    pub fn resolve_fault(&self, sleeper: &Sleeper, at: UserAddr, access: Access) -> Result<(), FaultError> {
        let page = at.page_down();
        if page.get() >= USER_END {
            return Err(FaultError::NotMapped);
        }
        super::pressure::check(sleeper).map_err(|_| FaultError::OutOfMemory)?;
        let mut spare = None;
        loop {
            let need = match self.fault_round(page.get(), access, &mut spare) {
                Ok(()) => return Ok(()),
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::Need(need)) => need,
            };
            match need {
                Need::Frames(count, contents) => {
                    let spare = spare.get_or_insert_with(|| Spare::new(self.budget()));
                    if spare.fill(count, contents).is_err() {
                        self.make_room(sleeper)?;
                    }
                }
                Need::Page(mapping, index, access) => match mapping.page(sleeper, index, access) {
                    Ok(_) => {}
                    Err(Errno::ENOMEM) => self.make_room(sleeper)?,
                    Err(_) => return Err(FaultError::Bus),
                },
                Need::Tables => self.make_room(sleeper)?,
            }
        }
    }

    /// Memory is short: frees some, or fails.
    fn make_room(&self, sleeper: &Sleeper) -> Result<(), FaultError> {
        super::pressure::obtain(sleeper, &self.budget()).map_err(|_| FaultError::OutOfMemory)
    }

    fn fault_round(&self, at: u64, access: Access, spare: &mut Option<Spare>) -> Result<(), Stopped> {
        let mut state = self.state.lock();
        if state.areas.find(at).is_none() {
            drop(state);
            let limits = self.limits();
            state = self.state.lock();
            if state.areas.find(at).is_none() {
                state.grow_stack(at, &limits)?;
            }
        }
        let mut round = Round { state: &mut state, space: &*self.space, spare, at };
        let replaced = round.run(access);
        // The lock goes first: dropping a page that was copied away from may free it.
        drop(state);
        replaced.map(drop)
    }
}

impl State {
    /// Extends a growing area down to `at` when it is the next above.
    fn grow_stack(&mut self, at: u64, limits: &Limits) -> Result<(), FaultError> {
        let room = limits.address_space.saturating_sub(self.areas.total());
        let (start, area) = self.areas.find_from(at).ok_or(FaultError::NotMapped)?;
        if !area.flags.contains(AreaFlags::GROWS_DOWN) || area.end - at > limits.stack || start - at > room {
            return Err(FaultError::NotMapped);
        }
        if let Some((_, below)) = self.areas.before(start) {
            let guarded = !below.perm.is_empty() && !below.flags.contains(AreaFlags::GROWS_DOWN);
            let guard = if guarded { STACK_GUARD } else { 0 };
            if at < below.end.saturating_add(guard) {
                return Err(FaultError::NotMapped);
            }
        }
        if at < super::area::MIN_ADDRESS {
            return Err(FaultError::NotMapped);
        }
        self.areas.grow_down(start, at);
        Ok(())
    }
}

/// A page that was copied away from, kept until no lock is held.
type Replaced = Option<super::leaf::Loan>;

/// Whether pages of a file mapping may have been replaced by private copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    Never,
    Perhaps,
}

/// One round of a fault, under the lock.
struct Round<'a> {
    state: &'a mut State,
    space: &'a dyn Space,
    spare: &'a mut Option<Spare>,
    at: u64,
}

impl Round<'_> {
    fn run(&mut self, access: Access) -> Result<Replaced, Stopped> {
        let (start, area) = self.state.areas.find(self.at).ok_or(FaultError::NotMapped)?;
        let allowed = match access {
            Access::Read => !area.perm.is_empty(),
            Access::Write => area.perm.contains(Perm::WRITE),
            Access::Execute => area.perm.contains(Perm::EXECUTE),
        };
        if !allowed {
            return Err(FaultError::Denied.into());
        }
        let bounds = (start, area.end);
        let perm = area.perm | Perm::READ;
        let index = area.file_page(start, self.at);
        match (&area.source, access) {
            (Source::Shared(file), access) => {
                let mapping = file.mapping();
                let (frame, mapped) = cached(mapping, index, access)?;
                self.space.map(UserAddr::new(self.at), &frame, shared_perm(perm, mapped))?;
                self.around_file(bounds, mapping, index, perm, Copied::Never);
                Ok(None)
            }
            _ if self.state.index.get(self.at >> 12).is_some() => self.present(bounds, perm, access),
            (Source::Anonymous, Access::Write) => {
                let ahead = self.run_before(start).min(pages_to_end(self.at, area.end));
                self.fresh(ahead, perm)
            }
            (Source::Anonymous, _) => {
                let zero = zero::frame().ok_or(Stopped::Need(Need::Tables))?;
                self.space.map(UserAddr::new(self.at), zero, perm - Perm::WRITE)?;
                Ok(None)
            }
            (Source::Private(file), Access::Write) => {
                let (source, _) = cached(file.mapping(), index, Access::Read)?;
                let copy = self.take(Contents::Any, 1)?;
                copy.copy_from(0, &source, 0, FRAME_SIZE);
                self.install(copy, perm)
            }
            (Source::Private(file), _) => {
                let mapping = file.mapping();
                let (frame, _) = cached(mapping, index, Access::Read)?;
                self.space.map(UserAddr::new(self.at), &frame, perm - Perm::WRITE)?;
                self.around_file(bounds, mapping, index, perm - Perm::WRITE, Copied::Perhaps);
                Ok(None)
            }
            (Source::Frames(frames), _) => {
                let frame = usize::try_from((self.at - start) >> 12).ok().and_then(|page| frames.get(page));
                let frame = frame.ok_or(FaultError::Bus)?;
                self.space.map(UserAddr::new(self.at), frame, perm - Perm::WRITE)?;
                Ok(None)
            }
        }
    }

    /// The private page is there: map it, or copy it first when others have it and it is to be written.
    fn present(&mut self, bounds: (u64, u64), perm: Perm, access: Access) -> Result<Replaced, Stopped> {
        let page = self.at >> 12;
        if access == Access::Write {
            let (slots, exclusive) = self.state.index.window(page, 1);
            let shared = !exclusive || !slots.first().is_some_and(|slot| slot.as_ref().is_some_and(is_sole));
            if shared {
                let copy = self.take(Contents::Any, 1)?;
                if let Some(old) = self.state.index.get(page) {
                    copy.copy_from(0, old, 0, FRAME_SIZE);
                }
                return self.install(copy, perm);
            }
        }
        self.around_private(bounds, perm)?;
        Ok(None)
    }

    /// Maps the private pages of the window around the fault that are there.
    fn around_private(&self, (start, end): (u64, u64), perm: Perm) -> Result<(), OutOfMemory> {
        let window = AROUND as u64;
        let page = self.at >> 12;
        let from = (page & !(window - 1)).max(start >> 12);
        let to = ((page | (window - 1)) + 1).min(end >> 12);
        let (slots, exclusive) = self.state.index.window(from, usize::try_from(to - from).unwrap_or(0));
        let mut run = [const { None }; AROUND];
        for (wanted, slot) in run.iter_mut().zip(slots) {
            *wanted = slot
                .as_ref()
                .map(|frame| (frame, if exclusive && is_sole(frame) { perm } else { perm - Perm::WRITE }));
        }
        let run = run.get(..slots.len()).unwrap_or_default();
        if self.space.map_run(UserAddr::new(from << 12), run).is_ok() {
            return Ok(());
        }
        let own = usize::try_from(page - from).ok().and_then(|at| run.get(at).copied().flatten());
        own.map_or(Ok(()), |(frame, perm)| self.space.map(UserAddr::new(self.at), frame, perm))
    }

    /// Maps cached file pages of the window around the fault. Private pages are left alone.
    fn around_file(
        &self,
        (start, end): (u64, u64),
        mapping: &Mapping,
        index: u64,
        perm: Perm,
        copied: Copied,
    ) {
        let window = AROUND as u64;
        let page = self.at >> 12;
        let from = (page & !(window - 1)).max(start >> 12);
        let to = ((page | (window - 1)) + 1).min(end >> 12);
        let first = index.saturating_sub(page - from);
        let from = page - (index - first);
        let mut found = [const { None }; AROUND];
        mapping.lookup_around(
            first,
            found.get_mut(..usize::try_from(to - from).unwrap_or(0)).unwrap_or_default(),
        );
        let mut run = [const { None }; AROUND];
        for ((neighbour, found), wanted) in (from..to).zip(&found).zip(&mut run) {
            let replaced = copied == Copied::Perhaps && self.state.index.get(neighbour).is_some();
            *wanted = (found.as_ref())
                .filter(|_| neighbour != page && !replaced)
                .map(|(frame, mapped)| (frame, shared_perm(perm, *mapped)));
        }
        // The page that was asked for is mapped; what cannot be mapped along may fault later.
        let count = usize::try_from(to - from).unwrap_or(0);
        let _ = self.space.map_run(UserAddr::new(from << 12), run.get(..count).unwrap_or_default());
    }

    /// How many pages right before the fault are there: the promise that the next ones are wanted too.
    fn run_before(&self, start: u64) -> usize {
        let page = self.at >> 12;
        let leaf_start = page & !(super::leaf::LEAF_PAGES - 1);
        let from = page.saturating_sub(MAX_SPARE as u64).max(start >> 12).max(leaf_start);
        let (slots, _) = self.state.index.window(from, usize::try_from(page - from).unwrap_or(0));
        slots.iter().rev().take_while(|slot| slot.is_some()).count().max(1)
    }

    /// Maps fresh zero pages at the fault and up to `ahead` pages in all.
    fn fresh(&mut self, ahead: usize, perm: Perm) -> Result<Replaced, Stopped> {
        let page = self.at >> 12;
        let (slots, _) = self.state.index.window(page, ahead);
        let ahead = if slots.is_empty() {
            ahead
        } else {
            let absent = slots.iter().take_while(|slot| slot.is_none()).count();
            absent.clamp(1, ahead)
        };
        let mut made = 0;
        for neighbour in 0..ahead as u64 {
            let frame = match self.take(Contents::Zero, ahead) {
                Ok(frame) => frame,
                Err(_) if neighbour > 0 => break,
                Err(error) => return Err(error),
            };
            self.put(page + neighbour, frame)?;
            made += 1;
        }
        let (slots, _) = self.state.index.window(page, made);
        let mut run = [const { None }; MAX_SPARE];
        for (wanted, slot) in run.iter_mut().zip(slots) {
            *wanted = slot.as_ref().map(|frame| (frame, perm));
        }
        self.space.map_run(UserAddr::new(self.at), run.get(..made).unwrap_or_default())?;
        Ok(None)
    }

    /// Puts a private page at the fault and maps it.
    fn install(&mut self, frame: Frame, perm: Perm) -> Result<Replaced, Stopped> {
        let page = self.at >> 12;
        let old = self.put(page, frame)?;
        if let Some(frame) = self.state.index.get(page)
            && let Err(error) = self.space.map(UserAddr::new(self.at), frame, perm)
        {
            // What was mapped before must not stay: its frame is about to go.
            self.space.unmap(UserAddr::new(self.at), 1);
            return Err(error.into());
        }
        Ok(old)
    }

    fn put(&mut self, page: u64, frame: Frame) -> Result<Replaced, Stopped> {
        self.state.index.put(page, frame).map_err(|(error, frame)| {
            if let Some(spare) = self.spare {
                spare.put_back(frame);
            }
            error.into()
        })
    }

    fn take(&mut self, contents: Contents, count: usize) -> Result<Frame, Stopped> {
        self.spare
            .as_mut()
            .and_then(|spare| spare.take(contents))
            .ok_or(Stopped::Need(Need::Frames(count, contents)))
    }
}

/// The page of a file in the cache.
fn cached(mapping: &Arc<Mapping>, index: u64, access: Access) -> Result<(Frame, Mapped), Stopped> {
    match mapping.lookup(index, access) {
        Lookup::Present(frame, mapped) => Ok((frame, mapped)),
        Lookup::Absent => Err(Stopped::Need(Need::Page(mapping.clone(), index, access))),
        Lookup::Beyond => Err(FaultError::Bus.into()),
    }
}

fn shared_perm(perm: Perm, mapped: Mapped) -> Perm {
    match mapped {
        Mapped::Writable => perm,
        Mapped::ReadOnly => perm - Perm::WRITE,
    }
}

fn pages_to_end(at: u64, end: u64) -> usize {
    let leaf_end = ((at >> 21) + 1) << 21;
    super::space::pages(at, end.min(leaf_end))
}
