//! [`NetStack`]: the boundary between the sentry and whatever owns the internet protocols of a sandbox.
//!
//! The rooms above open sockets, ask for interfaces and settings, and print tables; they know no protocol. Today's only
//! implementation is [`crate::net::inet::Stack`]. Passing sockets through to the host could be another one.

use super::inet::diag::Entry;
use super::inet::interface::{Assigned, Interface, Neighbour, Route};
use super::socket::{Socket, SocketType, Ucred};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::mm::Budget;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Who makes a socket, and what pays for its buffers.
#[derive(Clone)]
pub struct Maker {
    /// Ids.
    pub creds: Ucred,
    /// Pays for what waits in the socket.
    pub budget: Arc<Budget>,
    /// May make raw sockets (`CAP_NET_RAW`).
    pub raw: Privilege,
    /// May change the network (`CAP_NET_ADMIN`).
    pub admin: Privilege,
}

/// Whether somebody may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It may.
    Granted,
    /// It may not.
    Denied,
}

impl From<bool> for Privilege {
    fn from(granted: bool) -> Self {
        if granted { Self::Granted } else { Self::Denied }
    }
}

/// A network namespace: interfaces, protocols and their sockets.
pub trait NetStack: Send + Sync {
    /// A socket of `AF_INET`, `AF_INET6` or `AF_NETLINK`.
    ///
    /// # Errors
    /// As socket(2): `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`, `EPERM`, `EACCES`.
    fn socket(
        &self,
        family: u16,
        kind: SocketType,
        protocol: i32,
        maker: Maker,
    ) -> Result<Arc<dyn Socket>, Errno>;

    /// The interfaces with their addresses, by index.
    fn interfaces(&self) -> Vec<Interface>;

    /// The routes of all tables.
    fn routes(&self) -> Vec<Route>;

    /// The route that packets to `ip` take; `None` when there is none.
    fn route_to(&self, ip: IpAddr) -> Option<Route>;

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// `EEXIST`, `ENOBUFS`.
    fn add_address(&self, device: u32, address: Assigned) -> Result<(), Errno>;

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    fn remove_address(&self, device: u32, address: Assigned) -> Result<(), Errno>;

    /// Changes flags and MTU of an interface, those that are given.
    ///
    /// # Errors
    /// `EINVAL`.
    fn change_link(&self, device: u32, flags: Option<u32>, mtu: Option<u32>) -> Result<(), Errno>;

    /// Adds a unicast route.
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV`, `ENETDOWN`, `ENETUNREACH`, `ENOBUFS`.
    fn add_route(&self, route: Route) -> Result<(), Errno>;

    /// Takes away the first route that `fits`, of those that did not come with an address.
    ///
    /// # Errors
    /// `ESRCH`.
    fn remove_route(&self, fits: &dyn Fn(&Route) -> bool) -> Result<(), Errno>;

    /// The sockets of a protocol, by its number.
    fn sockets(&self, protocol: u8) -> Vec<Entry>;

    /// The neighbours that are known.
    fn neighbours(&self) -> Vec<Neighbour>;

    /// Whether binding to `port` takes a privilege (`ip_unprivileged_port_start`).
    fn is_privileged(&self, port: u16) -> bool;

    /// A value below `/proc/sys/net`, such as `ipv4/ip_local_port_range`; `None` when there is no such file.
    fn sysctl(&self, name: &str) -> Option<String>;

    /// Changes a value below `/proc/sys/net`.
    ///
    /// # Errors
    /// `EINVAL` for a value that cannot be, `EACCES` for one that is fixed.
    fn set_sysctl(&self, name: &str, value: &str) -> Result<(), Errno>;

    /// Commands on interfaces, which sockets of every family take (netdevice(7)).
    ///
    /// # Errors
    /// `ENOTTY` for one that is not known, `ENODEV`, `EPERM`, `EADDRNOTAVAIL`, `EINVAL`.
    fn ioctl(&self, cx: &IoctlCx<'_>, admin: Privilege, command: u32, argument: u64) -> Result<usize, Errno>;

    /// The text of a file below `/proc/net`; `None` when there is no such file.
    fn report(&self, name: &str) -> Option<String>;
}
