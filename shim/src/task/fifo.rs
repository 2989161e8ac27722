//! containerd's named pipes, and the streams that come from them.
//!
//! The VMM gets the end that the container uses. The shim keeps the opposite ends: a reader of each output, so that a
//! restart of containerd is no `EPIPE` for the container, and a writer of the input, so that it does not look ended
//! while containerd is away. Giving up that writer is what `CloseIO` means: the guest reads what is queued and then end
//! of file.
//!
//! A client whose input is short has written and closed it before the container is created, and then never calls
//! `CloseIO`. So until the start the pipe is watched for a writer that closes it, and if there was one, ours goes too.

use super::state::Paths;
use super::{BORROWED, INHERITED, TaskError};
use crate::sandbox::Sandbox;
use crate::stdio::{Streams, attach_terminal, private_copy};
use chitin_proto::control::Stdio;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// What the shim holds of a process's streams while the process lives.
#[derive(Debug, Default)]
pub(super) struct ProcessIo {
    stdin: Option<HeldInput>,
    /// Held, never read.
    _output_readers: Vec<OwnedFd>,
}

/// What the shim holds of an input.
#[derive(Debug)]
struct HeldInput {
    /// Keeps the pipe open; dropped to end the input.
    _writer: OwnedFd,
    /// An inotify instance that tells when another writer has closed the pipe.
    departures: Option<OwnedFd>,
}

impl ProcessIo {
    /// The process is about to start: from now on the client says by `CloseIO` that its input has ended.
    pub(super) fn settle_stdin(&mut self) {
        let departures = self.stdin.as_mut().and_then(|held| held.departures.take());
        if let Some(departures) = departures
            && read(&departures, &mut [0; 512]).is_ok_and(|length| length > 0)
        {
            self.stdin = None;
        }
    }

    /// Lets the input end once what is queued in it is read.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Lets go of everything.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }
}

/// A process's streams, opened and not handed over yet.
#[derive(Debug)]
pub(super) struct Opened {
    streams: Streams,
    stdin: Option<HeldInput>,
    output_readers: Vec<OwnedFd>,
    terminal: bool,
}

/// Opens a process's streams.
pub(super) fn open_streams(paths: &Paths, inherited: &Mutex<Streams>) -> Result<Opened, TaskError> {
    let mut inherited = inherited.lock().unwrap_or_else(PoisonError::into_inner);
    let inherited = &mut *inherited;
    let mut streams = Streams::default();
    let (mut stdin, mut output_readers) = (None, Vec::new());
    if paths.stdin == INHERITED {
        streams.stdin = inherited.stdin.take();
    } else if let Some(given) = borrowed(&paths.stdin, OFlags::RDONLY)? {
        streams.stdin = given;
    } else if !paths.stdin.is_empty() {
        let (reader, held) = open_input(&paths.stdin)?;
        streams.stdin = Some(reader);
        stdin = held;
    }
    for (path, stream, given) in [
        (&paths.stdout, &mut streams.stdout, &mut inherited.stdout),
        (&paths.stderr, &mut streams.stderr, &mut inherited.stderr),
    ] {
        if path == INHERITED {
            *stream = given.take();
        } else if let Some(given) = borrowed(path, OFlags::WRONLY)? {
            *stream = given;
        } else if !path.is_empty() {
            let (writer, reader) = open_output(path)?;
            *stream = Some(writer);
            output_readers.extend(reader);
        }
    }
    Ok(Opened { streams, stdin, output_readers, terminal: paths.terminal })
}

impl Opened {
    /// Hands the streams to the VMM. Returns what the sentry is told and the ports of output.
    pub(super) fn attach(
        self,
        sandbox: &Sandbox,
        size: (u16, u16),
    ) -> Result<(Stdio, Vec<u32>, ProcessIo), TaskError> {
        let (stdio, outputs) = if self.terminal {
            let terminal = bridge(self.streams.stdin, self.streams.stdout)
                .map_err(|source| TaskError::Stream { path: "terminal".to_owned(), source })?;
            attach_terminal(sandbox, terminal.as_fd(), size)?
        } else {
            self.streams.attach(sandbox)?
        };
        Ok((stdio, outputs, ProcessIo { stdin: self.stdin, _output_readers: self.output_readers }))
    }
}

/// The stream that a [`BORROWED`] name means; `None` for any other name.
fn borrowed(name: &str, mode: OFlags) -> Result<Option<Option<OwnedFd>>, TaskError> {
    let Some(name) = name.strip_prefix(BORROWED) else { return Ok(None) };
    let fail = |source| TaskError::Stream { path: format!("{BORROWED}{name}"), source };
    let numbers = name
        .split_once('/')
        .and_then(|(pid, descriptor)| Some((Pid::from_raw(pid.parse().ok()?)?, descriptor.parse().ok()?)));
    let Some((pid, descriptor)) = numbers else {
        return Err(fail(io::ErrorKind::InvalidInput.into()));
    };
    let stream = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()))
        .map_err(|error| fail(error.into()))?;
    Ok(Some(private_copy(stream.as_fd(), mode).map_err(fail)?))
}

fn open_at(path: &str, flags: OFlags) -> Result<OwnedFd, TaskError> {
    open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        .map_err(|source| TaskError::Stream { path: path.to_owned(), source: source.into() })
}

fn is_fifo(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Fifo)
}

/// Reader, and for a named pipe a writer that keeps it open.
fn open_input(path: &str) -> Result<(OwnedFd, Option<HeldInput>), TaskError> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    // Watched before it is opened: a client that waits for a reader comes only after that.
    let departures = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
        .and_then(|inotify| add_watch(&inotify, path, WatchFlags::CLOSE_WRITE).map(|_| inotify))
        .ok();
    let reader = open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if !is_fifo(&reader) {
        return Ok((reader, None));
    }
    let writer = open_at(path, OFlags::WRONLY | OFlags::NONBLOCK)?;
    Ok((reader, Some(HeldInput { _writer: writer, departures })))
}

/// Writer, and for a named pipe a reader that keeps it open. `file://` names a file to append to.
fn open_output(path: &str) -> Result<(OwnedFd, Option<OwnedFd>), TaskError> {
    if let Some(file) = path.strip_prefix("file://") {
        return Ok((open_at(file, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?, None));
    }
    if path.contains("://") {
        return Err(TaskError::Unsupported(format!("log to {path}")));
    }
    // A named pipe's reader comes first: opening the writer fails while there is none.
    let reader = open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if is_fifo(&reader) {
        let writer = open_at(path, OFlags::WRONLY | OFlags::NONBLOCK)?;
        Ok((writer, Some(reader)))
    } else {
        Ok((open_at(path, OFlags::WRONLY | OFlags::APPEND)?, None))
    }
}

/// Ties two pipes to one end of a socket pair and returns the other, which carries a terminal both ways.
fn bridge(stdin: Option<OwnedFd>, stdout: Option<OwnedFd>) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    ioctl_fionbio(&theirs, true)?;
    if let Some(stdin) = stdin {
        let ours = fcntl_dupfd_cloexec(&ours, 0)?;
        std::thread::spawn(move || pump_input(&stdin, &ours));
    }
    std::thread::spawn(move || pump(&ours, stdout.as_ref()));
    Ok(theirs)
}

/// Copies from `stdin` to the socket until either ends.
fn pump_input(stdin: &OwnedFd, socket: &OwnedFd) {
    let mut buffer = [0; 4096];
    loop {
        let mut wait = [PollFd::new(stdin, PollFlags::IN), PollFd::new(socket, PollFlags::empty())];
        if poll(&mut wait, None).is_err() || !wait[1].revents().is_empty() {
            return;
        }
        match read(stdin, &mut buffer) {
            Ok(0) => {
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
                return;
            }
            Ok(length) => {
                if !write_whole(socket, buffer.get(..length).unwrap_or_default()) {
                    return;
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => (),
            Err(_) => return,
        }
    }
}

/// Copies from the socket to `to` until the socket ends; output that nobody takes is dropped.
fn pump(socket: &OwnedFd, to: Option<&OwnedFd>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match read(socket, &mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if let Some(to) = to {
                    let _ = write_whole(to, buffer.get(..length).unwrap_or_default());
                }
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(_) => return,
        }
    }
}

fn write_whole(to: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::AGAIN) => {
                let mut wait = [PollFd::new(to, PollFlags::OUT)];
                if poll(&mut wait, None).is_err() {
                    return false;
                }
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(_) => return false,
        }
    }
    true
}
