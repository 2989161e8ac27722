//! The FUSE client: directory trees of the host, over virtio-fs (Linux `include/uapi/linux/fuse.h`).
//!
//! One [`Connection`] carries all shares of the sandbox; a [`Share`] is one of them, mounted like any file system.
//!
//! | file | contents |
//! |---|---|
//! | `connection` | requests and answers, queued forgets and releases |
//! | `node` | attributes, extended attributes, and the table that keeps one node per host inode |
//! | `share` | a share as a file system |
//! | `dir` | directories |
//! | `file` | regular files: page cache filled by `READ`, written through by `WRITE` |
//!
//! Caching follows what the server says: an answer is valid for as long as its `entry_valid` and `attr_valid`, which the
//! server derives from the share's policy. Nothing here sleeps in `Drop`: references given back are queued and sent along
//! with a later request.

mod connection;
mod dir;
mod file;
mod node;
mod share;

pub use connection::Connection;
pub use share::Share;
