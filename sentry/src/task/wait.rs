//! Waiting for children (wait(2)).

use super::Task;
use super::container::Usage;
use super::exit::{after_detach, reap};
use super::process::{ExitStatus, Process, StopEvent};
use super::trace::Traced;
use super::tree::{Member, Tree};
use crate::abi::Errno;
use crate::syscall::Failure;
use crate::wait::Waiter;
use alloc::sync::Arc;
use bitflags::bitflags;
use core::sync::atomic::Ordering;

bitflags! {
    /// Options of wait4(2) and waitid(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WaitOptions: u32 {
        /// `WNOHANG`.
        const NO_HANG = 1;
        /// `WUNTRACED`, `WSTOPPED`.
        const STOPPED = 2;
        /// `WEXITED`.
        const EXITED = 4;
        /// `WCONTINUED`.
        const CONTINUED = 8;
        /// `WNOWAIT`.
        const NO_WAIT = 0x0100_0000;
        /// `__WNOTHREAD`: children belong to processes here, so it changes nothing.
        const NO_THREAD = 0x2000_0000;
        /// `__WALL`.
        const ALL = 0x4000_0000;
        /// `__WCLONE`.
        const CLONE = 0x8000_0000;
    }
}

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Any.
    Any,
    /// One.
    Pid(u32),
    /// Those of a process group.
    Group(u32),
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended.
    Ended(ExitStatus),
    /// It stopped or continued.
    Stop(StopEvent),
    /// It stopped for its tracer, with bits 8 and up of the status.
    Traced(u32),
}

/// What was waited for.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// The child, by the number that the waiter sees.
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
    /// What happened.
    pub event: Event,
    /// CPU time of it and of its own waited-for children.
    pub usage: Usage,
}

impl Waited {
    /// As wait4(2) tells it.
    #[must_use]
    pub fn status(&self) -> u32 {
        match self.event {
            Event::Ended(status) => status.wait_status(),
            Event::Stop(StopEvent::Stopped(signal)) => (u32::from(signal.number()) << 8) | 0x7f,
            Event::Stop(StopEvent::Continued) => 0xffff,
            Event::Traced(code) => (code << 8) | 0x7f,
        }
    }
}

/// Waits for a child of the caller; `None` when nothing happened and `NO_HANG` is given.
///
/// # Errors
/// `ECHILD` when there is no such child; [`Failure::Interrupted`].
pub fn wait(
    task: &Task,
    waiter: &Waiter<'_>,
    whom: Whom,
    options: WaitOptions,
) -> Result<Option<Waited>, Failure> {
    let process = task.process();
    let look = || look(process, whom, options).transpose();
    let found = if options.contains(WaitOptions::NO_HANG) {
        look()
    } else {
        let woken = waiter.until(&process.children_changed, None, look);
        Some(woken.map_err(|_| Failure::Interrupted)?)
    };
    found.transpose().map_err(Failure::Errno)
}

fn look(parent: &Process, whom: Whom, options: WaitOptions) -> Result<Option<Waited>, Errno> {
    let mut tree = parent.container.tree();
    let children = tree.members.get(&parent.pid()).map(|member| member.children.as_slice());
    let candidates = children.unwrap_or_default().iter().filter_map(|pid| tree.members.get(pid));
    let mut candidates = candidates.filter(|member| concerns(member, whom, options)).peekable();
    let has_children = candidates.peek().is_some();
    let found = candidates
        .find_map(|member| Some((member.process.clone(), event(&tree, parent, &member.process, options)?)));
    let Some((child, event)) = found else {
        return look_at_traced(&mut tree, parent, whom, options, has_children);
    };
    let usage = child.usage().plus(child.state().waited_children);
    let uid = tree.tasks.get(&child.pid()).map_or(0, |task| task.creds().uid);
    // Once it is reaped nobody sees it.
    let pid = parent.pid_namespace().shown(child.pid());
    if matches!(event, Event::Ended(_)) && !options.contains(WaitOptions::NO_WAIT) {
        drop(reap(&mut tree, child.pid()));
        drop(tree);
        let mut state = parent.state();
        state.waited_children = state.waited_children.plus(usage);
    }
    Ok(Some(Waited { pid, uid, event, usage }))
}

/// What may be told of the threads that the caller traces.
fn look_at_traced(
    tree: &mut Tree,
    tracer: &Process,
    whom: Whom,
    options: WaitOptions,
    has_children: bool,
) -> Result<Option<Waited>, Errno> {
    let mut own = tree
        .traced
        .values()
        .filter(|traced| traced.tracer_pid == tracer.pid() && names(&traced.task, whom))
        .peekable();
    if own.peek().is_none() && !has_children {
        return Err(Errno::ECHILD);
    }
    let found = own.find_map(|traced| Some((traced.task.clone(), traced_event(traced, options)?)));
    let Some((task, event)) = found else { return Ok(None) };
    let pid = tracer.pid_namespace().shown(task.tid());
    let waited = Waited { pid, uid: task.creds().uid, event, usage: task.usage() };
    if matches!(event, Event::Ended(_)) && !options.contains(WaitOptions::NO_WAIT) {
        tree.traced.remove(&task.tid());
        after_detach(tree, &task);
        tree.settle(task.tid());
    }
    Ok(Some(waited))
}

fn names(task: &Task, whom: Whom) -> bool {
    match whom {
        Whom::Any => true,
        Whom::Pid(pid) => task.tid() == pid,
        Whom::Group(group) => task.process().group_and_session().0 == group,
    }
}

fn traced_event(traced: &Traced, options: WaitOptions) -> Option<Event> {
    let process = traced.task.process();
    let leads = traced.task.tid() == process.pid();
    if let Some(status) = traced.ended.or_else(|| process.status().filter(|_| leads)) {
        return options.contains(WaitOptions::EXITED).then_some(Event::Ended(status));
    }
    let mut trace = traced.task.trace.lock();
    let stopped = trace.stopped.as_mut().filter(|stopped| !stopped.reported && !stopped.resumed)?;
    if !options.contains(WaitOptions::NO_WAIT) {
        stopped.reported = true;
    }
    Some(Event::Traced(stopped.code))
}

fn concerns(member: &Member, whom: Whom, options: WaitOptions) -> bool {
    let named = match whom {
        Whom::Any => true,
        Whom::Pid(pid) => member.process.pid() == pid,
        Whom::Group(group) => member.group == group,
    };
    let kind = options.contains(WaitOptions::ALL)
        || member.process.is_clone_child() == options.contains(WaitOptions::CLONE);
    named && kind
}

/// What may be told of a child now; takes note that it was told.
fn event(tree: &Tree, parent: &Process, child: &Arc<Process>, options: WaitOptions) -> Option<Event> {
    let tracer = tree.traced.get(&child.pid()).map(|traced| traced.tracer_pid);
    let mut state = child.state();
    if let Some(status) = state.status {
        if tracer.is_some_and(|tracer| tracer != parent.pid()) {
            // Its tracer waits first.
            return None;
        }
        return options.contains(WaitOptions::EXITED).then_some(Event::Ended(status));
    }
    let event = state.event.filter(|_| tracer != Some(parent.pid()))?;
    let wanted = match event {
        StopEvent::Stopped(_) => WaitOptions::STOPPED,
        StopEvent::Continued => WaitOptions::CONTINUED,
    };
    if !options.contains(wanted) {
        return None;
    }
    if !options.contains(WaitOptions::NO_WAIT) {
        state.event = None;
    }
    Some(Event::Stop(event))
}

impl Process {
    /// Whether a signal is sent at its end that tells an ordinary child from others.
    #[must_use]
    pub fn exit_signal(&self) -> u32 {
        self.exit_signal.load(Ordering::Relaxed)
    }
}
