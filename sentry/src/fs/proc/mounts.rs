//! `mounts` and `mountinfo` (proc(5), proc_pid_mountinfo(5)).

use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::filesystem::device_parts;
use crate::fs::mount::Sharing;
use crate::fs::{Attr, FsCx, Mount, MountFlags, Path};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// The mounts that a process can reach, with their paths as it sees them.
fn reachable(task: &dyn ProcTask) -> Result<Vec<(Arc<Mount>, String)>, Errno> {
    let fs = task.fs().ok_or(Errno::EINVAL)?;
    let root = fs.root();
    let under_root = |mount: &Arc<Mount>| -> Option<String> {
        if Arc::ptr_eq(mount, &root.mount) {
            return Some(String::from("/"));
        }
        is_below(mount, &root.mount).then(|| escape(&crate::fs::path::display(&mount.root_path(), &root)))
    };
    let mounts = fs.namespace().mounts();
    Ok(mounts.into_iter().filter_map(|mount| under_root(&mount).map(|path| (mount, path))).collect())
}

fn is_below(mount: &Arc<Mount>, top: &Arc<Mount>) -> bool {
    let mut at = mount.clone();
    while let Some(place) = at.place() {
        if Arc::ptr_eq(&place.mount, top) {
            return true;
        }
        at = place.mount;
    }
    false
}

/// Space, tab, newline and backslash as octal numbers.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                let _ = write!(out, "\\{byte:03o}");
            }
            _ => out.push(char::from(*byte)),
        }
    }
    out
}

fn flags(flags: MountFlags) -> String {
    const NAMES: [(MountFlags, &str); 7] = [
        (MountFlags::NO_SUID, "nosuid"),
        (MountFlags::NO_DEV, "nodev"),
        (MountFlags::NO_EXEC, "noexec"),
        (MountFlags::NO_ATIME, "noatime"),
        (MountFlags::NO_DIRATIME, "nodiratime"),
        (MountFlags::RELATIME, "relatime"),
        (MountFlags::NO_SYMFOLLOW, "nosymfollow"),
    ];
    let mut out = String::from(if flags.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" });
    for (_, name) in NAMES.iter().filter(|(flag, _)| flags.contains(*flag)) {
        let _ = write!(out, ",{name}");
    }
    out
}

/// The fields that tell how it takes part in propagation, as seen by a process whose root is in `top`.
fn optional(mount: &Mount, top: &Arc<Mount>) -> String {
    let sharing = mount.sharing();
    let mut out = sharing.group().map_or_else(String::new, |group| format!(" shared:{}", group.id));
    if matches!(sharing, Sharing::Unbindable) {
        out.push_str(" unbindable");
    }
    let Some(master) = sharing.master() else { return out };
    let _ = write!(out, " master:{}", master.id);
    let seen = |member: &Arc<Mount>| Arc::ptr_eq(member, top) || is_below(member, top);
    let mut near = Some(master.clone());
    while let Some(group) = near {
        if group.members().iter().any(seen) {
            if group.id != master.id {
                let _ = write!(out, " propagate_from:{}", group.id);
            }
            break;
        }
        near = group.live_master();
    }
    out
}

fn super_options(mount: &Mount) -> String {
    let mut out = String::from(if mount.superblock.fs.is_read_only() { "ro" } else { "rw" });
    let options = mount.superblock.fs.options();
    if !options.is_empty() {
        let _ = write!(out, ",{options}");
    }
    out
}

fn source(mount: &Mount) -> String {
    if mount.source.is_empty() { String::from("none") } else { escape(&mount.source) }
}

/// `/proc/PID/mounts`.
pub(super) fn mounts(_cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let mut out = String::new();
    for (mount, path) in reachable(task)? {
        let fs = &mount.superblock.fs;
        let mut options = flags(mount.flags());
        if !fs.options().is_empty() {
            let _ = write!(options, ",{}", fs.options());
        }
        let _ = writeln!(out, "{} {path} {} {options} 0 0", source(&mount), fs.type_name());
    }
    Ok(out.into_bytes())
}

/// `/proc/PID/mountstats`.
pub(super) fn mountstats(_cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let mut out = String::new();
    for (mount, path) in reachable(task)? {
        let device = if mount.source.is_empty() {
            String::from("no device")
        } else {
            format!("device {}", escape(&mount.source))
        };
        let _ = writeln!(out, "{device} mounted on {path} with fstype {}", mount.superblock.fs.type_name());
    }
    Ok(out.into_bytes())
}

/// `/proc/PID/mountinfo`.
pub(super) fn mountinfo(cx: &FsCx<'_>, task: &dyn ProcTask) -> Result<Vec<u8>, Errno> {
    let mut out = String::new();
    let top = task.fs().ok_or(Errno::EINVAL)?.root().mount;
    for (mount, path) in reachable(task)? {
        let parent = mount.place().map_or(mount.id, |place| place.mount.id);
        let attr = mount.root.node().and_then(|node| node.ops.attr(cx)).unwrap_or_else(|_| Attr::default());
        let (major, minor) = device_parts(attr.dev);
        let whole = Path { mount: mount.clone(), dentry: mount.superblock.root.clone() };
        let inside = Path { mount: mount.clone(), dentry: mount.root.clone() };
        let root = escape(&crate::fs::path::display(&inside, &whole));
        let root = if Arc::ptr_eq(&mount.root, &mount.superblock.root) { String::from("/") } else { root };
        let line = format!(
            "{} {parent} {major}:{minor} {root} {path} {}{} - {} {} {}",
            mount.id,
            flags(mount.flags()),
            optional(&mount, &top),
            mount.superblock.fs.type_name(),
            source(&mount),
            super_options(&mount)
        );
        let _ = writeln!(out, "{line}");
    }
    Ok(out.into_bytes())
}
