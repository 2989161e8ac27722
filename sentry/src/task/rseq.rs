//! Restartable sequences (rseq(2)): user space is told which CPU it runs on, and a sequence that was interrupted starts over.
//!
//! The run loop calls [`resume`] before user code goes on; it knows whether the thread was interrupted. Ring 0 is not
//! preempted, and the platform gives way to other threads only by returning, so the CPU told is the one that user code enters on.

use super::Task;
use crate::abi::Errno;
use crate::signal::{SigInfo, Signal, force};
use crate::user::{UserAddr, UserMemory, UserPtr};
use chitin_core::cpu::UserContext;
use chitin_proto::layout::USER_END;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of `struct rseq`, and its alignment.
pub const SIZE: u32 = 32;
/// `RSEQ_CPU_ID_UNINITIALIZED`.
const UNINITIALIZED: u32 = u32::MAX;

/// What a thread has registered.
#[derive(Debug, Default)]
pub struct Rseq {
    at: AtomicU64,
    signature: AtomicU32,
    /// CPU that user space was told, plus one.
    told: AtomicU32,
    /// ns slept when user code ran last.
    switches: AtomicU64,
    /// A signal or another thread's membarrier(2) interrupts the sequence.
    interrupted: AtomicBool,
}

/// `struct rseq_cs`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Sequence {
    version: u32,
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
}

impl Rseq {
    /// Whether a structure is registered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.at.load(Ordering::Relaxed) != 0
    }

    /// Address and signature, if registered.
    #[must_use]
    pub fn registered(&self) -> Option<(u64, u32)> {
        let at = self.at.load(Ordering::Relaxed);
        (at != 0).then(|| (at, self.signature.load(Ordering::Relaxed)))
    }

    /// Registers a structure.
    pub fn register(&self, at: u64, signature: u32) {
        self.signature.store(signature, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
    }

    /// Forgets it, as execve does.
    pub fn clear(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// A child that has its own memory keeps it.
    pub fn inherit(&self, parent: &Self) {
        if let Some((at, signature)) = parent.registered() {
            self.register(at, signature);
        }
    }

    /// Interrupts the sequence at the next return to user mode.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
    }
}

/// Tells user space that nothing is registered any more.
///
/// # Errors
/// `EFAULT`.
pub fn forget(user: &UserMemory<'_>, at: u64) -> Result<(), Errno> {
    user.write(UserPtr::<[u32; 2]>::new(UserAddr::new(at)), &[0, UNINITIALIZED])
}

/// What happened since user code ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A system call, which no sequence makes; should it have slept, that interrupts nevertheless.
    Call,
    /// Something that interrupts a sequence.
    Interrupt,
}

/// Brings the registered structure up to date and, if a sequence was interrupted, goes to its abort handler. A structure
/// that is not sound is a SIGSEGV.
pub fn resume(task: &Task, context: &mut UserContext, user: &UserMemory<'_>, since: Since) {
    let Some((at, signature)) = task.rseq.registered() else { return };
    let interrupted =
        task.rseq.interrupted.load(Ordering::Relaxed) && task.rseq.interrupted.swap(false, Ordering::SeqCst);
    let (slept, gave_way) = task.switches();
    let switches = slept.wrapping_add(gave_way);
    let slept = task.rseq.switches.swap(switches, Ordering::Relaxed) != switches;
    let mut done = Ok(());
    if interrupted || slept || since == Since::Interrupt {
        done = abort_sequence(context, user, at, signature);
    }
    while done.is_ok() {
        let cpu = u32::try_from(chitin_core::hooks::cpu()).unwrap_or(0);
        if task.rseq.told.load(Ordering::Relaxed) == cpu + 1 {
            return;
        }
        done = user.write(UserPtr::<[u32; 2]>::new(UserAddr::new(at)), &[cpu, cpu]);
        task.rseq.told.store(cpu + 1, Ordering::Relaxed);
    }
    task.rseq.clear();
    force(task, SigInfo::kernel(Signal::SEGV));
}

/// If `rip` is within the sequence that the structure names, goes to its abort handler.
pub(crate) fn abort_sequence(
    context: &mut UserContext,
    user: &UserMemory<'_>,
    at: u64,
    signature: u32,
) -> Result<(), Errno> {
    let pointer = UserPtr::<u64>::new(UserAddr::new(at.wrapping_add(8)));
    let sequence = user.read(pointer)?;
    if sequence == 0 {
        return Ok(());
    }
    let sequence = user.read(UserPtr::<Sequence>::new(UserAddr::new(sequence)))?;
    let Sequence { version, start, len, abort, .. } = sequence;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if version != 0 || start >= USER_END || end >= USER_END || abort >= USER_END {
        return Err(Errno::EINVAL);
    }
    if abort.wrapping_sub(start) < len {
        return Err(Errno::EINVAL);
    }
    let before_abort = abort.checked_sub(4).ok_or(Errno::EINVAL)?;
    if user.read(UserPtr::<u32>::new(UserAddr::new(before_abort)))? != signature {
        return Err(Errno::EINVAL);
    }
    user.write(pointer, &0)?;
    if context.regs.rip.wrapping_sub(start) < len {
        context.regs.rip = abort;
    }
    Ok(())
}
