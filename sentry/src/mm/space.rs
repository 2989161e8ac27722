//! [`Mm`]: one address space.

use crate::platform::{self, Access, OutOfMemory, Space};
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;

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
}

impl Mm {
    /// An empty address space.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the platform has no memory for it.
    pub fn new() -> Result<Arc<Self>, OutOfMemory> {
        Ok(Arc::new(Self { space: platform::get().new_space()? }))
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
