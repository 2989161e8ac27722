//! Files: the VFS and its file systems.

pub mod anon;
pub mod context;
pub mod fd_table;
pub mod fuse;
pub mod node;
pub mod open_file;
pub mod pipe;
pub mod stream;

pub use context::FsContext;
pub use fd_table::FdTable;
pub use node::{Attr, DirNode, FileNode, FsCx, Node, NodeKind, NodeOps, SetAttr};
pub use open_file::OpenFile;
pub use stream::Stream;
