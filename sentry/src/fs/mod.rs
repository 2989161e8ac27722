//! Files: the VFS and its file systems.
//!
//! | module | contents |
//! |---|---|
//! | [`node`] | what file systems implement: [`Node`] by kind |
//! | [`filesystem`] | [`FileSystem`]: an instance, and [`Superblock`], the VFS's part of it |
//! | [`node_state`] | what the VFS keeps with a node |
//! | [`dentry`] | names, remembered |
//! | [`mount`], [`path`], [`context`] | the tree of a container, places in it, where a process stands in it |
//! | [`lookup`] | from text to places |
//! | [`open_file`], [`fd_table`], [`stream`] | what descriptors refer to |
//! | [`dev`], [`block`] | character and block devices |
//! | [`lock`] | file locks |
//! | [`notify`] | telling of what happens to files |
//!
//! Levels of spin locks, low ones first: fd table and context (60-79), mounts (80-87), dentries (88-95), node state (96-99),
//! file systems' own (100-119), page cache (120).

pub mod anon;
pub mod async_io;
pub mod block;
pub mod change;
pub mod context;
pub mod dentry;
pub mod dev;
pub mod epoll;
pub mod erofs;
pub mod eventfd;
pub mod fd_table;
pub mod filesystem;
pub mod fuse;
pub mod handle;
pub mod io;
pub mod lock;
pub mod lookup;
pub mod memfd;
pub mod mount;
pub mod mount_context;
pub mod names;
pub mod node;
pub mod node_state;
pub mod notify;
pub mod open;
pub mod open_file;
pub mod overlay;
pub mod path;
pub mod permission;
pub mod pipe;
pub mod proc;
pub mod pseudo;
pub mod readiness;
pub mod signalfd;
pub mod stream;
pub mod sys;
#[cfg(test)]
mod tests;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;
pub mod xattr;

pub use context::FsContext;
pub use dentry::Dentry;
pub use fd_table::FdTable;
pub use filesystem::{DentryPolicy, FileSystem, StatFs, Superblock};
pub use mount::{Mount, MountFlags, MountNamespace};
pub use node::{Attr, DirNode, FileNode, FsCx, Node, NodeKind, NodeOps, SetAttr, TimeSpec};
pub use node_state::NodeState;
pub use open_file::{FileBody, OpenFile};
pub use path::Path;
pub use stream::Stream;
