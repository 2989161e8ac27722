//! Files whose contents are made when they are read: what proc, sysfs and cgroup file systems are built of.
//!
//! [`Contents`] makes the bytes of a file; [`Listing`] makes the entries of a directory. A file's bytes are made at the first
//! read of an open file, kept for it, and made anew when it is read from the start again, as Linux's `seq_file` does.

mod dir;
mod file;
mod instance;
mod link;
mod meta;

pub use dir::{Entry, Listing, PseudoDir, StaticDir};
pub use file::{Contents, PseudoFile, Text};
pub use instance::PseudoFs;
pub use link::{PseudoLink, Target};
pub use meta::Meta;
