//! Commands on interfaces (netdevice(7)): `SIOCGIF*`, `SIOCSIF*`.

use super::Stack;
use super::endpoint::{Endpoint, Family};
use super::interface::{Assigned, Interface, LOOPBACK, Route};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::stack::{NetStack, Privilege};
use crate::user::{UserAddr, UserPtr};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCSIFDSTADDR: u32 = 0x8918;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGIFMAP: u32 = 0x8970;

/// Bytes of `struct ifreq`.
const REQUEST: usize = 40;
/// Bytes of its name.
const NAME: usize = 16;

/// `struct sockaddr_in` as interfaces tell it.
fn socket_address(ip: Ipv4Addr) -> Vec<u8> {
    Family::V4.show(Endpoint::new(ip.into(), 0)).to_bytes()
}

fn first4(link: &Interface) -> Result<Assigned, Errno> {
    link.addresses.iter().find(|own| own.ip.is_ipv4()).copied().ok_or(Errno::EADDRNOTAVAIL)
}

fn address_in(request: &[u8; REQUEST]) -> Ipv4Addr {
    Ipv4Addr::new(request[20], request[21], request[22], request[23])
}

fn number_in(request: &[u8; REQUEST]) -> i32 {
    i32::from_ne_bytes([request[16], request[17], request[18], request[19]])
}

impl Stack {
    /// Carries out a command that any socket takes.
    ///
    /// # Errors
    /// `ENOTTY` for one that is not known, `ENODEV`, `EPERM`, `EADDRNOTAVAIL`, `EINVAL`.
    pub(super) fn interface_ioctl(
        &self,
        cx: &IoctlCx<'_>,
        admin: Privilege,
        command: u32,
        argument: u64,
    ) -> Result<usize, Errno> {
        let at = UserAddr::new(argument);
        let changes = matches!(
            command,
            SIOCSIFFLAGS
                | SIOCSIFADDR
                | SIOCSIFDSTADDR
                | SIOCSIFBRDADDR
                | SIOCSIFNETMASK
                | SIOCSIFMTU
                | SIOCADDRT
                | SIOCDELRT
        );
        if changes && admin == Privilege::Denied {
            return Err(Errno::EPERM);
        }
        match command {
            SIOCGIFCONF => return self.list(cx, at),
            SIOCADDRT | SIOCDELRT => return self.change_route(cx, at, command == SIOCADDRT).map(|()| 0),
            SIOCGIFNAME..=SIOCGIFMAP => {}
            _ => return Err(Errno::ENOTTY),
        }
        let mut request = [0; REQUEST];
        cx.user.read_bytes(at, &mut request)?;
        let links = self.interfaces();
        if command == SIOCGIFNAME {
            let index = number_in(&request).cast_unsigned();
            let link = links.iter().find(|link| link.index == index).ok_or(Errno::ENODEV)?;
            let (name, rest) = request.split_at_mut(NAME);
            let bytes = link.name.as_bytes();
            name.fill(0);
            name.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            let _ = rest;
            cx.user.write_bytes(at, &request)?;
            return Ok(0);
        }
        let name: Vec<u8> =
            request.iter().take(NAME - 1).copied().take_while(|byte| !matches!(byte, 0 | b':')).collect();
        let link = links.iter().find(|link| link.name.as_bytes() == name).ok_or(Errno::ENODEV)?;
        if changes {
            self.change(link, command, &request)?;
            return Ok(0);
        }
        let value = match command {
            SIOCGIFFLAGS => (link.flags & 0xffff).to_ne_bytes().to_vec(),
            SIOCGIFADDR | SIOCGIFDSTADDR => match first4(link)?.ip {
                IpAddr::V4(ip) => socket_address(ip),
                IpAddr::V6(_) => return Err(Errno::EADDRNOTAVAIL),
            },
            SIOCGIFBRDADDR => {
                let own = first4(link)?;
                let all = own.broadcast().filter(|_| link.index != LOOPBACK);
                socket_address(all.unwrap_or(Ipv4Addr::UNSPECIFIED))
            }
            SIOCGIFNETMASK => socket_address(first4(link)?.mask4()),
            SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
            SIOCGIFMTU => link.mtu.to_ne_bytes().to_vec(),
            SIOCGIFHWADDR => [&link.hardware.to_ne_bytes()[..], &link.mac].concat(),
            SIOCGIFINDEX => link.index.to_ne_bytes().to_vec(),
            SIOCGIFTXQLEN => 1000i32.to_ne_bytes().to_vec(),
            SIOCGIFMAP => alloc::vec![0; 24],
            SIOCETHTOOL => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOTTY),
        };
        let place = request.get_mut(NAME..).unwrap_or_default();
        place.iter_mut().zip(&value).for_each(|(to, from)| *to = *from);
        cx.user.write_bytes(at, &request)?;
        Ok(0)
    }

    fn change(&self, link: &Interface, command: u32, request: &[u8; REQUEST]) -> Result<(), Errno> {
        let device = link.index;
        match command {
            SIOCSIFFLAGS => {
                let flags = u32::from(u16::from_ne_bytes([request[16], request[17]]));
                self.change_link(device, Some(flags), None)
            }
            SIOCSIFMTU => {
                let mtu = u32::try_from(number_in(request)).map_err(|_| Errno::EINVAL)?;
                self.change_link(device, None, Some(mtu))
            }
            // They follow from address and mask: others cannot be.
            SIOCSIFBRDADDR | SIOCSIFDSTADDR => {
                let own = first4(link)?;
                let IpAddr::V4(ip) = own.ip else { return Err(Errno::EADDRNOTAVAIL) };
                let last = Ipv4Addr::from_bits(ip.to_bits() | !own.mask4().to_bits());
                let follows = if command == SIOCSIFBRDADDR { last } else { ip };
                if address_in(request) == follows { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
            }
            SIOCSIFADDR => {
                let ip = address_in(request);
                let prefix = if ip.octets()[0] < 128 {
                    8
                } else if ip.octets()[0] < 192 {
                    16
                } else {
                    24
                };
                // The first address is replaced.
                if device != LOOPBACK
                    && let Ok(old) = first4(link)
                    && old.ip != ip
                {
                    self.remove_address(device, old)?;
                }
                match self.add_address(device, Assigned { ip: ip.into(), prefix }) {
                    Err(Errno::EEXIST) => Ok(()),
                    other => other,
                }
            }
            SIOCSIFNETMASK => {
                let mask = address_in(request).to_bits();
                let prefix = u8::try_from(mask.leading_ones()).unwrap_or(32);
                let old = first4(link)?;
                self.remove_address(device, old)?;
                self.add_address(device, Assigned { prefix, ..old })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `SIOCADDRT` and `SIOCDELRT`: `struct rtentry`.
    fn change_route(&self, cx: &IoctlCx<'_>, at: UserAddr, adds: bool) -> Result<(), Errno> {
        let mut entry = [0; 120];
        cx.user.read_bytes(at, &mut entry)?;
        // Padding, then destination, gateway and mask as `struct sockaddr`, flags; a pointer to the device's name at 88.
        let address = |at: usize| {
            let octets = entry.get(at + 4..).and_then(|rest| rest.first_chunk::<4>());
            Ipv4Addr::from(octets.copied().unwrap_or_default())
        };
        let flags = u16::from_ne_bytes([entry[56], entry[57]]);
        let metric = i16::from_ne_bytes([entry[80], entry[81]]);
        let (has_gateway, is_host) = (flags & 2 != 0, flags & 4 != 0);
        let prefix = if is_host { 32 } else { address(40).to_bits().leading_ones() };
        let to = Assigned { ip: address(8).into(), prefix: u8::try_from(prefix).unwrap_or(32) };
        if to.network() != to {
            return Err(Errno::EINVAL);
        }
        let gateway = has_gateway.then(|| IpAddr::V4(address(24)));
        let metric = u32::try_from(i32::from(metric) - 1).unwrap_or(0);
        if !adds {
            let fits = |route: &Route| route.to == to && (gateway.is_none() || route.gateway == gateway);
            return self.remove_route(&fits);
        }
        let name =
            entry.get(88..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let device = if name == 0 {
            let near = gateway.and_then(|gateway| self.plan().find(gateway, 0));
            near.ok_or(Errno::ENETUNREACH)?.device
        } else {
            let mut bytes = [0; NAME];
            cx.user.read_bytes(UserAddr::new(name), &mut bytes)?;
            let wanted: Vec<u8> = bytes.into_iter().take_while(|byte| *byte != 0).collect();
            let links = self.interfaces();
            links.iter().find(|link| link.name.as_bytes() == wanted).ok_or(Errno::ENODEV)?.index
        };
        let scope = if gateway.is_some() { 0 } else { 253 };
        self.add_route(Route {
            to,
            device,
            kind: 1,
            table: 254,
            scope,
            source: None,
            metric,
            gateway,
            protocol: 3,
        })
    }

    /// `SIOCGIFCONF`: interfaces that have an IPv4 address.
    fn list(&self, cx: &IoctlCx<'_>, at: UserAddr) -> Result<usize, Errno> {
        // struct ifconf: an int, and a pointer after padding.
        let room = cx.user.read(UserPtr::<i32>::new(at))?;
        let buffer = UserPtr::<u64>::new(at.checked_add(8).ok_or(Errno::EFAULT)?);
        let buffer = UserAddr::new(cx.user.read(buffer)?);
        let mut entries = Vec::new();
        for link in self.interfaces().iter().filter(|link| link.index == LOOPBACK || link.flags & 1 != 0) {
            for own in &link.addresses {
                let IpAddr::V4(ip) = own.ip else { continue };
                let mut entry = link.name.as_bytes().to_vec();
                entry.resize(NAME, 0);
                entry.extend_from_slice(&socket_address(ip));
                entry.resize(REQUEST, 0);
                entries.extend_from_slice(&entry);
            }
        }
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)? / REQUEST * REQUEST;
        let len = if buffer.is_null() { entries.len() } else { entries.len().min(room) };
        if !buffer.is_null() {
            cx.user.write_bytes(buffer, entries.get(..len).unwrap_or_default())?;
        }
        cx.user.write(UserPtr::new(at), &i32::try_from(len).unwrap_or(0))?;
        Ok(0)
    }
}
