//! The trees the guest may see, by name. The control channel adds and removes them while the file server looks them up.

use super::name::Name;
use chitin_proto::vmm::{Access, CachePolicy, Share as ShareSpec};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest name of a share, bytes.
pub const MAX_NAME: usize = 64;

/// Why a share could not be attached or detached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Empty, too long, with a slash or a NUL, or a dot name.
    #[error("{0:?} cannot be the name of a share")]
    BadName(String),
    /// There is one already.
    #[error("share {0:?} exists")]
    Exists(String),
    /// There is none.
    #[error("share {0:?} does not exist")]
    Missing(String),
    /// The descriptor is of something else.
    #[error("the descriptor of share {0:?} is neither a directory nor a regular file")]
    BadType(String),
}

/// One tree.
#[derive(Debug)]
pub struct Share {
    /// Never used twice.
    pub id: u64,
    /// May the guest write?
    pub access: Access,
    /// Who else may.
    pub policy: CachePolicy,
    /// The root, `O_PATH`.
    pub root: OwnedFd,
}

impl Share {
    /// Whether the guest may change it.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        matches!(self.access, Access::ReadWrite)
    }

    /// Seconds that names and attributes may be cached.
    #[must_use]
    pub const fn valid_seconds(&self) -> u64 {
        match self.policy {
            CachePolicy::Immutable | CachePolicy::Exclusive => u64::MAX,
            CachePolicy::Shared => 1,
        }
    }
}

/// All trees.
#[derive(Debug, Default)]
pub struct Shares {
    list: Mutex<Vec<(Name, Arc<Share>)>>,
    next_id: AtomicU64,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, Vec<(Name, Arc<Share>)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the tree under `root`.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn attach(&self, spec: &ShareSpec, root: OwnedFd) -> Result<(), ShareError> {
        let bad = || ShareError::BadName(spec.name.clone());
        let name = Name::new(spec.name.as_bytes()).ok_or_else(bad)?;
        if spec.name.len() > MAX_NAME {
            return Err(bad());
        }
        let kind = rustix::fs::fstat(&root).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
        if !kind.is_ok_and(|kind| kind.is_dir() || kind.is_file()) {
            return Err(ShareError::BadType(spec.name.clone()));
        }
        let mut list = self.lock();
        if list.iter().any(|(known, _)| *known == name) {
            return Err(ShareError::Exists(spec.name.clone()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        list.push((name, Arc::new(Share { id, access: spec.access, policy: spec.policy, root })));
        Ok(())
    }

    /// Takes a tree away. What the guest has looked up or opened in it stays usable.
    ///
    /// # Errors
    /// [`ShareError::Missing`].
    pub fn detach(&self, name: &str) -> Result<(), ShareError> {
        let mut list = self.lock();
        let before = list.len();
        list.retain(|(known, _)| known.as_bytes() != name.as_bytes());
        if list.len() == before { Err(ShareError::Missing(name.to_owned())) } else { Ok(()) }
    }

    /// The tree called `name`.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<Arc<Share>> {
        self.lock().iter().find(|(known, _)| known == name).map(|(_, share)| Arc::clone(share))
    }

    /// The `index`th tree's name and the tree.
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<(Name, Arc<Share>)> {
        self.lock().get(index).map(|(name, share)| (name.clone(), Arc::clone(share)))
    }
}
