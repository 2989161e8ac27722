//! semget, semop, semtimedop, semctl.

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timespec;
use crate::ipc::sysv::sem::{For, NotDone, Op, SetRecord, VALUE_MAX};
use crate::user::{UserAddr, UserPtr};
use zerocopy::IntoBytes;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(64, "semget", 3, semget, Restart::Never, Support::Full),
    row!(65, "semop", 3, semop, Restart::Never, Support::Full),
    row!(66, "semctl", 4, semctl, Restart::Never, Support::Full),
    row!(220, "semtimedop", 4, semtimedop, Restart::Never, Support::Full),
];

fn semget(cx: &mut Cx<'_>, key: i32, count: i32, flags: u32) -> SysResult {
    let namespace = cx.task.ipc();
    let id = namespace.sets.get(&namespace, &cx.task.creds(), key, count, flags)?;
    usize::try_from(id).map_err(|_| Errno::EINVAL.into())
}

fn semop(cx: &mut Cx<'_>, id: i32, ops: UserPtr<Op>, count: u32) -> SysResult {
    operate(cx, id, ops, count, None)
}

fn semtimedop(
    cx: &mut Cx<'_>,
    id: i32,
    ops: UserPtr<Op>,
    count: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let timeout = timeout.non_null().map(|timeout| cx.user().read(timeout)).transpose()?;
    operate(cx, id, ops, count, timeout)
}

fn operate(cx: &Cx<'_>, id: i32, ops: UserPtr<Op>, count: u32, timeout: Option<Timespec>) -> SysResult {
    let namespace = cx.task.ipc();
    if u64::from(count) > namespace.sets.limit(2) {
        return Err(Errno::E2BIG.into());
    }
    let ops = cx.user().read_array(ops, count as usize)?;
    if ops.is_empty() || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let timeout_ns = timeout.map(Timespec::to_ns).transpose()?;
    let deadline_ns = timeout_ns.map(|timeout| cx.sleeper.now_ns().saturating_add(timeout));
    let set = namespace.sets.find(id)?.object;
    let pid = cx.task.pid();
    let mut owner = 0;
    if ops.iter().any(Op::undoes) {
        let list = cx.task.undo_list();
        list.add(&set, pid);
        owner = list.id();
    }
    match set.operate(&cx.waiter(), &cx.task.creds(), ops, owner, pid, deadline_ns) {
        Ok(()) => Ok(0),
        Err(NotDone::Errno(errno)) => Err(errno.into()),
        Err(NotDone::Interrupted) => Err(Failure::Interrupted),
    }
}

const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const IPC_INFO: u32 = 3;
const GETPID: u32 = 11;
const GETVAL: u32 = 12;
const GETALL: u32 = 13;
const GETNCNT: u32 = 14;
const GETZCNT: u32 = 15;
const SETVAL: u32 = 16;
const SETALL: u32 = 17;
const SEM_STAT: u32 = 18;
const SEM_INFO: u32 = 19;
const SEM_STAT_ANY: u32 = 20;

fn semctl(cx: &mut Cx<'_>, id: i32, number: i32, command: u32, argument: u64) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.task.ipc();
    let sets = &namespace.sets;
    let creds = cx.task.creds();
    let buffer = UserAddr::new(argument);
    let find = || sets.find(id).map(|found| found.object);
    match command {
        IPC_INFO | SEM_INFO => info(cx, command, buffer),
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let found = if command == IPC_STAT { sets.find(id)? } else { sets.at(id)? };
            let record = sets.stat(&found, (command != SEM_STAT_ANY).then_some(&*creds))?;
            cx.user().write(UserPtr::new(buffer), &record)?;
            let result = if command == IPC_STAT { 0 } else { found.id };
            usize::try_from(result).map_err(|_| Errno::EINVAL.into())
        }
        GETALL => {
            let values = find()?.values(&creds)?;
            cx.user().write_bytes(buffer, values.as_bytes())?;
            Ok(0)
        }
        GETVAL => Ok(usize::try_from(find()?.value(&creds, number)?).unwrap_or(0)),
        GETPID => Ok(cx.task.shown(find()?.last_pid(&creds, number)?) as usize),
        GETNCNT => Ok(find()?.waiting(&creds, number, For::More)?),
        GETZCNT => Ok(find()?.waiting(&creds, number, For::Zero)?),
        SETVAL => {
            // An int in a union: the lower half.
            let value = <i32 as super::FromArg>::from_arg(argument);
            if !(0..=VALUE_MAX).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            find()?.set_value(&creds, number, value, cx.task.pid())?;
            Ok(0)
        }
        SETALL => {
            let set = find()?;
            set.check_write(&creds)?;
            let values = cx.user().read_array(UserPtr::<u16>::new(buffer), set.count())?;
            if values.iter().any(|value| i32::from(*value) > VALUE_MAX) {
                return Err(Errno::ERANGE.into());
            }
            set.set_values(&creds, &values, cx.task.pid())?;
            Ok(0)
        }
        IPC_SET => {
            let record = cx.user().read(UserPtr::<SetRecord>::new(buffer))?;
            sets.set(&creds, id, &record.perm)?;
            Ok(0)
        }
        IPC_RMID => {
            sets.remove(&creds, id)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct seminfo`: the limits, or what is in use.
fn info(cx: &Cx<'_>, command: u32, buffer: UserAddr) -> SysResult {
    let namespace = cx.task.ipc();
    let sets = &namespace.sets;
    let limit = |index| i32::try_from(sets.limit(index)).unwrap_or(i32::MAX);
    let (per_set, all, ops, ids) = (limit(0), limit(1), limit(2), limit(3));
    let (used_sets, used) = if command == SEM_INFO {
        let (sets, semaphores) = sets.totals();
        (i32::try_from(sets).unwrap_or(i32::MAX), i32::try_from(semaphores).unwrap_or(i32::MAX))
    } else {
        (20, VALUE_MAX)
    };
    // semmap, semmni, semmns, semmnu, semmsl, semopm, semume, semusz, semvmx, semaem
    let info: [i32; 10] = [all, ids, all, all, per_set, ops, ops, used_sets, VALUE_MAX, used];
    cx.user().write(UserPtr::new(buffer), &info)?;
    Ok(sets.highest())
}
