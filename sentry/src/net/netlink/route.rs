//! rtnetlink(7): what `ip`, getifaddrs(3) and getaddrinfo(3) ask for.

use super::message::{Builder, ERROR, Header, MULTI, attributes};
use crate::abi::Errno;
use crate::net::inet::interface::{Assigned, Interface, LOOPBACK, Neighbour, Route};
use crate::net::stack::NetStack;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const NEW_LINK: u16 = 16;
pub(super) const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
pub(super) const NEW_ADDR: u16 = 20;
pub(super) const DEL_ADDR: u16 = 21;
const GET_ADDR: u16 = 22;
pub(super) const NEW_ROUTE: u16 = 24;
pub(super) const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const GET_NEIGHBOUR: u16 = 30;
const NEW_NEIGHBOUR: u16 = 28;
const GET_RULE: u16 = 34;
const NEW_RULE: u16 = 32;

/// `NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x300;

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 2 } else { 10 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

pub(super) fn link(link: &Interface, flags: u16, request: &Header, port: u32) -> Vec<u8> {
    let mut message = Builder::new(NEW_LINK, flags, request, port);
    // struct ifinfomsg: family, pad, hardware type, index, flags, change mask.
    message.put(&[0, 0]).put(&link.hardware.to_ne_bytes()).put(&link.index.to_ne_bytes());
    message.put(&link.flags.to_ne_bytes()).put(&[0; 4]);
    message.attribute(3, &text(&link.name)).attribute(13, &1000u32.to_ne_bytes());
    // Operational state: down, unknown, as loopback has it, or up; and link mode.
    let is_up = link.flags & 1 != 0;
    let operational = match (is_up, link.index) {
        (false, _) => 2,
        (true, LOOPBACK) => 0,
        (true, _) => 6,
    };
    message.attribute(16, &[operational]).attribute(17, &[0]).attribute(4, &link.mtu.to_ne_bytes());
    let discipline = match (is_up, link.index) {
        (false, _) => "noop",
        (true, LOOPBACK) => "noqueue",
        (true, _) => "pfifo_fast",
    };
    message.attribute(50, &0u32.to_ne_bytes()).attribute(51, &0u32.to_ne_bytes());
    message.attribute(27, &0u32.to_ne_bytes()).attribute(30, &0u32.to_ne_bytes());
    message.attribute(31, &1u32.to_ne_bytes()).attribute(32, &1u32.to_ne_bytes());
    message.attribute(33, &[1]).attribute(6, &text(discipline));
    message.attribute(35, &0u32.to_ne_bytes()).attribute(39, &[0]);
    let all = if link.index == LOOPBACK { [0; 6] } else { [0xff; 6] };
    message.attribute(1, &link.mac).attribute(2, &all);
    // Packets, bytes, errors, drops, each both ways; packets for groups.
    let figures = [
        link.packets,
        link.out_packets,
        link.bytes,
        link.out_bytes,
        0,
        0,
        link.dropped,
        link.out_dropped,
        link.multicast,
    ];
    let wide: Vec<u8> = figures.iter().copied().chain([0; 15]).flat_map(u64::to_ne_bytes).collect();
    let narrow: Vec<u8> = figures
        .iter()
        .map(|figure| u32::try_from(*figure & 0xffff_ffff).unwrap_or(0))
        .chain([0; 15])
        .flat_map(u32::to_ne_bytes)
        .collect();
    message.attribute(23, &wide).attribute(7, &narrow);
    message.finish()
}

pub(super) fn address(link: &Interface, own: &Assigned, request: &Header, port: u32) -> Vec<u8> {
    let mut message = Builder::new(NEW_ADDR, MULTI, request, port);
    let scope = match own.ip {
        _ if own.ip.is_loopback() => 254,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 253,
        _ => 0,
    };
    // struct ifaddrmsg: family, prefix, flags (permanent), scope, index.
    message.put(&[family_of(own.ip), own.prefix, 0x80, scope]);
    message.put(&link.index.to_ne_bytes()).attribute(1, &octets(own.ip));
    if own.ip.is_ipv4() {
        message.attribute(2, &octets(own.ip)).attribute(3, &text(&link.name));
    }
    if let Some(all) = own.broadcast().filter(|_| link.index != LOOPBACK) {
        message.attribute(4, &all.octets());
    }
    let forever = [u32::MAX.to_ne_bytes(), u32::MAX.to_ne_bytes(), [0; 4], [0; 4]].concat();
    message.attribute(6, &forever).attribute(8, &0x80u32.to_ne_bytes());
    message.finish()
}

pub(super) fn route(route: &Route, flags: u16, request: &Header, port: u32) -> Vec<u8> {
    let mut message = Builder::new(NEW_ROUTE, flags, request, port);
    // struct rtmsg: family, prefixes, tos, table, protocol (kernel), scope, type, flags.
    let family = family_of(route.to.ip);
    message
        .put(&[family, route.to.prefix, 0, 0, route.table, route.protocol, route.scope, route.kind])
        .put(&[0; 4]);
    message.attribute(15, &u32::from(route.table).to_ne_bytes());
    if route.to.prefix > 0 {
        message.attribute(1, &octets(route.to.ip));
    }
    if let Some(source) = route.source {
        message.attribute(7, &octets(source));
    }
    if family == 10 || route.metric != 0 {
        message.attribute(6, &route.metric.to_ne_bytes());
    }
    if let Some(gateway) = route.gateway {
        message.attribute(5, &octets(gateway));
    }
    message.attribute(4, &route.device.to_ne_bytes());
    if family == 10 {
        message.attribute(20, &[0]);
    }
    message.finish()
}

fn neighbour(known: &Neighbour, request: &Header, port: u32) -> Vec<u8> {
    let mut message = Builder::new(NEW_NEIGHBOUR, MULTI, request, port);
    // struct ndmsg: family, padding, index, state (reachable), flags, type.
    message.put(&[family_of(known.ip), 0, 0, 0]).put(&known.device.to_ne_bytes());
    message.put(&known.state.to_ne_bytes()).put(&[0, 1]);
    message.attribute(1, &octets(known.ip));
    if known.state != 1 {
        message.attribute(2, &known.mac);
    }
    message.finish()
}

fn rule(family: u8, table: u8, priority: u32, request: &Header, port: u32) -> Vec<u8> {
    let mut message = Builder::new(NEW_RULE, MULTI, request, port);
    // struct fib_rule_hdr: family, prefixes, tos, table, reserved, action (to table), flags.
    message.put(&[family, 0, 0, 0, table, 0, 0, 1]).put(&[0; 4]);
    message.attribute(15, &u32::from(table).to_ne_bytes()).attribute(14, &u32::MAX.to_ne_bytes());
    if priority > 0 {
        message.attribute(6, &priority.to_ne_bytes());
    }
    message.finish()
}

/// What a request is answered with.
pub(super) enum Answer {
    /// These messages, and the end of a dump.
    Dump(Vec<Vec<u8>>),
    /// This message.
    One(Vec<u8>),
    /// It was carried out.
    Done,
}

/// Answers a request; `may_change` says whether the caller may change the network.
///
/// # Errors
/// `EOPNOTSUPP`, `EPERM`, `EINVAL`, `ENODEV`, `ENETUNREACH`.
pub(super) fn answer(
    stack: &dyn NetStack,
    request: &Header,
    body: &[u8],
    port: u32,
    may_change: bool,
) -> Result<Answer, Errno> {
    let family = body.first().copied().unwrap_or(0);
    let wanted = |ip: IpAddr| family == 0 || family == family_of(ip);
    let dumps = request.flags & DUMP != 0;
    // Requests other than "get" change something.
    if request.kind % 4 != 2 && !may_change {
        return Err(Errno::EPERM);
    }
    match request.kind {
        GET_LINK if dumps => {
            let links = stack.interfaces();
            Ok(Answer::Dump(links.iter().map(|known| link(known, MULTI, request, port)).collect()))
        }
        GET_LINK => {
            let index = body.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let attributes = attributes(body.get(16..).unwrap_or_default());
            let name = attributes.iter().find(|(kind, _)| *kind == 3).map(|(_, value)| *value);
            let name = name.map(|name| name.split(|byte| *byte == 0).next().unwrap_or_default());
            let links = stack.interfaces();
            let found = links.iter().find(|known| {
                if index == 0 { Some(known.name.as_bytes()) == name } else { known.index == index }
            });
            Ok(Answer::One(link(found.ok_or(Errno::ENODEV)?, 0, request, port)))
        }
        GET_ADDR => {
            let mut messages = Vec::new();
            for family in [2, 10] {
                for known in stack.interfaces() {
                    let own =
                        known.addresses.iter().filter(|own| family_of(own.ip) == family && wanted(own.ip));
                    messages.extend(own.map(|own| address(&known, own, request, port)));
                }
            }
            Ok(Answer::Dump(messages))
        }
        GET_ROUTE if dumps => {
            let routes = stack.routes();
            let wanted = routes.iter().filter(|known| wanted(known.to.ip));
            Ok(Answer::Dump(wanted.map(|known| route(known, MULTI, request, port)).collect()))
        }
        GET_ROUTE => find_route(stack, body, family, request, port),
        GET_NEIGHBOUR => {
            let known = stack.neighbours();
            let wanted = known.iter().filter(|known| wanted(known.ip));
            Ok(Answer::Dump(wanted.map(|known| neighbour(known, request, port)).collect()))
        }
        GET_RULE => {
            let mut messages = Vec::new();
            for of in [2, 10] {
                if family == 0 || family == of {
                    messages.push(rule(of, 255, 0, request, port));
                    messages.push(rule(of, 254, 32_766, request, port));
                    if of == 2 {
                        messages.push(rule(of, 253, 32_767, request, port));
                    }
                }
            }
            Ok(Answer::Dump(messages))
        }
        NEW_ADDR | DEL_ADDR => change_address(stack, request.kind == NEW_ADDR, body),
        NEW_LINK | SET_LINK => change_link(stack, body),
        NEW_ROUTE | DEL_ROUTE => change_route(stack, request.kind == NEW_ROUTE, body),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn address_in(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        2 => value.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into()),
        10 => value.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

fn find_route(
    stack: &dyn NetStack,
    body: &[u8],
    family: u8,
    request: &Header,
    port: u32,
) -> Result<Answer, Errno> {
    let attributes = attributes(body.get(12..).unwrap_or_default());
    let to = attributes.iter().find(|(kind, _)| *kind == 1).and_then(|(_, value)| address_in(family, value));
    let to = to.ok_or(Errno::EINVAL)?;
    let found = stack.route_to(to).ok_or(Errno::ENETUNREACH)?;
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let to = Assigned { ip: to, prefix: bits };
    let exact = if found.device == LOOPBACK {
        Route { to, table: 255, kind: 2, ..found }
    } else {
        Route { to, protocol: 0, scope: 0, ..found }
    };
    Ok(Answer::One(route(&exact, 0, request, port)))
}

fn change_address(stack: &dyn NetStack, adds: bool, body: &[u8]) -> Result<Answer, Errno> {
    let [family, prefix, _, _, index @ ..] = body.first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let index = u32::from_ne_bytes(*index);
    let attributes = attributes(body.get(8..).unwrap_or_default());
    let find = |wanted: u16| attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let ip = find(2).or(find(1)).and_then(|value| address_in(*family, value)).ok_or(Errno::EINVAL)?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    if *prefix > bits {
        return Err(Errno::EINVAL);
    }
    let address = Assigned { ip, prefix: *prefix };
    if adds {
        stack.add_address(index, address)?;
    } else {
        stack.remove_address(index, address)?;
    }
    Ok(Answer::Done)
}

fn change_route(stack: &dyn NetStack, adds: bool, body: &[u8]) -> Result<Answer, Errno> {
    // struct rtmsg: family, prefixes of destination and source, tos, table, protocol, scope, type, flags.
    let [family, prefix, _, _, table, protocol, scope, kind, ..] =
        *body.first_chunk::<12>().ok_or(Errno::EINVAL)?;
    let attributes = attributes(body.get(12..).unwrap_or_default());
    let find = |wanted: u16| attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let address = |wanted: u16| find(wanted).and_then(|value| address_in(family, value));
    let word = |wanted: u16| {
        find(wanted).and_then(|value| value.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes))
    };
    let any: IpAddr = match family {
        2 => Ipv4Addr::UNSPECIFIED.into(),
        10 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let to = Assigned { ip: address(1).unwrap_or(any), prefix };
    let bits = if family == 2 { 32 } else { 128 };
    let table = word(15).unwrap_or_else(|| u32::from(table));
    if prefix > bits || (table != 254 && table != 0) || (adds && kind != 1) {
        return Err(if prefix > bits { Errno::EINVAL } else { Errno::EOPNOTSUPP });
    }
    let (gateway, device, metric) = (address(5), word(4), word(6));
    if !adds {
        let fits = |route: &Route| {
            route.to == to
                && gateway.is_none_or(|gateway| route.gateway == Some(gateway))
                && device.is_none_or(|device| route.device == device)
                && metric.is_none_or(|metric| route.metric == metric)
        };
        stack.remove_route(&fits)?;
        return Ok(Answer::Done);
    }
    let device = match (device, gateway) {
        (Some(device), _) => device,
        (None, Some(gateway)) => stack.route_to(gateway).ok_or(Errno::ENETUNREACH)?.device,
        (None, None) => return Err(Errno::ENODEV),
    };
    let metric = metric.unwrap_or(if family == 10 { 1024 } else { 0 });
    stack.add_route(Route {
        to,
        device,
        kind,
        table: 254,
        scope,
        source: address(7),
        metric,
        gateway,
        protocol,
    })?;
    Ok(Answer::Done)
}

fn change_link(stack: &dyn NetStack, body: &[u8]) -> Result<Answer, Errno> {
    let word = |at: usize| {
        let bytes = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
    };
    let (index, flags, mask) = (word(4)?, word(8)?, word(12)?);
    let attributes = attributes(body.get(16..).unwrap_or_default());
    let find = |wanted: u16| attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    if find(18).is_some() {
        // A kind: a new interface is asked for.
        return Err(Errno::EOPNOTSUPP);
    }
    let named = find(3).map(|name| name.split(|byte| *byte == 0).next().unwrap_or_default());
    let links = stack.interfaces();
    let known = links
        .iter()
        .find(|known| if index == 0 { Some(known.name.as_bytes()) == named } else { known.index == index });
    let known = known.ok_or(Errno::ENODEV)?;
    let mtu = find(4).and_then(|value| value.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes));
    let flags = if mask == 0 && flags == 0 { None } else { Some(known.flags & !mask | flags & mask) };
    stack.change_link(known.index, flags, mtu)?;
    Ok(Answer::Done)
}

/// The message that says how a request went: an acknowledgement for 0.
pub(super) fn error(request: &Header, whole: &[u8], number: i32, port: u32) -> Vec<u8> {
    // NLM_F_CAPPED: of the request only the header comes back.
    let capped = if number == 0 { 0x100 } else { 0 };
    let mut message = Builder::new(ERROR, capped, request, port);
    message.put(&(-number).to_ne_bytes());
    if number == 0 {
        message.put(&request.to_bytes());
    } else {
        message.put(whole);
    }
    message.finish()
}
