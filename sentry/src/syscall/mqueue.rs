//! mq_open, mq_unlink, mq_timedsend, mq_timedreceive, mq_notify, mq_getsetattr.

use super::descriptor::{self, CLOEXEC};
use super::place::{PATH_MAX, Scope};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{O_ACCMODE, O_CREAT, O_EXCL, O_NONBLOCK};
use crate::abi::time::Timespec;
use crate::fs::permission::{self, Want};
use crate::fs::{FileBody, Node, OpenFile};
use crate::ipc::mqueue::fs::{Names, queue};
use crate::ipc::mqueue::queue::{PRIORITIES, Registration};
use crate::ipc::mqueue::{Attributes, MqStream, Queue};
use crate::security::Capability;
use crate::signal::info::{Origin, SigInfo};
use crate::signal::{From, Signal, send_to_process};
use crate::task::Resource;
use crate::time::clock::SystemClock;
use crate::user::{UserAddr, UserPtr};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Woken;
use core::sync::atomic::Ordering;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(240, "mq_open", 4, mq_open, Restart::Never, Support::Partial("RLIMIT_MSGQUEUE is not enforced")),
    row!(241, "mq_unlink", 1, mq_unlink, Restart::Never, Support::Full),
    row!(242, "mq_timedsend", 5, mq_timedsend, Restart::Sa, Support::Full),
    row!(243, "mq_timedreceive", 5, mq_timedreceive, Restart::Sa, Support::Full),
    row!(
        244,
        "mq_notify",
        2,
        mq_notify,
        Restart::Never,
        Support::Partial("no SIGEV_THREAD: it needs netlink")
    ),
    row!(245, "mq_getsetattr", 3, mq_getsetattr, Restart::Never, Support::Full),
];

/// Most messages and bytes that a privileged caller may ask for.
const HARD: (i64, i64) = (65536, 16 << 20);

/// `struct mq_attr`.
type MqAttr = [i64; 8];

fn names(cx: &Cx<'_>) -> Arc<Names> {
    cx.task.ipc().mqueues.clone()
}

fn read_name(cx: &Cx<'_>, name: UserAddr) -> Result<Vec<u8>, Errno> {
    let name = cx.user().read_cstr(name, PATH_MAX, Errno::ENAMETOOLONG)?;
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.contains(&b'/') || name == b"." || name == b".." {
        return Err(Errno::EACCES);
    }
    if name.len() > 255 { Err(Errno::ENAMETOOLONG) } else { Ok(name) }
}

/// The size that a caller asks for.
fn size(cx: &Cx<'_>, names: &Names, attr: MqAttr) -> Result<Attributes, Errno> {
    let [_, messages, bytes, ..] = attr;
    if messages <= 0 || bytes <= 0 {
        return Err(Errno::EINVAL);
    }
    let limits = if cx.task.creds().has(Capability::SysResource) {
        HARD
    } else {
        let soft = |limit: &core::sync::atomic::AtomicU64| {
            i64::try_from(limit.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
        };
        (soft(&names.limits.messages), soft(&names.limits.bytes))
    };
    if messages > limits.0 || bytes > limits.1 {
        return Err(Errno::EINVAL);
    }
    let number = |value: i64| usize::try_from(value).map_err(|_| Errno::EINVAL);
    Ok(Attributes { max_messages: number(messages)?, max_bytes: number(bytes)? })
}

fn mq_open(cx: &mut Cx<'_>, name: UserAddr, flags: u32, mode: u32, attr: UserPtr<MqAttr>) -> SysResult {
    let attr = attr.non_null().map(|attr| cx.user().read(attr)).transpose()?;
    let name = read_name(cx, name)?;
    let names = names(cx);
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let node = match names.find(&name) {
        Ok(_) if flags & O_CREAT != 0 && flags & O_EXCL != 0 => return Err(Errno::EEXIST.into()),
        Ok(node) => open_existing(&fs, node, flags)?,
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => {
            let size = attr.map(|attr| size(cx, &names, attr)).transpose()?;
            let size = (size, cx.task.rlimit(Resource::Msgqueue));
            match names.make(&fs, &name, mode & 0o7777 & !scope.fs.umask(), size) {
                Err(Errno::EEXIST) if flags & O_EXCL == 0 => open_existing(&fs, names.find(&name)?, flags)?,
                made => made?,
            }
        }
        Err(errno) => return Err(errno.into()),
    };
    let queue = queue(&node).ok_or(Errno::EACCES)?;
    let stream = MqStream::new(queue, &name);
    let file = OpenFile::new(FileBody::Stream(stream, Some(node)), flags & (O_ACCMODE | O_NONBLOCK));
    descriptor::number(descriptor::install_file(cx, file, CLOEXEC)?)
}

fn open_existing(fs: &crate::fs::FsCx<'_>, node: Arc<Node>, flags: u32) -> Result<Arc<Node>, Errno> {
    let want = match flags & O_ACCMODE {
        0 => Want::READ,
        1 => Want::WRITE,
        2 => Want::READ | Want::WRITE,
        _ => return Err(Errno::EINVAL),
    };
    permission::check_node(fs, &node, want)?;
    Ok(node)
}

fn mq_unlink(cx: &mut Cx<'_>, name: UserAddr) -> SysResult {
    let name = read_name(cx, name)?;
    let names = names(cx);
    let node = names.find(&name)?;
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let dir = names.root_attr();
    permission::check(&scope.creds, &dir, Want::WRITE | Want::EXECUTE)?;
    let owner = node.ops.attr(&fs)?.uid;
    let sticky = dir.mode & crate::fs::node::S_ISVTX != 0;
    let owns = scope.creds.fsuid == owner || scope.creds.fsuid == dir.uid;
    if sticky && !owns && !scope.creds.has(Capability::Fowner) {
        return Err(Errno::EPERM.into());
    }
    names.remove(&name)?;
    Ok(0)
}

/// The queue behind a descriptor.
fn of(file: &OpenFile) -> Result<Arc<Queue>, Errno> {
    let by_stream = file.stream().and_then(|stream| stream.as_any().downcast_ref::<MqStream>());
    match by_stream {
        Some(stream) => Ok(stream.queue().clone()),
        None => file.node().and_then(|node| queue(node)).ok_or(Errno::EBADF),
    }
}

/// The monotonic time of a point of the wall clock.
fn deadline(cx: &Cx<'_>, timeout: UserPtr<Timespec>) -> Result<Option<u64>, Errno> {
    let Some(timeout) = timeout.non_null() else { return Ok(None) };
    let at_ns = cx.user().read(timeout)?.to_ns()?;
    Ok(Some(SystemClock::Realtime.deadline(cx.sleeper, at_ns)))
}

fn waited<T>(result: Result<Result<T, Errno>, Woken>) -> Result<T, Failure> {
    match result {
        Ok(result) => Ok(result?),
        Err(Woken::TimedOut) => Err(Errno::ETIMEDOUT.into()),
        Err(_) => Err(Failure::Interrupted),
    }
}

fn mq_timedsend(
    cx: &mut Cx<'_>,
    fd: Fd,
    from: UserAddr,
    len: usize,
    priority: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let deadline_ns = deadline(cx, timeout)?;
    if priority >= PRIORITIES {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    let queue = of(&file)?;
    if !file.is_writable() {
        return Err(Errno::EBADF.into());
    }
    if len > queue.attributes().max_bytes {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    cx.user().read_bytes(from, &mut bytes)?;
    let sender = (cx.task.pid(), cx.task.creds().uid);
    let mut attempt = || queue.try_send(&mut bytes, priority, sender);
    if file.flags() & O_NONBLOCK != 0 {
        return if attempt()? { Ok(0) } else { Err(Errno::EAGAIN.into()) };
    }
    let attempt = || match attempt() {
        Ok(true) => Some(Ok(0)),
        Ok(false) => None,
        Err(errno) => Some(Err(errno)),
    };
    waited(cx.waiter().until(&queue.writable, deadline_ns, attempt))
}

fn mq_timedreceive(
    cx: &mut Cx<'_>,
    fd: Fd,
    to: UserAddr,
    len: usize,
    priority: UserPtr<u32>,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let deadline_ns = deadline(cx, timeout)?;
    let file = descriptor::file(cx, fd)?;
    let queue = of(&file)?;
    if !file.is_readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.attributes().max_bytes {
        return Err(Errno::EMSGSIZE.into());
    }
    let (bytes, of_priority) = if file.flags() & O_NONBLOCK != 0 {
        queue.try_receive().ok_or(Errno::EAGAIN)?
    } else {
        queue.receivers.fetch_add(1, Ordering::SeqCst);
        let result = cx.waiter().until(&queue.readable, deadline_ns, || queue.try_receive().map(Ok));
        queue.receivers.fetch_sub(1, Ordering::SeqCst);
        waited(result)?
    };
    cx.user().write_if(priority, &of_priority)?;
    cx.user().write_bytes(to, &bytes)?;
    Ok(bytes.len())
}

/// `si_code` of a notification.
const SI_MESGQ: i32 = -3;

fn mq_notify(cx: &mut Cx<'_>, fd: Fd, event: UserPtr<[u64; 8]>) -> SysResult {
    const SIGEV_SIGNAL: u32 = 0;
    const SIGEV_NONE: u32 = 1;
    const SIGEV_THREAD: u32 = 2;
    let event = event.non_null().map(|event| cx.user().read(event)).transpose()?;
    let wanted = match event {
        None => None,
        Some([value, numbers, ..]) => {
            let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
            let (signal, kind) = (low(numbers), low(numbers >> 32));
            match kind {
                SIGEV_NONE => {}
                SIGEV_SIGNAL if signal <= 64 => {}
                // The notification would come by a netlink socket.
                SIGEV_THREAD => return Err(Errno::EBADF.into()),
                _ => return Err(Errno::EINVAL.into()),
            }
            Some((kind, signal, value))
        }
    };
    let file = descriptor::file(cx, fd)?;
    let queue = of(&file)?;
    let Some((kind, signal, value)) = wanted else {
        queue.unregister(cx.task.pid());
        return Ok(0);
    };
    let process = Arc::downgrade(cx.task.process());
    let registered = process.clone();
    let lives = Arc::new(move || registered.upgrade().is_some_and(|process| !process.is_zombie()));
    let notify = Box::new(move |pid, uid| {
        if kind == SIGEV_SIGNAL
            && let (Some(process), Ok(signal)) = (process.upgrade(), Signal::new(signal))
        {
            let origin = Origin::Process { pid, uid, value };
            let info = SigInfo { signal, errno: 0, code: SI_MESGQ, origin };
            // A full queue of signals loses it, as on Linux.
            let _ = send_to_process(&process, info, From::Inside);
        }
    });
    let signal = if kind == SIGEV_SIGNAL { signal } else { 0 };
    queue.register(Registration { pid: cx.task.pid(), kind, signal, notify, lives })?;
    Ok(0)
}

fn mq_getsetattr(cx: &mut Cx<'_>, fd: Fd, new: UserPtr<MqAttr>, old: UserPtr<MqAttr>) -> SysResult {
    let new = new.non_null().map(|new| cx.user().read(new)).transpose()?;
    let nonblocking = match new {
        Some([flags, ..]) if flags & !i64::from(O_NONBLOCK) != 0 => return Err(Errno::EINVAL.into()),
        Some([flags, ..]) => Some(flags != 0),
        None => None,
    };
    let file = descriptor::file(cx, fd)?;
    let queue = of(&file)?;
    let size = queue.attributes();
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let flags = i64::from(file.flags() & O_NONBLOCK);
    let before: MqAttr =
        [flags, number(size.max_messages), number(size.max_bytes), number(queue.len()), 0, 0, 0, 0];
    if let Some(nonblocking) = nonblocking {
        let others = file.flags() & !O_NONBLOCK;
        file.set_flags(if nonblocking { others | O_NONBLOCK } else { others });
    }
    cx.user().write_if(old, &before)?;
    Ok(0)
}
