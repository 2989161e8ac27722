//! The point of no return of execve(2): the calling thread becomes the only one of its process and runs another program.

use super::program::Loaded;
use crate::signal::Signal;
use crate::syscall::{Cx, Failure};
use crate::task::exit::release_memory;
use crate::task::spawn::first_regs;
use crate::task::{Task, Work, trace};
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::Ordering;

/// Ends the other threads of the caller's process; the caller then has the leader's number.
///
/// # Errors
/// [`Failure::Interrupted`] when the caller is to end itself, be it by another thread's execve.
fn become_only_thread(task: &Arc<Task>, sleeper: &Sleeper) -> Result<(), Failure> {
    let process = task.process();
    {
        let mut state = process.state();
        if state.is_ending() {
            return Err(Failure::Interrupted);
        }
        if state.threads.len() == 1 && task.tid() == process.pid() {
            return Ok(());
        }
        state.replacing = Some(task.tid());
        for other in state.threads.iter().filter(|other| !Arc::ptr_eq(other, task)) {
            other.ask(Work::EXIT);
        }
    }
    while process.state().threads.len() > 1 {
        if process.state().exiting.is_some() {
            process.state().replacing = None;
            return Err(Failure::Interrupted);
        }
        sleeper.park(None);
    }
    let mut tree = process.container.tree();
    if task.tid() != process.pid() {
        tree.tasks.remove(&task.tid());
        tree.tasks.insert(process.pid(), task.clone());
        tree.traced.remove(&process.pid());
        if let Some(traced) = tree.traced.remove(&task.tid()) {
            tree.traced.insert(process.pid(), traced);
        }
        let former = task.tid();
        task.set_tid(process.pid());
        tree.settle(former);
        process.container.uncharge_pid();
    }
    let mut state = process.state();
    state.replacing = None;
    state.leader_status = None;
    Ok(())
}

/// A traced thread stops, or a SIGTRAP waits for it when its tracer knows no better.
fn tell_tracer(cx: &mut Cx<'_>, former: u32) {
    let task = cx.task;
    if !task.is_traced() {
        return;
    }
    let stopped = trace::event(task, cx.context, cx.sleeper, trace::Event::Exec, u64::from(former));
    if !stopped && !task.is_seized() {
        task.raise(Signal::TRAP);
    }
}

/// Puts a loaded program in place of the caller's. There is no way back once it has ended other threads.
///
/// # Errors
/// [`Failure::Interrupted`] when the process ends meanwhile.
pub fn replace(cx: &mut Cx<'_>, loaded: Loaded) -> Result<(), Failure> {
    let task = cx.task;
    let process = task.process();
    let former = trace::shown(task, task.tid());
    become_only_thread(task, cx.sleeper)?;

    // Memory and who waits for it.
    release_memory(task, cx.mm, cx.sleeper);
    drop(task.set_mm(Some(loaded.mm)));
    task.complete_handover();
    task.rseq.clear();
    task.keyrings.lock().after_exec();
    process.barriers.store(0, Ordering::Relaxed);

    // Descriptors: those of others stay as they are.
    let files = if Arc::strong_count(cx.files) > 2 {
        let own = cx.files.duplicate();
        drop(task.set_files(own.clone()));
        own
    } else {
        cx.files.clone()
    };
    drop(files.take_close_on_exec());

    // Signals: handlers are gone, what is ignored or blocked stays.
    drop(process.handlers.replace(process.handlers.get().after_exec()));
    process.timers.delete_posix();
    task.signals.lock().alt_stack = None;

    let changes = *task.creds() != loaded.creds;
    if loaded.secure {
        task.parent_death_signal.store(0, Ordering::Relaxed);
    }
    process.dumpable.store(u32::from(!loaded.secure), Ordering::Relaxed);
    if changes {
        task.set_creds(loaded.creds);
    }
    task.set_name(&loaded.name);
    process.exit_signal.store(17, Ordering::Relaxed);
    if let Some(member) = process.container.tree().members.get_mut(&process.pid()) {
        member.has_exec = true;
    }

    crate::platform::get().flush_xstate(&mut cx.context.xstate);
    cx.context.xstate.reset();
    cx.context.regs = first_regs(loaded.entry, loaded.stack_pointer);
    tell_tracer(cx, former);
    Ok(())
}
