//! Becoming a tracer, and ceasing to be one.

use super::{Options, Resume, Stopped, Trace, Traced};
use crate::abi::Errno;
use crate::signal::{From, SigInfo, Signal, send_to_task};
use crate::task::thread::CallHooks;
use crate::task::tree::Tree;
use crate::task::{Task, Work};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// How a tracer comes to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It stops by SIGSTOP (`PTRACE_ATTACH`).
    Attach,
    /// It goes on (`PTRACE_SEIZE`).
    Seize(Options),
}

fn link(tree: &mut Tree, task: &Arc<Task>, (tracer, tracer_pid): (u32, u32), trace: Trace) {
    *task.trace.lock() = trace;
    task.tracer.store(tracer, Ordering::Relaxed);
    tree.traced.insert(task.tid(), Traced { task: task.clone(), tracer, tracer_pid, ended: None });
}

/// Makes `tracer` the tracer of `task`, which it may look into.
///
/// # Errors
/// `EPERM` for a thread that has a tracer, has ended, or is of the tracer's own process.
pub fn attach(tracer: &Arc<Task>, task: &Arc<Task>, how: How) -> Result<(), Errno> {
    {
        let mut tree = task.container().tree();
        let gone = task.process().is_zombie() || !tree.tasks.contains_key(&task.tid());
        if Arc::ptr_eq(tracer.process(), task.process()) || task.is_traced() || gone {
            return Err(Errno::EPERM);
        }
        let (seized, options) = match how {
            How::Attach => (false, Options::empty()),
            How::Seize(options) => (true, options),
        };
        let trace = Trace { seized, options, ..Trace::default() };
        link(&mut tree, task, (tracer.tid(), tracer.pid()), trace);
    }
    if how == How::Attach {
        let _ = send_to_task(task, SigInfo::kernel(Signal::STOP), From::Inside);
    }
    // One that stands in a group stop makes it a stop that its tracer sees.
    if task.process().state().stopped_by.is_some() {
        task.ask(Work::STOP);
    }
    Ok(())
}

/// The parent becomes the caller's tracer (`PTRACE_TRACEME`).
///
/// # Errors
/// `EPERM` when it has one.
pub fn traceme(task: &Arc<Task>) -> Result<(), Errno> {
    let mut tree = task.container().tree();
    if task.is_traced() {
        return Err(Errno::EPERM);
    }
    let parent = tree.members.get(&task.pid()).map_or(0, |member| member.parent);
    if tree.process(parent).is_none_or(|parent| parent.is_zombie()) {
        return Ok(());
    }
    link(&mut tree, task, (parent, parent), Trace::default());
    Ok(())
}

/// A new child gets the tracer of the task that made it. `tree` is the container's.
pub fn inherit(tree: &mut Tree, parent: &Task, child: &Arc<Task>) {
    let Some(of) = tree.traced.get(&parent.tid()) else { return };
    let tracer = (of.tracer, of.tracer_pid);
    let (seized, options) = {
        let trace = parent.trace.lock();
        (trace.seized, trace.options)
    };
    link(tree, child, tracer, Trace { seized, options, trap_asked: seized, ..Trace::default() });
    if seized {
        child.ask(Work::TRACE);
    } else {
        let _ = child.signals.lock().pending.push(SigInfo::kernel(Signal::STOP), usize::MAX);
        child.ask(Work::SIGNAL);
    }
}

/// Nobody traces `task` any more; it goes on with a signal, 0 for none.
pub fn detach(task: &Arc<Task>, signal: u32) {
    let mut tree = task.container().tree();
    let ended = tree.traced.remove(&task.tid());
    release(task, signal);
    if ended.is_some() {
        crate::task::exit::after_detach(&mut tree, task);
        tree.settle(task.tid());
    }
}

fn release(task: &Arc<Task>, signal: u32) {
    let stops = task.process().state().stopped_by.is_some();
    task.tracer.store(0, Ordering::Relaxed);
    task.unhook_calls(CallHooks::TRACE | CallHooks::STEP);
    {
        let mut trace = task.trace.lock();
        let stopped = trace.stopped.take();
        let go_on = |stopped| Stopped { signal, resumed: true, ..stopped };
        *trace = Trace { stopped: stopped.map(go_on), resume: Resume::Freely, ..Trace::default() };
    }
    if stops {
        task.ask(Work::STOP);
    }
    task.nudge();
}

/// A tracer has ended: those that it traced go on, or end if it wanted that.
pub fn detach_all(tracer: &Task) {
    let all: Vec<Arc<Task>> = {
        let tree = tracer.container().tree();
        let own = tree.traced.values().filter(|traced| traced.tracer == tracer.tid());
        own.map(|traced| traced.task.clone()).collect()
    };
    for task in all {
        let kills = task.trace.lock().options.contains(Options::EXITKILL);
        detach(&task, 0);
        if kills {
            let _ = task.process().send(SigInfo::kernel(Signal::KILL));
        }
    }
}
