//! Timers behind descriptors (timerfd_create(2)).

use crate::abi::Errno;
use crate::abi::time::Itimerspec;
use crate::fs::eventfd::put_whole;
use crate::fs::{Attr, Stream, anon};
use crate::time::clock::SystemClock;
use crate::time::{Expire, Schedule, Timer};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::fmt::Write;

/// Level of a timer's lock.
pub const LEVEL: Level = Level(145);

struct State {
    schedule: Schedule,
    /// Expirations since the last read.
    ticks: u64,
    /// Those of the last setting, as they are told.
    flags: u32,
    timer: Timer,
}

/// A timer behind a descriptor.
pub struct TimerFd {
    clock: SystemClock,
    state: SpinLock<State>,
    ticked: WaitQueue,
    ino: u64,
}

/// How the first expiration of a setting is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// So much after now.
    Relative,
    /// At that time of the clock.
    Absolute,
}

impl TimerFd {
    /// A timer that is not set.
    ///
    /// # Errors
    /// As [`Timer::prepare`].
    pub fn new(clock: SystemClock) -> Result<Arc<Self>, Errno> {
        Timer::prepare()?;
        Ok(Arc::new_cyclic(|me: &Weak<Self>| {
            let timer = Timer::new(me.clone());
            Self {
                clock,
                state: SpinLock::new(
                    LEVEL,
                    State { schedule: Schedule::default(), ticks: 0, flags: 0, timer },
                ),
                ticked: WaitQueue::new(),
                ino: anon::next_ino(),
            }
        }))
    }

    /// Sets or stops it; returns the setting before (timerfd_settime(2)).
    ///
    /// # Errors
    /// `EINVAL` for times that are not valid.
    pub fn set(&self, sleeper: &Sleeper, first: First, new: &Itimerspec) -> Result<Itimerspec, Errno> {
        let now_ns = sleeper.now_ns();
        let schedule = Schedule::from_itimerspec(new, |value| match first {
            First::Relative => now_ns.saturating_add(value),
            First::Absolute => self.clock.deadline(sleeper, value),
        })?;
        let mut state = self.state.lock();
        let mut before = state.schedule;
        before.advance(now_ns);
        state.schedule = schedule;
        state.ticks = 0;
        state.flags = u32::from(first == First::Absolute);
        state.timer.set(schedule.next_ns);
        Ok(before.to_itimerspec(now_ns))
    }

    /// The setting, with the time left (timerfd_gettime(2)).
    #[must_use]
    pub fn get(&self, sleeper: &Sleeper) -> Itimerspec {
        let now_ns = sleeper.now_ns();
        let mut schedule = self.state.lock().schedule;
        schedule.advance(now_ns);
        schedule.to_itimerspec(now_ns)
    }
}

impl Expire for TimerFd {
    fn expired(&self, now_ns: u64) {
        let mut state = self.state.lock();
        let ticks = state.schedule.advance(now_ns);
        state.ticks = state.ticks.saturating_add(ticks);
        let next = state.schedule.next_ns;
        state.timer.set(next);
        drop(state);
        if ticks > 0 {
            self.ticked.wake_all();
        }
    }
}

impl Stream for TimerFd {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        if to.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.state.lock();
        if state.ticks == 0 {
            return Err(Stop::WouldBlock);
        }
        put_whole(to, &state.ticks.to_ne_bytes())?;
        state.ticks = 0;
        Ok(8)
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.ticked);
        }
        if self.state.lock().ticks > 0 { PollMask::IN } else { PollMask::empty() }
    }

    fn fdinfo(&self, out: &mut String) {
        let (mut schedule, ticks, flags) = {
            let state = self.state.lock();
            (state.schedule, state.ticks, state.flags)
        };
        let now_ns = chitin_core::hooks::now_ns();
        schedule.advance(now_ns);
        let Itimerspec { interval, value } = schedule.to_itimerspec(now_ns);
        let _ = write!(out, "clockid: {}\nticks: {ticks}\nsettime flags: 0{flags:o}\n", self.clock.number());
        let _ = writeln!(out, "it_value: ({}, {})", value.sec, value.nsec);
        let _ = writeln!(out, "it_interval: ({}, {})", interval.sec, interval.nsec);
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[timerfd]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
