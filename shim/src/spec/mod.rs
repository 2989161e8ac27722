//! From an OCI bundle's `config.json` to what the sentry is told.
//!
//! [`plan`] is pure: it yields a [`Plan`], the container as the sentry will get it plus the directories that have to be
//! shared first. [`crate::container`] carries a plan out.

mod defaults;
mod devices;
mod limits;
mod mounts;
mod process;
mod seccomp;
mod user;

pub use defaults::{RootfsRun, bundle_spec};
pub use limits::limits;
pub use mounts::{PlannedShare, ShareTarget, bind};
pub use process::{process, process_from_json};
pub use seccomp::seccomp;
pub use user::{User, UserError};

use crate::block::PlannedBlock;
use chitin_proto::control::{ContainerSpec, Root, RootWrites};
use chitin_proto::vmm::{Access, CachePolicy};
use oci_spec::runtime::Spec;
use std::path::{Path, PathBuf};

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// `config.json` cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Operating system error.
        source: std::io::Error,
    },
    /// `config.json` (or the process of an exec) is not what the OCI runtime specification says.
    #[error("{what}: {source}")]
    Parse {
        /// What was parsed.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Something that has to be there is not.
    #[error("{} is missing from config.json", what)]
    Missing {
        /// Its name in the specification.
        what: &'static str,
    },
    /// A mount of a kind that no sandbox has.
    #[error("mount {destination}: unknown type {kind:?}")]
    MountType {
        /// Where it was to be mounted.
        destination: String,
        /// The unknown type.
        kind: String,
    },
    /// A mount that names no source.
    #[error("mount {destination}: a bind mount needs a source")]
    NoSource {
        /// Where it was to be mounted.
        destination: String,
    },
    /// A part of `linux.seccomp` that cannot be carried out.
    #[error("linux.seccomp: {what}")]
    Seccomp {
        /// Which part.
        what: String,
    },
    /// A path that is not absolute.
    #[error("{what} {path:?} is not an absolute path")]
    NotAbsolute {
        /// Which path.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// A path that is not UTF-8.
    #[error("{what} {path:?} is not UTF-8")]
    NotUtf8 {
        /// Which path.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
}

/// A container, and the directories and block devices that it needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the sentry will be told; the names of shares are still empty.
    pub container: ContainerSpec,
    /// What has to be shared, and where its name goes.
    pub shares: Vec<PlannedShare>,
    /// Block devices; their special files are made from this.
    pub blocks: Vec<PlannedBlock>,
}

/// Reads a bundle's `config.json`.
///
/// # Errors
/// [`SpecError::Read`] and [`SpecError::Parse`].
pub fn load(bundle: &Path) -> Result<Spec, SpecError> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|source| SpecError::Read { path: path.clone(), source })?;
    parse(&text).map_err(|source| SpecError::Parse { what: path.display().to_string(), source })
}

/// Parses a specification; a process with no `user` is root's, as for runc.
fn parse(text: &[u8]) -> Result<Spec, serde_json::Error> {
    serde_json::from_slice(text).or_else(|error| {
        let mut value: serde_json::Value = serde_json::from_slice(text)?;
        match value.get_mut("process").and_then(serde_json::Value::as_object_mut) {
            Some(process) if !process.contains_key("user") => {
                process.insert("user".to_owned(), serde_json::json!({"uid": 0, "gid": 0}));
                serde_json::from_value(value)
            }
            _ => Err(error),
        }
    })
}

/// Turns a bundle's specification into a plan.
///
/// `rootfs` is where the root file system is, mounts of the snapshotter included; nobody else changes it while the
/// container lives.
///
/// # Errors
/// [`SpecError`] naming what cannot be had.
pub fn plan(id: &str, spec: &Spec, rootfs: &Path) -> Result<Plan, SpecError> {
    let process = spec.process().as_ref().ok_or(SpecError::Missing { what: "process" })?;
    let root = spec.root().as_ref().ok_or(SpecError::Missing { what: "root" })?;
    let writes = match root.readonly() {
        Some(true) => RootWrites::ReadOnly,
        _ => RootWrites::Overlay,
    };
    let mut shares = vec![PlannedShare {
        source: rootfs.to_owned(),
        recursive: true,
        access: Access::ReadOnly,
        policy: CachePolicy::Immutable,
        target: ShareTarget::Root,
    }];
    let mut planned = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let (mount, share) = mounts::plan(mount, planned.len())?;
        planned.push(mount);
        shares.extend(share);
    }
    let linux = spec.linux().as_ref();
    let container = ContainerSpec {
        id: id.to_owned(),
        hostname: spec.hostname().clone().unwrap_or_default(),
        domainname: spec.domainname().clone().unwrap_or_default(),
        root: Root { shares: Vec::new(), writes },
        mounts: planned,
        process: process::process(process)?,
        limits: linux.and_then(|linux| linux.resources().as_ref()).map(limits).unwrap_or_default(),
        sysctl: linux
            .and_then(|linux| linux.sysctl().clone())
            .map(|sysctl| sysctl.into_iter().collect())
            .unwrap_or_default(),
        masked_paths: linux.and_then(|linux| linux.masked_paths().clone()).unwrap_or_default(),
        readonly_paths: linux.and_then(|linux| linux.readonly_paths().clone()).unwrap_or_default(),
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()).map(seccomp::seccomp).transpose()?,
        devices: Vec::new(),
        strace: false,
    };
    Ok(Plan { container, shares, blocks: devices::plan(spec)? })
}

/// The root file system's directory of a bundle.
///
/// # Errors
/// [`SpecError::Missing`] when the specification has no `root`.
pub fn rootfs_path(bundle: &Path, spec: &Spec) -> Result<PathBuf, SpecError> {
    let root = spec.root().as_ref().ok_or(SpecError::Missing { what: "root" })?;
    Ok(bundle.join(root.path()))
}

/// An annotation of a bundle.
#[must_use]
pub fn annotation<'a>(spec: &'a Spec, key: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(key).map(String::as_str)
}

fn utf8(what: &'static str, path: &Path) -> Result<String, SpecError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SpecError::NotUtf8 { what, path: path.to_owned() })
}

fn absolute(what: &'static str, path: &Path) -> Result<String, SpecError> {
    let text = utf8(what, path)?;
    if path.is_absolute() { Ok(text) } else { Err(SpecError::NotAbsolute { what, path: text }) }
}

#[cfg(test)]
mod tests;
