//! Interfaces, their addresses, routes and neighbours, as a namespace has them.

use super::Stack;
use super::settings::Settings;
use crate::abi::Errno;
use alloc::string::String;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU64, Ordering};

/// Index of the loopback interface, in every namespace.
pub const LOOPBACK: u32 = 1;
/// MTU of the loopback interface.
pub const LOOPBACK_MTU: u32 = 65_536;
/// Level of the lock around addresses and flags.
const LEVEL: Level = Level(148);
/// Addresses that an interface may have.
const MAX_ADDRESSES: usize = 256;

/// `IFF_UP`.
pub const UP: u32 = 1;
/// `IFF_LOOPBACK`.
const IS_LOOPBACK: u32 = 8;
/// `IFF_RUNNING`, `IFF_LOWER_UP`.
const RUNNING: u32 = 0x40;
const LOWER_UP: u32 = 0x1_0000;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Address.
    pub ip: IpAddr,
    /// Bits of the network's part.
    pub prefix: u8,
}

impl Assigned {
    /// The network mask, of an IPv4 address.
    #[must_use]
    pub fn mask4(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0))
    }

    fn covers(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = self.mask4().to_bits();
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (own, ip) => own == ip,
        }
    }
}

/// An interface as programs see it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `IFF_*`.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// `ARPHRD_*`.
    pub hardware: u16,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Addresses.
    pub addresses: Vec<Assigned>,
    /// Packets and bytes; on loopback both ways are the same.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Destination.
    pub to: Assigned,
    /// Interface.
    pub device: u32,
    /// `RTN_*`: 1 unicast, 2 local, 3 broadcast, 5 multicast.
    pub kind: u8,
    /// `RT_TABLE_*`: 254 main, 255 local.
    pub table: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Priority.
    pub metric: u32,
}

/// A neighbour on a link.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Address.
    pub ip: IpAddr,
    /// Interface.
    pub device: u32,
    /// Hardware address.
    pub mac: [u8; 6],
}

struct State {
    flags: u32,
    mtu: u32,
    addresses: Vec<Assigned>,
}

/// The loopback interface.
pub(super) struct Loopback {
    state: SpinLock<State>,
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Loopback {
    /// Up, with the addresses that it has on Linux.
    pub(super) fn new() -> Self {
        let addresses = alloc::vec![
            Assigned { ip: Ipv4Addr::LOCALHOST.into(), prefix: 8 },
            Assigned { ip: Ipv6Addr::LOCALHOST.into(), prefix: 128 },
        ];
        let flags = UP | IS_LOOPBACK | RUNNING | LOWER_UP;
        let state = SpinLock::new(LEVEL, State { flags, mtu: LOOPBACK_MTU, addresses });
        Self { state, packets: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Counts what went over it.
    pub(crate) fn count(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// As programs see it.
    pub(super) fn describe(&self) -> Interface {
        let state = self.state.lock();
        Interface {
            index: LOOPBACK,
            name: String::from("lo"),
            flags: state.flags,
            mtu: state.mtu,
            hardware: 772,
            mac: [0; 6],
            addresses: state.addresses.clone(),
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether packets to `ip` come back.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        let state = self.state.lock();
        state.flags & UP != 0 && state.addresses.iter().any(|own| own.covers(ip))
    }

    /// Takes it up or down.
    pub(super) fn set_flags(&self, flags: u32) {
        let mut state = self.state.lock();
        let up = if flags & UP == 0 { 0 } else { UP | RUNNING | LOWER_UP };
        state.flags = IS_LOOPBACK | up | flags & 0x100;
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn set_mtu(&self, mtu: u32) -> Result<(), Errno> {
        if !(68..=0x7fff_ffff).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        self.state.lock().mtu = mtu;
        Ok(())
    }

    /// Adds an address.
    ///
    /// # Errors
    /// `EEXIST`, `ENOBUFS`.
    pub(super) fn add(&self, address: Assigned) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.addresses.contains(&address) {
            return Err(Errno::EEXIST);
        }
        if state.addresses.len() >= MAX_ADDRESSES {
            return Err(Errno::ENOBUFS);
        }
        state.addresses.push(address);
        Ok(())
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub(super) fn remove(&self, address: Assigned) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let found = state
            .addresses
            .iter()
            .position(|own| own.ip == address.ip && own.prefix == address.prefix)
            .ok_or(Errno::EADDRNOTAVAIL)?;
        state.addresses.remove(found);
        Ok(())
    }

    /// The address that packets to `ip` come from.
    fn source(&self, ip: IpAddr) -> Option<IpAddr> {
        let state = self.state.lock();
        let exact = state.addresses.iter().find(|own| own.ip == ip);
        exact.or_else(|| state.addresses.iter().find(|own| own.covers(ip))).map(|own| own.ip)
    }

    /// The routes that its addresses make.
    pub(super) fn routes(&self) -> Vec<Route> {
        let state = self.state.lock();
        if state.flags & UP == 0 {
            return Vec::new();
        }
        let mut routes = Vec::new();
        for own in &state.addresses {
            let route = |to: Assigned, kind: u8, scope: u8| Route {
                to,
                device: LOOPBACK,
                kind,
                table: 255,
                scope,
                source: Some(own.ip),
                metric: 0,
            };
            match own.ip {
                IpAddr::V4(ip) => {
                    let mask = own.mask4().to_bits();
                    let network = Ipv4Addr::from_bits(ip.to_bits() & mask);
                    let last = Ipv4Addr::from_bits(ip.to_bits() | !mask);
                    if own.prefix < 32 {
                        routes.push(route(Assigned { ip: network.into(), prefix: own.prefix }, 2, 254));
                    }
                    routes.push(route(Assigned { ip: own.ip, prefix: 32 }, 2, 254));
                    if own.prefix < 31 {
                        routes.push(route(Assigned { ip: last.into(), prefix: 32 }, 3, 253));
                    }
                }
                IpAddr::V6(_) => {
                    let to = Assigned { ip: own.ip, prefix: 128 };
                    let local = Route { source: None, ..route(to, 2, 0) };
                    routes.push(local);
                    routes.push(Route { table: 254, kind: 1, metric: 256, ..local });
                }
            }
        }
        routes
    }
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The address as connect(2) keeps it: the unspecified one means this host.
    pub(super) to: IpAddr,
    /// Where they come from, unless the socket is bound.
    pub(super) source: IpAddr,
    /// To all, or all of a group.
    pub(super) cast: Cast,
}

/// Who gets a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// One.
    Uni,
    /// Every socket at the port.
    Broad,
    /// Every member.
    Multi,
}

impl Stack {
    /// Finds the way to `ip`.
    ///
    /// # Errors
    /// `ENETUNREACH`: there is no way but loopback; a wire's routes will be looked up here. `EINVAL` for a link-local
    /// address without an interface.
    pub(super) fn route(&self, ip: IpAddr, settings: &Settings) -> Result<Way, Errno> {
        let to = match ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            other => other,
        };
        if to.is_multicast() {
            let is_named = settings.multicast_device == LOOPBACK || settings.device == LOOPBACK;
            let source = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            return if is_named {
                Ok(Way { to, source, cast: Cast::Multi })
            } else {
                Err(Errno::ENETUNREACH)
            };
        }
        let is_link_local = matches!(to, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if is_link_local && settings.device == 0 {
            return Err(Errno::EINVAL);
        }
        if !self.loopback.is_local(to) {
            return Err(Errno::ENETUNREACH);
        }
        let source = self.loopback.source(to).ok_or(Errno::ENETUNREACH)?;
        let broad = self.loopback.routes().iter().any(|route| route.kind == 3 && route.to.ip == to);
        Ok(Way { to, source, cast: if broad { Cast::Broad } else { Cast::Uni } })
    }
}
