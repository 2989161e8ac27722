//! A wire in memory for tests: [`Lab`] has hosts, each a [`Stack`] with one card, on one link that loses, doubles, delays and
//! reorders frames as told. Time is the hosted platform's virtual one.

mod fuzz;
mod link;
mod many;
mod stream;
mod trouble;
mod udp;

use super::card::Port;
use super::card::input::Batch;
use super::*;
use crate::mm::Budget;
use crate::net::Address;
use crate::net::socket::{MsgFlags, Outgoing, Ucred};
use crate::platform::{NetPort, Offload, hosted};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use chitin_core::hooks::now_ns;
use chitin_core::sleep::Sleeper;
use chitin_proto::network::{Interface as Wanted, Network, Route as WantedRoute, Subnet};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::vec;

pub(super) const ME: Ucred = Ucred { pid: 7, uid: 1000, gid: 1000 };
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MS;

/// What the link does to frames: chances in a thousand, and times.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) delayed: u64,
    pub(super) latency_ns: u64,
    pub(super) delay_ns: u64,
}

/// A frame under way: when it arrives, in what order, where, what.
struct Flying {
    at_ns: u64,
    order: u64,
    to: usize,
    frame: Vec<u8>,
    offload: Offload,
}

#[derive(Default)]
pub(super) struct WireState {
    pub(super) faults: Faults,
    random: u64,
    order: u64,
    flying: Vec<Flying>,
    inboxes: Vec<VecDeque<(Vec<u8>, Offload)>>,
    /// Frames sent, for tests that look.
    pub(super) seen: Vec<Vec<u8>>,
    pub(super) sent: usize,
    /// Frames that a host may have under way before its card is full.
    pub(super) room: usize,
}

pub(super) struct Wire(pub(super) Mutex<WireState>);

impl WireState {
    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn launch(&mut self, to: usize, frame: &[u8], offload: Offload) {
        if self.random() % 1000 < self.faults.lost {
            return;
        }
        let copies = if self.random() % 1000 < self.faults.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.random() % 1000 < self.faults.delayed { self.faults.delay_ns } else { 0 };
            let at_ns = now_ns() + self.faults.latency_ns + late;
            self.order += 1;
            self.flying.push(Flying { at_ns, order: self.order, to, frame: frame.to_vec(), offload });
        }
    }
}

struct TestPort {
    wire: Arc<Wire>,
    at: usize,
    mac: [u8; 6],
    offloads: bool,
}

impl NetPort for TestPort {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> u32 {
        9000
    }

    fn can_offload(&self) -> bool {
        self.offloads
    }

    fn try_send(&self, parts: &[&[u8]], offload: Offload) -> Option<()> {
        let frame = parts.concat();
        let mut wire = self.wire.0.lock().unwrap();
        if wire.flying.len() >= wire.room {
            return None;
        }
        wire.sent += 1;
        if wire.seen.len() < 20_000 {
            wire.seen.push(frame.clone());
        }
        for to in (0..wire.inboxes.len()).filter(|to| *to != self.at) {
            wire.launch(to, &frame, offload);
        }
        Some(())
    }

    fn flush(&self) {}

    fn try_receive(&self, frame: &mut Vec<u8>) -> Option<Offload> {
        let (bytes, offload) = self.wire.0.lock().unwrap().inboxes[self.at].pop_front()?;
        *frame = bytes;
        Some(offload)
    }
}

pub(super) struct Host {
    pub(super) stack: Arc<Stack>,
    pub(super) card: Arc<card::Card>,
    pub(super) budget: Arc<Budget>,
}

pub(super) struct Lab {
    pub(super) wire: Arc<Wire>,
    pub(super) hosts: Vec<Host>,
}

pub(super) fn subnet(text: &str) -> Subnet {
    let (ip, prefix) = text.split_once('/').unwrap();
    Subnet { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub(super) fn mac(host: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::try_from(host + 1).unwrap()]
}

impl Lab {
    /// `count` hosts with 10.0.0.1 and fd00::1 and following.
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, 1500, false)
    }

    pub(super) fn with(count: usize, mtu: u32, offloads: bool) -> Self {
        let state = WireState { random: 42, room: 4096, ..WireState::default() };
        let wire = Arc::new(Wire(Mutex::new(state)));
        wire.0.lock().unwrap().inboxes = (0..count).map(|_| VecDeque::new()).collect();
        let hosts = (0..count).map(|at| {
            let number = at + 1;
            let interface = Wanted {
                name: "eth0".into(),
                device: 0,
                mac: mac(at),
                mtu,
                addresses: vec![
                    subnet(&std::format!("10.0.0.{number}/24")),
                    subnet(&std::format!("fd00::{number}/64")),
                ],
            };
            let route = |to: &str, gateway: &str| WantedRoute {
                to: subnet(to),
                gateway: Some(gateway.parse().unwrap()),
                interface: "eth0".into(),
                source: None,
                metric: 0,
            };
            let network = Network {
                interfaces: vec![interface],
                routes: vec![route("0.0.0.0/0", "10.0.0.254"), route("::/0", "fd00::254")],
                neighbours: vec![],
            };
            let port: Port = Arc::new(TestPort { wire: wire.clone(), at, mac: mac(at), offloads });
            let stack = Stack::new();
            let card = stack.set_up(&network, |_| Some(port.clone())).unwrap().remove(0);
            Host { stack, card, budget: Budget::root().child(100_000) }
        });
        let lab = Self { hosts: hosts.collect(), wire };
        lab.pump();
        lab
    }

    pub(super) fn faults(&self, faults: Faults) {
        self.wire.0.lock().unwrap().faults = faults;
    }

    /// Frames sent so far, which are forgotten.
    pub(super) fn take_seen(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.wire.0.lock().unwrap().seen)
    }

    /// Lets what is due arrive. Whether anything did.
    fn arrive(&self) -> bool {
        {
            let mut wire = self.wire.0.lock().unwrap();
            let now = now_ns();
            let all = core::mem::take(&mut wire.flying);
            let (mut due, later): (Vec<Flying>, Vec<Flying>) =
                all.into_iter().partition(|flying| flying.at_ns <= now);
            wire.flying = later;
            due.sort_by_key(|flying| (flying.at_ns, flying.order));
            for flying in due {
                wire.inboxes[flying.to].push_back((flying.frame, flying.offload));
            }
        }
        let mut any = false;
        let mut frame = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            any |= !self.wire.0.lock().unwrap().inboxes[at].is_empty();
            while host.card.take_frames(&mut frame) == Batch::Full {}
        }
        any
    }

    /// Lets frames arrive until nothing is due.
    pub(super) fn pump(&self) {
        while self.arrive() {}
    }

    /// Lets time pass until `done` or for `ns` at most. Whether it was done.
    pub(super) fn until(&self, sleeper: &Sleeper, ns: u64, mut done: impl FnMut() -> bool) -> bool {
        let end = now_ns() + ns;
        loop {
            self.pump();
            if done() {
                return true;
            }
            let now = now_ns();
            if now >= end {
                return false;
            }
            let next = self.wire.0.lock().unwrap().flying.iter().map(|flying| flying.at_ns).min();
            let step = next.unwrap_or(end).min(now + 5 * MS).min(end).max(now + 1);
            sleeper.park(Some(step));
        }
    }

    pub(super) fn run(&self, sleeper: &Sleeper, ns: u64) {
        self.until(sleeper, ns, || false);
    }

    pub(super) fn open(&self, host: usize, family: u16, kind: SocketType, protocol: i32) -> Arc<dyn Socket> {
        let host = &self.hosts[host];
        let maker = Maker {
            creds: ME,
            budget: host.budget.clone(),
            raw: Privilege::Granted,
            admin: Privilege::Granted,
        };
        host.stack.socket(family, kind, protocol, maker).unwrap()
    }

    pub(super) fn udp(&self, host: usize) -> Arc<dyn Socket> {
        self.open(host, AF_INET, SocketType::Datagram, 0)
    }
}

pub(super) fn at(text: &str) -> Address {
    Address::Inet(text.parse::<SocketAddr>().unwrap())
}

pub(super) fn send(socket: &Arc<dyn Socket>, bytes: &[u8]) -> Result<usize, Stop> {
    socket.try_send(&mut IoReader::kernel(bytes), &mut Outgoing::default())
}

pub(super) fn send_to(socket: &Arc<dyn Socket>, bytes: &[u8], to: &str) -> Result<usize, Stop> {
    socket.try_send(&mut IoReader::kernel(bytes), &mut Outgoing { to: Some(at(to)), ..Outgoing::default() })
}

pub(super) fn receive(socket: &Arc<dyn Socket>, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let got = socket.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty())?.len;
    bytes.truncate(got);
    Ok(bytes)
}

pub(super) fn errno<T: std::fmt::Debug>(result: Result<T, Stop>) -> Errno {
    match result.unwrap_err() {
        Stop::Errno(errno) => errno,
        other => panic!("{other:?}"),
    }
}

/// Runs a test in a machine of its own.
pub(super) fn check(test: fn(&Sleeper)) {
    hosted::for_seeds(1, test);
}
