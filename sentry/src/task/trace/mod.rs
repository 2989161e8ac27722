//! Tracing (ptrace(2)): who traces whom, and where a traced thread stops.
//!
//! * [`Traced`], in the container's tree, says that a thread has a tracer. Waiting looks at it, and it remembers how a
//!   thread ended until its tracer has waited for that.
//! * [`Trace`], in the thread, says how it is traced and, while it stands in a stop, holds a copy of its registers. Only the
//!   tracer changes the copy; the thread takes it back when it goes on.
//!
//! Lock order: tree (20), process (30), trace ([`LEVEL`]), signals (38).

mod attach;
mod stop;

pub use attach::{How, attach, detach, detach_all, inherit, traceme};
pub use stop::{Kind, event, exit_event, group_stop, look, signal, singlestep, stop, syscall};

use super::{ExitStatus, Task};
use crate::security::{Capability, Creds};
use crate::signal::SigInfo;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::cpu::Regs;
use chitin_core::lock::Level;

/// Level of the lock around a thread's [`Trace`].
pub const LEVEL: Level = Level(36);

bitflags! {
    /// `PTRACE_O_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Options: u32 {
        /// Stops at system calls are marked with bit 7.
        const TRACESYSGOOD = 1;
        /// Stop at fork; the child is traced.
        const TRACEFORK = 2;
        /// Stop at vfork; the child is traced.
        const TRACEVFORK = 4;
        /// Stop at clone; the child is traced.
        const TRACECLONE = 8;
        /// Stop at execve.
        const TRACEEXEC = 16;
        /// Stop after the child of vfork has let go.
        const TRACEVFORKDONE = 32;
        /// Stop before the end.
        const TRACEEXIT = 64;
        /// Stop where a filter says so.
        const TRACESECCOMP = 128;
        /// The end of the tracer is the end of the traced.
        const EXITKILL = 1 << 20;
    }
}

/// `PTRACE_EVENT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of ptrace(2)")]
pub enum Event {
    Fork = 1,
    Vfork = 2,
    Clone = 3,
    Exec = 4,
    VforkDone = 5,
    Exit = 6,
    Seccomp = 7,
    Stop = 128,
}

impl Event {
    /// The option that asks for it; `None` for what comes unasked.
    #[must_use]
    pub const fn option(self) -> Option<Options> {
        Some(match self {
            Self::Fork => Options::TRACEFORK,
            Self::Vfork => Options::TRACEVFORK,
            Self::Clone => Options::TRACECLONE,
            Self::Exec => Options::TRACEEXEC,
            Self::VforkDone => Options::TRACEVFORKDONE,
            Self::Exit => Options::TRACEEXIT,
            Self::Seccomp => Options::TRACESECCOMP,
            Self::Stop => return None,
        })
    }
}

/// A thread with a tracer, as the tree knows it.
pub struct Traced {
    /// The thread.
    pub task: Arc<Task>,
    /// Thread id of the tracer.
    pub tracer: u32,
    /// Process id of the tracer.
    pub tracer_pid: u32,
    /// How a thread that does not lead its process ended.
    pub ended: Option<ExitStatus>,
}

/// How a thread goes on after a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// To the next signal or event.
    #[default]
    Freely,
    /// To the next system call.
    ToCall,
    /// To the next system call, which is not made (`PTRACE_SYSEMU`).
    ToCallInstead,
    /// For one instruction.
    OneStep,
}

/// A stop, and what the tracer sees and changes in it.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Bits 8 and up of the wait status: signal and event.
    pub code: u32,
    /// The tracer has waited for it.
    pub reported: bool,
    /// Why; a group stop has none.
    pub info: Option<SigInfo>,
    /// Registers.
    pub regs: Regs,
    /// Extended state, in the layout of XSAVE.
    pub xstate: Vec<u8>,
    /// What kind of stop it is.
    pub kind: Kind,
    /// Signal to go on with, 0 for none; set by the tracer.
    pub signal: u32,
    /// The tracer has let it go on.
    pub resumed: bool,
}

/// How a thread is traced.
#[derive(Debug, Default)]
pub struct Trace {
    /// By `PTRACE_SEIZE`.
    pub seized: bool,
    /// `PTRACE_SETOPTIONS`.
    pub options: Options,
    /// `PTRACE_GETEVENTMSG`.
    pub message: u64,
    /// How it goes on, or went on last.
    pub resume: Resume,
    /// Stands in a group stop and waits for news of it (`PTRACE_LISTEN`).
    pub listens: bool,
    /// Is to stop for no other reason (`PTRACE_INTERRUPT`, a seized child's start).
    pub trap_asked: bool,
    /// The stop it stands in.
    pub stopped: Option<Stopped>,
    /// What the tracer made of the reason for the signal that is to be delivered (`PTRACE_SETSIGINFO`).
    pub changed_info: Option<SigInfo>,
}

/// The number by which the tracer of `task`, if it has one, sees what has `number` in the container.
pub fn shown(task: &Task, number: u32) -> u32 {
    let tree = task.container().tree();
    let tracer = tree.traced.get(&task.tid()).and_then(|traced| tree.process(traced.tracer_pid));
    tracer.map_or(number, |tracer| tracer.pid_namespace().shown(number))
}

/// Whether who has these credentials may see into another task's memory (ptrace(2), "Ptrace access mode checking",
/// ATTACH_REALCREDS).
#[must_use]
pub fn may_access(mine: &Creds, other: &Task) -> bool {
    let theirs = other.creds();
    if mine.has_in(Capability::SysPtrace, &theirs.user_ns) {
        return true;
    }
    let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|uid| *uid == mine.uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|gid| *gid == mine.gid);
    let dumpable = other.process().dumpable.load(core::sync::atomic::Ordering::Relaxed) == 1;
    same && dumpable && theirs.permitted & !mine.permitted == 0 && theirs.user_ns == mine.user_ns
}

impl Task {
    /// Whether somebody traces it.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.tracer() != 0
    }

    /// Thread id of its tracer, 0 for none.
    #[must_use]
    pub fn tracer(&self) -> u32 {
        self.tracer.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Whether its tracer seized it.
    #[must_use]
    pub fn is_seized(&self) -> bool {
        self.is_traced() && self.trace.lock().seized
    }

    /// Whether it stands in a stop that its tracer sees.
    #[must_use]
    pub fn is_in_trace_stop(&self) -> bool {
        self.is_traced() && self.trace.lock().stopped.as_ref().is_some_and(|stop| !stop.resumed)
    }
}
