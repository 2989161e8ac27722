use super::*;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::platform::{Access, Perm, hosted};
use crate::user::{IoReader, IoWriter, UserAddr, UserMemory, UserPtr};
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use std::vec;
use std::vec::Vec;

const BASE: u64 = 0x7000_0000_0000 - 8 * 4096;
const PAGES: usize = 64;
const RW: Perm = Perm::READ.union(Perm::WRITE);

fn at(page: usize) -> UserAddr {
    UserAddr::new(BASE + page as u64 * 4096)
}

fn request(page: usize, count: usize, perm: Perm, source: MapSource) -> MapRequest {
    MapRequest {
        addr: at(page),
        len: count as u64 * 4096,
        perm,
        placement: Placement::Fixed,
        flags: AreaFlags::MAY_WRITE,
        source,
    }
}

/// What a page of the model holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Page {
    Anonymous(u8),
    Private { index: usize, copy: Option<u8> },
    Shared { index: usize },
}

/// A process: its address space and what it should look like.
#[derive(Clone)]
struct Process {
    mm: Arc<Mm>,
    pages: Vec<Option<(Page, Perm)>>,
}

struct World {
    seed: u64,
    file: Arc<Mapping>,
    /// First byte of each page of the file.
    contents: Vec<u8>,
    processes: Vec<Process>,
}

impl World {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % below
    }

    fn range(&mut self) -> (usize, usize) {
        let from = self.random(PAGES);
        (from, 1 + self.random((PAGES - from).min(20)))
    }

    fn perm(&mut self) -> Perm {
        [Perm::empty(), Perm::READ, RW, RW, RW][self.random(5)]
    }

    fn step(&mut self, sleeper: &Sleeper) {
        let who = self.random(self.processes.len());
        let mut process = self.processes[who].clone();
        let (from, count) = self.range();
        match self.random(20) {
            0..=2 => self.map(&mut process, sleeper, from, count),
            3 | 4 => {
                process.mm.unmap(sleeper, at(from), count as u64 * 4096).unwrap();
                process.pages[from..from + count].fill(None);
            }
            5 | 6 => {
                let perm = self.perm();
                let mapped =
                    process.pages[from..from + count].iter().take_while(|page| page.is_some()).count();
                let result = process.mm.protect(at(from), count as u64 * 4096, perm, Reach::Range);
                assert_eq!(result.is_ok(), mapped == count);
                process.pages[from..from + mapped].iter_mut().flatten().for_each(|(_, old)| *old = perm);
            }
            7 => self.discard(&mut process, sleeper, from, count),
            8 | 9 => self.relocate(&mut process, sleeper, from, count),
            10 if self.processes.len() < 6 => {
                let child = Process { mm: process.mm.fork(sleeper).unwrap(), pages: process.pages.clone() };
                self.processes.push(child);
            }
            11 if self.processes.len() > 1 && self.random(2) == 0 => {
                drop(self.processes.swap_remove(who));
                process.mm.leave(sleeper);
                return;
            }
            12 if self.random(3) == 0 => return self.truncate(),
            13 => {
                let index = self.random(self.contents.len().max(1));
                if let Some(byte) = self.contents.get_mut(index) {
                    *byte = self.seed as u8;
                    let bytes = [*byte];
                    self.file.write(sleeper, index as u64 * 4096, &mut IoReader::kernel(&bytes)).unwrap();
                }
            }
            _ => {
                for page in from..from + count {
                    let write = self.random(2) == 0;
                    self.touch(&mut process, sleeper, page, write);
                }
            }
        }
        self.processes[who] = process;
    }

    fn map(&mut self, process: &mut Process, sleeper: &Sleeper, from: usize, count: usize) {
        let perm = self.perm();
        let first = self.random(8);
        let mapping = self.file.clone();
        let (source, page): (MapSource, &dyn Fn(usize) -> Page) = match self.random(4) {
            0 => (MapSource::Private { mapping, first: first as u64, file: None }, &|index| Page::Private {
                index: first + index,
                copy: None,
            }),
            1 => (MapSource::Shared { mapping, first: first as u64, file: None }, &|index| Page::Shared {
                index: first + index,
            }),
            _ => (MapSource::Anonymous, &|_| Page::Anonymous(0)),
        };
        process.mm.map(sleeper, &request(from, count, perm, source)).unwrap();
        for index in 0..count {
            process.pages[from + index] = Some((page(index), perm));
        }
    }

    fn discard(&mut self, process: &mut Process, sleeper: &Sleeper, from: usize, count: usize) {
        let mapped = process.pages[from..from + count].iter().all(Option::is_some);
        let advice = Advice::DontNeed(Locked::Refused);
        let result = process.mm.advise(sleeper, at(from), count as u64 * 4096, advice);
        assert_eq!(result, if mapped { Ok(()) } else { Err(Errno::ENOMEM) });
        for (page, _) in process.pages[from..from + count].iter_mut().flatten() {
            match page {
                Page::Anonymous(byte) => *byte = 0,
                Page::Private { copy, .. } => *copy = None,
                Page::Shared { .. } => {}
            }
        }
    }

    /// Moves a range that is one mapping to another place, perhaps with another size.
    fn relocate(&mut self, process: &mut Process, sleeper: &Sleeper, from: usize, count: usize) {
        let (to, new_count) = self.range();
        let overlaps = to < from + count && from < to + new_count;
        let target = Move::To(at(to));
        let len = |count: usize| count as u64 * 4096;
        let result = process.mm.remap(sleeper, at(from), len(count), len(new_count), target, Leave::Nothing);
        if overlaps {
            let mapped = process.pages[from].is_some();
            assert_eq!(result, Err(if mapped { Errno::EINVAL } else { Errno::EFAULT }));
            return;
        }
        let Ok(at_new) = result else { return };
        assert_eq!(at_new, at(to));
        let old: Vec<_> = process.pages[from..from + count].to_vec();
        process.pages[from..from + count].fill(None);
        for index in 0..new_count {
            let (first, perm) = old[0].unwrap();
            let grown = match first {
                Page::Anonymous(_) => Page::Anonymous(0),
                Page::Private { index: page, .. } => Page::Private { index: page + index, copy: None },
                Page::Shared { index: page } => Page::Shared { index: page + index },
            };
            process.pages[to + index] = old.get(index).copied().unwrap_or(Some((grown, perm)));
        }
    }

    fn truncate(&mut self) {
        let pages = self.random(40);
        self.contents.resize(pages, 0);
        self.file.resize(pages as u64 * 4096);
        for process in &mut self.processes {
            for (page, _) in process.pages.iter_mut().flatten() {
                if let Page::Private { index, copy } = page
                    && *index >= pages
                {
                    *copy = None;
                }
            }
        }
    }

    fn touch(&mut self, process: &mut Process, sleeper: &Sleeper, page: usize, write: bool) {
        let user = UserMemory { mm: &process.mm, sleeper };
        let byte = self.seed as u8;
        let beyond = |index: usize| index >= self.contents.len();
        let slot = &mut process.pages[page];
        let allowed = slot.as_ref().is_some_and(|(page, perm)| {
            let bus = match page {
                Page::Anonymous(_) => false,
                Page::Private { index, copy } => copy.is_none() && beyond(*index),
                Page::Shared { index } => beyond(*index),
            };
            !bus && perm.contains(if write { RW } else { Perm::READ })
        });
        if !write {
            let value = match slot {
                Some((Page::Anonymous(byte), _)) => *byte,
                Some((Page::Private { index, copy }, _)) => {
                    copy.unwrap_or_else(|| self.contents.get(*index).copied().unwrap_or(0))
                }
                Some((Page::Shared { index }, _)) => self.contents.get(*index).copied().unwrap_or(0),
                None => 0,
            };
            let wanted = if allowed { Ok(value) } else { Err(Errno::EFAULT) };
            assert_eq!(user.read::<u8>(UserPtr::new(at(page))), wanted, "reading page {page}: {slot:?}");
            return;
        }
        let result = user.write(UserPtr::new(at(page)), &byte);
        assert_eq!(result.is_ok(), allowed, "writing page {page}: {slot:?}");
        if allowed {
            match slot {
                Some((Page::Anonymous(old), _)) => *old = byte,
                Some((Page::Private { copy, .. }, _)) => *copy = Some(byte),
                Some((Page::Shared { index }, _)) => self.contents[*index] = byte,
                None => {}
            }
        }
    }

    fn check(&mut self, sleeper: &Sleeper) {
        for who in 0..self.processes.len() {
            let mut process = self.processes[who].clone();
            for page in 0..PAGES {
                self.touch(&mut process, sleeper, page, false);
                let mut byte = [0];
                let read = process.mm.read_remote(sleeper, at(page), &mut byte);
                let direct = UserMemory { mm: &process.mm, sleeper }.read::<u8>(UserPtr::new(at(page)));
                assert_eq!((read == 1).then_some(byte[0]), direct.ok());
            }
        }
        for (index, byte) in self.contents.iter().enumerate() {
            let mut read = [0];
            self.file.read(sleeper, index as u64 * 4096, &mut IoWriter::kernel(&mut read)).unwrap();
            assert_eq!(read[0], *byte);
        }
    }
}

/// Trees of processes that map, unmap, protect, move, fork, write and truncate at random, against arrays of pages.
#[test]
fn address_spaces_behave_like_arrays() {
    hosted::for_seeds(60, |sleeper| {
        let before = Budget::root().used();
        let mut entropy = [0; 8];
        crate::platform::get().entropy(&mut entropy);
        {
            let file = Mapping::memory();
            file.resize(20 * 4096);
            let first = Process { mm: Mm::new().unwrap(), pages: vec![None; PAGES] };
            let seed = u64::from_le_bytes(entropy);
            let mut world = World { seed, file, contents: vec![0; 20], processes: vec![first] };
            for step in 0..400 {
                world.step(sleeper);
                if step % 50 == 49 {
                    world.check(sleeper);
                }
            }
        }
        assert_eq!(Budget::root().used(), before, "every page was given back");
    });
}

#[test]
fn a_child_shares_until_somebody_writes() {
    hosted::run(1, |sleeper| {
        let budget = Budget::root().child(UNLIMITED);
        let parent = Mm::with(budget.clone(), Limits::default()).unwrap();
        parent.map(sleeper, &request(0, 40, RW, MapSource::Anonymous)).unwrap();
        parent.populate(sleeper, at(0).get(), at(40).get()).unwrap();
        let alone = budget.used();
        let child = parent.fork(sleeper).unwrap();
        assert_eq!(budget.used(), alone);
        let user = UserMemory { mm: &child, sleeper };
        user.write(UserPtr::new(at(3)), &7u8).unwrap();
        // One page, and the leaves that came to be the child's own.
        assert!(budget.used() <= alone + 3, "{} pages", budget.used() - alone);
        assert_eq!(UserMemory { mm: &parent, sleeper }.read::<u8>(UserPtr::new(at(3))), Ok(0));
        drop(child);
        assert_eq!(budget.used(), alone);
        // Now the pages are the parent's own again: writing copies nothing.
        for page in 0..40 {
            UserMemory { mm: &parent, sleeper }.write(UserPtr::new(at(page)), &1u8).unwrap();
        }
        assert_eq!(budget.used(), alone);
        parent.leave(sleeper);
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn faults_say_what_is_wrong() {
    hosted::run(1, |sleeper| {
        let mm = Mm::new().unwrap();
        let fault = |page, access| mm.resolve_fault(sleeper, at(page), access);
        assert_eq!(fault(0, Access::Read), Err(FaultError::NotMapped));
        mm.map(sleeper, &request(0, 2, Perm::READ, MapSource::Anonymous)).unwrap();
        assert_eq!(fault(0, Access::Read), Ok(()));
        assert_eq!(fault(0, Access::Write), Err(FaultError::Denied));
        assert_eq!(fault(0, Access::Execute), Err(FaultError::Denied));
        let file = Mapping::memory();
        file.resize(5000);
        let source = MapSource::Shared { mapping: file.clone(), first: 0, file: None };
        mm.map(sleeper, &request(4, 4, RW, source)).unwrap();
        assert_eq!(fault(5, Access::Write), Ok(()));
        assert_eq!(fault(6, Access::Read), Err(FaultError::Bus));
        file.resize(100);
        assert_eq!(fault(5, Access::Read), Err(FaultError::Bus));
        assert_eq!(
            mm.resolve_fault(sleeper, UserAddr::new(u64::MAX), Access::Read),
            Err(FaultError::NotMapped)
        );
        let poor = Mm::with(Budget::root().child(3), Limits::default()).unwrap();
        poor.map(sleeper, &request(0, 8, RW, MapSource::Anonymous)).unwrap();
        assert_eq!(poor.populate(sleeper, at(0).get(), at(8).get()), Err(Errno::ENOMEM));
        assert_eq!(poor.resolve_fault(sleeper, at(7), Access::Write), Err(FaultError::OutOfMemory));
    });
}

#[test]
fn the_stack_grows_to_its_limit_and_keeps_its_guard() {
    hosted::run(1, |sleeper| {
        let limits = Limits { stack: 1 << 20, ..Limits::default() };
        let mm = Mm::with(Budget::root(), limits).unwrap();
        let stack = MapRequest { flags: AreaFlags::GROWS_DOWN, ..request(1000, 2, RW, MapSource::Anonymous) };
        mm.map(sleeper, &stack).unwrap();
        let fault = |page| mm.resolve_fault(sleeper, at(page), Access::Write);
        assert_eq!(fault(900), Ok(()));
        assert_eq!(fault(1002 - 256), Ok(()));
        assert_eq!(fault(1002 - 257), Err(FaultError::NotMapped));
        mm.set_limits(Limits::default());
        mm.map(sleeper, &request(400, 1, RW, MapSource::Anonymous)).unwrap();
        assert_eq!(fault(401 + 255), Err(FaultError::NotMapped));
        assert_eq!(fault(401 + 256), Ok(()));
        assert_eq!(mm.usage().stack_pages, 1002 - 657);
    });
}

#[test]
fn mappings_are_placed_downwards_without_overlap() {
    hosted::run(1, |sleeper| {
        let mm = Mm::new().unwrap();
        let anywhere = |len| MapRequest {
            addr: UserAddr::NULL,
            len,
            placement: Placement::Hint,
            ..request(0, 1, RW, MapSource::Anonymous)
        };
        let mut seed = 1u64;
        let mut live: Vec<(u64, u64)> = Vec::new();
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if seed >> 62 == 0 && !live.is_empty() {
                let (start, len) = live.swap_remove((seed >> 33) as usize % live.len());
                mm.unmap(sleeper, UserAddr::new(start), len).unwrap();
            } else {
                let len = (1 + (seed >> 40) % 9) * 4096;
                let start = mm.map(sleeper, &anywhere(len)).unwrap().get();
                assert!(live.iter().all(|(other, size)| start + len <= *other || other + size <= start));
                live.push((start, len));
            }
        }
        let total: u64 = live.iter().map(|(_, len)| len).sum();
        assert_eq!(mm.usage().virtual_pages, total / 4096);
        // No hole was passed over: what is mapped lies close together.
        let low = live.iter().map(|(start, _)| *start).min().unwrap();
        assert!(chitin_proto::layout::USER_END - (128 << 20) - low < total * 2);
        let low = MapRequest { placement: Placement::Low, ..anywhere(4096) };
        assert!(mm.map(sleeper, &low).unwrap().get() < 1 << 31);
        assert_eq!(mm.map(sleeper, &anywhere(1 << 47)), Err(Errno::ENOMEM));
    });
}

#[test]
fn wiped_and_omitted_areas_do_not_reach_the_child() {
    hosted::run(1, |sleeper| {
        let mm = Mm::new().unwrap();
        mm.map(sleeper, &request(0, 6, RW, MapSource::Anonymous)).unwrap();
        for page in 0..6 {
            UserMemory { mm: &mm, sleeper }.write(UserPtr::new(at(page)), &9u8).unwrap();
        }
        let set = |page: usize, set| {
            let advice = Advice::Flags { set, clear: AreaFlags::empty() };
            mm.advise(sleeper, at(page), 8192, advice).unwrap();
        };
        set(0, AreaFlags::WIPE_ON_FORK);
        set(2, AreaFlags::DONT_FORK);
        let child = mm.fork(sleeper).unwrap();
        let read = |page| UserMemory { mm: &child, sleeper }.read::<u8>(UserPtr::new(at(page)));
        assert_eq!((read(1), read(3), read(5)), (Ok(0), Err(Errno::EFAULT), Ok(9)));
        assert_eq!(mm.areas().len(), 3);
    });
}

#[test]
fn locked_memory_is_counted() {
    hosted::run(1, |sleeper| {
        let mm = Mm::with(Budget::root(), Limits { memlock: 8 * 4096, ..Limits::default() }).unwrap();
        mm.map(sleeper, &request(0, 20, RW, MapSource::Anonymous)).unwrap();
        mm.lock(sleeper, at(2), 4 * 4096, Filling::Now).unwrap();
        mm.lock(sleeper, at(3), 4 * 4096, Filling::OnFault).unwrap();
        assert_eq!(mm.usage().locked_pages, 5);
        assert_eq!(mm.lock(sleeper, at(10), 4 * 4096, Filling::Now), Err(Errno::ENOMEM));
        mm.unlock(at(0), 3 * 4096).unwrap();
        assert_eq!(mm.usage().locked_pages, 4);
        mm.unmap(sleeper, at(0), 5 * 4096).unwrap();
        assert_eq!(mm.usage().locked_pages, 2);
        assert_eq!(mm.in_core(at(5), 2), Ok(vec![1, 0]));
        mm.unlock_all();
        assert_eq!(mm.usage().locked_pages, 0);
        assert_eq!(mm.areas().len(), 1);
    });
}

#[test]
fn what_is_sealed_stays() {
    hosted::for_seeds(1, |sleeper: &Sleeper| {
        let mm = Mm::new().unwrap();
        let anonymous = |page, count, perm| request(page, count, perm, MapSource::Anonymous);
        mm.map(sleeper, &anonymous(0, 8, RW)).unwrap();
        let page = |count: u64| count * 4096;
        assert_eq!(mm.seal(at(0), page(9)), Err(Errno::ENOMEM));
        mm.seal(at(2), page(2)).unwrap();
        assert_eq!(mm.unmap(sleeper, at(0), page(3)), Err(Errno::EPERM));
        assert_eq!(mm.map(sleeper, &anonymous(3, 1, RW)), Err(Errno::EPERM));
        assert_eq!(mm.protect(at(0), page(8), Perm::READ, Reach::Range), Err(Errno::EPERM));
        assert_eq!(mm.perm_at(at(1)), Some(Perm::READ), "what is before the seal has changed");
        assert_eq!(mm.perm_at(at(2)), Some(RW));
        let moved = mm.remap(sleeper, at(2), page(1), page(1), Move::To(at(20)), Leave::Nothing);
        assert_eq!(moved, Err(Errno::EPERM));
        let over = mm.remap(sleeper, at(6), page(1), page(1), Move::To(at(3)), Leave::Nothing);
        assert_eq!(over, Err(Errno::EPERM));
        mm.unmap(sleeper, at(0), page(2)).unwrap();
        mm.unmap(sleeper, at(4), page(4)).unwrap();
        let child = mm.fork(sleeper).unwrap();
        assert_eq!(child.unmap(sleeper, at(2), page(1)), Err(Errno::EPERM));
    });
}

#[test]
fn reaping_leaves_shared_memory() {
    hosted::for_seeds(1, |sleeper: &Sleeper| {
        let mm = Mm::new().unwrap();
        let shared = Mapping::memory();
        shared.resize(4096);
        mm.map(sleeper, &request(0, 2, RW, MapSource::Anonymous)).unwrap();
        mm.map(sleeper, &request(2, 1, RW, MapSource::Shared { mapping: shared, first: 0, file: None }))
            .unwrap();
        for page in 0..3 {
            mm.write_remote(sleeper, at(page), b"x").unwrap();
        }
        assert_eq!(mm.page_state(at(0)), PageState::Present);
        mm.reap(sleeper);
        let mut read = [9; 1];
        mm.read_remote(sleeper, at(0), &mut read);
        assert_eq!(read, [0]);
        mm.read_remote(sleeper, at(2), &mut read);
        assert_eq!(read, *b"x");
        assert_eq!(mm.page_state(at(9)), PageState::NotMapped);
    });
}
