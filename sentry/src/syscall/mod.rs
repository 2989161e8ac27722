//! System calls: how handlers are called and what they return. Handlers live in family files.

mod args;
mod descriptor;
pub mod epoll;
pub mod eventfd;
pub mod futex;
pub mod pipes;
pub mod poll;
pub mod row;
pub mod time;

use crate::abi::Errno;
use crate::mm::Mm;
use crate::task::Task;
use crate::user::UserMemory;
use crate::wait::{Blocked, Waiter};
use alloc::sync::Arc;
use chitin_core::cpu::UserContext;
use chitin_core::sleep::Sleeper;

pub use args::{Fd, FromArg};

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
    pub mm: Arc<Mm>,
}

impl Cx<'_> {
    /// User memory of the caller.
    #[must_use]
    pub fn user(&self) -> UserMemory<'_> {
        UserMemory { mm: &self.mm, sleeper: self.sleeper }
    }

    /// The caller as one who waits.
    #[must_use]
    pub fn waiter(&self) -> Waiter<'_> {
        Waiter { sleeper: self.sleeper, interrupt: &**self.task }
    }
}
