//! [`IpcNamespace`]: the objects that processes of one IPC namespace find by key or name (ipc_namespaces(7)).

use super::Account;
use super::mqueue::fs::Names;
use super::sysv::{msg::Queues, sem::Sets, shm::Segments};
use crate::mm::Budget;
use alloc::sync::Arc;

/// System V objects and POSIX message queues of one namespace, and their limits.
pub struct IpcNamespace {
    /// Pays for the pages of segments.
    pub budget: Arc<Budget>,
    /// Pays for what is not whole pages.
    pub account: Arc<Account>,
    /// Shared memory.
    pub segments: Segments,
    /// Semaphores.
    pub sets: Sets,
    /// Message queues.
    pub queues: Queues,
    /// POSIX message queues.
    pub mqueues: Arc<Names>,
}

impl IpcNamespace {
    /// An empty namespace with Linux's limits; `budget` pays.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        let account = Account::new(budget.clone());
        Arc::new(Self {
            mqueues: Names::new(&account),
            account,
            budget,
            segments: Segments::new(),
            sets: Sets::new(),
            queues: Queues::new(),
        })
    }
}
