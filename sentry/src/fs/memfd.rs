//! Files in memory that have no name in any tree (memfd_create(2)), and their seals (fcntl(2), "File Sealing").

use crate::abi::Errno;
use crate::abi::file::{O_LARGEFILE, O_RDWR};
use crate::fs::node::{S_ISGID, S_ISUID};
use crate::fs::node_state::WriteAccess;
use crate::fs::tmpfs::{Options, TmpFs};
use crate::fs::{Dentry, DirNode, FileBody, FsCx, Mount, MountFlags, OpenFile, Path, SetAttr};
use crate::mm::Budget;
use alloc::sync::Arc;
use chitin_core::once::Once;

/// No more seals (`F_SEAL_SEAL`).
pub const SEAL_SEAL: u32 = 1;
/// The file cannot shrink.
pub const SEAL_SHRINK: u32 = 2;
/// The file cannot grow.
pub const SEAL_GROW: u32 = 4;
/// The contents cannot change.
pub const SEAL_WRITE: u32 = 8;
/// Only mappings that are there may change the contents.
pub const SEAL_FUTURE_WRITE: u32 = 16;
/// The permission to execute cannot change.
pub const SEAL_EXEC: u32 = 32;

const ALL: u32 = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_EXEC;

/// Whether a new file may have seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// It has `F_SEAL_SEAL` from the start.
    Refused,
    /// It starts with none (`MFD_ALLOW_SEALING`).
    Allowed,
    /// It may never be executed (`MFD_NOEXEC_SEAL`).
    NoExecute,
}

/// The mount that files without a name are on; nobody sees it.
fn mount() -> Arc<Mount> {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    loop {
        if let Some(mount) = MOUNT.get() {
            return mount.clone();
        }
        let fs = TmpFs::new(&Budget::root(), &Options::default());
        MOUNT.set(Mount::of(fs, b"tmpfs", MountFlags::NO_SUID | MountFlags::RELATIME));
    }
}

/// Makes an empty file, open for reading and writing, whose contents `budget` pays for.
///
/// # Errors
/// `ENOSPC`, `ENOMEM`.
pub fn create(
    cx: &FsCx<'_>,
    budget: &Arc<Budget>,
    name: &[u8],
    sealing: Sealing,
) -> Result<Arc<OpenFile>, Errno> {
    let mut shown = b"memfd:".to_vec();
    shown.extend_from_slice(name);
    let mode = if sealing == Sealing::NoExecute { 0o666 } else { 0o777 };
    let file = create_named(cx, budget, &shown, mode)?;
    if let Some(node) = file.node() {
        node.state.set_sealable(match sealing {
            Sealing::Refused => SEAL_SEAL,
            Sealing::Allowed => 0,
            Sealing::NoExecute => SEAL_EXEC,
        });
    }
    Ok(file)
}

/// As [`create`], without seals, shown as `/NAME (deleted)`; for shared anonymous memory and SysV segments too.
///
/// # Errors
/// `ENOSPC`, `ENOMEM`.
pub fn create_named(
    cx: &FsCx<'_>,
    budget: &Arc<Budget>,
    name: &[u8],
    mode: u32,
) -> Result<Arc<OpenFile>, Errno> {
    let mount = mount();
    // A tmpfs of its own, so that the right budget pays; the mount lends its place alone.
    let fs = TmpFs::new(budget, &Options::default());
    let node = unnamed(cx, &fs, mode)?;
    let access = WriteAccess::new(&node)?;
    let dentry = Dentry::disconnected(&mount.superblock.cache, node.clone(), name);
    let path = Path { mount, dentry };
    Ok(OpenFile::at_writable(FileBody::Node(node, None), O_RDWR | O_LARGEFILE, path, Some(access)))
}

fn unnamed(cx: &FsCx<'_>, fs: &Arc<TmpFs>, mode: u32) -> Result<Arc<crate::fs::Node>, Errno> {
    use crate::fs::FileSystem;
    let root = fs.root();
    let dir: &Arc<dyn DirNode> = root.dir()?;
    let node = dir.create_unnamed(cx, mode)?;
    node.ops.set_attr(cx, &SetAttr { mode: Some(mode & !(S_ISUID | S_ISGID)), ..SetAttr::default() })?;
    Ok(node)
}

/// The seals of a file (`F_GET_SEALS`).
///
/// # Errors
/// `EINVAL` for files that cannot have any.
pub fn seals(file: &OpenFile) -> Result<u32, Errno> {
    let own = file.node().and_then(|node| node.state.seals());
    own.or_else(|| is_in_memory(file).then_some(SEAL_SEAL)).ok_or(Errno::EINVAL)
}

/// Whether it is a file of a tmpfs: those have [`SEAL_SEAL`] from the start.
fn is_in_memory(file: &OpenFile) -> bool {
    let by_path = file.path().is_some_and(|path| path.mount.superblock.fs.type_name() == "tmpfs");
    by_path && crate::fs::io::regular(file).is_ok()
}

/// Adds seals (`F_ADD_SEALS`).
///
/// # Errors
/// `EPERM` when the file is not open for writing or sealed against seals, `EBUSY` for [`SEAL_WRITE`] while it is mapped
/// writable, `EINVAL`.
pub fn add_seals(cx: &FsCx<'_>, file: &OpenFile, add: u32) -> Result<(), Errno> {
    if add & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let node = file.node().ok_or(Errno::EINVAL)?;
    let _lock = node.state.lock.lock(cx.sleeper);
    let there = seals(file)?;
    if !file.is_writable() || there & SEAL_SEAL != 0 {
        return Err(Errno::EPERM);
    }
    let mapping = crate::fs::io::regular(file)?.1.mapping();
    if add & SEAL_WRITE != 0 && mapping.is_some_and(|mapping| mapping.writable_mappings() > 0) {
        return Err(Errno::EBUSY);
    }
    node.state.add_seals(add);
    Ok(())
}
