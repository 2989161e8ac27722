//! [`Table`]: the neighbours of a link (arp(7), RFC 4861 section 7.3).
//!
//! A neighbour is asked for when something is to be sent to it; what is sent meanwhile waits, a little of it. One that was
//! heard of long ago is used and asked again. Bounded: neighbours, and packets that wait.

use super::super::interface::Neighbour;
use crate::platform::Offload;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use hashbrown::HashMap;

/// Neighbours that are known (`gc_thresh3`).
const MAX_NEIGHBOURS: usize = 1024;
/// Packets that wait for one neighbour, and bytes that wait for all.
const MAX_WAITING: usize = 64;
const MAX_BYTES: usize = 512 << 10;
/// How long what was heard is believed without question (`base_reachable_time`).
const REACHABLE_NS: u64 = 30_000_000_000;
/// Between two questions (`retrans_time`).
pub(super) const RETRY_NS: u64 = 1_000_000_000;
/// Questions that go unanswered (`mcast_solicit`, `ucast_solicit`).
const TRIES: u8 = 3;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was asked for, so many times, and will be again.
    Incomplete { tries: u8, next_ns: u64 },
    /// Heard of not long ago.
    Reachable { until_ns: u64 },
    /// It was asked whether it is still there.
    Probing { tries: u8, next_ns: u64 },
    /// Heard of without having asked, or long ago.
    Stale,
    /// Set by hand.
    Permanent,
}

/// A packet that waits.
pub(in super::super) struct Packet {
    pub(in super::super) bytes: Vec<u8>,
    pub(in super::super) offload: Offload,
}

struct Entry {
    state: State,
    mac: [u8; 6],
    used_ns: u64,
    waiting: VecDeque<Packet>,
}

/// What to do with a packet to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there.
    Known([u8; 6]),
    /// It should be there; ask it.
    Doubtful([u8; 6]),
    /// Wait, and ask for it.
    Ask,
    /// Wait; it was asked for.
    Wait,
}

/// What the passing of time calls for.
pub(super) enum Due {
    /// Ask everybody, or the one of that hardware address.
    Ask(IpAddr, Option<[u8; 6]>),
    /// It is not there: what waited for it cannot be delivered.
    Failed(VecDeque<Packet>),
}

/// The neighbours of a link.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<IpAddr, Entry>,
    /// Bytes that wait.
    bytes: usize,
}

impl Table {
    fn entry(&mut self, ip: IpAddr, fresh: State, now_ns: u64) -> &mut Entry {
        if self.entries.len() >= MAX_NEIGHBOURS && !self.entries.contains_key(&ip) {
            let oldest = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.state != State::Permanent)
                .min_by_key(|(_, entry)| entry.used_ns)
                .map(|(ip, _)| *ip);
            if let Some(old) = oldest.and_then(|oldest| self.entries.remove(&oldest)) {
                self.bytes =
                    self.bytes.saturating_sub(old.waiting.iter().map(|packet| packet.bytes.len()).sum());
            }
        }
        self.entries.entry(ip).or_insert_with(|| Entry {
            state: fresh,
            mac: [0; 6],
            used_ns: now_ns,
            waiting: VecDeque::new(),
        })
    }

    /// Somebody wants to send to `ip`.
    pub(super) fn find(&mut self, ip: IpAddr, now_ns: u64) -> Answer {
        if !self.entries.contains_key(&ip) {
            self.entry(ip, State::Incomplete { tries: 1, next_ns: now_ns.saturating_add(RETRY_NS) }, now_ns);
            return Answer::Ask;
        }
        let Some(entry) = self.entries.get_mut(&ip) else { return Answer::Ask };
        entry.used_ns = now_ns;
        match entry.state {
            State::Incomplete { .. } => Answer::Wait,
            State::Permanent | State::Probing { .. } => Answer::Known(entry.mac),
            State::Reachable { until_ns } if now_ns < until_ns => Answer::Known(entry.mac),
            State::Reachable { .. } | State::Stale => {
                entry.state = State::Probing { tries: 1, next_ns: now_ns.saturating_add(RETRY_NS) };
                Answer::Doubtful(entry.mac)
            }
        }
    }

    /// Keeps a packet until the neighbour is known. Whether it had room; the oldest one makes some.
    pub(super) fn wait(&mut self, ip: IpAddr, packet: Packet) -> bool {
        let Some(entry) = self.entries.get_mut(&ip) else { return false };
        if entry.waiting.len() >= MAX_WAITING
            && let Some(old) = entry.waiting.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(old.bytes.len());
        }
        if self.bytes + packet.bytes.len() > MAX_BYTES {
            return false;
        }
        self.bytes += packet.bytes.len();
        entry.waiting.push_back(packet);
        true
    }

    /// A neighbour said where it is: in answer to a question or not, and whether that replaces what was known. What waited
    /// for it, and whether its address is another one now.
    pub(super) fn learn(
        &mut self,
        ip: IpAddr,
        mac: [u8; 6],
        now_ns: u64,
        heard: Heard,
    ) -> (VecDeque<Packet>, bool) {
        if !self.entries.contains_key(&ip) && heard != Heard::Asked {
            return (VecDeque::new(), false);
        }
        let entry = self.entry(ip, State::Stale, now_ns);
        let is_incomplete = matches!(entry.state, State::Incomplete { .. });
        if entry.state == State::Permanent {
            return (VecDeque::new(), false);
        }
        if !is_incomplete && entry.mac != mac && heard == Heard::Hint {
            // It may be another host that claims the address: ask again before it is believed.
            entry.state = State::Stale;
            return (VecDeque::new(), false);
        }
        let changes = entry.mac != mac;
        entry.mac = mac;
        entry.state = match heard {
            Heard::Answered => State::Reachable { until_ns: now_ns.saturating_add(REACHABLE_NS) },
            _ if changes || is_incomplete => State::Stale,
            _ => entry.state,
        };
        let waiting = core::mem::take(&mut entry.waiting);
        self.bytes = self.bytes.saturating_sub(waiting.iter().map(|packet| packet.bytes.len()).sum());
        (waiting, changes)
    }

    /// Sets a neighbour by hand.
    pub(super) fn set(&mut self, ip: IpAddr, mac: [u8; 6], now_ns: u64) {
        let entry = self.entry(ip, State::Permanent, now_ns);
        (entry.state, entry.mac) = (State::Permanent, mac);
    }

    /// What is due, and when to look again.
    pub(super) fn age(&mut self, now_ns: u64) -> (Vec<Due>, Option<u64>) {
        let mut due = Vec::new();
        let mut failed = Vec::new();
        let mut next: Option<u64> = None;
        for (ip, entry) in &mut self.entries {
            let (tries, next_ns, mac) = match &mut entry.state {
                State::Incomplete { tries, next_ns } => (tries, next_ns, None),
                State::Probing { tries, next_ns } => (tries, next_ns, Some(entry.mac)),
                _ => continue,
            };
            if *next_ns <= now_ns {
                if *tries >= TRIES {
                    failed.push(*ip);
                    continue;
                }
                *tries += 1;
                *next_ns = now_ns.saturating_add(RETRY_NS);
                due.push(Due::Ask(*ip, mac));
            }
            next = Some(next.map_or(*next_ns, |next| next.min(*next_ns)));
        }
        for ip in failed {
            if let Some(entry) = self.entries.remove(&ip) {
                self.bytes =
                    self.bytes.saturating_sub(entry.waiting.iter().map(|packet| packet.bytes.len()).sum());
                due.push(Due::Failed(entry.waiting));
            }
        }
        (due, next)
    }

    /// Forgets all that were not set by hand.
    pub(super) fn clear(&mut self) -> Vec<VecDeque<Packet>> {
        let mut lost = Vec::new();
        self.entries.retain(|_, entry| {
            let keeps = entry.state == State::Permanent;
            if !keeps {
                lost.push(core::mem::take(&mut entry.waiting));
            }
            keeps
        });
        self.bytes = 0;
        lost
    }

    /// The neighbours that are known, as `ip neigh` shows them.
    pub(super) fn list(&self, device: u32) -> Vec<Neighbour> {
        let state = |state: &State| match state {
            State::Incomplete { .. } => 1,
            State::Reachable { .. } => 2,
            State::Stale => 4,
            State::Probing { .. } => 0x10,
            State::Permanent => 0x80,
        };
        let mut all: Vec<Neighbour> = self
            .entries
            .iter()
            .map(|(ip, entry)| Neighbour { ip: *ip, device, mac: entry.mac, state: state(&entry.state) })
            .collect();
        all.sort_by_key(|known| known.ip);
        all
    }

    /// Neighbours, and bytes that wait.
    #[cfg(test)]
    pub(in super::super) fn figures(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

/// How one hears of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It answered a question.
    Answered,
    /// It asked for us: it is about to send.
    Asked,
    /// It told everybody.
    Told,
    /// It told, but does not want to replace what is known.
    Hint,
}
