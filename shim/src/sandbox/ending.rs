//! How a sandbox is doing, and what is said about it once it has ended.

use super::SandboxError;
use chitin_proto::frame::FrameError;
use chitin_proto::vmm::EndReason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
};
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of the guest's log kept for a report.
const LOG_LINES: usize = 40;
/// Bytes of the VMM's stderr kept for a report.
const DIAGNOSTICS_BYTES: usize = 4096;

/// Why a sandbox ended, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What the VMM said, if it could.
    pub reason: Option<EndReason>,
    /// How its process ended.
    pub process: String,
    /// Last lines of the guest's log and of the VMM's stderr.
    pub log: String,
}

impl Ending {
    /// Whether the sandbox ended because somebody wanted it to.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        matches!(self.reason, Some(EndReason::Orderly | EndReason::Stopped))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(EndReason::Orderly) => write!(f, "the guest powered off")?,
            Some(EndReason::Stopped) => write!(f, "it was stopped")?,
            Some(EndReason::Panic(report)) => write!(f, "the sentry panicked: {report}")?,
            Some(EndReason::Crash(report)) => write!(f, "the guest crashed: {report}")?,
            Some(EndReason::Violation(what)) => write!(f, "the guest broke a rule: {what}")?,
            None => write!(f, "the VMM {}", self.process)?,
        }
        if self.log.is_empty() { Ok(()) } else { write!(f, "\n{}", self.log) }
    }
}

/// Where the VMM's stdout and stderr go.
#[derive(Debug)]
pub(super) enum Diagnostics {
    /// Somewhere people see it.
    Shown(OwnedFd),
    /// An anonymous file, read when the VMM has ended.
    Kept(OwnedFd),
}

impl Diagnostics {
    pub(super) fn new(output: Option<OwnedFd>) -> std::io::Result<Self> {
        Ok(match output {
            Some(output) => Self::Shown(output),
            None => Self::Kept(memfd_create("chitin-vmm-stderr", MemfdFlags::CLOEXEC)?),
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shown(descriptor) | Self::Kept(descriptor) => descriptor.as_fd(),
        }
    }

    /// The last bytes that were kept.
    fn tail(&self) -> String {
        let Self::Kept(file) = self else { return String::new() };
        let Ok(length) = seek(file, SeekFrom::End(0)) else { return String::new() };
        let mut tail = vec![0; DIAGNOSTICS_BYTES];
        let start = length.saturating_sub(DIAGNOSTICS_BYTES as u64);
        let read = rustix::io::pread(file, &mut tail[..], start).unwrap_or(0);
        tail.truncate(read);
        String::from_utf8_lossy(&tail).trim_end().to_owned()
    }
}

/// The state shared by a sandbox's owner and its two threads.
#[derive(Debug)]
pub(super) struct Status {
    pid: Pid,
    /// Refers to the process itself, so that a signal cannot reach another one that got its number.
    process: Option<OwnedFd>,
    diagnostics: Diagnostics,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    version: Option<u32>,
    ending: Option<Ending>,
    log: VecDeque<String>,
}

impl State {
    fn log_text(&self) -> String {
        self.log.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Status {
    pub(super) fn new(pid: Pid, diagnostics: Diagnostics) -> Self {
        let process = pidfd_open(pid, PidfdFlags::empty()).ok();
        Self { pid, process, diagnostics, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self, line: &str) {
        let mut state = self.state();
        if state.log.len() == LOG_LINES {
            state.log.pop_front();
        }
        state.log.push_back(line.trim_end().to_owned());
    }

    pub(super) fn set_ready(&self, version: u32) {
        self.state().version = Some(version);
        self.changed.notify_all();
    }

    /// Waits for the sentry's first frame and returns its version.
    pub(super) fn wait_ready(&self, timeout: Duration) -> Result<u32, SandboxError> {
        let state = self.wait(timeout, |state| state.version.is_some() || state.ending.is_some());
        match (&state.ending, state.version) {
            (Some(ending), _) => Err(SandboxError::Ended(ending.clone())),
            (None, Some(version)) => Ok(version),
            (None, None) => Err(SandboxError::NotReady { seconds: timeout.as_secs(), log: state.log_text() }),
        }
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.state().ending.clone()
    }

    pub(super) fn wait_ending(&self, timeout: Duration) -> Option<Ending> {
        self.wait(timeout, |state| state.ending.is_some()).ending.clone()
    }

    /// Waits until the process is gone, and kills it when that takes too long.
    pub(super) fn wait_gone(&self, timeout: Duration) {
        if self.wait_ending(timeout).is_none() {
            self.kill();
            self.wait_ending(timeout);
        }
    }

    /// Kills the VMM if it is still there.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Waits for the process after its channel has closed, at most `timeout`, then kills it; records the ending.
    pub(super) fn reap(
        &self,
        reason: Option<EndReason>,
        lost: Option<FrameError>,
        timeout: Duration,
    ) -> Ending {
        if lost.is_some() || !self.exits_within(timeout) {
            self.kill();
        }
        let mut process = match self.wait_child() {
            Ok(status) => describe(status),
            Err(error) => format!("is gone ({error})"),
        };
        if let Some(error) = lost {
            process = format!("sent something unreadable: {error}");
        }
        let mut state = self.state();
        let mut log = state.log_text();
        let said = self.diagnostics.tail();
        if !log.is_empty() && !said.is_empty() {
            log.push('\n');
        }
        log.push_str(&said);
        let ending = Ending { reason, process, log };
        state.ending = Some(ending.clone());
        drop(state);
        self.changed.notify_all();
        ending
    }

    fn exits_within(&self, timeout: Duration) -> bool {
        let Some(process) = &self.process else { return false };
        let timeout = Timespec { tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut wait = [PollFd::new(process, PollFlags::IN)];
        matches!(poll(&mut wait, Some(&timeout)), Ok(1))
    }

    fn wait_child(&self) -> Result<WaitStatus, Errno> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(status),
                Ok(None) | Err(Errno::INTR) => (),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, timeout: Duration, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let end = Instant::now() + timeout;
        let mut state = self.state();
        while !done(&state) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { break };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

fn describe(status: WaitStatus) -> String {
    if let Some(code) = status.exit_status() {
        format!("exited with status {code}")
    } else if let Some(signal) = status.terminating_signal() {
        format!("was killed by signal {signal}")
    } else {
        "ended".to_owned()
    }
}
