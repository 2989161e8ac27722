//! The mount calls by descriptors: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr.

use super::descriptor::{self, CLOEXEC};
use super::mounts::{admin, new_superblock};
use super::place::{Empty, Scope, Target, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, O_PATH};
use crate::fs::mount::{Depth, Propagation};
use crate::fs::mount_context::{Context, Phase};
use crate::fs::{FileBody, Mount, MountFlags, OpenFile, Path};
use crate::security::{Capability, UserNamespace};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(428, "open_tree", 3, open_tree, Restart::Never, Support::Full),
    row!(429, "move_mount", 5, move_mount, Restart::Never, Support::Full),
    row!(430, "fsopen", 2, fsopen, Restart::Never, Support::Partial(TYPES)),
    row!(431, "fsconfig", 5, fsconfig, Restart::Never, Support::Partial("parameters are flags and strings")),
    row!(432, "fsmount", 3, fsmount, Restart::Never, Support::Full),
    row!(433, "fspick", 3, fspick, Restart::Never, Support::Full),
    row!(442, "mount_setattr", 5, mount_setattr, Restart::Never, Support::Partial("no id-mapped mounts")),
];

const TYPES: &str = "tmpfs, ramfs, devpts, mqueue, and proc, sysfs, cgroup2 where the container has them";

const AT_RECURSIVE: u32 = 0x8000;

fn follow_flags(flags: u32) -> u32 {
    flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
}

/// The place that a descriptor and a path mean.
fn place(cx: &Cx<'_>, scope: &Scope, dir: Fd, path: UserAddr, flags: u32) -> Result<Path, Errno> {
    let path = read_path(cx, path)?;
    match scope.find_target(cx, dir, &path, follow_flags(flags), Empty::by(flags))? {
        Target::Place(path) => Ok(path),
        Target::File(_) => Err(Errno::EINVAL),
    }
}

/// A descriptor of a place, as `O_PATH` gives it.
fn install(cx: &Cx<'_>, path: Path, close_on_exec: bool) -> SysResult {
    let node = path.node()?.clone();
    let file = OpenFile::at(FileBody::Path(node), O_PATH, path);
    descriptor::number(descriptor::install_file(cx, file, if close_on_exec { CLOEXEC } else { 0 })?)
}

fn open_tree(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, flags: u32) -> SysResult {
    const CLONE: u32 = 1;
    let known = CLONE | CLOEXEC | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
    if flags & !known != 0 || flags & (AT_RECURSIVE | CLONE) == AT_RECURSIVE {
        return Err(Errno::EINVAL.into());
    }
    let scope = Scope::new(cx);
    if flags & CLONE != 0 {
        admin(&scope)?;
    }
    let mut at = place(cx, &scope, dir, path, flags)?;
    if flags & CLONE != 0 {
        let depth = if flags & AT_RECURSIVE != 0 { Depth::Tree } else { Depth::One };
        at = scope.fs.namespace().detached_copy(cx.sleeper, &at, depth)?.root_path();
    }
    install(cx, at, flags & CLOEXEC != 0)
}

fn move_mount(
    cx: &mut Cx<'_>,
    from_dir: Fd,
    from: UserAddr,
    to_dir: Fd,
    to: UserAddr,
    flags: u32,
) -> SysResult {
    const F_SYMLINKS: u32 = 1;
    const F_EMPTY_PATH: u32 = 4;
    const T_SYMLINKS: u32 = 0x10;
    const T_EMPTY_PATH: u32 = 0x40;
    const SET_GROUP: u32 = 0x100;
    const KNOWN: u32 = 0x177;
    let scope = Scope::new(cx);
    admin(&scope)?;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags_of = |symlinks: u32, empty: u32| {
        let follow = if flags & symlinks == 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
        follow | if flags & empty != 0 { AT_EMPTY_PATH } else { 0 }
    };
    let from = place(cx, &scope, from_dir, from, flags_of(F_SYMLINKS, F_EMPTY_PATH))?;
    let to = place(cx, &scope, to_dir, to, flags_of(T_SYMLINKS, T_EMPTY_PATH))?;
    let namespace = scope.fs.namespace();
    if flags & SET_GROUP != 0 {
        let may = |owner: &UserNamespace| scope.creds.has_in(Capability::SysAdmin, owner);
        namespace.join_group(cx.sleeper, &from, &to, may)?;
    } else {
        namespace.move_mount(cx.sleeper, &from, &to)?;
    }
    Ok(0)
}

fn fsopen(cx: &mut Cx<'_>, kind: UserAddr, flags: u32) -> SysResult {
    const FSOPEN_CLOEXEC: u32 = 1;
    let scope = Scope::new(cx);
    admin(&scope)?;
    if flags & !FSOPEN_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = cx.user().read_cstr(kind, 4096, Errno::EINVAL)?;
    super::mounts::check_kind(cx, &kind)?;
    install_context(cx, Context::new(Phase::Parameters { kind, options: Vec::new() }), flags != 0)
}

fn install_context(cx: &Cx<'_>, context: Arc<Context>, close_on_exec: bool) -> SysResult {
    let flags = descriptor::READ_WRITE | if close_on_exec { CLOEXEC } else { 0 };
    descriptor::number(descriptor::install(cx, context, flags)?)
}

/// The context behind a descriptor.
fn context(cx: &Cx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = descriptor::file(cx, fd)?;
    of(&file)?;
    Ok(file)
}

fn of(file: &OpenFile) -> Result<&Context, Errno> {
    file.stream().and_then(|stream| stream.as_any().downcast_ref()).ok_or(Errno::EINVAL)
}

const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const SET_BINARY: u32 = 2;
const SET_PATH: u32 = 3;
const SET_PATH_EMPTY: u32 = 4;
const SET_FD: u32 = 5;
const CREATE: u32 = 6;
const RECONFIGURE: u32 = 7;

fn fsconfig(cx: &mut Cx<'_>, fd: Fd, command: u32, key: UserAddr, value: UserAddr, extra: i32) -> SysResult {
    if fd.0 < 0 {
        return Err(Errno::EINVAL.into());
    }
    let (has_key, has_value) = (!key.is_null(), !value.is_null());
    let fits = match command {
        SET_FLAG => has_key && !has_value && extra == 0,
        SET_STRING => has_key && has_value && extra == 0,
        SET_BINARY => has_key && has_value && (1..=1 << 20).contains(&extra),
        SET_PATH | SET_PATH_EMPTY => has_key && has_value && (extra == -100 || extra >= 0),
        SET_FD => has_key && !has_value && extra >= 0,
        CREATE | RECONFIGURE => !has_key && !has_value && extra == 0,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    if !fits {
        return Err(Errno::EINVAL.into());
    }
    let file = context(cx, fd)?;
    let context = of(&file)?;
    let key = if has_key { cx.user().read_cstr(key, 256, Errno::EINVAL)? } else { Vec::new() };
    match command {
        SET_FLAG => context.add(&key, None)?,
        SET_STRING => {
            let value = cx.user().read_cstr(value, 256, Errno::EINVAL)?;
            context.add(&key, Some(&value))?;
        }
        CREATE => {
            admin(&Scope::new(cx))?;
            let (kind, options) = context.parameters()?;
            context.created(new_superblock(cx, &kind, &options)?)?;
        }
        RECONFIGURE => {
            admin(&Scope::new(cx))?;
            context.reconfigure()?;
        }
        // No file system here takes any.
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

const ATTR_RDONLY: u64 = 1;
const ATTR_NOSUID: u64 = 2;
const ATTR_NODEV: u64 = 4;
const ATTR_NOEXEC: u64 = 8;
const ATTR_ATIME: u64 = 0x70;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;
const ATTR_KNOWN: u64 =
    ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_ATIME | ATTR_NODIRATIME | ATTR_NOSYMFOLLOW;

/// The flags that attributes stand for, how access times move excepted.
fn simple_flags(attributes: u64) -> MountFlags {
    let pairs = [
        (ATTR_RDONLY, MountFlags::READ_ONLY),
        (ATTR_NOSUID, MountFlags::NO_SUID),
        (ATTR_NODEV, MountFlags::NO_DEV),
        (ATTR_NOEXEC, MountFlags::NO_EXEC),
        (ATTR_NODIRATIME, MountFlags::NO_DIRATIME),
        (ATTR_NOSYMFOLLOW, MountFlags::NO_SYMFOLLOW),
    ];
    let set = pairs.into_iter().filter(|(bit, _)| attributes & bit != 0);
    set.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// How access times move.
fn atime_flags(attributes: u64) -> Result<MountFlags, Errno> {
    match attributes & ATTR_ATIME {
        0 => Ok(MountFlags::RELATIME),
        0x10 => Ok(MountFlags::NO_ATIME),
        0x20 => Ok(MountFlags::STRICT_ATIME),
        _ => Err(Errno::EINVAL),
    }
}

fn fsmount(cx: &mut Cx<'_>, fd: Fd, flags: u32, attributes: u32) -> SysResult {
    const FSMOUNT_CLOEXEC: u32 = 1;
    let scope = Scope::new(cx);
    admin(&scope)?;
    let attributes = u64::from(attributes);
    if flags & !FSMOUNT_CLOEXEC != 0 || attributes & !ATTR_KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mount_flags = simple_flags(attributes) | atime_flags(attributes)?;
    let file = context(cx, fd)?;
    let (superblock, source) = of(&file)?.mount()?;
    let root = superblock.root.clone();
    let mount = Mount::new(superblock, root, &source, mount_flags);
    mount.set_detached();
    install(cx, mount.root_path(), flags != 0)
}

fn fspick(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, flags: u32) -> SysResult {
    const CLOEXEC_FLAG: u32 = 1;
    const NOFOLLOW: u32 = 2;
    const EMPTY_PATH: u32 = 8;
    let scope = Scope::new(cx);
    admin(&scope)?;
    if flags & !0xf != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut at_flags = if flags & NOFOLLOW != 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
    at_flags |= if flags & EMPTY_PATH != 0 { AT_EMPTY_PATH } else { 0 };
    let at = place(cx, &scope, dir, path, at_flags)?;
    if !Arc::ptr_eq(&at.dentry, &at.mount.root) {
        return Err(Errno::EINVAL.into());
    }
    let phase = Phase::Reconfiguring { superblock: at.mount.superblock.clone(), options: Vec::new() };
    install_context(cx, Context::new(phase), flags & CLOEXEC_FLAG != 0)
}

fn mount_setattr(
    cx: &mut Cx<'_>,
    dir: Fd,
    path: UserAddr,
    flags: u32,
    attr: UserPtr<[u64; 4]>,
    size: usize,
) -> SysResult {
    const KNOWN: u32 = AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < 32 {
        return Err(Errno::EINVAL.into());
    }
    let scope = Scope::new(cx);
    admin(&scope)?;
    let mut bytes = alloc::vec![0u8; size];
    cx.user().read_bytes(attr.addr(), &mut bytes)?;
    if bytes.iter().skip(32).any(|byte| *byte != 0) {
        return Err(Errno::E2BIG.into());
    }
    let [set, clear, propagation, _] = cx.user().read(attr)?;
    if set == 0 && clear == 0 && propagation == 0 {
        return Ok(0);
    }
    let atime = (set & ATTR_ATIME, clear & ATTR_ATIME);
    let sharing = Propagation::from_bits(propagation);
    if (propagation != 0 && sharing.is_none())
        || (set | clear) & !ATTR_KNOWN != 0
        || !matches!(atime.1, 0 | ATTR_ATIME)
        || (atime.0 != 0 && atime.1 == 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let at = place(cx, &scope, dir, path, flags)?;
    if !Arc::ptr_eq(&at.dentry, &at.mount.root) {
        return Err(Errno::EINVAL.into());
    }
    let new_atime = (atime.1 != 0).then(|| atime_flags(set)).transpose()?;
    let depth = if flags & AT_RECURSIVE != 0 { Depth::Tree } else { Depth::One };
    let mounts = if depth == Depth::Tree { at.mount.tree() } else { alloc::vec![at.mount.clone()] };
    let namespace = scope.fs.namespace();
    if !namespace.contains(&at.mount) && !at.mount.is_detached() {
        return Err(Errno::EINVAL.into());
    }
    let changed = |mount: &Mount| {
        let mut now = mount.flags();
        now.remove(simple_flags(clear));
        now.insert(simple_flags(set));
        if let Some(atime) = new_atime {
            now.remove(MountFlags::RELATIME | MountFlags::NO_ATIME | MountFlags::STRICT_ATIME);
            now.insert(atime);
        }
        now
    };
    if !mounts.iter().all(|mount| mount.may_become(changed(mount))) {
        return Err(Errno::EPERM.into());
    }
    mounts.iter().for_each(|mount| mount.set_flags(changed(mount)));
    if let Some(sharing) = sharing {
        namespace.change_sharing(cx.sleeper, &at, depth, sharing)?;
    }
    Ok(0)
}
