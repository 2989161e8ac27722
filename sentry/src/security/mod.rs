//! Credentials and capabilities (credentials(7), capabilities(7)).

mod creds;
pub mod exec;
pub mod keys;
pub mod seccomp;
pub mod user_ns;

pub use creds::{ALL_CAPABILITIES, Capability, Creds};
pub use user_ns::UserNamespace;
