//! The page cache: [`Mapping`], the cached pages of one file, shared by read, write and mmap.
//!
//! | module | contents |
//! |---|---|
//! | `mapping` | [`Mapping`] and [`Backing`], where its pages come from |
//! | `table` | pages by index and their states |
//! | `fill`, `io` | getting pages, reading and writing |
//! | `truncate`, `write_back` | sizes, holes, dirty pages |
//! | `mappers` | the reverse map: who maps the file |
//! | [`reclaim`], [`flusher`] | dropping clean pages; writing dirty ones back after a while |
//!
//! # Who excludes whom
//!
//! | | by |
//! |---|---|
//! | two fills of a page | the page is busy; the second waits |
//! | a fill and truncation | truncation makes the busy page stale: what was filled in is thrown away |
//! | a fault and truncation | the fault looks up and maps under its address space's lock (100), truncation takes the page out and then unmaps under that lock |
//! | dropping and use | a page to be dropped is busy, unmapped, and dropped only if nobody has a handle of it |
//! | write-back and truncation of the file behind | [`Mapping::hold_write_back`] |
//! | write-back and writes | see `write_back` |
//!
//! Levels: list of mappings 110, reverse map 115, page table 120; the first two are never held with the third.

mod fill;
pub mod flusher;
mod io;
mod mappers;
mod mapping;
pub mod reclaim;
mod table;
#[cfg(test)]
mod tests;
mod truncate;
mod write_back;

pub use flusher::notice;
pub use mappers::{Attachment, Copies, Mapper, PageRange, Sharing};
pub use mapping::{Backing, Lookup, Mapped, Mapping};
