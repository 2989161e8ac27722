//! [`Stream`]: open files that are not positioned: pipes, sockets, ttys, eventfds, character devices. They never sleep.

use crate::abi::Errno;
use crate::fs::Attr;
use crate::user::{IoReader, IoWriter, UserMemory};
use crate::wait::{PollMask, PollTable, Pollable, Stop, Waiter};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

/// What an ioctl may use.
pub struct IoctlCx<'a> {
    /// Memory of the caller.
    pub user: UserMemory<'a>,
    /// The caller, if the command waits.
    pub waiter: Waiter<'a>,
    /// Who calls: process, process group and session ids, for terminals.
    pub caller: Caller,
}

/// Ids of a calling task, as its container's pid namespace counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Identity of the container, for telling sessions apart; 0 for the kernel's own acts.
    pub container: usize,
}

/// What system calls have to mind about a stream. An open file keeps it: those that move a byte do not ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Nothing.
    Plain,
    /// A terminal: background groups are stopped.
    Terminal,
    /// A memory device: it ignores offsets, all others refuse them, and it always has more.
    Memory,
    /// A socket: reads and writes may have time limits.
    Socket,
}

/// A stream behind an open file.
pub trait Stream: Send + Sync + Any {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`Stop`]; `Ok(0)` is end of file.
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop>;

    /// Writes what fits.
    ///
    /// # Errors
    /// [`Stop`].
    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop>;

    /// What it is to system calls; always the same.
    fn kind(&self) -> StreamKind {
        StreamKind::Plain
    }

    /// How long a read and a write of a [`StreamKind::Socket`] wait, in ns; 0 is for ever (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
    fn timeouts_ns(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Whether `O_ASYNC` works: its owner gets signals when it becomes ready.
    fn signals_io(&self) -> bool {
        false
    }

    /// See [`Pollable::poll`].
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask;

    /// Device-specific commands.
    ///
    /// # Errors
    /// `ENOTTY` for a command that the stream does not know.
    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        let _ = (cx, command, argument);
        Err(Errno::ENOTTY)
    }

    /// What fstat(2) says, when no node of a file system stands behind the stream.
    fn attr(&self) -> Attr;

    /// What readlink of `/proc/self/fd/N` says, such as `pipe:[7]`, when no path stands behind the stream.
    fn name(&self) -> String;

    /// What `/proc/PID/fdinfo/N` says beside what it says of every file (proc_pid_fdinfo(5)).
    fn fdinfo(&self, out: &mut String) {
        let _ = out;
    }

    /// The stream of a further open file for the same thing, when it is opened again through `/proc/PID/fd/N`; `flags`
    /// are open(2)'s.
    ///
    /// # Errors
    /// `ENXIO` where that cannot be, as for sockets.
    fn reopen(self: Arc<Self>, flags: u32) -> Result<Arc<dyn Stream>, Errno> {
        let _ = flags;
        Err(Errno::ENXIO)
    }

    /// The last descriptor of the open file was closed.
    fn released(&self) {}

    /// For `downcast_ref` to the concrete stream.
    fn as_any(&self) -> &dyn Any;
}

impl Pollable for dyn Stream {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        Stream::poll(self, table)
    }
}

impl Pollable for Arc<dyn Stream> {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        Stream::poll(&**self, table)
    }
}
