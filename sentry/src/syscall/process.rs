//! Making, ending and waiting for processes (clone(2), exit(2), wait(2)).

use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, SysResult, restart_syscall};
use crate::abi::Errno;
use crate::task::clone::{CloneFlags, CloneRequest, clone, exit_signal};
use crate::task::container::Usage;
use crate::task::pidfd::PidFd;
use crate::task::wait::{Event, WaitOptions, Waited, Whom, wait};
use crate::task::{ExitStatus, StopEvent, Work};
use crate::user::{UserAddr, UserPtr};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(56, "clone", 5, sys_clone, Restart::Always, Support::Partial("no pid and network namespaces")),
    row!(57, "fork", 0, fork, Restart::Always, Support::Full),
    row!(58, "vfork", 0, vfork, Restart::Always, Support::Full),
    row!(60, "exit", 1, exit, Restart::Never, Support::Full),
    row!(61, "wait4", 4, wait4, Restart::Sa, Support::Full),
    row!(219, "restart_syscall", 0, restart_syscall, Restart::Remaining, Support::Full),
    row!(231, "exit_group", 1, exit_group, Restart::Never, Support::Full),
    row!(247, "waitid", 5, waitid, Restart::Sa, Support::Full),
    row!(435, "clone3", 2, clone3, Restart::Always, Support::Partial("as clone; no set_tid, no cgroup")),
];

fn sys_clone(
    cx: &mut Cx<'_>,
    flags: u64,
    stack: UserAddr,
    parent_tid: UserPtr<u32>,
    child_tid: UserPtr<u32>,
    tls: u64,
) -> SysResult {
    let both = (CloneFlags::PIDFD | CloneFlags::PARENT_SETTID).bits();
    if flags & both == both {
        // Both would be stored at the same place.
        return Err(Errno::EINVAL.into());
    }
    let request = CloneRequest {
        flags: CloneFlags::from_bits_truncate(flags & 0xffff_ff00),
        exit_signal: exit_signal(flags & 0xff)?,
        stack,
        pidfd: UserPtr::new(parent_tid.addr()),
        tls,
        parent_tid,
        child_tid,
    };
    clone(cx, &request)
}

fn plain(flags: CloneFlags) -> CloneRequest {
    CloneRequest {
        flags,
        exit_signal: 17,
        stack: UserAddr::NULL,
        tls: 0,
        pidfd: UserPtr::new(UserAddr::NULL),
        parent_tid: UserPtr::new(UserAddr::NULL),
        child_tid: UserPtr::new(UserAddr::NULL),
    }
}

fn fork(cx: &mut Cx<'_>) -> SysResult {
    clone(cx, &plain(CloneFlags::empty()))
}

fn vfork(cx: &mut Cx<'_>) -> SysResult {
    clone(cx, &plain(CloneFlags::VM | CloneFlags::VFORK))
}

/// `struct clone_args`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_ARGS_SIZE_VER0: usize = 64;

fn clone3(cx: &mut Cx<'_>, from: UserAddr, size: usize) -> SysResult {
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut arguments = CloneArgs::new_zeroed();
    let known = size.min(size_of::<CloneArgs>());
    cx.user().read_bytes(from, arguments.as_mut_bytes().get_mut(..known).unwrap_or_default())?;
    // What a newer caller adds must be zero.
    let mut extra = alloc::vec![0u8; size - known];
    let rest = from.checked_add(known as u64).ok_or(Errno::EFAULT)?;
    cx.user().read_bytes(rest, &mut extra)?;
    if extra.iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG.into());
    }
    let flags = CloneFlags::from_bits(arguments.flags).ok_or(Errno::EINVAL)?;
    let bad = flags.contains(CloneFlags::DETACHED)
        || arguments.set_tid_size != 0
        || (arguments.stack == 0) != (arguments.stack_size == 0)
        || (flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && arguments.exit_signal != 0);
    if bad {
        return Err(Errno::EINVAL.into());
    }
    let request = CloneRequest {
        flags,
        exit_signal: exit_signal(arguments.exit_signal)?,
        stack: UserAddr::new(arguments.stack.checked_add(arguments.stack_size).ok_or(Errno::EINVAL)?),
        tls: arguments.tls,
        pidfd: UserPtr::new(UserAddr::new(arguments.pidfd)),
        parent_tid: UserPtr::new(UserAddr::new(arguments.parent_tid)),
        child_tid: UserPtr::new(UserAddr::new(arguments.child_tid)),
    };
    clone(cx, &request)
}

fn low_byte(status: u32) -> u8 {
    status.to_le_bytes()[0]
}

fn exit(cx: &mut Cx<'_>, status: u32) -> SysResult {
    let task = cx.task;
    if task.tid() == task.pid() {
        task.process().state().leader_status = Some(ExitStatus::Exited(low_byte(status)));
    }
    task.set_exit_code(low_byte(status));
    task.ask(Work::EXIT);
    Ok(0)
}

fn exit_group(cx: &mut Cx<'_>, status: u32) -> SysResult {
    cx.task.process().begin_exit(ExitStatus::Exited(low_byte(status)));
    Ok(0)
}

/// `struct rusage`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Rusage {
    user: [i64; 2],
    system: [i64; 2],
    max_rss_kib: i64,
    others: [i64; 11],
    /// Voluntary and involuntary ones.
    switches: [i64; 2],
}

impl Rusage {
    pub(super) fn new(usage: Usage) -> Self {
        let timeval = |ns: u64| {
            let micros = i64::try_from(ns / 1000).unwrap_or(i64::MAX);
            [micros / 1_000_000, micros % 1_000_000]
        };
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let switches = [count(usage.switches.0), count(usage.switches.1)];
        Self { user: timeval(usage.user_ns), system: timeval(usage.system_ns), switches, ..Self::default() }
    }

    pub(super) const fn with_peak(mut self, kib: i64) -> Self {
        self.max_rss_kib = kib;
        self
    }
}

fn wait4(
    cx: &mut Cx<'_>,
    pid: i32,
    status: UserPtr<u32>,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let allowed = WaitOptions::NO_HANG
        | WaitOptions::STOPPED
        | WaitOptions::CONTINUED
        | WaitOptions::NO_THREAD
        | WaitOptions::ALL
        | WaitOptions::CLONE;
    let options = WaitOptions::from_bits(options).filter(|options| allowed.contains(*options));
    let options = options.ok_or(Errno::EINVAL)? | WaitOptions::EXITED;
    let whom = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => Whom::Any,
        0 => Whom::Group(cx.task.process().group_and_session().0),
        pid if pid < 0 => Whom::Group(cx.task.meant(pid.unsigned_abs())),
        pid => Whom::Pid(cx.task.meant(pid.unsigned_abs())),
    };
    let Some(waited) = wait(cx.task, &cx.waiter(), whom, options)? else { return Ok(0) };
    cx.user().write_if(status, &waited.status())?;
    cx.user().write_if(rusage, &Rusage::new(waited.usage))?;
    Ok(waited.pid as usize)
}

const P_ALL: u32 = 0;
const P_PID: u32 = 1;
const P_PGID: u32 = 2;
const P_PIDFD: u32 = 3;

fn waitid(
    cx: &mut Cx<'_>,
    kind: u32,
    id: u32,
    info: UserPtr<[u8; 128]>,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let result = wait_id(cx, kind, id, options);
    let waited = result.as_ref().ok().and_then(Option::as_ref);
    if let Some(waited) = waited {
        cx.user().write_if(rusage, &Rusage::new(waited.usage))?;
    }
    // Linux writes the information, zeros if there is none, also when the call fails.
    cx.user().write_if(info, &waited.map_or([0; 128], child_info))?;
    result.map(|_| 0)
}

fn wait_id(cx: &Cx<'_>, kind: u32, id: u32, options: u32) -> Result<Option<Waited>, Failure> {
    let options = WaitOptions::from_bits(options).ok_or(Errno::EINVAL)?;
    let events = WaitOptions::EXITED | WaitOptions::STOPPED | WaitOptions::CONTINUED;
    if !options.intersects(events) {
        return Err(Errno::EINVAL.into());
    }
    let mut nonblocking = false;
    let whom = match kind {
        P_ALL => Whom::Any,
        P_PID if id > 0 && id < 1 << 31 => Whom::Pid(cx.task.meant(id)),
        P_PGID if id == 0 => Whom::Group(cx.task.process().group_and_session().0),
        P_PGID if id < 1 << 31 => Whom::Group(cx.task.meant(id)),
        P_PIDFD => {
            let file = super::descriptor::file(cx, super::Fd(id.cast_signed()))?;
            if file.flags() & super::descriptor::NONBLOCK != 0 {
                nonblocking = true;
            }
            Whom::Pid(PidFd::process_of(&file)?.pid())
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let once = if nonblocking { WaitOptions::NO_HANG } else { WaitOptions::empty() };
    let waited = wait(cx.task, &cx.waiter(), whom, options | once)?;
    if waited.is_none() && nonblocking && !options.contains(WaitOptions::NO_HANG) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(waited)
}

fn child_info(waited: &Waited) -> [u8; 128] {
    use crate::signal::{Origin, SigInfo, Signal, code, stop};
    let (code, status) = match waited.event {
        Event::Ended(status) => stop::exit_code_and_status(status),
        Event::Stop(StopEvent::Stopped(signal)) => (code::CLD_STOPPED, i32::from(signal.number())),
        Event::Traced(code) => (code::CLD_TRAPPED, code.cast_signed()),
        Event::Stop(StopEvent::Continued) => (code::CLD_CONTINUED, i32::from(Signal::CONT.number())),
    };
    let origin = Origin::Child { pid: waited.pid, uid: waited.uid, status, user_ticks: 0, system_ticks: 0 };
    SigInfo { signal: Signal::CHLD, errno: 0, code, origin }.to_bytes()
}
