//! epoll_create, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, epoll_pwait2.

use super::descriptor::{self, CLOEXEC, READ_WRITE};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timespec;
use crate::fs::FileBody;
use crate::fs::epoll::{self, Epoll, Interest};
use crate::fs::stream::StreamKind;
use crate::user::UserPtr;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(213, "epoll_create", 1, epoll_create, Restart::Never, Support::Full),
    row!(291, "epoll_create1", 1, epoll_create1, Restart::Never, Support::Full),
    row!(233, "epoll_ctl", 4, epoll_ctl, Restart::Never, Support::Full),
    row!(232, "epoll_wait", 4, epoll_wait, Restart::Never, Support::Full),
    row!(281, "epoll_pwait", 6, epoll_pwait, Restart::Never, Support::Full),
    row!(441, "epoll_pwait2", 6, epoll_pwait2, Restart::Never, Support::Full),
];

/// `struct epoll_event`, which is packed: 4 bytes of events, 8 of data.
type RawEvent = [u8; 12];

fn epoll_create(cx: &mut Cx<'_>, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    epoll_create1(cx, 0)
}

fn epoll_create1(cx: &mut Cx<'_>, flags: u32) -> SysResult {
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    descriptor::number(descriptor::install(cx, Epoll::new(), flags | READ_WRITE)?)
}

fn epoll_ctl(cx: &mut Cx<'_>, epfd: Fd, operation: i32, fd: Fd, event: UserPtr<RawEvent>) -> SysResult {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    const MOD: i32 = 3;
    let interest = if operation == DEL {
        Interest { events: 0, data: 0 }
    } else {
        let [e0, e1, e2, e3, data @ ..] = cx.user().read(event)?;
        Interest { events: u32::from_ne_bytes([e0, e1, e2, e3]), data: u64::from_ne_bytes(data) }
    };
    let instance = descriptor::file(cx, epfd)?;
    let file = descriptor::file(cx, fd)?;
    // Memory devices have nothing to wait for either.
    let is_awaitable =
        matches!(file.body(), FileBody::Stream(..)) && file.stream_kind() != StreamKind::Memory;
    if !is_awaitable {
        return Err(Errno::EPERM.into());
    }
    let instance = epoll::of(&instance)?;
    match operation {
        ADD => instance.add(fd.0, &file, interest)?,
        DEL => instance.remove(fd.0, &file)?,
        MOD => instance.modify(fd.0, &file, interest)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn wait(cx: &Cx<'_>, epfd: Fd, events: UserPtr<RawEvent>, max: i32, deadline_ns: Option<u64>) -> SysResult {
    let max = usize::try_from(max).ok().filter(|max| (1..=i32::MAX as usize / 12).contains(max));
    let max = max.ok_or(Errno::EINVAL)?;
    if !events.addr().is_range(12 * max as u64) {
        return Err(Errno::EFAULT.into());
    }
    let file = descriptor::file(cx, epfd)?;
    let instance = epoll::of(&file)?;
    let mut give = |index: usize, (ready, data): epoll::Event| {
        let mut raw: RawEvent = [0; 12];
        let (first, second) = raw.split_at_mut(4);
        first.copy_from_slice(&ready.to_ne_bytes());
        second.copy_from_slice(&data.to_ne_bytes());
        cx.user().write(events.element(index)?, &raw)
    };
    let given = instance.wait(&cx.waiter(), max, deadline_ns, &mut give);
    Ok(given.map_err(|_| Failure::Interrupted)??)
}

fn deadline(cx: &Cx<'_>, timeout_ms: i32) -> Option<u64> {
    let timeout_ms = u64::try_from(timeout_ms).ok()?;
    Some(cx.sleeper.now_ns().saturating_add(timeout_ms * 1_000_000))
}

fn epoll_wait(cx: &mut Cx<'_>, epfd: Fd, events: UserPtr<RawEvent>, max: i32, timeout_ms: i32) -> SysResult {
    let deadline_ns = deadline(cx, timeout_ms);
    wait(cx, epfd, events, max, deadline_ns)
}

fn epoll_pwait(
    cx: &mut Cx<'_>,
    epfd: Fd,
    events: UserPtr<RawEvent>,
    max: i32,
    timeout_ms: i32,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let deadline_ns = deadline(cx, timeout_ms);
    descriptor::temporary_mask(cx, mask, mask_size)?;
    wait(cx, epfd, events, max, deadline_ns)
}

fn epoll_pwait2(
    cx: &mut Cx<'_>,
    epfd: Fd,
    events: UserPtr<RawEvent>,
    max: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    let deadline_ns = match timeout.non_null() {
        Some(timeout) => Some(cx.sleeper.now_ns().saturating_add(cx.user().read(timeout)?.to_ns()?)),
        None => None,
    };
    descriptor::temporary_mask(cx, mask, mask_size)?;
    wait(cx, epfd, events, max, deadline_ns)
}
