//! Messages between the shim (or `chitin run`) and the sentry: the containers of the pod.
//!
//! They travel as frames over the vsock connection that the sentry opens to [`crate::vsock::PORT_CONTROL`] at boot. The
//! sentry's first frame is [`Event::Ready`]. What can be said as OCI runtime spec data is part of
//! [`Request::CreateContainer`].

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What the sentry is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Builds a container: mounts, init process up to its `execve`, stdio connections. The process does not run yet.
    CreateContainer(alloc::boxed::Box<ContainerSpec>),
    /// Lets the init process of a created container run.
    StartContainer {
        /// Container id.
        id: String,
    },
    /// Starts a further process in a running container.
    Exec {
        /// Container id.
        id: String,
        /// Name of the process within the container, not empty.
        exec_id: String,
        /// What to run.
        process: ProcessSpec,
    },
    /// Sends a signal.
    Signal {
        /// Container id.
        id: String,
        /// Which process; `None` is init.
        exec_id: Option<String>,
        /// Linux signal number.
        signal: u32,
        /// Whom it reaches.
        scope: SignalScope,
    },
    /// Sets the window size of a process with a terminal.
    Resize {
        /// Container id.
        id: String,
        /// Which process; `None` is init.
        exec_id: Option<String>,
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Closes the write side of a process's stdin, so that it reads end of file once what is queued is read.
    CloseStdin {
        /// Container id.
        id: String,
        /// Which process; `None` is init.
        exec_id: Option<String>,
    },
    /// Frees an ended container (or one that was never started): processes, mounts, budget.
    DeleteContainer {
        /// Container id.
        id: String,
    },
    /// Lists processes.
    Pids {
        /// Container id.
        id: String,
    },
    /// What the tasks of a container are doing, as text.
    Debug {
        /// Container id.
        id: String,
    },
    /// Counters of one container.
    Stats {
        /// Container id.
        id: String,
    },
    /// Freezes (or thaws) every task of a container.
    Freeze {
        /// Container id.
        id: String,
        /// The state wanted.
        state: FreezeState,
    },
    /// Changes limits of a running container.
    Update {
        /// Container id.
        id: String,
        /// The new limits.
        limits: Limits,
    },
    /// Gives the pod its interfaces. Once, before the first container; without it there is loopback only.
    SetNetwork(crate::network::Network),
    /// Answered at once; a missed one means the sentry hangs.
    Ping,
    /// Kills what is left and powers off.
    Shutdown,
}

/// Whom a signal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalScope {
    /// The process alone.
    Process,
    /// Every process of the container.
    Container,
}

/// Whether a container's tasks may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeState {
    /// They run.
    Thawed,
    /// They do not.
    Frozen,
}

/// A container, from its OCI runtime spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Container id.
    pub id: String,
    /// UTS host name; empty: `chitin`.
    pub hostname: String,
    /// UTS domain name; empty: `(none)`.
    pub domainname: String,
    /// Root file system.
    pub root: Root,
    /// Further mounts, in order.
    pub mounts: Vec<Mount>,
    /// Init process.
    pub process: ProcessSpec,
    /// Limits.
    pub limits: Limits,
    /// `linux.sysctl`.
    pub sysctl: Vec<(String, String)>,
    /// Block devices.
    pub devices: Vec<BlockNode>,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<String>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<String>,
    /// `linux.seccomp`: what its processes may call.
    pub seccomp: Option<SeccompProfile>,
    /// Prints every system call of the container to the log.
    pub strace: bool,
}

/// A filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompProfile {
    /// What becomes of calls that no rule speaks of: an answer as a filter gives it (`SECCOMP_RET_*`, seccomp(2)).
    pub default: u32,
    /// The rules.
    pub rules: Vec<SeccompRule>,
}

/// What becomes of some calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompRule {
    /// Names of the calls; unknown ones are left out.
    pub names: Vec<String>,
    /// What becomes of them, as in [`SeccompProfile::default`].
    pub action: u32,
    /// What must hold.
    pub conditions: Vec<SeccompCondition>,
}

/// What must hold of an argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompCondition {
    /// Which argument, from 0 on.
    pub argument: u32,
    /// How it compares.
    pub compare: SeccompCompare,
    /// With what; the mask of [`SeccompCompare::MaskedEqual`].
    pub value: u64,
    /// What the masked argument must be.
    pub value_two: u64,
}

/// `SCMP_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompCompare {
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Equal.
    Equal,
    /// Greater or equal.
    GreaterOrEqual,
    /// Greater.
    Greater,
    /// Equal to the second value under a mask.
    MaskedEqual,
}

/// A block special file of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockNode {
    /// Slot of the machine in which the device is ([`crate::vmm::Request::AttachBlock`]).
    pub slot: u32,
    /// Absolute path in the container.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Root file system of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Virtio-fs shares, the topmost layer first; more than one are stacked.
    pub shares: Vec<String>,
    /// What happens to writes.
    pub writes: RootWrites,
}

/// What happens to writes to a root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootWrites {
    /// They stay in an upper layer inside the sandbox.
    #[default]
    Overlay,
    /// They fail with `EROFS` (`root.readonly`).
    ReadOnly,
    /// They go to the share, which must be a single one.
    Through,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; created when missing, as runc does.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Mount and file system options as in `/proc/self/mountinfo`: `ro`, `nosuid`, `noexec`, `mode=755`, `size=64k`.
    pub options: Vec<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// `proc`.
    Proc,
    /// `sysfs`.
    Sysfs,
    /// `tmpfs`.
    Tmpfs,
    /// `devpts`.
    Devpts,
    /// `mqueue`.
    Mqueue,
    /// `cgroup` or `cgroup2`.
    Cgroup,
    /// A virtio-fs share: a directory, or one file.
    Share(String),
}

/// One process to start, from `process` of the OCI runtime spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Arguments; the first is looked up in `PATH` of `env` as runc does.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Resource limits: `RLIMIT_*` number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i32,
    /// Standard streams.
    pub stdio: Stdio,
}

/// Capability sets as bit masks (bit `n` = capability number `n`, capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// Standard streams of a process: host vsock ports with an attached stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// All three are `/dev/null`.
    #[default]
    Null,
    /// A pseudo terminal, carried by one stream both ways.
    Terminal {
        /// The stream.
        port: u32,
        /// Initial columns, 0 when unknown.
        columns: u16,
        /// Initial rows, 0 when unknown.
        rows: u16,
    },
    /// Pipes, each by a stream of its own; `None` is `/dev/null`.
    Streams {
        /// Standard input.
        stdin: Option<u32>,
        /// Standard output.
        stdout: Option<u32>,
        /// Standard error.
        stderr: Option<u32>,
    },
}

/// Limits of a container; `None` is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory of its processes, file pages and kernel objects.
    pub memory_bytes: Option<u64>,
    /// Tasks.
    pub pids: Option<u32>,
    /// CPU bandwidth: microseconds per period.
    pub cpu_quota_us: Option<(u64, u64)>,
    /// `cpu.shares`-like weight, 1 to 10000.
    pub cpu_weight: Option<u32>,
}

/// Answer to a [`Request`], with the same frame id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// A process was made ([`Request::CreateContainer`], [`Request::Exec`]); its pid in the sandbox.
    Process {
        /// Pid as seen in the container's pid namespace.
        pid: u32,
    },
    /// Answer to [`Request::Pids`].
    Pids(Vec<u32>),
    /// Answer to [`Request::Debug`].
    Text(String),
    /// Answer to [`Request::Stats`].
    Stats(Stats),
    /// Not done.
    Failed {
        /// Linux errno that fits best.
        errno: i32,
        /// What failed, naming the path, id or program.
        message: String,
    },
}

/// Counters of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Bytes charged now.
    pub memory_bytes: u64,
    /// Most bytes ever charged.
    pub memory_peak_bytes: u64,
    /// Its limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Tasks now.
    pub pids: u32,
    /// Most tasks there may be.
    pub pids_limit: Option<u32>,
    /// ns in user mode.
    pub user_ns: u64,
    /// ns in the sentry on behalf of the container.
    pub system_ns: u64,
    /// System calls made.
    pub syscalls: u64,
    /// Calls answered with `ENOSYS`, by name.
    pub unimplemented: Vec<(String, u64)>,
}

/// What the sentry tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The sentry takes requests. First frame of the channel.
    Ready {
        /// [`crate::VERSION`] of the guest.
        version: u32,
    },
    /// A process that the control channel started has ended, and its streams are flushed.
    Exited {
        /// Container id.
        id: String,
        /// Which process; `None` is init.
        exec_id: Option<String>,
        /// Exit code, 128 + signal when killed.
        status: u32,
        /// CLOCK_REALTIME, ns.
        at_ns: u64,
    },
    /// Processes of the container were killed for want of memory: it met its limit, or the sandbox has no more.
    OutOfMemory {
        /// Container id.
        id: String,
    },
}
