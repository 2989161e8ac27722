//! [`Container`]: what the tasks of one container share: their tree, names, limits and counters.

use super::namespaces::{Namespaces, PidNamespace};
use super::tree::{self, Tree};
use super::{Process, Task};
use crate::abi::Errno;
use crate::fs::FileSystem;
use crate::ipc::IpcNamespace;
use crate::mm::Budget;
use crate::net::NetStack;
use crate::security::keys::KeyStore;
use crate::signal::SigInfo;
use crate::syscall::names::{COUNT, NAMES};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::once::Once;
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// UTS names (uname(2)).
#[derive(Clone, Debug)]
pub struct UtsNames {
    /// `nodename`.
    pub host: Vec<u8>,
    /// `domainname`.
    pub domain: Vec<u8>,
}

/// CPU time and system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// ns in user mode.
    pub user_ns: u64,
    /// ns in the sentry.
    pub system_ns: u64,
    /// ns that a thread could have run but waited for a CPU.
    pub waited_ns: u64,
    /// How often a thread left a CPU to sleep, and how often to let others run.
    pub switches: (u64, u64),
    /// System calls made.
    pub syscalls: u64,
}

impl Usage {
    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_add(other.user_ns),
            system_ns: self.system_ns.saturating_add(other.system_ns),
            waited_ns: self.waited_ns.saturating_add(other.waited_ns),
            switches: (
                self.switches.0.saturating_add(other.switches.0),
                self.switches.1.saturating_add(other.switches.1),
            ),
            syscalls: self.syscalls.saturating_add(other.syscalls),
        }
    }
}

/// Makes the procfs of a pid namespace, while the container's files are there.
pub type NewProcFs = Box<dyn Fn(&Arc<PidNamespace>) -> Option<Arc<dyn FileSystem>> + Send + Sync>;

/// A container.
pub struct Container {
    id: String,
    /// What its first process has, and what is executed in it.
    pub namespaces: Arc<Namespaces>,
    tree: SpinLock<Tree>,
    /// Prints every system call to the log.
    pub strace: AtomicBool,
    /// Pays for pages and what else users make the sentry allocate.
    pub budget: Arc<Budget>,
    /// System V objects and message queues.
    pub ipc: Arc<IpcNamespace>,
    /// Keys of its processes.
    pub keys: Arc<KeyStore>,
    load: super::load::LoadAverage,
    /// Its network namespace, which all containers of a pod share.
    pub net: Arc<dyn NetStack>,
    /// Makes the procfs of a pid namespace below the outermost.
    pub procfs: Once<NewProcFs>,
    /// Processes that were killed for want of memory.
    pub(super) oom_kills: AtomicU64,
    pids_limit: AtomicU32,
    pids: AtomicU32,
    frozen: AtomicBool,
    /// Woken when the container is thawed, a process was killed for want of memory, or its last task has ended.
    pub(super) changed: WaitQueue,
    ended: SpinLock<Usage>,
    unimplemented: Box<[AtomicU64]>,
}

impl Container {
    /// An empty container.
    #[must_use]
    pub fn new(
        id: String,
        host: Vec<u8>,
        domain: Vec<u8>,
        budget: Arc<Budget>,
        net: Arc<dyn NetStack>,
    ) -> Arc<Self> {
        let ipc = IpcNamespace::new(budget.clone());
        let names = UtsNames { host, domain };
        let container = Arc::new(Self {
            id,
            namespaces: Arc::new(Namespaces::outermost(names, ipc.clone(), net.clone())),
            tree: SpinLock::new(tree::LEVEL, Tree::default()),
            strace: AtomicBool::new(false),
            ipc,
            keys: KeyStore::new(budget.clone()),
            load: super::load::LoadAverage::new(),
            budget,
            net,
            procfs: Once::new(),
            oom_kills: AtomicU64::new(0),
            pids_limit: AtomicU32::new(u32::MAX),
            pids: AtomicU32::new(0),
            frozen: AtomicBool::new(false),
            changed: WaitQueue::new(),
            ended: SpinLock::new(Level(58), Usage::default()),
            unimplemented: (0..COUNT).map(|_| AtomicU64::new(0)).collect(),
        });
        super::oom::watch(&container);
        container
    }

    /// The id that the host knows it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The tree, locked. Signals may be sent below it; nothing may sleep.
    pub fn tree(&self) -> chitin_core::lock::SpinGuard<'_, Tree> {
        self.tree.lock()
    }

    /// The process of that number; zombies too.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<Arc<Process>> {
        self.tree().process(pid).cloned()
    }

    /// The task of that number.
    #[must_use]
    pub fn task(&self, tid: u32) -> Option<Arc<Task>> {
        self.tree().tasks.get(&tid).cloned()
    }

    /// Every process, zombies too, by ascending pid.
    #[must_use]
    pub fn processes(&self) -> Vec<Arc<Process>> {
        self.tree().members.values().map(|member| member.process.clone()).collect()
    }

    /// As [`Container::processes`], one after another: without a list of them, for want of memory for one, and with the lock
    /// let go in between. One that is made meanwhile may be among them.
    pub(super) fn each_process(&self) -> impl Iterator<Item = Arc<Process>> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let process =
                self.tree().members.range(from..).next().map(|(_, member)| member.process.clone())?;
            from = process.pid().checked_add(1)?;
            Some(process)
        })
    }

    /// Every task, as [`Container::each_process`].
    fn each_task(&self) -> impl Iterator<Item = Arc<Task>> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let task = self.tree().tasks.range(from..).next().map(|(_, task)| task.clone())?;
            from = task.tid().checked_add(1)?;
            Some(task)
        })
    }

    /// Sends a signal to every process of a group, without asking for permission: for terminals.
    ///
    /// # Errors
    /// `ESRCH` when there is no such group.
    pub fn signal_group(&self, group: u32, info: SigInfo) -> Result<(), Errno> {
        // Locked while they are sent: see `clone`.
        let tree = self.tree();
        let members = tree.group_processes(group);
        if members.is_empty() {
            return Err(Errno::ESRCH);
        }
        for process in members {
            let _ = process.send(info);
        }
        Ok(())
    }

    /// Sends a signal to every process, on behalf of the host.
    pub fn signal_all(&self, info: SigInfo) {
        let tree = self.tree();
        for process in tree.all_processes() {
            let _ = process.send_from_host(info);
        }
    }

    /// Sets how many tasks there may be.
    pub fn set_pids_limit(&self, limit: Option<u32>) {
        self.pids_limit.store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many tasks there may be.
    #[must_use]
    pub fn pids_limit(&self) -> Option<u32> {
        Some(self.pids_limit.load(Ordering::Relaxed)).filter(|limit| *limit != u32::MAX)
    }

    /// Tasks there are.
    #[must_use]
    pub fn pids(&self) -> u32 {
        self.pids.load(Ordering::Relaxed)
    }

    /// Counts one task more.
    ///
    /// # Errors
    /// `EAGAIN` at the limit.
    pub(super) fn charge_pid(&self) -> Result<(), Errno> {
        let limit = self.pids_limit.load(Ordering::Relaxed);
        let counted = self
            .pids
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pids| (pids < limit).then_some(pids + 1));
        counted.map(drop).map_err(|_| Errno::EAGAIN)
    }

    /// Whether a user has `limit` tasks or more (`RLIMIT_NPROC`).
    #[must_use]
    pub fn has_tasks_beyond(&self, uid: u32, limit: u64) -> bool {
        if limit == super::limits::INFINITY {
            return false;
        }
        let tree = self.tree();
        tree.tasks.values().filter(|task| task.creds().uid == uid).count() as u64 >= limit
    }

    /// Counts one task less.
    pub(crate) fn uncharge_pid(&self) {
        self.pids.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps every task from running, or lets them run again. Tasks stop at their next return to user mode.
    pub fn freeze(&self, state: chitin_proto::control::FreezeState) {
        let frozen = state == chitin_proto::control::FreezeState::Frozen;
        self.frozen.store(frozen, Ordering::SeqCst);
        if frozen {
            let tasks: Vec<Arc<Task>> = self.tree().tasks.values().cloned().collect();
            tasks.iter().for_each(|task| task.ask(super::Work::FREEZE));
        }
        self.changed.wake_all();
    }

    /// Whether tasks are kept from running.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Processes that were killed for want of memory so far.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    /// Counts a call that is not implemented.
    pub fn count_unimplemented(&self, number: usize) {
        if let Some(counter) = self.unimplemented.get(number) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls that are not implemented and were made, by name.
    #[must_use]
    pub fn unimplemented(&self) -> Vec<(String, u64)> {
        let counts = self.unimplemented.iter().map(|counter| counter.load(Ordering::Relaxed));
        let named = NAMES.iter().zip(counts).filter(|(_, count)| *count > 0);
        named.map(|(name, count)| (String::from(*name), count)).collect()
    }

    pub(super) fn add_ended(&self, usage: Usage) {
        let mut ended = self.ended.lock();
        *ended = ended.plus(usage);
    }

    /// Load averages of 1, 5 and 15 minutes, with [`super::load::SHIFT`] bits behind the point.
    #[must_use]
    pub fn load_averages(&self) -> [u64; 3] {
        let usage = self.usage();
        let awake_ns = usage.user_ns.saturating_add(usage.system_ns).saturating_add(usage.waited_ns);
        self.load.update(super::now_ns(), awake_ns)
    }

    /// CPU time and calls of all tasks that are and were.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let living = self.each_task().fold(Usage::default(), |sum, task| sum.plus(task.usage()));
        living.plus(*self.ended.lock())
    }
}
