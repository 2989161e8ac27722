//! Sending frames: to neighbours that are known at once, to others when they have answered.

use super::super::interface::Cast;
use super::super::ip;
use super::neighbour::{Answer, Due, Heard, Packet};
use super::{Blocked, Card, arp, igmp, ndp};
use crate::platform::Offload;
use alloc::sync::Weak;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::Ordering;

/// Frames, and bytes of frames, that wait for room in the card (`txqueuelen`).
const MAX_FRAMES: usize = 1000;
const MAX_BYTES: usize = 2 << 20;
/// Buffers that are kept for what is sent next.
const MAX_SPARE: usize = 4;
/// Bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;
/// Parts of a frame that is sent: the Ethernet header and these at most.
const MAX_PARTS: usize = 4;

/// A frame that waits for room.
pub(super) struct Waiting {
    bytes: Vec<u8>,
    offload: Offload,
}

/// What to do with a frame while the card has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Full {
    /// It waits, a few do.
    Wait,
    /// The caller keeps it.
    Refuse,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Sent {
    /// It is on its way, or waits.
    Gone,
    /// There is no room: nothing was sent.
    Refused,
    /// It was thrown away.
    Dropped,
}

fn parts_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Moves the offsets of an offload that counts from the parts behind a header of `by` bytes.
fn shifted(offload: Offload, by: usize) -> Offload {
    let by = u16::try_from(by).unwrap_or(0);
    Offload { checksum_start: offload.checksum_start.map(|start| start.saturating_add(by)), ..offload }
}

impl Card {
    /// Sends an IP packet, given in up to four parts, to the neighbour `next`, or to all; `offload` counts from the packet's start.
    pub(in super::super) fn send_ip(
        &self,
        (next, cast): (IpAddr, Cast),
        parts: &[&[u8]],
        offload: Offload,
        when_full: Full,
    ) -> Sent {
        if !self.is_up() {
            return Sent::Dropped;
        }
        let ether = ip::ether_type(next);
        let mac = match next {
            IpAddr::V4(_) if cast == Cast::Broad => arp::ALL,
            IpAddr::V4(ip) if ip.is_multicast() => igmp::group_mac(ip),
            IpAddr::V6(ip) if ip.is_multicast() => ndp::group_mac(ip),
            _ => {
                let answer = self.neighbours.lock().find(next, now_ns());
                match answer {
                    Answer::Known(mac) => mac,
                    Answer::Doubtful(mac) => {
                        self.ask(next, Some(mac));
                        mac
                    }
                    Answer::Ask | Answer::Wait => return self.send_later(next, parts, offload, answer),
                }
            }
        };
        self.send_frame(mac, ether, parts, offload, when_full)
    }

    fn send_later(&self, next: IpAddr, parts: &[&[u8]], offload: Offload, answer: Answer) -> Sent {
        let mut bytes = Vec::new();
        let mut sent = Sent::Dropped;
        if bytes.try_reserve_exact(parts_len(parts)).is_ok() {
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            if self.neighbours.lock().wait(next, Packet { bytes, offload }) {
                sent = Sent::Gone;
            }
        }
        if answer == Answer::Ask {
            self.ask(next, None);
        }
        sent
    }

    /// Whether a packet to `ip` goes to all hosts of the link.
    pub(in super::super) fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast() || self.with_addresses(|own| own.iter().any(|own| own.broadcast() == Some(ip)))
    }

    /// Asks where a neighbour is, everybody or the one of a hardware address.
    fn ask(&self, ip: IpAddr, mac: Option<[u8; 6]>) {
        match ip {
            IpAddr::V4(ip) => {
                let own = self.with_addresses(|own| {
                    let near = own.iter().find(|own| own.covers(ip.into()));
                    near.or_else(|| own.iter().find(|own| own.ip.is_ipv4())).map(|own| own.ip)
                });
                if let Some(IpAddr::V4(own)) = own {
                    self.send_arp(arp::REQUEST, mac.unwrap_or(arp::ALL), [0; 6], own, ip);
                }
            }
            IpAddr::V6(ip) => self.solicit(ip, mac),
        }
        self.look_again(now_ns().saturating_add(super::neighbour::RETRY_NS));
    }

    /// Sends a frame.
    pub(super) fn send_frame(
        &self,
        to: [u8; 6],
        ether: u16,
        parts: &[&[u8]],
        offload: Offload,
        when_full: Full,
    ) -> Sent {
        let [high, low] = ether.to_be_bytes();
        let [a, b, c, d, e, f] = self.mac;
        let [t, u, v, w, x, y] = to;
        let header = [t, u, v, w, x, y, a, b, c, d, e, f, high, low];
        let mut all: [&[u8]; MAX_PARTS + 1] = [&header, &[], &[], &[], &[]];
        all.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        let offload = shifted(offload, HEADER);
        let sent = self.send_parts(&all, offload, when_full);
        if self.is_watched() && sent != Sent::Refused {
            self.show_sent(&all.concat(), offload, None);
        }
        sent
    }

    /// Sends a frame given with its header, in up to five parts.
    pub(super) fn send_parts(&self, parts: &[&[u8]], offload: Offload, when_full: Full) -> Sent {
        let is_first = self.backlog.lock().is_empty();
        if is_first && self.port.try_send(parts, offload).is_some() {
            self.count_out(parts_len(parts));
            return Sent::Gone;
        }
        if when_full == Full::Refuse {
            return Sent::Refused;
        }
        self.keep(parts, offload)
    }

    /// Keeps a frame until there is room.
    fn keep(&self, parts: &[&[u8]], offload: Offload) -> Sent {
        let mut bytes = Vec::new();
        let has_memory = bytes.try_reserve_exact(parts_len(parts)).is_ok();
        let mut backlog = self.backlog.lock();
        let used: usize = backlog.iter().map(|waiting| waiting.bytes.len()).sum();
        if !has_memory || backlog.len() >= MAX_FRAMES || used >= MAX_BYTES {
            drop(backlog);
            self.counts.out_dropped.fetch_add(1, Ordering::Relaxed);
            return Sent::Dropped;
        }
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        backlog.push_back(Waiting { bytes, offload });
        Sent::Gone
    }

    fn count_out(&self, bytes: usize) {
        self.counts.out_packets.fetch_add(1, Ordering::Relaxed);
        self.counts.out_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Tells the card of what was queued.
    pub(in super::super) fn flush(&self) {
        self.port.flush();
    }

    /// A buffer of `len` bytes or more with whatever is in it; `None` when there is no memory. It goes back by
    /// [`Card::put_back`].
    pub(in super::super) fn spare_buffer(&self, len: usize) -> Option<Vec<u8>> {
        let mut buffer = self.spare.lock().pop().unwrap_or_default();
        if buffer.len() < len {
            buffer.try_reserve(len - buffer.len()).ok()?;
            buffer.resize(len, 0);
        }
        Some(buffer)
    }

    /// Keeps a buffer for the next one who needs it.
    pub(in super::super) fn put_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.lock();
        if spare.len() < MAX_SPARE && buffer.capacity() > 0 {
            spare.push(buffer);
        }
    }

    /// Tells `who` when there is room.
    pub(in super::super) fn when_room(&self, who: Weak<dyn Blocked>) {
        self.blocked.lock().push(who);
    }

    /// The card may have room: sends what waits.
    pub(super) fn send_backlog(&self) {
        loop {
            let first = self.backlog.lock().pop_front();
            let Some(first) = first else { break };
            if self.port.try_send(&[&first.bytes], first.offload).is_none() {
                self.backlog.lock().push_front(first);
                self.port.flush();
                return;
            }
            self.count_out(first.bytes.len());
        }
        let blocked = core::mem::take(&mut *self.blocked.lock());
        for waiting in blocked {
            if let Some(waiting) = waiting.upgrade() {
                waiting.unblocked();
            }
        }
        self.port.flush();
    }

    /// A neighbour said where it is.
    pub(super) fn learn(&self, ip: IpAddr, mac: [u8; 6], now_ns: u64, heard: Heard) {
        let (waiting, changes) = self.neighbours.lock().learn(ip, mac, now_ns, heard);
        if changes {
            self.neighbour_generation.fetch_add(1, Ordering::Release);
        }
        for packet in waiting {
            self.send_frame(mac, ip::ether_type(ip), &[&packet.bytes], packet.offload, Full::Wait);
        }
    }

    /// Sets a neighbour by hand.
    pub(in super::super) fn set_neighbour(&self, ip: IpAddr, mac: [u8; 6]) {
        self.neighbours.lock().set(ip, mac, now_ns());
        self.neighbour_generation.fetch_add(1, Ordering::Release);
    }

    /// The neighbours that are known.
    pub(in super::super) fn list_neighbours(&self) -> Vec<super::super::interface::Neighbour> {
        self.neighbours.lock().list(self.index)
    }

    /// Neighbours, and bytes that wait for them.
    #[cfg(test)]
    pub(in super::super) fn neighbour_figures(&self) -> (usize, usize) {
        self.neighbours.lock().figures()
    }

    /// Time has passed: asks again, and gives up.
    pub(super) fn age_neighbours(&self, now_ns: u64) {
        let (due, next) = self.neighbours.lock().age(now_ns);
        if let Some(next) = next {
            self.look_again(next);
        }
        for due in due {
            match due {
                Due::Ask(ip, mac) => self.ask(ip, mac),
                Due::Failed(packets) => {
                    self.neighbour_generation.fetch_add(1, Ordering::Release);
                    if let Some(stack) = self.stack.upgrade() {
                        packets.iter().for_each(|packet| stack.unreachable(&packet.bytes));
                    }
                }
            }
        }
        self.port.flush();
    }
}
