//! What system calls that make or use descriptors of streams share.

use super::{Cx, Failure, Fd};
use crate::abi::Errno;
use crate::fs::fd_table::Entry;
use crate::fs::stream::StreamKind;
use crate::fs::{FileBody, OpenFile, Stream};
use crate::time::clock::CpuClock;
use crate::user::UserPtr;
use alloc::sync::Arc;

/// `O_CLOEXEC`, `SOCK_CLOEXEC`, `EPOLL_CLOEXEC` and their like.
pub(super) const CLOEXEC: u32 = 0o2_000_000;
/// `O_NONBLOCK` and its like.
pub(super) const NONBLOCK: u32 = 0o4000;
/// `O_RDONLY`.
pub(super) const READ_ONLY: u32 = 0;
/// `O_WRONLY`.
pub(super) const WRITE_ONLY: u32 = 1;
/// `O_RDWR`.
pub(super) const READ_WRITE: u32 = 2;

/// `RLIMIT_NOFILE` of the caller.
pub(super) fn limit(cx: &Cx<'_>) -> usize {
    cx.task.process().limits.soft_usize(crate::task::Resource::Nofile)
}

/// Puts a stream behind the lowest free descriptor; `flags` are the `O_*` flags of the open file and [`CLOEXEC`].
///
/// # Errors
/// `EMFILE`.
pub(super) fn install(cx: &Cx<'_>, stream: Arc<dyn Stream>, flags: u32) -> Result<Fd, Errno> {
    install_file(cx, OpenFile::new(FileBody::Stream(stream, None), flags & !CLOEXEC), flags)
}

/// As [`install`], for an open file.
///
/// # Errors
/// `EMFILE`.
pub(super) fn install_file(cx: &Cx<'_>, file: Arc<OpenFile>, flags: u32) -> Result<Fd, Errno> {
    let entry = Entry { file, close_on_exec: flags & CLOEXEC != 0 };
    cx.files.insert(entry, 0, limit(cx))
}

/// A descriptor as a result.
///
/// # Errors
/// Never for a descriptor that is in use.
pub(super) fn number(fd: Fd) -> Result<usize, Failure> {
    usize::try_from(fd.0).map_err(|_| Errno::EBADF.into())
}

/// The open file of a descriptor that is not `O_PATH`.
///
/// # Errors
/// `EBADF`.
pub(super) fn file(cx: &Cx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = cx.files.get(fd)?;
    if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
}

/// Sends SIGPIPE to the caller, whose write nobody can read.
pub(super) fn raise_sigpipe(cx: &Cx<'_>) {
    cx.task.raise(crate::signal::Signal::PIPE);
}

/// Takes the mask argument of ppoll, pselect6, epoll_pwait and their like: blocks these signals until the call has ended.
///
/// # Errors
/// `EINVAL` when `size` is not that of a set, `EFAULT`.
pub(super) fn temporary_mask(cx: &Cx<'_>, mask: UserPtr<u64>, size: usize) -> Result<(), Errno> {
    let Some(mask) = mask.non_null() else { return Ok(()) };
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    cx.task.set_temporary_mask(crate::signal::SigSet(cx.user().read(mask)?));
    Ok(())
}

/// CPU time that a process or thread has used.
///
/// # Errors
/// `EINVAL` when it is not there.
pub(super) fn cpu_time_ns(cx: &Cx<'_>, clock: CpuClock) -> Result<u64, Errno> {
    let number = |id: i32, own: u32| match u32::try_from(id) {
        Ok(0) => Ok(own),
        other => other.map(|id| cx.task.meant(id)).map_err(|_| Errno::EINVAL),
    };
    let container = cx.task.container();
    let usage = match clock {
        CpuClock::Process(id) => container.process(number(id, cx.task.pid())?).ok_or(Errno::EINVAL)?.usage(),
        CpuClock::Thread(id) => container.task(number(id, cx.task.tid())?).ok_or(Errno::EINVAL)?.usage(),
    };
    Ok(usage.user_ns + usage.system_ns)
}

/// Ids of the caller, for file systems and terminals.
pub(super) fn caller(cx: &Cx<'_>) -> crate::fs::stream::Caller {
    cx.task.caller()
}

/// Whether pread(2) and lseek(2) work on a stream: memory devices ignore offsets, all others refuse them.
pub(super) fn takes_offsets(file: &OpenFile) -> bool {
    file.stream_kind() == StreamKind::Memory
}

/// What a stream's refusal means to a caller that does not wait.
pub(super) fn nonblocking(stop: crate::wait::Stop) -> crate::wait::Blocked {
    use crate::wait::{Blocked, Stop};
    match stop {
        Stop::WouldBlock => Blocked::Errno(Errno::EAGAIN),
        Stop::Fault(fault) => Blocked::Fault(fault),
        Stop::Errno(errno) => Blocked::Errno(errno),
    }
}

/// `RLIMIT_FSIZE` of the caller.
pub(super) fn file_size_limit(cx: &Cx<'_>) -> u64 {
    cx.task.rlimit(crate::task::Resource::Fsize)
}

/// Sends SIGXFSZ to the caller, whose write would make a file too big.
pub(super) fn raise_file_size(cx: &Cx<'_>) {
    cx.task.raise(crate::signal::Signal::XFSZ);
}

/// A descriptor was taken out of the table: gives up the POSIX locks that its process has on the file.
pub(super) fn closed(cx: &Cx<'_>, entry: Entry) {
    if let Some(node) = entry.file.node() {
        crate::fs::lock::release_process(node, lock_owner(cx));
        entry.file.descriptor_closed(lock_owner(cx));
    }
    if let Some(stream) = entry.file.stream()
        && let Some(queue) = stream.as_any().downcast_ref::<crate::ipc::mqueue::MqStream>()
    {
        // Closing any descriptor of it ends the process's registration (mq_close(3)).
        queue.queue().unregister(cx.task.pid());
    }
    if Arc::strong_count(&entry.file) == 1 {
        super::sockets::linger(cx, &entry.file);
    }
    drop(entry);
}

/// Identity of the caller's descriptor table, as the owner of POSIX locks.
pub(super) fn lock_owner(cx: &Cx<'_>) -> usize {
    Arc::as_ptr(cx.files).addr()
}
