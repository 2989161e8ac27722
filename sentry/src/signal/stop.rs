//! Job control: stopping and continuing processes.

use super::action::flags;
use super::info::{Origin, SigInfo, code};
use super::number::{SigSet, Signal};
use crate::task::{ExitStatus, Process, ProcessState, StopEvent, Task, Work, trace};
use alloc::sync::Arc;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::{Interrupt, Sleeper};

/// What sending a signal does even if it is blocked or ignored: SIGCONT continues and forgets stops, a stop forgets
/// SIGCONT.
pub(super) fn before_sending(state: &mut ProcessState, signal: Signal) {
    let forget = match signal {
        Signal::CONT => SigSet::STOPS,
        _ if SigSet::STOPS.has(signal) => SigSet(Signal::CONT.bit()),
        _ => return,
    };
    state.pending.discard(forget);
    state.threads.iter().for_each(|task| task.signals.lock().pending.discard(forget));
    if signal == Signal::CONT && state.stopped_by.take().is_some() {
        if state.stopped == state.threads.len() {
            state.event = Some(StopEvent::Continued);
            state.report_continue = true;
        }
        state.stopped = 0;
        state.threads.iter().for_each(|task| task.withdraw(Work::STOP));
    }
}

/// Stops the process of the calling task by a signal that was dequeued.
pub(super) fn begin(task: &Task, signal: Signal) {
    let process = task.process();
    if signal != Signal::STOP {
        let tree = process.container.tree();
        let group = tree.group_and_session(process.pid()).map_or(0, |(group, _)| group);
        if tree.is_orphaned(group, 0) {
            return;
        }
    }
    let mut state = process.state();
    if state.exiting.is_some() || state.stopped_by.is_some() {
        return;
    }
    state.stopped_by = Some(signal);
    state.stopped = 0;
    state.stop_reported = false;
    state.threads.iter().for_each(|task| task.ask(Work::STOP));
}

/// Tells the parent once every thread has stopped. Called with a thread more stopped, or one less there.
pub(crate) fn check_complete(process: &Process) {
    let stopped_by = {
        let mut state = process.state();
        let Some(signal) = state.stopped_by else { return };
        let complete = state.stopped == state.threads.len() && state.stopped > 0;
        if !complete || state.stop_reported {
            return;
        }
        state.stop_reported = true;
        state.event = Some(StopEvent::Stopped(signal));
        signal
    };
    tell_parent(process, code::CLD_STOPPED, i32::from(stopped_by.number()));
}

/// The calling task's process stops: sleeps until it is continued or killed.
pub(crate) fn stay(task: &Task, sleeper: &Sleeper) {
    let process = task.process();
    {
        let mut state = process.state();
        if state.stopped_by.is_none() {
            return task.attended(Work::STOP);
        }
        state.stopped += 1;
    }
    check_complete(process);
    while task.work().contains(Work::STOP) && !task.killed() && !task.is_traced() {
        sleeper.park(None);
    }
    if task.is_traced() && task.work().contains(Work::STOP) {
        // It stops again, for its tracer to see.
        let mut state = process.state();
        state.stopped = state.stopped.saturating_sub(1);
        return;
    }
    report_continue(process);
}

/// As [`stay`], in a stop that the tracer of the calling task sees and ends.
pub(crate) fn stay_traced(task: &Task, context: &mut UserContext, sleeper: &Sleeper) {
    let process = task.process();
    let signal = {
        let mut state = process.state();
        let Some(signal) = state.stopped_by else { return task.attended(Work::STOP) };
        state.stopped += 1;
        signal
    };
    check_complete(process);
    trace::group_stop(task, context, sleeper, signal);
    {
        let mut state = process.state();
        if state.stopped_by.is_some() {
            state.stopped = state.stopped.saturating_sub(1);
        }
    }
    if task.is_traced() {
        task.attended(Work::STOP);
    }
    report_continue(process);
}

fn report_continue(process: &Process) {
    let report = core::mem::take(&mut process.state().report_continue);
    if report {
        tell_parent(process, code::CLD_CONTINUED, i32::from(Signal::CONT.number()));
    }
}

fn tell_parent(process: &Process, code: i32, status: i32) {
    let tree = process.container.tree();
    let Some(parent) = tree.members.get(&process.pid()).and_then(|member| tree.process(member.parent)) else {
        return;
    };
    let parent = parent.clone();
    if parent.handlers.get().get(Signal::CHLD).flags & flags::NOCLDSTOP == 0 {
        let _ = parent.send(child_info(process, code, status));
    }
    parent.children_changed.wake_all();
}

/// SIGCHLD about a child.
pub(crate) fn child_info(process: &Process, code: i32, status: i32) -> SigInfo {
    let usage = process.usage();
    let uid = process.any_thread().map_or(0, |task| task.creds().uid);
    let ticks = |ns: u64| i64::try_from(ns / 10_000_000).unwrap_or(i64::MAX);
    let origin = Origin::Child {
        pid: process.pid(),
        uid,
        status,
        user_ticks: ticks(usage.user_ns),
        system_ticks: ticks(usage.system_ns),
    };
    SigInfo { signal: Signal::CHLD, errno: 0, code, origin }
}

/// SIGCHLD about a traced thread.
pub(crate) fn thread_info(task: &Task, code: i32, status: i32) -> SigInfo {
    let (pid, uid) = (task.tid(), task.creds().uid);
    let origin = Origin::Child { pid, uid, status, user_ticks: 0, system_ticks: 0 };
    SigInfo { signal: Signal::CHLD, errno: 0, code, origin }
}

/// `si_code` and `si_status` of an end.
#[must_use]
pub fn exit_code_and_status(status: ExitStatus) -> (i32, i32) {
    match status {
        ExitStatus::Exited(exit) => (code::CLD_EXITED, i32::from(exit)),
        ExitStatus::Killed(signal) => (code::CLD_KILLED, i32::from(signal.number())),
    }
}

/// SIGHUP and SIGCONT to a newly orphaned group that has stopped members.
pub(crate) fn hang_up_if_stopped(members: &[Arc<Process>]) {
    if members.iter().any(|process| process.is_stopped()) {
        for process in members {
            let _ = process.send(SigInfo::kernel(Signal::HUP));
            let _ = process.send(SigInfo::kernel(Signal::CONT));
        }
    }
}
