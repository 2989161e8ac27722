//! Interprocess communication: futexes, and the objects of an IPC namespace: System V shared memory, semaphores and message
//! queues, and POSIX message queues.

mod account;
pub mod futex;
pub mod limits;
pub mod mqueue;
pub mod namespace;
pub mod sysv;

pub use account::{Account, Taken};
pub use namespace::IpcNamespace;
