//! What execve(2) makes of credentials (capabilities(7), "Transformation of capabilities during execve").

use super::{ALL_CAPABILITIES, Creds};
use crate::abi::Errno;

/// `SECBIT_*`.
#[expect(missing_docs, reason = "names of capabilities(7)")]
pub mod securebits {
    pub const NOROOT: u32 = 1;
    pub const NO_SETUID_FIXUP: u32 = 4;
    pub const KEEP_CAPS: u32 = 16;
    pub const NO_CAP_AMBIENT_RAISE: u32 = 64;
    /// All bits with their locks.
    pub const ALL: u32 = 0xff;
}

/// Capabilities of a file (`security.capability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCapabilities {
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Whether they are effective at once.
    pub effective: bool,
}

impl FileCapabilities {
    /// Reads the attribute's value (`struct vfs_cap_data`); `None` for one of another user namespace.
    ///
    /// # Errors
    /// `EPERM` when it is broken.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, Errno> {
        let word = |at: usize| {
            let part = value.get(at * 4..at * 4 + 4).and_then(|part| part.try_into().ok());
            part.map(u32::from_le_bytes).ok_or(Errno::EPERM)
        };
        let magic = word(0)?;
        let words = match magic & 0xff00_0000 {
            0x0100_0000 => 1,
            0x0200_0000 => 2,
            0x0300_0000 if word(5)? == 0 => 2,
            0x0300_0000 => return Ok(None),
            _ => return Err(Errno::EPERM),
        };
        let mut sets = [0u64; 2];
        for at in 0..words {
            for (set, offset) in sets.iter_mut().zip([1, 2]) {
                *set |= u64::from(word(offset + 2 * at)?) << (32 * at);
            }
        }
        let [permitted, inheritable] = sets.map(|set| set & ALL_CAPABILITIES);
        Ok(Some(Self { permitted, inheritable, effective: magic & 1 != 0 }))
    }
}

/// What a file gives to those who execute it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilePrivileges {
    /// Owner, if it is set-user-id.
    pub uid: Option<u32>,
    /// Group, if it is set-group-id.
    pub gid: Option<u32>,
    /// Capabilities.
    pub capabilities: Option<FileCapabilities>,
}

/// Credentials after execve, and whether the program is to distrust its environment (`AT_SECURE`).
#[must_use]
pub fn after_exec(old: &Creds, file: &FilePrivileges) -> (Creds, bool) {
    let mut new = old.clone();
    if let Some(uid) = file.uid {
        new.euid = uid;
    }
    if let Some(gid) = file.gid {
        new.egid = gid;
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);

    let root_counts = old.securebits & securebits::NOROOT == 0;
    let root = new.root_uid();
    let is_root = root_counts && (root == Some(new.uid) || root == Some(new.euid));
    let of_file = match (is_root, file.capabilities) {
        // A set-user-id-root program with capabilities of its own, run by somebody else, has only these.
        (true, Some(own)) if root != Some(new.uid) && root == Some(new.euid) => own,
        (true, _) => FileCapabilities {
            permitted: ALL_CAPABILITIES,
            inheritable: ALL_CAPABILITIES,
            effective: root == Some(new.euid),
        },
        (false, own) => own.unwrap_or(FileCapabilities { permitted: 0, inheritable: 0, effective: false }),
    };
    let raises_ids = new.euid != old.euid || new.egid != old.egid;
    if raises_ids || file.capabilities.is_some() {
        new.ambient = 0;
    }
    new.permitted =
        (old.inheritable & of_file.inheritable) | (of_file.permitted & old.bounding) | new.ambient;
    new.effective = if of_file.effective { new.permitted } else { new.ambient };
    new.securebits &= !securebits::KEEP_CAPS;
    let gains = !is_root && new.permitted & !new.ambient != 0 && of_file.effective;
    let secure = new.uid != new.euid || new.gid != new.egid || gains;
    (new, secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Creds {
        let mut creds = Creds::root();
        (creds.uid, creds.euid, creds.suid, creds.fsuid) = (1000, 1000, 1000, 1000);
        (creds.permitted, creds.effective) = (0, 0);
        creds
    }

    #[test]
    fn root_keeps_all_and_users_get_none() {
        let (root, secure) = after_exec(&Creds::root(), &FilePrivileges::default());
        assert_eq!((root.permitted, root.effective, secure), (ALL_CAPABILITIES, ALL_CAPABILITIES, false));
        let mut bounded = Creds::root();
        bounded.bounding = 0xff;
        assert_eq!(after_exec(&bounded, &FilePrivileges::default()).0.effective, 0xff);
        assert_eq!(after_exec(&user(), &FilePrivileges::default()).0.permitted, 0);
    }

    #[test]
    fn files_raise() {
        let set_uid = FilePrivileges { uid: Some(0), ..FilePrivileges::default() };
        let (new, secure) = after_exec(&user(), &set_uid);
        assert_eq!(
            (new.uid, new.euid, new.suid, new.effective, secure),
            (1000, 0, 0, ALL_CAPABILITIES, true)
        );
        let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let capabilities = FileCapabilities::parse(&value).unwrap();
        let (new, secure) =
            after_exec(&user(), &FilePrivileges { capabilities, ..FilePrivileges::default() });
        assert_eq!((new.effective, new.permitted, secure), (0x2000, 0x2000, true));
        assert_eq!(FileCapabilities::parse(&value[..7]), Err(Errno::EPERM));
    }

    #[test]
    fn ambient_stays_without_privileges() {
        let mut creds = user();
        (creds.ambient, creds.inheritable, creds.permitted) = (0x400, 0x400, 0x400);
        let (new, secure) = after_exec(&creds, &FilePrivileges::default());
        assert_eq!((new.permitted, new.effective, new.ambient, secure), (0x400, 0x400, 0x400, false));
    }
}
