//! The page cache: pages of files, shared by read, write and mmap.

mod mapping;

pub use mapping::{Backing, LEVEL, Mapping};
