//! System calls: how handlers are called and what they return. Handlers live in family files.

pub mod affinity;
pub mod aio;
mod ancillary;
mod args;
pub mod attrs;
pub mod barrier;
#[cfg(test)]
mod block_tests;
pub mod cachestat;
pub mod creds;
mod descriptor;
pub mod dirs;
pub mod epoll;
pub mod eventfd;
pub mod exec;
pub mod fds;
#[cfg(test)]
mod file_tests;
pub mod files;
mod filters;
pub mod futex;
pub mod futex2;
pub mod handles;
mod hooks;
pub mod ids;
pub mod inotify;
pub mod ioctls;
pub mod keyctl;
pub mod keys;
pub mod limits;
pub mod lsm;
pub mod machine;
pub mod memory;
pub mod messages;
pub mod mount_api;
pub mod mount_query;
pub mod mounts;
pub mod mqueue;
pub mod msg;
pub mod names;
pub mod namespaces;
pub mod numa;
pub mod opens;
mod owner;
pub mod pidfd;
pub mod pipes;
mod place;
pub mod poll;
pub mod prctl;
pub mod priority;
pub mod process;
pub mod ptrace;
pub mod quota;
pub mod remote;
pub mod row;
pub mod sched;
pub mod seccomp;
pub mod sem;
pub mod shm;
pub mod signals;
pub mod sockets;
pub mod stats;
mod strace;
#[cfg(test)]
mod stream_tests;
pub mod system;
pub mod table;
mod terminal;
pub mod thread;
pub mod time;
pub mod timers;
pub mod transfer;
pub mod xattrs;

use crate::abi::Errno;
use crate::fs::FdTable;
use crate::mm::Mm;
use crate::task::Task;
use crate::user::UserMemory;
use crate::wait::{Blocked, Waiter};
use alloc::sync::Arc;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::Sleeper;
use core::cell::Cell;

pub use args::{Fd, FromArg};
use row::{Restart, Row};

/// How a system call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// User space sees the negated number.
    Errno(Errno),
    /// A signal came first. What user space sees (`EINTR`, or a restart after the handler) is decided by the restart
    /// class of the call's row in the table and the `SA_RESTART` flag of the handler.
    Interrupted,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Fault(_) => Self::Errno(Errno::EFAULT),
            Blocked::Errno(errno) => Self::Errno(errno),
            Blocked::Interrupted => Self::Interrupted,
            Blocked::TimedOut => Self::Errno(Errno::ETIMEDOUT),
        }
    }
}

/// What a handler returns: the value of `rax`, or a failure.
pub type SysResult = Result<usize, Failure>;

/// A system call in progress: who calls, and the capability to sleep.
pub struct Cx<'a> {
    /// The calling task.
    pub task: &'a Arc<Task>,
    /// Its capability to sleep.
    pub sleeper: &'a Sleeper,
    /// Its registers.
    pub context: &'a mut UserContext,
    /// Its address space.
    pub mm: &'a Arc<Mm>,
    /// Its descriptors.
    pub files: &'a Arc<FdTable>,
    /// What a call that a signal interrupted leaves for restart_syscall(2).
    pub restart_block: &'a RestartBlock,
}

/// A call of class [`Restart::Remaining`] that was interrupted.
#[derive(Default)]
pub struct RestartBlock {
    number: Cell<u16>,
    deadline_ns: Cell<Option<u64>>,
    resuming: Cell<bool>,
}

impl Cx<'_> {
    /// The monotonic deadline of a call that waits for at most `timeout_ns`. When the call is restarted after a signal
    /// ([`Restart::Remaining`]), it is the deadline of the first time.
    #[must_use]
    pub fn deadline(&self, timeout_ns: Option<u64>) -> Option<u64> {
        let block = self.restart_block;
        if !block.resuming.take() {
            let deadline_ns = timeout_ns.map(|timeout| self.sleeper.now_ns().saturating_add(timeout));
            block.deadline_ns.set(deadline_ns);
        }
        block.deadline_ns.get()
    }

    /// User memory of the caller.
    #[must_use]
    pub fn user(&self) -> UserMemory<'_> {
        UserMemory { mm: self.mm, sleeper: self.sleeper }
    }

    /// The caller as one who waits.
    #[must_use]
    pub fn waiter(&self) -> Waiter<'_> {
        Waiter { sleeper: self.sleeper, interrupt: &**self.task, regs: Some(&self.context.regs) }
    }
}

const RESTART_SYSCALL: u16 = 219;
/// System time is measured at one call of so many: a prime, so that a program that repeats a few calls has each of them
/// measured.
const SAMPLE: u64 = 17;

/// Makes the system call that the registers name, and puts its result in `rax`. Returns the restart class of a call that a
/// signal interrupted.
pub fn dispatch(cx: &mut Cx<'_>) -> Option<Restart> {
    let task = cx.task;
    let hooked = !task.call_hooks().is_empty();
    if hooked && let Some(done) = hooks::before(cx) {
        cx.context.regs.rax = done;
        hooks::after(cx, None);
        return None;
    }
    let restart = make(cx);
    if hooked || !task.call_hooks().is_empty() {
        hooks::after(cx, restart);
    }
    if restart.is_none() {
        task.restore_mask();
    }
    restart
}

fn make(cx: &mut Cx<'_>) -> Option<Restart> {
    let task = cx.task;
    let row =
        usize::try_from(u32::from_arg(cx.context.regs.orig_rax)).ok().and_then(|at| table::TABLE.get(at));
    let Some(row) = row else {
        cx.context.regs.rax = i64::from(-Errno::ENOSYS.number()).cast_unsigned();
        return None;
    };
    let result = if task.count_syscall().is_multiple_of(SAMPLE) {
        let task = cx.task;
        task.count_system(SAMPLE, || call(cx, row))
    } else {
        call(cx, row)
    };
    match result {
        Ok(value) => cx.context.regs.rax = value as u64,
        Err(Failure::Errno(errno)) => cx.context.regs.rax = i64::from(-errno.number()).cast_unsigned(),
        Err(Failure::Interrupted) => {
            cx.context.regs.rax = i64::from(-Errno::EINTR.number()).cast_unsigned();
            if row.number != RESTART_SYSCALL {
                cx.restart_block.number.set(row.number);
                return Some(row.restart);
            }
            return Some(Restart::Remaining);
        }
    }
    None
}

fn call(cx: &mut Cx<'_>, row: &Row) -> SysResult {
    let regs = &cx.context.regs;
    let arguments = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    if crate::mm::pressure::check(cx.sleeper).is_err() {
        crate::task::oom::no_relief(cx.task);
        return Err(Errno::ENOMEM.into());
    }
    if cx.task.container().strace.load(core::sync::atomic::Ordering::Relaxed) {
        return call_shown(cx, row, arguments);
    }
    handle(cx, row, arguments)
}

/// A call that is shown in the log. Apart, so that others need no registers and stack for it.
#[cold]
#[inline(never)]
fn call_shown(cx: &mut Cx<'_>, row: &Row, arguments: [u64; 6]) -> SysResult {
    let line = strace::Line::begin(cx, row, arguments);
    let result = handle(cx, row, arguments);
    line.end(cx, row, arguments, result);
    result
}

#[inline]
fn handle(cx: &mut Cx<'_>, row: &Row, arguments: [u64; 6]) -> SysResult {
    if let Some(handler) = row.handler {
        return handler(cx, arguments);
    }
    cx.task.container().count_unimplemented(usize::from(row.number));
    Err(Errno::ENOSYS.into())
}

/// restart_syscall(2): goes on with the call that a signal interrupted.
pub(crate) fn restart_syscall(cx: &mut Cx<'_>) -> SysResult {
    let number = cx.restart_block.number.get();
    let row = table::TABLE.get(usize::from(number));
    let row = row.filter(|row| row.restart == Restart::Remaining && number != RESTART_SYSCALL);
    let Some(row) = row else { return Err(Errno::EINTR.into()) };
    cx.restart_block.resuming.set(true);
    let result = call(cx, row);
    cx.restart_block.resuming.set(false);
    result
}
