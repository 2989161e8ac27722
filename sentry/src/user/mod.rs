//! User memory: addresses are allegations, checked when bytes are copied.

mod addr;

pub use addr::UserAddr;
