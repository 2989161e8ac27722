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

/// `AF_PACKET`.
pub const AF_PACKET: u16 = 17;

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
    /// An interface and a protocol of `AF_PACKET`.
    Link(LinkAddress),
    /// Some other family, or an address that is too short for its family but not for every one.
    Other(u16),
}

/// `struct sockaddr_ll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAddress {
    /// Ethernet type, as a number.
    pub protocol: u16,
    /// Index of the interface.
    pub device: i32,
    /// `ARPHRD_*`.
    pub hardware: u16,
    /// `PACKET_*`.
    pub kind: u8,
    /// Bytes of the address that it says it has.
    pub len: u8,
    /// Hardware address.
    pub address: [u8; 8],
    /// Bytes of the whole as it was given or is told; 0 for all there are.
    pub size: usize,
}

impl LinkAddress {
    /// Bytes before the hardware address.
    pub const HEADER: usize = 12;
    /// Bytes of the whole.
    pub const FULL: usize = 20;

    /// Sets the hardware address.
    pub fn set_hardware_address(&mut self, bytes: &[u8]) {
        self.address.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.len = u8::try_from(bytes.len()).unwrap_or(0);
    }

    /// Reads what follows the family.
    fn read(rest: &[u8]) -> Option<Self> {
        let (protocol, device, hardware) = (part(rest, 0)?, part(rest, 2)?, part(rest, 6)?);
        let [kind, len] = part(rest, 8)?;
        Some(Self {
            protocol: u16::from_be_bytes(protocol),
            device: i32::from_ne_bytes(device),
            hardware: u16::from_ne_bytes(hardware),
            kind,
            len,
            address: part(rest, 10)?,
            size: rest.len() + 2,
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = AF_PACKET.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&self.protocol.to_be_bytes());
        bytes.extend_from_slice(&self.device.to_ne_bytes());
        bytes.extend_from_slice(&self.hardware.to_ne_bytes());
        bytes.extend_from_slice(&[self.kind, self.len]);
        bytes.extend_from_slice(&self.address);
        if self.size != 0 {
            bytes.truncate(self.size);
        }
        bytes
    }
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
            AF_PACKET if LinkAddress::read(rest).is_some() => {
                LinkAddress::read(rest).map(Self::Link).ok_or(Errno::EINVAL)
            }
            _ if rest.len() < 14 => Err(Errno::EINVAL),
            family => Ok(Self::Other(family)),
        }
    }

    /// `struct sockaddr` as user space sees it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Unspecified => AF_UNSPEC.to_ne_bytes().to_vec(),
            Self::Link(address) => address.to_bytes(),
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
