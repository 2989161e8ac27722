//! Signals: actions, masks, sending, waiting (sigaction(2), kill(2), sigtimedwait(2), sigaltstack(2)).

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, SysResult};
use crate::abi::Errno;
use crate::security::{Capability, Creds};
use crate::signal::action::flags;
use crate::signal::frame::{self, UserStack};
use crate::signal::info::SIZE as INFO_SIZE;
use crate::signal::{
    Action, AltStack, From, Origin, SigInfo, SigSet, Signal, code, deliver, force, send_to_process,
    send_to_task, set_blocked, sigreturn,
};
use crate::task::tree::Tree;
use crate::task::{Process, Task};
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Woken;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(13, "rt_sigaction", 4, rt_sigaction, Restart::Never, Support::Full),
    row!(14, "rt_sigprocmask", 4, rt_sigprocmask, Restart::Never, Support::Full),
    row!(15, "rt_sigreturn", 0, rt_sigreturn, Restart::Never, Support::Full),
    row!(34, "pause", 0, pause, Restart::NoHandler, Support::Full),
    row!(62, "kill", 2, kill, Restart::Never, Support::Full),
    row!(127, "rt_sigpending", 2, rt_sigpending, Restart::Never, Support::Full),
    row!(128, "rt_sigtimedwait", 4, rt_sigtimedwait, Restart::Never, Support::Full),
    row!(129, "rt_sigqueueinfo", 3, rt_sigqueueinfo, Restart::Never, Support::Full),
    row!(130, "rt_sigsuspend", 2, rt_sigsuspend, Restart::NoHandler, Support::Full),
    row!(131, "sigaltstack", 2, sigaltstack, Restart::Never, Support::Full),
    row!(200, "tkill", 2, tkill, Restart::Never, Support::Full),
    row!(234, "tgkill", 3, tgkill, Restart::Never, Support::Full),
    row!(297, "rt_tgsigqueueinfo", 4, rt_tgsigqueueinfo, Restart::Never, Support::Full),
];

const SET_SIZE: usize = 8;

/// `struct sigaction` of the kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct UserAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

fn rt_sigaction(
    cx: &mut Cx<'_>,
    number: u32,
    new: UserPtr<UserAction>,
    old: UserPtr<UserAction>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let new = new.non_null().map(|new| cx.user().read(new)).transpose()?;
    let signal = Signal::new(number)?;
    let handlers = cx.task.process().handlers.get();
    let before = match new {
        None => handlers.get(signal),
        Some(_) if SigSet::UNBLOCKABLE.has(signal) => return Err(Errno::EINVAL.into()),
        Some(new) => {
            let action = Action {
                handler: new.handler,
                flags: new.flags & flags::KNOWN,
                restorer: new.restorer,
                mask: SigSet(new.mask).without(SigSet::UNBLOCKABLE),
            };
            let before = handlers.set(signal, action);
            if action.ignores(signal) {
                forget(cx.task, signal);
            }
            before
        }
    };
    let told = UserAction {
        handler: before.handler,
        flags: before.flags,
        restorer: before.restorer,
        mask: before.mask.0,
    };
    cx.user().write_if(old, &told)?;
    Ok(0)
}

/// Pending signals that are ignored now are dropped, even if they are blocked.
fn forget(task: &Task, signal: Signal) {
    let mut state = task.process().state();
    let set = SigSet(signal.bit());
    state.pending.discard(set);
    state.threads.iter().for_each(|thread| thread.signals.lock().pending.discard(set));
}

fn rt_sigprocmask(cx: &mut Cx<'_>, how: u32, new: UserPtr<u64>, old: UserPtr<u64>, size: usize) -> SysResult {
    check_size(size)?;
    let before = cx.task.blocked();
    if let Some(new) = new.non_null() {
        let set = cx.user().read(new)?;
        let blocked = match how {
            0 => before.0 | set,
            1 => before.0 & !set,
            2 => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        set_blocked(cx.task, SigSet(blocked).without(SigSet::UNBLOCKABLE));
    }
    cx.user().write_if(old, &before.0)?;
    Ok(0)
}

#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits on x86-64")]
fn rt_sigreturn(cx: &mut Cx<'_>) -> SysResult {
    let (task, user) = (cx.task, crate::user::UserMemory { mm: cx.mm, sleeper: cx.sleeper });
    match sigreturn(task, cx.context, user) {
        Ok(value) => Ok(value as usize),
        Err(_) => {
            force(task, SigInfo::kernel(Signal::SEGV));
            Ok(0)
        }
    }
}

fn sleep_for_signal(cx: &Cx<'_>) -> SysResult {
    loop {
        if cx.waiter().park(None) == Woken::Interrupted {
            return Err(Failure::Interrupted);
        }
    }
}

fn pause(cx: &mut Cx<'_>) -> SysResult {
    sleep_for_signal(cx)
}

fn rt_sigsuspend(cx: &mut Cx<'_>, set: UserPtr<u64>, size: usize) -> SysResult {
    check_size(size)?;
    let set = cx.user().read(set)?;
    cx.task.set_temporary_mask(SigSet(set));
    sleep_for_signal(cx)
}

fn rt_sigpending(cx: &mut Cx<'_>, to: UserPtr<u64>, size: usize) -> SysResult {
    if size > SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let pending = {
        let state = cx.task.process().state();
        let signals = cx.task.signals.lock();
        state.pending.set().union(signals.pending.set()).0 & signals.blocked.0
    };
    cx.user().write_bytes(to.addr(), pending.as_bytes().get(..size).unwrap_or_default())?;
    Ok(0)
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

fn rt_sigtimedwait(
    cx: &mut Cx<'_>,
    set: UserPtr<u64>,
    info: UserPtr<[u8; INFO_SIZE]>,
    timeout: UserPtr<Timespec>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let set = SigSet(cx.user().read(set)?).without(SigSet::UNBLOCKABLE);
    let timeout_ns = match timeout.non_null() {
        None => None,
        Some(timeout) => {
            let time = cx.user().read(timeout)?;
            let (sec, nsec) = (u64::try_from(time.sec), u64::try_from(time.nsec));
            let (Ok(sec), Ok(nsec @ 0..1_000_000_000)) = (sec, nsec) else {
                return Err(Errno::EINVAL.into());
            };
            Some(sec.saturating_mul(1_000_000_000).saturating_add(nsec))
        }
    };
    let deadline = cx.deadline(timeout_ns);
    let found = match deliver::take_of(cx.task, set) {
        Some(found) => Ok(found),
        None => wait_for(cx, set, deadline),
    }?;
    cx.user().write_if(info, &found.to_bytes())?;
    Ok(usize::from(found.signal.number()))
}

/// Sleeps with the signals of `set` unblocked, so that senders choose this thread.
fn wait_for(cx: &Cx<'_>, set: SigSet, deadline: Option<u64>) -> Result<SigInfo, Failure> {
    let task = cx.task;
    // Before they are unblocked, and until they are blocked again, no sender acts on them.
    let blocked = task.blocked();
    task.signals.lock().awaited = SigSet(blocked.0 & set.0);
    let before = set_blocked(task, blocked.without(set));
    let result = loop {
        if let Some(found) = deliver::take_of(task, set) {
            break Ok(found);
        }
        match cx.waiter().park(deadline) {
            Woken::Ready => {}
            Woken::Interrupted => {
                break deliver::take_of(task, set).ok_or(Failure::Interrupted);
            }
            Woken::TimedOut => break Err(Errno::EAGAIN.into()),
        }
    };
    set_blocked(task, before);
    task.signals.lock().awaited = SigSet::EMPTY;
    result
}

/// Whether `creds` may send `signal` to the process (kill(2)).
pub(super) fn may_signal(cx: &Cx<'_>, creds: &Creds, target: &Process, signal: Option<Signal>) -> bool {
    may_signal_of(&target.container.tree(), cx, creds, target, signal)
}

/// As [`may_signal`], with the tree locked.
fn may_signal_of(tree: &Tree, cx: &Cx<'_>, creds: &Creds, target: &Process, signal: Option<Signal>) -> bool {
    let Some(of) = tree.tasks.get(&target.pid()).map(|task| task.creds()) else { return true };
    let same = [creds.uid, creds.euid].iter().any(|id| *id == of.uid || *id == of.suid);
    let continues = signal == Some(Signal::CONT)
        && cx.task.process().group_and_session().1 == target.group_and_session().1;
    same || continues || creds.has_in(Capability::Kill, &of.user_ns)
}

fn kill(cx: &mut Cx<'_>, pid: i32, number: u32) -> SysResult {
    let container = cx.task.container();
    let own = cx.task.pid();
    // Locked while signals are sent: who forks meanwhile does not get away (see `task::clone`).
    let tree = container.tree();
    let targets: Vec<Arc<Process>> = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => {
            tree.all_processes().filter(|p| p.pid() != own && cx.task.shown(p.pid()) > 1).cloned().collect()
        }
        0 => tree.group_processes(cx.task.process().group_and_session().0),
        pid if pid < 0 => tree.group_processes(cx.task.meant(pid.unsigned_abs())),
        pid => tree.process_with_thread(cx.task.meant(pid.unsigned_abs())).cloned().into_iter().collect(),
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    // The number is looked at for each receiver, so nobody to receive it comes first.
    let signal = Signal::or_probe(number)?;
    let creds = cx.task.creds();
    let mut result = Err(Errno::ESRCH);
    for target in &targets {
        if !may_signal_of(&tree, cx, &creds, target, signal) {
            result = result.or(Err(Errno::EPERM));
            continue;
        }
        result = match signal {
            None => Ok(0),
            Some(signal) => target.send(SigInfo::user(signal, own, creds.uid)).map(|()| 0).or(result),
        };
    }
    Ok(result?)
}

/// The process that has a thread of that number.
fn process_of(cx: &Cx<'_>, number: u32) -> Option<Arc<Process>> {
    let number = cx.task.meant(number);
    cx.task.container().tree().process_with_thread(number).cloned()
}

fn signal_thread(cx: &Cx<'_>, pid: Option<u32>, tid: u32, number: u32, info: Option<SigInfo>) -> SysResult {
    let Some(task) = cx.task.find_task(tid) else {
        // A process that has ended and was not waited for takes any signal, without effect.
        let is_zombie =
            pid.is_none_or(|pid| pid == tid) && cx.task.find_process(tid).is_some_and(|of| of.is_zombie());
        return match Signal::or_probe(number) {
            _ if !is_zombie => Err(Errno::ESRCH.into()),
            Ok(_) => Ok(0),
            Err(errno) => Err(errno.into()),
        };
    };
    if pid.is_some_and(|pid| task.pid() != cx.task.meant(pid)) {
        return Err(Errno::ESRCH.into());
    }
    let signal = Signal::or_probe(number)?;
    if task.process().is_zombie() {
        return Ok(0);
    }
    let creds = cx.task.creds();
    if !may_signal(cx, &creds, task.process(), signal) {
        return Err(Errno::EPERM.into());
    }
    if let Some(signal) = signal {
        let own = SigInfo { code: code::TKILL, ..SigInfo::user(signal, cx.task.pid(), creds.uid) };
        let (info, from) = as_sent(cx, task.process(), info.unwrap_or(own));
        send_to_task(&task, info, from)?;
    }
    Ok(0)
}

fn positive(number: i32) -> Result<u32, Errno> {
    u32::try_from(number).ok().filter(|number| *number > 0).ok_or(Errno::EINVAL)
}

fn tkill(cx: &mut Cx<'_>, tid: i32, number: u32) -> SysResult {
    signal_thread(cx, None, positive(tid)?, number, None)
}

fn tgkill(cx: &mut Cx<'_>, pid: i32, tid: i32, number: u32) -> SysResult {
    signal_thread(cx, Some(positive(pid)?), positive(tid)?, number, None)
}

/// Reads a `siginfo_t` that the caller composed: it may not claim to come from the kernel or kill(2), but to itself.
pub(super) fn read_info(
    cx: &Cx<'_>,
    target: i32,
    from: UserPtr<[u8; INFO_SIZE]>,
) -> Result<[u8; INFO_SIZE], Errno> {
    let bytes = cx.user().read(from)?;
    let info = SigInfo::from_bytes(Signal::HUP, &bytes);
    if (info.code >= 0 || info.code == code::TKILL)
        && u32::try_from(target) != Ok(cx.task.shown(cx.task.pid()))
    {
        return Err(Errno::EPERM);
    }
    Ok(bytes)
}

/// What a receiver gets of a signal that the caller composed, and from where: who is not seen has no number.
pub(super) fn as_sent(cx: &Cx<'_>, receiver: &Process, mut info: SigInfo) -> (SigInfo, From) {
    if receiver.pid_namespace().shown(cx.task.pid()) != 0 {
        return (info, From::Inside);
    }
    if let Origin::Raw(bytes) = &mut info.origin
        && let Some(pid) = bytes.get_mut(4..8)
    {
        pid.fill(0);
    }
    (info, From::Outside)
}

/// What was read, as one of signal `number`; `None` for a probe.
pub(super) fn numbered(bytes: [u8; INFO_SIZE], number: u32) -> Result<Option<SigInfo>, Errno> {
    Ok(Signal::or_probe(number)?.map(|signal| SigInfo::from_bytes(signal, &bytes)))
}

fn rt_sigqueueinfo(cx: &mut Cx<'_>, pid: i32, number: u32, info: UserPtr<[u8; INFO_SIZE]>) -> SysResult {
    let info = read_info(cx, pid, info)?;
    let target = u32::try_from(pid).ok().and_then(|pid| process_of(cx, pid)).ok_or(Errno::ESRCH)?;
    let info = numbered(info, number)?;
    if !may_signal(cx, &cx.task.creds(), &target, info.map(|info| info.signal)) {
        return Err(Errno::EPERM.into());
    }
    if let Some(info) = info {
        let (info, from) = as_sent(cx, &target, info);
        send_to_process(&target, info, from)?;
    }
    Ok(0)
}

fn rt_tgsigqueueinfo(
    cx: &mut Cx<'_>,
    pid: i32,
    tid: i32,
    number: u32,
    info: UserPtr<[u8; INFO_SIZE]>,
) -> SysResult {
    let info = read_info(cx, pid, info)?;
    let (pid, tid) = (positive(pid)?, positive(tid)?);
    let info = numbered(info, number).ok().flatten();
    signal_thread(cx, Some(pid), tid, number, info)
}

const MIN_STACK: u64 = 2048;

fn sigaltstack(cx: &mut Cx<'_>, new: UserPtr<UserStack>, old: UserPtr<UserStack>) -> SysResult {
    let sp = cx.context.regs.rsp;
    let before = cx.task.signals.lock().alt_stack;
    if let Some(new) = new.non_null() {
        let new = cx.user().read(new)?;
        if before.is_some_and(|stack| !stack.disarms && stack.holds(sp)) {
            return Err(Errno::EPERM.into());
        }
        let disarms = new.flags & frame::SS_AUTODISARM != 0;
        let stack = match new.flags & !frame::SS_AUTODISARM {
            frame::SS_DISABLE => None,
            0 | frame::SS_ONSTACK if new.size < MIN_STACK => return Err(Errno::ENOMEM.into()),
            0 | frame::SS_ONSTACK => Some(AltStack { base: new.sp, size: new.size, disarms }),
            _ => return Err(Errno::EINVAL.into()),
        };
        cx.task.signals.lock().alt_stack = stack;
    }
    cx.user().write_if(old, &frame::describe(before, sp))?;
    Ok(0)
}
