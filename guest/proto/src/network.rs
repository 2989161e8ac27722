//! The network of a pod as the shim found it in the pod's network namespace, for the sentry's stack.
//!
//! Addresses, routes and neighbours are those that a CNI plug-in gave the namespace; the cards that carry the packets are
//! network devices of the machine, in the order in which they were attached.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// Interfaces, routes and neighbours. Sent once, before the first container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Interfaces beside loopback, in the order of their indices.
    pub interfaces: Vec<Interface>,
    /// Unicast routes of the main table, IPv4 and IPv6, except those that addresses make by themselves.
    pub routes: Vec<Route>,
    /// Neighbours that were set by hand (`NUD_PERMANENT`).
    pub neighbours: Vec<Neighbour>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name, 1 to 15 bytes.
    pub name: String,
    /// Index of the network device that carries it.
    pub device: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// Addresses.
    pub addresses: Vec<Subnet>,
}

/// An address with the length of its network part, or a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Address.
    pub ip: IpAddr,
    /// Bits.
    pub prefix: u8,
}

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination; prefix 0 is the default route.
    pub to: Subnet,
    /// Next hop, `None` when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Name of the interface.
    pub interface: String,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Priority; less is preferred.
    pub metric: u32,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Address.
    pub ip: IpAddr,
    /// Name of the interface.
    pub interface: String,
    /// Hardware address.
    pub mac: [u8; 6],
}
