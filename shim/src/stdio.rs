//! Streams of a process: which descriptors the VMM gets so that bytes flow between the guest and their other end with
//! no copy on the way.
//!
//! The VMM wants descriptors that do not block. `O_NONBLOCK` belongs to the open file, which our own standard streams
//! share with whoever started us, so a pipe or terminal is opened anew by its `/proc/self/fd` name. A regular file is
//! handed over as it is, because a new open file would start at offset zero.

use crate::sandbox::{Attachment, Sandbox, SandboxError};
use chitin_proto::control::Stdio;
use chitin_proto::vmm::Direction;
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Descriptors of a process's three streams; `None` is `/dev/null`.
#[derive(Debug, Default)]
pub struct Streams {
    /// Read by the VMM.
    pub stdin: Option<OwnedFd>,
    /// Written by the VMM.
    pub stdout: Option<OwnedFd>,
    /// Written by the VMM.
    pub stderr: Option<OwnedFd>,
}

impl Streams {
    /// The streams of this program.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            stdin: private_copy(io::stdin().as_fd(), OFlags::RDONLY)?,
            stdout: private_copy(io::stdout().as_fd(), OFlags::WRONLY)?,
            stderr: private_copy(io::stderr().as_fd(), OFlags::WRONLY)?,
        })
    }

    /// Hands the streams to the VMM. Returns what the sentry is told, and the ports that will report
    /// [`StreamClosed`](crate::sandbox::SandboxEvent::StreamClosed) when all output is written.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn attach(&self, sandbox: &Sandbox) -> Result<(Stdio, Vec<u32>), SandboxError> {
        let attach = |stream: &Option<OwnedFd>, direction| match stream {
            Some(stream) => sandbox.attach_stream(stream.as_fd(), direction).map(Some),
            None => Ok(None),
        };
        let stdin = attach(&self.stdin, Direction::ToGuest)?;
        let stdout = attach(&self.stdout, Direction::FromGuest)?;
        let stderr = attach(&self.stderr, Direction::FromGuest)?;
        let finish = |attachment: Option<Attachment<'_, u32>>| attachment.map(Attachment::finish).transpose();
        let (stdin, stdout, stderr) = (finish(stdin)?, finish(stdout)?, finish(stderr)?);
        if (stdin, stdout, stderr) == (None, None, None) {
            return Ok((Stdio::Null, Vec::new()));
        }
        let outputs = stdout.into_iter().chain(stderr).collect();
        Ok((Stdio::Streams { stdin, stdout, stderr }, outputs))
    }
}

/// Hands a terminal (a tty, or one end of a socket pair) to the VMM.
///
/// # Errors
/// When the VMM refuses or is gone.
pub fn attach_terminal(
    sandbox: &Sandbox,
    terminal: BorrowedFd<'_>,
    (columns, rows): (u16, u16),
) -> Result<(Stdio, Vec<u32>), SandboxError> {
    let port = sandbox.attach_stream(terminal, Direction::Both)?.finish()?;
    Ok((Stdio::Terminal { port, columns, rows }, vec![port]))
}

/// A descriptor of the same file that does not block, if that can be had; `None` for `/dev/null` and for a stream that
/// is closed.
///
/// # Errors
/// When the descriptor cannot be duplicated.
pub fn private_copy(stream: BorrowedFd<'_>, mode: OFlags) -> io::Result<Option<OwnedFd>> {
    let Ok(status) = fstat(stream) else { return Ok(None) };
    let kind = FileType::from_raw_mode(status.st_mode);
    let is_null = (major(status.st_rdev), minor(status.st_rdev)) == (1, 3);
    if kind == FileType::CharacterDevice && is_null {
        return Ok(None);
    }
    if matches!(kind, FileType::Fifo | FileType::CharacterDevice)
        && let Ok(copy) = open(
            format!("/proc/self/fd/{}", stream.as_raw_fd()),
            mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    {
        return Ok(Some(copy));
    }
    Ok(Some(rustix::io::fcntl_dupfd_cloexec(stream, 0)?))
}
