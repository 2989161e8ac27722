//! Asynchronous I/O of the Linux kind: io_setup, io_submit, io_getevents and their kin.

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult, attrs, descriptor, eventfd, files};
use crate::abi::Errno;
use crate::abi::file::Iovec;
use crate::abi::time::Timespec;
use crate::fs::{FileBody, NodeKind};
use crate::mm::{AioContext, AioEvent};
use crate::platform;
use crate::user::{UserAddr, UserPtr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const NO_POLL: &str = "IOCB_CMD_POLL is refused; requests are carried out while they are submitted";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(206, "io_setup", 2, io_setup, Restart::Never, Support::Full),
    row!(207, "io_destroy", 1, io_destroy, Restart::Never, Support::Full),
    row!(208, "io_getevents", 5, io_getevents, Restart::Never, Support::Full),
    row!(209, "io_submit", 3, io_submit, Restart::Never, Support::Partial(NO_POLL)),
    row!(
        210,
        "io_cancel",
        3,
        io_cancel,
        Restart::Never,
        Support::Partial("no request can be cancelled: all have ended")
    ),
    row!(333, "io_pgetevents", 6, io_pgetevents, Restart::NoHandler, Support::Full),
];

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;
const FDSYNC: u16 = 3;
const PREADV: u16 = 7;
const PWRITEV: u16 = 8;
/// `aio_flags`: an eventfd is told.
const RESFD: u32 = 1;
/// Offset of `aio_key`, which must be 0 ([`KEY`]) in a request that io_cancel(2) is to find.
const KEY_OFFSET: u64 = 8;
const KEY: u32 = 0;

/// `struct iocb`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: i32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: i32,
}

fn io_setup(cx: &mut Cx<'_>, requests: u32, number: UserPtr<u64>) -> SysResult {
    if cx.user().read(number)? != 0 || requests == 0 {
        return Err(Errno::EINVAL.into());
    }
    let made = cx.mm.new_aio_context(cx.sleeper, requests, platform::get().cpus())?;
    if let Err(errno) = cx.user().write(number, &made) {
        cx.mm.destroy_aio_context(&cx.waiter(), made)?;
        return Err(errno.into());
    }
    Ok(0)
}

fn io_destroy(cx: &mut Cx<'_>, number: u64) -> SysResult {
    cx.mm.destroy_aio_context(&cx.waiter(), number)?;
    Ok(0)
}

fn io_submit(cx: &mut Cx<'_>, number: u64, count: i64, requests: UserPtr<u64>) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let context = cx.mm.aio_context(number)?;
    for index in 0..count.min(context.room()) {
        let submitted = requests.element(index).and_then(|at| cx.user().read(at)).map_err(Failure::from);
        let submitted = submitted.and_then(|at| submit(cx, &context, UserPtr::new(UserAddr::new(at))));
        match submitted {
            Ok(()) => (),
            Err(_) if index > 0 => return Ok(index),
            Err(failure) => return Err(failure),
        }
    }
    Ok(count.min(context.room()))
}

/// Carries out a request. What it comes to is told by its event; the error is that of a request that is refused.
fn submit(cx: &mut Cx<'_>, context: &AioContext, at: UserPtr<Iocb>) -> Result<(), Failure> {
    let request = cx.user().read(at)?;
    if request.reserved != 0 || i64::try_from(request.len).is_err() {
        return Err(Errno::EINVAL.into());
    }
    context.reserve()?;
    let result = prepare(cx, at, &request).and_then(|()| carry_out(cx, &request));
    let result = match result {
        Ok(done) => i64::try_from(done).unwrap_or(i64::MAX),
        // Linux refuses what it can tell before it begins, and everything else is the request's own result.
        Err(Refused::Now(failure)) => {
            context.finish(None);
            return Err(failure);
        }
        Err(Refused::Later(Failure::Errno(errno))) => -i64::from(errno.number()),
        Err(Refused::Later(Failure::Interrupted)) => -i64::from(Errno::EINTR.number()),
    };
    context.finish(Some(AioEvent { data: request.data, object: at.addr().get(), result, more: 0 }));
    if request.flags & RESFD != 0 {
        // It was one before; another thread may have closed it since.
        let _ = descriptor::file(cx, Fd(request.eventfd)).and_then(|file| eventfd::add(&file, 1));
    }
    Ok(())
}

/// When a request fails.
enum Refused {
    /// io_submit(2) fails.
    Now(Failure),
    /// The request is submitted and has failed.
    Later(Failure),
}

fn now(failure: impl Into<Failure>) -> Refused {
    Refused::Now(failure.into())
}

/// What is checked before the request itself is looked at.
fn prepare(cx: &Cx<'_>, at: UserPtr<Iocb>, request: &Iocb) -> Result<(), Refused> {
    cx.files.get(Fd(request.fd)).map_err(now)?;
    if request.flags & RESFD != 0 {
        let file = descriptor::file(cx, Fd(request.eventfd)).map_err(now)?;
        eventfd::add(&file, 0).map_err(now)?;
    }
    let key = at.addr().checked_add(KEY_OFFSET).ok_or(Errno::EFAULT).map_err(now)?;
    cx.user().write(UserPtr::new(key), &KEY).map_err(now)
}

fn carry_out(cx: &Cx<'_>, request: &Iocb) -> Result<usize, Refused> {
    let fd = Fd(request.fd);
    let len = usize::try_from(request.len).map_err(|_| now(Errno::EINVAL))?;
    let whole = |len| files::slice(UserAddr::new(request.buffer), len).map(|slice| alloc::vec![slice]);
    let pieces = |count| files::slices(cx, UserPtr::<Iovec>::new(UserAddr::new(request.buffer)), count);
    match request.opcode {
        PREAD | PREADV => {
            files::check_flags(request.rw_flags).map_err(now)?;
            let file = files::readable(cx, fd).map_err(now)?;
            if matches!(file.body(), FileBody::Node(node, _) if matches!(node.kind, NodeKind::Dir(_))) {
                return Err(now(Errno::EINVAL));
            }
            let to = if request.opcode == PREAD { whole(len) } else { pieces(len) }.map_err(now)?;
            let at = files::At::of_request(&file, request.offset).map_err(now)?;
            files::read_into(cx, &file, at, &to).map_err(Refused::Later)
        }
        PWRITE | PWRITEV => {
            files::check_flags(request.rw_flags).map_err(now)?;
            let file = files::writable(cx, fd).map_err(now)?;
            let from = if request.opcode == PWRITE { whole(len) } else { pieces(len) }.map_err(now)?;
            let at = files::At::of_request(&file, request.offset).map_err(now)?;
            files::write_flagged(cx, &file, at, &from, request.rw_flags).map_err(Refused::Later)
        }
        FSYNC | FDSYNC => {
            let file = cx.files.get(fd).map_err(now)?;
            let names_nothing =
                (request.buffer, request.offset, request.len, request.rw_flags) == (0, 0, 0, 0);
            if !names_nothing || !matches!(file.body(), FileBody::Node(..)) {
                return Err(now(Errno::EINVAL));
            }
            attrs::sync_file(cx, &file).map_err(Refused::Later)
        }
        _ => Err(now(Errno::EINVAL)),
    }
}

fn io_cancel(cx: &mut Cx<'_>, number: u64, request: UserPtr<Iocb>, _result: UserAddr) -> SysResult {
    let key = request.addr().checked_add(KEY_OFFSET).ok_or(Errno::EFAULT)?;
    if cx.user().read(UserPtr::<u32>::new(key))? != KEY {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.aio_context(number)?;
    // Whatever was submitted has ended: there is nothing of that name to cancel.
    Err(Errno::EINVAL.into())
}

fn fetch(
    cx: &Cx<'_>,
    number: u64,
    least: i64,
    most: i64,
    events: UserPtr<AioEvent>,
    timeout: Option<Timespec>,
) -> SysResult {
    let context = cx.mm.aio_context(number)?;
    let (Ok(least), Ok(most)) = (usize::try_from(least), usize::try_from(most)) else {
        return Err(Errno::EINVAL.into());
    };
    if least > most {
        return Err(Errno::EINVAL.into());
    }
    let deadline_ns = timeout.map(|time| cx.sleeper.now_ns().saturating_add(time.to_ns().unwrap_or(0)));
    let most = most.min(context.room());
    let found = context.fetch(&cx.waiter(), least, most, deadline_ns).map_err(|errno| match errno {
        Some(errno) => Failure::Errno(errno),
        None => Failure::Interrupted,
    })?;
    for (index, event) in found.iter().enumerate() {
        if let Err(errno) = events.element(index).and_then(|at| cx.user().write(at, event)) {
            context.put_back(found.get(index..).unwrap_or_default());
            return if index > 0 { Ok(index) } else { Err(errno.into()) };
        }
    }
    Ok(found.len())
}

fn io_getevents(
    cx: &mut Cx<'_>,
    number: u64,
    least: i64,
    most: i64,
    events: UserPtr<AioEvent>,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let timeout = timeout.non_null().map(|timeout| cx.user().read(timeout)).transpose()?;
    fetch(cx, number, least, most, events, timeout)
}

/// The last argument points to a mask and its size.
fn io_pgetevents(
    cx: &mut Cx<'_>,
    number: u64,
    least: i64,
    most: i64,
    events: UserPtr<AioEvent>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    let timeout = timeout.non_null().map(|timeout| cx.user().read(timeout)).transpose()?;
    if let Some(mask) = mask.non_null() {
        let [at, size] = cx.user().read(mask)?;
        let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
        descriptor::temporary_mask(cx, UserPtr::new(UserAddr::new(at)), size)?;
    }
    fetch(cx, number, least, most, events, timeout)
}
