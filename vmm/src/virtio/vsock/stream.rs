//! The host end of a connection: whatever descriptor the shim handed over, read and written without ever blocking.
//!
//! | descriptor | how |
//! |---|---|
//! | socket | `MSG_DONTWAIT`, whatever its flags |
//! | `O_NONBLOCK` anything | plain reads and writes |
//! | blocking pipe or FIFO | opened anew through `/proc/self/fd` with `O_NONBLOCK` |
//! | blocking terminal | read and written only when poll says so, at most [`CAREFUL`] bytes a time |
//! | regular file, `/dev/null` | cannot be polled: always ready |

use crate::virtio::chain::Cursor;
use crate::virtio::io::{self, Position};
use chitin_proto::vmm::Direction;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::Shutdown;
use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes that a descriptor found writable by poll takes without blocking (`PIPE_BUF`).
pub const CAREFUL: usize = 4096;

/// The descriptor with what is known of it.
#[derive(Debug)]
pub struct HostStream {
    fd: OwnedFd,
    kind: FileType,
    /// Which way bytes go.
    pub direction: Direction,
    limit: usize,
}

/// What came of reading or writing once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// None now.
    NotNow,
    /// The other end is gone (end of file, or nobody reads).
    Over,
}

impl HostStream {
    /// Takes the descriptor over.
    ///
    /// # Errors
    /// That of fstat(2) or fcntl(2).
    pub fn new(fd: OwnedFd, direction: Direction) -> Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        let mut stream = Self { fd, kind, direction, limit: usize::MAX };
        if flags.contains(OFlags::NONBLOCK) || matches!(kind, FileType::Socket | FileType::RegularFile) {
            return Ok(stream);
        }
        stream.limit = CAREFUL;
        if kind == FileType::Fifo {
            let access = flags & (OFlags::RDONLY | OFlags::WRONLY | OFlags::RDWR);
            let path = format!("/proc/self/fd/{}", stream.fd.as_raw_fd());
            let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            // Without /proc the careful way remains.
            if let Ok(own) = rustix::fs::openat(CWD, path, flags, Mode::empty()) {
                (stream.fd, stream.limit) = (own, usize::MAX);
            }
        }
        Ok(stream)
    }

    /// Whether bytes are read from it.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self.direction, Direction::Both | Direction::ToGuest)
    }

    /// Whether bytes are written to it.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        matches!(self.direction, Direction::Both | Direction::FromGuest)
    }

    const fn position(&self) -> Position {
        match self.kind {
            FileType::Socket => Position::Socket,
            _ => Position::Stream,
        }
    }

    /// Reads once into guest memory, at most `most` bytes.
    pub fn read(&self, room: &mut Cursor<'_>, most: usize) -> Moved {
        let mut room = room.split_front(most);
        match io::read_into(self.fd.as_fd(), self.position(), &mut room) {
            Ok(0) => Moved::Over,
            Ok(n) => Moved::Bytes(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Moved::NotNow,
            // EIO is what a terminal says when its other side is closed.
            Err(_) => Moved::Over,
        }
    }

    /// Writes once from guest memory.
    pub fn write_from(&self, data: &mut Cursor<'_>) -> Moved {
        let mut piece = data.clone().split_front(self.limit);
        let moved = written(io::write_from(self.fd.as_fd(), self.position(), &mut piece));
        if let Moved::Bytes(n) = moved {
            data.skip(n);
        }
        moved
    }

    /// Writes once from a buffer.
    pub fn write(&self, data: &[u8]) -> Moved {
        let piece = data.get(..self.limit).unwrap_or(data);
        let result = if self.kind == FileType::Socket {
            let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
            rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, piece, flags))
        } else {
            rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, piece))
        };
        written(result.map_err(Into::into))
    }

    /// Whether a write may be tried without having been told by poll.
    #[must_use]
    pub const fn is_safe_to_try(&self) -> bool {
        self.limit == usize::MAX
    }

    /// The descriptor cannot be polled, so it does not block either.
    pub const fn trust(&mut self) {
        self.limit = usize::MAX;
    }

    /// Tells a socket's peer that no more will come.
    pub fn end_writes(&self) {
        if self.kind == FileType::Socket {
            // The peer may be gone already.
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }
}

fn written(result: Result<usize>) -> Moved {
    match result {
        Ok(n) => Moved::Bytes(n),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Moved::NotNow,
        Err(_) => Moved::Over,
    }
}

impl AsFd for HostStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
