//! What is in a network namespace, in the words of [`chitin_proto::network`].
//!
//! Taken are Ethernet interfaces that are up. An address stands for the route to its subnet only if the namespace has that
//! route; where a plug-in has taken it away (`ptp` does), the address is passed on as a single one.

use super::netlink::Netlink;
use super::tap::PREFIX;
use crate::log::{Level, log};
use chitin_proto::network::{Interface, Neighbour, Network, Route, Subnet};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// For the sentry.
    pub(super) network: Network,
    /// Index of each interface, in the same order.
    pub(super) indices: Vec<u32>,
    /// A TAP that is there already.
    pub(super) foreign_tap: Option<String>,
}

/// Reads the namespace of the socket.
pub(super) fn scan(netlink: &mut Netlink) -> io::Result<Scan> {
    let links = links(netlink)?;
    let addresses = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let routes = netlink.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))?;
    let neighbours = netlink.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
    let mut found = Scan::default();
    for link in &links {
        let name = name_of(link);
        if name.starts_with(PREFIX) {
            found.foreign_tap.get_or_insert_with(|| name.to_owned());
        } else if let Some(mut interface) = interface(link, name) {
            interface.device = u32::try_from(found.indices.len()).unwrap_or(u32::MAX);
            found.network.interfaces.push(interface);
            found.indices.push(link.header.index);
        }
    }
    for message in addresses {
        if let RouteNetlinkMessage::NewAddress(message) = message
            && let Some(interface) = found.interface(message.header.index)
        {
            interface.addresses.extend(address(&message));
        }
    }
    for message in routes {
        if let RouteNetlinkMessage::NewRoute(message) = message {
            let routes = route(&message, &found);
            found.network.routes.extend(routes);
        }
    }
    settle_subnets(&mut found.network);
    for message in neighbours {
        if let RouteNetlinkMessage::NewNeighbour(message) = message
            && let Some(interface) = found.interface(message.header.ifindex).map(|found| found.name.clone())
        {
            found.network.neighbours.extend(neighbour(&message, interface));
        }
    }
    Ok(found)
}

/// Index of the interface called `name`.
pub(super) fn index_of(netlink: &mut Netlink, name: &str) -> io::Result<Option<u32>> {
    let links = links(netlink)?;
    Ok(links.iter().find(|link| name_of(link) == name).map(|link| link.header.index))
}

impl Scan {
    fn interface(&mut self, index: u32) -> Option<&mut Interface> {
        let place = self.indices.iter().position(|known| *known == index)?;
        self.network.interfaces.get_mut(place)
    }

    fn name(&self, index: u32) -> Option<&str> {
        let place = self.indices.iter().position(|known| *known == index)?;
        self.network.interfaces.get(place).map(|interface| interface.name.as_str())
    }
}

fn links(netlink: &mut Netlink) -> io::Result<Vec<LinkMessage>> {
    let answers = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let links = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    });
    Ok(links.collect())
}

fn name_of(link: &LinkMessage) -> &str {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    name.unwrap_or_default()
}

/// An interface that a sandbox can have; it has no addresses yet.
fn interface(link: &LinkMessage, name: &str) -> Option<Interface> {
    let flags = link.header.flags;
    if flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let mut mac = None;
    let mut mtu = 1500;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(address) => mac = <[u8; 6]>::try_from(address.as_slice()).ok(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            _ => {}
        }
    }
    let is_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    match mac {
        Some(mac) if is_ethernet && flags.contains(LinkFlags::Up) => {
            Some(Interface { name: name.to_owned(), device: 0, mac, mtu, addresses: Vec::new() })
        }
        _ => {
            // The kernel's own fall-back tunnels are in every namespace, and down.
            if flags.contains(LinkFlags::Up) {
                log(Level::Warning, format!("interface {name} is no Ethernet: the sandbox does not have it"));
            }
            None
        }
    }
}

fn address(message: &AddressMessage) -> Option<Subnet> {
    if message.header.flags.contains(AddressHeaderFlags::Dadfailed) {
        return None;
    }
    // With a peer, IFA_ADDRESS is the peer's.
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => found = Some(*ip),
            AddressAttribute::Address(ip) => {
                found.get_or_insert(*ip);
            }
            _ => {}
        }
    }
    found.map(|ip| Subnet { ip, prefix: message.header.prefix_len })
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// The routes that a message stands for: one, or one for each next hop.
fn route(message: &RouteMessage, known: &Scan) -> Vec<Route> {
    let header = &message.header;
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    if header.kind != RouteType::Unicast || table.unwrap_or_else(|| u32::from(header.table)) != main {
        return Vec::new();
    }
    let any = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        netlink_packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Vec::new(),
    };
    let mut base = Route {
        to: Subnet { ip: any, prefix: header.destination_prefix_length },
        gateway: None,
        interface: String::new(),
        source: None,
        metric: 0,
    };
    let mut hops = vec![(None, None)];
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => base.to.ip = ip(to).unwrap_or(any),
            RouteAttribute::PrefSource(source) => base.source = ip(source),
            RouteAttribute::Priority(metric) => base.metric = *metric,
            RouteAttribute::MultiPath(paths) => {
                hops.clear();
                hops.extend(paths.iter().map(|hop| (Some(hop.interface_index), gateway(&hop.attributes))));
            }
            _ => {}
        }
    }
    if let [(interface, via)] = hops.as_mut_slice()
        && interface.is_none()
    {
        *interface = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        *via = gateway(&message.attributes);
    }
    let known = hops.into_iter().filter_map(|(interface, gateway)| {
        Some(Route { gateway, interface: known.name(interface?)?.to_owned(), ..base.clone() })
    });
    known.collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        _ => None,
    })
}

fn neighbour(message: &NeighbourMessage, interface: String) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => ip = Some(IpAddr::V4(*found)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => ip = Some(IpAddr::V6(*found)),
            NeighbourAttribute::LinkLayerAddress(found) => mac = <[u8; 6]>::try_from(found.as_slice()).ok(),
            _ => {}
        }
    }
    Some(Neighbour { ip: ip?, interface, mac: mac? })
}

/// The subnet of an address.
fn network_of(subnet: Subnet) -> Subnet {
    let prefix = u32::from(subnet.prefix);
    let ip = match subnet.ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    };
    Subnet { ip, ..subnet }
}

/// Takes away the routes that addresses make by themselves, and narrows the addresses that make none.
fn settle_subnets(network: &mut Network) {
    for interface in &mut network.interfaces {
        for address in &mut interface.addresses {
            let subnet = network_of(*address);
            let own = network.routes.iter().position(|route| {
                route.gateway.is_none() && route.to == subnet && route.interface == interface.name
            });
            let whole = if address.ip.is_ipv4() { 32 } else { 128 };
            match own {
                Some(_) if address.prefix == whole => {}
                Some(place) => drop(network.routes.remove(place)),
                None => {
                    // A second address of a subnet has the route of the first.
                    address.prefix = whole;
                }
            }
        }
    }
    let is_link_local =
        |route: &Route| matches!(route.to.ip, IpAddr::V6(ip) if ip.is_multicast()) && route.gateway.is_none();
    network.routes.retain(|route| !is_link_local(route));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (ip, prefix) = text.split_once('/').unwrap();
        Subnet { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    fn network(addresses: &[&str], routes: &[&str]) -> Network {
        let addresses = addresses.iter().map(|text| subnet(text)).collect();
        let route = |text: &&str| {
            let (to, gateway) = text.split_once(' ').map_or((*text, None), |(to, via)| (to, Some(via)));
            Route {
                to: subnet(to),
                gateway: gateway.map(|via| via.parse().unwrap()),
                interface: "eth0".to_owned(),
                source: None,
                metric: 0,
            }
        };
        let eth0 = Interface { name: "eth0".to_owned(), device: 0, mac: [2; 6], mtu: 1500, addresses };
        let mut network = Network {
            interfaces: vec![eth0],
            routes: routes.iter().map(route).collect(),
            neighbours: Vec::new(),
        };
        settle_subnets(&mut network);
        network
    }

    #[test]
    fn subnets() {
        let of = |text| network_of(subnet(text));
        assert_eq!(of("10.1.2.3/24"), subnet("10.1.2.0/24"));
        assert_eq!(of("10.1.2.3/0"), subnet("0.0.0.0/0"));
        assert_eq!(of("10.1.2.3/32"), subnet("10.1.2.3/32"));
        assert_eq!(of("fd00::1:2/112"), subnet("fd00::1:0/112"));
        assert_eq!(of("fd00::2/128"), subnet("fd00::2/128"));
        assert_eq!(of("fd00::2/0"), subnet("::/0"));
    }

    #[test]
    fn a_bridge_keeps_its_subnet() {
        let found = network(
            &["10.1.0.2/24", "10.1.0.3/24", "fe80::1/64"],
            &["0.0.0.0/0 10.1.0.1", "10.1.0.0/24", "fe80::/64", "ff00::/8"],
        );
        assert_eq!(found.routes.len(), 1);
        let prefixes: Vec<u8> = found.interfaces[0].addresses.iter().map(|address| address.prefix).collect();
        assert_eq!(prefixes, [24, 32, 64]);
    }

    #[test]
    fn a_point_to_point_link_has_no_subnet() {
        let routes = ["0.0.0.0/0 10.1.0.1", "10.1.0.0/24 10.1.0.1", "10.1.0.1/32"];
        let found = network(&["10.1.0.2/24"], &routes);
        assert_eq!(found.interfaces[0].addresses, [subnet("10.1.0.2/32")]);
        assert_eq!(found.routes.len(), 3);
    }
}
