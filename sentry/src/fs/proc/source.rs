//! What proc tells of, as the rooms above hand it down: this room names no task.

use crate::abi::Errno;
use crate::fs::block::Disk;
use crate::fs::{FdTable, FsContext, FsCx, OpenFile};
use crate::mm::Mm;
use crate::security::Creds;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The processes of one pid namespace, and figures of the whole sandbox.
pub trait ProcSource: Send + Sync {
    /// Process ids, ascending.
    fn pids(&self) -> Vec<u32>;

    /// A process by its id, or any thread by its own.
    fn task(&self, pid: u32) -> Option<Arc<dyn ProcTask>>;

    /// The number shown here of the process or thread that callers are known by as `number`; 0 for what is not seen here.
    fn shown(&self, number: u32) -> u32;

    /// Figures of the sandbox as this container sees it.
    fn system(&self) -> SystemInfo;

    /// Block devices.
    fn disks(&self) -> Vec<Arc<Disk>> {
        Vec::new()
    }

    /// Text of a file of `/proc/sysvipc`: `shm`, `sem`, `msg`, as the thread `caller` sees them.
    fn sysvipc(&self, caller: u32, name: &str) -> String;

    /// Text of `/proc/keys` or `/proc/key-users`, as the thread `caller` sees it.
    fn keys(&self, caller: u32, name: &str) -> String {
        let _ = (caller, name);
        String::new()
    }

    /// Value of a file under `/proc/sys`, such as `kernel/hostname`, for those that are not fixed, as the thread `caller`
    /// sees it.
    fn sysctl(&self, caller: u32, name: &str) -> Option<String>;

    /// Files under `/proc/sys` beside the fixed ones: path and permission bits.
    fn sysctls(&self) -> Vec<(String, u32)> {
        Vec::new()
    }

    /// Changes a file under `/proc/sys` for the thread `caller`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `EACCES` for one that cannot be changed.
    fn set_sysctl(&self, caller: u32, name: &str, value: &[u8]) -> Result<(), Errno>;
}

/// A thread, or a process by its first thread.
pub trait ProcTask: Send + Sync {
    /// Plain values.
    fn info(&self) -> TaskInfo;

    /// Whether it is a thread of the process that callers are known by as `pid`.
    fn is_of(&self, pid: u32) -> bool;

    /// Thread ids of its process, ascending.
    fn threads(&self) -> Vec<u32>;

    /// Ids of the children of its process, in the order of their birth.
    fn children(&self) -> Vec<u32>;

    /// Slack of its timers in ns.
    fn timer_slack_ns(&self) -> u64;

    /// Sets the slack of its timers; 0 is the default.
    fn set_timer_slack_ns(&self, value: u64);

    /// Address space; `None` for a zombie.
    fn mm(&self) -> Option<Arc<Mm>>;

    /// Descriptors; `None` for a zombie.
    fn files(&self) -> Option<Arc<FdTable>>;

    /// Root and working directory; `None` for a zombie.
    fn fs(&self) -> Option<Arc<FsContext>>;

    /// The text of a file of its network namespace under `/proc/PID/net`.
    fn net(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Credentials.
    fn creds(&self) -> Arc<Creds>;

    /// The call that it waits in; `None` when it does not sleep, or not for what a call waits for.
    fn call(&self) -> Option<CallDetails> {
        None
    }

    /// Whether the caller may look into its memory.
    fn may_be_seen(&self, cx: &FsCx<'_>) -> bool;

    /// The file behind `/proc/PID/ns/NAME`; `None` for a zombie.
    fn namespace(&self, name: &str) -> Option<Arc<OpenFile>>;

    /// The number shown here of the process that callers are known by as `number`.
    fn shown(&self, number: u32) -> u32;

    /// What `fdinfo` says of a descriptor of a process, by the numbers that are shown here.
    fn describe_pidfd(&self, file: &OpenFile, out: &mut String);

    /// A descriptor of its process, as by pidfd_open(2).
    fn pidfd(&self) -> Arc<OpenFile>;

    /// Sets the name (`/proc/PID/comm`).
    fn set_name(&self, name: &[u8]);

    /// Sets `oom_score_adj`, -1000 to 1000.
    fn set_oom_score_adj(&self, value: i32);
}

/// A call with its arguments and the user registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallDetails {
    /// Number.
    pub number: u64,
    /// The six argument registers.
    pub arguments: [u64; 6],
    /// User stack pointer.
    pub stack_pointer: u64,
    /// Where the call returns to.
    pub pc: u64,
}

/// Plain values of a task.
#[derive(Clone, Debug, Default)]
pub struct TaskInfo {
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Its numbers in the namespaces below, going inwards: process, thread, group, session.
    pub inner: Vec<[u32; 4]>,
    /// Controlling terminal's device number, 0 for none.
    pub tty: u64,
    /// Foreground process group of the terminal, -1 for none.
    pub tty_pgid: i32,
    /// Name, at most 15 bytes.
    pub name: Vec<u8>,
    /// `R`, `S`, `D`, `T`, `t`, `Z`.
    pub state: char,
    /// ns in user mode.
    pub user_ns: u64,
    /// ns in the sentry.
    pub system_ns: u64,
    /// The same of reaped children.
    pub child_user_ns: u64,
    /// The same of reaped children.
    pub child_system_ns: u64,
    /// Start, ns since boot.
    pub start_ns: u64,
    /// Threads of the process.
    pub threads: u32,
    /// Nice value.
    pub nice: i32,
    /// `priority`, `rt_priority` and `policy` of `stat`.
    pub scheduling: (i32, u32, u32),
    /// CPUs it may run on.
    pub cpus: u64,
    /// personality(2).
    pub personality: u32,
    /// Exit code as wait(2) tells it.
    pub exit_code: i32,
    /// CPU it ran on last.
    pub cpu: u32,
    /// Faults without and with reading.
    pub minor_faults: u64,
    /// Faults with reading.
    pub major_faults: u64,
    /// Signals pending for the thread, the process; blocked, ignored, caught.
    pub pending: u64,
    /// Pending for the process.
    pub shared_pending: u64,
    /// Blocked.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
    /// Caught.
    pub caught: u64,
    /// Signals queued.
    pub queued: u64,
    /// `RLIMIT_*`: soft and hard.
    pub limits: [(u64, u64); 16],
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Thread id of its tracer, 0 for none.
    pub tracer: u32,
    /// Seccomp mode.
    pub seccomp: u32,
    /// Seccomp filters.
    pub seccomp_filters: usize,
    /// Time that it waited for a CPU, ns.
    pub waited_ns: u64,
    /// Voluntary and involuntary context switches.
    pub switches: (u64, u64),
}

/// Figures of the sandbox.
#[derive(Clone, Debug, Default)]
pub struct SystemInfo {
    /// ns since boot.
    pub uptime_ns: u64,
    /// Wall clock at boot, seconds.
    pub boot_time: u64,
    /// ns of CPU time in user mode, in the sentry, idle, of all CPUs.
    pub user_ns: u64,
    /// In the sentry.
    pub system_ns: u64,
    /// Idle.
    pub idle_ns: u64,
    /// Load averages, with 11 bits behind the point.
    pub loads: [u64; 3],
    /// CPUs of the container.
    pub cpus: u32,
    /// Bytes of memory (the container's limit).
    pub memory: u64,
    /// Bytes in use.
    pub memory_used: u64,
    /// Bytes of file pages.
    pub cached: u64,
    /// Tasks in all and runnable.
    pub tasks: u32,
    /// Runnable tasks.
    pub running: u32,
    /// Processes made since boot.
    pub forks: u64,
    /// Last pid given out.
    pub last_pid: u32,
}
