//! Networking: sockets and what is below them.

pub mod vsock;
