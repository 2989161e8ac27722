//! The control group of a sandbox's VMM, from `linux.cgroupsPath`, on cgroup v1 and v2.
//!
//! The sentry keeps the limits of the containers; the host's group is there so that the host accounts for the sandbox
//! in the place where its operator looks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Controllers of v1 in which a group is made, when they are mounted.
const V1_CONTROLLERS: &[&str] = &["memory", "cpu", "cpuacct", "pids"];

/// Which kind of hierarchy the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Looks which kind of hierarchy the host has; `None` when none is mounted.
#[must_use]
pub fn version() -> Option<Version> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        Some(Version::V2)
    } else if V1_CONTROLLERS.iter().any(|controller| mount.join(controller).is_dir()) {
        Some(Version::V1)
    } else {
        None
    }
}

/// The directories that `linux.cgroupsPath` means on this host, none when it has no hierarchy.
#[must_use]
pub fn directories(cgroups_path: &str) -> Vec<PathBuf> {
    let relative = relative_path(cgroups_path);
    let mount = Path::new(MOUNT);
    match version() {
        Some(Version::V2) => vec![mount.join(relative)],
        Some(Version::V1) => V1_CONTROLLERS
            .iter()
            .map(|controller| mount.join(controller))
            .filter(|hierarchy| hierarchy.is_dir())
            .map(|hierarchy| hierarchy.join(&relative))
            .collect(),
        None => Vec::new(),
    }
}

/// Makes a group and moves a process into it.
///
/// # Errors
/// Those of `mkdir` and of the write to `cgroup.procs`.
pub fn enter(directory: &Path, pid: u32) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("cgroup.procs"), pid.to_string())
}

/// Removes a group with the groups below it; the kernel refuses while a process is in one.
///
/// # Errors
/// Those of `rmdir`.
pub fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Removes a group whose last process is about to go.
///
/// # Errors
/// Those of `rmdir`; `EBUSY` when it is still in use after a second.
pub fn remove_soon(directory: &Path) -> io::Result<()> {
    for _ in 0..100 {
        match remove(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    remove(directory)
}

/// `linux.cgroupsPath` as a path below a hierarchy's root: either it is a path, or systemd's `SLICE:PREFIX:NAME`.
fn relative_path(cgroups_path: &str) -> PathBuf {
    let mut parts = cgroups_path.splitn(3, ':');
    if let (Some(slice), Some(prefix), Some(name)) = (parts.next(), parts.next(), parts.next()) {
        let mut path = slice_path(slice);
        if name.ends_with(".slice") {
            path.push(name);
        } else if prefix.is_empty() {
            path.push(format!("{name}.scope"));
        } else {
            path.push(format!("{prefix}-{name}.scope"));
        }
        return path;
    }
    // A component `..` must not lead out of the hierarchy.
    Path::new(cgroups_path)
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> PathBuf {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = PathBuf::new();
    if name.is_empty() || name == "-" {
        return path;
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_both_drivers() {
        assert_eq!(relative_path("/default/x"), Path::new("default/x"));
        assert_eq!(relative_path("../../etc"), Path::new("etc"));
        assert_eq!(
            relative_path("kubepods-burstable-pod1.slice:cri-containerd:abc"),
            Path::new(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope"
            )
        );
    }
}
