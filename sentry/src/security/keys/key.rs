//! [`Key`]: one key.

use crate::abi::Errno;
use crate::ipc::Taken;
use crate::security::Creds;
use alloc::vec::Vec;

/// The number of a key: positive.
pub type Serial = i32;

/// Longest payload of a user's key, bytes.
const PAYLOAD_MAX: usize = 32767;

/// Type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ring of keys.
    Keyring,
    /// Bytes that its user can read.
    User,
    /// Bytes that only the kernel can read; the description begins with a service and a colon.
    Logon,
}

impl Kind {
    /// As programs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::User => "user",
            Self::Logon => "logon",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Option<Self> {
        [Self::Keyring, Self::User, Self::Logon].into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether its payload can be read.
    pub(super) const fn is_readable(self) -> bool {
        !matches!(self, Self::Logon)
    }

    /// Whether its payload can be replaced.
    pub(super) const fn is_updatable(self) -> bool {
        !matches!(self, Self::Keyring)
    }

    /// Whether a key may be called so.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn check_description(self, description: &[u8]) -> Result<(), Errno> {
        let colon = description.iter().position(|byte| *byte == b':');
        let fits = !description.is_empty() && (self != Self::Logon || colon.is_some_and(|at| at > 0));
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Whether it may hold such a payload.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn check_payload(self, payload: &Payload) -> Result<(), Errno> {
        let fits = match (self, payload) {
            (Self::Keyring, Payload::Bytes(bytes)) => bytes.is_empty(),
            (Self::User | Self::Logon, Payload::Bytes(bytes)) => (1..=PAYLOAD_MAX).contains(&bytes.len()),
            (_, Payload::TooLong) => false,
        };
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// What a program gives for a key to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// These bytes.
    Bytes(Vec<u8>),
    /// More than any key here can hold; they were not kept.
    TooLong,
}

impl Payload {
    /// Most bytes that are of use.
    pub const MAX: usize = PAYLOAD_MAX;
}

/// Every permission bit: four times six, for possessor, user, group and others.
pub const ALL_PERMISSIONS: u32 = 0x3f3f_3f3f;
/// `KEY_POS_*`, `KEY_USR_*` of the bits below.
pub(super) const POSSESSOR: u32 = 24;
pub(super) const USER: u32 = 16;
const GROUP: u32 = 8;
pub(super) const VIEW: u32 = 1;
pub(super) const READ: u32 = 2;
pub(super) const WRITE: u32 = 4;
pub(super) const SEARCH: u32 = 8;
pub(super) const LINK: u32 = 16;
pub(super) const SET_ATTRIBUTES: u32 = 32;
pub(super) const ALL: u32 = 63;

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    Revoked,
    Invalidated,
}

/// One key.
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) description: Vec<u8>,
    pub(super) uid: u32,
    /// `u32::MAX`: none.
    pub(super) gid: u32,
    pub(super) permissions: u32,
    pub(super) state: State,
    /// Realtime seconds at which it is too old.
    pub(super) expiry: Option<i64>,
    pub(super) payload: Vec<u8>,
    /// Of a ring: its keys.
    pub(super) links: Vec<Serial>,
    /// Of a ring: nothing more may be linked into it.
    pub(super) is_closed: bool,
    /// One of the rings that every user has.
    pub(super) is_of_user: bool,
    /// Rings and tasks that have it.
    pub(super) uses: usize,
    pub(super) in_quota: bool,
    /// Bytes that count against its owner's quota.
    pub(super) quota_bytes: usize,
    pub(super) memory: Taken,
}

impl Key {
    /// Whether it can be used.
    ///
    /// # Errors
    /// `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`.
    pub(super) fn check(&self, now: i64) -> Result<(), Errno> {
        match self.state {
            State::Invalidated => Err(Errno::ENOKEY),
            State::Revoked => Err(Errno::EKEYREVOKED),
            State::Live if self.is_expired(now) => Err(Errno::EKEYEXPIRED),
            State::Live => Ok(()),
        }
    }

    pub(super) fn is_expired(&self, now: i64) -> bool {
        self.expiry.is_some_and(|expiry| now >= expiry)
    }

    /// Whether `creds` allow `wanted` ([`VIEW`] and so on).
    pub(super) fn allows(&self, creds: &Creds, possessed: bool, wanted: u32) -> bool {
        let groups = self.gid != u32::MAX && self.permissions >> GROUP & ALL != 0;
        let shift = match () {
            () if self.uid == creds.fsuid => USER,
            () if groups && creds.in_group(self.gid) => GROUP,
            () => 0,
        };
        let more = if possessed { self.permissions >> POSSESSOR } else { 0 };
        (self.permissions >> shift | more) & wanted == wanted
    }
}
