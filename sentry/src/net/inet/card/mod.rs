//! [`Card`]: an interface to the outside, over a network card of the machine.
//!
//! * [`neighbour`] knows the hardware addresses of the link's hosts; [`arp`] and [`ndp`] ask for them and answer.
//! * [`output`] sends frames, [`input`] takes them from the card in batches; [`watch`] shows them to
//!   packet sockets.
//!
//! Lock order: addresses (148), neighbours (150), connections that wait for room and spare buffers (151), frames that wait for room
//! (152), then the driver's own.

pub(super) mod arp;
mod igmp;
pub mod input;
pub(super) mod ndp;
pub(super) mod neighbour;
pub(super) mod output;
mod watch;

use super::Stack;
use super::interface::{Assigned, Interface, LEVEL, LOWER_UP, MAX_ADDRESSES, RUNNING, UP};
use crate::abi::Errno;
use crate::platform::NetPort;
use crate::time::{Expire, Timer};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use chitin_core::lock::{Level, SpinLock};
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Level of the lock of neighbours.
const NEIGHBOURS: Level = Level(150);
/// Level of the lock of connections that wait for room in the card.
const BLOCKED: Level = Level(151);
/// Level of the lock of frames that wait for room in the card.
const BACKLOG: Level = Level(152);
/// Level of the lock of the timer.
const TIMER: Level = Level(153);

/// `IFF_BROADCAST`, `IFF_MULTICAST`, `IFF_PROMISC`, `IFF_ALLMULTI`.
const BROADCAST: u32 = 2;
const MULTICAST: u32 = 0x1000;
const CHANGEABLE: u32 = 0x100 | 0x200;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// Least MTU of IPv4 (`ETH_MIN_MTU`), and the greatest.
const MTUS: core::ops::RangeInclusive<u32> = 68..=65_535;

/// A card's hardware, shared between threads.
pub type Port = Arc<dyn NetPort + Send + Sync>;

/// Who waits for room in a card.
pub(super) trait Blocked: Send + Sync {
    /// There may be room now.
    fn unblocked(&self);
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) in_packets: AtomicU64,
    pub(super) in_bytes: AtomicU64,
    pub(super) in_dropped: AtomicU64,
    pub(super) in_multicast: AtomicU64,
    pub(super) out_packets: AtomicU64,
    pub(super) out_bytes: AtomicU64,
    pub(super) out_dropped: AtomicU64,
}

/// An interface over a network card.
pub(super) struct Card {
    me: Weak<Self>,
    stack: Weak<Stack>,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    port: Port,
    /// Packet sockets that watch links.
    watchers: Arc<AtomicUsize>,
    flags: AtomicU32,
    mtu: AtomicU32,
    addresses: SpinLock<Vec<Assigned>>,
    neighbours: SpinLock<neighbour::Table>,
    /// Changes whenever a hardware address may have.
    pub(super) neighbour_generation: AtomicU64,
    blocked: SpinLock<Vec<Weak<dyn Blocked>>>,
    spare: SpinLock<Vec<Vec<u8>>>,
    backlog: SpinLock<VecDeque<output::Waiting>>,
    timer: SpinLock<Option<Timer>>,
    pub(super) counts: Counts,
}

impl Card {
    /// An interface that is up.
    pub(super) fn new(
        stack: Weak<Stack>,
        index: u32,
        name: String,
        mac: [u8; 6],
        mtu: u32,
        addresses: Vec<Assigned>,
        port: Port,
    ) -> Arc<Self> {
        let flags = UP | BROADCAST | RUNNING | MULTICAST | LOWER_UP;
        let watchers = stack.upgrade().map(|stack| stack.packets.watching.clone()).unwrap_or_default();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            stack,
            index,
            name,
            mac,
            port,
            watchers,
            flags: AtomicU32::new(flags),
            mtu: AtomicU32::new(mtu),
            addresses: SpinLock::new(LEVEL, addresses),
            neighbours: SpinLock::new(NEIGHBOURS, neighbour::Table::default()),
            neighbour_generation: AtomicU64::new(0),
            blocked: SpinLock::new(BLOCKED, Vec::new()),
            spare: SpinLock::new(BLOCKED, Vec::new()),
            backlog: SpinLock::new(BACKLOG, VecDeque::new()),
            timer: SpinLock::new(TIMER, None),
            counts: Counts::default(),
        })
    }

    /// As programs see it.
    pub(super) fn describe(&self) -> Interface {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Interface {
            index: self.index,
            name: self.name.clone(),
            flags: self.flags.load(Ordering::Relaxed),
            mtu: self.mtu(),
            hardware: ETHERNET,
            mac: self.mac,
            addresses: self.addresses.lock().clone(),
            packets: get(&self.counts.in_packets),
            bytes: get(&self.counts.in_bytes),
            out_packets: get(&self.counts.out_packets),
            out_bytes: get(&self.counts.out_bytes),
            dropped: get(&self.counts.in_dropped),
            out_dropped: get(&self.counts.out_dropped),
            multicast: get(&self.counts.in_multicast),
        }
    }

    /// Bytes of an IP packet, at most.
    pub(super) fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & UP != 0
    }

    /// Whether frames may leave checksums and segmentation to the card.
    pub(super) fn can_offload(&self) -> bool {
        self.port.can_offload()
    }

    /// Looks at the addresses.
    pub(super) fn with_addresses<R>(&self, look: impl FnOnce(&[Assigned]) -> R) -> R {
        look(&self.addresses.lock())
    }

    /// Whether an address is one of its own.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.with_addresses(|own| own.iter().any(|own| own.ip == ip))
    }

    /// The address to show to hosts of the link, if it has one of the kind.
    pub(super) fn link_local(&self) -> Option<Ipv6Addr> {
        self.with_addresses(|own| {
            own.iter().find_map(|own| match own.ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
                _ => None,
            })
        })
    }

    /// Takes it up or down, and changes the other flags that can be.
    pub(super) fn set_flags(&self, flags: u32) {
        let up = if flags & UP == 0 { 0 } else { UP | RUNNING | LOWER_UP };
        let old = self.flags.swap(BROADCAST | MULTICAST | up | flags & CHANGEABLE, Ordering::Relaxed);
        match (old & UP != 0, up != 0) {
            (true, false) => {
                let lost = self.neighbours.lock().clear();
                self.neighbour_generation.fetch_add(1, Ordering::Release);
                drop(lost);
            }
            (false, true) => self.announce(),
            _ => {}
        }
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// `EINVAL`: more than the card carries, or less than IPv4 needs.
    pub(super) fn set_mtu(&self, mtu: u32) -> Result<(), Errno> {
        if !MTUS.contains(&mtu) || mtu > self.port.mtu() {
            return Err(Errno::EINVAL);
        }
        self.mtu.store(mtu, Ordering::Relaxed);
        Ok(())
    }

    /// Adds an address.
    ///
    /// # Errors
    /// `EEXIST`, `ENOBUFS`.
    pub(super) fn add(&self, address: Assigned) -> Result<(), Errno> {
        let mut addresses = self.addresses.lock();
        if addresses.iter().any(|own| own.ip == address.ip) {
            return Err(Errno::EEXIST);
        }
        if addresses.len() >= MAX_ADDRESSES {
            return Err(Errno::ENOBUFS);
        }
        addresses.push(address);
        drop(addresses);
        self.announce();
        Ok(())
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub(super) fn remove(&self, address: Assigned) -> Result<(), Errno> {
        let mut addresses = self.addresses.lock();
        let found = addresses.iter().position(|own| *own == address);
        addresses.remove(found.ok_or(Errno::EADDRNOTAVAIL)?);
        Ok(())
    }

    /// Tells the link who is here: gratuitous ARP, unsolicited neighbour advertisements and multicast listener reports.
    pub(super) fn announce(&self) {
        if !self.is_up() {
            return;
        }
        let own: Vec<IpAddr> = self.with_addresses(|own| own.iter().map(|own| own.ip).collect());
        for ip in own {
            match ip {
                IpAddr::V4(ip) => self.send_arp(arp::REQUEST, arp::ALL, [0; 6], ip, ip),
                IpAddr::V6(ip) => {
                    self.report_group(ndp::solicited_node(ip));
                    self.advertise(ip, ndp::ALL_NODES, false);
                }
            }
        }
        self.port.flush();
    }

    /// Looks after neighbours again at `at_ns`, if that is before the next time.
    fn look_again(&self, at_ns: u64) {
        let mut timer = self.timer.lock();
        if timer.is_none() {
            let me: Weak<dyn Expire> = self.me.clone();
            *timer = Some(Timer::new(me));
        }
        if let Some(timer) = timer.as_mut()
            && timer.deadline_ns().is_none_or(|next| at_ns < next || next <= now_ns())
        {
            timer.set(Some(at_ns));
        }
    }
}

impl Expire for Card {
    fn expired(&self, now_ns: u64) {
        self.age_neighbours(now_ns);
    }
}
