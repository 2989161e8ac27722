//! What groups of rtnetlink(7) are told: changes of interfaces, addresses and routes, found by comparing before and after.

use super::message::Header;
use super::{Netlink, Ports, ROUTE, route};
use crate::net::inet::interface::{Interface, Route};
use crate::net::stack::NetStack;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Groups (`RTNLGRP_*`).
const LINK: u32 = 1;
const ADDRESS4: u32 = 5;
const ROUTE4: u32 = 7;
const ADDRESS6: u32 = 9;
const ROUTE6: u32 = 11;

/// Not an answer to anybody.
const NOBODY: Header = Header { len: 0, kind: 0, flags: 0, sequence: 0, port: 0 };

/// A network namespace at a time.
pub struct Snapshot {
    links: Vec<Interface>,
    routes: Vec<Route>,
}

impl Snapshot {
    /// As it is now.
    pub fn of(stack: &dyn NetStack) -> Self {
        Self { links: stack.interfaces(), routes: stack.routes() }
    }
}

/// A message as a group gets it: of a kind, and not a part of a dump.
fn notice(mut message: Vec<u8>, kind: u16) -> Vec<u8> {
    if let Some(place) = message.get_mut(4..6) {
        place.copy_from_slice(&kind.to_ne_bytes());
    }
    if let Some(place) = message.get_mut(6..8) {
        place.copy_from_slice(&[0, 0]);
    }
    message
}

const fn by_family(ip: IpAddr, v4: u32, v6: u32) -> u32 {
    if ip.is_ipv4() { v4 } else { v6 }
}

impl Ports {
    /// Whether some socket is in a group.
    pub fn is_heard(&self) -> bool {
        self.sockets().iter().any(|socket| socket.state.lock().groups != 0)
    }

    pub(super) fn register(&self, socket: &Arc<Netlink>) {
        let mut members = self.members.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(socket));
    }

    fn sockets(&self) -> Vec<Arc<Netlink>> {
        // Let go of with no lock held: one may be closed by that.
        let all: Vec<_> = self.members.lock().iter().filter_map(Weak::upgrade).collect();
        all.into_iter().filter(|socket| socket.protocol == ROUTE).collect()
    }

    /// Tells what is different from `before`.
    pub fn announce(&self, before: &Snapshot, stack: &dyn NetStack) {
        let after = Snapshot::of(stack);
        let sockets = self.sockets();
        let tell = |group: u32, message: &[u8]| {
            let bit = 1u64 << (group - 1);
            for socket in sockets.iter().filter(|socket| {
                let state = socket.state.lock();
                state.groups & bit != 0 && state.port.is_some()
            }) {
                socket.queue_for(message.to_vec(), 1 << (group - 1));
                socket.readable.wake_all();
            }
        };
        for link in &after.links {
            let old = before.links.iter().find(|old| old.index == link.index);
            if old.is_none_or(|old| (old.flags, old.mtu) != (link.flags, link.mtu)) {
                tell(LINK, &notice(route::link(link, 0, &NOBODY, 0), route::NEW_LINK));
            }
            let known = old.map_or(&[][..], |old| &old.addresses);
            for own in known.iter().filter(|own| !link.addresses.contains(own)) {
                let message = notice(route::address(link, own, &NOBODY, 0), route::DEL_ADDR);
                tell(by_family(own.ip, ADDRESS4, ADDRESS6), &message);
            }
            for own in link.addresses.iter().filter(|own| !known.contains(own)) {
                let message = notice(route::address(link, own, &NOBODY, 0), route::NEW_ADDR);
                tell(by_family(own.ip, ADDRESS4, ADDRESS6), &message);
            }
        }
        let changes = |from: &[Route], to: &[Route], kind: u16| {
            for known in from.iter().filter(|known| !to.contains(known)) {
                let message = notice(route::route(known, 0, &NOBODY, 0), kind);
                tell(by_family(known.to.ip, ROUTE4, ROUTE6), &message);
            }
        };
        changes(&before.routes, &after.routes, route::DEL_ROUTE);
        changes(&after.routes, &before.routes, route::NEW_ROUTE);
    }
}
