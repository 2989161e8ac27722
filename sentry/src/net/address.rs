//! [`Address`]: where a socket is, in any family.

use super::unix::Name;
use crate::abi::Errno;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// `AF_UNSPEC`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;

/// Bytes of `struct sockaddr_storage`.
pub const MAX_LEN: usize = 128;
/// Bytes of `sun_path`.
const UNIX_PATH_MAX: usize = 108;

/// Where a socket is.
#[derive(Clone, Debug)]
pub enum Address {
    /// Nowhere: connect(2) takes it to end a datagram socket's connection.
    Unspecified,
    /// A unix socket's name.
    Unix(Name),
    /// An address and port of `AF_INET` or `AF_INET6`.
    Inet(SocketAddr),
    /// Port id and group mask of `AF_NETLINK`.
    Netlink(u32, u32),
    /// Some other family, or an address that is too short for its family but not for every one.
    Other(u16),
}

/// `count` bytes from `at` on.
fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// `struct sockaddr_in`, after the family.
fn inet(rest: &[u8]) -> Option<SocketAddr> {
    part::<14>(rest, 0)?;
    let (port, ip) = (part(rest, 0)?, part::<4>(rest, 2)?);
    Some(SocketAddrV4::new(Ipv4Addr::from(ip), u16::from_be_bytes(port)).into())
}

/// `struct sockaddr_in6`, after the family; the scope may be left out (RFC 2133).
fn inet6(rest: &[u8]) -> Option<SocketAddr> {
    let (port, flow, ip) = (part(rest, 0)?, part(rest, 2)?, part::<16>(rest, 6)?);
    let scope = part(rest, 22).map_or(0, u32::from_ne_bytes);
    let (port, flow) = (u16::from_be_bytes(port), u32::from_ne_bytes(flow));
    Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
}

impl Address {
    /// Reads `struct sockaddr`.
    ///
    /// # Errors
    /// `EINVAL` when it is too short or long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Errno> {
        let (family, rest) = bytes.split_first_chunk().ok_or(Errno::EINVAL)?;
        match u16::from_ne_bytes(*family) {
            AF_UNSPEC => Ok(Self::Unspecified),
            AF_UNIX if rest.len() > UNIX_PATH_MAX => Err(Errno::EINVAL),
            AF_UNIX => Ok(Self::Unix(match rest {
                [] => Name::Unnamed,
                [0, name @ ..] => Name::Abstract(name.to_vec()),
                _ => Name::Path(rest.iter().copied().take_while(|byte| *byte != 0).collect(), None),
            })),
            AF_INET => inet(rest).map(Self::Inet).ok_or(Errno::EINVAL),
            AF_INET6 if inet6(rest).is_some() => inet6(rest).map(Self::Inet).ok_or(Errno::EINVAL),
            AF_NETLINK => match (part(rest, 2), part(rest, 6)) {
                (Some(port), Some(groups)) => {
                    Ok(Self::Netlink(u32::from_ne_bytes(port), u32::from_ne_bytes(groups)))
                }
                _ => Err(Errno::EINVAL),
            },
            _ if rest.len() < 14 => Err(Errno::EINVAL),
            family => Ok(Self::Other(family)),
        }
    }

    /// `struct sockaddr` as user space sees it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Unspecified => AF_UNSPEC.to_ne_bytes().to_vec(),
            Self::Other(family) => family.to_ne_bytes().to_vec(),
            Self::Inet(SocketAddr::V4(at)) => {
                let family = AF_INET.to_ne_bytes();
                [&family[..], &at.port().to_be_bytes(), &at.ip().octets(), &[0; 8]].concat()
            }
            Self::Inet(SocketAddr::V6(at)) => {
                let (family, flow, scope) = (AF_INET6.to_ne_bytes(), at.flowinfo(), at.scope_id());
                let port = at.port().to_be_bytes();
                let (flow, scope) = (flow.to_ne_bytes(), scope.to_ne_bytes());
                [&family[..], &port, &flow, &at.ip().octets(), &scope].concat()
            }
            Self::Netlink(port, groups) => {
                let family = AF_NETLINK.to_ne_bytes();
                [&family[..], &[0; 2], &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
            }
            Self::Unix(name) => {
                let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
                match name {
                    Name::Unnamed => {}
                    Name::Abstract(name) => {
                        bytes.push(0);
                        bytes.extend_from_slice(name);
                    }
                    Name::Path(path, _) => {
                        bytes.extend_from_slice(path);
                        bytes.push(0);
                    }
                }
                bytes
            }
        }
    }
}
