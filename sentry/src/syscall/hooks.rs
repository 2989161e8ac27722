//! What looks at a system call before it is made and after: filters and tracers.

use super::Cx;
use super::row::Restart;
use super::seccomp::{Verdict, examine};
use crate::abi::Errno;
use crate::task::thread::CallHooks;
use crate::task::trace::{self, Event, Kind, Resume};
use chitin_core::sleep::Interrupt;

/// As a handler's failure stands in `rax`.
fn failure(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

/// Looks at the call in the registers; `Some` says what is in `rax` of a call that is not made.
#[cold]
pub(super) fn before(cx: &mut Cx<'_>) -> Option<u64> {
    let task = cx.task;
    if task.call_hooks().contains(CallHooks::TRACE) {
        let instead = task.trace.lock().resume == Resume::ToCallInstead;
        cx.context.regs.rax = failure(Errno::ENOSYS.number());
        let goes_on = trace::syscall(task, cx.context, cx.sleeper, Kind::Entry);
        if !goes_on || instead || is_skipped(cx) {
            return Some(cx.context.regs.rax);
        }
    }
    if !task.call_hooks().contains(CallHooks::SECCOMP) {
        return None;
    }
    let told = match examine(cx) {
        Verdict::Allow => return None,
        Verdict::Refuse(result) => return Some(result),
        Verdict::AskTracer(told) => told,
    };
    cx.context.regs.rax = failure(Errno::ENOSYS.number());
    if !trace::event(task, cx.context, cx.sleeper, Event::Seccomp, u64::from(told)) {
        return Some(failure(Errno::ENOSYS.number()));
    }
    if task.killed() || is_skipped(cx) {
        return Some(cx.context.regs.rax);
    }
    // The tracer may have made another call of it; a second question to it counts as answered.
    match examine(cx) {
        Verdict::Allow | Verdict::AskTracer(_) => None,
        Verdict::Refuse(result) => Some(result),
    }
}

/// Whether a tracer has put -1 in the place of the number.
fn is_skipped(cx: &Cx<'_>) -> bool {
    let number: i32 = super::FromArg::from_arg(cx.context.regs.orig_rax);
    number == -1
}

/// Looks at a call whose result is in the registers. `restart` is the class of one that a signal interrupted: tracers see
/// that in `rax`.
#[cold]
pub(super) fn after(cx: &mut Cx<'_>, restart: Option<Restart>) {
    let task = cx.task;
    if task.killed() {
        return;
    }
    if let Some(class) = restart {
        let shown = match class {
            Restart::Sa => 512,
            Restart::Always => 513,
            Restart::NoHandler => 514,
            Restart::Remaining => 516,
            Restart::Never => Errno::EINTR.number(),
        };
        cx.context.regs.rax = failure(shown);
    }
    if task.call_hooks().contains(CallHooks::TRACE) {
        trace::syscall(task, cx.context, cx.sleeper, Kind::Exit);
    }
    if task.call_hooks().contains(CallHooks::STEP) {
        trace::singlestep(task, cx.context);
    }
}
