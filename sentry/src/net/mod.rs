//! Networking: sockets and what is below them.
//!
//! * [`socket`]: what every address family implements, and the stream behind a socket's descriptor.
//! * [`address`]: addresses of all families.
//! * [`unix`]: `AF_UNIX`.
//! * [`vsock`]: the kernel's own connections to the host.

pub mod address;
pub mod socket;
pub mod unix;
pub mod vsock;

pub use address::Address;
pub use socket::{Socket, SocketFile, SocketType};
