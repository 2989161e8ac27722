//! msgget, msgsnd, msgrcv, msgctl.

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, SysResult};
use crate::abi::Errno;
use crate::ipc::sysv::NO_WAIT;
use crate::ipc::sysv::msg::{Caller, Long, Message, NotDone, QueueRecord, Wanted};
use crate::security::Creds;
use crate::user::{UserAddr, UserPtr};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(68, "msgget", 2, msgget, Restart::Never, Support::Full),
    row!(69, "msgsnd", 4, msgsnd, Restart::NoHandler, Support::Full),
    row!(70, "msgrcv", 5, msgrcv, Restart::NoHandler, Support::Full),
    row!(71, "msgctl", 3, msgctl, Restart::Never, Support::Full),
];

const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const MSG_COPY: u32 = 0o40000;

fn msgget(cx: &mut Cx<'_>, key: i32, flags: u32) -> SysResult {
    let namespace = cx.task.ipc();
    let id = namespace.queues.get(&namespace, &cx.task.creds(), key, flags)?;
    usize::try_from(id).map_err(|_| Errno::EINVAL.into())
}

fn caller<'a>(cx: &'a Cx<'_>, creds: &'a Creds, flags: u32) -> Caller<'a> {
    let waiter = (flags & NO_WAIT == 0).then(|| cx.waiter());
    Caller { waiter, creds, pid: cx.task.pid() }
}

fn failure(not_done: NotDone) -> Failure {
    match not_done {
        NotDone::Errno(errno) => errno.into(),
        NotDone::Interrupted => Failure::Interrupted,
    }
}

fn msgsnd(cx: &mut Cx<'_>, id: i32, message: UserPtr<i64>, len: i64, flags: u32) -> SysResult {
    let kind = cx.user().read(message)?;
    let namespace = cx.task.ipc();
    let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > namespace.queues.max_message.load(Ordering::Relaxed) || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    cx.user().read_bytes(message.element(1)?.addr(), &mut bytes)?;
    let message = Message::new(&namespace, kind, bytes)?;
    let queue = namespace.queues.find(id)?.object;
    let creds = cx.task.creds();
    queue.send(&caller(cx, &creds, flags), message).map_err(failure)?;
    Ok(0)
}

fn wanted(kind: i64, flags: u32) -> Wanted {
    match kind {
        _ if flags & MSG_COPY != 0 => Wanted::Copy(kind),
        0 => Wanted::Any,
        ..0 => Wanted::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        _ if flags & MSG_EXCEPT != 0 => Wanted::Except(kind),
        _ => Wanted::Kind(kind),
    }
}

fn msgrcv(cx: &mut Cx<'_>, id: i32, to: UserPtr<i64>, len: i64, kind: i64, flags: u32) -> SysResult {
    let size = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if id < 0 || (flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || flags & NO_WAIT == 0)) {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.task.ipc();
    let queue = namespace.queues.find(id)?.object;
    let creds = cx.task.creds();
    let long = if flags & MSG_NOERROR != 0 { Long::Cut } else { Long::Refused };
    let received =
        queue.receive(&caller(cx, &creds, flags), wanted(kind, flags), (size, long)).map_err(failure)?;
    cx.user().write(to, &received.kind)?;
    let bytes = received.bytes.get(..size.min(received.bytes.len())).unwrap_or_default();
    cx.user().write_bytes(to.element(1)?.addr(), bytes)?;
    Ok(bytes.len())
}

const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const IPC_INFO: u32 = 3;
const MSG_STAT: u32 = 11;
const MSG_INFO: u32 = 12;
const MSG_STAT_ANY: u32 = 13;

fn msgctl(cx: &mut Cx<'_>, id: i32, command: u32, buffer: UserAddr) -> SysResult {
    if id < 0 || command.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.task.ipc();
    let queues = &namespace.queues;
    let creds = cx.task.creds();
    match command {
        IPC_INFO | MSG_INFO => info(cx, command, buffer),
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let found = if command == IPC_STAT { queues.find(id)? } else { queues.at(id)? };
            let mut record = queues.stat(&found, (command != MSG_STAT_ANY).then_some(&*creds))?;
            record.lspid = cx.task.shown(record.lspid);
            record.lrpid = cx.task.shown(record.lrpid);
            cx.user().write(UserPtr::new(buffer), &record)?;
            let result = if command == IPC_STAT { 0 } else { found.id };
            usize::try_from(result).map_err(|_| Errno::EINVAL.into())
        }
        IPC_SET => {
            let record = cx.user().read(UserPtr::<QueueRecord>::new(buffer))?;
            queues.set(&creds, id, &record.perm, record.max_bytes)?;
            Ok(0)
        }
        IPC_RMID => {
            queues.remove(&creds, id)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct msginfo`: the limits, or what is in use.
fn info(cx: &Cx<'_>, command: u32, buffer: UserAddr) -> SysResult {
    let namespace = cx.task.ipc();
    let queues = &namespace.queues;
    let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let limit = |value: &core::sync::atomic::AtomicU64| number(value.load(Ordering::Relaxed));
    let (max, bytes, ids) = (limit(&queues.max_message), limit(&queues.max_bytes), limit(&queues.max_ids));
    let (pool, map, total) = if command == MSG_INFO {
        let (count, messages, bytes) = queues.totals();
        (number(count as u64), number(messages as u64), number(bytes))
    } else {
        // MSGPOOL, MSGMAP and MSGTQL of Linux's header, which nothing uses.
        (512_000, 16384, 16384)
    };
    // msgpool, msgmap, msgmax, msgmnb, msgmni, msgssz, msgtql, msgseg
    let info: [i32; 8] = [pool, map, max, bytes, ids, 16, total, 0xffff];
    cx.user().write_bytes(buffer, info.as_bytes())?;
    Ok(queues.highest())
}
