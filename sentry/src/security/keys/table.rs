//! [`Table`]: the keys of a container.

use super::key::{Key, Kind, Payload, Serial, State};
use super::search::check_cycle;
use crate::abi::Errno;
use crate::ipc::Account;
use crate::mm::random_bits;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Keys that a user may have (`kernel.keys.maxkeys`).
pub const MAX_KEYS: usize = 200;
/// Bytes that they may take (`kernel.keys.maxbytes`).
pub const MAX_BYTES: usize = 20_000;
/// Keys that root may have. Linux has a million; here all are looked through under one lock.
pub const ROOT_MAX_KEYS: usize = 20_000;
/// Bytes that they may take.
pub const ROOT_MAX_BYTES: usize = 2_500_000;
/// What a link counts in its ring, bytes.
const LINK_BYTES: usize = 4;
/// Memory of a key beside its description and payload, and of a link, about.
const KEY_MEMORY: u64 = 256;
const LINK_MEMORY: u64 = 16;
/// How long what cannot be used any more is kept to be told of, seconds (`kernel.keys.gc_delay`).
pub(super) const KEPT_S: i64 = 300;

/// What a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) keys: usize,
    pub(super) quota_keys: usize,
    pub(super) quota_bytes: usize,
}

/// Most keys and bytes of a user.
pub(super) const fn limits(uid: u32) -> (usize, usize) {
    if uid == 0 { (ROOT_MAX_KEYS, ROOT_MAX_BYTES) } else { (MAX_KEYS, MAX_BYTES) }
}

/// Whether a key counts against its owner's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// It does.
    Heeded,
    /// It does, and may pass it.
    Overrun,
    /// It does not.
    Free,
}

/// A key to be made.
pub(super) struct Making<'a> {
    pub(super) kind: Kind,
    pub(super) description: &'a [u8],
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) permissions: u32,
    pub(super) quota: Quota,
}

/// The keys.
pub(super) struct Table {
    pub(super) keys: BTreeMap<Serial, Key>,
    pub(super) users: BTreeMap<u32, Count>,
    /// The user keyring and the user session keyring of those who have asked for theirs.
    pub(super) user_rings: BTreeMap<u32, (Serial, Serial)>,
    /// The persistent keyrings.
    pub(super) persistent: BTreeMap<u32, Serial>,
    account: Arc<Account>,
    /// When there may be something to be thrown away.
    next_sweep: i64,
}

impl Table {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self {
            keys: BTreeMap::new(),
            users: BTreeMap::new(),
            user_rings: BTreeMap::new(),
            persistent: BTreeMap::new(),
            account,
            next_sweep: i64::MAX,
        }
    }

    pub(super) fn get(&self, serial: Serial) -> Result<&Key, Errno> {
        self.keys.get(&serial).ok_or(Errno::ENOKEY)
    }

    pub(super) fn get_mut(&mut self, serial: Serial) -> Result<&mut Key, Errno> {
        self.keys.get_mut(&serial).ok_or(Errno::ENOKEY)
    }

    /// Makes a key that nobody has yet: the caller links or holds it.
    ///
    /// # Errors
    /// `EINVAL` for its description, `EDQUOT`, `ENOMEM`.
    pub(super) fn make(&mut self, making: &Making<'_>) -> Result<Serial, Errno> {
        making.kind.check_description(making.description)?;
        let quota_bytes = making.description.len() + 1;
        let count = self.users.get(&making.uid).copied().unwrap_or_default();
        let (most_keys, most_bytes) = limits(making.uid);
        let fits = count.quota_keys < most_keys && count.quota_bytes + quota_bytes <= most_bytes;
        if making.quota == Quota::Heeded && !fits {
            return Err(Errno::EDQUOT);
        }
        let memory = self.account.take(KEY_MEMORY + making.description.len() as u64)?;
        let serial = loop {
            let random = Serial::try_from(random_bits(31)).unwrap_or(0);
            if random >= 3 && !self.keys.contains_key(&random) {
                break random;
            }
        };
        let in_quota = making.quota != Quota::Free;
        let count = self.users.entry(making.uid).or_default();
        count.keys += 1;
        if in_quota {
            count.quota_keys += 1;
            count.quota_bytes += quota_bytes;
        }
        let key = Key {
            kind: making.kind,
            description: making.description.to_vec(),
            uid: making.uid,
            gid: making.gid,
            permissions: making.permissions,
            state: State::Live,
            expiry: None,
            payload: Vec::new(),
            links: Vec::new(),
            is_closed: false,
            is_of_user: false,
            uses: 0,
            in_quota,
            quota_bytes,
            memory,
        };
        self.keys.insert(serial, key);
        Ok(serial)
    }

    /// The key has one more or less that counts in its quota and takes memory: `bytes` and `memory` instead of what was.
    fn reserve(&mut self, serial: Serial, bytes: (usize, usize), memory: (u64, u64)) -> Result<(), Errno> {
        let Self { keys, users, .. } = self;
        let key = keys.get_mut(&serial).ok_or(Errno::ENOKEY)?;
        let (old, new) = bytes;
        if key.in_quota {
            let count = users.entry(key.uid).or_default();
            let after = (count.quota_bytes + new).saturating_sub(old);
            if new > old && after > limits(key.uid).1 {
                return Err(Errno::EDQUOT);
            }
            if memory.1 > memory.0 {
                key.memory.grow(memory.1 - memory.0)?;
            }
            count.quota_bytes = after;
        } else if memory.1 > memory.0 {
            key.memory.grow(memory.1 - memory.0)?;
        }
        key.memory.shrink(memory.0.saturating_sub(memory.1));
        key.quota_bytes = (key.quota_bytes + new).saturating_sub(old);
        Ok(())
    }

    /// Gives a key another payload.
    ///
    /// # Errors
    /// `EINVAL`, `EDQUOT`, `ENOMEM`.
    pub(super) fn set_payload(&mut self, serial: Serial, payload: &Payload) -> Result<(), Errno> {
        let key = self.get(serial)?;
        key.kind.check_payload(payload)?;
        let Payload::Bytes(bytes) = payload else { return Err(Errno::EINVAL) };
        let old = key.payload.len();
        self.reserve(serial, (old, bytes.len()), (old as u64, bytes.len() as u64))?;
        let key = self.get_mut(serial)?;
        key.payload.clone_from(bytes);
        Ok(())
    }

    /// The key of a ring with that type and description.
    pub(super) fn same_in(&self, ring: Serial, kind: Kind, description: &[u8]) -> Option<Serial> {
        let links = &self.keys.get(&ring)?.links;
        let is_same = |serial: &&Serial| {
            self.keys.get(serial).is_some_and(|key| key.kind == kind && key.description == description)
        };
        links.iter().find(is_same).copied()
    }

    /// Whether something may be linked into a ring.
    ///
    /// # Errors
    /// `ENOTDIR` for what is no ring, `EKEYREVOKED`.
    pub(super) fn check_ring(&self, ring: Serial) -> Result<(), Errno> {
        let ring = self.get(ring)?;
        match ring.state {
            _ if ring.kind != Kind::Keyring => Err(Errno::ENOTDIR),
            State::Revoked => Err(Errno::EKEYREVOKED),
            State::Live | State::Invalidated => Ok(()),
        }
    }

    /// Whether there is room for a further link.
    pub(super) fn has_room(&self, ring: Serial) -> Result<(), Errno> {
        let key = self.get(ring)?;
        let used = self.users.get(&key.uid).map_or(0, |count| count.quota_bytes);
        if key.in_quota && used + LINK_BYTES > limits(key.uid).1 { Err(Errno::EDQUOT) } else { Ok(()) }
    }

    /// Links a key into a ring, in place of one of the same type and description.
    ///
    /// # Errors
    /// As [`Table::check_ring`]; `EDQUOT`, `ENOMEM`, `EPERM` for a closed ring, `EDEADLK` when the ring would be in itself,
    /// `ELOOP` when rings would be too deep in each other.
    pub(super) fn link(&mut self, ring: Serial, serial: Serial) -> Result<(), Errno> {
        self.check_ring(ring)?;
        let key = self.get(serial)?;
        let (kind, description) = (key.kind, key.description.clone());
        let old = self.same_in(ring, kind, &description);
        if old.is_none() {
            self.has_room(ring)?;
        }
        if self.get(ring)?.is_closed {
            return Err(Errno::EPERM);
        }
        if kind == Kind::Keyring {
            check_cycle(self, ring, serial)?;
        }
        self.hold(serial);
        match old {
            Some(old) => {
                let links = &mut self.get_mut(ring)?.links;
                links.iter_mut().filter(|link| **link == old).for_each(|link| *link = serial);
                self.release(old);
            }
            None => {
                let added = self.reserve(ring, (0, LINK_BYTES), (0, LINK_MEMORY));
                if let Err(errno) = added {
                    self.release(serial);
                    return Err(errno);
                }
                self.get_mut(ring)?.links.push(serial);
            }
        }
        Ok(())
    }

    /// Takes a key out of a ring.
    ///
    /// # Errors
    /// `ENOTDIR` for what is no ring, `ENOENT` when the key is not in it.
    pub(super) fn unlink(&mut self, ring: Serial, serial: Serial) -> Result<(), Errno> {
        let found = self.get_mut(ring)?;
        if found.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        let at = found.links.iter().position(|link| *link == serial).ok_or(Errno::ENOENT)?;
        found.links.remove(at);
        self.reserve(ring, (LINK_BYTES, 0), (LINK_MEMORY, 0))?;
        self.release(serial);
        Ok(())
    }

    /// Takes everything out of a ring.
    pub(super) fn clear(&mut self, ring: Serial) {
        let Some(found) = self.keys.get_mut(&ring) else { return };
        let links = core::mem::take(&mut found.links);
        let count = links.len();
        let _ = self.reserve(ring, (count * LINK_BYTES, 0), (count as u64 * LINK_MEMORY, 0));
        links.into_iter().for_each(|serial| self.release(serial));
    }

    /// A further ring or task has the key.
    pub(super) fn hold(&mut self, serial: Serial) {
        if let Some(key) = self.keys.get_mut(&serial) {
            key.uses += 1;
        }
    }

    /// One of those who had the key has it no more.
    pub(super) fn release(&mut self, serial: Serial) {
        if let Some(key) = self.keys.get_mut(&serial) {
            key.uses = key.uses.saturating_sub(1);
        }
        self.collect(serial);
    }

    /// Ends a key that nobody has, and what only it had.
    pub(super) fn collect(&mut self, serial: Serial) {
        let mut work = alloc::vec![serial];
        while let Some(serial) = work.pop() {
            let Some(key) = self.keys.get(&serial).filter(|key| key.uses == 0) else { continue };
            let (uid, in_quota, bytes) = (key.uid, key.in_quota, key.quota_bytes);
            let Some(key) = self.keys.remove(&serial) else { continue };
            self.uncount(uid, in_quota, bytes);
            for link in key.links {
                if let Some(linked) = self.keys.get_mut(&link) {
                    linked.uses = linked.uses.saturating_sub(1);
                    work.push(link);
                }
            }
        }
    }

    fn uncount(&mut self, uid: u32, in_quota: bool, bytes: usize) {
        let Some(count) = self.users.get_mut(&uid) else { return };
        count.keys = count.keys.saturating_sub(1);
        if in_quota {
            count.quota_keys = count.quota_keys.saturating_sub(1);
            count.quota_bytes = count.quota_bytes.saturating_sub(bytes);
        }
        if count.keys == 0 {
            self.users.remove(&uid);
        }
    }

    /// Gives a key another owner.
    ///
    /// # Errors
    /// `EDQUOT`.
    pub(super) fn set_owner(&mut self, serial: Serial, uid: u32) -> Result<(), Errno> {
        let key = self.get(serial)?;
        let (old, in_quota, bytes) = (key.uid, key.in_quota, key.quota_bytes);
        let count = self.users.get(&uid).copied().unwrap_or_default();
        let (most_keys, most_bytes) = limits(uid);
        if in_quota && (count.quota_keys >= most_keys || count.quota_bytes + bytes > most_bytes) {
            return Err(Errno::EDQUOT);
        }
        self.move_count(old, uid, in_quota, bytes);
        self.get_mut(serial)?.uid = uid;
        Ok(())
    }

    fn move_count(&mut self, from: u32, to: u32, in_quota: bool, bytes: usize) {
        let count = self.users.entry(to).or_default();
        count.keys += 1;
        if in_quota {
            count.quota_keys += 1;
            count.quota_bytes += bytes;
        }
        self.uncount(from, in_quota, bytes);
    }

    /// The key cannot be used any more; what it held goes at once.
    pub(super) fn revoke(&mut self, serial: Serial, now: i64) {
        let Some(key) = self.keys.get_mut(&serial).filter(|key| key.state == State::Live) else { return };
        key.state = State::Revoked;
        key.expiry = Some(key.expiry.map_or(now, |expiry| expiry.min(now)));
        let kind = key.kind;
        let len = core::mem::take(&mut key.payload).len();
        let _ = self.reserve(serial, (len, 0), (len as u64, 0));
        if kind == Kind::Keyring {
            self.clear(serial);
        }
        self.sweep_at(now.saturating_add(KEPT_S));
    }

    /// The key vanishes from every ring.
    pub(super) fn invalidate(&mut self, serial: Serial) {
        let Some(key) = self.keys.get_mut(&serial) else { return };
        key.state = State::Invalidated;
        self.unlink_all(&[serial]);
    }

    /// Takes keys out of every ring.
    fn unlink_all(&mut self, doomed: &[Serial]) {
        let has_doomed = |key: &Key| key.links.iter().any(|link| doomed.binary_search(link).is_ok());
        let rings: Vec<Serial> =
            self.keys.iter().filter(|(_, key)| has_doomed(key)).map(|(serial, _)| *serial).collect();
        for ring in rings {
            let links = self.keys.get(&ring).map(|key| key.links.clone()).unwrap_or_default();
            for link in links.into_iter().filter(|link| doomed.binary_search(link).is_ok()) {
                let _ = self.unlink(ring, link);
            }
        }
    }

    /// From then on there may be something to throw away.
    pub(super) fn sweep_at(&mut self, at: i64) {
        self.next_sweep = self.next_sweep.min(at);
    }

    /// Throws away what has been of no use for long.
    pub(super) fn sweep(&mut self, now: i64) {
        if now < self.next_sweep {
            return;
        }
        let end = |key: &Key| key.expiry.map(|expiry| expiry.saturating_add(KEPT_S));
        let is_doomed = |key: &Key| end(key).is_some_and(|end| now >= end);
        let doomed: Vec<Serial> =
            self.keys.iter().filter(|(_, key)| is_doomed(key)).map(|(serial, _)| *serial).collect();
        self.unlink_all(&doomed);
        let old = |serial: &Serial| doomed.binary_search(serial).is_ok();
        let gone: Vec<(u32, Serial)> = self
            .persistent
            .iter()
            .filter(|(_, serial)| old(serial))
            .map(|(uid, serial)| (*uid, *serial))
            .collect();
        for (uid, serial) in gone {
            self.persistent.remove(&uid);
            self.release(serial);
        }
        let later = self.keys.values().filter_map(end).filter(|end| *end > now).min();
        self.next_sweep = later.unwrap_or(i64::MAX);
    }
}
