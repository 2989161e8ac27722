//! mmap(2), munmap(2), brk(2).

use super::area::{Area, AreaFlags, FileRange, MAX_AREAS, MIN_ADDRESS, Source};
use super::space::{Doomed, LockFuture, Mm, State, pages};
use super::{INFINITY, Limits};
use crate::abi::Errno;
use crate::cache::{Mapper, Mapping, Sharing};
use crate::fs::OpenFile;
use crate::platform::{Access, Perm};
use crate::user::UserAddr;
use alloc::sync::{Arc, Weak};
use chitin_core::frame::Frame;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// Pages of the largest file.
pub(super) const MOST_PAGES: u64 = u64::MAX >> 13;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the address if it is free, else anywhere.
    Hint,
    /// At the address, in place of what is there (`MAP_FIXED`).
    Fixed,
    /// At the address, `EEXIST` if something is there (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace,
    /// Below 2 GiB (`MAP_32BIT`); at the address if it is free.
    Low,
}

/// What is mapped.
#[derive(Clone)]
pub enum MapSource {
    /// Zeroes, private.
    Anonymous,
    /// A file, private.
    Private {
        /// Its pages.
        mapping: Arc<Mapping>,
        /// First page.
        first: u64,
        /// The open file.
        file: Option<Arc<OpenFile>>,
    },
    /// A file or shared memory.
    Shared {
        /// Its pages.
        mapping: Arc<Mapping>,
        /// First page.
        first: u64,
        /// The open file; `None` for memory without a name.
        file: Option<Arc<OpenFile>>,
    },
    /// Frames of the platform, read-only.
    Frames(&'static [Frame]),
}

/// A mapping to be made.
#[derive(Clone)]
pub struct MapRequest {
    /// Wish or demand; 0 for anywhere.
    pub addr: UserAddr,
    /// Bytes.
    pub len: u64,
    /// Permission.
    pub perm: Perm,
    /// Where.
    pub placement: Placement,
    /// Properties; [`AreaFlags::MAY_WRITE`] is implied for private mappings.
    pub flags: AreaFlags,
    /// What.
    pub source: MapSource,
}

impl Mm {
    /// Makes a mapping and returns its address (mmap(2)).
    ///
    /// # Errors
    /// `EINVAL` for a length of 0 or a misaligned fixed address, `EEXIST`, `EPERM` below the lowest address or over what is sealed, `ENOMEM`
    /// when there is no room, a limit says so or there are too many areas, `EAGAIN` when locked memory would pass its
    /// limit, `EOVERFLOW` when the file offset does not fit.
    pub fn map(&self, sleeper: &Sleeper, request: &MapRequest) -> Result<UserAddr, Errno> {
        let len = round_up(request.len)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let area = self.area_of(request, len)?;
        let limits = self.limits();
        let mut doomed = Doomed::default();
        let mut state = self.state.lock();
        let result = state.place(request, len).and_then(|at| {
            if at < MIN_ADDRESS {
                return Err(Errno::EPERM);
            }
            if request.placement == Placement::Fixed && state.is_sealed(at, at + len) {
                return Err(Errno::EPERM);
            }
            let replaced =
                if request.placement == Placement::Fixed { state.mapped_in(at, at + len) } else { 0 };
            state.check_limits(&limits, len.saturating_sub(replaced), area.is_data())?;
            state.check_count(at, at + len)?;
            let locks = state.lock_future == LockFuture::Yes || area.flags.contains(AreaFlags::LOCKED);
            if locks && state.locked.saturating_add(len) > limits.memlock {
                return Err(Errno::EAGAIN);
            }
            Ok(at)
        });
        let at = match result {
            Ok(at) => at,
            Err(errno) => {
                drop(state);
                return Err(errno);
            }
        };
        if request.placement == Placement::Fixed {
            state.unmap(self, at, at + len, &mut doomed);
        }
        let mut area = area;
        area.end = at + len;
        area.flags.set(
            AreaFlags::LOCKED,
            state.lock_future == LockFuture::Yes || area.flags.contains(AreaFlags::LOCKED),
        );
        let populate = area.flags.contains(AreaFlags::LOCKED);
        if populate {
            state.locked += len;
        }
        state.areas.insert_merged(at, area);
        drop(state);
        doomed.finish(sleeper);
        if populate {
            // Failures to fill do not fail the call.
            let _ = self.populate(sleeper, at, at + len);
        }
        Ok(UserAddr::new(at))
    }

    /// What would map `first` and the pages after it in place of `len` bytes at `addr`, which lie in one shared mapping of
    /// the same file (remap_file_pages(2)).
    #[must_use]
    pub fn other_part(&self, addr: UserAddr, len: u64, first: u64) -> Option<MapRequest> {
        let state = self.state.lock();
        let end = addr.get().checked_add(len)?;
        let (_, area) = state.areas.find(addr.get())?;
        let Source::Shared(range) = &area.source else { return None };
        let same = |other: &Area| match &other.source {
            Source::Shared(other) => Arc::ptr_eq(other.mapping(), range.mapping()),
            _ => false,
        };
        let alike = |other: &Area| same(other) && other.flags == area.flags && other.perm == area.perm;
        if !state.areas.covers(addr.get(), end)
            || !state.areas.overlapping(addr.get(), end).all(|(_, other)| alike(other))
        {
            return None;
        }
        let source = MapSource::Shared { mapping: range.mapping().clone(), first, file: range.file.clone() };
        let (perm, flags) = (area.perm, area.flags);
        Some(MapRequest { addr, len, perm, placement: Placement::Fixed, flags, source })
    }

    fn area_of(&self, request: &MapRequest, len: u64) -> Result<Area, Errno> {
        let mut flags = request.flags;
        let range = |mapping: &Arc<Mapping>,
                     first: u64,
                     file: &Option<Arc<OpenFile>>,
                     sharing|
         -> Result<FileRange, Errno> {
            first.checked_add(len >> 12).filter(|end| *end <= MOST_PAGES).ok_or(Errno::EOVERFLOW)?;
            let mapper: Weak<dyn Mapper> = self.me.clone();
            Ok(FileRange { attachment: mapping.attach(mapper, sharing), first, file: file.clone() })
        };
        let source = match &request.source {
            MapSource::Anonymous => Source::Anonymous,
            MapSource::Private { mapping, first, file } => {
                Source::Private(range(mapping, *first, file, Sharing::ReadOnly)?)
            }
            MapSource::Shared { mapping, first, file } => {
                let writable = flags.contains(AreaFlags::MAY_WRITE);
                let sharing = if writable { Sharing::Writable } else { Sharing::ReadOnly };
                Source::Shared(range(mapping, *first, file, sharing)?)
            }
            MapSource::Frames(frames) => Source::Frames(frames),
        };
        if matches!(source, Source::Anonymous | Source::Private(_)) {
            flags |= AreaFlags::MAY_WRITE;
        }
        Ok(Area { end: 0, perm: request.perm, flags, source })
    }

    /// Sets the top of the space for mappings without a wish.
    pub(crate) fn set_map_base(&self, base: u64) {
        self.state.lock().areas.set_base(base);
    }

    /// A free place for `len` bytes with alignment `align`, a power of two. Nothing is mapped yet.
    ///
    /// # Errors
    /// `ENOMEM` when there is none.
    pub(crate) fn find_space(&self, len: u64, align: u64) -> Result<UserAddr, Errno> {
        let more = len.checked_add(align - 4096).ok_or(Errno::ENOMEM)?;
        let at = self.state.lock().areas.find_gap(more).ok_or(Errno::ENOMEM)?;
        Ok(UserAddr::new(at.next_multiple_of(align)))
    }

    /// Removes what is mapped in a range (munmap(2)).
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, an empty range or one outside user space, `ENOMEM` when a split would make too
    /// many areas, `EPERM` when part of the range is sealed.
    pub fn unmap(&self, sleeper: &Sleeper, addr: UserAddr, len: u64) -> Result<(), Errno> {
        let (from, to) = range_of(addr, len, Errno::EINVAL)?;
        if from == to {
            return Err(Errno::EINVAL);
        }
        let mut doomed = Doomed::default();
        {
            let mut state = self.state.lock();
            if state.areas.splits(from, to) == 2 && state.areas.len() >= MAX_AREAS {
                return Err(Errno::ENOMEM);
            }
            if state.is_sealed(from, to) {
                return Err(Errno::EPERM);
            }
            state.unmap(self, from, to, &mut doomed);
        }
        doomed.finish(sleeper);
        Ok(())
    }

    /// Moves the program break; returns where it is then (brk(2)). A break that cannot be leaves it as it is.
    pub fn brk(&self, sleeper: &Sleeper, to: UserAddr) -> UserAddr {
        let limits = self.limits();
        let mut doomed = Doomed::default();
        let mut populate = None;
        let result = {
            let mut state = self.state.lock();
            let (start, now) = (state.layout.brk_start, state.layout.brk);
            let (old, new) = (now.next_multiple_of(4096), to.get().checked_next_multiple_of(4096));
            match new {
                Some(new) if to.get() >= start && new < USER_END && start > 0 => {
                    if new < old && state.is_sealed(new, old) {
                        // It stays.
                    } else if new < old {
                        state.unmap(self, new, old, &mut doomed);
                        state.layout.brk = to.get();
                    } else if new == old || state.extend_brk(&limits, old, new).is_ok() {
                        state.layout.brk = to.get();
                        if state.lock_future == LockFuture::Yes {
                            populate = Some((old, new));
                        }
                    }
                }
                _ => {}
            }
            state.layout.brk
        };
        doomed.finish(sleeper);
        if let Some((from, to)) = populate {
            let _ = self.populate(sleeper, from, to);
        }
        UserAddr::new(result)
    }

    /// Makes every page of the range present, as its area allows (`MAP_POPULATE`, mlock(2)).
    ///
    /// # Errors
    /// `ENOMEM` where nothing is mapped or memory is short, `EFAULT` where a file has no page.
    pub fn populate(&self, sleeper: &Sleeper, from: u64, to: u64) -> Result<(), Errno> {
        let mut at = from;
        while at < to {
            let (access, end) = {
                let state = self.state.lock();
                let (start, area) = state.areas.find(at).ok_or(Errno::ENOMEM)?;
                let _ = start;
                if area.perm.is_empty() {
                    return Err(Errno::ENOMEM);
                }
                let writes = area.perm.contains(Perm::WRITE) && !area.source.is_shared();
                (if writes { Access::Write } else { Access::Read }, area.end)
            };
            while at < end.min(to) {
                self.resolve_fault(sleeper, UserAddr::new(at), access).map_err(|error| match error {
                    super::FaultError::Bus => Errno::EFAULT,
                    _ => Errno::ENOMEM,
                })?;
                at += 4096;
                if at & 0x3f_ffff == 0 {
                    sleeper.resched_point();
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Chooses the address of a mapping of `len` bytes.
    fn place(&mut self, request: &MapRequest, len: u64) -> Result<u64, Errno> {
        let wish = request.addr.get();
        let fits = |at: u64| at.checked_add(len).is_some_and(|end| end <= USER_END);
        match request.placement {
            Placement::Fixed | Placement::FixedNoReplace => {
                if !request.addr.is_page_aligned() {
                    return Err(Errno::EINVAL);
                }
                if !fits(wish) {
                    return Err(Errno::ENOMEM);
                }
                if request.placement == Placement::FixedNoReplace && self.mapped_in(wish, wish + len) > 0 {
                    return Err(Errno::EEXIST);
                }
                Ok(wish)
            }
            Placement::Hint | Placement::Low => {
                let wish = (wish & !0xfff).max(if wish == 0 { 0 } else { MIN_ADDRESS });
                let top = if request.placement == Placement::Low { 0x8000_0000 } else { USER_END };
                if wish != 0 && fits(wish) && wish + len <= top && self.areas.is_free(wish, wish + len) {
                    return Ok(wish);
                }
                let found = match request.placement {
                    Placement::Low => self.areas.gap_between(0x4000_0000, top, len),
                    _ => self.areas.find_gap(len),
                };
                found.ok_or(Errno::ENOMEM)
            }
        }
    }

    /// Bytes of `from..to` that are mapped.
    pub(super) fn mapped_in(&self, from: u64, to: u64) -> u64 {
        let overlapping = self.areas.overlapping(from, to);
        overlapping.map(|(start, area)| area.end.min(to).saturating_sub(start.max(from))).sum()
    }

    /// Whether `len` bytes more are allowed.
    pub(super) fn check_limits(&self, limits: &Limits, len: u64, is_data: bool) -> Result<(), Errno> {
        if self.areas.total().saturating_add(len) > limits.address_space {
            return Err(Errno::ENOMEM);
        }
        if is_data && limits.data != INFINITY && self.data_bytes().saturating_add(len) > limits.data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Whether an area more (and what splitting at the ends of `from..to` makes) is allowed.
    pub(super) fn check_count(&self, from: u64, to: u64) -> Result<(), Errno> {
        if self.areas.len() + self.areas.splits(from, to) >= MAX_AREAS { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Bytes of private writable areas.
    pub(super) fn data_bytes(&self) -> u64 {
        self.areas.iter().filter(|(_, area)| area.is_data()).map(|(start, area)| area.end - start).sum()
    }

    /// Removes areas and pages of `from..to`, in the space too.
    pub(super) fn unmap(&mut self, mm: &Mm, from: u64, to: u64, doomed: &mut Doomed) {
        let removed = self.areas.remove(from, to);
        if removed.is_empty() {
            return;
        }
        self.locked -= removed
            .iter()
            .filter(|(_, area)| area.flags.contains(AreaFlags::LOCKED))
            .map(|(start, area)| area.end - start)
            .sum::<u64>();
        doomed.areas.extend(removed);
        doomed.pages.push(self.index.remove(from >> 12, to >> 12));
        mm.space.unmap(UserAddr::new(from), pages(from, to));
    }

    fn extend_brk(&mut self, limits: &Limits, old: u64, new: u64) -> Result<(), Errno> {
        let used = new - self.layout.brk_start + (self.layout.data.1 - self.layout.data.0);
        if limits.data != INFINITY && used > limits.data {
            return Err(Errno::ENOMEM);
        }
        self.check_limits(limits, new - old, true)?;
        self.check_count(old, new)?;
        // A page stays free below the next area, and a guard below a stack.
        if self.areas.gap_between(old, new + 4096, new + 4096 - old) != Some(old) {
            return Err(Errno::ENOMEM);
        }
        let mut flags = AreaFlags::MAY_WRITE;
        if self.lock_future == LockFuture::Yes {
            if self.locked.saturating_add(new - old) > limits.memlock {
                return Err(Errno::EAGAIN);
            }
            self.locked += new - old;
            flags |= AreaFlags::LOCKED;
        }
        let perm = Perm::READ | Perm::WRITE;
        self.areas.insert_merged(old, Area { end: new, perm, flags, source: Source::Anonymous });
        Ok(())
    }
}

/// Rounds up to pages.
pub(super) fn round_up(len: u64) -> Result<u64, Errno> {
    len.checked_next_multiple_of(4096).filter(|len| *len <= USER_END).ok_or(Errno::ENOMEM)
}

/// The pages of a range whose start must be aligned; `outside` when it leaves user space.
pub(super) fn range_of(addr: UserAddr, len: u64, outside: Errno) -> Result<(u64, u64), Errno> {
    if !addr.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(4096).ok_or(outside)?;
    let end = addr.get().checked_add(len).filter(|end| *end <= USER_END).ok_or(outside)?;
    Ok((addr.get(), end))
}
