//! Networking: sockets and what is below them.
//!
//! * [`socket`] is what every address family implements, and the stream behind a socket's descriptor.
//! * [`address`] has the addresses of all families.
//! * [`unix`] is `AF_UNIX`.
//! * [`vsock`] has the kernel's own connections to the host.

pub mod address;
pub mod socket;
pub mod unix;
pub mod vsock;

pub use address::Address;
pub use socket::{Socket, SocketFile, SocketType};
