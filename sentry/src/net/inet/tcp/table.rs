//! [`Table`]: the TCP sockets of a namespace: ports, connections by their four-tuple, and those in `TIME_WAIT`.

use super::super::endpoint::Endpoint;
use super::super::ports::{Ports, Rule, Sharing};
use super::super::{INNER_TABLE, TABLE};
use super::Tcp;
use super::wire::Connections;
use alloc::collections::VecDeque;
use alloc::sync::Weak;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use chitin_core::lock::SpinLock;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use hashbrown::HashMap;

/// `TCP_TIMEWAIT_LEN`.
const TIME_WAIT_NS: u64 = 60_000_000_000;
/// After which a connect may have the addresses of a connection in `TIME_WAIT` (`tcp_tw_reuse` on loopback).
const REUSE_NS: u64 = 1_000_000_000;

/// Own and other address of a side.
pub(super) type Tuple = (Endpoint, Endpoint);

/// A connection that ended not long ago.
pub(in super::super) struct TimeWait {
    pub(in super::super) tuple: Tuple,
    pub(in super::super) until_ns: u64,
    sharing: Sharing,
}

#[derive(Default)]
struct Ended {
    order: VecDeque<TimeWait>,
    until_ns: HashMap<Tuple, u64>,
}

/// The TCP sockets of a namespace.
pub(in super::super) struct Table {
    pub(super) ports: SpinLock<Ports<Tcp>>,
    connections: SpinLock<HashMap<Tuple, Weak<Tcp>>>,
    ended: SpinLock<Ended>,
    /// Connections to other hosts.
    pub(in super::super) wire: Connections,
}

/// What one side of a connection keeps in the table.
pub(super) struct Side {
    pub(super) tuple: Tuple,
    pub(super) sharing: Sharing,
    /// It is counted at its port, rather than owned by a bound socket.
    pub(super) is_counted: AtomicBool,
    is_over: AtomicBool,
}

impl Side {
    pub(super) fn new(tuple: Tuple, sharing: Sharing, is_counted: bool) -> Self {
        Self { tuple, sharing, is_counted: AtomicBool::new(is_counted), is_over: AtomicBool::new(false) }
    }
}

/// What both sides of a connection share.
pub(super) struct Pair {
    /// The side that connected, and the one that was connected to.
    pub(super) sides: [Side; 2],
    /// Which sides have sent FIN.
    fins: AtomicU8,
    /// The listener does not know of it before bytes come (`TCP_DEFER_ACCEPT`).
    pub(super) is_deferred: AtomicBool,
    pub(super) opened_ns: u64,
}

impl Pair {
    pub(super) fn new(client: Side, server: Side, is_deferred: bool) -> Self {
        Self {
            sides: [client, server],
            fins: AtomicU8::new(0),
            is_deferred: AtomicBool::new(is_deferred),
            opened_ns: now_ns(),
        }
    }

    /// Side `index` sends FIN. Whether the other one had before.
    pub(super) fn finish(&self, index: usize) -> bool {
        let own = 1 << (index & 1);
        self.fins.fetch_or(own, Ordering::AcqRel) & !own & 3 != 0
    }
}

impl Table {
    pub(in super::super) fn new() -> Self {
        Self {
            ports: SpinLock::new(TABLE, Ports::new(Rule::Tcp)),
            connections: SpinLock::new(INNER_TABLE, HashMap::new()),
            ended: SpinLock::new(TABLE, Ended::default()),
            wire: Connections::new(),
        }
    }

    /// Forgets connections whose time is over.
    pub(super) fn expire(&self) {
        let now_ns = now_ns();
        let mut over = Vec::new();
        {
            let mut ended = self.ended.lock();
            while ended.order.front().is_some_and(|first| first.until_ns <= now_ns) {
                if let Some(first) = ended.order.pop_front() {
                    if ended.until_ns.get(&first.tuple) == Some(&first.until_ns) {
                        ended.until_ns.remove(&first.tuple);
                    }
                    over.push(first);
                }
            }
        }
        if !over.is_empty() {
            let mut ports = self.ports.lock();
            over.iter().for_each(|ended| ports.remove_connection(ended.tuple.0, ended.sharing));
        }
    }

    /// Whether nobody has these addresses.
    pub(super) fn is_free(&self, tuple: &Tuple) -> bool {
        !self.connections.lock().contains_key(tuple)
    }

    /// Whether a connection with these addresses ended so short ago that another one must not have them.
    pub(super) fn ended_just_now(&self, tuple: &Tuple) -> bool {
        let until_ns = self.ended.lock().until_ns.get(tuple).copied();
        until_ns.is_some_and(|until| now_ns().saturating_add(TIME_WAIT_NS - REUSE_NS) < until)
    }

    /// Addresses of connections that ended just now, for a search that looks at many.
    pub(super) fn ended_tuples(&self, to: Endpoint) -> Vec<u16> {
        let limit = now_ns().saturating_add(TIME_WAIT_NS - REUSE_NS);
        let ended = self.ended.lock();
        let recent = ended.order.iter().rev().take_while(|ended| ended.until_ns > limit);
        recent.filter(|ended| ended.tuple.1 == to).map(|ended| ended.tuple.0.port).collect()
    }

    /// Adds a connection. Whether its addresses were free.
    pub(super) fn insert(&self, tuple: Tuple, socket: Weak<Tcp>) -> bool {
        let mut connections = self.connections.lock();
        if connections.contains_key(&tuple) {
            return false;
        }
        connections.insert(tuple, socket);
        true
    }

    /// Names the socket of a connection that was added before.
    pub(super) fn replace(&self, tuple: Tuple, socket: Weak<Tcp>) {
        let old = self.connections.lock().insert(tuple, socket);
        drop(old);
    }

    /// Takes a connection away that never came about.
    pub(super) fn remove(&self, tuple: &Tuple) {
        self.connections.lock().remove(tuple);
    }

    /// A side of a connection is over; with `waits` its addresses stay taken for a while. `most` limits how many do. Whether
    /// they stay.
    pub(super) fn end(&self, side: &Side, waits: bool, most: usize) -> bool {
        if side.is_over.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.remove(&side.tuple);
        let counted = side.is_counted.load(Ordering::Acquire);
        let waits = waits && self.ended.lock().order.len() < most;
        if waits {
            if !counted {
                self.ports.lock().add_connection(side.tuple.0, side.sharing);
            }
            let until_ns = now_ns().saturating_add(TIME_WAIT_NS);
            let mut ended = self.ended.lock();
            ended.until_ns.insert(side.tuple, until_ns);
            ended.order.push_back(TimeWait { tuple: side.tuple, until_ns, sharing: side.sharing });
        } else if counted {
            self.ports.lock().remove_connection(side.tuple.0, side.sharing);
        }
        self.expire();
        waits
    }

    /// A socket that owned its port is closed, its connection goes on: it is counted from now on.
    pub(super) fn count(&self, side: &Side) {
        if side.is_over.load(Ordering::Acquire) || side.is_counted.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ports.lock().add_connection(side.tuple.0, side.sharing);
    }

    /// Every connected socket that has not been closed, by address; of those closed only the addresses are known.
    pub(in super::super) fn connections(&self) -> Vec<(Tuple, Weak<Tcp>)> {
        self.connections.lock().iter().map(|(tuple, socket)| (*tuple, socket.clone())).collect()
    }

    /// Sockets that are bound.
    pub(in super::super) fn bound(&self) -> Vec<Weak<Tcp>> {
        self.ports.lock().owners()
    }

    /// Own and other addresses of connections in `TIME_WAIT`, with the ns left to them.
    pub(in super::super) fn ended(&self) -> Vec<(Endpoint, Endpoint, u64)> {
        self.expire();
        let now_ns = now_ns();
        let ended = self.ended.lock();
        ended
            .order
            .iter()
            .map(|ended| (ended.tuple.0, ended.tuple.1, ended.until_ns.saturating_sub(now_ns)))
            .collect()
    }
}
