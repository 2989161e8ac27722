//! [`Plan`]: the cards of a namespace and the routes over them, replaced as a whole when it changes, and [`Way`]: where
//! packets to an address go (ip-route(8); source addresses after RFC 6724 as far as it matters here).

use super::Stack;
use super::card::Card;
use super::endpoint::Endpoint;
use super::interface::{Assigned, Cast, LOOPBACK, Route};
use super::settings::Settings;
use crate::abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routes that can be added.
pub(super) const MAX_ROUTES: usize = 1024;

/// `RT_TABLE_MAIN`, `RT_TABLE_LOCAL`.
const MAIN: u8 = 254;
const LOCAL: u8 = 255;
/// `RTPROT_KERNEL`.
const KERNEL: u8 = 2;

/// Cards, and the routes that do not come with addresses.
#[derive(Clone, Default)]
pub(super) struct Plan {
    pub(super) cards: Vec<Arc<Card>>,
    pub(super) routes: Vec<Route>,
}

/// Where packets to an address go.
#[derive(Clone)]
pub(super) struct Way {
    /// The address as connect(2) keeps it: the unspecified one means this host.
    pub(super) to: IpAddr,
    /// Where they come from, unless the socket is bound.
    pub(super) source: IpAddr,
    /// To all, or all of a group.
    pub(super) cast: Cast,
    /// The card and the neighbour that they go to; `None` when they stay here.
    pub(super) hop: Option<Hop>,
}

/// The next stop of a packet.
#[derive(Clone)]
pub(super) struct Hop {
    pub(super) card: Arc<Card>,
    pub(super) next: IpAddr,
    /// Whether all hosts of the link are meant.
    pub(super) cast: Cast,
}

impl Hop {
    /// The scope of an address that this hop leads to: its interface, for link-local ones.
    pub(super) fn scope(&self, ip: IpAddr) -> u32 {
        if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) { self.card.index } else { 0 }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Bits that two addresses have in common from the start.
fn common_bits(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// The address that a card sends from to `ip` by way of `next`.
fn source_on(card: &Card, ip: IpAddr, next: IpAddr) -> Option<IpAddr> {
    card.with_addresses(|own| {
        let family = || own.iter().filter(|own| own.ip.is_ipv4() == ip.is_ipv4());
        if ip.is_ipv4() {
            let near = family().find(|own| own.covers(next)).or_else(|| family().next());
            return near.map(|own| own.ip);
        }
        let wants_local =
            is_link_local(ip) || matches!(ip, IpAddr::V6(ip) if matches!(ip.octets(), [0xff, 2, ..]));
        let fitting = || family().filter(|own| is_link_local(own.ip) == wants_local);
        let best = fitting().max_by_key(|own| common_bits(own.ip, ip)).or_else(|| family().next());
        best.map(|own| own.ip)
    })
}

impl Plan {
    /// The card of an index.
    pub(super) fn card(&self, index: u32) -> Option<&Arc<Card>> {
        self.cards.iter().find(|card| card.index == index)
    }

    /// Whether an address is one of a card that is up.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.cards.iter().any(|card| card.owns(ip) && card.is_up())
    }

    /// The routes that a card's addresses make, then those that were added.
    pub(super) fn all_routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for card in self.cards.iter().filter(|card| card.is_up()) {
            let device = card.index;
            card.with_addresses(|own| own.iter().for_each(|own| made_by(own, device, &mut routes)));
            let groups = Assigned { ip: Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), prefix: 8 };
            if card.with_addresses(|own| own.iter().any(|own| own.ip.is_ipv6())) {
                routes.push(Route {
                    to: groups,
                    device,
                    kind: 5,
                    table: LOCAL,
                    scope: 0,
                    source: None,
                    metric: 256,
                    gateway: None,
                    protocol: KERNEL,
                });
            }
        }
        let is_up = |device: u32| self.card(device).is_some_and(|card| card.is_up());
        routes.extend(self.routes.iter().filter(|route| is_up(route.device)).copied());
        routes
    }

    /// The best unicast route to `ip`, by the given interface unless it is 0.
    pub(super) fn find(&self, ip: IpAddr, device: u32) -> Option<Route> {
        let fits = |route: &Route| {
            route.table == MAIN && (device == 0 || route.device == device) && route.to.covers(ip)
        };
        let better = |best: Option<Route>, route: Route| match best {
            Some(best)
                if (best.to.prefix, u32::MAX - best.metric) >= (route.to.prefix, u32::MAX - route.metric) =>
            {
                Some(best)
            }
            _ => Some(route),
        };
        let mut best = None;
        for card in self.cards.iter().filter(|card| card.is_up()) {
            card.with_addresses(|own| {
                for own in own {
                    let route = connected(own, card.index);
                    if fits(&route) {
                        best = better(best, route);
                    }
                }
            });
        }
        for route in self.routes.iter().filter(|route| fits(route)) {
            if self.card(route.device).is_some_and(|card| card.is_up()) {
                best = better(best, *route);
            }
        }
        best
    }

    /// The hop and the source of packets to `ip`.
    fn hop(&self, ip: IpAddr, device: u32) -> Option<(Hop, IpAddr)> {
        let route = self.find(ip, device);
        if let Some(route) = route {
            let card = self.card(route.device)?.clone();
            let next = route.gateway.unwrap_or(ip);
            let source = route.source.or_else(|| source_on(&card, ip, next))?;
            return Some((Hop { card, next, cast: Cast::Uni }, source));
        }
        // An interface that was named needs no route, as on Linux.
        let card = self.card(device).filter(|card| card.is_up())?.clone();
        let source = source_on(&card, ip, ip)?;
        Some((Hop { card, next: ip, cast: Cast::Uni }, source))
    }
}

/// The route to the network of an address.
fn connected(own: &Assigned, device: u32) -> Route {
    let is_v4 = own.ip.is_ipv4();
    Route {
        to: own.network(),
        device,
        kind: 1,
        table: MAIN,
        scope: if is_v4 { 253 } else { 0 },
        source: if is_v4 { Some(own.ip) } else { None },
        metric: if is_v4 { 0 } else { 256 },
        gateway: None,
        protocol: KERNEL,
    }
}

fn made_by(own: &Assigned, device: u32, routes: &mut Vec<Route>) {
    let network = connected(own, device);
    let host = |ip: IpAddr, kind: u8, scope: u8| Route {
        to: Assigned { ip, prefix: Assigned::bits(ip) },
        table: LOCAL,
        kind,
        scope,
        metric: 0,
        ..network
    };
    if own.prefix < Assigned::bits(own.ip) {
        routes.push(network);
    }
    routes.push(host(own.ip, 2, if own.ip.is_ipv4() { 254 } else { 0 }));
    if let Some(all) = own.broadcast() {
        routes.push(host(all.into(), 3, 253));
    }
}

impl Stack {
    /// The cards and routes as they are now.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.lock().clone()
    }

    /// Replaces the cards and routes.
    ///
    /// # Errors
    /// Those of `change`, and nothing changes then.
    pub(super) fn change_plan(
        &self,
        change: impl FnOnce(&mut Plan) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut plan = self.plan.lock();
        let mut new = Plan::clone(&plan);
        let result = change(&mut new);
        let old = result.is_ok().then(|| core::mem::replace(&mut *plan, Arc::new(new)));
        drop(plan);
        drop(old);
        self.plan_generation.fetch_add(1, core::sync::atomic::Ordering::Release);
        result
    }

    /// Whether packets to `ip` come back.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        self.loopback.is_local(ip) || self.plan().owns(ip)
    }

    /// Finds the way to `to`.
    ///
    /// # Errors
    /// `ENETUNREACH`: there is no route. `EINVAL` for a link-local address without an interface.
    pub(super) fn route(&self, to: Endpoint, settings: &Settings) -> Result<Way, Errno> {
        let device = if to.scope != 0 { to.scope } else { settings.device };
        let to = match to.ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            other => other,
        };
        let plan = self.plan();
        if to.is_multicast() {
            return self.route_group(&plan, to, device, settings);
        }
        if is_link_local(to) && device == 0 && !plan.owns(to) {
            return Err(Errno::EINVAL);
        }
        if self.loopback.is_local(to) {
            let source = self.loopback.source(to).ok_or(Errno::ENETUNREACH)?;
            let broad = self.loopback.routes().iter().any(|route| route.kind == 3 && route.to.ip == to);
            return Ok(Way { to, source, cast: if broad { Cast::Broad } else { Cast::Uni }, hop: None });
        }
        if plan.owns(to) {
            return Ok(Way { to, source: to, cast: Cast::Uni, hop: None });
        }
        let (hop, source) = plan.hop(to, device).ok_or(Errno::ENETUNREACH)?;
        let cast = match to {
            IpAddr::V4(ip) if hop.card.is_broadcast(ip) => Cast::Broad,
            _ => Cast::Uni,
        };
        let next = if cast == Cast::Broad { to } else { hop.next };
        Ok(Way { to, source, cast, hop: Some(Hop { next, cast, ..hop }) })
    }

    fn route_group(&self, plan: &Plan, to: IpAddr, device: u32, settings: &Settings) -> Result<Way, Errno> {
        let device = if settings.multicast_device != 0 { settings.multicast_device } else { device };
        let loopback = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        if device == LOOPBACK {
            return Ok(Way { to, source: loopback, cast: Cast::Multi, hop: None });
        }
        let hop = plan.hop(to, device).or_else(|| {
            // Groups of IPv6 have a route over every interface.
            let card = plan.cards.iter().find(|card| card.is_up()).filter(|_| to.is_ipv6())?;
            Some((Hop { card: card.clone(), next: to, cast: Cast::Multi }, source_on(card, to, to)?))
        });
        let (hop, source) = hop.ok_or(Errno::ENETUNREACH)?;
        Ok(Way { to, source, cast: Cast::Multi, hop: Some(Hop { next: to, cast: Cast::Multi, ..hop }) })
    }
}
