//! POSIX message queues (mq_overview(7)).
//!
//! | module | contents |
//! |---|---|
//! | [`queue`] | [`Queue`]: messages by priority, who waits, who is notified |
//! | [`stream`] | the open queue behind a descriptor |
//! | [`fs`] | the names: the file system that is mounted at `/dev/mqueue` |
//!
//! Locks: names (148), then one queue (152), then the account (156).

pub mod fs;
pub mod queue;
pub mod stream;

pub use fs::MqueueFs;
pub use queue::{Attributes, Queue};
pub use stream::MqStream;
