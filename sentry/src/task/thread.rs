//! [`Task`]: a thread.

use super::call::CallRecord;
use super::container::{Container, Usage};
use super::limits::Resource;
use super::namespaces::Namespaces;
use super::process::{ExitStatus, Process};
use super::rseq::Rseq;
use super::schedule::Schedule;
use super::trace::Trace;
use crate::fs::proc::CallDetails;
use crate::fs::stream::Caller;
use crate::fs::{FdTable, FsContext};
use crate::ipc::IpcNamespace;
use crate::ipc::sysv::undo::UndoList;
use crate::mm::Mm;
use crate::platform::{self, KernelThread};
use crate::security::Creds;
use crate::security::keys::Rings;
use crate::security::seccomp::Seccomp;
use crate::signal::TaskSignals;
use crate::user::UserAddr;
use alloc::sync::Arc;
use bitflags::bitflags;
use chitin_core::cpu::{ExitRequest, Regs};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::once::Once;
use chitin_core::sleep::{Interrupt, Shared};
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use core::task::Waker;

bitflags! {
    /// What a task has to attend to before it runs user code again.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Work: u32 {
        /// A signal that is not blocked is pending.
        const SIGNAL = 1;
        /// The process stops.
        const STOP = 2;
        /// The container is frozen.
        const FREEZE = 4;
        /// The task ends.
        const EXIT = 8;
        /// It was made held: it waits for [`Process::release`].
        const HOLD = 16;
        /// Its tracer wants it to stop.
        const TRACE = 32;
    }
}

bitflags! {
    /// What looks at a task's system calls before and after they are made.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CallHooks: u32 {
        /// Filters (seccomp(2)).
        const SECCOMP = 1;
        /// A tracer stops it at system calls.
        const TRACE = 2;
        /// A tracer lets it make one step.
        const STEP = 4;
    }
}

/// Told when a child of vfork(2) lets go of its parent's memory.
#[derive(Default)]
pub struct Handover {
    done: AtomicBool,
    queue: WaitQueue,
}

impl Handover {
    /// It has happened.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Woken when it happens.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}

/// What a task may share with others.
pub(super) struct Parts {
    pub(super) creds: Arc<Creds>,
    pub(super) mm: Arc<Mm>,
    pub(super) files: Arc<FdTable>,
    pub(super) fs: Arc<FsContext>,
    pub(super) namespaces: Arc<Namespaces>,
}

/// A thread of a container.
pub struct Task {
    /// Asks the task to come back from user mode.
    pub exit_request: ExitRequest,
    work: AtomicU32,
    tid: AtomicU32,
    process: Arc<Process>,
    waker: Once<Waker>,
    name: SpinLock<[u8; 16]>,
    creds: Shared<Arc<Creds>>,
    /// Its keyrings.
    pub keyrings: SpinLock<Rings>,
    mm: Shared<Option<Arc<Mm>>>,
    files: Shared<Arc<FdTable>>,
    fs: Shared<Arc<FsContext>>,
    namespaces: Shared<Arc<Namespaces>>,
    /// The run loop's copies of the parts above are to be renewed.
    parts_changed: AtomicBool,
    /// Signals of this thread alone (level 38).
    pub signals: SpinLock<TaskSignals>,
    /// Whether a mask is saved in `signals`.
    pub(crate) mask_saved: AtomicBool,
    /// Where to write 0 and wake a futex when the task ends (set_tid_address(2)).
    pub clear_child_tid: AtomicU64,
    /// Head of the list of robust futexes (set_robust_list(2)).
    pub robust_list: AtomicU64,
    /// Signal at the end of the parent (`PR_SET_PDEATHSIG`), 0 for none.
    pub parent_death_signal: AtomicU32,
    /// What is undone of semaphores when the task ends (semop(2)).
    pub(super) undo: SpinLock<Option<Arc<UndoList>>>,
    /// Told when the task lets go of its memory.
    pub(super) handover: SpinLock<Option<Arc<Handover>>>,
    /// The kernel thread, once it was started.
    thread: Once<Arc<dyn KernelThread>>,
    call: CallRecord,
    syscalls: AtomicU64,
    system_ns: AtomicU64,
    /// Time on CPUs that was added to the process's and container's sums.
    summed: AtomicBool,
    /// setpriority(2), -20 to 19.
    pub nice: core::sync::atomic::AtomicI32,
    /// Thread id of its tracer, 0 for none. Changed with the tree locked.
    pub(super) tracer: AtomicU32,
    /// How it is traced.
    pub trace: SpinLock<Trace>,
    /// What it gave to exit(2).
    exit_code: AtomicU32,
    /// Restartable sequences.
    pub rseq: Rseq,
    seccomp: SpinLock<Seccomp>,
    /// What looks at its system calls.
    call_hooks: AtomicU32,
    /// Policy, affinity and the like.
    pub schedule: SpinLock<Schedule>,
    /// Slack of timers in ns (`PR_SET_TIMERSLACK`).
    pub timer_slack_ns: AtomicU64,
    /// Memory policy (set_mempolicy(2)); the bits are those of the system call's module.
    pub memory_policy: AtomicU32,
    /// personality(2).
    pub personality: AtomicU32,
    /// Its user had too many tasks when it became that user: execve fails while that is so (`RLIMIT_NPROC`).
    pub too_many_tasks: AtomicBool,
}

/// Level of the locks of small parts of a task.
const PART_LEVEL: Level = Level(60);

impl Task {
    /// A task of the given parts; the caller adds it to its process and tree.
    pub(super) fn new(tid: u32, process: Arc<Process>, name: [u8; 16], parts: Parts) -> Self {
        let Parts { creds, mm, files, fs, namespaces } = parts;
        Self {
            keyrings: SpinLock::new(PART_LEVEL, Rings::new(process.container.keys.clone())),
            exit_request: ExitRequest::new(),
            work: AtomicU32::new(0),
            tid: AtomicU32::new(tid),
            process,
            waker: Once::new(),
            name: SpinLock::new(PART_LEVEL, name),
            creds: Shared::new(PART_LEVEL, creds),
            mm: Shared::new(PART_LEVEL, Some(mm)),
            files: Shared::new(PART_LEVEL, files),
            fs: Shared::new(PART_LEVEL, fs),
            namespaces: Shared::new(PART_LEVEL, namespaces),
            parts_changed: AtomicBool::new(false),
            signals: SpinLock::new(crate::signal::TASK_LEVEL, TaskSignals::default()),
            mask_saved: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            parent_death_signal: AtomicU32::new(0),
            undo: SpinLock::new(PART_LEVEL, None),
            handover: SpinLock::new(PART_LEVEL, None),
            thread: Once::new(),
            call: CallRecord::default(),
            syscalls: AtomicU64::new(0),
            system_ns: AtomicU64::new(0),
            summed: AtomicBool::new(false),
            nice: core::sync::atomic::AtomicI32::new(0),
            tracer: AtomicU32::new(0),
            trace: SpinLock::new(super::trace::LEVEL, Trace::default()),
            exit_code: AtomicU32::new(0),
            rseq: Rseq::default(),
            seccomp: SpinLock::new(PART_LEVEL, Seccomp::Off),
            call_hooks: AtomicU32::new(0),
            schedule: SpinLock::new(PART_LEVEL, Schedule::default()),
            timer_slack_ns: AtomicU64::new(50_000),
            memory_policy: AtomicU32::new(0),
            personality: AtomicU32::new(0),
            too_many_tasks: AtomicBool::new(false),
        }
    }

    /// Its number in the container.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// For execve of a thread that is not the leader: it takes the leader's number.
    pub(crate) fn set_tid(&self, tid: u32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// Its process's number in the container.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The number by which it sees what has `number` in the container, 0 for what it does not see.
    #[inline]
    #[must_use]
    pub fn shown(&self, number: u32) -> u32 {
        self.process.pid_namespace().shown(number)
    }

    /// The number in the container of what it calls `number`; 0, which nobody has, when it sees no such thing.
    #[inline]
    #[must_use]
    pub fn meant(&self, number: u32) -> u32 {
        self.process.pid_namespace().meant(number)
    }

    /// The task that it calls `number`.
    #[must_use]
    pub fn find_task(&self, number: u32) -> Option<Arc<Self>> {
        self.container().task(self.meant(number))
    }

    /// The process that it calls `number`; zombies too.
    #[must_use]
    pub fn find_process(&self, number: u32) -> Option<Arc<Process>> {
        self.container().process(self.meant(number))
    }

    /// The thread group.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Its ids, as file systems want them.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let (pgid, sid) = self.process.group_and_session();
        let container = Arc::as_ptr(self.container()).addr();
        Caller { pid: self.pid(), tid: self.tid(), pgid, sid, container }
    }

    /// Whether it does not sleep.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.get().is_none_or(|thread| !thread.is_asleep())
    }

    /// The container.
    #[must_use]
    pub fn container(&self) -> &Arc<Container> {
        &self.process.container
    }

    /// System V objects and message queues that it sees.
    #[must_use]
    pub fn ipc(&self) -> Arc<IpcNamespace> {
        self.namespaces.get().ipc.0.clone()
    }

    /// Its list of semaphores to be undone; made when it has none.
    #[must_use]
    pub fn undo_list(&self) -> Arc<UndoList> {
        self.undo.lock().get_or_insert_with(UndoList::new).clone()
    }

    /// Lets go of the list: when nobody shares it, the adjustments are made now (exit(2), unshare(2)).
    pub fn leave_undo_list(&self) {
        let list = self.undo.lock().take();
        drop(list);
    }

    /// The soft limit of a resource.
    #[must_use]
    pub fn rlimit(&self, resource: Resource) -> u64 {
        self.process.limits.soft(resource)
    }

    /// It ends by exit(2).
    pub(crate) fn set_exit_code(&self, code: u8) {
        self.exit_code.store(u32::from(code), Ordering::Relaxed);
    }

    /// How it ends, once it is to.
    #[must_use]
    pub fn end_status(&self) -> ExitStatus {
        let code = u8::try_from(self.exit_code.load(Ordering::Relaxed)).unwrap_or(0);
        let state = self.process.state();
        state.exiting.unwrap_or(ExitStatus::Exited(code))
    }

    /// What holds for its system calls.
    #[must_use]
    pub fn seccomp(&self) -> Seccomp {
        self.seccomp.lock().clone()
    }

    /// Sets what holds for its system calls; nobody takes it back.
    pub fn set_seccomp(&self, seccomp: Seccomp) {
        let hooked = !matches!(seccomp, Seccomp::Off);
        drop(core::mem::replace(&mut *self.seccomp.lock(), seccomp));
        if hooked {
            self.hook_calls(CallHooks::SECCOMP);
        }
    }

    /// What looks at its system calls.
    #[inline]
    #[must_use]
    pub fn call_hooks(&self) -> CallHooks {
        CallHooks::from_bits_truncate(self.call_hooks.load(Ordering::Relaxed))
    }

    /// Makes something look at its system calls.
    pub fn hook_calls(&self, hook: CallHooks) {
        self.call_hooks.fetch_or(hook.bits(), Ordering::Relaxed);
    }

    /// Takes [`Task::hook_calls`] back.
    pub fn unhook_calls(&self, hook: CallHooks) {
        self.call_hooks.fetch_and(!hook.bits(), Ordering::Relaxed);
    }

    /// `comm`: up to 15 bytes and a null byte.
    #[must_use]
    pub fn name(&self) -> [u8; 16] {
        *self.name.lock()
    }

    /// Sets `comm` from the first 15 bytes of `name`.
    pub fn set_name(&self, name: &[u8]) {
        *self.name.lock() = short_name(name);
    }

    /// Credentials now.
    #[must_use]
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.get()
    }

    /// Replaces the credentials; only the task itself does.
    pub fn set_creds(&self, creds: Creds) {
        let new = Arc::new(creds);
        let old = self.creds.replace(new.clone());
        if (old.fsuid, old.fsgid) != (new.fsuid, new.fsgid) {
            self.keyrings.lock().follow(&new);
        }
    }

    /// Descriptors now; an empty table once the task has ended.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.files.get()
    }

    /// Replaces the descriptors; only the task itself does. Returns the old ones.
    pub fn set_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        self.parts_changed.store(true, Ordering::Relaxed);
        self.files.replace(files)
    }

    /// Root, working directory and umask now.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.get()
    }

    /// Replaces root, working directory and umask; only the task itself does.
    pub fn set_fs(&self, fs: Arc<FsContext>) -> Arc<FsContext> {
        self.fs.replace(fs)
    }

    /// Namespaces now.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        self.namespaces.get()
    }

    /// Replaces the namespaces; only the task itself does.
    pub fn set_namespaces(&self, namespaces: Namespaces) {
        drop(self.namespaces.replace(Arc::new(namespaces)));
    }

    /// Address space now, `None` once the task has ended. A system call has it as `cx.mm`.
    #[must_use]
    pub fn mm(&self) -> Option<Arc<Mm>> {
        self.mm.get()
    }

    /// Replaces the address space; only the task itself does. Returns the old one.
    pub fn set_mm(&self, mm: Option<Arc<Mm>>) -> Option<Arc<Mm>> {
        self.parts_changed.store(true, Ordering::Relaxed);
        self.mm.replace(mm)
    }

    /// Whether descriptors or address space were replaced since the last call.
    pub(super) fn take_parts_changed(&self) -> bool {
        self.parts_changed.load(Ordering::Relaxed) && self.parts_changed.swap(false, Ordering::Relaxed)
    }

    /// The kernel thread says how it is woken.
    pub(super) fn set_waker(&self, waker: Waker) {
        self.waker.set(waker);
        // Pairs with the read-modify-write in `ask` and `withdraw`: either they see the waker, or this thread, which
        // looks at its work next, sees theirs.
        fence(Ordering::SeqCst);
    }

    /// Whether its kernel thread is the one that `waker` wakes.
    pub(super) fn is_woken_by(&self, waker: &Waker) -> bool {
        self.waker.get().is_some_and(|own| own.will_wake(waker))
    }

    /// What there is to attend to.
    #[must_use]
    pub fn work(&self) -> Work {
        Work::from_bits_truncate(self.work.load(Ordering::SeqCst))
    }

    /// Adds work and makes the task look at it, wherever it is.
    pub fn ask(&self, work: Work) {
        self.work.fetch_or(work.bits(), Ordering::SeqCst);
        if let Some(cpu) = self.exit_request.set() {
            platform::get().kick(cpu);
        }
        self.wake();
    }

    /// Takes work back, and wakes the task should it wait for that.
    pub fn withdraw(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::SeqCst);
        self.wake();
    }

    /// Takes work back, by the task itself.
    pub(crate) fn attended(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::SeqCst);
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// The kernel thread was started.
    pub(super) fn set_thread(&self, thread: Arc<dyn KernelThread>) {
        self.thread.set(thread);
    }

    /// Tells the kernel thread when and where it runs.
    pub(super) fn set_scheduling(&self, scheduling: platform::Scheduling) {
        if let Some(thread) = self.thread.get() {
            thread.set_scheduling(scheduling);
        }
    }

    /// Time that it has been on CPUs, ns.
    fn ran_ns(&self) -> u64 {
        self.thread.get().map_or(0, |thread| thread.ran_ns())
    }

    /// How often it left a CPU to sleep, and how often to let others run.
    #[must_use]
    pub fn switches(&self) -> (u64, u64) {
        self.thread.get().map_or((0, 0), |thread| thread.switches())
    }

    /// Runs `body` and counts the time that it takes on CPUs, times `weight`, as system time.
    pub(crate) fn count_system<R>(&self, weight: u64, body: impl FnOnce() -> R) -> R {
        let from = self.ran_ns();
        let result = body();
        let took = self.ran_ns().saturating_sub(from).saturating_mul(weight);
        let before = self.system_ns.load(Ordering::Relaxed);
        self.system_ns.store(before.saturating_add(took), Ordering::Relaxed);
        result
    }

    /// Counts a system call; returns how many there were before. Only the task itself calls it.
    pub(crate) fn count_syscall(&self) -> u64 {
        let before = self.syscalls.load(Ordering::Relaxed);
        self.syscalls.store(before + 1, Ordering::Relaxed);
        before
    }

    /// The call that it waits in; `None` when it does not sleep, or not for what a call waits for.
    #[must_use]
    pub fn waiting_call(&self) -> Option<CallDetails> {
        let sequence = self.syscalls.load(Ordering::Relaxed);
        if self.is_running() { None } else { self.call.get(sequence) }
    }

    /// CPU time and calls of this thread; nothing once it has ended, for its process and container count them then.
    #[must_use]
    pub fn usage(&self) -> Usage {
        if self.summed.load(Ordering::Relaxed) {
            return Usage::default();
        }
        let on_cpu = self.ran_ns();
        let system_ns = self.system_ns.load(Ordering::Relaxed).min(on_cpu);
        let syscalls = self.syscalls.load(Ordering::Relaxed);
        let waited_ns = self.thread.get().map_or(0, |thread| thread.waited_ns());
        Usage { user_ns: on_cpu - system_ns, system_ns, waited_ns, switches: self.switches(), syscalls }
    }

    /// [`Task::usage`], for the last time.
    pub(super) fn take_usage(&self) -> Usage {
        let usage = self.usage();
        self.summed.store(true, Ordering::Relaxed);
        usage
    }

    /// Wakes the task without work, should it wait for others of its process to end.
    pub(crate) fn nudge(&self) {
        self.wake();
    }

    /// Lets go of the parent that waits in vfork(2), if one does.
    pub(crate) fn complete_handover(&self) {
        let handover = self.handover.lock().take();
        if let Some(handover) = handover {
            handover.complete();
        }
    }

    /// Address of [`Task::clear_child_tid`], taken.
    pub(super) fn take_clear_child_tid(&self) -> UserAddr {
        UserAddr::new(self.clear_child_tid.swap(0, Ordering::Relaxed))
    }
}

/// The first 15 bytes of a name.
#[must_use]
pub(crate) fn short_name(name: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short
        .iter_mut()
        .zip(name.iter().take(15).take_while(|byte| **byte != 0))
        .for_each(|(to, from)| *to = *from);
    short
}

impl Interrupt for Task {
    fn interrupted(&self) -> bool {
        self.work.load(Ordering::Relaxed) != 0
    }

    fn killed(&self) -> bool {
        self.work().contains(Work::EXIT)
    }

    fn parks(&self, regs: &Regs) {
        self.call.note(self.syscalls.load(Ordering::Relaxed), regs);
    }
}
