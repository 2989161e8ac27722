//! Tasks: threads and processes of containers.
//!
//! * [`Container`]: what all tasks of a container share; it owns the [`tree::Tree`] of processes, groups and sessions.
//! * [`Process`]: a thread group: threads, pending signals, handlers, limits, exit status.
//! * [`Task`]: a thread. Its kernel thread runs [`run::run`].
//!
//! Locks, outermost first: tree of the container (20), state of a process (30), handlers (34), signals of a task (38),
//! small shared parts (58 to 60). Waking is allowed below all of them.

mod call;
pub mod clone;
pub mod container;
mod cpu_limit;
pub mod exit;
pub mod limits;
pub mod load;
pub mod namespaces;
pub mod oom;
pub mod pidfd;
pub mod process;
pub mod rseq;
pub mod run;
pub mod schedule;
pub mod spawn;
#[cfg(test)]
mod storm;
pub mod terminal;
#[cfg(test)]
pub(crate) mod tests;
pub mod thread;
pub mod trace;
pub mod tree;
pub mod wait;

pub use container::{Container, Usage, UtsNames};
pub use limits::{Limit, Limits, Resource};
pub use process::{ExitStatus, Process, ProcessState, StopEvent};
pub use spawn::NewProcess;
pub use thread::{Task, Work};

/// Monotonic time in ns.
#[must_use]
pub fn now_ns() -> u64 {
    chitin_core::hooks::now_ns()
}
