//! [`Reassembly`]: fragments of packets that are not whole yet (RFC 791, RFC 8200 section 4.5, RFC 5722).
//!
//! Bounded: packets in the making, their bytes in all, fragments of one packet, and time. Overlapping fragments end their
//! packet, as RFC 5722 wants it for IPv6 and Linux does for IPv4 too.

use super::super::interface::NET_INNER;
use super::parse::{Fragment, Parsed};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::net::IpAddr;

/// Packets in the making.
const MAX_PACKETS: usize = 64;
/// Bytes of all of them.
const MAX_BYTES: usize = 1 << 20;
/// Fragments of one packet.
const MAX_PARTS: usize = 64;
/// Longest payload.
const MAX_LEN: usize = 65_535;
/// How long fragments wait for the others (`ipfrag_time`).
const LIFE_NS: u64 = 30_000_000_000;

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Default)]
struct Making {
    parts: BTreeMap<usize, Vec<u8>>,
    bytes: usize,
    /// Length of the payload, when the last fragment has come.
    total: Option<usize>,
    until_ns: u64,
    /// What the first fragment says beside its payload: protocol, time to live, traffic class, and its start to quote.
    first: Option<(u8, u8, u8, Vec<u8>)>,
    /// Fragments overlapped: nothing comes of this packet.
    is_spoilt: bool,
}

/// A packet that is whole now.
pub(in super::super) struct Whole {
    pub(in super::super) protocol: u8,
    pub(in super::super) ttl: u8,
    pub(in super::super) tos: u8,
    pub(in super::super) payload: Vec<u8>,
    /// The start of the packet, as its first fragment had it.
    pub(in super::super) start: Vec<u8>,
}

#[derive(Default)]
struct State {
    packets: BTreeMap<Key, Making>,
    bytes: usize,
}

/// Fragments that wait for the others.
pub(in super::super) struct Reassembly(SpinLock<State>);

impl Reassembly {
    pub(in super::super) fn new() -> Self {
        Self(SpinLock::new(NET_INNER, State::default()))
    }

    /// Takes a fragment in; the packet, when it is whole by that.
    pub(in super::super) fn add(&self, part: &Parsed<'_>, place: Fragment, now_ns: u64) -> Option<Whole> {
        let (start, len) = (usize::from(place.offset), part.payload.len());
        let end = start + len;
        // All but the last are multiples of 8 long, and none is empty.
        if len == 0 || end > MAX_LEN || (place.is_more && !len.is_multiple_of(8)) {
            return None;
        }
        let protocol = if part.to.is_ipv4() { part.protocol } else { 0 };
        let key = (part.from, part.to, protocol, place.id);
        let mut state = self.0.lock();
        state.expire(now_ns);
        state.make_room(&key, len);
        let making = state.packets.entry(key).or_default();
        if making.until_ns == 0 {
            making.until_ns = now_ns.saturating_add(LIFE_NS);
        }
        let total = if place.is_more { making.total } else { Some(end) };
        let overlaps = {
            let before = making.parts.range(..end).next_back();
            before.is_some_and(|(at, bytes)| at + bytes.len() > start)
        };
        let is_copy = making.parts.get(&start).is_some_and(|bytes| bytes == part.payload);
        if is_copy {
            return None;
        }
        let beyond = making
            .parts
            .last_key_value()
            .is_some_and(|(at, bytes)| total.is_some_and(|total| at + bytes.len() > total || end > total));
        let disagrees = making.total.is_some() && making.total != total;
        let is_bad = overlaps || beyond || disagrees || making.parts.len() >= MAX_PARTS;
        if making.is_spoilt || is_bad {
            let freed = core::mem::take(&mut making.bytes);
            (making.is_spoilt, making.first) = (true, None);
            let parts = core::mem::take(&mut making.parts);
            state.bytes = state.bytes.saturating_sub(freed);
            drop(state);
            drop(parts);
            return None;
        }
        making.total = total;
        making.bytes += len;
        making.parts.insert(start, part.payload.to_vec());
        if start == 0 {
            let quoted = part.whole.get(..part.whole.len().min(576)).unwrap_or_default().to_vec();
            making.first = Some((part.protocol, part.ttl, part.tos, quoted));
        }
        let is_whole = making.total == Some(making.bytes);
        state.bytes += len;
        if !is_whole {
            return None;
        }
        let done = state.packets.remove(&key)?;
        state.bytes = state.bytes.saturating_sub(done.bytes);
        drop(state);
        let (protocol, ttl, tos, start) = done.first?;
        let mut payload = Vec::new();
        payload.try_reserve_exact(done.bytes).ok()?;
        done.parts.values().for_each(|bytes| payload.extend_from_slice(bytes));
        Some(Whole { protocol, ttl, tos, payload, start })
    }

    /// Packets in the making, and their bytes.
    #[cfg(test)]
    pub(in super::super) fn figures(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.packets.len(), state.bytes)
    }
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.packets.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }

    fn expire(&mut self, now_ns: u64) {
        let over: Vec<Key> = self
            .packets
            .iter()
            .filter(|(_, making)| making.until_ns <= now_ns)
            .map(|(key, _)| *key)
            .collect();
        over.iter().for_each(|key| self.remove(key));
    }

    /// Gives up the oldest packets until `len` bytes of the one of `key` have room.
    fn make_room(&mut self, key: &Key, len: usize) {
        let is_new = !self.packets.contains_key(key);
        while self.bytes + len > MAX_BYTES || (is_new && self.packets.len() >= MAX_PACKETS) {
            let oldest = self
                .packets
                .iter()
                .filter(|(other, _)| *other != key)
                .min_by_key(|(_, making)| making.until_ns);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { return };
            self.remove(&oldest);
        }
    }
}
