//! [`Mm`]: one address space.

use super::{Budget, Limits};
use crate::abi::Errno;
use crate::platform::{self, Access, OutOfMemory, Space};
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::lock::Level;
use chitin_core::sleep::{Shared, Sleeper};

/// Why a fault could not be resolved, as the signal it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// SIGSEGV, SEGV_MAPERR: nothing is mapped there.
    NotMapped,
    /// SIGSEGV, SEGV_ACCERR: what is mapped does not allow the access.
    Denied,
    /// SIGBUS, BUS_ADRERR: beyond the end of the mapped file, or its page cannot be read.
    Bus,
    /// No memory: the task is to be killed by the OOM killer.
    OutOfMemory,
}

/// An address space.
pub struct Mm {
    space: Arc<dyn Space>,
    limits: Shared<Limits>,
    budget: Arc<Budget>,
}

impl Mm {
    /// An empty address space.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the platform has no memory for it.
    pub fn new() -> Result<Arc<Self>, OutOfMemory> {
        Self::with(Budget::root(), Limits::default())
    }

    /// An empty address space whose pages `budget` pays for.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the platform has no memory for it.
    pub fn with(budget: Arc<Budget>, limits: Limits) -> Result<Arc<Self>, OutOfMemory> {
        let space = platform::get().new_space()?;
        Ok(Arc::new(Self { space, limits: Shared::new(Level(95), limits), budget }))
    }

    /// Who pays for its pages.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The limits it observes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Changes the limits it observes.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.replace(limits);
    }

    /// An address space with the same contents, copied when either side writes (fork(2)).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self, sleeper: &Sleeper) -> Result<Arc<Self>, Errno> {
        let _ = sleeper;
        Err(Errno::ENOSYS)
    }

    /// The hardware's view.
    #[must_use]
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Makes the page at `at` accessible, filling or copying it as needed. No lock may be held.
    ///
    /// # Errors
    /// See [`FaultError`].
    pub fn resolve_fault(&self, sleeper: &Sleeper, at: UserAddr, access: Access) -> Result<(), FaultError> {
        let _ = (sleeper, at, access);
        Err(FaultError::NotMapped)
    }
}
