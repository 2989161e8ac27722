//! Starting tasks: the first process of a container, what is executed in it, and what clone(2) makes.

use super::container::Container;
use super::limits::Limits;
use super::process::Process;
use super::thread::{Parts, short_name};
use super::{Task, Work, run};
use crate::abi::Errno;
use crate::fs::{FdTable, FsContext};
use crate::mm::{Charge, Mm};
use crate::platform;
use crate::security::Creds;
use crate::signal::Handlers;
use crate::user::{UserAddr, UserMemory, UserPtr};
use alloc::boxed::Box;
use alloc::sync::Arc;
use chitin_core::cpu::{Regs, UserContext, Xstate};
use core::sync::atomic::Ordering;

/// A process to start on behalf of the host.
pub struct NewProcess {
    /// Credentials.
    pub creds: Creds,
    /// Address space with the program.
    pub mm: Arc<Mm>,
    /// First instruction.
    pub entry: UserAddr,
    /// Stack pointer.
    pub stack_pointer: UserAddr,
    /// Descriptors.
    pub files: Arc<FdTable>,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// `comm`: the file name of the program.
    pub name: alloc::vec::Vec<u8>,
    /// Resource limits.
    pub limits: Limits,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Whether it waits for [`Process::release`] before its first instruction.
    pub held: bool,
}

/// Registers of a program at its first instruction.
#[must_use]
pub fn first_regs(entry: UserAddr, stack_pointer: UserAddr) -> Regs {
    Regs {
        rip: entry.get(),
        rsp: stack_pointer.get(),
        rflags: 0x202,
        cs: 0x33,
        ss: 0x2b,
        orig_rax: u64::MAX,
        ..Regs::default()
    }
}

impl Container {
    /// Starts a process without a parent, in a session of its own: the first one is init.
    ///
    /// # Errors
    /// `EAGAIN` at the limit of tasks, `ENOMEM`.
    pub fn start(self: &Arc<Self>, new: NewProcess) -> Result<Arc<Process>, Errno> {
        let context = UserContext {
            regs: first_regs(new.entry, new.stack_pointer),
            xstate: Xstate::new(platform::get().xstate_layout().0),
        };
        let charge = self.budget.charge(TASK_PAGES).map_err(|_| Errno::ENOMEM)?;
        self.charge_pid()?;
        let start_ns = super::now_ns();
        let task = {
            let mut tree = self.tree();
            let namespace = self.namespaces.pid.clone();
            let pid = tree.new_number(&namespace).inspect_err(|_| self.uncharge_pid())?;
            let numbered = (pid, namespace);
            let process =
                Arc::new(Process::new(self.clone(), numbered, Handlers::new(), new.limits, start_ns));
            process.oom_score_adj.store(new.oom_score_adj, Ordering::Relaxed);
            let name = short_name(&new.name);
            let parts = Parts {
                creds: Arc::new(new.creds),
                mm: new.mm,
                files: new.files,
                fs: new.fs,
                namespaces: self.namespaces.clone(),
            };
            let task = Arc::new(Task::new(pid, process.clone(), name, parts));
            process.state().threads.push(task.clone());
            tree.add(process, 0, None);
            tree.tasks.insert(pid, task.clone());
            task
        };
        if new.held {
            task.ask(Work::HOLD);
        }
        let process = task.process().clone();
        process.watch_cpu_limit();
        launch(task, context, charge, None)?;
        Ok(process)
    }
}

/// Pages that a container pays for each task: kernel stack, vector registers and what the sentry keeps of it.
pub(super) const TASK_PAGES: u64 = 6;

/// Starts the kernel thread of a task that is in the tree, which `charge` pays for; `set_tid` is where it writes its number
/// first.
///
/// # Errors
/// `ENOMEM`; the task is out of the tree again.
pub(super) fn launch(
    task: Arc<Task>,
    context: UserContext,
    charge: Charge,
    set_tid: Option<UserAddr>,
) -> Result<(), Errno> {
    let running = task.clone();
    let body = Box::new(move |sleeper: &chitin_core::sleep::Sleeper| {
        let _charge = charge;
        let mut context = context;
        running.set_waker(sleeper.waker());
        if let (Some(at), Some(mm)) = (set_tid, running.mm()) {
            // A bad address is the program's own loss (clone(2)).
            let _ =
                UserMemory { mm: &mm, sleeper }.write(UserPtr::<u32>::new(at), &running.shown(running.tid()));
        }
        run::run(&running, &mut context, sleeper);
    });
    let scheduling = task.schedule.lock().scheduling(task.nice.load(Ordering::Relaxed));
    let thread = platform::get().start("task", scheduling, body).map_err(|_| {
        withdraw(&task);
        Errno::ENOMEM
    })?;
    task.set_thread(thread);
    // What was changed meanwhile was not told.
    let changed = task.schedule.lock().scheduling(task.nice.load(Ordering::Relaxed)) != scheduling;
    if changed {
        task.reschedule();
    }
    Ok(())
}

/// Takes a task that never ran out of its process and the tree.
pub(super) fn withdraw(task: &Arc<Task>) {
    let process = task.process();
    let mut tree = process.container.tree();
    let is_last = {
        let mut state = process.state();
        state.threads.retain(|other| !Arc::ptr_eq(other, task));
        state.threads.is_empty()
    };
    tree.tasks.remove(&task.tid());
    tree.traced.remove(&task.tid());
    if is_last {
        tree.remove(process.pid());
    }
    tree.settle(task.tid());
    process.container.uncharge_pid();
}
