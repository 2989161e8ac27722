//! Setting up a namespace as its pod's was found, and changing it (`SetNetwork`, rtnetlink(7)).

use super::Stack;
use super::card::{Card, Port, ndp};
use super::interface::{Assigned, LOOPBACK, Route};
use super::plan::{MAX_ROUTES, Plan};
use crate::abi::Errno;
use crate::platform::{self, NetPort, Offload};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_proto::network::{Network, Subnet};
use core::net::IpAddr;

/// Interfaces beside loopback.
const MAX_INTERFACES: usize = super::card::input::MAX_CARDS;

/// A card of the machine, by its number.
struct Device(usize);

impl Device {
    fn port(&self) -> Option<&dyn NetPort> {
        platform::get().net(self.0)
    }
}

impl NetPort for Device {
    fn mac(&self) -> [u8; 6] {
        self.port().map_or([0; 6], NetPort::mac)
    }

    fn mtu(&self) -> u32 {
        self.port().map_or(0, NetPort::mtu)
    }

    fn can_offload(&self) -> bool {
        self.port().is_some_and(NetPort::can_offload)
    }

    fn try_send(&self, parts: &[&[u8]], offload: Offload) -> Option<()> {
        self.port()?.try_send(parts, offload)
    }

    fn flush(&self) {
        if let Some(port) = self.port() {
            port.flush();
        }
    }

    fn try_receive(&self, frame: &mut Vec<u8>) -> Option<Offload> {
        self.port()?.try_receive(frame)
    }
}

/// Why a network cannot be set up: what, and the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Number.
    pub errno: Errno,
    /// The interface, route or neighbour.
    pub what: String,
}

fn refuse<T>(errno: Errno, what: impl core::fmt::Display) -> Result<T, Refused> {
    Err(Refused { errno, what: alloc::format!("{what}") })
}

fn assigned(subnet: Subnet) -> Option<Assigned> {
    let ip = subnet.ip.to_canonical();
    (subnet.prefix <= Assigned::bits(ip)).then_some(Assigned { ip, prefix: subnet.prefix })
}

fn is_name(name: &str) -> bool {
    let is_word = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    (1..=15).contains(&name.len()) && is_word && !matches!(name, "." | ".." | "lo")
}

impl Stack {
    /// Sets up interfaces over the machine's cards, with their addresses, routes and neighbours, and starts to take frames.
    ///
    /// # Errors
    /// `EBUSY` when that was done before; `ENODEV`, `EINVAL`, `EEXIST` with the name of what is wrong.
    pub fn configure(&self, network: &Network) -> Result<(), Refused> {
        let mut devices = Vec::new();
        let cards = self.set_up(network, |device| {
            let at = usize::try_from(device).ok()?;
            let port = platform::get().net(at)?;
            devices.push((at, port.mtu()));
            Some(Arc::new(Device(at)))
        })?;
        for (card, (device, _)) in cards.iter().zip(devices) {
            if let Err(errno) = card.start(device) {
                return refuse(errno, format_args!("the thread of interface {}", card.name));
            }
        }
        Ok(())
    }

    /// [`Stack::configure`] with ports of the caller's choice, whose frames nobody takes yet.
    pub(super) fn set_up(
        &self,
        network: &Network,
        mut port: impl FnMut(u32) -> Option<Port>,
    ) -> Result<Vec<Arc<Card>>, Refused> {
        if !self.plan().cards.is_empty() {
            return refuse(Errno::EBUSY, "the network is set up already");
        }
        if network.interfaces.len() > MAX_INTERFACES {
            return refuse(Errno::E2BIG, "too many interfaces");
        }
        if crate::time::Timer::prepare().is_err() {
            return refuse(Errno::ENOMEM, "the timers' thread");
        }
        let mut plan = Plan::default();
        for (index, wanted) in (LOOPBACK + 1..).zip(&network.interfaces) {
            let name = &wanted.name;
            if !is_name(name) || plan.cards.iter().any(|card| card.name == *name) {
                return refuse(Errno::EINVAL, format_args!("interface name {name:?}"));
            }
            if wanted.mac[0] & 1 != 0 || plan.cards.iter().any(|card| card.mac == wanted.mac) {
                return refuse(Errno::EINVAL, format_args!("hardware address of {name}"));
            }
            let Some(port) = port(wanted.device) else {
                return refuse(Errno::ENODEV, format_args!("network device {} of {name}", wanted.device));
            };
            if !(68..=65_535).contains(&wanted.mtu) || wanted.mtu > port.mtu() {
                return refuse(Errno::EINVAL, format_args!("MTU {} of {name}", wanted.mtu));
            }
            let mut addresses = Vec::new();
            for subnet in &wanted.addresses {
                match assigned(*subnet) {
                    Some(own) if !own.ip.is_multicast() && !own.ip.is_unspecified() => addresses.push(own),
                    _ => return refuse(Errno::EINVAL, format_args!("address {} of {name}", subnet.ip)),
                }
            }
            let is_local = |own: &Assigned| matches!(own.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            if addresses.iter().any(|own| own.ip.is_ipv6()) && !addresses.iter().any(is_local) {
                addresses.push(Assigned { ip: ndp::from_mac(wanted.mac).into(), prefix: 64 });
            }
            let stack = self.me.clone();
            plan.cards.push(Card::new(stack, index, name.clone(), wanted.mac, wanted.mtu, addresses, port));
        }
        let find = |plan: &Plan, name: &str| plan.cards.iter().find(|card| card.name == name).cloned();
        for wanted in &network.routes {
            let to = assigned(wanted.to).map(|to| to.network());
            let (Some(to), Some(card)) = (to, find(&plan, &wanted.interface)) else {
                return refuse(Errno::EINVAL, format_args!("route to {}", wanted.to.ip));
            };
            let (gateway, source) =
                (wanted.gateway.map(|ip| ip.to_canonical()), wanted.source.map(|ip| ip.to_canonical()));
            let same = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_ipv4() == to.ip.is_ipv4());
            if !same(gateway) || !same(source) || plan.routes.len() >= MAX_ROUTES {
                return refuse(Errno::EINVAL, format_args!("route to {}", wanted.to.ip));
            }
            let is_v4 = to.ip.is_ipv4();
            plan.routes.push(Route {
                to,
                device: card.index,
                kind: 1,
                table: 254,
                scope: if gateway.is_none() && is_v4 { 253 } else { 0 },
                source,
                metric: if wanted.metric == 0 && !is_v4 { 1024 } else { wanted.metric },
                gateway,
                protocol: 3,
            });
        }
        for wanted in &network.neighbours {
            let Some(card) = find(&plan, &wanted.interface) else {
                return refuse(Errno::EINVAL, format_args!("neighbour {}", wanted.ip));
            };
            card.set_neighbour(wanted.ip.to_canonical(), wanted.mac);
        }
        let cards = plan.cards.clone();
        let done = self.change_plan(|current| {
            if current.cards.is_empty() {
                *current = plan;
                return Ok(());
            }
            Err(Errno::EBUSY)
        });
        if done.is_err() {
            return refuse(Errno::EBUSY, "the network is set up already");
        }
        cards.iter().for_each(|card| card.announce());
        Ok(cards)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV`, `ENETUNREACH` for a gateway that is not on the link, `ENOBUFS`.
    pub(super) fn insert_route(&self, route: Route) -> Result<(), Errno> {
        self.change_plan(|plan| {
            let card = plan.card(route.device).ok_or(Errno::ENODEV)?;
            if !card.is_up() {
                return Err(Errno::ENETDOWN);
            }
            let is_near =
                |gateway: IpAddr| plan.find(gateway, route.device).is_some_and(|way| way.gateway.is_none());
            if !route.gateway.is_none_or(is_near) {
                return Err(Errno::ENETUNREACH);
            }
            let is_same = |known: &Route| {
                (known.to, known.metric) == (route.to, route.metric)
                    && (route.to.ip.is_ipv4()
                        || (known.gateway, known.device) == (route.gateway, route.device))
            };
            if plan.routes.iter().any(is_same) {
                return Err(Errno::EEXIST);
            }
            if plan.routes.len() >= MAX_ROUTES {
                return Err(Errno::ENOBUFS);
            }
            plan.routes.push(route);
            Ok(())
        })
    }

    /// Takes a route away that `fits`.
    ///
    /// # Errors
    /// `ESRCH`.
    pub(super) fn delete_route(&self, fits: &dyn Fn(&Route) -> bool) -> Result<(), Errno> {
        self.change_plan(|plan| {
            let at = plan.routes.iter().position(fits).ok_or(Errno::ESRCH)?;
            plan.routes.remove(at);
            Ok(())
        })
    }
}
