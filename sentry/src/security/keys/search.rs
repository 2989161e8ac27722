//! Looking for keys in rings, and in the rings in those.

use super::key::{Kind, SEARCH, Serial, State};
use super::table::Table;
use crate::abi::Errno;
use crate::security::Creds;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How deep rings are looked into.
const DEPTH_MAX: usize = 6;

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// A key that can be used.
    Named(Kind, &'a [u8]),
    /// This key, in whatever state: whether it is possessed.
    Itself(Serial),
}

/// Whether a key that is too old is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// `EKEYEXPIRED`, if there is no better one.
    Told,
    /// It is as if it were not there.
    Skipped,
}

/// A search.
pub(super) struct Search<'a> {
    pub(super) table: &'a Table,
    pub(super) creds: &'a Creds,
    pub(super) wanted: Wanted<'a>,
    pub(super) expired: Expired,
    pub(super) now: i64,
}

impl Search<'_> {
    /// Looks into a ring and those in it.
    ///
    /// # Errors
    /// `EAGAIN` when it is not there; `ENOTDIR`, `EACCES`, `EKEYREVOKED`, `EKEYEXPIRED`.
    pub(super) fn ring(&self, top: Serial, possessed: bool) -> Result<Serial, Errno> {
        let ring = self.table.get(top)?;
        if ring.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        if !ring.allows(self.creds, possessed, SEARCH) {
            return Err(Errno::EACCES);
        }
        let mut refused = Errno::EAGAIN;
        if self.fits(top, possessed, &mut refused) {
            return Ok(top);
        }
        // Rings to be looked into, with the depth at which each was met least deep.
        let mut work = alloc::vec![(top, 0)];
        let mut met = BTreeMap::from([(top, 0)]);
        while let Some((at, depth)) = work.pop() {
            let Ok(ring) = self.table.get(at) else { continue };
            if self.heeds_state() && ring.state != State::Live {
                continue;
            }
            for link in &ring.links {
                if self.fits(*link, possessed, &mut refused) {
                    return Ok(*link);
                }
            }
            let first = work.len();
            for link in &ring.links {
                let Ok(key) = self.table.get(*link) else { continue };
                let enters = key.kind == Kind::Keyring
                    && depth < DEPTH_MAX
                    && key.allows(self.creds, possessed, SEARCH)
                    && met.get(link).is_none_or(|met| *met > depth + 1);
                if enters {
                    met.insert(*link, depth + 1);
                    work.push((*link, depth + 1));
                }
            }
            // The first of them next.
            if let Some(new) = work.get_mut(first..) {
                new.reverse();
            }
        }
        Err(refused)
    }

    const fn heeds_state(&self) -> bool {
        matches!(self.wanted, Wanted::Named(..))
    }

    /// Whether a key is the one; else why not, if it nearly was.
    fn fits(&self, serial: Serial, possessed: bool, refused: &mut Errno) -> bool {
        let Ok(key) = self.table.get(serial) else { return false };
        match self.wanted {
            Wanted::Itself(wanted) if wanted != serial => return false,
            Wanted::Named(kind, name) if key.kind != kind || key.description != name => return false,
            Wanted::Itself(_) | Wanted::Named(..) => {}
        }
        if self.heeds_state() {
            if key.state != State::Live {
                *refused = Errno::EKEYREVOKED;
                return false;
            }
            if key.is_expired(self.now) {
                if self.expired == Expired::Told {
                    *refused = Errno::EKEYEXPIRED;
                }
                return false;
            }
        }
        let allowed = key.allows(self.creds, possessed, SEARCH);
        if !allowed {
            *refused = Errno::EACCES;
        }
        allowed
    }

    /// Looks into several rings that the caller possesses, one after the other.
    ///
    /// # Errors
    /// As [`Search::ring`], the first of those that tell most.
    pub(super) fn rings(&self, rings: &[Serial]) -> Result<Serial, Errno> {
        let mut missing = None;
        let mut error = Errno::EAGAIN;
        for ring in rings {
            match self.ring(*ring, true) {
                Ok(found) => return Ok(found),
                Err(Errno::EAGAIN) => {
                    missing.get_or_insert(Errno::EAGAIN);
                }
                Err(Errno::ENOKEY) => missing = Some(Errno::ENOKEY),
                Err(errno) => error = errno,
            }
        }
        Err(missing.unwrap_or(error))
    }
}

/// Whether `ring` may hold the ring `inner`.
///
/// # Errors
/// `EDEADLK` when it is in that, `ELOOP` when that goes too deep to tell.
pub(super) fn check_cycle(table: &Table, ring: Serial, inner: Serial) -> Result<(), Errno> {
    let mut work: Vec<(Serial, usize)> = alloc::vec![(inner, 0)];
    let mut met = BTreeMap::from([(inner, 0)]);
    while let Some((at, depth)) = work.pop() {
        if at == ring {
            return Err(Errno::EDEADLK);
        }
        let Ok(key) = table.get(at) else { continue };
        for link in &key.links {
            let is_ring = table.get(*link).is_ok_and(|key| key.kind == Kind::Keyring);
            if !is_ring || met.get(link).is_some_and(|met| *met > depth) {
                continue;
            }
            if *link == ring {
                return Err(Errno::EDEADLK);
            }
            if depth >= DEPTH_MAX {
                return Err(Errno::ELOOP);
            }
            met.insert(*link, depth + 1);
            work.push((*link, depth + 1));
        }
    }
    Ok(())
}
