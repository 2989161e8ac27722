//! mount, umount2, pivot_root.

use super::place::{PATH_MAX, Scope, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::AT_FDCWD;
use crate::fs::erofs::ErofsFs;
use crate::fs::lookup::Follow;
use crate::fs::mount::{Depth, Propagation, Unmount};
use crate::fs::tmpfs::{Options, TmpFs};
use crate::fs::tty::DevPts;
use crate::fs::{
    FileSystem, FsContext, Mount, MountFlags, MountNamespace, NodeKind, Path, Superblock, block,
};
use crate::security::Capability;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(155, "pivot_root", 2, pivot_root, Restart::Never, Support::Full),
    row!(165, "mount", 5, mount, Restart::Never, Support::Partial("no file systems on devices, no overlay")),
    row!(166, "umount2", 2, umount2, Restart::Never, Support::Full),
];

const MS_REMOUNT: u32 = 32;
const MS_BIND: u32 = 4096;
const MS_MOVE: u32 = 8192;
const MS_REC: u32 = 16384;
const MS_SILENT: u32 = 32768;
const MS_NOUSER: u32 = 1 << 31;
const MS_PROPAGATION: u32 = (1 << 17) | (1 << 18) | (1 << 19) | (1 << 20);
const MS_MAGIC: u32 = 0xc0ed_0000;

fn find(cx: &Cx<'_>, scope: &Scope, path: &[u8]) -> Result<Path, Errno> {
    scope.find(cx, Fd(AT_FDCWD), path, Follow::Yes)
}

pub(super) fn admin(scope: &Scope) -> Result<(), Errno> {
    if scope.creds.has_in(Capability::SysAdmin, &scope.fs.namespace().owner) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Flags of the mount, with relatime unless another word is given.
fn mount_flags(flags: u32) -> MountFlags {
    let mut flags = MountFlags::from_bits_truncate(flags);
    if !flags.intersects(MountFlags::NO_ATIME | MountFlags::STRICT_ATIME) {
        flags |= MountFlags::RELATIME;
    }
    flags
}

fn read_optional(cx: &Cx<'_>, from: UserAddr) -> Result<Vec<u8>, Errno> {
    if from.is_null() { Ok(Vec::new()) } else { cx.user().read_cstr(from, PATH_MAX, Errno::EINVAL) }
}

/// Whether a file system of that type can be made.
///
/// # Errors
/// `ENODEV`.
pub(super) fn check_kind(cx: &Cx<'_>, kind: &[u8]) -> Result<(), Errno> {
    let made = matches!(kind, b"tmpfs" | b"ramfs" | b"mqueue" | b"devpts");
    if made || shared_superblock(cx, kind).is_some() { Ok(()) } else { Err(Errno::ENODEV) }
}

/// The instance of a type of which a container has one (of proc, that of the outermost pid namespace): it is the same wherever
/// it is mounted.
fn shared_superblock(cx: &Cx<'_>, kind: &[u8]) -> Option<Arc<Superblock>> {
    if !matches!(kind, b"proc" | b"sysfs" | b"cgroup2") {
        return None;
    }
    let mounts = cx.task.fs().namespace().mounts();
    let same = mounts.iter().find(|mount| mount.superblock.fs.type_name().as_bytes() == kind);
    same.map(|mount| mount.superblock.clone())
}

/// A file system of a type, with options as mount(2) takes them.
///
/// # Errors
/// `ENODEV` for a type that is not there, `EINVAL` for options that it does not know.
pub(super) fn new_superblock(cx: &Cx<'_>, kind: &[u8], options: &[u8]) -> Result<Arc<Superblock>, Errno> {
    let fs: Arc<dyn FileSystem> = match kind {
        b"tmpfs" | b"ramfs" => TmpFs::new(&cx.mm.budget(), &Options::default().parse(options)?),
        b"mqueue" => crate::ipc::mqueue::MqueueFs::new(&cx.task.ipc().mqueues),
        b"devpts" => DevPts::new(options),
        // Each pid namespace has its own.
        b"proc" if !cx.task.process().pid_namespace().is_outermost() => {
            let new = cx.task.container().procfs.get().ok_or(Errno::ENODEV)?;
            new(cx.task.process().pid_namespace()).ok_or(Errno::ENODEV)?
        }
        _ => return shared_superblock(cx, kind).ok_or(Errno::ENODEV),
    };
    Ok(Superblock::new(fs))
}

/// The file system on a block device: EROFS is the one that is there.
///
/// # Errors
/// `EPERM` without the power over the machine's devices, `ENOTBLK`, `ENXIO`, `EINVAL` for what is no image or an option that is
/// not known.
fn on_device(cx: &Cx<'_>, scope: &Scope, source: &[u8], options: &[u8]) -> Result<Arc<Superblock>, Errno> {
    if !scope.creds.has(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let found = find(cx, scope, source)?;
    let NodeKind::BlockDevice(number) = found.node()?.kind else { return Err(Errno::ENOTBLK) };
    if found.mount.flags().contains(MountFlags::NO_DEV) {
        return Err(Errno::EACCES);
    }
    let mut words = options.split(|byte| *byte == b',').filter(|word| !word.is_empty());
    if words.any(|word| !matches!(word, b"user_xattr" | b"acl" | b"ro")) {
        return Err(Errno::EINVAL);
    }
    let scope = Scope::for_open(cx);
    let fs = scope.cx(cx);
    let disk = block::usable(&fs, number)?;
    Ok(Superblock::new(ErofsFs::open(&fs, &disk)?))
}

fn mount(
    cx: &mut Cx<'_>,
    source: UserAddr,
    target: UserAddr,
    kind: UserAddr,
    flags: u32,
    data: UserAddr,
) -> SysResult {
    let has_kind = !kind.is_null();
    let kind = read_optional(cx, kind)?;
    let source = read_optional(cx, source)?;
    let data = read_optional(cx, data)?;
    let target = read_path(cx, target)?;
    let scope = Scope::new(cx);
    let at = find(cx, &scope, &target)?;
    admin(&scope)?;
    let flags = if flags & 0xffff_0000 == MS_MAGIC { flags & 0xffff } else { flags } & !MS_SILENT;
    if flags & MS_NOUSER != 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = scope.fs.namespace();
    let depth = if flags & MS_REC != 0 { Depth::Tree } else { Depth::One };
    if flags & MS_REMOUNT != 0 {
        remount(&at, &namespace, flags, &data)?;
    } else if flags & MS_BIND != 0 {
        let from = find_source(cx, &scope, &source)?;
        namespace.bind(cx.sleeper, &from, depth, None, &at)?;
    } else if flags & MS_PROPAGATION != 0 {
        let to = Propagation::from_bits(u64::from(flags & !MS_REC)).ok_or(Errno::EINVAL)?;
        namespace.change_sharing(cx.sleeper, &at, depth, to)?;
    } else if flags & MS_MOVE != 0 {
        let from = find_source(cx, &scope, &source)?;
        namespace.move_mount(cx.sleeper, &from, &at)?;
    } else {
        if !has_kind {
            return Err(Errno::EINVAL.into());
        }
        let superblock = if kind == b"erofs" {
            on_device(cx, &scope, &source, &data)?
        } else {
            new_superblock(cx, &kind, &data)?
        };
        let root = superblock.root.clone();
        let mount = Mount::new(superblock, root, &source, mount_flags(flags));
        namespace.attach(cx.sleeper, &mount, &at)?;
    }
    Ok(0)
}

/// What is bound or moved: an empty name is none.
fn find_source(cx: &Cx<'_>, scope: &Scope, path: &[u8]) -> Result<Path, Errno> {
    if path.is_empty() { Err(Errno::EINVAL) } else { find(cx, scope, path) }
}

/// Changes the flags of a mount, and without `MS_BIND` the options of its file system.
fn remount(at: &Path, namespace: &MountNamespace, flags: u32, data: &[u8]) -> Result<(), Errno> {
    if !Arc::ptr_eq(&at.dentry, &at.mount.root) || !namespace.contains(&at.mount) {
        return Err(Errno::EINVAL);
    }
    let said = MountFlags::from_bits_truncate(flags);
    let mut new = mount_flags(flags);
    let atime =
        MountFlags::NO_ATIME | MountFlags::NO_DIRATIME | MountFlags::RELATIME | MountFlags::STRICT_ATIME;
    if !said.intersects(atime) {
        // How access times move stays unless it is said.
        new = (new - atime) | at.mount.atime_flags();
    }
    if !at.mount.may_become(new) {
        return Err(Errno::EPERM);
    }
    if flags & MS_BIND == 0 {
        at.mount.superblock.fs.remount(data)?;
    }
    at.mount.set_flags(new);
    Ok(())
}

fn umount2(cx: &mut Cx<'_>, target: UserAddr, flags: u32) -> SysResult {
    const MNT_FORCE: u32 = 1;
    const MNT_DETACH: u32 = 2;
    const MNT_EXPIRE: u32 = 4;
    const UMOUNT_NOFOLLOW: u32 = 8;
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(cx, target)?;
    let scope = Scope::new(cx);
    let follow = if flags & UMOUNT_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    let mut at = scope.find(cx, Fd(AT_FDCWD), &path, follow)?;
    at.enter_mounts();
    admin(&scope)?;
    let how = match flags & (MNT_EXPIRE | MNT_DETACH | MNT_FORCE) {
        MNT_EXPIRE => Unmount::WhenExpired,
        flags if flags & MNT_EXPIRE != 0 => return Err(Errno::EINVAL.into()),
        flags if flags & MNT_DETACH != 0 => Unmount::Detach,
        _ => Unmount::WhenIdle,
    };
    scope.fs.namespace().unmount(cx.sleeper, at, how)?;
    Ok(0)
}

fn pivot_root(cx: &mut Cx<'_>, new_root: UserAddr, put_old: UserAddr) -> SysResult {
    let scope = Scope::new(cx);
    admin(&scope)?;
    let new_root = find(cx, &scope, &read_path(cx, new_root)?)?;
    new_root.node()?.dir()?;
    let put_old = find(cx, &scope, &read_path(cx, put_old)?)?;
    put_old.node()?.dir()?;
    let root = scope.fs.root();
    scope.fs.namespace().pivot(cx.sleeper, &root, &new_root, &put_old)?;
    // Everybody who stood at the old root goes along.
    let follow = |fs: &FsContext| {
        if fs.cwd() == root {
            fs.set_cwd(new_root.clone());
        }
        if fs.root() == root {
            fs.set_root(new_root.clone());
        }
    };
    follow(&scope.fs);
    for process in cx.task.container().processes() {
        let threads = process.state().threads.clone();
        threads.iter().for_each(|task| follow(&task.fs()));
    }
    Ok(0)
}
