//! [`Handlers`]: what a process does about signals (sigaction(2)).

use super::number::{COUNT, DefaultAction, SigSet, Signal};
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock of a table of handlers.
pub const LEVEL: Level = Level(34);

/// `SA_*` flags.
#[expect(missing_docs, reason = "names of sigaction(2)")]
pub mod flags {
    pub const NOCLDSTOP: u64 = 1;
    pub const NOCLDWAIT: u64 = 2;
    pub const SIGINFO: u64 = 4;
    pub const UNSUPPORTED: u64 = 0x400;
    pub const EXPOSE_TAGBITS: u64 = 0x800;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
    /// All that the kernel knows; others are cleared, which tells user space that they are not supported.
    pub const KNOWN: u64 =
        NOCLDSTOP | NOCLDWAIT | SIGINFO | RESTORER | ONSTACK | RESTART | NODEFER | RESETHAND;
}

/// `struct sigaction` of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Address of the handler, [`Action::DEFAULT`] or [`Action::IGNORE`].
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

impl Action {
    /// `SIG_DFL`.
    pub const DEFAULT: u64 = 0;
    /// `SIG_IGN`.
    pub const IGNORE: u64 = 1;

    /// Whether it makes `signal` be dropped.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.handler {
            Self::IGNORE => true,
            Self::DEFAULT => signal.default_action() == DefaultAction::Ignore,
            _ => false,
        }
    }

    /// Whether a handler runs.
    #[must_use]
    pub fn is_handler(&self) -> bool {
        self.handler > Self::IGNORE
    }
}

/// The actions of a process, shared by tasks that `CLONE_SIGHAND` made.
pub struct Handlers {
    actions: SpinLock<[Action; COUNT]>,
}

impl Handlers {
    /// All default.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { actions: SpinLock::new(LEVEL, [Action::default(); COUNT]) })
    }

    /// The action for a signal.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Action {
        self.actions.lock().get(signal.index()).copied().unwrap_or_default()
    }

    /// Sets the action for a signal; returns the old one.
    pub fn set(&self, signal: Signal, action: Action) -> Action {
        let mut actions = self.actions.lock();
        let slot = actions.get_mut(signal.index());
        slot.map(|slot| core::mem::replace(slot, action)).unwrap_or_default()
    }

    /// What is ignored, and what is caught.
    #[must_use]
    pub fn sets(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (at, action) in self.actions.lock().iter().enumerate() {
            match action.handler {
                Action::DEFAULT => {}
                Action::IGNORE => ignored.0 |= 1 << at,
                _ => caught.0 |= 1 << at,
            }
        }
        (ignored, caught)
    }

    /// A copy (fork(2)).
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self { actions: SpinLock::new(LEVEL, *self.actions.lock()) })
    }

    /// A copy in which handlers are default again and ignored signals stay ignored (execve(2)); with all default for
    /// `CLONE_CLEAR_SIGHAND`.
    #[must_use]
    pub fn after_exec(&self) -> Arc<Self> {
        let mut actions = *self.actions.lock();
        for action in &mut actions {
            let handler = if action.handler == Action::IGNORE { Action::IGNORE } else { Action::DEFAULT };
            *action = Action { handler, ..Action::default() };
        }
        Arc::new(Self { actions: SpinLock::new(LEVEL, actions) })
    }
}
