//! clock_gettime, clock_getres, clock_settime, clock_nanosleep, nanosleep, gettimeofday, settimeofday, time, adjtimex,
//! clock_adjtime.

use super::descriptor;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, SysResult};
use crate::abi::Errno;
use crate::abi::time::{Timespec, Timeval};
use crate::platform;
use crate::time::ClockId;
use crate::time::clock::{CpuClock, SystemClock};
use crate::user::UserPtr;
use chitin_core::sleep::Woken;

const ONE_CLOCK: &str = "the clock of the sandbox cannot be set: EPERM";

const READ_ONLY: &str = "tells that the clock is not steered; adjusting it is EPERM";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(35, "nanosleep", 2, nanosleep, Restart::Remaining, Support::Full),
    row!(96, "gettimeofday", 2, gettimeofday, Restart::Never, Support::Full),
    row!(159, "adjtimex", 1, adjtimex, Restart::Never, Support::Partial(READ_ONLY)),
    row!(305, "clock_adjtime", 2, clock_adjtime, Restart::Never, Support::Partial(READ_ONLY)),
    row!(164, "settimeofday", 2, settimeofday, Restart::Never, Support::Partial(ONE_CLOCK)),
    row!(201, "time", 1, time, Restart::Never, Support::Full),
    row!(227, "clock_settime", 2, clock_settime, Restart::Never, Support::Partial(ONE_CLOCK)),
    row!(228, "clock_gettime", 2, clock_gettime, Restart::Never, Support::Full),
    row!(229, "clock_getres", 2, clock_getres, Restart::Never, Support::Full),
    row!(230, "clock_nanosleep", 4, clock_nanosleep, Restart::Remaining, Support::Full),
];

/// Time of a clock.
///
/// # Errors
/// `EINVAL` for a CPU clock of a task that is not there.
pub(super) fn now_ns(cx: &Cx<'_>, clock: ClockId) -> Result<u64, Errno> {
    match clock {
        ClockId::System(clock) | ClockId::Coarse(clock) | ClockId::Alarm(clock) => {
            Ok(clock.now_ns(cx.sleeper))
        }
        ClockId::Cpu(clock) => descriptor::cpu_time_ns(cx, clock),
    }
}

fn clock_gettime(cx: &mut Cx<'_>, clock: i32, to: UserPtr<Timespec>) -> SysResult {
    let now_ns = now_ns(cx, ClockId::new(clock)?)?;
    cx.user().write(to, &Timespec::from_ns(now_ns))?;
    Ok(0)
}

fn clock_getres(cx: &mut Cx<'_>, clock: i32, to: UserPtr<Timespec>) -> SysResult {
    let clock = ClockId::new(clock)?;
    if let ClockId::Cpu(CpuClock::Process(1..) | CpuClock::Thread(1..)) = clock {
        now_ns(cx, clock)?;
    }
    cx.user().write_if(to, &Timespec::from_ns(clock.resolution_ns()))?;
    Ok(0)
}

fn clock_settime(cx: &mut Cx<'_>, clock: i32, from: UserPtr<Timespec>) -> SysResult {
    let clock = ClockId::new(clock)?;
    cx.user().read(from)?.to_ns()?;
    match clock {
        ClockId::System(SystemClock::Realtime) => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn settimeofday(cx: &mut Cx<'_>, time: UserPtr<Timeval>, zone: UserPtr<[i32; 2]>) -> SysResult {
    if let Some(time) = time.non_null() {
        cx.user().read(time)?.to_ns()?;
    }
    if let Some(zone) = zone.non_null() {
        cx.user().read(zone)?;
    }
    Err(Errno::EPERM.into())
}

fn gettimeofday(cx: &mut Cx<'_>, time: UserPtr<Timeval>, zone: UserPtr<[i32; 2]>) -> SysResult {
    cx.user().write_if(time, &Timeval::from_ns(platform::get().realtime_ns()))?;
    cx.user().write_if(zone, &[0, 0])?;
    Ok(0)
}

fn time(cx: &mut Cx<'_>, to: UserPtr<i64>) -> SysResult {
    let seconds = platform::get().realtime_ns() / crate::abi::time::NS_PER_SEC;
    cx.user().write_if(to, &seconds.cast_signed())?;
    usize::try_from(seconds).map_err(|_| Errno::EOVERFLOW.into())
}

/// Sleeps until `deadline_ns`; for a relative sleep tells what is left when a signal comes first.
fn sleep(cx: &Cx<'_>, deadline_ns: u64, remaining: Option<UserPtr<Timespec>>) -> SysResult {
    loop {
        match cx.waiter().park(Some(deadline_ns)) {
            Woken::Ready => {}
            Woken::TimedOut => return Ok(0),
            Woken::Interrupted => {
                let left = deadline_ns.saturating_sub(cx.sleeper.now_ns());
                if left == 0 {
                    return Ok(0);
                }
                if let Some(remaining) = remaining {
                    cx.user().write_if(remaining, &Timespec::from_ns(left))?;
                }
                return Err(Failure::Interrupted);
            }
        }
    }
}

fn nanosleep(cx: &mut Cx<'_>, time: UserPtr<Timespec>, remaining: UserPtr<Timespec>) -> SysResult {
    let time_ns = cx.user().read(time)?.to_ns()?;
    let deadline_ns = cx.deadline(Some(time_ns)).unwrap_or(u64::MAX);
    sleep(cx, deadline_ns, Some(remaining))
}

fn clock_nanosleep(
    cx: &mut Cx<'_>,
    clock: i32,
    flags: u32,
    time: UserPtr<Timespec>,
    remaining: UserPtr<Timespec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    let clock = ClockId::new(clock)?;
    let clock = match clock {
        ClockId::System(clock) | ClockId::Alarm(clock) => clock,
        ClockId::Coarse(_) => return Err(Errno::EOPNOTSUPP.into()),
        // Linux: the clock of the calling thread cannot be slept on, those of others are refused.
        ClockId::Cpu(CpuClock::Thread(0)) => return Err(Errno::EOPNOTSUPP.into()),
        ClockId::Cpu(CpuClock::Thread(_)) => return Err(Errno::EINVAL.into()),
        ClockId::Cpu(CpuClock::Process(_)) => return cpu_nanosleep(cx, clock, flags & ABSOLUTE != 0, time),
    };
    let time_ns = cx.user().read(time)?.to_ns()?;
    if flags & ABSOLUTE != 0 {
        return sleep(cx, clock.deadline(cx.sleeper, time_ns), None);
    }
    let deadline_ns = cx.deadline(Some(time_ns)).unwrap_or(u64::MAX);
    sleep(cx, deadline_ns, Some(remaining))
}

/// Sleeps until a process has used CPU time: looks whenever as much wall time as is missing has passed.
fn cpu_nanosleep(cx: &Cx<'_>, clock: ClockId, absolute: bool, time: UserPtr<Timespec>) -> SysResult {
    let time_ns = cx.user().read(time)?.to_ns()?;
    let start = now_ns(cx, clock)?;
    let target = if absolute { time_ns } else { start.saturating_add(time_ns) };
    loop {
        let missing = target.saturating_sub(now_ns(cx, clock)?);
        if missing == 0 {
            return Ok(0);
        }
        // Never shorter than 0.1 ms, so that a sleeping process costs nothing.
        let look_again = cx.sleeper.now_ns().saturating_add(missing.max(100_000));
        if cx.waiter().park(Some(look_again)) == Woken::Interrupted {
            return Err(Failure::Interrupted);
        }
    }
}

/// `struct timex` in words of 64 bits.
type Timex = [u64; 26];

fn adjtimex(cx: &mut Cx<'_>, at: UserPtr<Timex>) -> SysResult {
    clock_adjtime(cx, 0, at)
}

fn clock_adjtime(cx: &mut Cx<'_>, clock: i32, at: UserPtr<Timex>) -> SysResult {
    const STA_UNSYNC: u64 = 0x40;
    const TIME_ERROR: usize = 5;
    match ClockId::new(clock)? {
        ClockId::System(SystemClock::Realtime | SystemClock::Tai) => {}
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    let mut timex = cx.user().read(at)?;
    if timex.first().is_some_and(|modes| modes & 0xffff_ffff & !0x8000 != 0) {
        return Err(Errno::EPERM.into());
    }
    let now = Timeval::from_ns(platform::get().realtime_ns());
    // offset, freq, maxerror, esterror, status, constant, precision, tolerance, time, tick.
    let words = [
        0,
        0,
        16_000_000,
        16_000_000,
        STA_UNSYNC,
        2,
        1,
        32_768_000,
        now.sec.cast_unsigned(),
        now.usec.cast_unsigned(),
        10_000,
    ];
    timex.iter_mut().skip(1).zip(words).for_each(|(to, from)| *to = from);
    timex.iter_mut().skip(12).for_each(|word| *word = 0);
    cx.user().write(at, &timex)?;
    Ok(TIME_ERROR)
}
