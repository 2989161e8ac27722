//! Filters of system calls (seccomp(2)).
//!
//! Each task has a mode and the newest of its filters, which leads to the older ones; children share them, and nobody can
//! take one off. Listeners (`SECCOMP_RET_USER_NOTIF`) are not there.

pub mod bpf;
pub mod profile;

use crate::abi::Errno;
use crate::mm::{Budget, Charge};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bpf::{Data, Instruction, Program};

/// Instructions of all filters of a task, as long as Linux's own form of them, each with four more (`MAX_INSNS_PER_PATH`).
const MAX_TOTAL: usize = 32768;

/// Numbers of calls whose answer is kept when it is "yes" in any case.
const CACHED: usize = 512;

/// `AUDIT_ARCH_X86_64`.
pub const ARCH: u32 = 0xc000_003e;

/// What a filter says of a call; with the low 16 bits of its answer where they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `SECCOMP_RET_KILL_PROCESS`, and every unknown one.
    KillProcess,
    /// `SECCOMP_RET_KILL_THREAD`.
    KillThread,
    /// `SECCOMP_RET_TRAP`: SIGSYS.
    Trap(u16),
    /// `SECCOMP_RET_ERRNO`.
    Errno(u16),
    /// `SECCOMP_RET_USER_NOTIF`.
    UserNotify,
    /// `SECCOMP_RET_TRACE`.
    Trace(u16),
    /// `SECCOMP_RET_LOG`.
    Log,
    /// `SECCOMP_RET_ALLOW`.
    Allow,
}

const MASK: u32 = 0xffff_0000;
/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;

impl Action {
    /// Decodes a filter's answer.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the data are the low half")]
    pub const fn new(answer: u32) -> Self {
        let data = answer as u16;
        match answer & MASK {
            0 => Self::KillThread,
            0x0003_0000 => Self::Trap(data),
            0x0005_0000 => Self::Errno(data),
            0x7fc0_0000 => Self::UserNotify,
            0x7ff0_0000 => Self::Trace(data),
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// Whether `SECCOMP_GET_ACTION_AVAIL` tells that an action is there.
    #[must_use]
    pub const fn is_available(answer: u32) -> bool {
        answer == 0x8000_0000
            || (answer & !MASK == 0 && !matches!(Self::new(answer), Self::KillProcess | Self::UserNotify))
    }
}

/// A filter and those that were there before.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    older: Option<Arc<Filter>>,
    total: usize,
    /// Calls that this filter and the older ones allow whatever the arguments are, a bit each.
    allowed: [u64; CACHED / 64],
    _charge: Charge,
}

impl Filter {
    /// Puts a program above the filters that are there.
    ///
    /// # Errors
    /// `EINVAL` for a program that is not sound, `ENOMEM`.
    pub fn new(
        instructions: Vec<Instruction>,
        older: Option<Arc<Self>>,
        budget: &Arc<Budget>,
    ) -> Result<Arc<Self>, Errno> {
        let program = Program::new(instructions)?;
        let total = program.translated_len() + older.as_ref().map_or(0, |older| older.total + 4);
        if total > MAX_TOTAL {
            return Err(Errno::ENOMEM);
        }
        let pages = (program.len() * size_of::<Instruction>()).div_ceil(4096) as u64;
        let charge = budget.charge(pages).map_err(|_| Errno::ENOMEM)?;
        let mut allowed = [0; CACHED / 64];
        for (index, word) in allowed.iter_mut().enumerate() {
            let before = older.as_ref().map_or(Some(u64::MAX), |older| older.allowed.get(index).copied());
            for bit in 0..64 {
                let is_free = before.is_some_and(|before| before >> bit & 1 != 0);
                let number = i32::try_from(index * 64 + bit).map_err(|_| Errno::EINVAL)?;
                if is_free && program.answer_by_number(number, ARCH) == Some(ALLOW) {
                    *word |= 1 << bit;
                }
            }
        }
        Ok(Arc::new(Self { program, older, total, allowed, _charge: charge }))
    }

    /// Whether a call is allowed whatever its arguments are.
    fn always_allows(&self, number: i32) -> bool {
        let Ok(number) = usize::try_from(number) else { return false };
        self.allowed.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// What all filters say: the answer that takes precedence, of equal ones that of the newest filter.
    #[must_use]
    pub fn answer(&self, data: &Data) -> Action {
        if self.always_allows(data.number) {
            return Action::Allow;
        }
        let mut worst = ALLOW;
        for filter in self.chain() {
            let answer = filter.program.run(data);
            if (answer & MASK).cast_signed() < (worst & MASK).cast_signed() {
                worst = answer;
            }
        }
        Action::new(worst)
    }

    /// This filter and the older ones.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |filter| filter.older.as_deref())
    }

    /// Number of filters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.chain().count()
    }

    /// The program of the filter that was put there as number `index`, the oldest being 0 (`PTRACE_SECCOMP_GET_FILTER`).
    #[must_use]
    pub fn program(&self, index: usize) -> Option<&Program> {
        let above = self.count().checked_sub(index + 1)?;
        self.chain().nth(above).map(|filter| &filter.program)
    }

    /// Whether it is `other` or one of the older ones of `other`.
    #[must_use]
    pub fn is_ancestor_of(&self, other: &Self) -> bool {
        other.chain().any(|filter| core::ptr::eq(filter, self))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // One after another, not by recursion.
        let mut next = self.older.take();
        while let Some(mut filter) = next.and_then(Arc::into_inner) {
            next = filter.older.take();
        }
    }
}

/// What holds for the calls of a task.
#[derive(Clone, Debug, Default)]
pub enum Seccomp {
    /// Nothing.
    #[default]
    Off,
    /// read, write, exit and rt_sigreturn only.
    Strict,
    /// What the filters say.
    Filter(Arc<Filter>),
}

impl Seccomp {
    /// `SECCOMP_MODE_*`.
    #[must_use]
    pub const fn mode(&self) -> u32 {
        match self {
            Self::Off => 0,
            Self::Strict => 1,
            Self::Filter(_) => 2,
        }
    }

    /// Number of filters.
    #[must_use]
    pub fn filters(&self) -> usize {
        if let Self::Filter(filter) = self { filter.count() } else { 0 }
    }

    /// The newest filter.
    #[must_use]
    pub const fn newest(&self) -> Option<&Arc<Filter>> {
        if let Self::Filter(filter) = self { Some(filter) } else { None }
    }
}
