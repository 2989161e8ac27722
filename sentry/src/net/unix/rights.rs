//! [`Rights`]: descriptors in flight (unix(7), `SCM_RIGHTS`), and the collection of those that nobody can receive any more.
//!
//! A socket whose only references wait in inboxes that can be reached through itself alone would never be freed. So the
//! sockets in flight are counted, and [`collect`] looks for such circles when a socket is closed: a socket is a candidate when
//! every reference to its open file is in flight; what is referred to from outside of the candidates, or from one that is, lives.
//! No socket is queued while that goes on ([`SENDING`]), so that references can only become fewer.

use super::Unix;
use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::net::socket;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinGuard, SpinLock};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors of one message (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;
/// Sockets in flight inside one another.
const MAX_DEPTH: usize = 4;
/// Descriptors in flight in the sandbox.
const MAX_IN_FLIGHT: usize = 1 << 16;

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// Held from the look at the sockets of a message until it is queued, and during a collection.
static SENDING: SpinLock<()> = SpinLock::new(Level(136), ());

/// Open files of sockets in flight, by address, and how many times each is.
static SOCKETS: SpinLock<BTreeMap<usize, (Weak<OpenFile>, usize)>> =
    SpinLock::new(Level(143), BTreeMap::new());

/// Descriptors in flight by the user who sent them.
static USERS: SpinLock<BTreeMap<u32, usize>> = SpinLock::new(Level(143), BTreeMap::new());

/// How many descriptors of a user are in flight.
#[must_use]
pub fn in_flight(user: u32) -> usize {
    USERS.lock().get(&user).copied().unwrap_or(0)
}

fn key(file: &Arc<OpenFile>) -> usize {
    Arc::as_ptr(file).addr()
}

/// Descriptors of a message, counted while they are in flight.
#[derive(Default)]
pub(super) struct Rights {
    files: Vec<Arc<OpenFile>>,
    user: u32,
}

impl Rights {
    /// Puts descriptors into flight.
    ///
    /// # Errors
    /// `ETOOMANYREFS` when too many are.
    pub(super) fn new(files: Vec<Arc<OpenFile>>, user: u32) -> Result<Self, Errno> {
        if IN_FLIGHT.fetch_add(files.len(), Ordering::Relaxed) + files.len() > MAX_IN_FLIGHT {
            IN_FLIGHT.fetch_sub(files.len(), Ordering::Relaxed);
            return Err(Errno::ETOOMANYREFS);
        }
        for file in files.iter().filter(|file| unix_of(file).is_some()) {
            SOCKETS.lock().entry(key(file)).or_insert_with(|| (Arc::downgrade(file), 0)).1 += 1;
        }
        if !files.is_empty() {
            *USERS.lock().entry(user).or_default() += files.len();
        }
        Ok(Self { files, user })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// Takes them out of flight.
    pub(super) fn take(&mut self) -> Vec<Arc<OpenFile>> {
        if self.files.is_empty() {
            return Vec::new();
        }
        IN_FLIGHT.fetch_sub(self.files.len(), Ordering::Relaxed);
        {
            let mut users = USERS.lock();
            if let Some(count) = users.get_mut(&self.user) {
                *count = count.saturating_sub(self.files.len());
                if *count == 0 {
                    users.remove(&self.user);
                }
            }
        }
        for file in self.files.iter().filter(|file| unix_of(file).is_some()) {
            let mut sockets = SOCKETS.lock();
            if let Some((_, count)) = sockets.get_mut(&key(file)) {
                *count -= 1;
                if *count == 0 {
                    sockets.remove(&key(file));
                }
            }
        }
        core::mem::take(&mut self.files)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// The unix socket behind an open file.
fn unix_of(file: &OpenFile) -> Option<&Unix> {
    socket::of(file).ok()?.socket().as_any().downcast_ref()
}

/// Makes sure that `files` do not nest too deeply. The guard is kept until they are queued; files met on the way are put into
/// `met`, to be let go after that.
///
/// # Errors
/// `ETOOMANYREFS`.
pub(super) fn check(
    files: &[Arc<OpenFile>],
    met: &mut Vec<Arc<OpenFile>>,
) -> Result<Option<SpinGuard<'static, ()>>, Errno> {
    if files.iter().all(|file| unix_of(file).is_none()) {
        return Ok(None);
    }
    let guard = SENDING.lock();
    let mut seen = BTreeSet::new();
    let mut level: Vec<Arc<OpenFile>> = files.to_vec();
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for file in &level {
            if let Some(socket) = unix_of(file)
                && seen.insert(key(file))
            {
                socket.collect_rights(&mut next);
            }
        }
        met.append(&mut level);
        if next.iter().all(|file| unix_of(file).is_none() || seen.contains(&key(file))) {
            met.append(&mut next);
            return Ok(Some(guard));
        }
        level = next;
    }
    met.append(&mut level);
    Err(Errno::ETOOMANYREFS)
}

/// A socket all of whose references are in flight.
struct Candidate {
    file: Arc<OpenFile>,
    /// References that were not yet found in inboxes of candidates.
    unexplained: usize,
    lives: bool,
}

impl Candidate {
    /// Open files of sockets in its inbox.
    fn held(&self, met: &mut Vec<Arc<OpenFile>>) -> Vec<usize> {
        let mut files = Vec::new();
        if let Some(socket) = unix_of(&self.file) {
            socket.collect_rights(&mut files);
        }
        let keys = files.iter().map(key).collect();
        met.append(&mut files);
        keys
    }
}

fn candidates() -> BTreeMap<usize, Candidate> {
    let sockets = SOCKETS.lock();
    let all = sockets.iter().filter_map(|(key, (file, count))| {
        // Counted before this look adds one.
        let everywhere = file.strong_count();
        let file = file.upgrade()?;
        (everywhere == *count).then_some((*key, Candidate { file, unexplained: *count, lives: false }))
    });
    all.collect()
}

/// Lets go of sockets that can be reached through one another alone. Called with no lock held; one who comes while another
/// collects, as the collector itself does when it closes sockets, leaves it to look once more.
pub(super) fn collect() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    if SOCKETS.lock().is_empty() || ASKED.fetch_add(1, Ordering::AcqRel) != 0 {
        return;
    }
    let mut answered = 1;
    loop {
        collect_once();
        match ASKED.compare_exchange(answered, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(asked) => answered = asked,
        }
    }
}

fn collect_once() {
    let mut met = Vec::new();
    let mut garbage = Vec::new();
    {
        let _sending = SENDING.lock();
        let mut all = candidates();
        let held: BTreeMap<usize, Vec<usize>> =
            all.iter().map(|(key, candidate)| (*key, candidate.held(&mut met))).collect();
        for key in held.values().flatten() {
            if let Some(candidate) = all.get_mut(key) {
                candidate.unexplained = candidate.unexplained.saturating_sub(1);
            }
        }
        let mut work: Vec<usize> =
            all.iter().filter(|(_, candidate)| candidate.unexplained > 0).map(|(key, _)| *key).collect();
        while let Some(key) = work.pop() {
            if let Some(candidate) = all.get_mut(&key)
                && !candidate.lives
            {
                candidate.lives = true;
                work.extend(held.get(&key).into_iter().flatten());
            }
        }
        for candidate in all.into_values() {
            if !candidate.lives
                && let Some(socket) = unix_of(&candidate.file)
            {
                socket.take_messages(&mut garbage);
            }
            met.push(candidate.file);
        }
    }
    drop(met);
    drop(garbage);
}
