//! Delivery: what a task does about its signals on the way to user mode.

use super::action::{Action, flags};
use super::info::{Origin, SigInfo};
use super::number::{DefaultAction, SigSet, Signal};
use super::{From, force, frame, refresh, send_to_task, set_blocked, stop};
use crate::mm::Mm;
use crate::syscall::row::Restart;
use crate::task::{ExitStatus, Task, Work, rseq, trace};
use crate::user::UserMemory;
use alloc::sync::Arc;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::Sleeper;

/// How the instruction before the one at `rip` is repeated: `SYSCALL` has two bytes.
const SYSCALL_LEN: u64 = 2;
const EINTR: u64 = (-4i64).cast_unsigned();
const RESTART_SYSCALL: u64 = 219;

/// Takes the next signal that is not blocked.
fn next(task: &Task) -> Option<SigInfo> {
    let taken = {
        let mut state = task.process().state();
        if state.exiting.is_some() {
            return None;
        }
        let mut signals = task.signals.lock();
        let blocked = signals.blocked;
        signals.pending.take(blocked).or_else(|| state.pending.take(blocked))
    };
    refresh(task);
    taken
}

/// What to do about a signal.
fn action_of(task: &Task, info: &SigInfo) -> Action {
    let handlers = task.process().handlers.get();
    let action = handlers.get(info.signal);
    if action.is_handler() && action.flags & flags::RESETHAND != 0 {
        handlers.set(info.signal, Action::default());
    }
    action
}

/// Takes a signal of `set` even though it is blocked (rt_sigtimedwait(2), signalfd(2)).
pub fn take_of(task: &Task, set: SigSet) -> Option<SigInfo> {
    let taken = {
        let mut state = task.process().state();
        let mut signals = task.signals.lock();
        let others = SigSet(!set.0);
        signals.pending.take(others).or_else(|| state.pending.take(others))
    };
    refresh(task);
    taken
}

/// Delivers pending signals: runs default actions and sets up the frame of at most one handler per call and signal.
/// `restart` is the class of a system call that was interrupted; it is decided here whether it is made again.
pub fn deliver(
    task: &Task,
    context: &mut UserContext,
    mm: &Arc<Mm>,
    sleeper: &Sleeper,
    restart: &mut Option<Restart>,
) {
    while task.work().contains(Work::SIGNAL) && !task.work().contains(Work::EXIT) {
        let Some(mut info) = next(task) else { return };
        if task.is_traced() && info.signal != Signal::KILL {
            let chosen = trace::signal(task, context, sleeper, info);
            if context.regs.orig_rax == u64::MAX {
                // The tracer has put the thread elsewhere.
                *restart = None;
            }
            match chosen {
                Some(chosen) => info = chosen,
                None => continue,
            }
        }
        let action = action_of(task, &info);
        match action.handler {
            Action::IGNORE => {}
            Action::DEFAULT => act_by_default(task, &info),
            _ => {
                handle(task, context, UserMemory { mm, sleeper }, &info, &action, restart.take());
                trace::singlestep(task, context);
            }
        }
        if task.work().contains(Work::STOP) {
            return;
        }
    }
}

/// No handler ran: a system call that was interrupted is made again, but for the class that never is.
pub fn resume(context: &mut UserContext, restart: Restart) {
    let regs = &mut context.regs;
    match restart {
        Restart::Never => {}
        Restart::Sa | Restart::NoHandler | Restart::Always => {
            regs.rax = regs.orig_rax;
            regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
        }
        Restart::Remaining => {
            regs.rax = RESTART_SYSCALL;
            regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
        }
    }
}

fn act_by_default(task: &Task, info: &SigInfo) {
    let signal = info.signal;
    match signal.default_action() {
        DefaultAction::Ignore | DefaultAction::Continue => {}
        DefaultAction::Stop if task.process().is_init() && signal != Signal::STOP => {}
        DefaultAction::Stop => stop::begin(task, signal),
        DefaultAction::Terminate | DefaultAction::Core => {
            // Init is protected from others, not from itself.
            let own_fault = matches!(info.origin, Origin::Fault { .. });
            if !task.process().is_init() || own_fault || SigSet::UNBLOCKABLE.has(signal) {
                task.process().begin_exit(ExitStatus::Killed(signal));
            }
        }
    }
}

fn handle(
    task: &Task,
    context: &mut UserContext,
    user: UserMemory<'_>,
    info: &SigInfo,
    action: &Action,
    restart: Option<Restart>,
) {
    if let Some(class) = restart {
        if class == Restart::Always || (class == Restart::Sa && action.flags & flags::RESTART != 0) {
            resume(context, class);
        } else {
            context.regs.rax = EINTR;
        }
    }
    let (blocked, alt_stack) = {
        let mut signals = task.signals.lock();
        (signals.saved.take().unwrap_or(signals.blocked), signals.alt_stack)
    };
    task.mask_saved.store(false, core::sync::atomic::Ordering::Relaxed);
    if task.rseq.is_registered() {
        rseq::resume(task, context, &user, rseq::Since::Interrupt);
    }
    let frame = frame::Frame { info, action, blocked, alt_stack };
    if frame.push(context, user).is_err() {
        // A SIGSEGV that cannot be delivered kills.
        if info.signal == Signal::SEGV {
            task.process().handlers.get().set(Signal::SEGV, Action::default());
        }
        force(task, SigInfo::kernel(Signal::SEGV));
        return;
    }
    if alt_stack.is_some_and(|stack| stack.disarms) && action.flags & flags::ONSTACK != 0 {
        task.signals.lock().alt_stack = None;
    }
    let itself = if action.flags & flags::NODEFER == 0 { info.signal.bit() } else { 0 };
    let now = task.blocked();
    set_blocked(task, SigSet(now.0 | action.mask.0 | itself).without(SigSet::UNBLOCKABLE));
}

/// Tells a task of an exception that it caused.
pub fn exception(task: &Task, vector: u8, rip: u64) {
    use super::info::code::*;
    let (signal, code) = match vector {
        0 => (Signal::FPE, FPE_INTDIV),
        1 => (Signal::TRAP, TRAP_TRACE),
        3 => (Signal::TRAP, KERNEL),
        6 => (Signal::ILL, ILL_ILLOPN),
        16 | 19 => (Signal::FPE, FPE_FLTINV),
        17 => (Signal::BUS, BUS_ADRALN),
        11 | 12 => (Signal::BUS, KERNEL),
        _ => (Signal::SEGV, KERNEL),
    };
    let address = if code == KERNEL { 0 } else { rip };
    force(task, SigInfo::fault(signal, code, address));
}

/// Sends a signal that says nothing of itself to the calling thread.
pub fn raise_kernel(task: &Task, signal: Signal) {
    let _ = send_to_task(task, SigInfo::kernel(signal), From::Inside);
}
