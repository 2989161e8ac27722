//! Making tasks (clone(2)).

use super::namespaces::{PidNamespace, change};
use super::pidfd::PidFd;
use super::process::Process;
use super::spawn::{TASK_PAGES, launch, withdraw};
use super::thread::{Handover, Parts};
use super::tree::Tree;
use super::{Resource, Task, Work, trace};
use crate::abi::Errno;
use crate::fs::fd_table::Entry;
use crate::fs::{FileBody, OpenFile};
use crate::mm::{Charge, pressure};
use crate::security::Capability;
use crate::signal::{AltStack, Signal, refresh};
use crate::syscall::{Cx, Failure, SysResult};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use bitflags::bitflags;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::Interrupt;
use core::sync::atomic::Ordering;

bitflags! {
    /// `CLONE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CloneFlags: u64 {
        /// Shares the address space.
        const VM = 0x100;
        /// Shares root, working directory, umask.
        const FS = 0x200;
        /// Shares descriptors.
        const FILES = 0x400;
        /// Shares signal handlers.
        const SIGHAND = 0x800;
        /// Gives a descriptor of the process.
        const PIDFD = 0x1000;
        /// Traces the child too if the parent is traced: nobody is.
        const PTRACE = 0x2000;
        /// The parent waits until the child lets go of its memory.
        const VFORK = 0x4000;
        /// The parent's parent is the child's.
        const PARENT = 0x8000;
        /// A thread of the same process.
        const THREAD = 0x1_0000;
        /// New mount namespace.
        const NEWNS = 0x2_0000;
        /// Shares undo of System V semaphores.
        const SYSVSEM = 0x4_0000;
        /// Sets the thread pointer.
        const SETTLS = 0x8_0000;
        /// Stores the number in the parent's memory.
        const PARENT_SETTID = 0x10_0000;
        /// Clears a word when the child ends.
        const CHILD_CLEARTID = 0x20_0000;
        /// Ignored by Linux.
        const DETACHED = 0x40_0000;
        /// Not traced.
        const UNTRACED = 0x80_0000;
        /// Stores the number in the child's memory.
        const CHILD_SETTID = 0x100_0000;
        /// New cgroup namespace.
        const NEWCGROUP = 0x200_0000;
        /// New UTS namespace.
        const NEWUTS = 0x400_0000;
        /// New IPC namespace.
        const NEWIPC = 0x800_0000;
        /// New user namespace.
        const NEWUSER = 0x1000_0000;
        /// New pid namespace.
        const NEWPID = 0x2000_0000;
        /// New network namespace.
        const NEWNET = 0x4000_0000;
        /// Shares the I/O context.
        const IO = 0x8000_0000;
        /// Handlers of the child are all default (clone3).
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// Into another cgroup (clone3).
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

const O_RDWR: u32 = 2;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct CloneRequest {
    /// `CLONE_*`.
    pub flags: CloneFlags,
    /// Signal to the parent at the end, 0 for none.
    pub exit_signal: u32,
    /// Stack pointer of the child, null for the parent's.
    pub stack: UserAddr,
    /// Thread pointer.
    pub tls: u64,
    /// Where [`CloneFlags::PARENT_SETTID`] stores.
    pub parent_tid: UserPtr<u32>,
    /// Where [`CloneFlags::PIDFD`] stores.
    pub pidfd: UserPtr<i32>,
    /// Where [`CloneFlags::CHILD_SETTID`] and [`CloneFlags::CHILD_CLEARTID`] store.
    pub child_tid: UserPtr<u32>,
}

fn check(request: &CloneRequest, cx: &Cx<'_>) -> Result<(), Errno> {
    use CloneFlags as F;
    let flags = request.flags;
    let bad = (flags.contains(F::SIGHAND) && !flags.contains(F::VM))
        || (flags.contains(F::THREAD) && !flags.contains(F::SIGHAND))
        || flags.contains(F::NEWNS | F::FS)
        || flags.contains(F::NEWUSER | F::FS)
        || (flags.intersects(F::NEWUSER | F::NEWPID) && flags.intersects(F::THREAD | F::PARENT))
        || flags.contains(F::CLEAR_SIGHAND | F::SIGHAND)
        || flags.contains(F::INTO_CGROUP)
        || (flags.contains(F::PIDFD) && flags.intersects(F::THREAD | F::DETACHED))
        || request.exit_signal > 64
        || (flags.contains(F::PARENT) && cx.task.process().is_init());
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Pays for a task; what nobody needs is freed for it.
///
/// # Errors
/// `ENOMEM`.
fn charge_task(cx: &Cx<'_>) -> Result<Charge, Errno> {
    let budget = &cx.task.container().budget;
    loop {
        match budget.charge(TASK_PAGES) {
            Ok(charge) => return Ok(charge),
            Err(_) => pressure::reclaim(cx.sleeper, budget).map_err(|_| Errno::ENOMEM)?,
        }
    }
}

/// Makes a task; returns its number.
///
/// # Errors
/// `EINVAL` for flags that do not go together, `EAGAIN` at a limit of tasks, `ENOMEM`, `EPERM`.
pub fn clone(cx: &mut Cx<'_>, request: &CloneRequest) -> SysResult {
    check(request, cx)?;
    let flags = request.flags;
    let parent = cx.task;
    let creds = change::new_creds(cx, flags)?.map_or_else(|| parent.creds(), Arc::new);
    let namespaces = change::new_namespaces(parent, flags, &creds)?;
    let stays = Arc::ptr_eq(&namespaces.pid, parent.process().pid_namespace());
    if flags.contains(CloneFlags::THREAD) && (flags.contains(CloneFlags::NEWUSER) || !stays) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloneFlags::NEWIPC | CloneFlags::SYSVSEM) {
        return Err(Errno::EINVAL.into());
    }
    if parent.work().intersects(Work::SIGNAL | Work::STOP | Work::EXIT) {
        return Err(Failure::Interrupted);
    }
    let charge = charge_task(cx)?;
    let mm = if flags.contains(CloneFlags::VM) { cx.mm.clone() } else { cx.mm.fork(cx.sleeper)? };
    let files = if flags.contains(CloneFlags::FILES) { cx.files.clone() } else { cx.files.duplicate() };
    let fs = if flags.contains(CloneFlags::FS) { parent.fs() } else { parent.fs().duplicate() };
    if flags.contains(CloneFlags::NEWNS) {
        fs.unshare_mounts(cx.sleeper, creds.user_ns.clone())?;
    }
    let context = child_context(cx, request);
    let child = {
        let namespace = namespaces.pid.clone();
        let parts = Parts { creds, mm, files, fs, namespaces };
        let parts = |tid, process| Task::new(tid, process, parent.name(), parts);
        if flags.contains(CloneFlags::THREAD) {
            add_thread(parent, parts)?
        } else {
            add_process(parent, request, namespace, parts)?
        }
    };
    if flags.contains(CloneFlags::SYSVSEM) {
        *child.undo.lock() = Some(parent.undo_list());
    }
    let tid = child.tid();
    if flags.contains(CloneFlags::PIDFD)
        && let Err(errno) = give_pidfd(cx, &child, request.pidfd)
    {
        withdraw(&child);
        return Err(errno.into());
    }
    if flags.contains(CloneFlags::PARENT_SETTID) {
        // The child is there, whatever becomes of this.
        let _ = cx.user().write(request.parent_tid, &parent.shown(tid));
    }
    let set_tid = flags.contains(CloneFlags::CHILD_SETTID).then_some(request.child_tid.addr());
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        child.clear_child_tid.store(request.child_tid.addr().get(), Ordering::Relaxed);
    }
    let handover = flags.contains(CloneFlags::VFORK).then(Arc::<Handover>::default);
    if let Some(handover) = &handover {
        *child.handover.lock() = Some(handover.clone());
    }
    let event = trace_event(request);
    let traced = event_is_wanted(parent, request, event);
    if parent.is_traced() && (traced || flags.contains(CloneFlags::PTRACE)) {
        trace::inherit(&mut parent.container().tree(), parent, &child);
    }
    launch(child, context, charge, set_tid)?;
    if traced {
        trace::event(parent, cx.context, cx.sleeper, event, u64::from(trace::shown(parent, tid)));
    }
    if let Some(handover) = handover {
        let _registration = handover.queue().register(&cx.sleeper.waker());
        while !handover.is_complete() && !parent.killed() {
            cx.sleeper.park(None);
        }
        if parent.is_traced() {
            trace::event(
                parent,
                cx.context,
                cx.sleeper,
                trace::Event::VforkDone,
                u64::from(trace::shown(parent, tid)),
            );
        }
    }
    Ok(parent.shown(tid) as usize)
}

/// What a tracer calls the making of a task.
fn trace_event(request: &CloneRequest) -> trace::Event {
    if request.flags.contains(CloneFlags::VFORK) {
        trace::Event::Vfork
    } else if request.exit_signal != u32::from(Signal::CHLD.number()) {
        trace::Event::Clone
    } else {
        trace::Event::Fork
    }
}

fn event_is_wanted(parent: &Task, request: &CloneRequest, event: trace::Event) -> bool {
    let options = parent.trace.lock().options;
    let wanted = event.option().is_some_and(|option| options.contains(option));
    wanted && parent.is_traced() && !request.flags.contains(CloneFlags::UNTRACED)
}

/// Puts a descriptor of the new process where the caller wants it.
fn give_pidfd(cx: &Cx<'_>, child: &Task, to: UserPtr<i32>) -> Result<(), Errno> {
    let file = OpenFile::new(FileBody::Stream(PidFd::new(child.process().clone()), None), O_RDWR);
    let limit = cx.task.process().limits.soft_usize(Resource::Nofile);
    let fd = cx.files.insert(Entry { file, close_on_exec: true }, 0, limit)?;
    cx.user().write(to, &fd.0).inspect_err(|_| drop(cx.files.remove(fd)))
}

fn child_context(cx: &mut Cx<'_>, request: &CloneRequest) -> UserContext {
    crate::platform::get().flush_xstate(&mut cx.context.xstate);
    let mut regs = cx.context.regs;
    regs.rax = 0;
    if !request.stack.is_null() {
        regs.rsp = request.stack.get();
    }
    if request.flags.contains(CloneFlags::SETTLS) {
        regs.fs_base = request.tls;
    }
    UserContext { regs, xstate: cx.context.xstate.duplicate() }
}

/// What a child has of its parent, whether thread or process.
fn inherit(parent: &Task, child: &Task, keeps_alt_stack: bool) {
    let (blocked, alt_stack): (_, Option<AltStack>) = {
        let signals = parent.signals.lock();
        (signals.saved.unwrap_or(signals.blocked), signals.alt_stack)
    };
    let mut signals = child.signals.lock();
    signals.blocked = blocked;
    signals.alt_stack = alt_stack.filter(|_| keeps_alt_stack);
    drop(signals);
    let creds = child.creds();
    let rings = if Arc::ptr_eq(parent.process(), child.process()) {
        parent.keyrings.lock().of_thread(&creds)
    } else {
        parent.keyrings.lock().of_child()
    };
    let none = core::mem::replace(&mut *child.keyrings.lock(), rings);
    drop(none);
    child.set_seccomp(parent.seccomp());
    let (schedule, nice) = parent.schedule.lock().inherited(parent.nice.load(Ordering::Relaxed));
    *child.schedule.lock() = schedule;
    child.nice.store(nice, Ordering::Relaxed);
    child.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    child.memory_policy.store(parent.memory_policy.load(Ordering::Relaxed), Ordering::Relaxed);
    child.timer_slack_ns.store(parent.timer_slack_ns.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// `RLIMIT_NPROC`: `EAGAIN` when the caller's user has as many tasks as it may.
fn may_have_more(parent: &Task) -> Result<(), Errno> {
    let creds = parent.creds();
    let free = creds.uid == 0 || creds.has(Capability::SysResource) || creds.has(Capability::SysAdmin);
    if free || !parent.container().has_tasks_beyond(creds.uid, parent.rlimit(Resource::Nproc)) {
        Ok(())
    } else {
        Err(Errno::EAGAIN)
    }
}

/// A number for a child. A signal to many is sent with the tree locked, so that either the child is there to get it too, or
/// its parent has it now and is not to have children before it has attended to it: otherwise those who fork could outrun
/// a kill.
fn new_number(parent: &Task, tree: &mut Tree, namespace: &Arc<PidNamespace>) -> Result<u32, Failure> {
    refresh(parent);
    let ends = parent.process().state().is_ending();
    if ends || parent.work().intersects(Work::SIGNAL | Work::STOP | Work::EXIT) {
        return Err(Failure::Interrupted);
    }
    Ok(tree.new_number(namespace)?)
}

fn add_thread(
    parent: &Arc<Task>,
    make: impl FnOnce(u32, Arc<Process>) -> Task,
) -> Result<Arc<Task>, Failure> {
    let process = parent.process();
    let container = &process.container;
    may_have_more(parent)?;
    container.charge_pid()?;
    let mut tree = container.tree();
    let number = new_number(parent, &mut tree, process.pid_namespace());
    let tid = number.inspect_err(|_| container.uncharge_pid())?;
    let child = Arc::new(make(tid, process.clone()));
    inherit(parent, &child, false);
    let mut state = process.state();
    state.threads.push(child.clone());
    if state.stopped_by.is_some() {
        child.ask(Work::STOP);
    }
    drop(state);
    if container.is_frozen() {
        child.ask(Work::FREEZE);
    }
    tree.tasks.insert(tid, child.clone());
    Ok(child)
}

fn add_process(
    parent: &Arc<Task>,
    request: &CloneRequest,
    namespace: Arc<PidNamespace>,
    make: impl FnOnce(u32, Arc<Process>) -> Task,
) -> Result<Arc<Task>, Failure> {
    let own = parent.process();
    let container = &own.container;
    let flags = request.flags;
    let handlers = if flags.contains(CloneFlags::SIGHAND) {
        own.handlers.get()
    } else if flags.contains(CloneFlags::CLEAR_SIGHAND) {
        own.handlers.get().after_exec()
    } else {
        own.handlers.get().duplicate()
    };
    may_have_more(parent)?;
    container.charge_pid()?;
    let start_ns = super::now_ns();
    let mut tree = container.tree();
    let pid = new_number(parent, &mut tree, &namespace).inspect_err(|_| container.uncharge_pid())?;
    let numbered = (pid, namespace);
    let process =
        Arc::new(Process::new(container.clone(), numbered, handlers, own.limits.duplicate(), start_ns));
    let exit_signal =
        if flags.contains(CloneFlags::PARENT) { own.exit_signal() } else { request.exit_signal };
    process.exit_signal.store(exit_signal, Ordering::Relaxed);
    process.inherit(own);
    let child = Arc::new(make(pid, process.clone()));
    if !flags.contains(CloneFlags::VM) && parent.rseq.is_registered() {
        child.rseq.inherit(&parent.rseq);
    }
    if !flags.contains(CloneFlags::VM) {
        process.barriers.store(own.barriers.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    inherit(parent, &child, !flags.contains(CloneFlags::VM) || flags.contains(CloneFlags::VFORK));
    process.state().threads.push(child.clone());
    let group = tree.group_and_session(own.pid()).map(|(group, _)| group);
    let above = tree.members.get(&own.pid()).map_or(0, |member| member.parent);
    let parent_pid = if flags.contains(CloneFlags::PARENT) { above } else { own.pid() };
    tree.add(process, parent_pid, group);
    tree.tasks.insert(pid, child.clone());
    if container.is_frozen() {
        child.ask(Work::FREEZE);
    }
    drop(tree);
    child.process().watch_cpu_limit();
    Ok(child)
}

/// The signal of clone(2)'s lowest byte.
///
/// # Errors
/// `EINVAL` beyond 64.
pub fn exit_signal(number: u64) -> Result<u32, Errno> {
    let number = u32::try_from(number).map_err(|_| Errno::EINVAL)?;
    Signal::or_probe(number).map(|_| number)
}
