//! [`Perm`]: owner, creator and permission bits of an object (sysvipc(7), "ipc_perm").

use crate::abi::Errno;
use crate::security::{Capability, Creds};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Read permission for anybody, as calls ask for it.
pub const READ: u32 = 0o444;
/// Write permission.
pub const WRITE: u32 = 0o222;
/// Execute permission.
pub const EXECUTE: u32 = 0o111;

/// `struct ipc64_perm`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of ipc_perm")]
pub struct PermRecord {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
    pub pad: [u16; 3],
    pub unused: [u64; 2],
}

/// Who may do what to an object.
#[derive(Clone, Copy, Debug)]
pub struct Perm {
    /// Owner.
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Creator's group.
    pub cgid: u32,
    /// Permission bits, and flags of the kind of object.
    pub mode: u32,
}

impl Perm {
    /// Of a new object that `creds` make with the flags of a `*get` call.
    #[must_use]
    pub const fn new(creds: &Creds, flags: u32) -> Self {
        Self { uid: creds.euid, gid: creds.egid, cuid: creds.euid, cgid: creds.egid, mode: flags & 0o777 }
    }

    /// Whether `creds` may do what `flags` ask for, in the bits of any of owner, group and others.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, creds: &Creds, flags: u32) -> Result<(), Errno> {
        let wanted = ((flags >> 6) | (flags >> 3) | flags) & 7;
        let granted = if creds.euid == self.cuid || creds.euid == self.uid {
            self.mode >> 6
        } else if creds.in_group(self.cgid) || creds.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || creds.has(Capability::IpcOwner) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether `creds` may remove the object or change its owner.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_owner(&self, creds: &Creds) -> Result<(), Errno> {
        let owns = creds.euid == self.cuid || creds.euid == self.uid;
        if owns || creds.has(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Takes owner and permission bits from a record (`IPC_SET`).
    ///
    /// # Errors
    /// `EINVAL` for an id that is none.
    pub const fn update(&mut self, record: &PermRecord) -> Result<(), Errno> {
        if record.uid == u32::MAX || record.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = record.uid;
        self.gid = record.gid;
        self.mode = (self.mode & !0o777) | (record.mode & 0o777);
        Ok(())
    }

    /// As the `*_STAT` commands tell it.
    #[must_use]
    pub const fn record(&self, key: i32, seq: u16) -> PermRecord {
        PermRecord {
            key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq,
            pad: [0; 3],
            unused: [0; 2],
        }
    }
}
