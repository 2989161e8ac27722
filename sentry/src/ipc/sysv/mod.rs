//! System V shared memory, semaphores and message queues (sysvipc(7)).
//!
//! | module | contents |
//! |---|---|
//! | [`ids`] | from keys and ids to objects |
//! | [`perm`] | owners and permission bits |
//! | [`shm`] | segments |
//! | [`sem`], [`undo`] | sets of semaphores, and what is undone when a process ends |
//! | [`msg`] | queues |
//!
//! Locks: the tables of ids (150), then one object (152), then the account (156); never two objects.

pub mod ids;
pub mod msg;
pub mod perm;
pub mod sem;
pub mod shm;
pub mod undo;

use chitin_core::lock::Level;

/// Level of the tables of ids.
pub(super) const TABLE_LEVEL: Level = Level(150);
/// Level of an object's lock.
pub(super) const OBJECT_LEVEL: Level = Level(152);

/// `IPC_CREAT`.
pub const CREATE: u32 = 0o1000;
/// `IPC_EXCL`.
pub const EXCLUSIVE: u32 = 0o2000;
/// `IPC_NOWAIT`.
pub const NO_WAIT: u32 = 0o4000;
/// `IPC_PRIVATE`.
pub const PRIVATE: i32 = 0;

/// Wall clock in seconds, for the times that the `*_STAT` commands tell.
pub(super) fn now() -> i64 {
    i64::try_from(crate::platform::get().realtime_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}
