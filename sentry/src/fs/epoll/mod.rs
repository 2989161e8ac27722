//! epoll (epoll(7)): a set of files, and a list of those that may be ready, fed by their wake-ups. Waiting looks at the list
//! alone, never at the whole set.
//!
//! Locks: [`NESTING`] around additions of epoll instances to one another; then the set's ([`LEVEL`]), an item's, or the
//! ready list's, one at a time. Files are polled, and waiters woken, with none of them held, since a file may be an epoll
//! instance itself.

mod item;
#[cfg(test)]
mod tests;

use crate::abi::Errno;
use crate::fs::open_file::FileBody;
use crate::fs::{Attr, OpenFile, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop, Waiter};
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Woken;
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering};
use item::Item;
pub use item::{Interest, Mode};

/// Level of the lock of a set.
pub const LEVEL: Level = Level(150);

/// Held while an epoll instance is added to another, so that no two additions close a loop together.
static NESTING: SpinLock<()> = SpinLock::new(Level(149), ());

/// Instances that may watch one another in a row.
const MAX_NESTING: usize = 5;

/// Files watched by all instances together (`/proc/sys/fs/epoll/max_user_watches`).
const MAX_WATCHES: usize = 1 << 17;

static WATCHES: AtomicUsize = AtomicUsize::new(0);

type Key = (i32, usize);

/// An event, as `struct epoll_event` holds it.
pub type Event = (u32, u64);

/// Takes an event, the nth of a call.
pub type Give<'a> = dyn FnMut(usize, Event) -> Result<(), Errno> + 'a;

/// An epoll instance.
pub struct Epoll {
    me: Weak<Self>,
    items: SpinLock<BTreeMap<Key, Arc<Item>>>,
    ready: SpinLock<VecDeque<Arc<Item>>>,
    changed: WaitQueue,
    ino: u64,
}

fn key(fd: i32, file: &Arc<OpenFile>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

fn as_epoll(file: &OpenFile) -> Option<&Epoll> {
    match file.body() {
        FileBody::Stream(stream, _) => stream.as_any().downcast_ref(),
        _ => None,
    }
}

/// The instance behind an open file.
///
/// # Errors
/// `EINVAL` when it is none.
pub fn of(file: &OpenFile) -> Result<&Epoll, Errno> {
    as_epoll(file).ok_or(Errno::EINVAL)
}

impl Epoll {
    /// An instance that watches nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            items: SpinLock::new(LEVEL, BTreeMap::new()),
            ready: SpinLock::new(Level(160), VecDeque::new()),
            changed: WaitQueue::new(),
            ino: anon::next_ino(),
        })
    }

    /// Watches a file (`EPOLL_CTL_ADD`).
    ///
    /// # Errors
    /// `EPERM` for a file that is always ready, `EINVAL` for the instance itself or a wrong use of `EPOLLEXCLUSIVE`,
    /// `EEXIST`, `ELOOP`, `ENOSPC`.
    pub fn add(&self, fd: i32, file: &Arc<OpenFile>, interest: Interest) -> Result<(), Errno> {
        match file.body() {
            FileBody::Stream(stream, _) if !crate::fs::dev::memory::is_always_ready(&**stream) => {}
            _ => return Err(Errno::EPERM),
        }
        let nested = as_epoll(file);
        let allowed =
            PollMask::IN.bits() | PollMask::OUT.bits() | PollMask::ERR.bits() | PollMask::HUP.bits();
        let allowed = allowed | Mode::EXCLUSIVE.bits() | Mode::WAKEUP.bits() | Mode::EDGE.bits();
        let exclusive = interest.mode().contains(Mode::EXCLUSIVE);
        if exclusive && (nested.is_some() || interest.events & !allowed != 0) {
            return Err(Errno::EINVAL);
        }
        let item = Item::new(self.me.clone(), Arc::downgrade(file), interest);
        // Files met on the way are let go after the lock is released: one may be closed by that.
        let mut met = Vec::new();
        {
            let _nesting = match nested {
                Some(nested) => {
                    if core::ptr::eq(nested, self) {
                        return Err(Errno::EINVAL);
                    }
                    let guard = NESTING.lock();
                    nested.check_reach(self, 1, &mut met)?;
                    Some(guard)
                }
                None => None,
            };
            self.insert(key(fd, file), item.clone())?;
        }
        if !item.watch(file).is_empty() {
            self.list_once(item);
        }
        Ok(())
    }

    fn insert(&self, key: Key, item: Arc<Item>) -> Result<(), Errno> {
        let mut items = self.items.lock();
        // Closed files leave their items behind until somebody looks.
        let mut stale = Vec::new();
        if items.len().is_power_of_two() {
            items.retain(|_, item| {
                let open = item.file.strong_count() > 0;
                if !open {
                    stale.push(item.clone());
                }
                open
            });
        }
        let result = match items.entry(key) {
            Entry::Occupied(_) => Err(Errno::EEXIST),
            Entry::Vacant(_) if WATCHES.load(Ordering::Relaxed) >= MAX_WATCHES => Err(Errno::ENOSPC),
            Entry::Vacant(entry) => {
                WATCHES.fetch_add(1, Ordering::Relaxed);
                entry.insert(item);
                Ok(())
            }
        };
        drop(items);
        WATCHES.fetch_sub(stale.len(), Ordering::Relaxed);
        result
    }

    /// Fails when `target` is watched, directly or not, by what this instance watches, or the row gets too long.
    fn check_reach(&self, target: &Self, depth: usize, met: &mut Vec<Arc<OpenFile>>) -> Result<(), Errno> {
        if core::ptr::eq(self, target) || depth >= MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        let files: Vec<Arc<OpenFile>> = {
            let items = self.items.lock();
            items.values().filter_map(|item| item.file.upgrade()).collect()
        };
        met.extend(files.iter().cloned());
        let mut watched = files.iter().filter_map(|file| as_epoll(file));
        watched.try_for_each(|epoll| epoll.check_reach(target, depth + 1, met))
    }

    /// Changes what is asked for (`EPOLL_CTL_MOD`).
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` where `EPOLLEXCLUSIVE` is involved.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, interest: Interest) -> Result<(), Errno> {
        let item = self.items.lock().get(&key(fd, file)).cloned().ok_or(Errno::ENOENT)?;
        let exclusive = |interest: Interest| interest.mode().contains(Mode::EXCLUSIVE);
        if exclusive(interest) || exclusive(item.interest_as_set()) {
            return Err(Errno::EINVAL);
        }
        item.set_interest(interest);
        if !item.ready().is_empty() {
            self.list_once(item);
        }
        Ok(())
    }

    /// Watches a file no longer (`EPOLL_CTL_DEL`).
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let item = self.items.lock().remove(&key(fd, file)).ok_or(Errno::ENOENT)?;
        self.forget(&item);
        Ok(())
    }

    fn forget(&self, item: &Arc<Item>) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        // Whoever wakes it now must not list it again.
        item.disable();
        let mut ready = self.ready.lock();
        ready.retain(|other| !Arc::ptr_eq(other, item));
    }

    /// Whether somebody waits for events.
    fn is_waited_for(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Puts an item whose `listed` mark is set on the ready list.
    fn list(&self, item: Arc<Item>) {
        self.ready.lock().push_back(item);
        self.changed.wake_all();
    }

    fn list_once(&self, item: Arc<Item>) {
        if !item.listed.swap(true, Ordering::AcqRel) {
            self.list(item);
        }
    }

    /// Hands up to `max` events to `give`, until it fails; what it did not take stays listed. How many it took, or its
    /// error when it took none.
    fn collect(&self, max: usize, give: &mut Give<'_>) -> Result<usize, Errno> {
        let mut given = 0;
        let mut result = Ok(());
        let listed = self.ready.lock().len();
        let mut again = Vec::new();
        for _ in 0..listed {
            if given >= max {
                break;
            }
            let Some(item) = self.ready.lock().pop_front() else { break };
            // Before the look: what happens after it lists the item anew.
            item.listed.store(false, Ordering::Release);
            if item.file.strong_count() == 0 {
                let mut items = self.items.lock();
                let before = items.len();
                items.retain(|_, other| !Arc::ptr_eq(other, &item));
                WATCHES.fetch_sub(before - items.len(), Ordering::Relaxed);
                continue;
            }
            let ready = item.ready();
            let Some(interest) = item.interest().filter(|_| !ready.is_empty()) else { continue };
            result = give(given, (ready.bits(), interest.data));
            if result.is_err() {
                if !item.listed.swap(true, Ordering::AcqRel) {
                    self.ready.lock().push_front(item);
                }
                break;
            }
            given += 1;
            if interest.mode().contains(Mode::ONE_SHOT) {
                item.disable();
            } else if !interest.mode().contains(Mode::EDGE) {
                again.push(item);
            }
        }
        // Level-triggered ones stay listed, behind those that have not had their turn.
        for item in again {
            if !item.listed.swap(true, Ordering::AcqRel) {
                self.ready.lock().push_back(item);
            }
        }
        if given == 0 { result.map(|()| 0) } else { Ok(given) }
    }

    /// Waits for events (epoll_wait(2)) and hands them to `give` with their index. How many it took, 0 when `deadline_ns`
    /// passed, or its error when it took none.
    ///
    /// # Errors
    /// [`Woken::Interrupted`].
    pub fn wait(
        &self,
        waiter: &Waiter<'_>,
        max: usize,
        deadline_ns: Option<u64>,
        give: &mut Give<'_>,
    ) -> Result<Result<usize, Errno>, Woken> {
        let given = waiter.until(&self.changed, deadline_ns, || {
            let given = self.collect(max, give);
            (given != Ok(0)).then_some(given)
        });
        match given {
            Err(Woken::TimedOut) => Ok(Ok(0)),
            other => other,
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        WATCHES.fetch_sub(self.items.get_mut().len(), Ordering::Relaxed);
    }
}

impl Stream for Epoll {
    fn try_read(&self, _to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.changed);
        }
        let listed: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        if listed.iter().any(|item| !item.ready().is_empty()) {
            PollMask::IN | PollMask::RDNORM
        } else {
            PollMask::empty()
        }
    }

    fn fdinfo(&self, out: &mut String) {
        let items: Vec<(i32, Arc<Item>)> =
            self.items.lock().iter().map(|((fd, _), item)| (*fd, item.clone())).collect();
        for (fd, item) in items {
            let Some(file) = item.file.upgrade() else { continue };
            let Interest { events, data } = item.told_interest();
            let FileBody::Stream(stream, _) = file.body() else { continue };
            let attr = stream.attr();
            let _ = writeln!(
                out,
                "tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:0 ino:{:x} sdev:{:x}",
                attr.ino, attr.dev
            );
        }
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[eventpoll]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
