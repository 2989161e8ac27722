//! mmap, munmap, mprotect, mremap, brk, madvise, msync, mincore, mlock and their like.

use super::descriptor;
use super::remote::may_access;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::Iovec;
use crate::cache::Mapping;
use crate::fs::block::Opened;
use crate::fs::memfd::{SEAL_FUTURE_WRITE, SEAL_WRITE};
use crate::fs::{NodeKind, OpenFile};
use crate::mm::{
    Advice, AreaFlags, Filling, Leave, LockAll, Locked, MapRequest, MapSource, Move, Placement, Reach,
};
use crate::platform::{Access, Perm};
use crate::security::Capability;
use crate::task::pidfd::PidFd;
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use chitin_proto::layout::USER_END;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(9, "mmap", 6, mmap, Restart::Never, Support::Partial("MAP_HUGETLB is refused")),
    row!(10, "mprotect", 3, mprotect, Restart::Never, Support::Full),
    row!(11, "munmap", 2, munmap, Restart::Never, Support::Full),
    row!(12, "brk", 1, brk, Restart::Never, Support::Full),
    row!(25, "mremap", 5, mremap, Restart::Never, Support::Full),
    row!(26, "msync", 3, msync, Restart::Never, Support::Full),
    row!(27, "mincore", 3, mincore, Restart::Never, Support::Full),
    row!(
        28,
        "madvise",
        3,
        madvise,
        Restart::Never,
        Support::Partial("no page is merged, poisoned or collapsed")
    ),
    row!(149, "mlock", 2, mlock, Restart::Never, Support::Full),
    row!(150, "munlock", 2, munlock, Restart::Never, Support::Full),
    row!(151, "mlockall", 1, mlockall, Restart::Never, Support::Full),
    row!(152, "munlockall", 0, munlockall, Restart::Never, Support::Full),
    row!(
        216,
        "remap_file_pages",
        5,
        remap_file_pages,
        Restart::Never,
        Support::Partial("replaces the mapping, as Linux does since 4.0")
    ),
    row!(325, "mlock2", 3, mlock2, Restart::Never, Support::Full),
    row!(
        329,
        "pkey_mprotect",
        4,
        pkey_mprotect,
        Restart::Never,
        Support::Partial("key -1 only: there are no keys")
    ),
    row!(330, "pkey_alloc", 2, pkey_alloc, Restart::Never, Support::Partial("there are no keys: ENOSPC")),
    row!(440, "process_madvise", 5, process_madvise, Restart::Never, Support::Full),
    row!(462, "mseal", 3, mseal, Restart::Never, Support::Full),
    row!(331, "pkey_free", 1, pkey_free, Restart::Never, Support::Partial("there are no keys: EINVAL")),
];

const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_SHARED_VALIDATE: u32 = 3;
const MAP_TYPE: u32 = 0xf;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_32BIT: u32 = 0x40;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_LOCKED: u32 = 0x2000;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_POPULATE: u32 = 0x8000;
const MAP_NONBLOCK: u32 = 0x10000;
const MAP_HUGETLB: u32 = 0x40000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
/// All flags that Linux knows, for `MAP_SHARED_VALIDATE`: with `MAP_DENYWRITE`, `MAP_EXECUTABLE`, `MAP_STACK`,
/// `MAP_UNINITIALIZED`, the old `MAP_RENAME` bits and huge page sizes left out.
const MAP_KNOWN: u32 = MAP_TYPE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_32BIT
    | MAP_GROWSDOWN
    | 0x800
    | 0x1000
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | 0x20000
    | MAP_HUGETLB
    | MAP_FIXED_NOREPLACE;

const PROT_GROWSDOWN: u32 = 0x0100_0000;
const PROT_GROWSUP: u32 = 0x0200_0000;
/// `PROT_SEM` says nothing on x86.
const PROT_SEM: u32 = 8;

/// Permission bits of mmap(2) and mprotect(2); others are ignored, as Linux does.
fn perm(prot: u32) -> Perm {
    let mut perm = Perm::empty();
    perm.set(Perm::READ, prot & 1 != 0);
    perm.set(Perm::WRITE, prot & 2 != 0);
    perm.set(Perm::EXECUTE, prot & 4 != 0);
    perm
}

fn mmap(cx: &mut Cx<'_>, addr: UserAddr, len: u64, prot: u32, flags: u32, fd: Fd, offset: u64) -> SysResult {
    if !offset.is_multiple_of(4096) {
        return Err(Errno::EINVAL.into());
    }
    let kind = flags & MAP_TYPE;
    let anonymous = flags & MAP_ANONYMOUS != 0;
    let file = if anonymous { None } else { Some(cx.task.files().get(fd)?) };
    if file.as_ref().is_some_and(|file| file.is_path()) {
        return Err(Errno::EBADF.into());
    }
    if file.is_some() && flags & MAP_HUGETLB != 0 || len == 0 {
        return Err(Errno::EINVAL.into());
    }
    // Room is looked for before the kind of mapping is looked at.
    if len > USER_END {
        return Err(Errno::ENOMEM.into());
    }
    let known = kind == MAP_SHARED || kind == MAP_PRIVATE || (kind == MAP_SHARED_VALIDATE && !anonymous);
    if !known {
        return Err(Errno::EINVAL.into());
    }
    if kind == MAP_SHARED_VALIDATE && flags & !MAP_KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if flags & MAP_LOCKED != 0 && cx.mm.limits().memlock == 0 {
        return Err(Errno::EPERM.into());
    }
    let perm = perm(prot);
    let shared = kind != MAP_PRIVATE;
    let grows = flags & MAP_GROWSDOWN != 0;
    let mut area_flags = AreaFlags::default();
    area_flags.set(AreaFlags::NO_RESERVE, flags & MAP_NORESERVE != 0);
    area_flags.set(AreaFlags::LOCKED, flags & MAP_LOCKED != 0);
    let source = match &file {
        Some(file) => {
            let source = file_source(file, perm, shared, offset >> 12, len, &mut area_flags)?;
            if grows {
                return Err(Errno::EINVAL.into());
            }
            source
        }
        // No huge page was ever set aside.
        None if flags & MAP_HUGETLB != 0 => return Err(Errno::ENOMEM.into()),
        None if shared && grows => return Err(Errno::EINVAL.into()),
        None if shared => shared_memory(cx, len, &mut area_flags)?,
        None => {
            area_flags.set(AreaFlags::GROWS_DOWN, grows);
            MapSource::Anonymous
        }
    };
    let placement = match flags {
        _ if flags & MAP_FIXED_NOREPLACE != 0 => Placement::FixedNoReplace,
        _ if flags & MAP_FIXED != 0 => Placement::Fixed,
        _ if flags & MAP_32BIT != 0 => Placement::Low,
        _ => Placement::Hint,
    };
    let request = MapRequest { addr, len, perm, placement, flags: area_flags, source };
    let at = cx.mm.map(cx.sleeper, &request)?;
    let end = at.get() + len.next_multiple_of(4096);
    if flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE {
        // The mapping stands even when it cannot be filled in.
        let _ = cx.mm.populate(cx.sleeper, at.get(), end);
    }
    address(at)
}

fn address(at: UserAddr) -> SysResult {
    Ok(usize::try_from(at.get()).map_err(|_| Errno::ENOMEM)?)
}

/// Shared memory without a name.
fn shared_memory(cx: &Cx<'_>, len: u64, flags: &mut AreaFlags) -> Result<MapSource, Errno> {
    let len = len.checked_next_multiple_of(4096).ok_or(Errno::ENOMEM)?;
    let mapping = Mapping::memory_in(cx.mm.budget());
    mapping.resize(len);
    *flags |= AreaFlags::MAY_WRITE;
    Ok(MapSource::Shared { mapping, first: 0, file: None })
}

/// Device number of `/dev/zero`.
const DEV_ZERO: u64 = 0x105;

fn file_source(
    file: &Arc<OpenFile>,
    perm: Perm,
    shared: bool,
    first: u64,
    len: u64,
    flags: &mut AreaFlags,
) -> Result<MapSource, Errno> {
    let writes = shared && perm.contains(Perm::WRITE);
    if !file.is_readable() || (writes && !file.is_writable()) {
        return Err(Errno::EACCES);
    }
    let mapping = match file.node().map(|node| &node.kind) {
        Some(NodeKind::File(node)) => node.mapping().ok_or(Errno::ENODEV)?,
        Some(NodeKind::BlockDevice(_)) => {
            let disk = Opened::of(file).ok_or(Errno::ENODEV)?.disk();
            if shared && file.is_writable() && disk.is_read_only() {
                return Err(Errno::EINVAL);
            }
            disk.mapping().clone()
        }
        Some(NodeKind::CharDevice(DEV_ZERO)) if !shared => return Ok(MapSource::Anonymous),
        Some(NodeKind::CharDevice(DEV_ZERO)) => {
            let mapping = Mapping::memory();
            let end = (first << 12).checked_add(len).and_then(|end| end.checked_next_multiple_of(4096));
            mapping.resize(end.ok_or(Errno::EOVERFLOW)?);
            mapping
        }
        _ => return Err(Errno::ENODEV),
    };
    let file_of = Some(file.clone());
    if shared {
        let seals = file.node().and_then(|node| node.state.seals()).unwrap_or(0);
        let sealed = seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0;
        if writes && sealed {
            return Err(Errno::EPERM);
        }
        flags.set(AreaFlags::MAY_WRITE, file.is_writable() && !sealed);
        Ok(MapSource::Shared { mapping, first, file: file_of })
    } else {
        Ok(MapSource::Private { mapping, first, file: file_of })
    }
}

fn munmap(cx: &mut Cx<'_>, addr: UserAddr, len: u64) -> SysResult {
    cx.mm.unmap(cx.sleeper, addr, len)?;
    Ok(0)
}

fn brk(cx: &mut Cx<'_>, to: UserAddr) -> SysResult {
    address(cx.mm.brk(cx.sleeper, to))
}

fn mprotect(cx: &mut Cx<'_>, addr: UserAddr, len: u64, prot: u32) -> SysResult {
    let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    let known = 7 | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP;
    // No area grows upwards on x86.
    let both = grows == PROT_GROWSDOWN | PROT_GROWSUP;
    if both || !addr.is_page_aligned() || (len > 0 && (prot & !known != 0 || grows & PROT_GROWSUP != 0)) {
        return Err(Errno::EINVAL.into());
    }
    let reach = if grows == 0 { Reach::Range } else { Reach::GrowsDown };
    cx.mm.protect(addr, len, perm(prot), reach)?;
    Ok(0)
}

fn mseal(cx: &mut Cx<'_>, addr: UserAddr, len: u64, flags: u64) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.seal(addr, len)?;
    Ok(0)
}

fn pkey_mprotect(cx: &mut Cx<'_>, addr: UserAddr, len: u64, prot: u32, key: i32) -> SysResult {
    if key != -1 {
        return Err(Errno::EINVAL.into());
    }
    mprotect(cx, addr, len, prot)
}

fn pkey_alloc(_cx: &mut Cx<'_>, flags: u64, access: u64) -> SysResult {
    Err(if flags != 0 || access & !3 != 0 { Errno::EINVAL } else { Errno::ENOSPC }.into())
}

fn pkey_free(_cx: &mut Cx<'_>, _key: i32) -> SysResult {
    Err(Errno::EINVAL.into())
}

fn mremap(
    cx: &mut Cx<'_>,
    old: UserAddr,
    old_len: u64,
    new_len: u64,
    flags: u64,
    new: UserAddr,
) -> SysResult {
    const MAY_MOVE: u64 = 1;
    const FIXED: u64 = 2;
    const DONT_UNMAP: u64 = 4;
    let movement = match flags {
        _ if flags & !(MAY_MOVE | FIXED | DONT_UNMAP) != 0 => return Err(Errno::EINVAL.into()),
        _ if flags & MAY_MOVE == 0 && flags != 0 => return Err(Errno::EINVAL.into()),
        _ if flags & FIXED != 0 => Move::To(new),
        _ if flags & MAY_MOVE != 0 => Move::Anywhere,
        _ => Move::Never,
    };
    let leave = if flags & DONT_UNMAP != 0 { Leave::Empty } else { Leave::Nothing };
    address(cx.mm.remap(cx.sleeper, old, old_len, new_len, movement, leave)?)
}

fn madvise(cx: &mut Cx<'_>, addr: UserAddr, len: u64, advice: i32) -> SysResult {
    let flags = |set, clear| Advice::Flags { set, clear };
    let none = AreaFlags::empty();
    let pattern = AreaFlags::SEQUENTIAL | AreaFlags::RANDOM;
    let advice = match advice {
        0 => flags(none, pattern),
        1 => flags(AreaFlags::RANDOM, AreaFlags::SEQUENTIAL),
        2 => flags(AreaFlags::SEQUENTIAL, AreaFlags::RANDOM),
        3 => Advice::WillNeed,
        4 => Advice::DontNeed(Locked::Refused),
        8 => Advice::Free,
        9 => Advice::Remove,
        10 => flags(AreaFlags::DONT_FORK, none),
        11 => flags(none, AreaFlags::DONT_FORK),
        // MERGEABLE, UNMERGEABLE: hints.
        12 | 13 => Advice::Nothing,
        // COLD, PAGEOUT.
        20 | 21 => Advice::Cold,
        14 => flags(AreaFlags::HUGE, AreaFlags::NO_HUGE),
        15 => flags(AreaFlags::NO_HUGE, AreaFlags::HUGE),
        16 => flags(AreaFlags::DONT_DUMP, none),
        17 => flags(none, AreaFlags::DONT_DUMP),
        18 => flags(AreaFlags::WIPE_ON_FORK, none),
        19 => flags(none, AreaFlags::WIPE_ON_FORK),
        22 => Advice::Populate(Access::Read),
        23 => Advice::Populate(Access::Write),
        24 => Advice::DontNeed(Locked::Included),
        _ => return Err(Errno::EINVAL.into()),
    };
    cx.mm.advise(cx.sleeper, addr, len, advice)?;
    Ok(0)
}

/// What is left of a call that went: another mapping in place of part of a shared one, of another part of the file.
fn remap_file_pages(
    cx: &mut Cx<'_>,
    addr: UserAddr,
    len: u64,
    prot: u32,
    first: u64,
    flags: u32,
) -> SysResult {
    let (addr, len) = (addr.page_down(), len & !0xfff);
    let in_file = first.checked_add(len >> 12);
    if prot != 0 || len == 0 || addr.checked_add(len).is_none() || in_file.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let request = cx.mm.other_part(addr, len, first).ok_or(Errno::EINVAL)?;
    cx.mm.map(cx.sleeper, &request)?;
    if flags & MAP_NONBLOCK == 0 {
        let _ = cx.mm.populate(cx.sleeper, addr.get(), addr.get() + len);
    }
    Ok(0)
}

/// Advice about the memory of another process.
fn process_madvise(
    cx: &mut Cx<'_>,
    fd: Fd,
    vector: UserPtr<Iovec>,
    count: usize,
    advice: i32,
    flags: u32,
) -> SysResult {
    if flags != 0 || count > super::remote::MAX_VECTORS {
        return Err(Errno::EINVAL.into());
    }
    let ranges = super::files::slices(cx, vector, count)?;
    let file = descriptor::file(cx, fd)?;
    let process = PidFd::process_of(&file)?;
    let advice = match advice {
        3 => Advice::WillNeed,
        20 | 21 => Advice::Cold,
        _ => return Err(Errno::EINVAL.into()),
    };
    let task = cx.task.container().task(process.pid()).ok_or(Errno::ESRCH)?;
    if !may_access(cx, &task) || !cx.task.creds().has(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let mm = task.mm().ok_or(Errno::ESRCH)?;
    let mut done = 0;
    for range in ranges {
        if let Err(errno) = mm.advise(cx.sleeper, range.addr, range.len as u64, advice) {
            return if done > 0 { Ok(done) } else { Err(errno.into()) };
        }
        done += range.len;
    }
    Ok(done)
}

fn msync(cx: &mut Cx<'_>, addr: UserAddr, len: u64, flags: u32) -> SysResult {
    const ASYNC: u32 = 1;
    const INVALIDATE: u32 = 2;
    const SYNC: u32 = 4;
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || flags & (ASYNC | SYNC) == ASYNC | SYNC {
        return Err(Errno::EINVAL.into());
    }
    if !addr.is_page_aligned() {
        return Err(Errno::EINVAL.into());
    }
    // Linux rounds the length up first, and a great one becomes nothing.
    if len.wrapping_add(4095) & !4095 == 0 {
        return Ok(0);
    }
    if flags & INVALIDATE != 0 && cx.mm.has_locked(addr, len) {
        return Err(Errno::EBUSY.into());
    }
    if flags & SYNC != 0 {
        cx.mm.sync(cx.sleeper, addr, len)?;
    } else {
        cx.mm.check_range(addr, len)?;
    }
    Ok(0)
}

fn mincore(cx: &mut Cx<'_>, addr: UserAddr, len: u64, to: UserAddr) -> SysResult {
    if !addr.is_page_aligned() {
        return Err(Errno::EINVAL.into());
    }
    if !addr.is_range(len) {
        return Err(Errno::ENOMEM.into());
    }
    let (mut at, mut to) = (addr, to);
    let mut left = usize::try_from(len.div_ceil(4096)).map_err(|_| Errno::ENOMEM)?;
    if !to.is_range(left as u64) {
        return Err(Errno::EFAULT.into());
    }
    while left > 0 {
        let resident = cx.mm.in_core(at, left.min(4096))?;
        cx.user().write_bytes(to, &resident)?;
        let count = resident.len();
        left -= count;
        at = at.checked_add((count as u64) << 12).ok_or(Errno::ENOMEM)?;
        to = to.checked_add(count as u64).ok_or(Errno::EFAULT)?;
        cx.sleeper.resched_point();
    }
    Ok(0)
}

fn mlock(cx: &mut Cx<'_>, addr: UserAddr, len: u64) -> SysResult {
    mlock2(cx, addr, len, 0)
}

fn mlock2(cx: &mut Cx<'_>, addr: UserAddr, len: u64, flags: u32) -> SysResult {
    let filling = match flags {
        0 => Filling::Now,
        1 => Filling::OnFault,
        _ => return Err(Errno::EINVAL.into()),
    };
    cx.mm.lock(cx.sleeper, addr, len, filling)?;
    Ok(0)
}

fn munlock(cx: &mut Cx<'_>, addr: UserAddr, len: u64) -> SysResult {
    cx.mm.unlock(addr, len)?;
    Ok(0)
}

fn mlockall(cx: &mut Cx<'_>, flags: u32) -> SysResult {
    const CURRENT: u32 = 1;
    const FUTURE: u32 = 2;
    const ON_FAULT: u32 = 4;
    if flags & !(CURRENT | FUTURE | ON_FAULT) != 0 || flags & (CURRENT | FUTURE) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let filling = if flags & ON_FAULT != 0 { Filling::OnFault } else { Filling::Now };
    let what = LockAll { current: flags & CURRENT != 0, future: flags & FUTURE != 0, filling };
    cx.mm.lock_all(cx.sleeper, what)?;
    Ok(0)
}

fn munlockall(cx: &mut Cx<'_>) -> SysResult {
    cx.mm.unlock_all();
    Ok(0)
}
