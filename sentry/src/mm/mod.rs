//! Address spaces of processes: areas, the page index, faults, fork.

mod space;

pub use space::{FaultError, Mm};
