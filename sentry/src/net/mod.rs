//! Networking: sockets and what is below them.
//!
//! * [`socket`] is what every address family implements, and the stream behind a socket's descriptor.
//! * [`address`] has the addresses of all families.
//! * [`stack`] is the boundary to what owns the internet protocols; [`inet`] implements it.
//! * [`filter`] has the programs that say what a socket gets.
//! * [`unix`] is `AF_UNIX`, [`netlink`] is `AF_NETLINK`.
//! * [`vsock`] has the kernel's own connections to the host.

pub mod address;
pub mod filter;
pub mod inet;
pub mod netlink;
pub mod options;
pub mod socket;
pub mod stack;
pub mod unix;
pub mod vsock;

pub use address::Address;
pub use socket::{Socket, SocketFile, SocketType};
pub use stack::NetStack;
