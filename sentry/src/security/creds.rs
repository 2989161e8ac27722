//! [`Creds`]: who a task acts as. Immutable once shared; a change makes a new value.

use super::user_ns::{Kind, UserNamespace};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A capability number (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names of capabilities(7)")]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetBroadcast = 11,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    IpcOwner = 15,
    SysModule = 16,
    SysRawio = 17,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    AuditWrite = 29,
    AuditControl = 30,
    Setfcap = 31,
    MacOverride = 32,
    MacAdmin = 33,
    Syslog = 34,
    WakeAlarm = 35,
    BlockSuspend = 36,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

/// Mask of all capabilities.
pub const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// User and group ids, capabilities and related flags of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creds {
    /// Real, effective, saved, file system user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Supplementary groups.
    pub groups: Arc<Vec<u32>>,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Effective capabilities.
    pub effective: u64,
    /// Bounding set.
    pub bounding: u64,
    /// Ambient set.
    pub ambient: u64,
    /// `PR_SET_SECUREBITS`.
    pub securebits: u32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Where its capabilities count.
    pub user_ns: Arc<UserNamespace>,
}

impl Creds {
    /// Root with every capability: the kernel's own acts.
    #[must_use]
    pub fn root() -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::new(Vec::new()),
            inheritable: 0,
            permitted: ALL_CAPABILITIES,
            effective: ALL_CAPABILITIES,
            bounding: ALL_CAPABILITIES,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
            user_ns: UserNamespace::outermost(),
        }
    }

    /// Whether it has `capability` over the whole container.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.has_own(capability) && self.user_ns.is_outermost()
    }

    /// Whether it has `capability` in its own user namespace.
    #[must_use]
    pub const fn has_own(&self, capability: Capability) -> bool {
        self.effective & (1 << capability as u8) != 0
    }

    /// Whether it has `capability` in `namespace`: its own or one below, or one that it made right below its own.
    #[must_use]
    pub fn has_in(&self, capability: Capability, namespace: &UserNamespace) -> bool {
        let mut at = Some(namespace);
        while let Some(namespace) = at {
            if *namespace == *self.user_ns {
                return self.has_own(capability);
            }
            let parent = namespace.parent();
            if parent.is_some_and(|parent| **parent == *self.user_ns) && namespace.owner == self.euid {
                return true;
            }
            at = parent.map(|parent| &**parent);
        }
        false
    }

    /// Whether it has `capability` over a file with these owners: both have a name in its user namespace.
    #[must_use]
    pub fn has_over(&self, capability: Capability, uid: u32, gid: u32) -> bool {
        let named = || {
            self.user_ns.inside(Kind::User, uid).is_some() && self.user_ns.inside(Kind::Group, gid).is_some()
        };
        self.has_own(capability) && (self.user_ns.is_outermost() || named())
    }

    /// User 0 of its user namespace.
    #[must_use]
    pub fn root_uid(&self) -> Option<u32> {
        self.user_ns.outside(Kind::User, 0)
    }

    /// The credentials of who enters a user namespace, with every capability there.
    #[must_use]
    pub fn entering(&self, user_ns: Arc<UserNamespace>) -> Self {
        Self {
            inheritable: 0,
            permitted: ALL_CAPABILITIES,
            effective: ALL_CAPABILITIES,
            bounding: ALL_CAPABILITIES,
            ambient: 0,
            securebits: 0,
            user_ns,
            ..self.clone()
        }
    }

    /// Whether `gid` is the file system group or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
