//! POSIX message queues (mq_overview(7)).
//!
//! | module | contents |
//! |---|---|
//! | [`queue`] | [`Queue`]: messages by priority, who waits, who is notified |
//! | `users` | what the queues of a user may take |
//! | [`stream`] | the open queue behind a descriptor |
//! | [`fs`] | the names: the file system that is mounted at `/dev/mqueue` |
//!
//! Locks: names (148), then one queue (152), then the account (156).

pub mod fs;
pub mod queue;
pub mod stream;
mod users;

pub use fs::MqueueFs;
pub use queue::{Attributes, Queue};
pub use stream::MqStream;
