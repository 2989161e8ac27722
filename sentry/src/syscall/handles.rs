//! name_to_handle_at, open_by_handle_at, and sysfs(2), which tells of types of file systems.

use super::descriptor::{self, CLOEXEC};
use super::place::{Empty, Scope, Target, read_path};
use super::row::Restart::{Never, Sa};
use super::row::Support::{Full, Partial};
use super::row::{Row, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW};
use crate::fs::open::{self, How};
use crate::fs::{Path, handle};
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(139, "sysfs", 3, sysfs, Never, Full),
    row!(303, "name_to_handle_at", 5, name_to_handle_at, Never, Full),
    row!(
        304,
        "open_by_handle_at",
        3,
        open_by_handle_at,
        Sa,
        Partial("ESTALE once the sandbox has forgotten the name of the file")
    ),
];

/// Most bytes of a handle (`MAX_HANDLE_SZ`).
const HANDLE_MAX: u32 = 128;
/// `FILEID_INO32_GEN`.
const KIND: i32 = 1;
/// Bytes before those of the handle: how many, and of which kind.
const HEADER: u64 = 8;

fn name_to_handle_at(
    cx: &mut Cx<'_>,
    dir: Fd,
    path: UserAddr,
    to: UserPtr<[u32; 2]>,
    mount_id: UserPtr<i32>,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, path)?;
    let scope = Scope::new(cx);
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let target = scope.find_target(cx, dir, &path, follow, Empty::by(flags))?;
    let Target::Place(at) = target else { return Err(Errno::EOPNOTSUPP.into()) };
    let handle = handle::of(&at)?;
    let [room, _] = cx.user().read(to)?;
    if room > HANDLE_MAX {
        return Err(Errno::EINVAL.into());
    }
    let len = u32::try_from(handle.len()).unwrap_or(HANDLE_MAX);
    let fits = room >= len;
    cx.user().write(mount_id, &at.mount.id.cast_signed())?;
    cx.user().write(to, &[len, if fits { KIND.cast_unsigned() } else { 255 }])?;
    if !fits {
        return Err(Errno::EOVERFLOW.into());
    }
    cx.user().write_bytes(to.addr().checked_add(HEADER).ok_or(Errno::EFAULT)?, &handle)?;
    Ok(0)
}

fn open_by_handle_at(cx: &mut Cx<'_>, mount: Fd, from: UserPtr<[u32; 2]>, flags: u32) -> SysResult {
    let scope = Scope::for_open(cx);
    if !scope.creds.has(Capability::DacReadSearch) {
        return Err(Errno::EPERM.into());
    }
    let [len, kind] = cx.user().read(from)?;
    if len == 0 || len > HANDLE_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut handle = alloc::vec![0; len as usize];
    cx.user().read_bytes(from.addr().checked_add(HEADER).ok_or(Errno::EFAULT)?, &mut handle)?;
    let at: Path = if mount.0 == AT_FDCWD {
        scope.fs.cwd()
    } else {
        cx.files.get(mount)?.path().cloned().ok_or(Errno::ESTALE)?
    };
    if kind.cast_signed() != KIND || handle.len() != 12 {
        return Err(Errno::ESTALE.into());
    }
    let found = handle::find(&at.mount, &handle)?;
    let file = open::open_path(&scope.cx(cx), found, &How::flags(flags & !CLOEXEC))?;
    descriptor::number(descriptor::install_file(cx, file, flags)?)
}

/// Types of file systems, as `/proc/filesystems` lists them.
pub(crate) const TYPES: [&str; 8] =
    ["sysfs", "tmpfs", "ramfs", "proc", "devpts", "mqueue", "overlay", "cgroup2"];

fn sysfs(cx: &mut Cx<'_>, option: i32, first: u64, second: UserAddr) -> SysResult {
    match option {
        1 => {
            let name = cx.user().read_cstr(UserAddr::new(first), 4096, Errno::ENAMETOOLONG)?;
            let at = TYPES.iter().position(|kind| kind.as_bytes() == name);
            Ok(at.ok_or(Errno::EINVAL)?)
        }
        2 => {
            let index = usize::try_from(first & 0xffff_ffff).unwrap_or(usize::MAX);
            let mut name = TYPES.get(index).ok_or(Errno::EINVAL)?.as_bytes().to_vec();
            name.push(0);
            cx.user().write_bytes(second, &name)?;
            Ok(0)
        }
        3 => Ok(TYPES.len()),
        _ => Err(Errno::EINVAL.into()),
    }
}
