//! [`Rings`], the keyrings of a task, and [`Access`]: keys as the task names them.

use super::KeyStore;
use super::key::{ALL, Kind, LINK, POSSESSOR, READ, SEARCH, SET_ATTRIBUTES, Serial, USER, VIEW, WRITE};
use super::search::{Expired, Search, Wanted};
use super::table::{Making, Quota, Table};
use crate::abi::Errno;
use crate::security::Creds;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::SpinGuard;

/// Permission of a ring that belongs to a task.
const OF_TASK: u32 = ALL << POSSESSOR | VIEW << USER;
/// Permission of a session's ring, with a name and without.
const OF_NAMED_SESSION: u32 = OF_TASK | (READ | LINK) << USER;
const OF_SESSION: u32 = OF_TASK | READ << USER;
/// Permission of the rings that every user has.
const OF_USER: u32 = (ALL & !SET_ATTRIBUTES) << POSSESSOR | ALL << USER;

/// The keyrings of a task. Children have the session's, threads nothing else either; execve(2) leaves that alone.
pub struct Rings {
    store: Arc<KeyStore>,
    pub(super) thread: Option<Serial>,
    pub(super) process: Option<Serial>,
    pub(super) session: Option<Serial>,
    /// `KEY_REQKEY_DEFL_*`: where request_key(2) would put what it has made.
    pub(super) default_ring: i32,
}

impl Rings {
    /// None, with the keys of a container.
    #[must_use]
    pub fn new(store: Arc<KeyStore>) -> Self {
        Self { store, thread: None, process: None, session: None, default_ring: 0 }
    }

    /// Those of a child of the task.
    #[must_use]
    pub fn of_child(&self) -> Self {
        self.shared(None)
    }

    /// Those of a further thread: one of its own too, if this one has that.
    #[must_use]
    pub fn of_thread(&self, creds: &Creds) -> Self {
        let mut rings = self.shared(self.process);
        if self.thread.is_some() {
            // Without memory it is made when it is asked for.
            let _ = rings.access(creds, i64::MIN).own_thread_ring();
        }
        rings
    }

    fn shared(&self, process: Option<Serial>) -> Self {
        let mut table = self.store.table.lock();
        [self.session, process].into_iter().flatten().for_each(|serial| table.hold(serial));
        drop(table);
        Self {
            store: self.store.clone(),
            thread: None,
            process,
            session: self.session,
            default_ring: self.default_ring,
        }
    }

    /// What execve(2) leaves.
    pub fn after_exec(&mut self) {
        let gone = [self.thread.take(), self.process.take()];
        let mut table = self.store.table.lock();
        gone.into_iter().flatten().for_each(|serial| table.release(serial));
    }

    /// The task has ended.
    pub fn leave(&mut self) {
        let gone = [self.thread.take(), self.process.take(), self.session.take()];
        if gone.iter().any(Option::is_some) {
            let mut table = self.store.table.lock();
            gone.into_iter().flatten().for_each(|serial| table.release(serial));
        }
    }

    /// The ring of its session is that of a child's, which holds it for this task (`KEYCTL_SESSION_TO_PARENT`).
    pub fn set_session(&mut self, serial: Serial) {
        if let Some(old) = self.session.replace(serial) {
            self.store.table.lock().release(old);
        }
    }

    /// The ring of its session and whose it is, if it has one.
    #[must_use]
    pub fn session(&self) -> Option<(Serial, u32)> {
        let serial = self.session?;
        let owner = self.store.table.lock().get(serial).ok()?.uid;
        Some((serial, owner))
    }

    /// The task acts as another user or group on files: its own ring goes with it.
    pub fn follow(&self, creds: &Creds) {
        let Some(thread) = self.thread else { return };
        let mut table = self.store.table.lock();
        let _ = table.set_owner(thread, creds.fsuid);
        if let Ok(key) = table.get_mut(thread) {
            key.gid = creds.fsgid;
        }
    }

    /// The task's look at the keys, which are locked meanwhile. `now` is in realtime seconds.
    pub fn access<'a>(&'a mut self, creds: &'a Creds, now: i64) -> Access<'a> {
        let Self { store, thread, process, session, default_ring } = self;
        let mut table = store.table.lock();
        table.sweep(now);
        Access { table, thread, process, session, default_ring, creds, now }
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a call wants of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the permissions of keyrings(7)")]
pub enum Need {
    View,
    Read,
    Write,
    Search,
    Link,
    SetAttributes,
    /// Nothing: it is only named.
    Name,
    /// Nothing yet, not even that it can be used.
    Later,
}

impl Need {
    const fn bits(self) -> u32 {
        match self {
            Self::View => VIEW,
            Self::Read => READ,
            Self::Write => WRITE,
            Self::Search => SEARCH,
            Self::Link => LINK,
            Self::SetAttributes => SET_ATTRIBUTES,
            Self::Name | Self::Later => 0,
        }
    }
}

/// A key that was found, and whether the caller possesses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub serial: Serial,
    /// It is in one of the caller's rings.
    pub possessed: bool,
}

/// The keys as a task sees them.
pub struct Access<'a> {
    pub(super) table: SpinGuard<'a, Table>,
    pub(super) thread: &'a mut Option<Serial>,
    pub(super) process: &'a mut Option<Serial>,
    pub(super) session: &'a mut Option<Serial>,
    pub(super) default_ring: &'a mut i32,
    pub(super) creds: &'a Creds,
    pub(super) now: i64,
}

impl Access<'_> {
    fn new_ring(&mut self, name: &[u8], permissions: u32, quota: Quota) -> Result<Serial, Errno> {
        let (uid, gid) = (self.creds.uid, self.creds.gid);
        let making = Making { kind: Kind::Keyring, description: name, uid, gid, permissions, quota };
        let serial = self.table.make(&making)?;
        self.table.hold(serial);
        Ok(serial)
    }

    /// The thread's ring, made if it is not there.
    pub(super) fn own_thread_ring(&mut self) -> Result<Serial, Errno> {
        if let Some(serial) = *self.thread {
            return Ok(serial);
        }
        let serial = self.new_ring(b"_tid", OF_TASK, Quota::Overrun)?;
        *self.thread = Some(serial);
        Ok(serial)
    }

    /// The process's ring, made if it is not there.
    pub(super) fn own_process_ring(&mut self) -> Result<Serial, Errno> {
        if let Some(serial) = *self.process {
            return Ok(serial);
        }
        let serial = self.new_ring(b"_pid", OF_TASK, Quota::Overrun)?;
        *self.process = Some(serial);
        Ok(serial)
    }

    /// A ring without a name for a new session.
    pub(super) fn new_session(&mut self) -> Result<Serial, Errno> {
        let quota = if self.session.is_some() { Quota::Heeded } else { Quota::Overrun };
        let serial = self.new_ring(b"_ses", OF_SESSION, quota)?;
        self.enter_session(serial);
        Ok(serial)
    }

    /// A ring with a name for a new session.
    pub(super) fn new_named_session(&mut self, name: &[u8]) -> Result<Serial, Errno> {
        let serial = self.new_ring(name, OF_NAMED_SESSION, Quota::Heeded)?;
        self.enter_session(serial);
        Ok(serial)
    }

    /// The ring, which the caller holds for the task, is its session's now.
    pub(super) fn enter_session(&mut self, serial: Serial) {
        if let Some(old) = self.session.replace(serial) {
            self.table.release(old);
        }
    }

    /// The user's ring and that of the user's sessions, made if they are not there.
    pub(super) fn user_rings(&mut self) -> Result<(Serial, Serial), Errno> {
        let uid = self.creds.uid;
        if let Some(rings) = self.table.user_rings.get(&uid) {
            return Ok(*rings);
        }
        let make = |table: &mut Table, name: &str| {
            let (permissions, quota) = (OF_USER, Quota::Heeded);
            let (description, gid) = (name.as_bytes(), u32::MAX);
            let serial =
                table.make(&Making { kind: Kind::Keyring, description, uid, gid, permissions, quota })?;
            table.hold(serial);
            table.get_mut(serial)?.is_of_user = true;
            Ok::<Serial, Errno>(serial)
        };
        let user = make(&mut self.table, &alloc::format!("_uid.{uid}"))?;
        let made = make(&mut self.table, &alloc::format!("_uid_ses.{uid}"));
        let session = made.inspect_err(|_| self.table.release(user))?;
        if let Err(errno) = self.table.link(session, user) {
            self.table.release(session);
            self.table.release(user);
            return Err(errno);
        }
        self.table.user_rings.insert(uid, (user, session));
        Ok((user, session))
    }

    /// The session's ring. Whoever has none gets that of the user's sessions, or with `create` one of its own.
    fn session_ring(&mut self, create: bool) -> Result<Serial, Errno> {
        let is_of_user = |table: &Table, serial| table.get(serial).is_ok_and(|key| key.is_of_user);
        match *self.session {
            None => {
                let (_, shared) = self.user_rings()?;
                if create {
                    return self.new_session();
                }
                self.table.hold(shared);
                self.enter_session(shared);
                Ok(shared)
            }
            Some(serial) if create && is_of_user(&self.table, serial) => self.new_session(),
            Some(serial) => Ok(serial),
        }
    }

    /// The rings that the task possesses.
    pub(super) fn own_rings(&self) -> Vec<Serial> {
        let shared = || self.table.user_rings.get(&self.creds.uid).map(|rings| rings.1);
        [*self.thread, *self.process, self.session.or_else(shared)].into_iter().flatten().collect()
    }

    /// Looks for a key in the task's rings.
    pub(super) fn search_own(&self, wanted: Wanted<'_>, expired: Expired) -> Result<Serial, Errno> {
        let search = Search { table: &self.table, creds: self.creds, wanted, expired, now: self.now };
        search.rings(&self.own_rings())
    }

    /// The key that a program names: by its number, or a negative one for the rings that it has. With `create` rings that
    /// are not there are made.
    ///
    /// # Errors
    /// `EINVAL` for no number of a key, `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`; those of making a ring.
    pub fn look_up(&mut self, id: Serial, create: bool, need: Need) -> Result<Found, Errno> {
        let serial = match id {
            -1 if !create => self.thread.ok_or(Errno::ENOKEY)?,
            -1 => self.own_thread_ring()?,
            -2 if !create => self.process.ok_or(Errno::ENOKEY)?,
            -2 => self.own_process_ring()?,
            -3 => self.session_ring(create)?,
            -4 => self.user_rings()?.0,
            -5 => self.user_rings()?.1,
            // There is never a key to be made, nor one who asked for it.
            -7 | -8 => return Err(Errno::ENOKEY),
            id if id < 1 => return Err(Errno::EINVAL),
            id => id,
        };
        let key = self.table.get(serial)?;
        let possessed = id < 0 || self.search_own(Wanted::Itself(serial), Expired::Told).is_ok();
        if !matches!(need, Need::Name | Need::Later) {
            key.check(self.now)?;
        }
        if key.allows(self.creds, possessed, need.bits()) {
            Ok(Found { serial, possessed })
        } else {
            Err(Errno::EACCES)
        }
    }

    /// The ring of the caller's session, held for one more task.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub fn lend_session(&mut self) -> Result<Serial, Errno> {
        let serial = self.look_up(-3, false, Need::Link)?.serial;
        self.table.hold(serial);
        Ok(serial)
    }

    /// Gives back what [`Access::lend_session`] took.
    pub fn take_back(&mut self, serial: Serial) {
        self.table.release(serial);
    }

    /// Whether the caller may do so with a key that was found.
    ///
    /// # Errors
    /// `EACCES`.
    pub(super) fn check(&self, found: Found, need: Need) -> Result<(), Errno> {
        let key = self.table.get(found.serial)?;
        if key.allows(self.creds, found.possessed, need.bits()) { Ok(()) } else { Err(Errno::EACCES) }
    }
}
