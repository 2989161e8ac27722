//! The main loop of a task: run user code, see why it came back, attend to what is pending, again.

use super::rseq::{self, Since};
use super::{Task, Work, exit, trace};
use crate::fs::FdTable;
use crate::mm::{FaultError, Mm};
use crate::platform::{self, Access, Trap};
use crate::signal::{SigInfo, Signal, code, deliver, force, stop};
use crate::syscall::row::Restart;
use crate::syscall::{self, Cx, RestartBlock};
use crate::user::{UserAddr, UserMemory};
use alloc::sync::Arc;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::{Interrupt, Sleeper};

/// Runs a task until it ends.
pub fn run(task: &Arc<Task>, context: &mut UserContext, sleeper: &Sleeper) {
    let platform = platform::get();
    let mut files = task.files();
    let Some(mut mm) = task.mm() else { return };
    let mut restart = None;
    let mut since = Since::Interrupt;
    let block = RestartBlock::default();
    loop {
        if task.exit_request.is_set() || restart.is_some() {
            attend(task, context, &mm, sleeper, &mut restart);
            if task.killed() {
                break;
            }
        }
        if task.rseq.is_registered() {
            rseq::resume(task, context, &UserMemory { mm: &mm, sleeper }, since);
            if task.exit_request.is_set() {
                continue;
            }
        }
        since = Since::Interrupt;
        match platform.run_user(context, mm.space(), &task.exit_request) {
            Trap::Syscall => {
                let (mm, files, restart_block) = (&mm, &files, &block);
                let mut cx = Cx { task, sleeper, context, mm, files, restart_block };
                restart = syscall::dispatch(&mut cx);
                since = Since::Call;
            }
            Trap::PageFault { address, access } => {
                task.count_system(1, || fault(task, &mm, sleeper, address, access));
            }
            Trap::Exception { vector, .. } => deliver::exception(task, vector, context.regs.rip),
            Trap::Interrupt => sleeper.resched_point(),
        }
        if since == Since::Interrupt {
            // No system call is in progress, should a tracer ask.
            context.regs.orig_rax = u64::MAX;
        }
        if task.take_parts_changed() {
            renew(task, &mut mm, &mut files, sleeper);
        }
    }
    if task.is_traced() {
        trace::exit_event(task, context, sleeper);
    }
    exit::end(task, mm, files, sleeper);
}

fn renew(task: &Task, mm: &mut Arc<Mm>, files: &mut Arc<FdTable>, sleeper: &Sleeper) {
    *files = task.files();
    if let Some(new) = task.mm() {
        core::mem::replace(mm, new).leave(sleeper);
    }
}

/// What a task does before it may run user code: end, wait while held, frozen or stopped, deliver signals.
fn attend(
    task: &Task,
    context: &mut UserContext,
    mm: &Arc<Mm>,
    sleeper: &Sleeper,
    restart: &mut Option<Restart>,
) {
    loop {
        task.exit_request.clear();
        let work = task.work();
        if work.contains(Work::EXIT) {
            return;
        } else if work.contains(Work::HOLD) {
            while task.work().contains(Work::HOLD) && !task.killed() {
                sleeper.park(None);
            }
        } else if work.contains(Work::FREEZE) {
            stay_frozen(task, sleeper);
        } else if work.contains(Work::STOP) && task.is_traced() {
            stop::stay_traced(task, context, sleeper);
        } else if work.contains(Work::STOP) {
            stop::stay(task, sleeper);
        } else if work.contains(Work::TRACE) {
            task.attended(Work::TRACE);
            trace::look(task, context, sleeper);
        } else if work.contains(Work::SIGNAL) {
            deliver::deliver(task, context, mm, sleeper, restart);
        } else {
            break;
        }
    }
    if let Some(class) = restart.take() {
        deliver::resume(context, class);
    }
    task.restore_mask();
}

fn stay_frozen(task: &Task, sleeper: &Sleeper) {
    let container = task.container();
    let _registration = container.changed.register(&sleeper.waker());
    task.attended(Work::FREEZE);
    while container.is_frozen() && !task.killed() {
        sleeper.park(None);
    }
}

fn fault(task: &Task, mm: &Mm, sleeper: &Sleeper, address: u64, access: Access) {
    let Err(error) = mm.resolve_fault(sleeper, UserAddr::new(address), access) else { return };
    let (signal, code) = match error {
        FaultError::NotMapped => (Signal::SEGV, code::SEGV_MAPERR),
        FaultError::Denied => (Signal::SEGV, code::SEGV_ACCERR),
        FaultError::Bus => (Signal::BUS, code::BUS_ADRERR),
        FaultError::OutOfMemory => return super::oom::no_relief(task),
    };
    force(task, SigInfo::fault(signal, code, address));
}
