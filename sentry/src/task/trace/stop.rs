//! Stops of a traced thread: each tells its tracer and sleeps until that lets it go on.

use super::{Event, Options, Resume, Stopped};
use crate::signal::{From, Origin, SigInfo, Signal, code, send_to_process, send_to_task};
use crate::task::thread::CallHooks;
use crate::task::{ExitStatus, Task, Work};
use chitin_core::cpu::UserContext;
use chitin_core::sleep::{Interrupt, Sleeper};

/// `RFLAGS.TF`.
const TRAP_FLAG: u64 = 1 << 8;

/// What a thread stops for, as `PTRACE_GET_SYSCALL_INFO` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signal or event.
    Other,
    /// Before a system call.
    Entry,
    /// After one.
    Exit,
    /// A filter spoke of a call; with what it said.
    Seccomp(u32),
    /// Before the end of the thread.
    Ending,
}

/// Stops with `code` (bits 8 and up of the wait status). Returns the signal that the tracer wants it to go on with.
pub fn stop(
    task: &Task,
    context: &mut UserContext,
    sleeper: &Sleeper,
    code: u32,
    info: Option<SigInfo>,
    kind: Kind,
) -> u32 {
    if kind != Kind::Ending && task.killed() {
        return 0;
    }
    crate::platform::get().flush_xstate(&mut context.xstate);
    if task.trace.lock().resume == Resume::OneStep {
        context.regs.rflags &= !TRAP_FLAG;
    }
    let stopped = Stopped {
        code,
        reported: false,
        info,
        regs: context.regs,
        xstate: context.xstate.bytes().to_vec(),
        kind,
        signal: 0,
        resumed: false,
    };
    {
        // Below the tree nobody attaches or detaches.
        let tree = task.container().tree();
        if !tree.traced.contains_key(&task.tid()) {
            return code & 0x7f;
        }
        task.trace.lock().stopped = Some(stopped);
    }
    tell_tracer(task);
    loop {
        if is_to_go_on(task, kind) {
            break;
        }
        sleeper.park(None);
        listen(task);
    }
    let (taken, resume) = {
        let mut trace = task.trace.lock();
        trace.listens = false;
        (trace.stopped.take(), trace.resume)
    };
    let Some(stopped) = taken else { return 0 };
    context.regs = stopped.regs;
    let area = context.xstate.bytes_mut();
    if area.len() == stopped.xstate.len() {
        area.copy_from_slice(&stopped.xstate);
    }
    if !stopped.resumed {
        return 0;
    }
    match resume {
        Resume::ToCall | Resume::ToCallInstead => task.hook_calls(CallHooks::TRACE),
        Resume::Freely | Resume::OneStep => task.unhook_calls(CallHooks::TRACE),
    }
    if resume == Resume::OneStep && task.is_traced() {
        task.hook_calls(CallHooks::STEP);
        context.regs.rflags |= TRAP_FLAG;
    } else {
        task.unhook_calls(CallHooks::STEP);
    }
    stopped.signal
}

fn is_to_go_on(task: &Task, kind: Kind) -> bool {
    let resumed = task.trace.lock().stopped.as_ref().is_none_or(|stopped| stopped.resumed);
    // A thread that ends is killed already; only SIGKILL takes it out of its last stop.
    let killed = match kind {
        Kind::Ending => task.process().state().exiting == Some(ExitStatus::Killed(Signal::KILL)),
        _ => task.killed(),
    };
    resumed || killed
}

/// News for a tracer that listens: a group stop began or ended since the stop that it was told of, or a stop was asked for.
fn listen(task: &Task) {
    let in_group_stop = task.work().contains(Work::STOP);
    let tells = {
        let mut trace = task.trace.lock();
        let told =
            trace.stopped.as_ref().map(|stopped| stopped.code & 0x7f != u32::from(Signal::TRAP.number()));
        let news = trace.listens && (told != Some(in_group_stop) || trace.trap_asked);
        if news {
            (trace.listens, trace.trap_asked) = (false, false);
            let signal = if in_group_stop { Signal::STOP } else { Signal::TRAP };
            if let Some(stopped) = &mut trace.stopped {
                stopped.code = u32::from(signal.number()) | (Event::Stop as u32) << 8;
                stopped.reported = false;
            }
        }
        news
    };
    if tells {
        tell_tracer(task);
    }
}

/// Wakes the tracer, and sends it SIGCHLD unless it wants none of stopped children.
fn tell_tracer(task: &Task) {
    let tracer = {
        let tree = task.container().tree();
        tree.traced.get(&task.tid()).and_then(|traced| tree.process(traced.tracer_pid)).cloned()
    };
    let Some(tracer) = tracer else { return };
    let action = tracer.handlers.get().get(Signal::CHLD);
    if action.flags & crate::signal::action::flags::NOCLDSTOP == 0 {
        let status = task.trace.lock().stopped.as_ref().map_or(0, |stopped| stopped.code & 0x7f);
        let origin = Origin::Child {
            pid: task.tid(),
            uid: task.creds().uid,
            status: status.cast_signed(),
            user_ticks: 0,
            system_ticks: 0,
        };
        let info = SigInfo { signal: Signal::CHLD, errno: 0, code: code::CLD_TRAPPED, origin };
        let _ = send_to_process(&tracer, info, From::Inside);
    }
    tracer.children_changed.wake_all();
}

/// A trap of the kernel's own making, as a tracer sees it.
fn trap_info(task: &Task, code: u32) -> SigInfo {
    let own = SigInfo::user(Signal::TRAP, task.tid(), task.creds().uid);
    SigInfo { code: code.cast_signed(), ..own }
}

fn has(task: &Task, option: Options) -> bool {
    task.is_traced() && task.trace.lock().options.contains(option)
}

/// Stops for an event with a message, if the tracer asked for such. Returns whether it did.
pub fn event(task: &Task, context: &mut UserContext, sleeper: &Sleeper, event: Event, message: u64) -> bool {
    if event.option().is_none_or(|option| !has(task, option)) {
        return false;
    }
    task.trace.lock().message = message;
    let code = u32::from(Signal::TRAP.number()) | (event as u32) << 8;
    let kind = match event {
        Event::Seccomp => Kind::Seccomp(u32::try_from(message).unwrap_or(0)),
        Event::Exit => Kind::Ending,
        _ => Kind::Other,
    };
    let signal = stop(task, context, sleeper, code, Some(trap_info(task, code)), kind);
    inject(task, signal);
    true
}

/// The last stop of a thread, before it lets go of its memory.
pub fn exit_event(task: &Task, context: &mut UserContext, sleeper: &Sleeper) {
    if !has(task, Options::TRACEEXIT) {
        return;
    }
    let status = task.end_status().wait_status();
    event(task, context, sleeper, Event::Exit, u64::from(status));
}

/// Stops before or after a system call. Returns whether the call is to be made.
pub fn syscall(task: &Task, context: &mut UserContext, sleeper: &Sleeper, kind: Kind) -> bool {
    let good = has(task, Options::TRACESYSGOOD);
    let code = u32::from(Signal::TRAP.number()) | if good { 0x80 } else { 0 };
    task.trace.lock().message = if kind == Kind::Entry { 1 } else { 2 };
    let signal = stop(task, context, sleeper, code, Some(trap_info(task, code)), kind);
    inject(task, signal);
    !task.killed()
}

/// The instruction that was to be run alone has been run: it was a system call.
pub fn singlestep(task: &Task, context: &UserContext) {
    if task.trace.lock().resume == Resume::OneStep {
        let info = SigInfo::fault(Signal::TRAP, code::TRAP_BRKPT, context.regs.rip);
        let _ = send_to_task(task, info, From::Inside);
    }
}

/// The signal that a tracer lets a thread go on with after a stop that was not for a signal.
fn inject(task: &Task, signal: u32) {
    if let Ok(signal) = Signal::new(signal) {
        let info = SigInfo { code: code::KERNEL, ..SigInfo::user(signal, task.tracer(), 0) };
        let _ = send_to_task(task, info, From::Inside);
    }
}

/// A signal is about to be delivered: the tracer decides. Returns what is delivered in its place.
pub fn signal(task: &Task, context: &mut UserContext, sleeper: &Sleeper, info: SigInfo) -> Option<SigInfo> {
    let number = u32::from(info.signal.number());
    let tracer = task.tracer();
    task.trace.lock().message = 0;
    let chosen = stop_with_info(task, context, sleeper, number, info);
    let (chosen, told) = chosen?;
    let signal = Signal::new(chosen).ok()?;
    if signal == told.signal {
        return Some(told);
    }
    let replaced = SigInfo::user(signal, tracer, 0);
    if task.blocked().has(signal) {
        let _ = send_to_task(task, replaced, From::Inside);
        return None;
    }
    Some(replaced)
}

/// As [`stop`]; also returns what the tracer may have made of `info`.
fn stop_with_info(
    task: &Task,
    context: &mut UserContext,
    sleeper: &Sleeper,
    code: u32,
    info: SigInfo,
) -> Option<(u32, SigInfo)> {
    let signal = stop(task, context, sleeper, code, Some(info), Kind::Other);
    let changed = task.trace.lock().changed_info.take();
    Some((signal, changed.unwrap_or(info))).filter(|_| !task.killed())
}

/// The process stops by `signal`: a traced thread does so in a stop of its own.
pub fn group_stop(task: &Task, context: &mut UserContext, sleeper: &Sleeper, signal: Signal) {
    let number = u32::from(signal.number());
    let (code, info) = if task.is_seized() {
        let code = number | (Event::Stop as u32) << 8;
        let own = SigInfo::user(signal, task.tid(), task.creds().uid);
        (code, Some(SigInfo { code: code.cast_signed(), ..own }))
    } else {
        (number, None)
    };
    let signal = stop(task, context, sleeper, code, info, Kind::Other);
    inject(task, signal);
}

/// Stops because that was asked for ([`super::Trace::trap_asked`]).
pub fn look(task: &Task, context: &mut UserContext, sleeper: &Sleeper) {
    let asked = core::mem::take(&mut task.trace.lock().trap_asked);
    if asked && task.is_traced() {
        let code = u32::from(Signal::TRAP.number()) | (Event::Stop as u32) << 8;
        let signal = stop(task, context, sleeper, code, Some(trap_info(task, code)), Kind::Other);
        inject(task, signal);
    }
}
