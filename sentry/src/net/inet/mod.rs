//! The internet protocols (ip(7), ipv6(7), tcp(7), udp(7), raw(7)), within the sandbox: [`Stack`], a network namespace.
//!
//! What goes to an address of this host never becomes a packet: a TCP connection is two [`tcp`] sockets that share a flow in
//! each direction, a datagram is queued at the socket it is for. Everything else goes by a [`card`], in the packets of
//! [`ip`]; [`plan`] has the cards and routes, [`configure`] sets them up.
//!
//! Locks: tables of the stack (138, 139), then one socket's state (142), one flow, inbox or connection (143), one socket's
//! settings (144), [`sysctl`] (145), [`plan`] (147), [`interface`] (148), small tables (149), [`card`] (150-153). Never two
//! of a kind; copies from and to user memory happen under a flow's lock alone, a part
//! at a time, and wake-ups after all of them are released.

mod base;
mod buffer;
pub mod card;
mod checksum;
pub mod configure;
mod datagram;
pub mod diag;
pub mod endpoint;
mod frame;
mod groups;
pub mod interface;
mod ioctl;
mod ip;
#[cfg(test)]
mod lab;
mod link;
mod packet;
mod plan;
mod ports;
mod raw;
mod report;
mod settings;
pub mod sysctl;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use super::address::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
use super::netlink::{self, Netlink};
use super::socket::{Socket, SocketType};
use super::stack::{Maker, NetStack, Privilege};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::Base;
use chitin_core::lock::{Level, SpinLock};
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use endpoint::Family;
use interface::{Assigned, Interface, Loopback, Neighbour, Route};
use raw::Raw;
use sysctl::Sysctls;
use tcp::Tcp;
use udp::Udp;

/// Level of the locks around tables of sockets.
const TABLE: Level = Level(138);
/// Level of the locks around tables that are used below those.
const INNER_TABLE: Level = Level(139);
/// Level of the lock of a socket's state.
const STATE: Level = Level(142);
/// Level of the lock of what waits in a socket.
const QUEUE: Level = Level(143);
/// Level of the lock of a socket's options.
const SETTINGS: Level = Level(144);

/// Level of the lock of the cards and routes.
const PLAN: Level = Level(147);

const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;
const UDP_LITE: i32 = 136;

/// A network namespace.
pub struct Stack {
    me: Weak<Self>,
    sysctls: Sysctls,
    loopback: Loopback,
    plan: SpinLock<Arc<plan::Plan>>,
    /// Changes with the plan.
    plan_generation: AtomicU64,
    paths: ip::path::PathMtus,
    reassembly: ip::reassembly::Reassembly,
    limiter: ip::icmp::Limiter,
    /// Number of the next packet.
    packet_id: AtomicU32,
    tcp: tcp::Table,
    udp: SpinLock<ports::Ports<Udp>>,
    udp_lite: SpinLock<ports::Ports<Udp>>,
    /// Raw and ping sockets.
    raw: SpinLock<Vec<Weak<Raw>>>,
    raw_count: AtomicUsize,
    packets: link::Packets,
    /// Sockets that want to see what stays in this host: raw and packet sockets.
    observers: AtomicUsize,
    /// Last identifier that was given to a ping socket.
    ping: AtomicU32,
    netlink: Arc<netlink::Ports>,
    counts: report::Counts,
}

impl Stack {
    /// A namespace with a loopback interface that is up.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with(Loopback::new())
    }

    /// A namespace with a loopback interface that is down, without an address.
    #[must_use]
    pub fn cut_off() -> Arc<Self> {
        Self::with(Loopback::down())
    }

    fn with(loopback: Loopback) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            sysctls: Sysctls::default(),
            loopback,
            plan: SpinLock::new(PLAN, Arc::default()),
            plan_generation: AtomicU64::new(0),
            paths: ip::path::PathMtus::new(),
            reassembly: ip::reassembly::Reassembly::new(),
            limiter: ip::icmp::Limiter::new(),
            packet_id: AtomicU32::new(1),
            tcp: tcp::Table::new(),
            udp: SpinLock::new(TABLE, ports::Ports::new(ports::Rule::Udp)),
            udp_lite: SpinLock::new(TABLE, ports::Ports::new(ports::Rule::Udp)),
            raw: SpinLock::new(TABLE, Vec::new()),
            raw_count: AtomicUsize::new(0),
            packets: link::Packets::default(),
            observers: AtomicUsize::new(0),
            ping: AtomicU32::new(0),
            netlink: Arc::new(netlink::Ports::default()),
            counts: report::Counts::default(),
        })
    }

    /// Whether a socket may be bound to `ip`.
    fn check_local(&self, ip: IpAddr, settings: &settings::Settings) -> Result<(), Errno> {
        let broadcast = matches!(ip, IpAddr::V4(ip) if self.is_broadcast(ip));
        let anyhow = settings.free_bind
            || settings.transparent
            || (self.sysctls.number("ipv4/ip_nonlocal_bind") != 0 && ip.is_ipv4());
        let group = ip.is_multicast() || broadcast;
        // While nothing has an address, Linux has no table to look in, and takes every one.
        let is_empty = || ip.is_ipv4() && self.routes().is_empty();
        if ip.is_unspecified() || anyhow || group || self.is_local(ip) || is_empty() {
            Ok(())
        } else {
            Err(Errno::EADDRNOTAVAIL)
        }
    }

    /// Whether a group may make ping sockets (`ping_group_range`).
    fn may_ping(&self, group: u32) -> bool {
        let (low, high) = self.sysctls.pair("ipv4/ping_group_range");
        (low..=high).contains(&i64::from(group))
    }

    fn internet_socket(
        &self,
        family: Family,
        kind: SocketType,
        protocol: i32,
        maker: Maker,
    ) -> Result<Arc<dyn Socket>, Errno> {
        let icmp = if family == Family::V4 { ICMP } else { ICMPV6 };
        if !(0..=262).contains(&protocol) {
            return Err(Errno::EINVAL);
        }
        let me = self.me.upgrade().ok_or(Errno::ENETDOWN)?;
        let base = |protocol| Base::new(&me, family, kind, protocol, maker.clone());
        match kind {
            SocketType::Stream if matches!(protocol, 0 | TCP) => Ok(Tcp::new(base(TCP))),
            SocketType::Datagram if matches!(protocol, 0 | UDP) => Ok(Udp::new(base(UDP))),
            SocketType::Datagram if protocol == UDP_LITE => Ok(Udp::new(base(UDP_LITE))),
            SocketType::Datagram if protocol == icmp => {
                if !self.may_ping(maker.creds.gid) {
                    return Err(Errno::EACCES);
                }
                Ok(Raw::new(base(protocol)))
            }
            SocketType::Raw if protocol == 0 => Err(Errno::EPROTONOSUPPORT),
            SocketType::Raw if maker.raw == Privilege::Denied => Err(Errno::EPERM),
            SocketType::Raw if protocol > 255 => Err(Errno::EINVAL),
            SocketType::Raw => Ok(Raw::new(base(protocol))),
            SocketType::SeqPacket => Err(Errno::ESOCKTNOSUPPORT),
            SocketType::Stream | SocketType::Datagram => Err(Errno::EPROTONOSUPPORT),
        }
    }

    /// Makes a change, and tells those who listen of it.
    fn announcing<T>(&self, change: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let before = self.netlink.is_heard().then(|| netlink::Snapshot::of(self));
        let result = change()?;
        if let Some(before) = before {
            self.netlink.announce(&before, self);
        }
        Ok(result)
    }

    fn set_link(&self, device: u32, flags: Option<u32>, mtu: Option<u32>) -> Result<(), Errno> {
        if device != interface::LOOPBACK {
            let plan = self.plan();
            let card = plan.card(device).ok_or(Errno::ENODEV)?;
            mtu.map_or(Ok(()), |mtu| card.set_mtu(mtu))?;
            flags.into_iter().for_each(|flags| card.set_flags(flags));
            return Ok(());
        }
        if let Some(mtu) = mtu {
            self.loopback.set_mtu(mtu)?;
        }
        if let Some(flags) = flags {
            self.loopback.set_flags(flags);
        }
        Ok(())
    }
}

impl NetStack for Stack {
    fn socket(
        &self,
        family: u16,
        kind: SocketType,
        protocol: i32,
        maker: Maker,
    ) -> Result<Arc<dyn Socket>, Errno> {
        match family {
            AF_INET => self.internet_socket(Family::V4, kind, protocol, maker),
            AF_INET6 => self.internet_socket(Family::V6, kind, protocol, maker),
            AF_PACKET => {
                if maker.raw == Privilege::Denied {
                    return Err(Errno::EPERM);
                }
                if !matches!(kind, SocketType::Raw | SocketType::Datagram) {
                    return Err(Errno::ESOCKTNOSUPPORT);
                }
                let me = self.me.upgrade().ok_or(Errno::ENETDOWN)?;
                let wanted = protocol.to_le_bytes();
                let base = Base::new(&me, Family::V4, kind, 0, maker);
                Ok(link::LinkSocket::new(base, u16::from_be_bytes([wanted[0], wanted[1]])))
            }
            AF_NETLINK => {
                let me = self.me.upgrade().ok_or(Errno::ENETDOWN)?;
                Netlink::open(me, self.netlink.clone(), kind, protocol, maker)
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        let mut all = alloc::vec![self.loopback.describe()];
        all.extend(self.plan().cards.iter().map(|card| card.describe()));
        all
    }

    fn routes(&self) -> Vec<Route> {
        let mut all = self.loopback.routes();
        all.extend(self.plan().all_routes());
        all
    }

    fn route_to(&self, ip: IpAddr) -> Option<Route> {
        let settings = settings::Settings::new(&self.sysctls, SocketType::Datagram);
        let way = self.route(endpoint::Endpoint::new(ip, 0), &settings).ok()?;
        let Some(hop) = way.hop else {
            let routes = self.loopback.routes();
            let found = routes.iter().find(|route| route.source == Some(way.source));
            let found = found.or(routes.iter().find(|route| route.to.ip == way.to)).copied();
            return found.or_else(|| {
                let own = self.routes().into_iter().find(|route| route.kind == 2 && route.to.ip == ip)?;
                Some(Route { device: interface::LOOPBACK, source: Some(ip), ..own })
            });
        };
        let found = self.plan().find(ip, hop.card.index)?;
        Some(Route { device: hop.card.index, source: Some(way.source), ..found })
    }

    fn add_address(&self, device: u32, address: Assigned) -> Result<(), Errno> {
        self.announcing(|| {
            if device == interface::LOOPBACK {
                return self.loopback.add(address);
            }
            self.plan().card(device).ok_or(Errno::ENODEV)?.add(address)
        })
    }

    fn remove_address(&self, device: u32, address: Assigned) -> Result<(), Errno> {
        self.announcing(|| {
            if device == interface::LOOPBACK {
                return self.loopback.remove(address);
            }
            self.plan().card(device).ok_or(Errno::ENODEV)?.remove(address)
        })
    }

    fn change_link(&self, device: u32, flags: Option<u32>, mtu: Option<u32>) -> Result<(), Errno> {
        self.announcing(|| self.set_link(device, flags, mtu))
    }

    fn add_route(&self, route: Route) -> Result<(), Errno> {
        self.announcing(|| self.insert_route(route))
    }

    fn remove_route(&self, fits: &dyn Fn(&Route) -> bool) -> Result<(), Errno> {
        self.announcing(|| self.delete_route(fits))
    }

    fn sockets(&self, protocol: u8) -> Vec<diag::Entry> {
        self.entries(protocol)
    }

    fn neighbours(&self) -> Vec<Neighbour> {
        self.plan().cards.iter().flat_map(|card| card.list_neighbours()).collect()
    }

    fn is_privileged(&self, port: u16) -> bool {
        port != 0 && i64::from(port) < self.sysctls.number("ipv4/ip_unprivileged_port_start")
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        self.sysctls.get(name)
    }

    fn set_sysctl(&self, name: &str, value: &str) -> Result<(), Errno> {
        self.sysctls.set(name, value)
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, admin: Privilege, command: u32, argument: u64) -> Result<usize, Errno> {
        self.interface_ioctl(cx, admin, command, argument)
    }

    fn report(&self, name: &str) -> Option<String> {
        self.report_file(name)
    }
}
