//! A process of the host, told apart from a later one with the same number by its start time.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

/// Pid and start time, in clock ticks since boot (proc(5), `/proc/PID/stat` field 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostProcess {
    /// Process id.
    pub pid: u32,
    start: u64,
}

impl HostProcess {
    /// Looks up a running process.
    #[must_use]
    pub fn find(pid: u32) -> Option<Self> {
        Some(Self { pid, start: start_time(pid)? })
    }

    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::find(getpid().as_raw_nonzero().get().unsigned_abs())
    }

    /// Whether it is this process.
    #[must_use]
    pub fn is_own(&self) -> bool {
        Self::own() == Some(*self)
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Kills it and waits until it is gone. One that is gone already is no error.
    ///
    /// # Errors
    /// `EPERM`, or `ETIMEDOUT` when it does not go.
    pub fn kill(&self, timeout: Duration) -> io::Result<()> {
        let Some(process) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) => (),
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// A descriptor of exactly this process; `None` when it is gone.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor may be of a later process: only now is the number ours to compare.
            Ok(process) => Ok(self.is_alive().then_some(process)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Display for HostProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start)
    }
}

impl FromStr for HostProcess {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pid, start) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self { pid: pid.parse()?, start: start.parse()? })
    }
}

/// Field 22 of `/proc/PID/stat`; `None` for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_known_by_text_too() {
        let own = HostProcess::own().unwrap();
        assert!(own.is_alive() && own.is_own());
        assert_eq!(own.to_string().parse(), Ok(own));
        let earlier = HostProcess { start: own.start.wrapping_add(1), ..own };
        assert!(!earlier.is_alive());
        earlier.kill(Duration::from_secs(1)).unwrap();
    }
}
