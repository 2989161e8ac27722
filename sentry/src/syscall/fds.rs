//! dup, close_range, fcntl, flock, lseek.

use super::descriptor::{self, CLOEXEC};
use super::owner;
use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{FASYNC, Flock, O_DIRECT, O_NOATIME};
use crate::fs::block::Opened;
use crate::fs::fd_table::Entry;
use crate::fs::io;
use crate::fs::lock::{self, Mode, NotLocked, Owner, Record, Wait};
use crate::fs::node::{NodeKind, S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK};
use crate::fs::notify::directory::{self, Interest};
use crate::fs::pipe::{self, End, Privilege};
use crate::fs::{FileBody, OpenFile, async_io, memfd, open, permission};
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(8, "lseek", 3, lseek, Restart::Never, Support::Full),
    row!(32, "dup", 1, dup, Restart::Never, Support::Full),
    row!(33, "dup2", 2, dup2, Restart::Never, Support::Full),
    row!(72, "fcntl", 3, fcntl, Restart::Sa, Support::Partial("leases are refused")),
    row!(73, "flock", 2, flock, Restart::Sa, Support::Full),
    row!(292, "dup3", 3, dup3, Restart::Never, Support::Full),
    row!(436, "close_range", 3, close_range, Restart::Never, Support::Full),
];

fn duplicate(cx: &Cx<'_>, file: Arc<OpenFile>, min: usize, close_on_exec: bool) -> SysResult {
    descriptor::number(cx.files.insert(Entry { file, close_on_exec }, min, descriptor::limit(cx))?)
}

fn dup(cx: &mut Cx<'_>, fd: Fd) -> SysResult {
    let file = cx.files.get(fd)?;
    duplicate(cx, file, 0, false)
}

fn replace(cx: &Cx<'_>, old: Fd, new: Fd, close_on_exec: bool) -> SysResult {
    let files = cx.files;
    let file = files.get(old)?;
    if let Some(entry) = files.replace(new, Entry { file, close_on_exec }, descriptor::limit(cx))? {
        descriptor::closed(cx, entry);
    }
    descriptor::number(new)
}

fn dup2(cx: &mut Cx<'_>, old: Fd, new: Fd) -> SysResult {
    if old == new {
        cx.files.get(old)?;
        return descriptor::number(new);
    }
    replace(cx, old, new, false)
}

fn dup3(cx: &mut Cx<'_>, old: Fd, new: Fd, flags: u32) -> SysResult {
    if flags & !CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    replace(cx, old, new, flags & CLOEXEC != 0)
}

fn close_range(cx: &mut Cx<'_>, first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const ONLY_CLOEXEC: u32 = 4;
    if flags & !(UNSHARE | ONLY_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    let own;
    let files = if flags & UNSHARE != 0 {
        own = cx.files.duplicate();
        drop(cx.task.set_files(own.clone()));
        &own
    } else {
        cx.files
    };
    let within = |number: &i32| u32::try_from(*number).is_ok_and(|number| (first..=last).contains(&number));
    for number in files.numbers().into_iter().filter(within) {
        // Another thread may have closed it already.
        if flags & ONLY_CLOEXEC != 0 {
            let _ = files.set_close_on_exec(Fd(number), true);
        } else if let Ok(entry) = files.remove(Fd(number)) {
            descriptor::closed(cx, entry);
        }
    }
    Ok(0)
}

const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
const F_SETFL: u32 = 4;
const F_GETLK: u32 = 5;
const F_SETLK: u32 = 6;
const F_SETLKW: u32 = 7;
const F_SETOWN: u32 = 8;
const F_GETOWN: u32 = 9;
const F_SETSIG: u32 = 10;
const F_GETSIG: u32 = 11;
const F_SETOWN_EX: u32 = 15;
const F_GETOWN_EX: u32 = 16;
const F_OFD_GETLK: u32 = 36;
const F_OFD_SETLK: u32 = 37;
const F_OFD_SETLKW: u32 = 38;
const F_GETLEASE: u32 = 1025;
const F_NOTIFY: u32 = 1026;
const F_DUPFD_CLOEXEC: u32 = 1030;
const F_SETPIPE_SZ: u32 = 1031;
const F_GETPIPE_SZ: u32 = 1032;
const F_ADD_SEALS: u32 = 1033;
const F_GET_SEALS: u32 = 1034;

fn fcntl(cx: &mut Cx<'_>, fd: Fd, command: u32, argument: u64) -> SysResult {
    let entry = cx.files.entry(fd)?;
    let file = entry.file;
    let low = u32::try_from(argument & 0xffff_ffff).unwrap_or(0);
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let min = usize::try_from(argument).unwrap_or(usize::MAX);
            if i32::try_from(low).is_err() || min >= descriptor::limit(cx) {
                return Err(Errno::EINVAL.into());
            }
            return duplicate(cx, file, min, command == F_DUPFD_CLOEXEC);
        }
        F_GETFD => return Ok(usize::from(entry.close_on_exec)),
        F_SETFD => {
            cx.files.set_close_on_exec(fd, argument & 1 != 0)?;
            return Ok(0);
        }
        F_GETFL => return Ok(file.flags() as usize),
        _ if file.is_path() => return Err(Errno::EBADF.into()),
        _ => {}
    }
    match command {
        F_SETFL => set_flags(cx, fd, &file, low),
        F_GETLK | F_OFD_GETLK => get_lock(cx, &file, command, UserPtr::new(UserAddr::new(argument))),
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => {
            set_lock(cx, &file, command, UserPtr::new(UserAddr::new(argument)))
        }
        F_SETOWN => owner::set_own(cx, &file, low.cast_signed()),
        F_GETOWN => owner::get_own(cx, &file),
        F_SETOWN_EX => owner::set_own_ex(cx, &file, argument),
        F_GETOWN_EX => owner::get_own_ex(cx, &file, argument),
        F_SETSIG => {
            if argument > 64 {
                return Err(Errno::EINVAL.into());
            }
            file.async_io.set_signal(low);
            Ok(0)
        }
        F_GETSIG => Ok(file.async_io.signal() as usize),
        // F_UNLCK: nobody has a lease, since nobody can take one.
        F_GETLEASE => Ok(2),
        F_NOTIFY => notify(cx, &file, fd, low),
        F_SETPIPE_SZ | F_GETPIPE_SZ => {
            let end = file.stream().and_then(|stream| stream.as_any().downcast_ref::<End>());
            let pipe = end.ok_or(Errno::EBADF)?.pipe();
            if command == F_GETPIPE_SZ {
                return Ok(pipe.size());
            }
            let resource = cx.task.creds().has(Capability::SysResource);
            let privilege = if resource { Privilege::Resource } else { Privilege::None };
            Ok(pipe.set_size(low as usize, privilege)?)
        }
        F_ADD_SEALS => {
            let scope = Scope::new(cx);
            memfd::add_seals(&scope.cx(cx), &file, low)?;
            Ok(0)
        }
        F_GET_SEALS => Ok(memfd::seals(&file)? as usize),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `F_NOTIFY`: signals when something happens in a directory.
fn notify(cx: &Cx<'_>, file: &Arc<OpenFile>, fd: Fd, interest: u32) -> SysResult {
    let interest = Interest::from_bits_truncate(interest);
    let table = descriptor::lock_owner(cx);
    if interest.difference(Interest::MULTISHOT).is_empty() {
        file.descriptor_closed(table);
        return Ok(0);
    }
    directory::ask(file, table, fd.0, interest)?;
    if file.async_io.owner().1 == 0 {
        let pid = i32::try_from(cx.task.shown(cx.task.pid())).map_err(|_| Errno::ESRCH)?;
        owner::set_own(cx, file, pid)?;
    }
    Ok(0)
}

fn set_flags(cx: &Cx<'_>, fd: Fd, file: &Arc<OpenFile>, flags: u32) -> SysResult {
    let old = file.flags();
    if flags & !old & O_NOATIME != 0
        && let Some(node) = file.node()
    {
        let scope = Scope::new(cx);
        let fs = scope.cx(cx);
        permission::check_owner(&fs, &node.ops.attr(&fs)?)?;
    }
    if (flags ^ old) & FASYNC != 0 {
        // Where signals are not sent the flag is ignored, as on Linux.
        let _ = async_io::switch(file, fd.0, flags & FASYNC != 0);
    }
    let old = file.flags();
    file.set_flags(old & !open::SETTABLE | flags & open::SETTABLE);
    if let Some(end) = pipe::of(file) {
        end.set_packets(flags & O_DIRECT != 0);
    }
    Ok(0)
}

/// The range that a `struct flock` means, seen from the file.
fn record(cx: &Cx<'_>, file: &OpenFile, flock: &Flock, command: u32) -> Result<Record, Errno> {
    let base = match flock.whence {
        0 => 0,
        1 => i64::try_from(*file.position.lock(cx.sleeper)).map_err(|_| Errno::EOVERFLOW)?,
        2 => {
            let scope = Scope::new(cx);
            let node = file.node().ok_or(Errno::EINVAL)?;
            i64::try_from(node.ops.attr(&scope.cx(cx))?.size).map_err(|_| Errno::EOVERFLOW)?
        }
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match flock.len {
        0 => (start, None),
        len @ 1.. => (start, Some(start.checked_add(len).ok_or(Errno::EOVERFLOW)?)),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, Some(start)),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    let end = end.map_or(Ok(u64::MAX), |end| u64::try_from(end).map_err(|_| Errno::EINVAL))?;
    let mode = match flock.kind {
        0 => Mode::Shared,
        // F_UNLCK takes any.
        1 | 2 => Mode::Exclusive,
        _ => return Err(Errno::EINVAL),
    };
    let description = matches!(command, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    if description && flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let (owner, pid) = if description {
        (Owner::Description(file.lock_owner()), -1)
    } else {
        let pid = i32::try_from(descriptor::caller(cx).pid).unwrap_or(0);
        (Owner::Process(descriptor::lock_owner(cx)), pid)
    };
    Ok(Record { start, end, mode, owner, pid })
}

fn get_lock(cx: &Cx<'_>, file: &Arc<OpenFile>, command: u32, at: UserPtr<Flock>) -> SysResult {
    let mut flock = cx.user().read(at)?;
    if !matches!(flock.kind, 0 | 1) {
        return Err(Errno::EINVAL.into());
    }
    let wanted = record(cx, file, &flock, command)?;
    let conflict = file.node().and_then(|node| lock::test(node, &wanted));
    match conflict {
        None => flock.kind = 2,
        Some(conflict) => {
            let end = if conflict.end == u64::MAX { 0 } else { conflict.end - conflict.start };
            flock = Flock {
                kind: if conflict.mode == Mode::Shared { 0 } else { 1 },
                whence: 0,
                start: conflict.start.cast_signed(),
                len: end.cast_signed(),
                pid: u32::try_from(conflict.pid).map_or(-1, |pid| cx.task.shown(pid).cast_signed()),
                ..flock
            };
        }
    }
    cx.user().write(at, &flock)?;
    Ok(0)
}

fn set_lock(cx: &Cx<'_>, file: &Arc<OpenFile>, command: u32, at: UserPtr<Flock>) -> SysResult {
    let flock = cx.user().read(at)?;
    let wanted = record(cx, file, &flock, command)?;
    match flock.kind {
        0 if !file.is_readable() => return Err(Errno::EBADF.into()),
        1 if !file.is_writable() => return Err(Errno::EBADF.into()),
        _ => {}
    }
    // Nobody else can be told of a lock on what has no node; Linux grants it too.
    let Some(node) = file.node() else { return Ok(0) };
    if flock.kind == 2 {
        return locked(lock::unlock(node, &wanted), Errno::EAGAIN);
    }
    let waiter = cx.waiter();
    let waits = matches!(command, F_SETLKW | F_OFD_SETLKW);
    let wait = if waits { Wait::For(&waiter) } else { Wait::No };
    if matches!(wanted.owner, Owner::Description(_)) {
        file.set_locked();
    }
    locked(lock::lock(node, &wanted, wait), Errno::EAGAIN)
}

fn locked(result: Result<(), NotLocked>, busy: Errno) -> SysResult {
    match result {
        Ok(()) => Ok(0),
        Err(NotLocked::Busy) => Err(busy.into()),
        Err(NotLocked::Interrupted) => Err(Failure::Interrupted),
        Err(NotLocked::Errno(errno)) => Err(errno.into()),
    }
}

fn flock(cx: &mut Cx<'_>, fd: Fd, operation: u32) -> SysResult {
    const SHARED: u32 = 1;
    const EXCLUSIVE: u32 = 2;
    const NONBLOCK: u32 = 4;
    const UNLOCK: u32 = 8;
    // Mandatory share modes: Linux takes them, does nothing and says so in its log.
    const MANDATORY: u32 = 32;
    if operation & MANDATORY != 0 {
        return Ok(0);
    }
    let mode = match operation & !NONBLOCK {
        SHARED => Some(Mode::Shared),
        EXCLUSIVE => Some(Mode::Exclusive),
        UNLOCK => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = descriptor::file(cx, fd)?;
    let Some(node) = file.node() else { return Ok(0) };
    let waiter = cx.waiter();
    let wait = if operation & NONBLOCK != 0 { Wait::No } else { Wait::For(&waiter) };
    file.set_locked();
    locked(lock::flock(node, (file.lock_owner(), cx.task.pid()), mode, wait), Errno::EAGAIN)
}

fn lseek(cx: &mut Cx<'_>, fd: Fd, offset: i64, whence: u32) -> SysResult {
    const SET: u32 = 0;
    const CUR: u32 = 1;
    const END: u32 = 2;
    const DATA: u32 = 3;
    const HOLE: u32 = 4;
    let file = descriptor::file(cx, fd)?;
    if whence > HOLE {
        return Err(Errno::EINVAL.into());
    }
    let node = match file.body() {
        FileBody::Stream(..) if descriptor::takes_offsets(&file) => return Ok(0),
        FileBody::Stream(stream, _) => {
            // Pipes, sockets and terminals refuse; eventfds and their like stay at 0.
            let refuses = matches!(stream.attr().mode & S_IFMT, S_IFIFO | S_IFSOCK | S_IFCHR);
            return if refuses { Err(Errno::ESPIPE.into()) } else { Ok(0) };
        }
        FileBody::Path(_) => return Err(Errno::ESPIPE.into()),
        FileBody::Node(node, _) => node,
    };
    let mut position = file.position.lock(cx.sleeper);
    let size = || {
        let scope = Scope::new(cx);
        let attr = node.ops.attr(&scope.cx(cx))?;
        let size = Opened::of(&file).map_or(attr.size, |opened| opened.disk().size());
        i64::try_from(size).map_err(|_| Errno::EOVERFLOW)
    };
    let base = match whence {
        SET => 0,
        CUR => i64::try_from(*position).map_err(|_| Errno::EOVERFLOW)?,
        END if node.is_dir() => 0,
        END => size()?,
        DATA | HOLE => {
            let NodeKind::File(ops) = &node.kind else { return Err(Errno::EINVAL.into()) };
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let what = if whence == DATA { io::Seek::Data } else { io::Seek::Hole };
            let scope = Scope::new(cx);
            let found = io::seek(&scope.cx(cx), node, ops, from, what)?;
            *position = found;
            return usize::try_from(found).map_err(|_| Errno::EOVERFLOW.into());
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let target = base.checked_add(offset).ok_or(Errno::EINVAL)?;
    let target = u64::try_from(target).map_err(|_| Errno::EINVAL)?;
    if Opened::of(&file).is_some_and(|opened| target > opened.disk().size()) {
        return Err(Errno::EINVAL.into());
    }
    *position = target;
    usize::try_from(target).map_err(|_| Errno::EOVERFLOW.into())
}
