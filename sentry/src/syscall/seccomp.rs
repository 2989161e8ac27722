//! seccomp(2), `PR_SET_SECCOMP`, and what becomes of a call that a filter speaks about.

use super::row::{Restart::Never, Row, Support::Partial, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::seccomp::bpf::{Data, Instruction, MAX_LEN};
use crate::security::seccomp::{ARCH, Action, Filter, Seccomp};
use crate::security::{Capability, Creds};
use crate::signal::{SigInfo, Signal, force};
use crate::task::{ExitStatus, Task, Work};
use crate::user::{UserAddr, UserPtr};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The rows of this family.
pub const ROWS: &[Row] =
    &[row!(317, "seccomp", 3, seccomp, Never, Partial("no listeners (SECCOMP_RET_USER_NOTIF)"))];

const SET_MODE_STRICT: u32 = 0;
const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;

mod flag {
    pub(super) const TSYNC: u64 = 1;
    pub(super) const LOG: u64 = 2;
    pub(super) const SPEC_ALLOW: u64 = 4;
    pub(super) const TSYNC_ESRCH: u64 = 16;
}

fn seccomp(cx: &mut Cx<'_>, operation: u32, flags: u32, arguments: UserAddr) -> SysResult {
    let flags = u64::from(flags);
    match operation {
        SET_MODE_STRICT if flags == 0 && arguments.is_null() => set_strict(cx),
        SET_MODE_FILTER => set_filter(cx, flags, arguments),
        GET_ACTION_AVAIL if flags == 0 => {
            let action = cx.user().read(UserPtr::<u32>::new(arguments))?;
            if Action::is_available(action) { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_SET_SECCOMP`.
pub(super) fn by_prctl(cx: &Cx<'_>, mode: u64, arguments: UserAddr) -> SysResult {
    match mode {
        1 => set_strict(cx),
        2 => set_filter(cx, 0, arguments),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_strict(cx: &Cx<'_>) -> SysResult {
    if matches!(cx.task.seccomp(), Seccomp::Filter(_)) {
        return Err(Errno::EINVAL.into());
    }
    cx.task.set_seccomp(Seccomp::Strict);
    Ok(0)
}

fn set_filter(cx: &Cx<'_>, flags: u64, arguments: UserAddr) -> SysResult {
    let known = flag::TSYNC | flag::LOG | flag::SPEC_ALLOW | flag::TSYNC_ESRCH;
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cx.task;
    // struct sock_fprog: a length and, after padding, a pointer.
    let [len, pointer] = cx.user().read(UserPtr::<[u64; 2]>::new(arguments))?;
    let len = usize::try_from(len & 0xffff).map_err(|_| Errno::EINVAL)?;
    if len == 0 || len > MAX_LEN {
        return Err(Errno::EINVAL.into());
    }
    let creds = task.creds();
    if !creds.no_new_privs && !creds.has_own(Capability::SysAdmin) {
        return Err(Errno::EACCES.into());
    }
    if pointer == 0 {
        return Err(Errno::EINVAL.into());
    }
    let from = UserPtr::<Instruction>::new(UserAddr::new(pointer));
    let instructions: Vec<Instruction> = cx.user().read_array(from, len)?;
    let old = task.seccomp();
    let filter = Filter::new(instructions, old.newest().cloned(), &task.container().budget)?;
    if matches!(old, Seccomp::Strict) {
        return Err(Errno::EINVAL.into());
    }
    if flags & flag::TSYNC == 0 {
        task.set_seccomp(Seccomp::Filter(filter));
        return Ok(0);
    }
    synchronize(task, &old, &filter)
        .or_else(|tid| if flags & flag::TSYNC_ESRCH != 0 { Err(Errno::ESRCH.into()) } else { Ok(tid) })
}

/// Gives every thread of the process the new filter; fails with the number of one that has gone its own way.
fn synchronize(task: &Arc<Task>, old: &Seccomp, filter: &Arc<Filter>) -> Result<usize, usize> {
    let creds = task.creds();
    let state = task.process().state();
    for thread in state.threads.iter().filter(|thread| !Arc::ptr_eq(thread, task)) {
        let fits = match (thread.seccomp(), old) {
            (Seccomp::Off, _) => true,
            (Seccomp::Filter(theirs), Seccomp::Filter(own)) => theirs.is_ancestor_of(own),
            _ => false,
        };
        if !fits {
            return Err(task.shown(thread.tid()) as usize);
        }
    }
    for thread in &state.threads {
        thread.set_seccomp(Seccomp::Filter(filter.clone()));
        if creds.no_new_privs && !thread.creds().no_new_privs {
            thread.set_creds(Creds { no_new_privs: true, ..(*thread.creds()).clone() });
        }
    }
    Ok(0)
}

/// Whether a call is made.
pub(super) enum Verdict {
    /// Yes.
    Allow,
    /// Yes, unless a tracer that is told this number says otherwise; without one it is `ENOSYS`.
    AskTracer(u16),
    /// No; this is in `rax`.
    Refuse(u64),
}

/// Asks the filters of the calling task about the call in its registers.
pub(super) fn examine(cx: &mut Cx<'_>) -> Verdict {
    let regs = &cx.context.regs;
    let number = super::FromArg::from_arg(regs.orig_rax);
    let data = Data {
        number,
        arch: ARCH,
        rip: regs.rip,
        arguments: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
    };
    let action = match cx.task.seccomp() {
        Seccomp::Off => return Verdict::Allow,
        Seccomp::Strict if matches!(number, 0 | 1 | 15 | 60) => return Verdict::Allow,
        Seccomp::Strict => {
            end_thread(cx.task, Signal::KILL);
            return Verdict::Refuse(data_or(cx));
        }
        Seccomp::Filter(filter) => filter.answer(&data),
    };
    match action {
        Action::Allow => Verdict::Allow,
        Action::Log => {
            let (pid, name) = (cx.task.tid(), super::names::NAMES.get(number.unsigned_abs() as usize));
            crate::log::write(&format!("seccomp: [{pid}] {} logged\n", name.unwrap_or(&"?")));
            Verdict::Allow
        }
        Action::Errno(errno) => Verdict::Refuse(i64::from(errno.min(4095)).wrapping_neg().cast_unsigned()),
        Action::UserNotify => Verdict::Refuse(i64::from(-Errno::ENOSYS.number()).cast_unsigned()),
        Action::Trace(told) => Verdict::AskTracer(told),
        Action::Trap(errno) => {
            let info = SigInfo::refused_call(data.rip, number, i32::from(errno));
            let result = data_or(cx);
            force(cx.task, info);
            Verdict::Refuse(result)
        }
        Action::KillThread if cx.task.process().state().threads.len() > 1 => {
            end_thread(cx.task, Signal::SYS);
            Verdict::Refuse(data_or(cx))
        }
        Action::KillThread | Action::KillProcess => {
            cx.task.process().begin_exit(ExitStatus::Killed(Signal::SYS));
            Verdict::Refuse(data_or(cx))
        }
    }
}

/// A call that was not made leaves its number where it was.
const fn data_or(cx: &Cx<'_>) -> u64 {
    cx.context.regs.orig_rax
}

/// Ends the calling thread as a signal would end its process.
fn end_thread(task: &Arc<Task>, signal: Signal) {
    if task.tid() == task.pid() {
        task.process().state().leader_status = Some(ExitStatus::Killed(signal));
    }
    task.ask(Work::EXIT);
}
