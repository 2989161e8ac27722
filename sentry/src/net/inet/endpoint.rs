//! [`Endpoint`] and [`Local`]: addresses as the stack keeps them, with IPv4-mapped addresses as what they mean.

use crate::net::Address;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Which of the two families a socket is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// The address that stands for any.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// `struct sockaddr` as sockets of this family show it: sockets of `AF_INET6` map IPv4 addresses.
    #[must_use]
    pub fn show(self, at: Endpoint) -> Address {
        Address::Inet(match (self, at.ip) {
            (Self::V4, IpAddr::V4(ip)) => SocketAddrV4::new(ip, at.port).into(),
            (Self::V4, IpAddr::V6(_)) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, at.port).into(),
            (Self::V6, IpAddr::V4(ip)) => SocketAddrV6::new(ip.to_ipv6_mapped(), at.port, 0, 0).into(),
            (Self::V6, IpAddr::V6(ip)) => {
                let scope = if ip.is_unicast_link_local() { at.scope } else { 0 };
                SocketAddrV6::new(ip, at.port, 0, scope).into()
            }
        })
    }
}

/// An address and port. IPv4-mapped IPv6 addresses are kept as IPv4 ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Interface of a link-local address, else 0.
    pub scope: u32,
}

impl Endpoint {
    /// An address and port without scope.
    #[must_use]
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port, scope: 0 }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let scope = match address {
            SocketAddr::V6(at) if at.ip().is_unicast_link_local() => at.scope_id(),
            _ => 0,
        };
        Self { ip: address.ip().to_canonical(), port: address.port(), scope }
    }
}

/// Where a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Address; unspecified takes all.
    pub at: Endpoint,
    /// An unspecified IPv6 address that takes IPv4 too.
    pub dual: Dual,
}

/// Whether `::` stands for IPv4 addresses too (ipv6(7), `IPV6_V6ONLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dual {
    /// It does.
    Both,
    /// Of its own family only.
    Own,
}

impl Local {
    /// How well it fits a packet to `ip`; `None` when not at all.
    #[must_use]
    pub fn fits(&self, ip: IpAddr) -> Option<u8> {
        if self.at.ip == ip {
            return Some(2);
        }
        let any = self.at.ip.is_unspecified();
        let family = self.at.ip.is_ipv4() == ip.is_ipv4();
        match (any, family) {
            (true, true) => Some(1),
            (true, false) if self.at.ip.is_ipv6() && self.dual == Dual::Both => Some(0),
            _ => None,
        }
    }

    /// Whether some packet fits both addresses.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let both_any = self.at.ip.is_unspecified() && other.at.ip.is_unspecified();
        if both_any {
            let dual = |local: &Self| local.at.ip.is_ipv6() && local.dual == Dual::Both;
            return self.at.ip.is_ipv4() == other.at.ip.is_ipv4() || dual(self) || dual(other);
        }
        self.fits(other.at.ip).is_some() || other.fits(self.at.ip).is_some()
    }
}
