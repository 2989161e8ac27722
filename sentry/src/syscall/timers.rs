//! alarm, getitimer, setitimer, timer_create, timer_settime, timer_gettime, timer_getoverrun, timer_delete.

use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::abi::time::{Itimerspec, Itimerval, NS_PER_SEC, Timespec, Timeval};
use crate::signal::Signal;
use crate::time::ClockId;
use crate::time::clock::CpuClock;
use crate::time::process::{Base, First, Notify, Setting, Which};
use crate::user::UserPtr;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(36, "getitimer", 2, getitimer, Restart::Never, Support::Full),
    row!(37, "alarm", 1, alarm, Restart::Never, Support::Full),
    row!(38, "setitimer", 3, setitimer, Restart::Never, Support::Full),
    row!(
        222,
        "timer_create",
        3,
        timer_create,
        Restart::Never,
        Support::Partial("CPU clocks of the caller only")
    ),
    row!(223, "timer_settime", 4, timer_settime, Restart::Never, Support::Full),
    row!(224, "timer_gettime", 2, timer_gettime, Restart::Never, Support::Full),
    row!(225, "timer_getoverrun", 1, timer_getoverrun, Restart::Never, Support::Full),
    row!(226, "timer_delete", 1, timer_delete, Restart::Never, Support::Full),
];

fn to_itimerval(setting: Setting) -> Itimerval {
    // A timer that is set never reads as stopped.
    let remaining_ns = if setting.remaining_ns > 0 { setting.remaining_ns.max(1000) } else { 0 };
    Itimerval { interval: Timeval::from_ns(setting.interval_ns), value: Timeval::from_ns(remaining_ns) }
}

fn to_itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_ns(setting.interval_ns),
        value: Timespec::from_ns(setting.remaining_ns),
    }
}

fn set(cx: &Cx<'_>, which: Which, value_ns: u64, interval_ns: u64) -> Result<Setting, Errno> {
    let process = cx.task.process();
    if value_ns == 0 && process.timers.existing(which).is_none() {
        return Ok(Setting::default());
    }
    process.timers.interval(process, which)?.set(cx.sleeper, value_ns, interval_ns, First::After)
}

fn getitimer(cx: &mut Cx<'_>, which: i32, to: UserPtr<Itimerval>) -> SysResult {
    let timer = cx.task.process().timers.existing(Which::new(which)?);
    let setting = timer.map_or(Ok(Setting::default()), |timer| timer.get(cx.sleeper))?;
    cx.user().write(to, &to_itimerval(setting))?;
    Ok(0)
}

fn setitimer(cx: &mut Cx<'_>, which: i32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>) -> SysResult {
    // Linux takes a null pointer as a timer to be stopped.
    let new = new.non_null().map_or(Ok(Itimerval::default()), |new| cx.user().read(new))?;
    let (value_ns, interval_ns) = (new.value.to_ns()?, new.interval.to_ns()?);
    let which = Which::new(which)?;
    let before = set(cx, which, value_ns, interval_ns)?;
    cx.user().write_if(old, &to_itimerval(before))?;
    Ok(0)
}

fn alarm(cx: &mut Cx<'_>, seconds: u32) -> SysResult {
    let before = set(cx, Which::Real, u64::from(seconds) * NS_PER_SEC, 0)?;
    let (whole, rest) = (before.remaining_ns / NS_PER_SEC, before.remaining_ns % NS_PER_SEC);
    let up = rest >= NS_PER_SEC / 2 || (whole == 0 && rest > 0);
    usize::try_from(whole + u64::from(up)).map_err(|_| Errno::EOVERFLOW.into())
}

/// `struct sigevent`: value, signal, notification, thread, and room.
type SigEvent = [u64; 8];

fn notification(cx: &Cx<'_>, event: SigEvent) -> Result<Notify, Errno> {
    const SIGNAL: u32 = 0;
    const NONE: u32 = 1;
    const THREAD: u32 = 2;
    const THREAD_ID: u32 = 4;
    let [value, numbers, thread, ..] = event;
    let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
    let (signal, kind, tid) = (low(numbers), low(numbers >> 32), low(thread));
    match kind {
        NONE => Ok(Notify::None),
        SIGNAL | THREAD => Ok(Notify::Signal { signal: Signal::new(signal)?, value, thread: None }),
        THREAD_ID => {
            let task = cx.task.find_task(tid).ok_or(Errno::EINVAL)?;
            if task.pid() != cx.task.pid() {
                return Err(Errno::EINVAL);
            }
            Ok(Notify::Signal { signal: Signal::new(signal)?, value, thread: Some(task.tid()) })
        }
        _ => Err(Errno::EINVAL),
    }
}

fn timer_create(cx: &mut Cx<'_>, clock: i32, event: UserPtr<SigEvent>, id: UserPtr<i32>) -> SysResult {
    let event = event.non_null().map(|event| cx.user().read(event)).transpose()?;
    let base = match ClockId::new(clock)? {
        ClockId::System(clock) | ClockId::Alarm(clock) => Base::System(clock),
        ClockId::Cpu(CpuClock::Process(0)) => Base::ProcessCpu,
        ClockId::Cpu(CpuClock::Thread(0)) => Base::ThreadCpu(cx.task.tid()),
        ClockId::Coarse(_) => return Err(Errno::EOPNOTSUPP.into()),
        ClockId::Cpu(_) => return Err(Errno::EINVAL.into()),
    };
    let notify = event.map(|event| notification(cx, event)).transpose()?;
    let process = cx.task.process();
    let number = process.timers.create(process, base, |id| {
        let value = u64::from(id.cast_unsigned());
        notify.unwrap_or(Notify::Signal { signal: Signal::ALRM, value, thread: None })
    })?;
    if let Err(errno) = cx.user().write(id, &number) {
        process.timers.delete(number)?;
        return Err(errno.into());
    }
    Ok(0)
}

fn timer_settime(
    cx: &mut Cx<'_>,
    id: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    let new = cx.user().read(new)?;
    let (value_ns, interval_ns) = (new.value.to_ns()?, new.interval.to_ns()?);
    let first = if flags & ABSOLUTE != 0 { First::At } else { First::After };
    let before = cx.task.process().timers.posix(id)?.set(cx.sleeper, value_ns, interval_ns, first)?;
    cx.user().write_if(old, &to_itimerspec(before))?;
    Ok(0)
}

fn timer_gettime(cx: &mut Cx<'_>, id: i32, to: UserPtr<Itimerspec>) -> SysResult {
    let setting = cx.task.process().timers.posix(id)?.get(cx.sleeper)?;
    cx.user().write(to, &to_itimerspec(setting))?;
    Ok(0)
}

fn timer_getoverrun(cx: &mut Cx<'_>, id: i32) -> SysResult {
    let overrun = cx.task.process().timers.posix(id)?.overrun();
    usize::try_from(overrun).map_err(|_| Errno::EINVAL.into())
}

fn timer_delete(cx: &mut Cx<'_>, id: i32) -> SysResult {
    cx.task.process().timers.delete(id)?;
    Ok(0)
}
