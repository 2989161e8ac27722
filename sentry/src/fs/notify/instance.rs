//! [`Inotify`]: an instance behind a descriptor, and its [`Watch`]es.

use super::WATCHES;
use super::event::{Event, Mask, Queue};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::fs::{Attr, Node, Stream, Superblock, anon};
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Level of an instance's lock.
const LEVEL: Level = Level(142);
/// Level of the list of all instances.
const LIST_LEVEL: Level = Level(129);

/// Instances at most (`/proc/sys/fs/inotify/max_user_instances`).
pub const INSTANCES_MAX: usize = 128;
/// Watches at most (`/proc/sys/fs/inotify/max_user_watches`).
pub const WATCHES_MAX: usize = 65536;

static INSTANCES: AtomicUsize = AtomicUsize::new(0);
static ALL: SpinLock<Vec<Weak<Inotify>>> = SpinLock::new(LIST_LEVEL, Vec::new());

/// Every instance.
pub(super) fn all() -> Vec<Arc<Inotify>> {
    ALL.lock().iter().filter_map(Weak::upgrade).collect()
}

/// A file that an instance watches.
pub struct Watch {
    instance: Weak<Inotify>,
    number: i32,
    mask: AtomicU32,
    node: Arc<Node>,
    /// Device and inode number.
    identity: (u64, u64),
    superblock: Weak<Superblock>,
}

impl Watch {
    /// What it wants to hear of.
    #[must_use]
    pub fn mask(&self) -> Mask {
        Mask::from_bits_retain(self.mask.load(Ordering::Relaxed))
    }

    /// Tells the instance, if it wants to hear of that.
    pub(super) fn tell(&self, mask: Mask, name: Option<&[u8]>, cookie: u32) {
        if !(self.mask() | Mask::ALWAYS).intersects(mask - Mask::ISDIR) {
            return;
        }
        let Some(instance) = self.instance.upgrade() else { return };
        // That these happened to a directory is not told, as it never was.
        let mask =
            if mask.intersects(Mask::MOVE_SELF | Mask::DELETE_SELF) { mask - Mask::ISDIR } else { mask };
        let name = name.unwrap_or_default().to_vec();
        instance.push(Event { watch: self.number, mask: mask.bits(), cookie, name });
        if self.mask().contains(Mask::ONESHOT) && !mask.contains(Mask::IGNORED) {
            self.end();
        }
    }

    /// The watch is over: its instance is told, for the last time.
    pub(super) fn end(&self) {
        if let Some(instance) = self.instance.upgrade() {
            // Who takes it out of the table tells; nobody else does.
            let _ = instance.remove(self.number);
        }
    }
}

struct State {
    queue: Queue,
    watches: BTreeMap<i32, Arc<Watch>>,
    next: i32,
}

/// An inotify instance.
pub struct Inotify {
    me: Weak<Self>,
    state: SpinLock<State>,
    readable: WaitQueue,
    ino: u64,
}

impl Inotify {
    /// An instance without watches.
    ///
    /// # Errors
    /// `EMFILE` with too many.
    pub fn new() -> Result<Arc<Self>, Errno> {
        if INSTANCES.fetch_add(1, Ordering::Relaxed) >= INSTANCES_MAX {
            INSTANCES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::EMFILE);
        }
        let state = State { queue: Queue::default(), watches: BTreeMap::new(), next: 1 };
        let instance = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            state: SpinLock::new(LEVEL, state),
            readable: WaitQueue::new(),
            ino: anon::next_ino(),
        });
        let mut all = ALL.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&instance));
        Ok(instance)
    }

    fn push(&self, event: Event) {
        if self.state.lock().queue.push(event) {
            self.readable.wake_all();
        }
    }

    /// Watches `node`, whose device and inode number are `identity` and which is of `superblock`, for the events of `mask`; returns the watch's number.
    ///
    /// # Errors
    /// `EEXIST` with [`Mask::MASK_CREATE`], `ENOSPC` with too many watches.
    pub fn watch(
        &self,
        (node, identity): (&Arc<Node>, (u64, u64)),
        superblock: &Arc<Superblock>,
        mask: Mask,
    ) -> Result<i32, Errno> {
        let kept = Mask::EVENTS | Mask::EXCL_UNLINK | Mask::ONESHOT;
        let mut state = self.state.lock();
        if let Some(there) = state.watches.values().find(|watch| Arc::ptr_eq(&watch.node, node)) {
            if mask.contains(Mask::MASK_CREATE) {
                return Err(Errno::EEXIST);
            }
            let old = if mask.contains(Mask::MASK_ADD) { there.mask() } else { Mask::empty() };
            there.mask.store((old | (mask & kept)).bits(), Ordering::Relaxed);
            return Ok(there.number);
        }
        if WATCHES.fetch_add(1, Ordering::SeqCst) >= WATCHES_MAX {
            WATCHES.fetch_sub(1, Ordering::SeqCst);
            return Err(Errno::ENOSPC);
        }
        let number = state.next;
        state.next = state.next.checked_add(1).unwrap_or(1);
        let watch = Arc::new(Watch {
            instance: self.me.clone(),
            number,
            mask: AtomicU32::new((mask & kept).bits()),
            node: node.clone(),
            identity,
            superblock: Arc::downgrade(superblock),
        });
        state.watches.insert(number, watch.clone());
        drop(state);
        node.state.watched.add(&watch);
        Ok(number)
    }

    /// Ends a watch, and tells so.
    ///
    /// # Errors
    /// `EINVAL` when there is none of that number.
    pub fn remove(&self, number: i32) -> Result<(), Errno> {
        let watch = self.state.lock().watches.remove(&number).ok_or(Errno::EINVAL)?;
        watch.node.state.watched.remove(&watch);
        self.push(Event { watch: number, mask: Mask::IGNORED.bits(), cookie: 0, name: Vec::new() });
        WATCHES.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    /// The watches of files of one file system.
    pub(super) fn watches_of(&self, superblock: &Superblock) -> Vec<Arc<Watch>> {
        let is_of = |watch: &&Arc<Watch>| core::ptr::eq(watch.superblock.as_ptr(), superblock);
        self.state.lock().watches.values().filter(is_of).cloned().collect()
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
        for watch in core::mem::take(&mut self.state.get_mut().watches).into_values() {
            watch.node.state.watched.remove(&watch);
            WATCHES.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Stream for Inotify {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        self.state.lock().queue.read(to)
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EBADF.into())
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.readable);
        }
        if self.state.lock().queue.is_empty() { PollMask::empty() } else { PollMask::IN | PollMask::RDNORM }
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        if command != crate::fs::pipe::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.state.lock().queue.bytes()).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &bytes)?;
        Ok(0)
    }

    fn fdinfo(&self, out: &mut String) {
        let watches: Vec<Arc<Watch>> = self.state.lock().watches.values().rev().cloned().collect();
        for watch in watches {
            let (dev, ino) = watch.identity;
            let _ = writeln!(
                out,
                "inotify wd:{:x} ino:{ino:x} sdev:{dev:x} mask:{:x} ignored_mask:0 ",
                watch.number,
                watch.mask().bits()
            );
        }
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:inotify".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
