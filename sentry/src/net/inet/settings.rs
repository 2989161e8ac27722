//! [`Settings`]: what setsockopt(2) keeps of a socket at the levels `SOL_SOCKET`, `IPPROTO_IP` and `IPPROTO_IPV6`.

use super::endpoint::{Dual, Family};
use super::groups::{Groups, Mode, group6};
use super::interface::{Interface, LOOPBACK, UP};
use super::ports::Sharing;
use super::sysctl::Sysctls;
use crate::abi::Errno;
use crate::net::socket::SocketType;
use crate::net::stack::{Maker, Privilege};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// A buffer's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// As getsockopt(2) tells it: double of what was asked for.
    pub(super) bytes: usize,
    /// Set by setsockopt(2), so that it does not grow by itself.
    pub(super) is_fixed: bool,
}

/// How `SO_TIMESTAMP` is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timestamps {
    None,
    /// `SO_TIMESTAMP`: microseconds.
    Micro,
    /// `SO_TIMESTAMPNS`: nanoseconds.
    Nano,
}

/// Options of a socket.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    pub(super) keep_alive: bool,
    pub(super) broadcast: bool,
    pub(super) oob_inline: bool,
    pub(super) dont_route: bool,
    pub(super) debug: bool,
    pub(super) priority: i32,
    pub(super) mark: i32,
    /// `SO_LINGER`: on, seconds.
    pub(super) linger: (bool, i32),
    pub(super) receive: Size,
    pub(super) send: Size,
    pub(super) low_water: usize,
    pub(super) timestamps: Timestamps,
    /// `SO_BINDTODEVICE`: index, 0 for none.
    pub(super) device: u32,
    pub(super) device_name: String,
    /// `SO_BUSY_POLL` and others that are kept without effect.
    pub(super) no_check: bool,
    pub(super) v6_only: bool,
    pub(super) ttl: i32,
    pub(super) tos: i32,
    pub(super) multicast_ttl: i32,
    pub(super) multicast_loop: bool,
    /// `IP_MULTICAST_ALL`.
    pub(super) multicast_all: bool,
    pub(super) multicast_device: u32,
    pub(super) multicast_address: Ipv4Addr,
    pub(super) packet_info: bool,
    pub(super) receive_ttl: bool,
    pub(super) receive_tos: bool,
    pub(super) receive_errors: bool,
    pub(super) receive_original: bool,
    pub(super) header_included: bool,
    pub(super) free_bind: bool,
    pub(super) transparent: bool,
    pub(super) no_late_port: bool,
    pub(super) mtu_discover: i32,
    pub(super) hops: i32,
    pub(super) multicast_hops: i32,
    pub(super) traffic_class: i32,
    pub(super) packet_info6: bool,
    pub(super) receive_hops: bool,
    pub(super) receive_class: bool,
    pub(super) receive_errors6: bool,
    pub(super) mtu_discover6: i32,
    pub(super) auto_flow: bool,
    pub(super) dont_fragment: bool,
    pub(super) multicast_all6: bool,
    /// Options of IP that are on without effect here, a bit for each number.
    pub(super) switches4: u64,
    /// Options of IPv6 that are on, as those.
    pub(super) switches6: u128,
    /// `IPV6_MINHOPCOUNT`.
    pub(super) least_hops: i32,
    /// `IP_MINTTL`.
    pub(super) least_ttl: i32,
    pub(super) groups: Groups,
}

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;

/// Smallest receive and send buffers (`SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`).
const MIN_RECEIVE: usize = 2304;
const MIN_SEND: usize = 4608;

/// What an option says that is kept elsewhere.
pub(super) struct Facts {
    pub(super) family: Family,
    pub(super) kind: SocketType,
    pub(super) protocol: i32,
    pub(super) listens: bool,
    pub(super) is_bound: bool,
    pub(super) error: Option<Errno>,
}

/// What is around a socket whose options are set.
pub(super) struct Around<'a> {
    pub(super) sysctls: &'a Sysctls,
    pub(super) maker: &'a Maker,
    /// The interfaces, for options that name one.
    pub(super) links: &'a [Interface],
}

impl Around<'_> {
    /// The interface of an index; 0 is none.
    pub(super) fn device(&self, index: i32) -> Result<u32, Errno> {
        let wanted = u32::try_from(index).map_err(|_| Errno::ENODEV)?;
        let known = wanted == 0 || self.links.iter().any(|link| link.index == wanted);
        if known { Ok(wanted) } else { Err(Errno::ENODEV) }
    }

    /// The interface that has an address.
    pub(super) fn device_of(&self, ip: IpAddr) -> Option<u32> {
        let has = |link: &&Interface| link.addresses.iter().any(|own| own.ip == ip);
        let found = self.links.iter().find(has).map(|link| link.index);
        found.or_else(|| ip.is_loopback().then_some(LOOPBACK))
    }

    /// The interface that groups are joined on when none is named.
    pub(super) fn default_device(&self) -> Result<u32, Errno> {
        let up = |link: &&Interface| link.index != LOOPBACK && link.flags & UP != 0;
        self.links.iter().find(up).map(|link| link.index).ok_or(Errno::ENODEV)
    }
}

/// The number that an option's value holds: an int, or for options at the IP levels a byte.
pub(super) fn number(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// As [`number`], or a byte; what is empty is 0 for most.
fn number_or_byte(name: i32, value: &[u8]) -> Result<i32, Errno> {
    match (value.first_chunk(), value.first()) {
        (Some(bytes), _) => Ok(i32::from_ne_bytes(*bytes)),
        (None, Some(byte)) => Ok(i32::from(*byte)),
        (None, None) if matches!(name, 2 | 15 | 19 | 21 | 33 | 34 | 49) => Err(Errno::EINVAL),
        (None, None) => Ok(0),
    }
}

fn address4(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    let bytes: [u8; 4] =
        value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(Ipv4Addr::from(bytes))
}

fn index_at(value: &[u8], at: usize) -> u32 {
    value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

impl Settings {
    /// What a new socket has.
    pub(super) fn new(sysctls: &Sysctls, kind: SocketType) -> Self {
        let core = |name| usize::try_from(sysctls.number(name)).unwrap_or(0);
        let (receive, send) = if kind == SocketType::Stream {
            (sysctls.triple("ipv4/tcp_rmem")[1], sysctls.triple("ipv4/tcp_wmem")[1])
        } else {
            (core("core/rmem_default"), core("core/wmem_default"))
        };
        Self {
            reuse_address: false,
            reuse_port: false,
            keep_alive: false,
            broadcast: false,
            oob_inline: false,
            dont_route: false,
            debug: false,
            priority: 0,
            mark: 0,
            linger: (false, 0),
            receive: Size { bytes: receive, is_fixed: false },
            send: Size { bytes: send, is_fixed: false },
            low_water: 1,
            timestamps: Timestamps::None,
            device: 0,
            device_name: String::new(),
            no_check: false,
            v6_only: sysctls.number("ipv6/bindv6only") != 0,
            ttl: -1,
            tos: 0,
            multicast_ttl: 1,
            multicast_loop: true,
            multicast_all: true,
            multicast_device: 0,
            multicast_address: Ipv4Addr::UNSPECIFIED,
            packet_info: false,
            receive_ttl: false,
            receive_tos: false,
            receive_errors: false,
            receive_original: false,
            header_included: false,
            free_bind: false,
            transparent: false,
            no_late_port: false,
            mtu_discover: 1,
            hops: -1,
            multicast_hops: 1,
            traffic_class: 0,
            packet_info6: false,
            receive_hops: false,
            receive_class: false,
            receive_errors6: false,
            mtu_discover6: 1,
            auto_flow: true,
            dont_fragment: false,
            multicast_all6: true,
            switches4: 0,
            switches6: 0,
            least_hops: 0,
            least_ttl: 0,
            groups: Groups::default(),
        }
    }

    /// What others may do with its port; `user` is the socket's.
    pub(super) fn sharing(&self, user: u32) -> Sharing {
        Sharing { address: self.reuse_address, port: self.reuse_port.then_some(user) }
    }

    /// Whether `::` stands for IPv4 too.
    pub(super) fn dual(&self) -> Dual {
        if self.v6_only { Dual::Own } else { Dual::Both }
    }

    /// getsockopt(2); `facts.error` is taken when it is told.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EOPNOTSUPP`.
    pub(super) fn get(&self, level: i32, name: i32, facts: &mut Facts) -> Result<Vec<u8>, Errno> {
        match level {
            SOL_SOCKET => self.get_socket(name, facts),
            SOL_IP => self.get_ip(name),
            SOL_IPV6 if facts.family == Family::V6 => self.get_ipv6(name),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn get_socket(&self, name: i32, facts: &mut Facts) -> Result<Vec<u8>, Errno> {
        let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        let value = match name {
            1 => i32::from(self.debug),
            2 => i32::from(self.reuse_address),
            3 => facts.kind.number(),
            4 => facts.error.take().map_or(0, Errno::number),
            5 => i32::from(self.dont_route),
            6 => i32::from(self.broadcast),
            7 => size(self.send.bytes),
            8 => size(self.receive.bytes),
            9 => i32::from(self.keep_alive),
            10 => i32::from(self.oob_inline),
            11 => i32::from(self.no_check),
            12 => self.priority,
            13 => {
                let (on, seconds) = self.linger;
                return Ok([i32::from(on).to_ne_bytes(), seconds.to_ne_bytes()].concat());
            }
            15 => i32::from(self.reuse_port),
            60 => 0,
            17 => {
                return Ok([0u32, u32::MAX, u32::MAX].iter().flat_map(|word| word.to_ne_bytes()).collect());
            }
            18 => size(self.low_water),
            19 => 1,
            25 if self.device == 0 => return Ok(Vec::new()),
            25 => return Ok([self.device_name.as_bytes(), b"\0"].concat()),
            29 => i32::from(self.timestamps == Timestamps::Micro),
            30 => i32::from(facts.listens),
            35 => i32::from(self.timestamps == Timestamps::Nano),
            36 => self.mark,
            38 => facts.protocol,
            39 => {
                if facts.family == Family::V4 {
                    2
                } else {
                    10
                }
            }
            42 => return Err(Errno::EOPNOTSUPP),
            56 => 0,
            57 => return Ok(0u64.to_ne_bytes().to_vec()),
            62 => self.device.cast_signed(),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    fn get_ip(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            1 => self.tos,
            2 => {
                if self.ttl < 0 {
                    64
                } else {
                    self.ttl
                }
            }
            3 => i32::from(self.header_included),
            4 => return Ok(Vec::new()),
            6 | 7 | 18 | 23 | 25 => i32::from(self.switches4 & 1 << name != 0),
            8 => i32::from(self.packet_info),
            10 => self.mtu_discover,
            11 => i32::from(self.receive_errors),
            12 => i32::from(self.receive_ttl),
            13 => i32::from(self.receive_tos),
            14 => return Err(Errno::ENOTCONN),
            15 => i32::from(self.free_bind),
            19 => i32::from(self.transparent),
            20 => i32::from(self.receive_original),
            21 => self.least_ttl,
            22 => 0,
            41 | 48 => return Err(Errno::EINVAL),
            24 => i32::from(self.no_late_port),
            32 => return Ok(self.multicast_address.octets().to_vec()),
            33 => self.multicast_ttl,
            34 => i32::from(self.multicast_loop),
            49 => i32::from(self.multicast_all),
            50 => self.multicast_device.to_be().cast_signed(),
            51 => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    fn get_ipv6(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let or_default = |value: i32| if value < 0 { 64 } else { value };
        let value = match name {
            16 => or_default(self.hops),
            17 => self.multicast_device.cast_signed(),
            18 => self.multicast_hops,
            19 => i32::from(self.multicast_loop),
            23 => self.mtu_discover6,
            24 => return Err(Errno::ENOTCONN),
            25 => i32::from(self.receive_errors6),
            26 => i32::from(self.v6_only),
            29 => i32::from(self.multicast_all6),
            49 => i32::from(self.packet_info6),
            51 => i32::from(self.receive_hops),
            33 | 53 | 56 | 58 | 60 | 74 => i32::from(self.switches6 & 1 << name != 0),
            73 => self.least_hops,
            75 => i32::from(self.transparent),
            78 => i32::from(self.free_bind),
            62 => i32::from(self.dont_fragment),
            66 => i32::from(self.receive_class),
            67 => self.traffic_class,
            70 => i32::from(self.auto_flow),
            72 => 2,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `EPERM`, `EDOM`, `ENODEV`.
    pub(super) fn set(
        &mut self,
        level: i32,
        name: i32,
        value: &[u8],
        facts: &Facts,
        around: &Around<'_>,
    ) -> Result<(), Errno> {
        match level {
            SOL_SOCKET => self.set_socket(name, value, facts, around),
            SOL_IP => self.set_ip(name, value, facts, around),
            SOL_IPV6 if facts.family == Family::V6 => self.set_ipv6(name, value, facts, around),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_socket(
        &mut self,
        name: i32,
        value: &[u8],
        facts: &Facts,
        around: &Around<'_>,
    ) -> Result<(), Errno> {
        let Around { sysctls, maker, .. } = around;
        if name == 25 {
            return self.bind_to_device(value, around);
        }
        let number = number(value)?;
        let on = number != 0;
        let admin = || if maker.admin == Privilege::Granted { Ok(()) } else { Err(Errno::EPERM) };
        let stream = facts.kind == SocketType::Stream;
        let sized = |limit: &str, least: usize| {
            let limit = usize::try_from(sysctls.number(limit)).unwrap_or(0);
            let asked = usize::try_from(number).unwrap_or(usize::MAX).min(limit);
            Size { bytes: asked.saturating_mul(2).max(least), is_fixed: true }
        };
        let forced = |least: usize| {
            let asked = usize::try_from(number.max(0)).unwrap_or(0).min(usize::MAX >> 1).min(0x3fff_ffff);
            Size { bytes: asked.saturating_mul(2).max(least), is_fixed: true }
        };
        match name {
            1 if on => {
                admin().map_err(|_| Errno::EACCES)?;
                self.debug = true;
            }
            1 => self.debug = false,
            2 => self.reuse_address = on,
            3 | 4 | 30 | 38 | 39 => return Err(Errno::ENOPROTOOPT),
            5 => self.dont_route = on,
            6 => self.broadcast = on,
            7 => self.send = sized("core/wmem_max", MIN_SEND),
            8 => self.receive = sized("core/rmem_max", MIN_RECEIVE),
            9 => self.keep_alive = on,
            10 => self.oob_inline = on,
            11 => self.no_check = on,
            12 => {
                if !(0..=6).contains(&number) {
                    admin()?;
                }
                self.priority = number;
            }
            13 => {
                let seconds = value.get(4..8).and_then(|bytes| bytes.try_into().ok());
                let seconds = i32::from_ne_bytes(seconds.ok_or(Errno::EINVAL)?);
                self.linger = if on { (true, seconds) } else { (false, self.linger.1) };
            }
            15 => {
                if on && stream && facts.protocol != 6 {
                    return Err(Errno::EOPNOTSUPP);
                }
                self.reuse_port = on;
            }
            42 => return Err(Errno::EOPNOTSUPP),
            18 => {
                let lowest = if number < 0 { i32::MAX } else { number.max(1) };
                let most = if stream { sysctls.triple("ipv4/tcp_rmem")[2] / 2 } else { usize::MAX };
                self.low_water = usize::try_from(lowest).unwrap_or(1).min(most);
            }
            29 | 35 => {
                let kind = if name == 29 { Timestamps::Micro } else { Timestamps::Nano };
                self.timestamps = if on { kind } else { Timestamps::None };
            }
            32 => {
                admin()?;
                self.send = forced(MIN_SEND);
            }
            33 => {
                admin()?;
                self.receive = forced(MIN_RECEIVE);
            }
            36 => {
                admin()?;
                self.mark = number;
            }
            62 => {
                // As on Linux, one that is not there may be named.
                self.device = u32::try_from(number).map_err(|_| Errno::EINVAL)?;
                let link = around.links.iter().find(|link| link.index == self.device);
                self.device_name = link.map_or_else(String::new, |link| link.name.clone());
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn bind_to_device(&mut self, value: &[u8], around: &Around<'_>) -> Result<(), Errno> {
        let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.is_empty() {
            (self.device, self.device_name) = (0, String::new());
            return Ok(());
        }
        let link = around.links.iter().find(|link| link.name.as_bytes() == name).ok_or(Errno::ENODEV)?;
        (self.device, self.device_name) = (link.index, link.name.clone());
        Ok(())
    }

    fn set_ip(&mut self, name: i32, value: &[u8], facts: &Facts, around: &Around<'_>) -> Result<(), Errno> {
        match name {
            32 if facts.kind == SocketType::Stream => return Err(Errno::EINVAL),
            32 => return self.set_multicast_interface(value, around),
            35 | 36 if facts.kind == SocketType::Stream => return Err(Errno::EPROTO),
            41 | 48 => return Err(Errno::EINVAL),
            35 | 36 => return self.change_group4(name == 35, value, around),
            37..=40 => return self.groups.set_source4(name, value, around),
            42..=47 => return self.groups.set_any(name, value, true, around),
            _ => {}
        }
        let stream = facts.kind == SocketType::Stream;
        let number = number_or_byte(name, value)?;
        let on = number != 0;
        match name {
            1 => self.tos = if stream { number & 0xfc | self.tos & 3 } else { number & 0xff },
            2 => match number {
                -1 | 1..=255 => self.ttl = number,
                _ => return Err(Errno::EINVAL),
            },
            3 if facts.kind == SocketType::Raw => self.header_included = on,
            // Without IP options there are none to tell of (IP_RECVOPTS, IP_RETOPTS), nor labels (IP_PASSSEC).
            6 | 7 | 18 => self.switch4(name, on),
            // IP_CHECKSUM, IP_RECVFRAGSIZE.
            25 if stream => return Err(Errno::EINVAL),
            23 | 25 => self.switch4(name, on),
            8 => self.packet_info = on,
            10 => match number {
                0..=5 => self.mtu_discover = number,
                _ => return Err(Errno::EINVAL),
            },
            11 => self.receive_errors = on,
            12 => self.receive_ttl = on,
            13 => self.receive_tos = on,
            15 => self.free_bind = on,
            19 if on && around.maker.raw == Privilege::Denied => return Err(Errno::EPERM),
            19 => self.transparent = on,
            20 => self.receive_original = on,
            21 => match number {
                0..=255 => self.least_ttl = number,
                _ => return Err(Errno::EINVAL),
            },
            24 => self.no_late_port = on,
            33 if stream => return Err(Errno::EINVAL),
            33 => match number {
                -1 => self.multicast_ttl = 1,
                0..=255 => self.multicast_ttl = number,
                _ => return Err(Errno::EINVAL),
            },
            34 => self.multicast_loop = on,
            49 => match number {
                0 | 1 => self.multicast_all = on,
                _ => return Err(Errno::EINVAL),
            },
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn switch4(&mut self, name: i32, on: bool) {
        let bit = 1u64.checked_shl(name.unsigned_abs()).unwrap_or(0);
        self.switches4 = self.switches4 & !bit | if on { bit } else { 0 };
    }

    /// `IP_MULTICAST_IF`: an address, `struct ip_mreq` or `struct ip_mreqn`.
    fn set_multicast_interface(&mut self, value: &[u8], around: &Around<'_>) -> Result<(), Errno> {
        let (address, index) = match value.len() {
            12.. => (address4(value, 4)?, index_at(value, 8)),
            8..12 => (address4(value, 4)?, 0),
            _ => (address4(value, 0)?, 0),
        };
        let device = match (index, address.is_unspecified()) {
            (0, true) => 0,
            (0, false) => around.device_of(address.into()).ok_or(Errno::EADDRNOTAVAIL)?,
            _ => around.device(index.cast_signed()).map_err(|_| Errno::EADDRNOTAVAIL)?,
        };
        (self.multicast_device, self.multicast_address) = (device, address);
        Ok(())
    }

    /// `IP_ADD_MEMBERSHIP` and `IP_DROP_MEMBERSHIP`: `struct ip_mreq` or `struct ip_mreqn`.
    fn change_group4(&mut self, joins: bool, value: &[u8], around: &Around<'_>) -> Result<(), Errno> {
        let (group, address) = (address4(value, 0)?, address4(value, 4)?);
        let index = if value.len() >= 12 { index_at(value, 8) } else { 0 };
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        // Without a route to the group, the interface must be named.
        let device = match (index, address.is_unspecified()) {
            (0, true) => around.default_device()?,
            (0, false) => around.device_of(address.into()).ok_or(Errno::ENODEV)?,
            _ => around.device(index.cast_signed())?,
        };
        self.change_group(joins, (IpAddr::V4(group), device))
    }

    fn change_group(&mut self, joins: bool, (group, device): (IpAddr, u32)) -> Result<(), Errno> {
        if joins { self.groups.join(group, device, Mode::Exclude) } else { self.groups.leave(group, device) }
    }

    fn set_ipv6(&mut self, name: i32, value: &[u8], facts: &Facts, around: &Around<'_>) -> Result<(), Errno> {
        if matches!(name, 42..=47) {
            return self.groups.set_any(name, value, false, around);
        }
        if matches!(name, 20 | 21) {
            let group = group6(value).ok_or(Errno::EINVAL)?;
            if !group.is_multicast() {
                return Err(Errno::EINVAL);
            }
            let device = match index_at(value, 16) {
                0 => around.default_device()?,
                index => around.device(index.cast_signed())?,
            };
            return self.change_group(name == 20, (IpAddr::V6(group), device));
        }
        // What is not known at all is told before a length that cannot be.
        if matches!(name, 9 | 10 | 12..=15 | 37..=41 | 52 | 63..=65 | 68 | 69 | 71 | 79) {
            return Err(Errno::ENOPROTOOPT);
        }
        let number = number(value)?;
        let on = number != 0;
        match name {
            16 => match number {
                -1..=255 => self.hops = number,
                _ => return Err(Errno::EINVAL),
            },
            17 if facts.kind == SocketType::Stream => return Err(Errno::ENOPROTOOPT),
            17 => self.multicast_device = around.device(number)?,
            18 if facts.kind == SocketType::Stream => return Err(Errno::ENOPROTOOPT),
            18 => match number {
                -1 => self.multicast_hops = 1,
                0..=255 => self.multicast_hops = number,
                _ => return Err(Errno::EINVAL),
            },
            19 => match number {
                0 | 1 => self.multicast_loop = on,
                _ => return Err(Errno::EINVAL),
            },
            23 => match number {
                0..=5 => self.mtu_discover6 = number,
                _ => return Err(Errno::EINVAL),
            },
            25 => self.receive_errors6 = on,
            26 if facts.is_bound || facts.kind == SocketType::Raw => return Err(Errno::EINVAL),
            26 => self.v6_only = on,
            29 => self.multicast_all6 = on,
            49 => self.packet_info6 = on,
            51 => self.receive_hops = on,
            62 => self.dont_fragment = on,
            66 => self.receive_class = on,
            67 => match number {
                -1 => self.traffic_class = 0,
                // The bits of congestion are not the program's.
                0..=255 if facts.kind == SocketType::Stream => {
                    self.traffic_class = number & 0xfc | self.traffic_class & 3;
                }
                0..=255 => self.traffic_class = number,
                _ => return Err(Errno::EINVAL),
            },
            70 => self.auto_flow = on,
            24 if number != 0 && number < 1280 => return Err(Errno::EINVAL),
            24 | 72 => {}
            // Extension headers, flow labels and path MTUs of which there are none to tell; IPV6_RECVORIGDSTADDR.
            33 | 53 | 56 | 58 | 60 | 74 => {
                let bit = 1u128.checked_shl(name.unsigned_abs()).unwrap_or(0);
                self.switches6 = self.switches6 & !bit | if on { bit } else { 0 };
            }
            73 => match number {
                0..=255 => self.least_hops = number,
                _ => return Err(Errno::EINVAL),
            },
            75 if on && around.maker.raw == Privilege::Denied => return Err(Errno::EPERM),
            75 => self.transparent = on,
            78 => self.free_bind = on,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
