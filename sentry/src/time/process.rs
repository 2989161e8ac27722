//! [`ProcessTimers`]: the interval timers (setitimer(2)) and POSIX timers (timer_create(2)) of a process.
//!
//! Clocks of CPU time cannot call anybody: a timer on one asks the worker to look when the missing time may have been used
//! at the earliest, and again until it has. Lock order: the process's table ([`LEVEL`]), then one timer's state; the
//! process's own locks (30 and below 60) are taken before or after, never below these.

use super::clock::SystemClock;
use super::{Expire, Schedule, Timer};
use crate::abi::Errno;
use crate::signal::{From, Origin, SigInfo, Signal, code, send_to_task};
use crate::task::{Process, Task};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;

/// Level of the table of a process's timers.
pub const LEVEL: Level = Level(142);
/// Level of the state of one timer.
const STATE_LEVEL: Level = Level(143);

/// POSIX timers of one process.
const MAX_TIMERS: usize = 4096;

/// CPU time is looked at no more often than this.
const LOOK_NS: u64 = 1_000_000;

/// Which interval timer (`ITIMER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Wall time, SIGALRM.
    Real,
    /// User CPU time, SIGVTALRM.
    Virtual,
    /// CPU time, SIGPROF.
    Prof,
}

impl Which {
    /// From `ITIMER_*`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(number: i32) -> Result<Self, Errno> {
        Ok(match number {
            0 => Self::Real,
            1 => Self::Virtual,
            2 => Self::Prof,
            _ => return Err(Errno::EINVAL),
        })
    }
}

/// What a timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A clock of the system; deadlines are kept in monotonic time.
    System(SystemClock),
    /// User CPU time of the process.
    UserCpu,
    /// CPU time of the process.
    ProcessCpu,
    /// CPU time of a thread.
    ThreadCpu(u32),
}

/// What happens when a POSIX timer expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nothing.
    None,
    /// A signal to the process, or to one of its threads.
    Signal {
        /// Which one.
        signal: Signal,
        /// Its value.
        value: u64,
        /// The thread, if it is for one.
        thread: Option<u32>,
    },
}

#[derive(Clone, Copy)]
enum Action {
    Interval(Signal),
    Posix(i32, Notify),
}

struct State {
    /// In the time of the timer's base.
    schedule: Schedule,
    timer: Timer,
    /// Expirations beyond the one that the last signal told of.
    overrun: u64,
}

/// One timer of a process.
pub struct ProcessTimer {
    process: Weak<Process>,
    base: Base,
    action: Action,
    state: SpinLock<State>,
}

impl ProcessTimer {
    fn new(process: &Arc<Process>, base: Base, action: Action) -> Result<Arc<Self>, Errno> {
        Timer::prepare()?;
        let process = Arc::downgrade(process);
        Ok(Arc::new_cyclic(|me: &Weak<Self>| {
            let timer = Timer::new(me.clone());
            let state = State { schedule: Schedule::default(), timer, overrun: 0 };
            Self { process, base, action, state: SpinLock::new(STATE_LEVEL, state) }
        }))
    }

    /// Time of the base; `monotonic_ns` is the time now.
    fn now(&self, process: &Process, monotonic_ns: u64) -> u64 {
        let usage = match self.base {
            Base::System(_) => return monotonic_ns,
            Base::UserCpu => return process.usage().user_ns,
            Base::ProcessCpu => process.usage(),
            Base::ThreadCpu(tid) => process.container.task(tid).map(|task| task.usage()).unwrap_or_default(),
        };
        usage.user_ns.saturating_add(usage.system_ns)
    }

    /// When to look next.
    fn arm(&self, state: &mut State, threads: usize, now: u64, monotonic_ns: u64) {
        let deadline_ns = state.schedule.next_ns.map(|next| match self.base {
            Base::System(_) => next,
            _ => {
                let missing = next.saturating_sub(now) / (threads.max(1) as u64);
                monotonic_ns.saturating_add(missing.max(LOOK_NS))
            }
        });
        state.timer.set(deadline_ns);
    }

    /// Sets or stops it; returns the old setting. `absolute` says that the first expiration is a time, not a distance.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended.
    pub fn set(
        &self,
        sleeper: &Sleeper,
        value_ns: u64,
        interval_ns: u64,
        absolute: First,
    ) -> Result<Setting, Errno> {
        let process = self.process.upgrade().ok_or(Errno::ESRCH)?;
        let monotonic_ns = sleeper.now_ns();
        let (now, threads) = (self.now(&process, monotonic_ns), process.threads().len());
        let next = match (absolute, self.base) {
            (First::After, _) => now.saturating_add(value_ns),
            (First::At, Base::System(clock)) => clock.deadline(sleeper, value_ns),
            (First::At, _) => value_ns,
        };
        let mut state = self.state.lock();
        let old = Setting::of(&state.schedule, now);
        state.schedule = Schedule { next_ns: (value_ns > 0).then_some(next), interval_ns };
        state.overrun = 0;
        self.arm(&mut state, threads, now, monotonic_ns);
        Ok(old)
    }

    /// The setting now.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended.
    pub fn get(&self, sleeper: &Sleeper) -> Result<Setting, Errno> {
        let process = self.process.upgrade().ok_or(Errno::ESRCH)?;
        let now = self.now(&process, sleeper.now_ns());
        Ok(Setting::of(&self.state.lock().schedule, now))
    }

    /// Expirations that the last signal did not tell of (timer_getoverrun(2)).
    #[must_use]
    pub fn overrun(&self) -> i32 {
        i32::try_from(self.state.lock().overrun).unwrap_or(i32::MAX)
    }

    fn tell(&self, process: &Arc<Process>, ticks: u64) {
        let (id, notify) = match self.action {
            Action::Interval(signal) => {
                let _ = process.send(SigInfo::kernel(signal));
                return;
            }
            Action::Posix(id, notify) => (id, notify),
        };
        let Notify::Signal { signal, value, thread } = notify else { return };
        let target: Option<Arc<Task>> = thread.and_then(|tid| process.container.task(tid));
        // One signal of a timer is queued at a time; further expirations are counted.
        let queued = match &target {
            Some(task) => task.signals.lock().pending.has_timer(id),
            None => process.state().pending.has_timer(id),
        };
        let overrun = {
            let mut state = self.state.lock();
            state.overrun = if queued { state.overrun.saturating_add(ticks) } else { ticks - 1 };
            i32::try_from(state.overrun).unwrap_or(i32::MAX)
        };
        if queued {
            return;
        }
        let info =
            SigInfo { signal, errno: 0, code: code::TIMER, origin: Origin::Timer { id, overrun, value } };
        let _ = match target {
            Some(task) => send_to_task(&task, info, From::Inside),
            None if thread.is_some() => Ok(()),
            None => process.send(info),
        };
    }
}

impl Expire for ProcessTimer {
    fn expired(&self, now_ns: u64) {
        let Some(process) = self.process.upgrade() else { return };
        let (now, threads) = (self.now(&process, now_ns), process.threads().len());
        let mut state = self.state.lock();
        let ticks = state.schedule.advance(now);
        self.arm(&mut state, threads, now, now_ns);
        drop(state);
        if ticks > 0 {
            self.tell(&process, ticks);
        }
    }
}

/// How the first expiration is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// So long after now.
    After,
    /// At that time of the clock.
    At,
}

/// Time left and period, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// To the next expiration, 0 when the timer is stopped.
    pub remaining_ns: u64,
    /// Period, 0 for once.
    pub interval_ns: u64,
}

impl Setting {
    fn of(schedule: &Schedule, now: u64) -> Self {
        let mut schedule = *schedule;
        schedule.advance(now);
        Self { remaining_ns: schedule.remaining_ns(now), interval_ns: schedule.interval_ns }
    }
}

#[derive(Default)]
struct Table {
    intervals: [Option<Arc<ProcessTimer>>; 3],
    posix: BTreeMap<i32, Arc<ProcessTimer>>,
    next_id: i32,
}

/// The timers of a process.
pub struct ProcessTimers(SpinLock<Table>);

impl ProcessTimers {
    /// None set, as after fork(2).
    #[must_use]
    pub fn new() -> Self {
        Self(SpinLock::new(LEVEL, Table::default()))
    }

    /// An interval timer, made when it is first set.
    ///
    /// # Errors
    /// `EAGAIN` when the timers' worker cannot be started.
    pub fn interval(&self, process: &Arc<Process>, which: Which) -> Result<Arc<ProcessTimer>, Errno> {
        let (index, base, signal) = match which {
            Which::Real => (0, Base::System(SystemClock::Monotonic), Signal::ALRM),
            Which::Virtual => (1, Base::UserCpu, Signal::VTALRM),
            Which::Prof => (2, Base::ProcessCpu, Signal::PROF),
        };
        if let Some(timer) = self.existing(which) {
            return Ok(timer);
        }
        let fresh = ProcessTimer::new(process, base, Action::Interval(signal))?;
        let mut table = self.0.lock();
        let slot = table.intervals.get_mut(index).ok_or(Errno::EINVAL)?;
        Ok(slot.get_or_insert(fresh).clone())
    }

    /// An interval timer, if it was ever set.
    #[must_use]
    pub fn existing(&self, which: Which) -> Option<Arc<ProcessTimer>> {
        self.0.lock().intervals.get(which as usize).cloned().flatten()
    }

    /// Makes a POSIX timer; `notify` is told its id.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many.
    pub fn create(
        &self,
        process: &Arc<Process>,
        base: Base,
        notify: impl FnOnce(i32) -> Notify,
    ) -> Result<i32, Errno> {
        let id = {
            let mut table = self.0.lock();
            if table.posix.len() >= MAX_TIMERS {
                return Err(Errno::EAGAIN);
            }
            let mut id = table.next_id;
            while table.posix.contains_key(&id) {
                id = id.checked_add(1).unwrap_or(0);
            }
            table.next_id = id.checked_add(1).unwrap_or(0);
            id
        };
        let timer = ProcessTimer::new(process, base, Action::Posix(id, notify(id)))?;
        self.0.lock().posix.insert(id, timer);
        Ok(id)
    }

    /// A POSIX timer.
    ///
    /// # Errors
    /// `EINVAL` when there is none of that id.
    pub fn posix(&self, id: i32) -> Result<Arc<ProcessTimer>, Errno> {
        self.0.lock().posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// Deletes a POSIX timer.
    ///
    /// # Errors
    /// `EINVAL` when there is none of that id.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.0.lock().posix.remove(&id).ok_or(Errno::EINVAL)?;
        timer.state.lock().timer.set(None);
        Ok(())
    }

    /// Deletes all POSIX timers: execve(2) does. Interval timers stay.
    pub fn delete_posix(&self) {
        let timers = core::mem::take(&mut self.0.lock().posix);
        timers.values().for_each(|timer| timer.state.lock().timer.set(None));
    }
}

impl Default for ProcessTimers {
    fn default() -> Self {
        Self::new()
    }
}
