//! What programs do with keys: add_key(2), request_key(2), keyctl(2).

use super::access::{Access, Found, Need};
use super::key::{
    ALL, ALL_PERMISSIONS, Kind, LINK, POSSESSOR, Payload, READ, SEARCH, SET_ATTRIBUTES, Serial, State, USER,
    VIEW, WRITE,
};
use super::search::{Expired, Search, Wanted};
use super::table::{KEPT_S, Making, Quota};
use crate::abi::Errno;
use crate::security::Capability;
use alloc::format;
use alloc::vec::Vec;

/// How long a persistent keyring is kept after it was last asked for, seconds (`kernel.keys.persistent_keyring_expiry`).
const PERSISTENT_S: i64 = 259_200;

impl Access<'_> {
    /// Makes a key in a ring, or gives the one of that name there another payload; returns its number (add_key(2)).
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENODEV` for an unknown type, `EINVAL`, `ENOTDIR`, `EACCES`, `EDQUOT`, `ENOMEM`, `EPERM`.
    pub fn add(
        &mut self,
        ring: Serial,
        kind: &[u8],
        description: &[u8],
        payload: &Payload,
    ) -> Result<Serial, Errno> {
        let ring = self.look_up(ring, true, Need::Write)?;
        let kind = Kind::by_name(kind).ok_or(Errno::ENODEV)?;
        if self.table.get(ring.serial)?.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        kind.check_payload(payload)?;
        if description.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.table.check_ring(ring.serial)?;
        let old = self.table.same_in(ring.serial, kind, description);
        if old.is_none() {
            self.table.has_room(ring.serial)?;
        }
        let is_live = |serial: &Serial| self.table.get(*serial).is_ok_and(|key| key.state == State::Live);
        if kind.is_updatable()
            && let Some(serial) = old.filter(is_live)
        {
            let found = Found { serial, possessed: ring.possessed };
            self.replace_payload(found, payload)?;
            return Ok(serial);
        }
        let readable = if kind.is_readable() { READ } else { 0 };
        let possessor = VIEW | SEARCH | LINK | SET_ATTRIBUTES | WRITE | readable;
        let making = Making {
            kind,
            description,
            uid: self.creds.fsuid,
            gid: self.creds.fsgid,
            permissions: possessor << POSSESSOR | VIEW << USER,
            quota: Quota::Heeded,
        };
        let serial = self.table.make(&making)?;
        let done = match kind {
            Kind::Keyring => Ok(()),
            Kind::User | Kind::Logon => self.table.set_payload(serial, payload),
        };
        let done = done.and_then(|()| self.table.link(ring.serial, serial));
        if let Err(errno) = done {
            self.table.collect(serial);
            return Err(errno);
        }
        Ok(serial)
    }

    fn replace_payload(&mut self, found: Found, payload: &Payload) -> Result<(), Errno> {
        self.check(found, Need::Write)?;
        let key = self.table.get(found.serial)?;
        if !key.kind.is_updatable() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.table.set_payload(found.serial, payload)?;
        self.table.get_mut(found.serial)?.expiry = None;
        Ok(())
    }

    /// Finds a key in the caller's rings and links it into another one, if that is not 0 (request_key(2)).
    ///
    /// # Errors
    /// `ENOKEY` when it is not there: there is nobody to make it; `EKEYREVOKED`, `EACCES`, and those of linking.
    pub fn request(&mut self, kind: &[u8], description: &[u8], ring: Serial) -> Result<Serial, Errno> {
        let ring = match ring {
            0 => None,
            ring => Some(self.look_up(ring, true, Need::Write)?.serial),
        };
        let kind = Kind::by_name(kind).ok_or(Errno::ENOKEY)?;
        let found = self.search_own(Wanted::Named(kind, description), Expired::Skipped);
        let serial = found.map_err(|errno| if errno == Errno::EAGAIN { Errno::ENOKEY } else { errno })?;
        self.link_found(Found { serial, possessed: true }, ring)?;
        self.table.get(serial)?.check(self.now)?;
        Ok(serial)
    }

    fn link_found(&mut self, found: Found, ring: Option<Serial>) -> Result<(), Errno> {
        let Some(ring) = ring else { return Ok(()) };
        self.check(found, Need::Link)?;
        self.table.link(ring, found.serial)
    }

    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    ///
    /// # Errors
    /// `EDQUOT`, `EINVAL`, `ENOMEM`.
    pub fn join_session(&mut self, name: Option<&[u8]>) -> Result<Serial, Errno> {
        let Some(name) = name else { return self.new_session() };
        let joinable = self.table.keys.iter().find(|(_, key)| {
            key.kind == Kind::Keyring
                && key.description == name
                && key.state == State::Live
                && key.allows(self.creds, false, SEARCH)
        });
        let Some((serial, _)) = joinable else { return self.new_named_session(name) };
        let serial = *serial;
        if *self.session == Some(serial) {
            return Ok(0);
        }
        self.table.hold(serial);
        self.enter_session(serial);
        Ok(serial)
    }

    /// `KEYCTL_UPDATE`.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `EOPNOTSUPP` for what has no payload, `EINVAL`, `EDQUOT`, `ENOMEM`.
    pub fn update(&mut self, id: Serial, payload: &Payload) -> Result<(), Errno> {
        let found = self.look_up(id, false, Need::Write)?;
        self.replace_payload(found, payload)
    }

    /// `KEYCTL_REVOKE`.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub fn revoke(&mut self, id: Serial) -> Result<(), Errno> {
        let found = match self.look_up(id, false, Need::Write) {
            Err(Errno::EACCES) => self.look_up(id, false, Need::SetAttributes)?,
            other => other?,
        };
        self.table.revoke(found.serial, self.now);
        Ok(())
    }

    /// `KEYCTL_INVALIDATE`.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub fn invalidate(&mut self, id: Serial) -> Result<(), Errno> {
        let found = self.look_up(id, false, Need::Search)?;
        self.table.invalidate(found.serial);
        Ok(())
    }

    /// `KEYCTL_CHOWN`; `None` leaves an id as it is.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `EACCES` for giving it away, `EDQUOT`.
    pub fn change_owner(&mut self, id: Serial, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let found = self.look_up(id, true, Need::SetAttributes)?;
        let key = self.table.get(found.serial)?;
        let gives_away = uid.is_some_and(|uid| uid != key.uid);
        let strange = gid.is_some_and(|gid| gid != key.gid && !self.creds.in_group(gid));
        if (gives_away || strange) && !self.creds.has(Capability::SysAdmin) {
            return Err(Errno::EACCES);
        }
        if let Some(uid) = uid.filter(|uid| *uid != key.uid) {
            self.table.set_owner(found.serial, uid)?;
        }
        if let Some(gid) = gid {
            self.table.get_mut(found.serial)?.gid = gid;
        }
        Ok(())
    }

    /// `KEYCTL_SETPERM`.
    ///
    /// # Errors
    /// `EINVAL` for unknown bits; as [`Access::look_up`]; `EACCES` for who does not own it.
    pub fn set_permissions(&mut self, id: Serial, permissions: u32) -> Result<(), Errno> {
        if permissions & !ALL_PERMISSIONS != 0 {
            return Err(Errno::EINVAL);
        }
        let found = self.look_up(id, true, Need::SetAttributes)?;
        let may = self.creds.has(Capability::SysAdmin);
        let key = self.table.get_mut(found.serial)?;
        if key.uid != self.creds.fsuid && !may {
            return Err(Errno::EACCES);
        }
        key.permissions = permissions;
        Ok(())
    }

    /// `KEYCTL_SET_TIMEOUT`: 0 for none.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub fn set_timeout(&mut self, id: Serial, seconds: u32) -> Result<(), Errno> {
        let found = self.look_up(id, true, Need::SetAttributes)?;
        let expiry = self.now.saturating_add(i64::from(seconds));
        self.table.get_mut(found.serial)?.expiry = (seconds > 0).then_some(expiry);
        if seconds > 0 {
            self.table.sweep_at(expiry.saturating_add(KEPT_S));
        }
        Ok(())
    }

    /// `KEYCTL_DESCRIBE`: type, owners as the caller's user namespace calls them, permissions, description.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub fn describe(&mut self, id: Serial) -> Result<Vec<u8>, Errno> {
        let found = self.look_up(id, false, Need::View)?;
        let key = self.table.get(found.serial)?;
        let (uid, gid) = self.owners(key);
        let head = format!(
            "{};{};{};{:08x};",
            key.kind.name(),
            uid.cast_signed(),
            gid.cast_signed(),
            key.permissions
        );
        Ok([head.as_bytes(), &key.description, &[0]].concat())
    }

    /// `KEYCTL_CLEAR`.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENOTDIR`.
    pub fn clear(&mut self, id: Serial) -> Result<(), Errno> {
        let found = self.look_up(id, true, Need::Write)?;
        if self.table.get(found.serial)?.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        self.table.clear(found.serial);
        Ok(())
    }

    /// `KEYCTL_LINK`.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENOTDIR`, `EDEADLK`, `ELOOP`, `EDQUOT`, `EPERM`, `ENOMEM`.
    pub fn link(&mut self, id: Serial, ring: Serial) -> Result<(), Errno> {
        let ring = self.look_up(ring, true, Need::Write)?;
        let found = self.look_up(id, true, Need::Link)?;
        self.table.link(ring.serial, found.serial)
    }

    /// `KEYCTL_UNLINK`.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENOTDIR`, `ENOENT`.
    pub fn unlink(&mut self, id: Serial, ring: Serial) -> Result<(), Errno> {
        let ring = self.look_up(ring, false, Need::Write)?;
        let found = self.look_up(id, false, Need::Name)?;
        self.table.unlink(ring.serial, found.serial)
    }

    /// `KEYCTL_MOVE`; `exclusive` refuses to displace another key.
    ///
    /// # Errors
    /// As [`Access::link`] and [`Access::unlink`]; `EEXIST`.
    pub fn move_link(&mut self, id: Serial, from: Serial, to: Serial, exclusive: bool) -> Result<(), Errno> {
        let found = self.look_up(id, true, Need::Link)?;
        let from = self.look_up(from, false, Need::Write)?;
        let to = self.look_up(to, true, Need::Write)?;
        if from.serial == to.serial {
            return Ok(());
        }
        let (source, key) = (self.table.get(from.serial)?, self.table.get(found.serial)?);
        if source.kind != Kind::Keyring || self.table.get(to.serial)?.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        if !source.links.contains(&found.serial) {
            return Err(Errno::ENOENT);
        }
        if exclusive && self.table.same_in(to.serial, key.kind, &key.description).is_some() {
            return Err(Errno::EEXIST);
        }
        self.table.link(to.serial, found.serial)?;
        self.table.unlink(from.serial, found.serial)
    }

    /// `KEYCTL_SEARCH`: looks into a ring, and links what is found into another one, if that is not 0.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENOKEY` when it is not there, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`, and those of linking.
    pub fn search(
        &mut self,
        ring: Serial,
        kind: &[u8],
        description: &[u8],
        into: Serial,
    ) -> Result<Serial, Errno> {
        let ring = self.look_up(ring, false, Need::Search)?;
        let into = match into {
            0 => None,
            into => Some(self.look_up(into, true, Need::Write)?.serial),
        };
        let kind = Kind::by_name(kind).ok_or(Errno::ENOKEY)?;
        let wanted = Wanted::Named(kind, description);
        let (creds, now) = (self.creds, self.now);
        let search = Search { table: &self.table, creds, wanted, expired: Expired::Told, now };
        let found = search.ring(ring.serial, ring.possessed);
        let serial = found.map_err(|errno| if errno == Errno::EAGAIN { Errno::ENOKEY } else { errno })?;
        self.link_found(Found { serial, possessed: ring.possessed }, into)?;
        Ok(serial)
    }

    /// `KEYCTL_READ`: the payload, or the numbers of the keys of a ring.
    ///
    /// # Errors
    /// `ENOKEY`, `EACCES`, `EOPNOTSUPP` for a type that cannot be read, `EKEYREVOKED`, `EKEYEXPIRED`.
    pub fn read(&mut self, id: Serial) -> Result<Vec<u8>, Errno> {
        let found = self.look_up(id, false, Need::Later).map_err(|_| Errno::ENOKEY)?;
        // What is in the caller's rings it may read even so.
        if self.check(found, Need::Read).is_err() && !found.possessed {
            return Err(Errno::EACCES);
        }
        let key = self.table.get(found.serial)?;
        if !key.kind.is_readable() {
            return Err(Errno::EOPNOTSUPP);
        }
        key.check(self.now)?;
        Ok(match key.kind {
            Kind::Keyring => key.links.iter().flat_map(|link| link.to_ne_bytes()).collect(),
            Kind::User | Kind::Logon => key.payload.clone(),
        })
    }

    /// `KEYCTL_SET_REQKEY_KEYRING`; returns what was set before.
    ///
    /// # Errors
    /// `EINVAL`, and those of making a ring.
    pub fn set_default_ring(&mut self, choice: i32) -> Result<i32, Errno> {
        let old = *self.default_ring;
        match choice {
            -1 => return Ok(old),
            1 => drop(self.own_thread_ring()?),
            2 => drop(self.own_process_ring()?),
            0 | 3 | 4 | 5 | 7 => {}
            _ => return Err(Errno::EINVAL),
        }
        *self.default_ring = choice;
        Ok(old)
    }

    /// `KEYCTL_RESTRICT_KEYRING` without a type: nothing more may be linked into the ring.
    ///
    /// # Errors
    /// As [`Access::look_up`]; `ENOTDIR`, `EEXIST`; `ENOENT` for a type, none of which knows restrictions.
    pub fn restrict(&mut self, id: Serial, has_type: bool) -> Result<(), Errno> {
        let found = self.look_up(id, false, Need::SetAttributes)?;
        let key = self.table.get_mut(found.serial)?;
        match () {
            () if key.kind != Kind::Keyring => Err(Errno::ENOTDIR),
            () if has_type => Err(Errno::ENOENT),
            () if key.is_closed => Err(Errno::EEXIST),
            () => {
                key.is_closed = true;
                Ok(())
            }
        }
    }

    /// `KEYCTL_GET_PERSISTENT`: links a user's persistent keyring into a ring.
    ///
    /// # Errors
    /// `EPERM` for that of another user; as [`Access::link`].
    pub fn persistent(&mut self, uid: u32, ring: Serial) -> Result<Serial, Errno> {
        let own = [self.creds.uid, self.creds.euid].contains(&uid);
        if !own && !self.creds.has(Capability::Setuid) {
            return Err(Errno::EPERM);
        }
        let ring = self.look_up(ring, true, Need::Write)?;
        if self.table.get(ring.serial)?.kind != Kind::Keyring {
            return Err(Errno::ENOTDIR);
        }
        let serial = match self.table.persistent.get(&uid) {
            Some(serial) => *serial,
            None => {
                let name = format!("_persistent.{uid}");
                let (description, gid) = (name.as_bytes(), u32::MAX);
                let permissions = (ALL & !SET_ATTRIBUTES) << POSSESSOR | (VIEW | READ) << USER;
                let (kind, quota) = (Kind::Keyring, Quota::Free);
                let serial = self.table.make(&Making { kind, description, uid, gid, permissions, quota })?;
                self.table.hold(serial);
                self.table.persistent.insert(uid, serial);
                serial
            }
        };
        self.check(Found { serial, possessed: true }, Need::Link)?;
        self.table.link(ring.serial, serial)?;
        let expiry = self.now.saturating_add(PERSISTENT_S);
        self.table.get_mut(serial)?.expiry = Some(expiry);
        self.table.sweep_at(expiry.saturating_add(KEPT_S));
        Ok(serial)
    }
}
