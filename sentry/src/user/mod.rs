//! User memory: addresses are allegations, checked when bytes are copied.
//!
//! Two ways, by what may happen on a fault:
//! * [`UserMemory`] copies small things for a system call's edge: it resolves faults itself, so it may sleep and must be
//!   used with no lock held.
//! * [`IoReader`] and [`IoWriter`] are cursors for operations that hold locks: they never fault anything in. They stop at the
//!   first page that is not there and remember it ([`UserFault`]); the caller resolves it with no lock held and goes on.

mod addr;
mod cursor;
mod memory;

pub use addr::UserAddr;
pub use cursor::{IoReader, IoWriter, UserFault, UserSlice};
pub use memory::{UserMemory, UserPtr};
