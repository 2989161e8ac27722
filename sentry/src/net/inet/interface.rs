//! Interfaces, their addresses, routes and neighbours, as a namespace has them.

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
pub(super) const LEVEL: Level = Level(148);
/// Level of small tables of the stack that are used below all others but the cards'.
pub(super) const NET_INNER: Level = Level(149);
/// Addresses that an interface may have.
pub(super) const MAX_ADDRESSES: usize = 256;

/// `IFF_UP`.
pub const UP: u32 = 1;
/// `IFF_LOOPBACK`.
const IS_LOOPBACK: u32 = 8;
/// `IFF_RUNNING`, `IFF_LOWER_UP`.
pub(super) const RUNNING: u32 = 0x40;
pub(super) const LOWER_UP: u32 = 0x1_0000;

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

    /// The network mask, of an IPv6 address.
    fn mask6(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0)
    }

    /// Whether an address is in its network.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = self.mask4().to_bits();
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = self.mask6();
                own.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether an address of loopback stands for `ip`: one of IPv4 does for its whole network.
    fn is_host(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.covers(ip) } else { self.ip == ip }
    }

    /// Its network: the address with what is not of the network's part cleared.
    pub(super) fn network(&self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & self.mask4().to_bits()).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & self.mask6()).into(),
        };
        Self { ip, prefix: self.prefix }
    }

    /// The address of all hosts of its network, if there is one.
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.ip {
            IpAddr::V4(ip) if self.prefix < 31 => {
                Some(Ipv4Addr::from_bits(ip.to_bits() | !self.mask4().to_bits()))
            }
            _ => None,
        }
    }

    /// Bits of an address of its family.
    pub(super) fn bits(ip: IpAddr) -> u8 {
        if ip.is_ipv4() { 32 } else { 128 }
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
    /// Packets received; on loopback both ways are the same.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Packets sent.
    pub out_packets: u64,
    /// Bytes sent.
    pub out_bytes: u64,
    /// Packets received that were thrown away.
    pub dropped: u64,
    /// Packets to send that were thrown away.
    pub out_dropped: u64,
    /// Packets received that were for a group or for all.
    pub multicast: u64,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Next hop, when it is not on the link.
    pub gateway: Option<IpAddr>,
    /// `RTPROT_*`: 2 made by the kernel, 3 at boot, 4 by hand.
    pub protocol: u8,
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
    /// `NUD_*`: 1 incomplete, 2 reachable, 4 stale, 16 probing, 128 permanent.
    pub state: u16,
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
        let loopback = Self::down();
        loopback.set_flags(UP);
        loopback
    }

    /// Down, without addresses.
    pub(super) fn down() -> Self {
        let state = State { flags: IS_LOOPBACK, mtu: LOOPBACK_MTU, addresses: Vec::new() };
        let state = SpinLock::new(LEVEL, state);
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
        let (packets, bytes) = (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        Interface {
            index: LOOPBACK,
            name: String::from("lo"),
            flags: state.flags,
            mtu: state.mtu,
            hardware: 772,
            mac: [0; 6],
            addresses: state.addresses.clone(),
            packets,
            bytes,
            out_packets: packets,
            out_bytes: bytes,
            dropped: 0,
            out_dropped: 0,
            multicast: 0,
        }
    }

    /// Whether packets to `ip` come back.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        let state = self.state.lock();
        state.flags & UP != 0 && state.addresses.iter().any(|own| own.is_host(ip))
    }

    /// Takes it up or down. It gets the addresses that it has on Linux when it comes up, and loses those of IPv6 when it
    /// goes down.
    pub(super) fn set_flags(&self, flags: u32) {
        let mut state = self.state.lock();
        match (state.flags & UP != 0, flags & UP != 0) {
            (false, true) => {
                if !state.addresses.iter().any(|own| own.ip.is_ipv4()) {
                    state.addresses.insert(0, Assigned { ip: Ipv4Addr::LOCALHOST.into(), prefix: 8 });
                }
                let last = Assigned { ip: Ipv6Addr::LOCALHOST.into(), prefix: 128 };
                if !state.addresses.contains(&last) {
                    state.addresses.push(last);
                }
            }
            (true, false) => state.addresses.retain(|own| own.ip.is_ipv4()),
            _ => {}
        }
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
    pub(super) fn source(&self, ip: IpAddr) -> Option<IpAddr> {
        let state = self.state.lock();
        let exact = state.addresses.iter().find(|own| own.ip == ip);
        exact.or_else(|| state.addresses.iter().find(|own| own.is_host(ip))).map(|own| own.ip)
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
                gateway: None,
                protocol: 2,
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
