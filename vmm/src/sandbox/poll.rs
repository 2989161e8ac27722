//! The main loop's epoll set, with tokens that say what became ready.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The control socket.
    Control,
    /// [`crate::machine::notice::Notices`].
    Notice,
    /// The guest wrote to its log.
    Log,
    /// The guest kicked this queue of the entropy device.
    Rng(u32),
    /// The guest kicked this queue of the socket device.
    Vsock(u32),
    /// The descriptor of this vsock stream.
    Stream(u32),
}

impl Source {
    const fn token(self) -> u64 {
        let (kind, id): (u32, u32) = match self {
            Self::Control => (0, 0),
            Self::Notice => (1, 0),
            Self::Log => (2, 0),
            Self::Rng(id) => (3, id),
            Self::Vsock(id) => (4, id),
            Self::Stream(id) => (5, id),
        };
        (kind as u64) << 32 | id as u64
    }

    fn from_token(token: u64) -> Self {
        let id = u32::try_from(token & 0xffff_ffff).unwrap_or(0);
        match token >> 32 {
            0 => Self::Control,
            1 => Self::Notice,
            2 => Self::Log,
            3 => Self::Rng(id),
            4 => Self::Vsock(id),
            _ => Self::Stream(id),
        }
    }
}

/// Something that became ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What.
    pub source: Source,
    /// How.
    pub flags: EventFlags,
}

/// An epoll set.
#[derive(Debug)]
pub struct Poll {
    fd: OwnedFd,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// That of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches `fd`.
    ///
    /// # Errors
    /// That of epoll_ctl(2); `EPERM` for a regular file.
    pub fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, EventData::new_u64(source.token()), flags)?)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// That of epoll_ctl(2).
    pub fn modify(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, EventData::new_u64(source.token()), flags)?)
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: impl AsFd) {
        // Fails only for what is not watched.
        let _ = epoll::delete(&self.fd, fd);
    }

    /// Waits until something is ready, at most `timeout`.
    ///
    /// # Errors
    /// That of epoll_wait(2), `EINTR` excepted.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let mut events = Vec::with_capacity(32);
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
        Ok(events
            .iter()
            .map(|event| Ready { source: Source::from_token(event.data.u64()), flags: event.flags })
            .collect())
    }
}
