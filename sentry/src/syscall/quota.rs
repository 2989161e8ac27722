//! quotactl, quotactl_fd: disk quotas, which no file system here has. Linux answers `ENOSYS` for such a file system after it
//! has looked at the rest.

use super::place::{Scope, Target, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::AT_FDCWD;
use crate::fs::lookup::Follow;
use crate::fs::{Mount, NodeKind};
use crate::user::UserAddr;
use alloc::sync::Arc;

const NO_QUOTAS: &str = "no file system has quotas: as Linux where that is so";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(179, "quotactl", 4, quotactl, Restart::Never, Support::Partial(NO_QUOTAS)),
    row!(443, "quotactl_fd", 4, quotactl_fd, Restart::Never, Support::Partial(NO_QUOTAS)),
];

/// Users, groups, projects.
const TYPES: u32 = 3;
const SYNC: u32 = 0x80_0001;
const QUOTA_ON: u32 = 0x80_0002;

/// Whether a command changes nothing: `Q_SYNC`, `Q_GETFMT`, `Q_GETINFO`, `Q_XGETQUOTA`, `Q_XGETQSTAT`, `Q_XQUOTASYNC`,
/// `Q_XGETQSTATV`, `Q_XGETNEXTQUOTA`. As in Linux, `Q_GETQUOTA` is none of them.
const fn only_reads(command: u32) -> bool {
    matches!(command, SYNC | 0x80_0004 | 0x80_0005 | 0x5803 | 0x5805 | 0x5807 | 0x5808 | 0x5809)
}

fn quotactl(cx: &mut Cx<'_>, command: u32, special: UserAddr, _id: u32, addr: UserAddr) -> SysResult {
    let (command, kind) = (command >> 8, command & 0xff);
    if kind >= TYPES {
        return Err(Errno::EINVAL.into());
    }
    if special.is_null() {
        // Everything that has quotas is synchronised.
        return if command == SYNC { Ok(0) } else { Err(Errno::ENODEV.into()) };
    }
    let scope = Scope::new(cx);
    if command == QUOTA_ON {
        // The file of quotas is looked for first, but that it is not there is told last.
        let _ = read_path(cx, addr).and_then(|path| scope.find(cx, Fd(AT_FDCWD), &path, Follow::Yes));
    }
    let path = read_path(cx, special)?;
    let found = scope.find(cx, Fd(AT_FDCWD), &path, Follow::Yes)?;
    let NodeKind::BlockDevice(device) = found.node()?.kind else { return Err(Errno::ENOTBLK.into()) };
    if found.mount.flags().contains(crate::fs::MountFlags::NO_DEV) {
        return Err(Errno::EACCES.into());
    }
    let fs = scope.cx(cx);
    let on_device = |mount: &Arc<Mount>| {
        let attr = mount.superblock.root.node().and_then(|node| node.ops.attr(&fs));
        matches!(attr, Ok(attr) if attr.dev == device)
    };
    let mounted = scope.fs.namespace().mounts().iter().any(on_device);
    Err(if mounted { Errno::ENOSYS } else { Errno::ENODEV }.into())
}

fn quotactl_fd(cx: &mut Cx<'_>, fd: Fd, command: u32, _id: u32, _addr: UserAddr) -> SysResult {
    let (command, kind) = (command >> 8, command & 0xff);
    let file = cx.files.get(fd)?;
    if kind >= TYPES {
        return Err(Errno::EINVAL.into());
    }
    let target = Target::of(file);
    if !only_reads(command) && target.mount().is_some_and(|mount| mount.is_read_only()) {
        return Err(Errno::EROFS.into());
    }
    Err(Errno::ENOSYS.into())
}
