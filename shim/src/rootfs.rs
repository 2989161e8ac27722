//! The snapshotter's mounts: how a bundle's root file system comes to be.
//!
//! They are mounted on the bundle's `rootfs`, as runc's shim does, a detached copy is taken, and the mount is undone at
//! once: the copy lives as long as a descriptor of it, so that nothing is left however the shim or the VMM ends.

use crate::container::open_detached;
use crate::ledger::{Effect, Ledger, LedgerError};
use containerd_shim_protos::api::Mount;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why a root file system cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Mounting failed.
    #[error("mount {kind} {from} on {}: {source}", on.display())]
    Mount {
        /// File system type.
        kind: String,
        /// Device or directory.
        from: String,
        /// Where.
        on: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// The directory cannot be opened.
    #[error("root file system {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// The ledger cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Mounts what the snapshotter says and returns a descriptor of the tree; with no mounts, of the directory itself.
///
/// # Errors
/// [`RootfsError`]; nothing stays mounted then.
pub fn assemble(mounts: &[Mount], rootfs: &Path, ledger: &Ledger) -> Result<OwnedFd, RootfsError> {
    let fail =
        |source: rustix::io::Errno| RootfsError::Open { path: rootfs.to_owned(), source: source.into() };
    let path_only = || open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    if mounts.is_empty() {
        return open_detached(rootfs, true).or_else(|_| path_only()).map_err(fail);
    }
    let _ = std::fs::create_dir(rootfs);
    let mut mounted = 0;
    let unmount_all = |count: usize| {
        for _ in 0..count {
            let _ = unmount(rootfs, UnmountFlags::DETACH);
        }
    };
    for layer in mounts {
        ledger.note(&Effect::Mount(rootfs.to_owned()))?;
        if let Err(source) = mount_one(layer, rootfs) {
            unmount_all(mounted);
            return Err(RootfsError::Mount {
                kind: layer.type_.clone(),
                from: layer.source.clone(),
                on: rootfs.to_owned(),
                source,
            });
        }
        mounted += 1;
    }
    match open_detached(rootfs, true) {
        Ok(tree) => {
            unmount_all(mounted);
            Ok(tree)
        }
        // Before Linux 5.2: the mount stays until the container is deleted.
        Err(_) => path_only().map_err(fail),
    }
}

/// One mount of the snapshotter, with options as in fstab(5).
fn mount_one(from: &Mount, on: &Path) -> io::Result<()> {
    let options = Options::parse(&from.options);
    let data = CString::new(options.data.join(","))?;
    let kind = if options.flags.contains(MountFlags::BIND) { "bind" } else { from.type_.as_str() };
    mount(from.source.as_str(), on, kind, options.flags, Some(data.as_c_str()))?;
    // A bind mount takes its other flags only when it is mounted again.
    let again = options.flags - MountFlags::BIND - MountFlags::REC;
    if options.flags.contains(MountFlags::BIND) && !again.is_empty() {
        let flags = again | MountFlags::BIND;
        let remounted = rustix::mount::mount_remount(on, flags, "");
        if let Err(error) = remounted {
            let _ = unmount(on, UnmountFlags::DETACH);
            return Err(error.into());
        }
    }
    // What happens below it on the host must not reach the copy, nor the other way round.
    mount_change(on, MountPropagationFlags::PRIVATE).or(Ok(()))
}

struct Options<'a> {
    flags: MountFlags,
    data: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(options: &'a [String]) -> Self {
        let mut parsed = Self { flags: MountFlags::empty(), data: Vec::new() };
        for option in options {
            let (set, clear) = (
                match option.as_str() {
                    "ro" => MountFlags::RDONLY,
                    "nosuid" => MountFlags::NOSUID,
                    "nodev" => MountFlags::NODEV,
                    "noexec" => MountFlags::NOEXEC,
                    "noatime" => MountFlags::NOATIME,
                    "nodiratime" => MountFlags::NODIRATIME,
                    "relatime" => MountFlags::RELATIME,
                    "sync" => MountFlags::SYNCHRONOUS,
                    "bind" => MountFlags::BIND,
                    "rbind" => MountFlags::BIND | MountFlags::REC,
                    _ => MountFlags::empty(),
                },
                match option.as_str() {
                    "rw" => Some(MountFlags::RDONLY),
                    "suid" => Some(MountFlags::NOSUID),
                    "dev" => Some(MountFlags::NODEV),
                    "exec" => Some(MountFlags::NOEXEC),
                    "atime" => Some(MountFlags::NOATIME),
                    "defaults" => Some(MountFlags::empty()),
                    _ => None,
                },
            );
            match clear {
                Some(clear) => parsed.flags -= clear,
                None if set.is_empty() => parsed.data.push(option),
                None => parsed.flags |= set,
            }
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let options = ["ro", "index=off", "nosuid", "lowerdir=/a:/b", "rw"].map(str::to_owned);
        let parsed = Options::parse(&options);
        assert_eq!(parsed.flags, MountFlags::NOSUID);
        assert_eq!(parsed.data, ["index=off", "lowerdir=/a:/b"]);
    }
}
