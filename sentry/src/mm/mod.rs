//! Address spaces of processes: areas, the page index, faults, fork.

mod budget;
mod limits;
mod space;
mod usage;

pub use budget::{Budget, Charge, Refused, UNLIMITED};
pub use limits::{INFINITY, Limits};
pub use space::{FaultError, Mm};
pub use usage::{AreaInfo, Usage};
