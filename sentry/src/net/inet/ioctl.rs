//! Commands on interfaces (netdevice(7)): `SIOCGIF*`, `SIOCSIF*`.

use super::Stack;
use super::endpoint::{Endpoint, Family};
use super::interface::{Assigned, Interface, LOOPBACK};
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
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCSIFNETMASK: u32 = 0x891c;
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
            SIOCSIFFLAGS | SIOCSIFADDR | SIOCSIFNETMASK | SIOCSIFMTU | SIOCADDRT | SIOCDELRT
        );
        if changes && admin == Privilege::Denied {
            return Err(Errno::EPERM);
        }
        match command {
            SIOCGIFCONF => return self.list(cx, at),
            // Every route there can be without a wire comes with an address.
            SIOCADDRT => return Err(Errno::ENETUNREACH),
            SIOCDELRT => return Err(Errno::ESRCH),
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
            self.change(command, &request)?;
            return Ok(0);
        }
        let value = match command {
            SIOCGIFFLAGS => (link.flags & 0xffff).to_ne_bytes().to_vec(),
            SIOCGIFADDR | SIOCGIFDSTADDR => match first4(link)?.ip {
                IpAddr::V4(ip) => socket_address(ip),
                IpAddr::V6(_) => return Err(Errno::EADDRNOTAVAIL),
            },
            SIOCGIFBRDADDR => {
                first4(link)?;
                socket_address(Ipv4Addr::UNSPECIFIED)
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

    fn change(&self, command: u32, request: &[u8; REQUEST]) -> Result<(), Errno> {
        match command {
            SIOCSIFFLAGS => {
                self.loopback.set_flags(u32::from(u16::from_ne_bytes([request[16], request[17]])));
                Ok(())
            }
            SIOCSIFMTU => {
                let mtu = u32::try_from(number_in(request)).map_err(|_| Errno::EINVAL)?;
                self.loopback.set_mtu(mtu)
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
                match self.loopback.add(Assigned { ip: ip.into(), prefix }) {
                    Err(Errno::EEXIST) => Ok(()),
                    other => other,
                }
            }
            SIOCSIFNETMASK => {
                let mask = address_in(request).to_bits();
                let prefix = u8::try_from(mask.leading_ones()).unwrap_or(32);
                let old = first4(&self.loopback.describe())?;
                self.loopback.remove(old)?;
                self.loopback.add(Assigned { prefix, ..old })
            }
            _ => Err(Errno::EINVAL),
        }
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
