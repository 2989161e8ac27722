//! shmget, shmat, shmdt, shmctl.

use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::ipc::sysv::perm::{EXECUTE, READ, WRITE};
use crate::ipc::sysv::shm::{self, Locking, SegmentRecord};
use crate::mm::{AreaFlags, MapRequest, MapSource, Placement};
use crate::platform::Perm;
use crate::task::Resource;
use crate::user::{UserAddr, UserPtr};
use core::sync::atomic::Ordering;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(29, "shmget", 3, shmget, Restart::Never, Support::Partial("no huge pages")),
    row!(30, "shmat", 3, shmat, Restart::Never, Support::Full),
    row!(31, "shmctl", 3, shmctl, Restart::Never, Support::Full),
    row!(67, "shmdt", 1, shmdt, Restart::Never, Support::Full),
];

const SHM_HUGETLB: u32 = 0o4000;
const SHM_RDONLY: u32 = 0o10000;
const SHM_RND: u32 = 0o20000;
const SHM_REMAP: u32 = 0o40000;
const SHM_EXEC: u32 = 0o100_000;

fn shmget(cx: &mut Cx<'_>, key: i32, size: u64, flags: u32) -> SysResult {
    let namespace = cx.task.ipc();
    if flags & SHM_HUGETLB != 0 && flags & crate::ipc::sysv::CREATE != 0 {
        // No huge page was ever set aside.
        return Err(Errno::ENOMEM.into());
    }
    let scope = Scope::new(cx);
    let id = namespace.segments.get(&namespace, &scope.cx(cx), key, size, flags)?;
    usize::try_from(id).map_err(|_| Errno::EINVAL.into())
}

fn shmat(cx: &mut Cx<'_>, id: i32, addr: UserAddr, flags: u32) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let addr = place(addr, flags)?;
    let mut wanted = READ;
    let mut perm = Perm::READ;
    let mut area_flags = AreaFlags::empty();
    if flags & SHM_RDONLY == 0 {
        wanted |= WRITE;
        perm |= Perm::WRITE;
        area_flags |= AreaFlags::MAY_WRITE;
    }
    if flags & SHM_EXEC != 0 {
        wanted |= EXECUTE;
        perm |= Perm::EXECUTE;
    }
    let namespace = cx.task.ipc();
    let found = namespace.segments.find(id)?;
    let file = found.object.file(&cx.task.creds(), wanted)?;
    let mapping = shm::mapping(&file).ok_or(Errno::EINVAL)?;
    let placement = match (addr.is_null(), flags & SHM_REMAP != 0) {
        (true, _) => Placement::Hint,
        (false, true) => Placement::Fixed,
        (false, false) => Placement::FixedNoReplace,
    };
    let len = found.object.size();
    let source = MapSource::Shared { mapping, first: 0, file: Some(file) };
    let request = MapRequest { addr, len, perm, placement, flags: area_flags, source };
    let at = cx.mm.map(cx.sleeper, &request).map_err(|errno| match errno {
        Errno::EEXIST => Errno::EINVAL,
        other => other,
    })?;
    found.object.attached(cx.task.pid());
    usize::try_from(at.get()).map_err(|_| Errno::ENOMEM.into())
}

/// Where a segment is to be attached.
fn place(addr: UserAddr, flags: u32) -> Result<UserAddr, Errno> {
    if addr.is_null() {
        return if flags & SHM_REMAP != 0 { Err(Errno::EINVAL) } else { Ok(addr) };
    }
    if addr.is_page_aligned() {
        return Ok(addr);
    }
    if flags & SHM_RND == 0 {
        return Err(Errno::EINVAL);
    }
    let down = addr.page_down();
    if down.is_null() && flags & SHM_REMAP != 0 { Err(Errno::EINVAL) } else { Ok(down) }
}

fn shmdt(cx: &mut Cx<'_>, addr: UserAddr) -> SysResult {
    if !addr.is_page_aligned() {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.mm.detach(cx.sleeper, addr, &shm::is_segment).ok_or(Errno::EINVAL)?;
    cx.task.ipc().segments.detached(&file, cx.task.pid());
    Ok(0)
}

const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const IPC_INFO: u32 = 3;
const SHM_LOCK: u32 = 11;
const SHM_UNLOCK: u32 = 12;
const SHM_STAT: u32 = 13;
const SHM_INFO: u32 = 14;
const SHM_STAT_ANY: u32 = 15;

fn shmctl(cx: &mut Cx<'_>, id: i32, command: u32, buffer: UserAddr) -> SysResult {
    if id < 0 || command.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.task.ipc();
    let segments = &namespace.segments;
    let creds = cx.task.creds();
    match command {
        IPC_INFO => {
            let ids = segments.max_ids.load(Ordering::Relaxed);
            let (size, pages) =
                (segments.max_size.load(Ordering::Relaxed), segments.max_pages.load(Ordering::Relaxed));
            let info: [u64; 9] = [size, 1, ids, ids, pages, 0, 0, 0, 0];
            cx.user().write(UserPtr::new(buffer), &info)?;
            Ok(segments.highest())
        }
        SHM_INFO => {
            cx.user().write(UserPtr::new(buffer), &segments.totals())?;
            Ok(segments.highest())
        }
        SHM_STAT | SHM_STAT_ANY | IPC_STAT => {
            let found = if command == IPC_STAT { segments.find(id)? } else { segments.at(id)? };
            let mut record = segments.stat(&found, (command != SHM_STAT_ANY).then_some(&*creds))?;
            record.cpid = cx.task.shown(record.cpid);
            record.lpid = cx.task.shown(record.lpid);
            cx.user().write(UserPtr::new(buffer), &record)?;
            let result = if command == IPC_STAT { 0 } else { found.id };
            usize::try_from(result).map_err(|_| Errno::EINVAL.into())
        }
        IPC_SET => {
            let record = cx.user().read(UserPtr::<SegmentRecord>::new(buffer))?;
            segments.set(&creds, id, &record.perm)?;
            Ok(0)
        }
        IPC_RMID => {
            segments.remove(&creds, id)?;
            Ok(0)
        }
        SHM_LOCK | SHM_UNLOCK => {
            let found = segments.find(id)?;
            let locking = if command == SHM_LOCK { Locking::On } else { Locking::Off };
            let allowed = locking == Locking::Off || cx.task.rlimit(Resource::Memlock) > 0;
            found.object.set_locked(&creds, locking, allowed)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
