//! What the guest has looked up: node numbers and the host inodes behind them.
//!
//! A node is held by an `O_PATH` descriptor, so it survives renames and its inode number cannot be reused. When more
//! than the budget are held, the oldest ones that can still be found by parent and name are let go, to be reopened (and
//! compared by device and inode) when they are used again. Node numbers are never reused.

use super::name::Name;
use super::shares::Share;
use chitin_proto::fuse::ROOT_ID;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Deepest chain of let-go parents that is reopened.
const MAX_DEPTH: usize = 256;
/// Candidates looked at to get below the budget, for each node added.
const EVICT_TRIES: usize = 4;

/// One looked-up inode.
#[derive(Debug)]
pub struct Node {
    fd: Option<OwnedFd>,
    origin: Option<(u64, Name)>,
    /// Tree it belongs to.
    pub share: Arc<Share>,
    /// Its type, which cannot change.
    pub kind: FileType,
    /// Device number.
    pub dev: u64,
    ino: u64,
    references: u64,
}

type Identity = (u64, u64, u64);

/// All looked-up nodes.
#[derive(Debug)]
pub struct Nodes {
    known: HashMap<u64, Node>,
    by_identity: HashMap<Identity, u64>,
    /// Nodes without a descriptor, by where they were found.
    let_go: HashMap<(u64, Name), u64>,
    held: VecDeque<u64>,
    held_count: usize,
    budget: usize,
    last: u64,
}

/// Opens `name` in `dir` without following anything.
///
/// # Errors
/// That of openat(2).
pub fn open_path(dir: BorrowedFd<'_>, name: &Name) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name.as_c_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

impl Nodes {
    /// None yet; at most about `budget` descriptors will be held.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self {
            known: HashMap::new(),
            by_identity: HashMap::new(),
            let_go: HashMap::new(),
            held: VecDeque::new(),
            held_count: 0,
            budget: budget.max(16),
            last: ROOT_ID,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Nodes that have a descriptor.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held_count
    }

    /// A node's fixed properties.
    ///
    /// # Errors
    /// `ESTALE` for a number that was never given out or was forgotten.
    pub fn get(&self, id: u64) -> Result<&Node, Errno> {
        self.known.get(&id).ok_or(Errno::STALE)
    }

    /// Counts a reference to the inode that `fd` (with attributes `stat`) is open on and returns its node number.
    pub fn enter(
        &mut self,
        share: &Arc<Share>,
        origin: Option<(u64, Name)>,
        fd: OwnedFd,
        stat: &Stat,
    ) -> u64 {
        let identity = (share.id, stat.st_dev, stat.st_ino);
        if let Some(id) = self.by_identity.get(&identity)
            && let Some(node) = self.known.get_mut(id)
        {
            node.references += 1;
            return *id;
        }
        self.last += 1;
        let id = self.last;
        let node = Node {
            fd: Some(fd),
            origin,
            share: Arc::clone(share),
            kind: FileType::from_raw_mode(stat.st_mode),
            dev: stat.st_dev,
            ino: stat.st_ino,
            references: 1,
        };
        self.known.insert(id, node);
        self.by_identity.insert(identity, id);
        self.note_held(id);
        id
    }

    /// Gives back `count` references; the last one ends the node.
    pub fn forget(&mut self, id: u64, count: u64) {
        let Some(node) = self.known.get_mut(&id) else { return };
        node.references = node.references.saturating_sub(count);
        if node.references > 0 {
            return;
        }
        if let Some(node) = self.known.remove(&id) {
            self.by_identity.remove(&(node.share.id, node.dev, node.ino));
            if node.fd.is_some() {
                self.held_count -= 1;
            } else if let Some(origin) = node.origin {
                self.let_go.remove(&origin);
            }
        }
    }

    /// The descriptor of a node, reopened if it was let go.
    ///
    /// # Errors
    /// `ESTALE` when the node is unknown or no longer where it was.
    pub fn fd(&mut self, id: u64) -> Result<BorrowedFd<'_>, Errno> {
        self.hold(id, 0)?;
        self.known.get(&id).and_then(|node| node.fd.as_ref()).map(AsFd::as_fd).ok_or(Errno::STALE)
    }

    /// Descriptors of two nodes.
    ///
    /// # Errors
    /// As [`Nodes::fd`].
    pub fn two_fds(&mut self, one: u64, two: u64) -> Result<(BorrowedFd<'_>, BorrowedFd<'_>), Errno> {
        self.hold(one, 0)?;
        self.hold(two, 0)?;
        // Holding the second may have let the first go; now both are young.
        self.hold(one, 0)?;
        let fd = |id: u64| self.known.get(&id).and_then(|node| node.fd.as_ref()).map(AsFd::as_fd);
        fd(one).zip(fd(two)).ok_or(Errno::STALE)
    }

    /// Makes sure that the node known as `name` in `dir`, if there is one, is held by a descriptor: the name is about to
    /// change its meaning.
    pub fn hold_entry(&mut self, dir: u64, name: &Name) {
        if let Some(id) = self.let_go.get(&(dir, name.clone())).copied() {
            // A node that cannot be reopened is stale already.
            let _ = self.hold(id, 0);
        }
    }

    fn hold(&mut self, id: u64, depth: usize) -> Result<(), Errno> {
        let node = self.get(id)?;
        if node.fd.is_some() {
            return Ok(());
        }
        let Some((parent, name)) = node.origin.clone().filter(|_| depth < MAX_DEPTH) else {
            return Err(Errno::STALE);
        };
        self.hold(parent, depth + 1)?;
        let dir = self.known.get(&parent).and_then(|node| node.fd.as_ref()).ok_or(Errno::STALE)?;
        let fd = open_path(dir.as_fd(), &name).map_err(|_| Errno::STALE)?;
        let stat = rustix::fs::fstat(&fd)?;
        let node = self.known.get_mut(&id).ok_or(Errno::STALE)?;
        if (stat.st_dev, stat.st_ino) != (node.dev, node.ino) {
            return Err(Errno::STALE);
        }
        node.fd = Some(fd);
        self.let_go.remove(&(parent, name));
        self.note_held(id);
        Ok(())
    }

    fn note_held(&mut self, id: u64) {
        self.held.push_back(id);
        self.held_count += 1;
        for _ in 0..EVICT_TRIES {
            if self.held_count <= self.budget {
                break;
            }
            if let Some(candidate) = self.held.pop_front()
                && candidate != id
                && !self.let_go(candidate)
                && self.known.contains_key(&candidate)
            {
                self.held.push_back(candidate);
            }
        }
        // Forgotten nodes stay in the queue until they come to its front; do not let them pile up.
        if self.held.len() > 2 * self.held_count + 64 {
            let known = &self.known;
            self.held.retain(|id| known.get(id).is_some_and(|node| node.fd.is_some()));
        }
    }

    /// Lets go of a node's descriptor if it can be found again. False when it cannot.
    fn let_go(&mut self, id: u64) -> bool {
        let Some(node) = self.known.get(&id) else { return false };
        let Some((parent, name)) = node.origin.clone() else { return false };
        let Some(dir) = self.known.get(&parent).and_then(|node| node.fd.as_ref()) else { return false };
        let found = rustix::fs::statat(dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        if !found.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (node.dev, node.ino)) {
            return false;
        }
        if self.let_go.contains_key(&(parent, name.clone())) {
            return false;
        }
        if let Some(node) = self.known.get_mut(&id)
            && node.fd.take().is_some()
        {
            self.held_count -= 1;
            self.let_go.insert((parent, name), id);
        }
        true
    }
}
