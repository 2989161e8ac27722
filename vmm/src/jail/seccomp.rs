//! Seccomp filters, one per kind of thread: lists of what was seen to be needed, everything else ends the process.
//!
//! A thread's filters add up: vCPU threads and those of block devices run under the main thread's and their own.

use super::JailError;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

/// What happens at a system call that is not on the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The process is killed (SIGSYS).
    #[default]
    Kill,
    /// It is allowed and logged to the audit log; for developers.
    Log,
    /// No filter; for developers.
    Off,
}

/// Kinds of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Control channel, log, vsock, entropy.
    Main,
    /// The file server.
    FileServer,
    /// A network card.
    Network,
    /// A thread that serves block devices.
    Block,
    /// A vCPU.
    Vcpu,
}

/// What every thread of a Rust program needs.
const COMMON: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_write,
];

/// Streams, the control socket, starting vCPU threads (and what a starting thread does).
const MAIN: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    // Opens a blocking FIFO anew by /proc/self/fd; this thread has no capability left.
    libc::SYS_openat,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_seccomp,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_statx,
    libc::SYS_writev,
];

const FILE_SERVER: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

const NETWORK: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll, libc::SYS_readv, libc::SYS_writev];

/// Threads for block devices are started by the main thread when the first device comes, so its filter has these calls too.
const BLOCK: &[i64] = &[
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
];

/// vCPUs need no more than the common ones and KVM's ioctls.
const VCPU: &[i64] = &[];

/// ioctl(2) of KVM only: type byte 0xAE.
fn kvm_ioctl() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const KVM: u64 = 0xae00;
    const TYPE: u64 = 0xff00;
    let command = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(TYPE), KVM)?;
    Ok(vec![SeccompRule::new(vec![command])?])
}

fn program(thread: Thread, mode: Mode) -> Result<BpfProgram, seccompiler::BackendError> {
    let (own, kvm) = match thread {
        Thread::Main => (MAIN, true),
        Thread::FileServer => (FILE_SERVER, false),
        Thread::Network => (NETWORK, false),
        Thread::Block => (BLOCK, false),
        Thread::Vcpu => (VCPU, true),
    };
    let inherited = if thread == Thread::Main { BLOCK } else { &[] };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        COMMON.iter().chain(own).chain(inherited).map(|call| (*call, Vec::new())).collect();
    if kvm {
        rules.insert(libc::SYS_ioctl, kvm_ioctl()?);
    }
    let refused = match mode {
        Mode::Log => SeccompAction::Log,
        _ => SeccompAction::KillProcess,
    };
    SeccompFilter::new(rules, refused, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

/// Sets the calling thread's filter.
///
/// # Errors
/// [`JailError::Filter`].
pub fn apply(thread: Thread, mode: Mode) -> Result<(), JailError> {
    let name = match thread {
        Thread::Main => "the main thread",
        Thread::FileServer => "the file server",
        Thread::Network => "a network card",
        Thread::Block => "block devices",
        Thread::Vcpu => "a vCPU",
    };
    if mode == Mode::Off {
        return Ok(());
    }
    let program = program(thread, mode).map_err(|error| JailError::Filter(name, error.to_string()))?;
    seccompiler::apply_filter(&program).map_err(|error| JailError::Filter(name, error.to_string()))
}
