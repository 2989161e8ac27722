//! File handles (name_to_handle_at(2), open_by_handle_at(2)): numbers that files are found by again as long as the sandbox
//! remembers a name of theirs.

use crate::abi::Errno;
use crate::fs::filesystem::DentryPolicy;
use crate::fs::{Dentry, Mount, Path};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of the table's lock: nothing is taken below it.
const LEVEL: Level = Level(126);
/// Handles at which those of files that are gone are forgotten, and beyond which none are given.
const HANDLES_MAX: usize = 65536;

/// What a handle has in it.
pub type Handle = [u8; 12];

static TABLE: SpinLock<BTreeMap<u64, Weak<Dentry>>> = SpinLock::new(LEVEL, BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A handle of the file at `path`.
///
/// # Errors
/// `EOPNOTSUPP` for file systems whose names are made up, `ENOMEM` with too many.
pub fn of(path: &Path) -> Result<Handle, Errno> {
    let superblock = &path.mount.superblock;
    if superblock.fs.dentry_policy() == DentryPolicy::Never {
        return Err(Errno::EOPNOTSUPP);
    }
    let cell = &path.node()?.state.handle;
    let mut number = cell.load(Ordering::Acquire);
    if number == 0 {
        let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
        let before = cell.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire);
        number = before.err().unwrap_or(fresh);
    }
    let mut table = TABLE.lock();
    if table.len() >= HANDLES_MAX {
        table.retain(|_, dentry| dentry.strong_count() > 0);
        if table.len() >= HANDLES_MAX {
            return Err(Errno::ENOMEM);
        }
    }
    let known = table.get(&number).is_some_and(|dentry| dentry.strong_count() > 0);
    if !known {
        table.insert(number, Arc::downgrade(&path.dentry));
    }
    let mut handle = [0; 12];
    if let Some((number_bytes, _)) = handle.split_first_chunk_mut() {
        *number_bytes = number.to_ne_bytes();
    }
    Ok(handle)
}

/// The file of a handle, seen through `mount`.
///
/// # Errors
/// `ESTALE` when it is not there any more, or not in that file system.
pub fn find(mount: &Arc<Mount>, handle: &[u8]) -> Result<Path, Errno> {
    let number = handle.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)).ok_or(Errno::ESTALE)?;
    let dentry = TABLE.lock().get(&number).and_then(Weak::upgrade).ok_or(Errno::ESTALE)?;
    let root = &mount.superblock.root;
    let mut at = dentry.clone();
    while let Some(parent) = at.parent() {
        at = parent;
    }
    if !Arc::ptr_eq(&at, root) || dentry.is_removed() {
        return Err(Errno::ESTALE);
    }
    Ok(Path { mount: mount.clone(), dentry })
}
