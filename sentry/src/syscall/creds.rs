//! User and group ids, groups, capabilities (credentials(7), capabilities(7)).

use super::row::{Restart::Never, Row, Support::Full, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::exec::securebits;
use crate::security::user_ns::Kind;
use crate::security::{ALL_CAPABILITIES, Capability, Creds};
use crate::task::Resource;
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(102, "getuid", 0, getuid, Never, Full),
    row!(104, "getgid", 0, getgid, Never, Full),
    row!(105, "setuid", 1, setuid, Never, Full),
    row!(106, "setgid", 1, setgid, Never, Full),
    row!(107, "geteuid", 0, geteuid, Never, Full),
    row!(108, "getegid", 0, getegid, Never, Full),
    row!(113, "setreuid", 2, setreuid, Never, Full),
    row!(114, "setregid", 2, setregid, Never, Full),
    row!(115, "getgroups", 2, getgroups, Never, Full),
    row!(116, "setgroups", 2, setgroups, Never, Full),
    row!(117, "setresuid", 3, setresuid, Never, Full),
    row!(118, "getresuid", 3, getresuid, Never, Full),
    row!(119, "setresgid", 3, setresgid, Never, Full),
    row!(120, "getresgid", 3, getresgid, Never, Full),
    row!(122, "setfsuid", 1, setfsuid, Never, Full),
    row!(123, "setfsgid", 1, setfsgid, Never, Full),
    row!(125, "capget", 2, capget, Never, Full),
    row!(126, "capset", 2, capset, Never, Full),
];

/// "Leave it as it is."
const KEEP: u32 = u32::MAX;
const NGROUPS_MAX: usize = 65536;

/// What an id is called in the caller's user namespace.
fn shown(cx: &Cx<'_>, kind: Kind, id: u32) -> u32 {
    cx.task.creds().user_ns.shown(kind, id)
}

/// The id that the caller's user namespace calls `id`; [`KEEP`] stays what it is.
///
/// # Errors
/// `EINVAL` when there is none.
fn real(cx: &Cx<'_>, kind: Kind, id: u32) -> Result<u32, Errno> {
    if id == KEEP { Ok(KEEP) } else { cx.task.creds().user_ns.outside(kind, id).ok_or(Errno::EINVAL) }
}

fn getuid(cx: &mut Cx<'_>) -> SysResult {
    Ok(shown(cx, Kind::User, cx.task.creds().uid) as usize)
}

fn geteuid(cx: &mut Cx<'_>) -> SysResult {
    Ok(shown(cx, Kind::User, cx.task.creds().euid) as usize)
}

fn getgid(cx: &mut Cx<'_>) -> SysResult {
    Ok(shown(cx, Kind::Group, cx.task.creds().gid) as usize)
}

fn getegid(cx: &mut Cx<'_>) -> SysResult {
    Ok(shown(cx, Kind::Group, cx.task.creds().egid) as usize)
}

/// What a change of user ids does to capabilities (capabilities(7), "Effect of user ID changes").
fn fix_capabilities(old: &Creds, new: &mut Creds) {
    if old.securebits & securebits::NO_SETUID_FIXUP != 0 {
        return;
    }
    let root = old.root_uid();
    let is_root = |uid: u32| root == Some(uid);
    let any_root = |creds: &Creds| is_root(creds.uid) || is_root(creds.euid) || is_root(creds.suid);
    if any_root(old) && !any_root(new) {
        if old.securebits & securebits::KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if is_root(old.euid) && !is_root(new.euid) {
        new.effective = 0;
    }
    if !is_root(old.euid) && is_root(new.euid) {
        new.effective = new.permitted;
    }
}

/// Capabilities that belong to the file system user id.
const FS_CAPABILITIES: u64 = 1 << Capability::Chown as u8
    | 1 << Capability::DacOverride as u8
    | 1 << Capability::DacReadSearch as u8
    | 1 << Capability::Fowner as u8
    | 1 << Capability::Fsetid as u8
    | 1 << Capability::LinuxImmutable as u8
    | 1 << Capability::MacOverride as u8
    | 1 << Capability::Mknod as u8;

fn commit(cx: &Cx<'_>, old: &Creds, mut new: Creds) -> SysResult {
    fix_capabilities(old, &mut new);
    if (new.euid, new.egid) != (old.euid, old.egid) {
        cx.task.process().dumpable.store(0, core::sync::atomic::Ordering::Relaxed);
        cx.task.parent_death_signal.store(0, core::sync::atomic::Ordering::Relaxed);
    }
    let becomes_other = new.uid != old.uid;
    let (uid, free) = (new.uid, new.uid == 0);
    cx.task.set_creds(new);
    if becomes_other {
        let limit = cx.task.rlimit(Resource::Nproc).saturating_add(2);
        let too_many = !free && cx.task.container().has_tasks_beyond(uid, limit);
        cx.task.too_many_tasks.store(too_many, Ordering::Relaxed);
    }
    Ok(0)
}

fn setuid(cx: &mut Cx<'_>, uid: u32) -> SysResult {
    if uid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    let uid = real(cx, Kind::User, uid)?;
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if old.has_own(Capability::Setuid) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM.into());
    }
    (new.euid, new.fsuid) = (uid, uid);
    commit(cx, &old, new)
}

fn setgid(cx: &mut Cx<'_>, gid: u32) -> SysResult {
    if gid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    let gid = real(cx, Kind::Group, gid)?;
    let old = cx.task.creds();
    let mut new = (*old).clone();
    if old.has_own(Capability::Setgid) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM.into());
    }
    (new.egid, new.fsgid) = (gid, gid);
    commit(cx, &old, new)
}

/// Whether every given id is one of those that an unprivileged caller may take.
fn permitted(given: &[u32], own: &[u32], privileged: bool) -> Result<(), Errno> {
    let fine = privileged || given.iter().all(|id| *id == KEEP || own.contains(id));
    if fine { Ok(()) } else { Err(Errno::EPERM) }
}

fn or(given: u32, current: u32) -> u32 {
    if given == KEEP { current } else { given }
}

fn setreuid(cx: &mut Cx<'_>, uid: u32, euid: u32) -> SysResult {
    let uid = real(cx, Kind::User, uid)?;
    let euid = real(cx, Kind::User, euid)?;
    let old = cx.task.creds();
    let privileged = old.has_own(Capability::Setuid);
    permitted(&[uid], &[old.uid, old.euid], privileged)?;
    permitted(&[euid], &[old.uid, old.euid, old.suid], privileged)?;
    let mut new = (*old).clone();
    new.uid = or(uid, old.uid);
    new.euid = or(euid, old.euid);
    if uid != KEEP || (euid != KEEP && euid != old.uid) {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    commit(cx, &old, new)
}

fn setregid(cx: &mut Cx<'_>, gid: u32, egid: u32) -> SysResult {
    let gid = real(cx, Kind::Group, gid)?;
    let egid = real(cx, Kind::Group, egid)?;
    let old = cx.task.creds();
    let privileged = old.has_own(Capability::Setgid);
    permitted(&[gid], &[old.gid, old.egid], privileged)?;
    permitted(&[egid], &[old.gid, old.egid, old.sgid], privileged)?;
    let mut new = (*old).clone();
    new.gid = or(gid, old.gid);
    new.egid = or(egid, old.egid);
    if gid != KEEP || (egid != KEEP && egid != old.gid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    commit(cx, &old, new)
}

fn setresuid(cx: &mut Cx<'_>, uid: u32, euid: u32, suid: u32) -> SysResult {
    let uid = real(cx, Kind::User, uid)?;
    let euid = real(cx, Kind::User, euid)?;
    let suid = real(cx, Kind::User, suid)?;
    let old = cx.task.creds();
    permitted(&[uid, euid, suid], &[old.uid, old.euid, old.suid], old.has_own(Capability::Setuid))?;
    let mut new = (*old).clone();
    (new.uid, new.euid, new.suid) = (or(uid, old.uid), or(euid, old.euid), or(suid, old.suid));
    new.fsuid = new.euid;
    commit(cx, &old, new)
}

fn setresgid(cx: &mut Cx<'_>, gid: u32, egid: u32, sgid: u32) -> SysResult {
    let gid = real(cx, Kind::Group, gid)?;
    let egid = real(cx, Kind::Group, egid)?;
    let sgid = real(cx, Kind::Group, sgid)?;
    let old = cx.task.creds();
    permitted(&[gid, egid, sgid], &[old.gid, old.egid, old.sgid], old.has_own(Capability::Setgid))?;
    let mut new = (*old).clone();
    (new.gid, new.egid, new.sgid) = (or(gid, old.gid), or(egid, old.egid), or(sgid, old.sgid));
    new.fsgid = new.egid;
    commit(cx, &old, new)
}

fn getresuid(cx: &mut Cx<'_>, uid: UserPtr<u32>, euid: UserPtr<u32>, suid: UserPtr<u32>) -> SysResult {
    let creds = cx.task.creds();
    cx.user().write(uid, &shown(cx, Kind::User, creds.uid))?;
    cx.user().write(euid, &shown(cx, Kind::User, creds.euid))?;
    cx.user().write(suid, &shown(cx, Kind::User, creds.suid))?;
    Ok(0)
}

fn getresgid(cx: &mut Cx<'_>, gid: UserPtr<u32>, egid: UserPtr<u32>, sgid: UserPtr<u32>) -> SysResult {
    let creds = cx.task.creds();
    cx.user().write(gid, &shown(cx, Kind::Group, creds.gid))?;
    cx.user().write(egid, &shown(cx, Kind::Group, creds.egid))?;
    cx.user().write(sgid, &shown(cx, Kind::Group, creds.sgid))?;
    Ok(0)
}

fn setfsuid(cx: &mut Cx<'_>, uid: u32) -> SysResult {
    let uid = real(cx, Kind::User, uid).unwrap_or(KEEP);
    let old = cx.task.creds();
    let own = [old.uid, old.euid, old.suid, old.fsuid];
    if uid != KEEP && permitted(&[uid], &own, old.has_own(Capability::Setuid)).is_ok() {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if old.securebits & securebits::NO_SETUID_FIXUP == 0 {
            let root = old.root_uid();
            if root == Some(old.fsuid) && root != Some(uid) {
                new.effective &= !FS_CAPABILITIES;
            } else if root != Some(old.fsuid) && root == Some(uid) {
                new.effective |= new.permitted & FS_CAPABILITIES;
            }
        }
        cx.task.set_creds(new);
    }
    Ok(shown(cx, Kind::User, old.fsuid) as usize)
}

fn setfsgid(cx: &mut Cx<'_>, gid: u32) -> SysResult {
    let gid = real(cx, Kind::Group, gid).unwrap_or(KEEP);
    let old = cx.task.creds();
    let own = [old.gid, old.egid, old.sgid, old.fsgid];
    if gid != KEEP && permitted(&[gid], &own, old.has_own(Capability::Setgid)).is_ok() {
        cx.task.set_creds(Creds { fsgid: gid, ..(*old).clone() });
    }
    Ok(shown(cx, Kind::Group, old.fsgid) as usize)
}

fn getgroups(cx: &mut Cx<'_>, room: i32, to: UserPtr<u32>) -> SysResult {
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let groups = cx.task.creds().groups.clone();
    if room > 0 {
        if groups.len() > room {
            return Err(Errno::EINVAL.into());
        }
        let told: Vec<u32> = groups.iter().map(|gid| shown(cx, Kind::Group, *gid)).collect();
        cx.user().write_bytes(to.addr(), told.as_slice().as_bytes())?;
    }
    Ok(groups.len())
}

fn setgroups(cx: &mut Cx<'_>, count: i32, from: UserPtr<u32>) -> SysResult {
    let old = cx.task.creds();
    let user_ns = &old.user_ns;
    if !old.has_own(Capability::Setgid) || !user_ns.has_map(Kind::Group) || !user_ns.allows_setgroups() {
        return Err(Errno::EPERM.into());
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= NGROUPS_MAX).ok_or(Errno::EINVAL)?;
    let mut groups: Vec<u32> = cx.user().read_array(from, count)?;
    for gid in &mut groups {
        *gid = old.user_ns.outside(Kind::Group, *gid).ok_or(Errno::EINVAL)?;
    }
    groups.sort_unstable();
    cx.task.set_creds(Creds { groups: Arc::new(groups), ..(*old).clone() });
    Ok(0)
}

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// Reads the header; how many data structures follow.
fn cap_header(cx: &Cx<'_>, header: UserPtr<CapHeader>) -> Result<(CapHeader, usize), Errno> {
    // The version comes first and is all that is written.
    let version = UserPtr::<u32>::new(header.addr());
    let count = match cx.user().read(version)? {
        VERSION_1 => 1,
        VERSION_2 | VERSION_3 => 2,
        _ => {
            cx.user().write(version, &VERSION_3)?;
            return Err(Errno::EINVAL);
        }
    };
    Ok((cx.user().read(header)?, count))
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a set")]
fn halves(set: u64) -> [u32; 2] {
    [set as u32, (set >> 32) as u32]
}

fn capget(cx: &mut Cx<'_>, header: UserPtr<CapHeader>, data: UserPtr<CapData>) -> SysResult {
    let (found, count) = match cap_header(cx, header) {
        // Asking for the version alone is no error.
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        other => other?,
    };
    let pid = u32::try_from(found.pid).map_err(|_| Errno::EINVAL)?;
    let creds = match pid {
        0 => cx.task.creds(),
        pid => cx.task.find_task(pid).ok_or(Errno::ESRCH)?.creds(),
    };
    if data.is_null() {
        return Ok(0);
    }
    let sets = [creds.effective, creds.permitted, creds.inheritable].map(halves);
    let [effective, permitted, inheritable] = sets;
    let all = effective.iter().zip(permitted).zip(inheritable).take(count);
    for (at, ((effective, permitted), inheritable)) in all.enumerate() {
        cx.user().write(data.element(at)?, &CapData { effective: *effective, permitted, inheritable })?;
    }
    Ok(0)
}

fn capset(cx: &mut Cx<'_>, header: UserPtr<CapHeader>, data: UserPtr<CapData>) -> SysResult {
    let (found, count) = cap_header(cx, header)?;
    if found.pid != 0 && u32::try_from(found.pid).ok() != Some(cx.task.shown(cx.task.tid())) {
        return Err(Errno::EPERM.into());
    }
    let [mut effective, mut permitted, mut inheritable] = [0u64; 3];
    for (at, part) in cx.user().read_array(data, count)?.iter().enumerate() {
        effective |= u64::from(part.effective) << (32 * at);
        permitted |= u64::from(part.permitted) << (32 * at);
        inheritable |= u64::from(part.inheritable) << (32 * at);
    }
    let [effective, permitted, inheritable] =
        [effective, permitted, inheritable].map(|set| set & ALL_CAPABILITIES);
    let old = cx.task.creds();
    let raises_inheritable = inheritable & !(old.inheritable | old.permitted) != 0;
    let bad = (raises_inheritable && !old.has_own(Capability::Setpcap))
        || inheritable & !(old.inheritable | old.bounding) != 0
        || permitted & !old.permitted != 0
        || effective & !permitted != 0;
    if bad {
        return Err(Errno::EPERM.into());
    }
    let ambient = old.ambient & permitted & inheritable;
    cx.task.set_creds(Creds { effective, permitted, inheritable, ambient, ..(*old).clone() });
    Ok(0)
}
