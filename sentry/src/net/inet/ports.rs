//! [`Ports`]: which sockets of one protocol have which ports, and who may share one (socket(7), `SO_REUSEADDR`,
//! `SO_REUSEPORT`; ip(7)).
//!
//! A port's *owners* are the sockets that were bound to it. *Connections* that a listener accepted, and those in
//! `TIME_WAIT`, keep its port too, but are counted only: a busy listener has thousands.

use super::endpoint::{Endpoint, Local};
use alloc::collections::BTreeMap;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::net::IpAddr;
use hashbrown::HashMap;

/// What a socket lets others do with its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sharing {
    /// `SO_REUSEADDR`.
    pub(super) address: bool,
    /// `SO_REUSEPORT`, with the user it is for.
    pub(super) port: Option<u32>,
}

/// Which sockets count for a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Sockets that share addresses may not listen.
    Tcp,
    /// Sockets that share addresses may do anything.
    Udp,
}

/// A socket that is bound to a port.
pub(super) struct Owner<S> {
    pub(super) socket: Weak<S>,
    pub(super) local: Local,
    pub(super) sharing: Sharing,
    /// It takes connections, or datagrams.
    pub(super) listens: bool,
    /// The only sender that it hears, when it is a connected datagram socket.
    pub(super) remote: Option<Endpoint>,
}

/// A port in use.
struct Port<S> {
    owners: Vec<Owner<S>>,
    connections: BTreeMap<(IpAddr, Sharing), usize>,
    /// Chosen by connect(2): it may serve connections to other places too.
    by_connect: bool,
}

impl<S> Default for Port<S> {
    fn default() -> Self {
        Self { owners: Vec::new(), connections: BTreeMap::new(), by_connect: false }
    }
}

/// Ports of one protocol.
pub(super) struct Ports<S> {
    rule: Rule,
    ports: HashMap<u16, Port<S>>,
    /// Where the next search for a free port begins.
    next: u16,
}

impl<S> Ports<S> {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, ports: HashMap::new(), next: 0 }
    }

    fn conflicts(
        &self,
        port: &Port<S>,
        local: &Local,
        sharing: Sharing,
        me: &Weak<S>,
        listens: bool,
    ) -> bool {
        let shares = |other: Sharing, active: bool| {
            let address = sharing.address && other.address && !active;
            address || (sharing.port.is_some() && sharing.port == other.port)
        };
        let active = |owner: &Owner<S>| self.rule == Rule::Tcp && (owner.listens || listens);
        let by_owner = port.owners.iter().any(|owner| {
            !owner.socket.ptr_eq(me)
                && owner.local.overlaps(local)
                && !shares(owner.sharing, active(owner))
                && (owner.listens || !listens)
        });
        let mut others = port.connections.keys();
        by_owner
            || others.any(|(ip, other)| {
                let other_local =
                    Local { at: Endpoint::new(*ip, local.at.port), dual: super::endpoint::Dual::Own };
                !listens && other_local.overlaps(local) && !shares(*other, false)
            })
    }

    /// Binds to the port of `local`. Whether it could.
    pub(super) fn bind(&mut self, local: Local, sharing: Sharing, me: &Weak<S>) -> bool {
        if let Some(port) = self.ports.get(&local.at.port)
            && self.conflicts(port, &local, sharing, me, false)
        {
            return false;
        }
        self.insert(local, sharing, me, false);
        true
    }

    fn insert(&mut self, local: Local, sharing: Sharing, me: &Weak<S>, by_connect: bool) {
        let port = self.ports.entry(local.at.port).or_default();
        port.by_connect =
            by_connect && (port.by_connect || (port.owners.is_empty() && port.connections.is_empty()));
        let listens = self.rule == Rule::Udp;
        port.owners.push(Owner { socket: me.clone(), local, sharing, listens, remote: None });
    }

    /// The ports of a range, from where the last search ended.
    fn candidates(&mut self, range: (u16, u16)) -> impl Iterator<Item = u16> + use<S> {
        let (low, high) = (u32::from(range.0), u32::from(range.1));
        let count = high.saturating_sub(low) + 1;
        // A stride that shares no factor with most range sizes keeps neighbours in time apart in number.
        self.next = self.next.wrapping_add(7919);
        let first = u32::from(self.next) % count;
        (0..count).filter_map(move |step| u16::try_from(low + (first + step) % count).ok())
    }

    /// Binds to a free port of the range, told.
    pub(super) fn bind_any(
        &mut self,
        mut local: Local,
        range: (u16, u16),
        sharing: Sharing,
        me: &Weak<S>,
    ) -> Option<u16> {
        let free = self.candidates(range).find(|number| !self.ports.contains_key(number));
        let number = free.or_else(|| {
            if !sharing.address && sharing.port.is_none() && self.rule == Rule::Tcp {
                return None;
            }
            let all: Vec<u16> = self.candidates(range).collect();
            all.into_iter().find(|number| {
                local.at.port = *number;
                self.ports
                    .get(number)
                    .is_none_or(|port| !self.conflicts(port, &local, Sharing::default(), me, false))
            })
        })?;
        local.at.port = number;
        self.insert(local, sharing, me, false);
        Some(number)
    }

    /// Binds to a port of the range for a connection that `is_free` says nobody has.
    pub(super) fn bind_for_connection(
        &mut self,
        mut local: Local,
        range: (u16, u16),
        sharing: Sharing,
        me: &Weak<S>,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let all = self.candidates(range);
        for number in all {
            let usable = self.ports.get(&number).is_none_or(|port| port.by_connect && is_free(number));
            if usable {
                local.at.port = number;
                self.insert(local, sharing, me, true);
                return Some(number);
            }
        }
        None
    }

    /// The socket listens now. Whether nobody else does there.
    pub(super) fn listen(&mut self, number: u16, me: &Weak<S>) -> bool {
        let Some(port) = self.ports.get(&number) else { return false };
        let Some(own) = port.owners.iter().find(|owner| owner.socket.ptr_eq(me)) else { return false };
        if self.conflicts(port, &own.local, own.sharing, me, true) {
            return false;
        }
        self.change(number, me, |owner| owner.listens = true);
        true
    }

    /// Changes what is known of an owner.
    pub(super) fn change(&mut self, number: u16, me: &Weak<S>, change: impl FnOnce(&mut Owner<S>)) {
        let port = self.ports.get_mut(&number);
        let owner = port.and_then(|port| port.owners.iter_mut().find(|owner| owner.socket.ptr_eq(me)));
        if let Some(owner) = owner {
            change(owner);
        }
    }

    /// The socket gives up its port.
    pub(super) fn release(&mut self, number: u16, me: &Weak<S>) {
        if let Some(port) = self.ports.get_mut(&number) {
            port.owners.retain(|owner| !owner.socket.ptr_eq(me));
            if port.owners.is_empty() && port.connections.is_empty() {
                self.ports.remove(&number);
            }
        }
    }

    /// A connection without an owner of its own keeps the port.
    pub(super) fn add_connection(&mut self, at: Endpoint, sharing: Sharing) {
        *self.ports.entry(at.port).or_default().connections.entry((at.ip, sharing)).or_default() += 1;
    }

    /// Such a connection ended.
    pub(super) fn remove_connection(&mut self, at: Endpoint, sharing: Sharing) {
        let Some(port) = self.ports.get_mut(&at.port) else { return };
        if let Some(count) = port.connections.get_mut(&(at.ip, sharing)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                port.connections.remove(&(at.ip, sharing));
            }
        }
        if port.owners.is_empty() && port.connections.is_empty() {
            self.ports.remove(&at.port);
        }
    }

    /// The socket that takes what `from` sends to `to`. Of sockets that share the port, `hash` chooses one.
    pub(super) fn find(&self, to: Endpoint, from: Endpoint, hash: usize) -> Option<Weak<S>> {
        let owners = || {
            self.ports.get(&to.port).into_iter().flat_map(|port| &port.owners).filter(|owner| owner.listens)
        };
        let score = |owner: &Owner<S>| {
            let address = owner.local.fits(to.ip)?;
            match owner.remote {
                None => Some(address),
                Some(remote) if remote.ip == from.ip && remote.port == from.port => Some(address + 4),
                Some(_) => None,
            }
        };
        let best = owners().filter_map(score).max()?;
        let equals = || owners().filter(|owner| score(owner) == Some(best));
        // The latest wins among those that share an address; those that share a port take turns.
        let latest = equals().next_back()?;
        let group = || equals().filter(|owner| owner.sharing.port.is_some());
        let count = if latest.sharing.port.is_some() && best < 4 { group().count() } else { 0 };
        let chosen = if count > 1 { group().nth(hash % count) } else { None };
        Some(chosen.unwrap_or(latest).socket.clone())
    }

    /// Every socket that takes what `from` sends to the group or broadcast address `to`.
    pub(super) fn find_all(&self, to: Endpoint, from: Endpoint) -> Vec<Weak<S>> {
        let owners = self.ports.get(&to.port).into_iter().flat_map(|port| &port.owners);
        let takes = |owner: &&Owner<S>| {
            owner.local.fits(to.ip).is_some()
                && owner.remote.is_none_or(|remote| remote.ip == from.ip && remote.port == from.port)
        };
        owners.filter(takes).map(|owner| owner.socket.clone()).collect()
    }

    /// Every owner.
    pub(super) fn owners(&self) -> Vec<Weak<S>> {
        self.ports.values().flat_map(|port| &port.owners).map(|owner| owner.socket.clone()).collect()
    }
}
