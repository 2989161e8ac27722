//! `mounts` of the OCI runtime specification.

use super::{SpecError, absolute, utf8};
use chitin_proto::control::{Mount, MountSource};
use chitin_proto::vmm::{Access, CachePolicy};
use oci_spec::runtime;
use std::path::{Path, PathBuf};

/// A directory or file that has to be shared with the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedShare {
    /// Path on the host.
    pub source: PathBuf,
    /// Whether what is mounted below it belongs to it.
    pub recursive: bool,
    /// May the guest write?
    pub access: Access,
    /// Who else may.
    pub policy: CachePolicy,
    /// Where its name goes.
    pub target: ShareTarget,
}

/// What a share is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareTarget {
    /// A layer of the root file system.
    Root,
    /// The mount with this index.
    Mount(usize),
}

/// Options that say how a bind mount is made rather than what it is like.
const BIND_OPTIONS: &[&str] = &[
    "bind",
    "rbind",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Converts one mount, which will have the given index.
pub(super) fn plan(mount: &runtime::Mount, index: usize) -> Result<(Mount, Option<PlannedShare>), SpecError> {
    let destination = absolute("mount destination", mount.destination())?;
    let mut options = mount.options().clone().unwrap_or_default();
    let is_bind = options.iter().any(|option| option == "bind" || option == "rbind");
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = match kind {
        _ if is_bind => None,
        "bind" => None,
        "proc" => Some(MountSource::Proc),
        "sysfs" => Some(MountSource::Sysfs),
        "tmpfs" => Some(MountSource::Tmpfs),
        "devpts" => Some(MountSource::Devpts),
        "mqueue" => Some(MountSource::Mqueue),
        "cgroup" | "cgroup2" => Some(MountSource::Cgroup),
        other => return Err(SpecError::MountType { destination, kind: other.to_owned() }),
    };
    if let Some(source) = source {
        return Ok((Mount { destination, source, options }, None));
    }
    let Some(from) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) else {
        return Err(SpecError::NoSource { destination });
    };
    let recursive = options.iter().any(|option| option == "rbind");
    options.retain(|option| !BIND_OPTIONS.contains(&option.as_str()));
    let (mount, mut share) = bind(from, destination, options, index)?;
    share.recursive = recursive;
    Ok((mount, Some(share)))
}

/// A bind mount: of a directory or of one file.
///
/// # Errors
/// [`SpecError::NotUtf8`] for the source.
pub fn bind(
    source: &Path,
    destination: String,
    options: Vec<String>,
    index: usize,
) -> Result<(Mount, PlannedShare), SpecError> {
    utf8("mount source", source)?;
    let read_only = options.iter().any(|option| option == "ro");
    let share = PlannedShare {
        source: source.to_owned(),
        recursive: true,
        access: if read_only { Access::ReadOnly } else { Access::ReadWrite },
        policy: CachePolicy::Shared,
        target: ShareTarget::Mount(index),
    };
    Ok((Mount { destination, source: MountSource::Share(String::new()), options }, share))
}
