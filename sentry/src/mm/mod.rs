//! Address spaces of processes: areas, the page index, faults, fork.
//!
//! | module | contents |
//! |---|---|
//! | [`space`](self) | [`Mm`], its parts and its lock |
//! | `area` | areas and gaps |
//! | `leaf` | the page index: private pages, shared by parent and child until written |
//! | `fault` | page faults |
//! | `map`, `protect`, `remap`, `advise`, `locked` | the system calls of memory |
//! | `seal` | areas that stay as they are, and the end of those that go early |
//! | `fork`, `reverse` | copies, and what files ask of their mappers |
//! | `aio` | contexts of asynchronous I/O |
//! | `budget`, `limits`, `pressure` | what memory may be had, and what is done when it is short |
//!
//! # Locks
//!
//! | level | lock | protects | excludes |
//! |---|---|---|---|
//! | 95 | limits of an [`Mm`] | the numbers | nothing else |
//! | 96, 97 | contexts of asynchronous I/O, a context's results | | nothing else |
//! | 100 | state of an [`Mm`] | areas, page index, and the order of changes of its `Space` | faults against unmap, fork, protection and truncation |
//! | 115 | reverse map of a `Mapping` | its list of mappers | |
//! | 120 | pages of a `Mapping` | pages, size, dirtiness | |
//! | above | locks inside a platform's `Space` and the frame allocator | | |
//!
//! Two address spaces are never locked together. A frame taken out of the index or of a mapping is dropped only after every
//! `Space` has unmapped it; changes of a `Space` are made under level 100, so that they come in the order of the changes
//! of the index.

mod advise;
mod aio;
mod area;
mod budget;
mod detach;
mod fault;
mod fork;
mod layout;
mod leaf;
mod limits;
mod locked;
mod map;
mod pagemap;
pub mod pressure;
mod protect;
mod remap;
mod remote;
mod reverse;
mod seal;
mod space;
mod spare;
#[cfg(test)]
mod tests;
mod usage;
mod zero;

use area::Area;

pub use advise::{Advice, Locked};
pub use aio::{AioContext, AioEvent, MAX_REQUESTS as AIO_MAX_REQUESTS, requests as aio_requests};
pub use area::{AreaFlags, MAX_AREAS, MIN_ADDRESS};
pub use budget::{Budget, Charge, Refused, UNLIMITED};
pub use fault::FaultError;
pub use layout::ImageLayout;
pub(crate) use layout::random_bits;
pub use limits::{INFINITY, Limits};
pub use locked::{Filling, LockAll};
pub use map::{MapRequest, MapSource, Placement};
pub use protect::Reach;
pub use remap::{Leave, Move};
pub use seal::PageState;
pub use space::Mm;
pub use usage::{AreaInfo, Usage};
