//! Copies of mounts and of trees of them.

use super::sharing::Twin;
use super::{Depth, FAMILY_MAX, Mount};
use crate::abi::Errno;
use crate::fs::Path;
use crate::fs::dentry::Dentry;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// Which mount is the copy of which, by their ids.
pub(super) type Twins = BTreeMap<u32, Arc<Mount>>;

/// Whether a copy takes what must not be bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unbindable {
    Skipped,
    Taken,
}

impl Mount {
    /// A copy of this mount alone, from `root` on, nowhere yet.
    fn twin(self: &Arc<Self>, root: &Arc<Dentry>, twin: Twin) -> Result<Arc<Self>, Errno> {
        let family = self.family();
        if family.as_ref().is_some_and(|family| family.alive.load(Ordering::Relaxed) >= FAMILY_MAX) {
            return Err(Errno::ENOSPC);
        }
        let copy = Self::new(self.superblock.clone(), root.clone(), &self.source, self.flags());
        copy.locks.store(self.locks.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(family) = family {
            copy.adopt(&family);
        }
        copy.join(self.sharing_of_twin(twin));
        Ok(copy)
    }

    /// A copy of this mount from `root` on and, with `Depth::Tree`, of those below; what must not be bound is left out.
    ///
    /// # Errors
    /// `EPERM` when something left out must stay where it is, `ENOSPC` with too many mounts.
    pub(super) fn copy(
        self: &Arc<Self>,
        root: &Arc<Dentry>,
        depth: Depth,
        twin: Twin,
    ) -> Result<Arc<Self>, Errno> {
        match depth {
            Depth::One => self.twin(root, twin),
            Depth::Tree => Ok(self.copy_tree(root, twin, Unbindable::Skipped)?.0),
        }
    }

    /// A copy of this mount and all below it; with it, which is the copy of which, by their ids.
    ///
    /// # Errors
    /// `ENOSPC` with too many mounts.
    pub(super) fn copy_all(self: &Arc<Self>, twin: Twin) -> Result<(Arc<Self>, Twins), Errno> {
        self.copy_tree(&self.root, twin, Unbindable::Taken)
    }

    fn copy_tree(
        self: &Arc<Self>,
        root: &Arc<Dentry>,
        twin: Twin,
        unbindable: Unbindable,
    ) -> Result<(Arc<Self>, Twins), Errno> {
        let copy = self.twin(root, twin)?;
        let mut twins = BTreeMap::from([(self.id, copy.clone())]);
        let mut work = alloc::vec![(self.clone(), copy.clone())];
        while let Some((from, to)) = work.pop() {
            for child in from.children() {
                let Some(at) = child.place() else { continue };
                if !to.root.is_ancestor_of(&at.dentry) {
                    continue;
                }
                if child.is_unbindable() && unbindable == Unbindable::Skipped {
                    if child.is_locked() {
                        return Err(Errno::EPERM);
                    }
                    continue;
                }
                let below = child.twin(&child.root, twin)?;
                below.attach(&Path { mount: to.clone(), dentry: at.dentry });
                twins.insert(child.id, below.clone());
                work.push((child, below));
            }
        }
        Ok((copy, twins))
    }
}
