//! eventfd, eventfd2, signalfd, signalfd4, timerfd_create, timerfd_settime, timerfd_gettime.

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_WRITE};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::time::Itimerspec;
use crate::fs::eventfd::{EventFd, Take};
use crate::fs::signalfd::SignalFd;
use crate::fs::timerfd::{First, TimerFd};
use crate::fs::{FileBody, OpenFile};
use crate::signal::SigSet;
use crate::signal::descriptor::TaskPending;
use crate::time::ClockId;
use crate::user::UserPtr;

const SEMAPHORE: u32 = 1;

const INHERITED: &str = "a descriptor inherited over fork reads its maker's signals";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(284, "eventfd", 1, eventfd, Restart::Never, Support::Full),
    row!(290, "eventfd2", 2, eventfd2, Restart::Never, Support::Full),
    row!(282, "signalfd", 3, signalfd, Restart::Never, Support::Partial(INHERITED)),
    row!(289, "signalfd4", 4, signalfd4, Restart::Never, Support::Partial(INHERITED)),
    row!(283, "timerfd_create", 2, timerfd_create, Restart::Never, Support::Full),
    row!(286, "timerfd_settime", 4, timerfd_settime, Restart::Never, Support::Full),
    row!(287, "timerfd_gettime", 2, timerfd_gettime, Restart::Never, Support::Full),
];

fn eventfd(cx: &mut Cx<'_>, count: u32) -> SysResult {
    eventfd2(cx, count, 0)
}

fn eventfd2(cx: &mut Cx<'_>, count: u32, flags: u32) -> SysResult {
    if flags & !(CLOEXEC | NONBLOCK | SEMAPHORE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let take = if flags & SEMAPHORE != 0 { Take::One } else { Take::All };
    let flags = (flags & !SEMAPHORE) | READ_WRITE;
    descriptor::number(descriptor::install(cx, EventFd::new(u64::from(count), take), flags)?)
}

/// Counts `count` more in an eventfd.
///
/// # Errors
/// `EINVAL` when it is none.
pub(super) fn add(file: &OpenFile, count: u64) -> Result<(), Errno> {
    let FileBody::Stream(stream, _) = file.body() else { return Err(Errno::EINVAL) };
    stream.as_any().downcast_ref::<EventFd>().ok_or(Errno::EINVAL)?.add(count);
    Ok(())
}

fn timerfd_create(cx: &mut Cx<'_>, clock: i32, flags: u32) -> SysResult {
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let clock = match (clock, ClockId::new(clock)?) {
        (0 | 1 | 7, ClockId::System(clock)) | (_, ClockId::Alarm(clock)) => clock,
        _ => return Err(Errno::EINVAL.into()),
    };
    descriptor::number(descriptor::install(cx, TimerFd::new(clock)?, flags | READ_WRITE)?)
}

fn with_timer<T>(file: &OpenFile, act: impl FnOnce(&TimerFd) -> Result<T, Errno>) -> Result<T, Errno> {
    let FileBody::Stream(stream, _) = file.body() else { return Err(Errno::EINVAL) };
    act(stream.as_any().downcast_ref().ok_or(Errno::EINVAL)?)
}

fn timerfd_settime(
    cx: &mut Cx<'_>,
    fd: Fd,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let new = cx.user().read(new)?;
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    new.value.to_ns()?;
    new.interval.to_ns()?;
    let first = if flags & ABSOLUTE != 0 { First::Absolute } else { First::Relative };
    let file = descriptor::file(cx, fd)?;
    let before = with_timer(&file, |timer| timer.set(cx.sleeper, first, &new))?;
    cx.user().write_if(old, &before)?;
    Ok(0)
}

fn timerfd_gettime(cx: &mut Cx<'_>, fd: Fd, current: UserPtr<Itimerspec>) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let setting = with_timer(&file, |timer| Ok(timer.get(cx.sleeper)))?;
    cx.user().write(current, &setting)?;
    Ok(0)
}

fn signalfd(cx: &mut Cx<'_>, fd: Fd, mask: UserPtr<u64>, size: usize) -> SysResult {
    signalfd4(cx, fd, mask, size, 0)
}

fn signalfd4(cx: &mut Cx<'_>, fd: Fd, mask: UserPtr<u64>, size: usize, flags: u32) -> SysResult {
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let set = SigSet(cx.user().read(mask)?).without(SigSet::UNBLOCKABLE).0;
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if fd.0 == -1 {
        let stream = SignalFd::new(TaskPending::new(cx.task), set);
        return descriptor::number(descriptor::install(cx, stream, flags | READ_WRITE)?);
    }
    let file = descriptor::file(cx, fd)?;
    let FileBody::Stream(stream, _) = file.body() else { return Err(Errno::EINVAL.into()) };
    stream.as_any().downcast_ref::<SignalFd>().ok_or(Errno::EINVAL)?.set_set(set);
    descriptor::number(fd)
}
