//! Keys (keyrings(7)): small pieces of data that the kernel keeps for processes, and the rings that they hang in.
//!
//! | module | contents |
//! |---|---|
//! | `key` | a key, its type, who may do what with it |
//! | `table` | the keys of a container: making, linking, quotas, the end of those that nobody has |
//! | `search` | looking for a key in rings, and what is possessed |
//! | `access` | keys as a task names them: by number, or by what rings it has |
//! | `acts` | what keyctl(2) does with them |
//! | `show` | `/proc/keys` and `/proc/key-users` |
//!
//! Everything is plain data that names keys by their serial numbers, under one lock for a container ([`LEVEL`]); a task's
//! [`Rings`] have a lock of their own, which is taken before. A key lives as long as a ring or a task has it. There is no
//! upcall: request_key(2) finds keys and makes none.

mod access;
mod acts;
mod key;
mod search;
mod show;
mod table;
#[cfg(test)]
mod tests;

pub use access::{Access, Need, Rings};
pub use key::{ALL_PERMISSIONS, Kind, Payload, Serial};
pub use table::{MAX_BYTES, MAX_KEYS, ROOT_MAX_BYTES, ROOT_MAX_KEYS};

use crate::ipc::Account;
use crate::mm::Budget;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use table::Table;

/// Level of the lock around the keys of a container. Memory is accounted for below it.
pub const LEVEL: Level = Level(154);

/// The keys of a container.
pub struct KeyStore {
    table: SpinLock<Table>,
}

impl KeyStore {
    /// None yet; `budget` pays for them.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { table: SpinLock::new(LEVEL, Table::new(Account::new(budget))) })
    }
}
