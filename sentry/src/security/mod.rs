//! Credentials and capabilities (credentials(7), capabilities(7)).

mod creds;
pub mod exec;
pub mod seccomp;

pub use creds::{ALL_CAPABILITIES, Capability, Creds};
