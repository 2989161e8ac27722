//! poll, ppoll, select, pselect6.

use super::descriptor;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::time::{Timespec, Timeval};
use crate::fs::OpenFile;
use crate::user::{UserAddr, UserPtr};
use crate::wait::{PollMask, PollTable, Pollable};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Woken;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(7, "poll", 3, poll, Restart::Remaining, Support::Full),
    row!(271, "ppoll", 5, ppoll, Restart::NoHandler, Support::Full),
    row!(23, "select", 5, select, Restart::NoHandler, Support::Full),
    row!(270, "pselect6", 6, pselect6, Restart::NoHandler, Support::Full),
];

/// Descriptors that one call may name.
const MAX_FDS: usize = 1 << 16;

/// `struct pollfd`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

/// One file of a wait.
struct Source {
    file: Arc<OpenFile>,
    mask: PollMask,
    ready: PollMask,
}

/// Waits until a source is ready or the deadline passes. Returns how many are ready.
fn wait(
    cx: &Cx<'_>,
    sources: &mut [Source],
    settled: usize,
    deadline_ns: Option<u64>,
) -> Result<usize, Failure> {
    let waiter = cx.waiter();
    let mut table = Some(PollTable::new(cx.sleeper.waker()));
    let mut first = true;
    loop {
        let mut ready = settled;
        for source in sources.iter_mut() {
            // Nobody sleeps once something is ready, so the rest need not be registered.
            let registers = if first && ready == 0 { table.as_mut() } else { None };
            source.ready = source.file.poll(registers) & source.mask;
            ready += usize::from(!source.ready.is_empty());
        }
        if ready > 0 {
            return Ok(ready);
        }
        first = false;
        match waiter.park(deadline_ns) {
            Woken::Ready => {}
            Woken::TimedOut => return Ok(0),
            Woken::Interrupted => return Err(Failure::Interrupted),
        }
    }
}

fn do_poll(cx: &Cx<'_>, at: UserPtr<PollFd>, count: usize, deadline_ns: Option<u64>) -> SysResult {
    if count > descriptor::limit(cx) {
        return Err(Errno::EINVAL.into());
    }
    if count > MAX_FDS {
        return Err(Errno::ENOMEM.into());
    }
    let mut fds = cx.user().read_array(at, count)?;
    let files = cx.files.clone();
    let mut sources = Vec::with_capacity(count);
    let mut places = Vec::with_capacity(count);
    let mut settled = 0;
    for (index, entry) in fds.iter_mut().enumerate() {
        entry.revents = 0;
        if entry.fd < 0 {
            continue;
        }
        match files.get(Fd(entry.fd)).ok().filter(|file| !file.is_path()) {
            Some(file) => {
                let wanted = PollMask::from_bits_truncate(u32::from(entry.events));
                let mask = wanted | PollMask::ERR | PollMask::HUP | PollMask::NVAL;
                sources.push(Source { file, mask, ready: PollMask::empty() });
                places.push(index);
            }
            None => {
                entry.revents = u16::try_from(PollMask::NVAL.bits()).unwrap_or(0);
                settled += 1;
            }
        }
    }
    drop(files);
    let ready = wait(cx, &mut sources, settled, deadline_ns)?;
    for (source, index) in sources.iter().zip(places) {
        if let Some(entry) = fds.get_mut(index) {
            entry.revents = u16::try_from(source.ready.bits()).unwrap_or(0);
        }
    }
    for (index, entry) in fds.iter().enumerate() {
        let revents = UserPtr::<u16>::new(at.element(index)?.addr().checked_add(6).ok_or(Errno::EFAULT)?);
        cx.user().write(revents, &entry.revents)?;
    }
    Ok(ready)
}

fn poll(cx: &mut Cx<'_>, fds: UserPtr<PollFd>, count: u32, timeout_ms: i32) -> SysResult {
    let timeout_ns = u64::try_from(timeout_ms).ok().map(|timeout_ms| timeout_ms * 1_000_000);
    let deadline_ns = cx.deadline(timeout_ns);
    do_poll(cx, fds, usize::try_from(count).unwrap_or(usize::MAX), deadline_ns)
}

fn deadline(cx: &Cx<'_>, timeout: UserPtr<Timespec>) -> Result<Option<u64>, Errno> {
    let Some(timeout) = timeout.non_null() else { return Ok(None) };
    let timeout_ns = cx.user().read(timeout)?.to_ns()?;
    Ok(Some(cx.sleeper.now_ns().saturating_add(timeout_ns)))
}

fn ppoll(
    cx: &mut Cx<'_>,
    fds: UserPtr<PollFd>,
    count: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let deadline_ns = deadline(cx, timeout)?;
    descriptor::temporary_mask(cx, mask, mask_size)?;
    let result = do_poll(cx, fds, usize::try_from(count).unwrap_or(usize::MAX), deadline_ns);
    tell_remaining(cx, timeout, deadline_ns);
    result
}

/// Linux tells what is left of the time; that it cannot be written does not fail the call.
fn tell_remaining(cx: &Cx<'_>, timeout: UserPtr<Timespec>, deadline_ns: Option<u64>) {
    if let Some(deadline_ns) = deadline_ns {
        let left = deadline_ns.saturating_sub(cx.sleeper.now_ns());
        let _ = cx.user().write(timeout, &Timespec::from_ns(left));
    }
}

const READABLE: PollMask =
    PollMask::IN.union(PollMask::RDNORM).union(PollMask::RDBAND).union(PollMask::HUP).union(PollMask::ERR);
const WRITABLE: PollMask = PollMask::OUT.union(PollMask::WRNORM).union(PollMask::WRBAND).union(PollMask::ERR);
const EXCEPTIONAL: PollMask = PollMask::PRI;

/// The sets of descriptors of select(2), as words of 64 bits.
struct Sets {
    words: usize,
    pointers: [UserPtr<u64>; 3],
    values: [Vec<u64>; 3],
}

impl Sets {
    fn read(cx: &Cx<'_>, count: usize, pointers: [UserPtr<u64>; 3]) -> Result<Self, Errno> {
        let words = count.div_ceil(64);
        let mut values = [const { Vec::new() }; 3];
        for (pointer, value) in pointers.iter().zip(&mut values) {
            *value = match pointer.non_null() {
                Some(pointer) => cx.user().read_array(pointer, words)?,
                None => vec![0; words],
            };
        }
        Ok(Self { words, pointers, values })
    }

    /// Bit `fd` of a set.
    fn has(&self, set: usize, fd: usize) -> bool {
        let word = self.values.get(set).and_then(|set| set.get(fd / 64));
        word.is_some_and(|word| word & (1 << (fd % 64)) != 0)
    }

    fn clear(&mut self) {
        self.values.iter_mut().for_each(|set| set.fill(0));
    }

    fn put(&mut self, set: usize, fd: usize) {
        if let Some(word) = self.values.get_mut(set).and_then(|set| set.get_mut(fd / 64)) {
            *word |= 1 << (fd % 64);
        }
    }

    fn write(&self, cx: &Cx<'_>) -> Result<(), Errno> {
        for (pointer, value) in self.pointers.iter().zip(&self.values) {
            if !pointer.is_null() {
                cx.user().write_bytes(pointer.addr(), value.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn do_select(cx: &Cx<'_>, count: i32, pointers: [UserPtr<u64>; 3], deadline_ns: Option<u64>) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let files = cx.files.clone();
    // As Linux: no further than the table of descriptors reaches.
    let last = files.numbers().last().and_then(|fd| usize::try_from(*fd).ok()).unwrap_or(0);
    let count = count.min((last + 1).next_multiple_of(64));
    let mut sets = Sets::read(cx, count, pointers)?;
    let masks = [READABLE, WRITABLE, EXCEPTIONAL];
    let mut sources = Vec::new();
    let mut numbers = Vec::new();
    for fd in 0..count.min(sets.words * 64) {
        let mut mask = PollMask::empty();
        for (set, bits) in masks.iter().enumerate() {
            mask.set(*bits, mask.contains(*bits) || sets.has(set, fd));
        }
        if mask.is_empty() {
            continue;
        }
        let file = files.get(Fd(i32::try_from(fd).map_err(|_| Errno::EBADF)?))?;
        if file.is_path() {
            return Err(Errno::EBADF.into());
        }
        sources.push(Source { file, mask, ready: PollMask::empty() });
        numbers.push(fd);
    }
    drop(files);
    wait(cx, &mut sources, 0, deadline_ns)?;
    let asked = sets.values.clone();
    sets.clear();
    let mut ready = 0;
    for (source, fd) in sources.iter().zip(numbers) {
        for (set, bits) in masks.iter().enumerate() {
            let was_asked =
                asked.get(set).and_then(|set| set.get(fd / 64)).is_some_and(|w| w & (1 << (fd % 64)) != 0);
            if was_asked && source.ready.intersects(*bits) {
                sets.put(set, fd);
                ready += 1;
            }
        }
    }
    sets.write(cx)?;
    Ok(ready)
}

fn select(
    cx: &mut Cx<'_>,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timeval>,
) -> SysResult {
    let deadline_ns = match timeout.non_null() {
        Some(timeout) => {
            let timeout_ns = cx.user().read(timeout)?.to_ns_normalized()?;
            Some(cx.sleeper.now_ns().saturating_add(timeout_ns))
        }
        None => None,
    };
    let result = do_select(cx, count, [read, write, except], deadline_ns);
    if let Some(deadline_ns) = deadline_ns {
        let left = deadline_ns.saturating_sub(cx.sleeper.now_ns());
        let _ = cx.user().write(timeout, &Timeval::from_ns(left));
    }
    result
}

fn pselect6(
    cx: &mut Cx<'_>,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    let mask = mask.non_null().map(|mask| cx.user().read(mask)).transpose()?;
    let deadline_ns = deadline(cx, timeout)?;
    if let Some([at, size]) = mask {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        descriptor::temporary_mask(cx, UserPtr::new(UserAddr::new(at)), size)?;
    }
    let result = do_select(cx, count, [read, write, except], deadline_ns);
    tell_remaining(cx, timeout, deadline_ns);
    result
}
