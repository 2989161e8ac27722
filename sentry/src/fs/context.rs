//! [`FsContext`]: root, working directory and umask of a process (`CLONE_FS`).

use crate::abi::Errno;
use crate::fs::{MountNamespace, Path};
use crate::security::UserNamespace;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use core::sync::atomic::{AtomicU32, Ordering};

/// Level of the lock around root and working directory.
pub const LEVEL: Level = Level(64);

#[derive(Clone)]
struct Places {
    namespace: Arc<MountNamespace>,
    root: Path,
    cwd: Path,
}

/// What path look-ups of a process start from.
pub struct FsContext {
    places: SpinLock<Places>,
    umask: AtomicU32,
}

impl FsContext {
    /// Root and working directory at the root of `namespace`, umask 022.
    #[must_use]
    pub fn new(namespace: Arc<MountNamespace>) -> Arc<Self> {
        let root = namespace.root();
        Self::of(Places { namespace, cwd: root.clone(), root }, 0o022)
    }

    fn of(places: Places, umask: u32) -> Arc<Self> {
        Arc::new(Self { places: SpinLock::new(LEVEL, places), umask: AtomicU32::new(umask) })
    }

    /// A context of its own with the same contents (fork(2)).
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        Self::of(self.places.lock().clone(), self.umask())
    }

    /// Gives the process a mount namespace of its own, a copy of the one it had (`CLONE_NEWNS`).
    ///
    /// # Errors
    /// `ENOSPC` with too many mounts.
    pub fn unshare_mounts(&self, sleeper: &Sleeper, owner: Arc<UserNamespace>) -> Result<(), Errno> {
        let old = self.places.lock().clone();
        let (namespace, paths) = old.namespace.copy(sleeper, &[old.root, old.cwd], owner)?;
        if let Ok([root, cwd]) = <[Path; 2]>::try_from(paths) {
            let old = core::mem::replace(&mut *self.places.lock(), Places { namespace, root, cwd });
            drop(old);
        }
        Ok(())
    }

    /// Goes into another mount namespace, to its root (setns(2)).
    pub fn enter(&self, namespace: &Arc<MountNamespace>) {
        let root = namespace.root();
        let places = Places { namespace: namespace.clone(), cwd: root.clone(), root };
        let old = core::mem::replace(&mut *self.places.lock(), places);
        drop(old);
    }

    /// The mount namespace.
    #[must_use]
    pub fn namespace(&self) -> Arc<MountNamespace> {
        self.places.lock().namespace.clone()
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> Path {
        self.places.lock().cwd.clone()
    }

    /// Sets the working directory (chdir(2)).
    pub fn set_cwd(&self, cwd: Path) {
        let old = core::mem::replace(&mut self.places.lock().cwd, cwd);
        drop(old);
    }

    /// Sets the root directory (chroot(2)).
    pub fn set_root(&self, root: Path) {
        let old = core::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }

    /// File mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the mask; returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask & 0o777, Ordering::Relaxed)
    }
}
