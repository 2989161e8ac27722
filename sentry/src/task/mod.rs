//! Tasks: threads and processes.

use crate::fs::{FdTable, FsContext};
use crate::mm::Mm;
use crate::security::Creds;
use alloc::sync::Arc;
use chitin_core::cpu::ExitRequest;
use chitin_core::lock::Level;
use chitin_core::sleep::{Interrupt, Shared};

/// A thread of a container.
pub struct Task {
    /// Asks the task to come back from user mode.
    pub exit_request: ExitRequest,
    creds: Shared<Arc<Creds>>,
    mm: Shared<Arc<Mm>>,
    files: Shared<Arc<FdTable>>,
    fs: Shared<Arc<FsContext>>,
}

impl Task {
    /// A task of the given parts.
    #[must_use]
    pub fn new(creds: Arc<Creds>, mm: Arc<Mm>, files: Arc<FdTable>, fs: Arc<FsContext>) -> Arc<Self> {
        Arc::new(Self {
            exit_request: ExitRequest::new(),
            creds: Shared::new(Level(60), creds),
            mm: Shared::new(Level(60), mm),
            files: Shared::new(Level(60), files),
            fs: Shared::new(Level(60), fs),
        })
    }

    /// Credentials now.
    #[must_use]
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.get()
    }

    /// Descriptors now.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.files.get()
    }

    /// Root, working directory and umask now.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.get()
    }

    /// Address space now.
    #[must_use]
    pub fn mm(&self) -> Arc<Mm> {
        self.mm.get()
    }
}

impl Interrupt for Task {
    fn interrupted(&self) -> bool {
        self.exit_request.is_set()
    }

    fn killed(&self) -> bool {
        false
    }
}
