//! Sending signals.

use super::action::Action;
use super::info::{Origin, SigInfo};
use super::number::{DefaultAction, SigSet, Signal};
use super::stop;
use crate::abi::Errno;
use crate::task::{ExitStatus, Process, ProcessState, Resource, Task, Work};
use alloc::sync::Arc;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A process of the receiver's pid namespace or of one below it, or the kernel on behalf of one.
    Inside,
    /// The host, or a process that the receiver does not see: SIGKILL and SIGSTOP reach init too.
    Outside,
}

/// Sends a signal to any thread of a process. To a zombie it is lost.
///
/// # Errors
/// `EAGAIN` when the queue of real-time signals is full.
pub fn send_to_process(process: &Arc<Process>, info: SigInfo, from: From) -> Result<(), Errno> {
    let (info, from) = as_seen_by(process, info, from);
    let action = process.handlers.get().get(info.signal);
    let limit = process.limits.soft_usize(Resource::Sigpending);
    let mut state = process.state();
    let Some(main) = state.threads.iter().find(|task| task.tid() == process.pid()) else {
        return match state.threads.first().cloned() {
            Some(first) => queue_shared(process, &mut state, &first, info, action, from, limit),
            None => Ok(()),
        };
    };
    let main = main.clone();
    queue_shared(process, &mut state, &main, info, action, from, limit)
}

fn queue_shared(
    process: &Process,
    state: &mut ProcessState,
    main: &Arc<Task>,
    info: SigInfo,
    action: Action,
    from: From,
    limit: usize,
) -> Result<(), Errno> {
    let signal = info.signal;
    stop::before_sending(state, signal);
    let traced = main.is_traced() && signal != Signal::KILL;
    if !traced && !main.holds_back().has(signal) && is_ignored(process, &action, signal, from) {
        return Ok(());
    }
    state.pending.push(info, limit).map_err(|_| Errno::EAGAIN)?;
    process.signalled.wake_all();
    let wants = |task: &&Arc<Task>| !task.blocked().has(signal) && !task.work().contains(Work::EXIT);
    let chosen = Some(main).filter(wants).or_else(|| state.threads.iter().find(wants)).cloned();
    if let Some(chosen) = chosen {
        wake_for(state, &chosen, &action, signal);
    }
    Ok(())
}

/// Sends a signal to one thread.
///
/// # Errors
/// As [`send_to_process`].
pub fn send_to_task(task: &Task, info: SigInfo, from: From) -> Result<(), Errno> {
    let signal = info.signal;
    let process = task.process();
    let (info, from) = as_seen_by(process, info, from);
    let action = process.handlers.get().get(signal);
    let limit = process.limits.soft_usize(Resource::Sigpending);
    let mut state = process.state();
    stop::before_sending(&mut state, signal);
    let blocked = {
        let mut signals = task.signals.lock();
        let blocked = signals.blocked.has(signal);
        let held_back = blocked || signals.awaited.has(signal);
        let traced = task.is_traced() && signal != Signal::KILL;
        if !held_back && !traced && is_ignored(process, &action, signal, from) {
            return Ok(());
        }
        signals.pending.push(info, limit).map_err(|_| Errno::EAGAIN)?;
        blocked
    };
    process.signalled.wake_all();
    if !blocked {
        wake_for(&mut state, task, &action, signal);
    }
    Ok(())
}

/// What the receiver is told: numbers of processes are those of its own pid namespace.
fn as_seen_by(receiver: &Process, info: SigInfo, from: From) -> (SigInfo, From) {
    let namespace = receiver.pid_namespace();
    if namespace.is_outermost() {
        return (info, from);
    }
    match info.origin {
        Origin::Process { pid, uid, value } => {
            let seen = namespace.shown(pid);
            let from = if pid != 0 && seen == 0 { From::Outside } else { from };
            (SigInfo { origin: Origin::Process { pid: seen, uid, value }, ..info }, from)
        }
        Origin::Child { pid, uid, status, user_ticks, system_ticks } => {
            let pid = namespace.shown(pid);
            (SigInfo { origin: Origin::Child { pid, uid, status, user_ticks, system_ticks }, ..info }, from)
        }
        _ => (info, from),
    }
}

/// Whether the signal is dropped instead of queued.
fn is_ignored(process: &Process, action: &Action, signal: Signal, from: From) -> bool {
    let protected = process.is_init() && action.handler == Action::DEFAULT;
    let reaches_init = from == From::Outside && SigSet::UNBLOCKABLE.has(signal);
    action.ignores(signal)
        || (protected && !reaches_init && signal.default_action() != DefaultAction::Continue)
}

/// Makes `task` look at its signals; a signal that kills ends the whole process at once.
fn wake_for(state: &mut ProcessState, task: &Task, action: &Action, signal: Signal) {
    let kills = signal == Signal::KILL
        || (action.handler == Action::DEFAULT
            && signal.default_action() == DefaultAction::Terminate
            && !task.holds_back().has(signal)
            && !task.is_traced());
    if kills && state.exiting.is_none() {
        state.exiting = Some(ExitStatus::Killed(signal));
        state.threads.iter().for_each(|task| task.ask(Work::EXIT));
    } else {
        task.ask(Work::SIGNAL);
    }
}

/// Sends a signal that the thread cannot evade, such as SIGSEGV for what it did itself: a signal that is blocked or ignored
/// is made default and unblocked first.
pub fn force(task: &Task, info: SigInfo) {
    let signal = info.signal;
    let process = task.process();
    let handlers = process.handlers.get();
    let action = handlers.get(signal);
    let blocked = task.blocked();
    if blocked.has(signal) || action.handler == Action::IGNORE {
        handlers.set(signal, Action::default());
        set_blocked(task, SigSet(blocked.0 & !signal.bit()));
    }
    if handlers.get(signal).handler == Action::DEFAULT && !task.is_traced() {
        // Init is not protected from itself.
        process.begin_exit(ExitStatus::Killed(signal));
        return;
    }
    {
        let _state = process.state();
        let _ = task.signals.lock().pending.push(info, usize::MAX);
    }
    task.ask(Work::SIGNAL);
}

/// Sets the `SIGNAL` bit of a thread as its queues say; by the thread itself.
pub fn refresh(task: &Task) {
    let state = task.process().state();
    let signals = task.signals.lock();
    let deliverable = state.pending.set().union(signals.pending.set()).without(signals.blocked);
    drop(signals);
    if deliverable.is_empty() {
        task.attended(Work::SIGNAL);
    } else {
        task.ask(Work::SIGNAL);
    }
}

/// Replaces the set of blocked signals of the calling thread; returns the old one.
pub fn set_blocked(task: &Task, blocked: SigSet) -> SigSet {
    let state = task.process().state();
    let (old, deliverable) = {
        let mut signals = task.signals.lock();
        let old = core::mem::replace(&mut signals.blocked, blocked);
        (old, state.pending.set().union(signals.pending.set()).without(blocked))
    };
    // Signals of the process that this thread was to take and now blocks: another thread takes them.
    let left = SigSet(state.pending.set().0 & blocked.0 & !old.0);
    if !left.is_empty() {
        for other in state.threads.iter().filter(|other| !core::ptr::eq(&raw const ***other, task)) {
            if !left.without(other.blocked()).is_empty() {
                other.ask(Work::SIGNAL);
            }
        }
    }
    if !deliverable.is_empty() {
        task.ask(Work::SIGNAL);
    } else if task.work().contains(Work::SIGNAL) {
        task.attended(Work::SIGNAL);
    }
    old
}
