//! [`Process`]: a thread group.

use super::container::{Container, Usage};
use super::cpu_limit::CpuWatch;
use super::limits::Limits;
use super::namespaces::PidNamespace;
use super::{Task, Work};
use crate::abi::Errno;
use crate::signal::{Handlers, Queue, SigInfo, Signal};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{Shared, Sleeper};
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use core::task::Waker;

/// Level of the lock of a process's state.
pub const LEVEL: Level = Level(30);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By exit(2), with the low byte of its argument.
    Exited(u8),
    /// By a signal.
    Killed(Signal),
}

impl ExitStatus {
    /// As wait4(2) tells it.
    #[must_use]
    pub const fn wait_status(self) -> u32 {
        match self {
            Self::Exited(code) => (code as u32) << 8,
            Self::Killed(signal) => signal.number() as u32,
        }
    }

    /// As a shell tells it: the code, or 128 + signal.
    #[must_use]
    pub const fn shell_status(self) -> u32 {
        match self {
            Self::Exited(code) => code as u32,
            Self::Killed(signal) => 128 + signal.number() as u32,
        }
    }
}

/// A stop or continuation that a parent may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEvent {
    /// Stopped by a signal.
    Stopped(Signal),
    /// Continued by SIGCONT.
    Continued,
}

/// What changes together in a process.
#[derive(Default)]
pub struct ProcessState {
    /// Signals for any thread of the process.
    pub pending: Queue,
    /// Live threads.
    pub threads: Vec<Arc<Task>>,
    /// Every thread is to end, with this status for the process.
    pub exiting: Option<ExitStatus>,
    /// A thread that calls execve ends the others.
    pub replacing: Option<u32>,
    /// Stopped (or stopping) by this signal.
    pub stopped_by: Option<Signal>,
    /// Threads that have stopped.
    pub stopped: usize,
    /// The parent was told of the stop.
    pub stop_reported: bool,
    /// What a parent has not waited for yet.
    pub event: Option<StopEvent>,
    /// A continuation that the parent has not been told of yet.
    pub report_continue: bool,
    /// How the leader ended by exit(2); of account when nobody called exit_group(2).
    pub leader_status: Option<ExitStatus>,
    /// Set once it is a zombie.
    pub status: Option<ExitStatus>,
    /// Usage of ended threads.
    pub ended_threads: Usage,
    /// Usage of children that were waited for.
    pub waited_children: Usage,
}

impl ProcessState {
    /// Whether threads of the process are being ended, for good or for execve.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.exiting.is_some() || self.replacing.is_some()
    }
}

/// A thread group.
pub struct Process {
    /// Its container.
    pub container: Arc<Container>,
    pid: u32,
    pid_namespace: Arc<PidNamespace>,
    is_init: bool,
    state: SpinLock<ProcessState>,
    /// Wakes wait4 of this process: a child ended, stopped or continued.
    pub children_changed: WaitQueue,
    ended: WaitQueue,
    /// Signal handlers.
    pub handlers: Shared<Arc<Handlers>>,
    /// Resource limits.
    pub limits: Limits,
    /// Woken when a signal is queued for the process or one of its threads (signalfd(2)).
    pub signalled: WaitQueue,
    /// Interval timers and POSIX timers.
    pub timers: crate::time::ProcessTimers,
    /// Signal that its end sends to the parent, 0 for none.
    pub exit_signal: AtomicU32,
    /// Copies of what the tree says, to be read without its lock.
    place: [AtomicU32; 2],
    /// `PR_SET_CHILD_SUBREAPER`.
    pub is_subreaper: AtomicBool,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: AtomicI32,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicU32,
    /// `MEMBARRIER_CMD_REGISTER_*` of its address space.
    pub barriers: AtomicU32,
    pub(super) cpu_watch: SpinLock<Option<Arc<CpuWatch>>>,
    /// `PR_SET_THP_DISABLE`.
    pub huge_pages_off: AtomicBool,
    /// `PR_SET_IO_FLUSHER`.
    pub io_flusher: AtomicBool,
    /// Monotonic time of its start, ns.
    pub start_ns: u64,
}

impl Process {
    /// A process without threads, which has a number in `pid_namespace`; the caller adds it to the tree.
    pub(super) fn new(
        container: Arc<Container>,
        (pid, pid_namespace): (u32, Arc<PidNamespace>),
        handlers: Arc<Handlers>,
        limits: Limits,
        start_ns: u64,
    ) -> Self {
        Self {
            container,
            is_init: pid_namespace.shown(pid) == 1,
            pid,
            pid_namespace,
            state: SpinLock::new(LEVEL, ProcessState::default()),
            children_changed: WaitQueue::new(),
            ended: WaitQueue::new(),
            handlers: Shared::new(Level(59), handlers),
            limits,
            signalled: WaitQueue::new(),
            timers: crate::time::ProcessTimers::new(),
            exit_signal: AtomicU32::new(u32::from(Signal::CHLD.number())),
            place: [AtomicU32::new(0), AtomicU32::new(0)],
            is_subreaper: AtomicBool::new(false),
            oom_score_adj: AtomicI32::new(0),
            dumpable: AtomicU32::new(1),
            barriers: AtomicU32::new(0),
            cpu_watch: SpinLock::new(super::cpu_limit::LEVEL, None),
            huge_pages_off: AtomicBool::new(false),
            io_flusher: AtomicBool::new(false),
            start_ns,
        }
    }

    /// Its number in the container.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The innermost pid namespace that it is in.
    #[inline]
    #[must_use]
    pub const fn pid_namespace(&self) -> &Arc<PidNamespace> {
        &self.pid_namespace
    }

    /// Whether it is the init of its pid namespace, which ignores signals without a handler and whose end ends all.
    #[must_use]
    pub const fn is_init(&self) -> bool {
        self.is_init
    }

    /// The state, locked. Below it: handlers, and the signals of its tasks.
    pub fn state(&self) -> chitin_core::lock::SpinGuard<'_, ProcessState> {
        self.state.lock()
    }

    /// Live threads.
    #[must_use]
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.state().threads.clone()
    }

    /// How many threads live.
    pub(super) fn thread_count(&self) -> usize {
        self.state().threads.len()
    }

    /// Whether one of its threads is woken by `waker`.
    pub(super) fn is_woken_by(&self, waker: &Waker) -> bool {
        self.state().threads.iter().any(|task| task.is_woken_by(waker))
    }

    /// The leader if it lives, else another live thread.
    #[must_use]
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        let state = self.state();
        state.threads.iter().find(|task| task.tid() == self.pid).or(state.threads.first()).cloned()
    }

    /// Parent's number, 0 for none in the container.
    #[must_use]
    pub fn parent(&self) -> u32 {
        self.container.tree().members.get(&self.pid).map_or(0, |member| member.parent)
    }

    /// Process group and session.
    #[must_use]
    pub fn group_and_session(&self) -> (u32, u32) {
        let [group, session] = &self.place;
        (group.load(Ordering::Relaxed), session.load(Ordering::Relaxed))
    }

    /// For the tree: it has put the process there.
    pub(super) fn set_place(&self, group: u32, session: u32) {
        let [own_group, own_session] = &self.place;
        own_group.store(group, Ordering::Relaxed);
        own_session.store(session, Ordering::Relaxed);
    }

    /// `comm` of its leader, or what that was when it ended.
    #[must_use]
    pub fn last_name(&self) -> [u8; 16] {
        self.container.task(self.pid).map_or([0; 16], |task| task.name())
    }

    /// How it ended, once all its threads have.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.state().status
    }

    /// Whether it was waited for after its end: its number is free again.
    #[must_use]
    pub fn is_reaped(&self) -> bool {
        let found = self.container.process(self.pid);
        found.is_none_or(|found| !core::ptr::eq(Arc::as_ptr(&found), self))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.status().is_some()
    }

    /// Whether it is stopped by a signal.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let state = self.state();
        state.stopped_by.is_some() && state.stopped == state.threads.len()
    }

    /// Woken when it ends.
    #[must_use]
    pub fn ended(&self) -> &WaitQueue {
        &self.ended
    }

    /// Sleeps until it has ended: for the control channel.
    pub fn wait_exit(&self, sleeper: &Sleeper) -> ExitStatus {
        self.watch_exit(sleeper, || ())
    }

    /// Sleeps until it has ended. Whenever processes of the container were killed for want of memory, `short` hears of it
    /// first.
    pub fn watch_exit(&self, sleeper: &Sleeper, mut short: impl FnMut()) -> ExitStatus {
        let _end = self.ended.register(&sleeper.waker());
        let _kill = self.container.changed.register(&sleeper.waker());
        let mut told = self.container.oom_kills();
        loop {
            let status = self.status();
            let kills = self.container.oom_kills();
            if kills != core::mem::replace(&mut told, kills) {
                short();
            }
            if let Some(status) = status {
                // Whoever ends sets it and is reaped with the tree locked: after this, all of that has happened.
                drop(self.container.tree());
                return status;
            }
            sleeper.park(None);
        }
    }

    /// Lets a process that was made held run ([`super::NewProcess::held`]).
    pub fn release(&self) {
        self.threads().iter().for_each(|task| task.withdraw(Work::HOLD));
    }

    /// Sends a signal to the process, on behalf of one in its container or of the kernel.
    ///
    /// # Errors
    /// `EAGAIN` when the queue of real-time signals is full.
    pub fn send(self: &Arc<Self>, info: SigInfo) -> Result<(), Errno> {
        crate::signal::send_to_process(self, info, crate::signal::From::Inside)
    }

    /// Sends a signal to the process, on behalf of the host: SIGKILL and SIGSTOP reach init too.
    ///
    /// # Errors
    /// As [`Process::send`].
    pub fn send_from_host(self: &Arc<Self>, info: SigInfo) -> Result<(), Errno> {
        crate::signal::send_to_process(self, info, crate::signal::From::Outside)
    }

    /// CPU time and calls of all its threads.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        state.threads.iter().fold(state.ended_threads, |sum, task| sum.plus(task.usage()))
    }

    /// Asks every thread to end with `status`, unless that was asked before. Returns what the process ends with.
    pub fn begin_exit(&self, status: ExitStatus) -> ExitStatus {
        let mut state = self.state();
        let status = *state.exiting.get_or_insert(status);
        state.threads.iter().for_each(|task| task.ask(Work::EXIT));
        status
    }

    /// Wakes those who wait for its end; called with its status set.
    pub(super) fn wake_ended(&self) {
        self.ended.wake_all();
    }

    /// What a child has of its parent's process, beside what [`Process::new`] takes.
    pub(super) fn inherit(&self, parent: &Self) {
        self.oom_score_adj.store(parent.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        self.dumpable.store(parent.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
        self.huge_pages_off.store(parent.huge_pages_off.load(Ordering::Relaxed), Ordering::Relaxed);
        self.io_flusher.store(parent.io_flusher.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether `exit_signal` is that of an ordinary child (wait4(2), `__WCLONE`).
    #[must_use]
    pub fn is_clone_child(&self) -> bool {
        self.exit_signal.load(Ordering::Relaxed) != u32::from(Signal::CHLD.number())
    }
}
