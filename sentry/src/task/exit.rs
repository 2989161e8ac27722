//! The end of tasks and processes: what is let go of, who is told, who is reaped.

use super::Task;
use super::process::{ExitStatus, Process};
use super::trace;
use super::tree::Tree;
use crate::fs::FdTable;
use crate::ipc::futex;
use crate::mm::Mm;
use crate::signal::action::{Action, flags};
use crate::signal::{From, SigInfo, Signal, send_to_process, stop};
use crate::user::{UserAddr, UserMemory, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::Ordering;

/// Ends the calling task; its kernel thread returns after this.
pub(super) fn end(task: &Arc<Task>, mm: Arc<Mm>, files: Arc<FdTable>, sleeper: &Sleeper) {
    let process = task.process().clone();
    trace::detach_all(task);
    release_memory(task, &mm, sleeper);
    drop(task.set_mm(None));
    mm.leave(sleeper);
    task.complete_handover();
    task.leave_undo_list();
    task.keyrings.lock().leave();
    drop(task.set_files(FdTable::new()));
    drop(files);

    if process.is_init() && is_only_thread(&process, task) {
        end_all_others(&process, sleeper);
    }
    let is_last = {
        let mut tree = process.container.tree();
        let mut state = process.state();
        state.threads.retain(|other| !Arc::ptr_eq(other, task));
        let usage = task.take_usage();
        state.ended_threads = state.ended_threads.plus(usage);
        process.container.add_ended(usage);
        let is_last = state.threads.is_empty();
        drop(state);
        if task.tid() != process.pid() {
            tree.tasks.remove(&task.tid());
            process.container.uncharge_pid();
            tell_tracer(&mut tree, task);
            tree.settle(task.tid());
        }
        is_last
    };
    if is_last {
        end_process(&process);
    } else {
        // The others may all have stopped, or wait in execve for this one.
        stop::check_complete(&process);
        for other in process.threads() {
            other.nudge();
        }
    }
}

fn is_only_thread(process: &Process, task: &Arc<Task>) -> bool {
    process.state().threads.iter().all(|other| Arc::ptr_eq(other, task))
}

/// Robust futexes, and the word that a joining thread waits for.
pub(crate) fn release_memory(task: &Task, mm: &Arc<Mm>, sleeper: &Sleeper) {
    let user = UserMemory { mm, sleeper };
    let robust = UserAddr::new(task.robust_list.swap(0, Ordering::Relaxed));
    if !robust.is_null() {
        futex::robust::exit(&user, robust, task.shown(task.tid()));
    }
    let clear = task.take_clear_child_tid();
    // Nobody waits in memory that nobody else has, as on Linux: beside the caller's count there is that of the task. To copy a
    // page for it would cost those most who end for want of memory.
    let is_shared = Arc::strong_count(mm) > 2;
    if is_shared && !clear.is_null() && user.write(UserPtr::<u32>::new(clear), &0).is_ok() {
        // glibc waits with a shared futex, others with a private one.
        for scope in [futex::Scope::Shared, futex::Scope::Private] {
            if let Ok(key) = futex::Key::new(&user, clear, scope) {
                futex::wake(key, futex::ANY, 1);
            }
        }
    }
}

/// The end of init is the end of its pid namespace, the container's or one below: kills every other process in there and
/// sleeps until all are gone.
fn end_all_others(init: &Arc<Process>, sleeper: &Sleeper) {
    let (container, namespace) = (&init.container, init.pid_namespace());
    let _registration = container.changed.register(&sleeper.waker());
    {
        // Once is enough: with the tree locked, nobody who is told to end has children after that.
        let mut tree = container.tree();
        namespace.end();
        let others = tree
            .all_processes()
            .filter(|process| process.pid() != init.pid() && namespace.holds(process.pid_namespace()));
        let (zombies, living): (Vec<_>, Vec<_>) = others.cloned().partition(|process| process.is_zombie());
        for process in &living {
            let _ = send_to_process(process, SigInfo::kernel(Signal::KILL), From::Outside);
        }
        for process in &zombies {
            if !has_parent_to_wait(&tree, process) {
                drop(reap(&mut tree, process.pid()));
            }
        }
    }
    // With the tree locked, for who is being reaped is counted until all of it is gone.
    let others_left = || {
        let _tree = container.tree();
        namespace.processes() > 1
    };
    while others_left() {
        sleeper.park(None);
    }
}

/// The last thread has ended: the process is a zombie, or gone when nobody will wait for it.
fn end_process(process: &Arc<Process>) {
    let container = process.container.clone();
    let pid = process.pid();
    let mut hang_ups = Vec::new();
    let mut tree = container.tree();
    let status = {
        let mut state = process.state();
        let status = state.exiting.or(state.leader_status).unwrap_or(ExitStatus::Exited(0));
        state.status = Some(status);
        status
    };
    let (group, session) = tree.group_and_session(pid).unwrap_or_default();
    if session == pid {
        end_session(&mut tree, pid);
    }
    let parent_is_outside = tree.members.get(&pid).map(|member| member.parent).is_some_and(|parent| {
        tree.group_and_session(parent).is_some_and(|(other, same)| other != group && same == session)
    });
    if parent_is_outside && tree.is_orphaned(group, pid) {
        let members = tree.group_processes(group);
        hang_ups.push(members.into_iter().filter(|member| member.pid() != pid).collect::<Vec<_>>());
    }
    give_children_away(&mut tree, pid, (group, session), &mut hang_ups);
    notify_parent(&mut tree, process, status);
    drop(tree);
    hang_ups.iter().for_each(|members| stop::hang_up_if_stopped(members));
    process.wake_ended();
    container.changed.wake_all();
}

/// A session without its leader has no terminal, and its foreground group hears of that.
fn end_session(tree: &mut Tree, number: u32) {
    let Some(session) = tree.session_mut(number) else { return };
    let foreground = core::mem::take(&mut session.foreground);
    if session.terminal.take().is_some() {
        for process in tree.group_processes(foreground) {
            let _ = process.send(SigInfo::kernel(Signal::HUP));
            let _ = process.send(SigInfo::kernel(Signal::CONT));
        }
    }
}

/// Children get the nearest subreaper above in the namespace, or its init, as their parent.
fn give_children_away(
    tree: &mut Tree,
    pid: u32,
    (group, session): (u32, u32),
    hang_ups: &mut Vec<Vec<Arc<Process>>>,
) {
    let heir = heir_of(tree, pid);
    let children = tree.members.get_mut(&pid).map(|member| core::mem::take(&mut member.children));
    for child in children.unwrap_or_default() {
        let Some(member) = tree.members.get_mut(&child) else { continue };
        member.parent = heir;
        let process = member.process.clone();
        if let Some(heir) = tree.members.get_mut(&heir) {
            heir.children.push(child);
        }
        let ended = process.status();
        match ended {
            Some(status) => notify_parent(tree, &process, status),
            None => send_parent_death(&process),
        }
        let child_place = tree.group_and_session(child);
        if let Some((child_group, same)) = child_place
            && child_group != group
            && same == session
            && tree.is_orphaned(child_group, 0)
        {
            hang_ups.push(tree.group_processes(child_group));
        }
    }
}

fn heir_of(tree: &Tree, pid: u32) -> u32 {
    let Some(ended) = tree.members.get(&pid) else { return 0 };
    let namespace = ended.process.pid_namespace();
    let mut at = ended.parent;
    while let Some(member) = tree.members.get(&at)
        && Arc::ptr_eq(member.process.pid_namespace(), namespace)
    {
        if member.process.is_subreaper.load(Ordering::Relaxed) && !member.process.is_zombie() {
            return at;
        }
        at = member.parent;
    }
    let init = namespace.init();
    if pid != init && tree.members.contains_key(&init) { init } else { 0 }
}

/// Whether a zombie is waited for by its parent: not if init of a namespace that they are both in ends or has ended.
fn has_parent_to_wait(tree: &Tree, process: &Process) -> bool {
    let parent = tree.members.get(&process.pid()).and_then(|member| tree.process(member.parent));
    parent.is_some_and(|parent| !parent.pid_namespace().is_over())
}

fn send_parent_death(process: &Arc<Process>) {
    for task in process.threads() {
        let number = task.parent_death_signal.load(Ordering::Relaxed);
        if let Ok(signal) = Signal::new(number) {
            let _ = crate::signal::send_to_task(&task, SigInfo::kernel(signal), From::Inside);
        }
    }
}

/// The tracer of a thread that does not lead its process may wait for its end.
fn tell_tracer(tree: &mut Tree, task: &Arc<Task>) {
    let status = task.end_status();
    let Some(traced) = tree.traced.get_mut(&task.tid()) else { return };
    traced.ended = Some(status);
    let tracer_pid = traced.tracer_pid;
    let Some(tracer) = tree.process(tracer_pid) else { return };
    let (code, status) = stop::exit_code_and_status(status);
    let _ = tracer.send(stop::thread_info(task, code, status));
    tracer.children_changed.wake_all();
}

/// Nobody traces the thread any more: if its process has ended, its parent may wait for that now.
pub(super) fn after_detach(tree: &mut Tree, task: &Arc<Task>) {
    let process = task.process();
    if let Some(status) = process.status().filter(|_| task.tid() == process.pid()) {
        notify_parent(tree, process, status);
    }
}

/// Tells the parent of a zombie; reaps it when the parent does not want to wait for its children.
fn notify_parent(tree: &mut Tree, process: &Arc<Process>, status: ExitStatus) {
    let parent = tree.members.get(&process.pid()).and_then(|member| tree.process(member.parent)).cloned();
    let Some(parent) = parent.filter(|_| has_parent_to_wait(tree, process)) else {
        drop(reap(tree, process.pid()));
        return;
    };
    // A tracer that is not the parent waits first.
    let tracer = tree.traced.get(&process.pid()).map(|traced| traced.tracer_pid);
    if let Some(tracer) = tracer.filter(|tracer| *tracer != parent.pid()).and_then(|pid| tree.process(pid)) {
        let (code, status) = stop::exit_code_and_status(status);
        let _ = tracer.send(stop::child_info(process, code, status));
        tracer.children_changed.wake_all();
        return;
    }
    let number = process.exit_signal.load(Ordering::Relaxed);
    let mut reaps_itself = false;
    if let Ok(signal) = Signal::new(number) {
        let action = parent.handlers.get().get(signal);
        let ignores = action.handler == Action::IGNORE;
        reaps_itself = signal == Signal::CHLD && (ignores || action.flags & flags::NOCLDWAIT != 0);
        if !(signal == Signal::CHLD && ignores) {
            let (code, status) = stop::exit_code_and_status(status);
            let _ = parent.send(SigInfo { signal, ..stop::child_info(process, code, status) });
        }
    }
    if reaps_itself {
        drop(reap(tree, process.pid()));
    }
    parent.children_changed.wake_all();
}

/// Removes a zombie: its number is free again.
pub(super) fn reap(tree: &mut Tree, pid: u32) -> Option<Arc<Process>> {
    let process = tree.remove(pid)?;
    tree.tasks.remove(&pid);
    tree.traced.remove(&pid);
    tree.settle(pid);
    process.container.uncharge_pid();
    process.container.changed.wake_all();
    Some(process)
}
