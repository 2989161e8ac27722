//! Carrying out a [`Plan`]: sharing its directories and creating its container.

use crate::block::{BlockError, OpenBlock, open_block};
use crate::sandbox::{Sandbox, SandboxError};
use crate::spec::{Plan, PlannedShare, ShareTarget};
use chitin_proto::control::{BlockNode, MountSource, Reply, Request, Stdio};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a container could not be created.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Something to be shared cannot be opened.
    #[error("share {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// Something to be shared is neither a directory nor a regular file.
    #[error("share {}: only directories and regular files can be mounted into a sandbox", path.display())]
    Kind {
        /// Its path.
        path: PathBuf,
    },
    /// A block device.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The sandbox refused or is gone.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// A container that exists in a sandbox.
#[derive(Debug)]
pub struct Created {
    /// Pid of its init inside the sandbox.
    pub pid: u32,
    /// Names of its shares, to be detached when it is deleted.
    pub shares: Vec<String>,
    /// Slots of its block devices, likewise.
    pub blocks: Vec<u32>,
}

/// What a plan needs, open.
#[derive(Debug)]
pub struct Opened {
    /// In the order of [`Plan::shares`].
    shares: Vec<OwnedFd>,
    /// In the order of [`Plan::blocks`].
    blocks: Vec<OpenBlock>,
}

/// Opens what a plan shares, and its block devices. The root file system may be open already.
///
/// # Errors
/// [`ContainerError::Open`], [`ContainerError::Kind`] and [`ContainerError::Block`].
pub fn open_all(plan: &Plan, mut root: Option<OwnedFd>) -> Result<Opened, ContainerError> {
    let open = |share: &PlannedShare| match (share.target, root.take()) {
        (ShareTarget::Root, Some(root)) => Ok(root),
        (_, given) => {
            root = given;
            open_share(share)
        }
    };
    let shares = plan.shares.iter().map(open).collect::<Result<_, _>>()?;
    let blocks = plan.blocks.iter().map(open_block).collect::<Result<_, _>>()?;
    Ok(Opened { shares, blocks })
}

/// Hands what was opened over and creates the container; its init process does not run yet.
///
/// # Errors
/// [`ContainerError::Sandbox`]; everything is detached again then.
pub fn create(
    sandbox: &Sandbox,
    mut plan: Plan,
    opened: &Opened,
    stdio: Stdio,
) -> Result<Created, ContainerError> {
    let mut attachments = Vec::with_capacity(opened.shares.len());
    for (share, tree) in plan.shares.iter().zip(&opened.shares) {
        attachments.push(sandbox.attach_share(tree.as_fd(), share.access, share.policy)?);
    }
    let mut shares = Vec::with_capacity(attachments.len());
    for (attachment, share) in attachments.into_iter().zip(&plan.shares) {
        let name = attachment.finish()?;
        match share.target {
            ShareTarget::Root => plan.container.root.shares.push(name.clone()),
            ShareTarget::Mount(index) => {
                if let Some(mount) = plan.container.mounts.get_mut(index) {
                    mount.source = MountSource::Share(name.clone());
                }
            }
        }
        shares.push(name);
    }
    plan.container.process.stdio = stdio;
    let mut blocks = Vec::with_capacity(opened.blocks.len());
    let result = attach_blocks(sandbox, &mut plan, &opened.blocks, &mut blocks)
        .and_then(|()| sandbox.control(&Request::CreateContainer(Box::new(plan.container))));
    match result {
        Ok(Reply::Process { pid }) => Ok(Created { pid, shares, blocks }),
        Ok(_) => Ok(Created { pid: 1, shares, blocks }),
        Err(error) => {
            detach(sandbox, &shares, &blocks);
            Err(error.into())
        }
    }
}

/// Attaches block devices and writes down where each is; `slots` has those that are attached, also after a failure.
fn attach_blocks(
    sandbox: &Sandbox,
    plan: &mut Plan,
    blocks: &[OpenBlock],
    slots: &mut Vec<u32>,
) -> Result<(), SandboxError> {
    for (planned, block) in plan.blocks.iter().zip(blocks) {
        let slot = sandbox.attach_block(block)?;
        slots.push(slot);
        plan.container.devices.push(BlockNode {
            slot,
            path: planned.path.clone(),
            mode: planned.mode,
            uid: planned.uid,
            gid: planned.gid,
        });
    }
    Ok(())
}

/// Takes a container's shares and block devices away; failures are of no consequence, the sandbox may be gone.
pub fn detach(sandbox: &Sandbox, shares: &[String], blocks: &[u32]) {
    for share in shares {
        let _ = sandbox.detach_share(share);
    }
    for slot in blocks {
        let _ = sandbox.detach_block(*slot);
    }
}

/// Opens a tree detached from the host's mounts, so that the host may unmount its own; without the privilege for that,
/// the tree as it is.
fn open_share(share: &PlannedShare) -> Result<OwnedFd, ContainerError> {
    let fail = |source: Errno| ContainerError::Open { path: share.source.clone(), source: source.into() };
    let tree = match open_detached(&share.source, share.recursive) {
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => {
            open(&share.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        }
        other => other,
    }
    .map_err(fail)?;
    let kind = FileType::from_raw_mode(fstat(&tree).map_err(fail)?.st_mode);
    match (kind, share.target) {
        (FileType::Directory, _) | (FileType::RegularFile, ShareTarget::Mount(_)) => Ok(tree),
        (_, ShareTarget::Root) => Err(fail(Errno::NOTDIR)),
        (_, ShareTarget::Mount(_)) => Err(ContainerError::Kind { path: share.source.clone() }),
    }
}

/// A private copy of the mount (or mounts) at `path` that is attached nowhere.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSYS` before Linux 5.2, and those of path look-up.
pub fn open_detached(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags)
}
