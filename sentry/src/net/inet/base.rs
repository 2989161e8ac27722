//! [`Base`]: what all internet sockets have.

use super::endpoint::{Endpoint, Family, Local};
use super::groups::Groups;
use super::settings::{Around, Facts, Settings};
use super::{SETTINGS, Stack};
use crate::abi::Errno;
use crate::net::Address;
use crate::net::address::{AF_INET, AF_INET6};
use crate::net::filter::Slot;
use crate::net::socket::SocketType;
use crate::net::stack::{Maker, NetStack};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use chitin_core::wait::WaitQueue;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};

/// What all internet sockets have.
pub(super) struct Base {
    pub(super) stack: Arc<Stack>,
    pub(super) family: Family,
    pub(super) kind: SocketType,
    pub(super) protocol: i32,
    pub(super) maker: Maker,
    pub(super) ino: AtomicU64,
    pub(super) settings: SpinLock<Settings>,
    pub(super) filter: Slot,
    /// Anything changed: what can be received, room to send, state.
    pub(super) events: Arc<WaitQueue>,
}

impl Base {
    pub(super) fn new(
        stack: &Arc<Stack>,
        family: Family,
        kind: SocketType,
        protocol: i32,
        maker: Maker,
    ) -> Self {
        let settings = SpinLock::new(SETTINGS, Settings::new(&stack.sysctls, kind));
        Self {
            stack: stack.clone(),
            family,
            kind,
            protocol,
            maker,
            ino: AtomicU64::new(0),
            settings,
            filter: Slot::default(),
            events: Arc::new(WaitQueue::new()),
        }
    }

    /// For a connection that a listening socket took: with its options.
    pub(super) fn child(&self) -> Self {
        let settings = self.settings.lock().clone();
        Self {
            stack: self.stack.clone(),
            family: self.family,
            kind: self.kind,
            protocol: self.protocol,
            maker: self.maker.clone(),
            ino: AtomicU64::new(0),
            settings: SpinLock::new(SETTINGS, Settings { groups: Groups::default(), ..settings }),
            filter: self.filter.child(),
            events: Arc::new(WaitQueue::new()),
        }
    }

    /// `AF_*`.
    pub(super) fn family_number(&self) -> u16 {
        if self.family == Family::V4 { AF_INET } else { AF_INET6 }
    }

    /// Inode number of the socket's file; 0 before it has one.
    pub(super) fn ino(&self) -> u64 {
        self.ino.load(Ordering::Relaxed)
    }

    /// What an address that a program gave means for this socket.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EINVAL` for an address that is too short for the family.
    pub(super) fn endpoint(&self, address: &Address) -> Result<Endpoint, Errno> {
        match (self.family, address) {
            (Family::V4, Address::Inet(at @ SocketAddr::V4(_)))
            | (Family::V6, Address::Inet(at @ SocketAddr::V6(_))) => Ok((*at).into()),
            // To a shorter address a socket of AF_INET6 says that it is too short.
            (Family::V6, Address::Inet(SocketAddr::V4(_)) | Address::Other(AF_INET6)) => Err(Errno::EINVAL),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// Where to send or connect to.
    ///
    /// # Errors
    /// As [`Base::endpoint`]; `ENETUNREACH` for IPv4 from a socket that is for IPv6 alone.
    pub(super) fn destination(&self, address: &Address) -> Result<Endpoint, Errno> {
        let mapped =
            matches!(address, Address::Inet(SocketAddr::V6(at)) if at.ip().to_ipv4_mapped().is_some());
        let v4_from_v6 = matches!(address, Address::Inet(SocketAddr::V4(_))) && self.family == Family::V6;
        let at = match address {
            Address::Inet(at) if v4_from_v6 && self.kind != SocketType::Stream => (*at).into(),
            _ => self.endpoint(address)?,
        };
        if (mapped || v4_from_v6) && self.settings.lock().v6_only {
            return Err(Errno::ENETUNREACH);
        }
        Ok(at)
    }

    /// What bind(2) means by an address.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EINVAL`, `EADDRNOTAVAIL`.
    pub(super) fn local(&self, address: &Address) -> Result<Local, Errno> {
        let at = self.endpoint(address)?;
        let settings = self.settings.lock();
        let mapped = self.family == Family::V6 && at.ip.is_ipv4();
        if mapped && settings.v6_only {
            return Err(Errno::EINVAL);
        }
        self.stack.check_local(at.ip, &settings)?;
        Ok(Local { at, dual: settings.dual() })
    }

    /// Any address and the given port.
    pub(super) fn any(&self, port: u16) -> Local {
        Local { at: Endpoint::new(self.family.unspecified(), port), dual: self.settings.lock().dual() }
    }

    /// What this socket says at the option levels that all internet sockets have.
    pub(super) fn facts(&self, listens: bool, is_bound: bool, error: Option<Errno>) -> Facts {
        Facts { family: self.family, kind: self.kind, protocol: self.protocol, listens, is_bound, error }
    }

    /// Sets an option at those levels.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub(super) fn set_option(
        &self,
        level: i32,
        name: i32,
        value: &[u8],
        is_bound: bool,
    ) -> Result<(), Errno> {
        let facts = self.facts(false, is_bound, None);
        // Options that name an interface by index, name or address.
        let names_link =
            matches!((level, name), (1, 25 | 62) | (0, 32 | 35..=47) | (41, 17 | 20 | 21 | 42..=47));
        let links = if names_link { self.stack.interfaces() } else { Vec::new() };
        let around = Around { sysctls: &self.stack.sysctls, maker: &self.maker, links: &links };
        let before = self.settings.lock().groups.len();
        self.settings.lock().set(level, name, value, &facts, &around)?;
        let joined = {
            let settings = self.settings.lock();
            if settings.groups.len() > before { settings.groups.last() } else { None }
        };
        if let Some((group, device)) = joined
            && let Some(card) = self.stack.plan().card(device)
        {
            match group {
                IpAddr::V4(group) => card.report_group4(group),
                IpAddr::V6(group) => card.report_group(group),
            }
            card.flush();
        }
        Ok(())
    }

    /// `IP_MTU` and `IPV6_MTU`: what fits through the path to whom it is connected to.
    ///
    /// # Errors
    /// `ENOTCONN` when it is not connected.
    pub(super) fn path_mtu(&self, remote: Option<Endpoint>) -> Result<Vec<u8>, Errno> {
        let remote = remote.ok_or(Errno::ENOTCONN)?;
        let settings = self.settings.lock().clone();
        let way = self.stack.route(remote, &settings).map_err(|_| Errno::ENOTCONN)?;
        let mtu = match &way.hop {
            Some(hop) => self.stack.paths.get(way.to, hop.card.mtu(), chitin_core::hooks::now_ns()),
            None => self.stack.loopback.describe().mtu,
        };
        // No packet of IPv4 is longer.
        let mtu = if way.to.is_ipv4() { mtu.min(0xffff) } else { mtu };
        Ok(mtu.to_ne_bytes().to_vec())
    }

    /// An address of this socket's family for one that is not known.
    pub(super) fn unspecified(&self) -> Endpoint {
        Endpoint::new(self.family.unspecified(), 0)
    }

    /// Whether it is a member of a group.
    pub(super) fn joined(&self, group: IpAddr) -> bool {
        self.settings.lock().groups.contains(group)
    }

    /// Whether it takes what comes from an address to a group; what is for groups that only others joined, if
    /// `IP_MULTICAST_ALL` says so and `others` have.
    pub(super) fn takes_group(&self, group: IpAddr, from: IpAddr, others: bool) -> bool {
        let settings = self.settings.lock();
        let all = if group.is_ipv4() { settings.multicast_all } else { settings.multicast_all6 };
        settings.groups.hears(group, from).unwrap_or(all && others)
    }
}
