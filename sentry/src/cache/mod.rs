//! The page cache: [`Mapping`], the cached pages of one file, shared by read, write and mmap.

mod mappers;
mod mapping;

pub use mappers::{Attachment, Copies, Mapper, PageRange, Sharing};
pub use mapping::{Backing, Lookup, Mapped, Mapping};
