//! Contexts of asynchronous I/O (io_setup(2)): what has been done and waits to be fetched. As on Linux they belong to an address
//! space, and the number of one is the address of a page that is mapped for it.
//!
//! Requests are carried out while they are submitted, which is what Linux does with buffered files; so a context is a
//! bounded queue of results.

use super::{AreaFlags, Charge, MapRequest, MapSource, Mm, Placement};
use crate::abi::Errno;
use crate::platform::Perm;
use crate::user::UserAddr;
use crate::wait::Waiter;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{Sleeper, Woken};
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Level of the table of an address space.
const TABLE: Level = Level(96);
/// Level of a context's queue.
const QUEUE: Level = Level(97);
/// Requests that all contexts together may be made for (`aio-max-nr`).
pub const MAX_REQUESTS: u64 = 65_536;
/// Most events that Linux accepts before it looks at [`MAX_REQUESTS`].
const MAX_EVENTS: u64 = 0x1000_0000 / 32;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Requests that contexts were made for (`aio-nr`).
#[must_use]
pub fn requests() -> u64 {
    REQUESTS.load(Ordering::Relaxed)
}

/// `struct io_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AioEvent {
    /// `aio_data` of the request.
    pub data: u64,
    /// Address of the request.
    pub object: u64,
    /// Bytes, or a negated errno.
    pub result: i64,
    /// Always 0.
    pub more: i64,
}

/// Contexts by their numbers.
pub(super) struct AioTable(SpinLock<BTreeMap<u64, Arc<AioContext>>>);

impl AioTable {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(TABLE, BTreeMap::new()))
    }
}

#[derive(Default)]
struct State {
    done: VecDeque<AioEvent>,
    /// Requests that are being carried out.
    busy: usize,
    is_destroyed: bool,
}

/// A context.
pub struct AioContext {
    /// What it was made for.
    requests: u64,
    /// Requests that may be there and not fetched.
    room: usize,
    state: SpinLock<State>,
    changed: WaitQueue,
    _charge: Charge,
}

impl Drop for AioContext {
    fn drop(&mut self) {
        REQUESTS.fetch_sub(self.requests, Ordering::Relaxed);
    }
}

impl AioContext {
    /// Most requests that one io_submit(2) takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Announces a request.
    ///
    /// # Errors
    /// `EAGAIN` when too many have not been fetched, `EINVAL` when the context is destroyed.
    pub fn reserve(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.is_destroyed {
            return Err(Errno::EINVAL);
        }
        if state.busy + state.done.len() >= self.room {
            return Err(Errno::EAGAIN);
        }
        state.busy += 1;
        Ok(())
    }

    /// Ends an announced request, with what became of it, or `None` when it was refused.
    pub fn finish(&self, event: Option<AioEvent>) {
        let mut state = self.state.lock();
        state.busy = state.busy.saturating_sub(1);
        state.done.extend(event);
        drop(state);
        self.changed.wake_all();
    }

    /// Waits until there are `least` events or the time is over, and takes at most `most`.
    ///
    /// # Errors
    /// `Err(None)` when a signal came and nothing was there, `EINVAL` when the context was destroyed and nothing was there.
    pub fn fetch(
        &self,
        waiter: &Waiter<'_>,
        least: usize,
        most: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Vec<AioEvent>, Option<Errno>> {
        // Counted and taken under one lock, for another thread may fetch too.
        let take = |least: usize| {
            let mut state = self.state.lock();
            let count = state.done.len().min(most);
            let enough = count >= least || state.is_destroyed;
            enough.then(|| state.done.drain(..count).collect::<Vec<_>>())
        };
        let (events, woken) = match waiter.until(&self.changed, deadline_ns, || take(least)) {
            Ok(events) => (events, Woken::Ready),
            // What is there by then is told, fewer or none.
            Err(woken) => (take(0).unwrap_or_default(), woken),
        };
        if events.is_empty() && self.state.lock().is_destroyed {
            return Err(Some(Errno::EINVAL));
        }
        if events.is_empty() && woken == Woken::Interrupted { Err(None) } else { Ok(events) }
    }

    /// Puts back what could not be handed out.
    pub fn put_back(&self, events: &[AioEvent]) {
        let mut state = self.state.lock();
        for event in events.iter().rev() {
            state.done.push_front(*event);
        }
    }
}

impl Mm {
    /// Makes a context for `requests` requests; returns its number.
    ///
    /// # Errors
    /// `EINVAL`, `EAGAIN` beyond [`MAX_REQUESTS`], `ENOMEM`.
    pub fn new_aio_context(&self, sleeper: &Sleeper, requests: u32, cpus: usize) -> Result<u64, Errno> {
        let requests = u64::from(requests);
        let room = requests.max(4 * cpus as u64) * 2;
        if room > MAX_EVENTS {
            return Err(Errno::EINVAL);
        }
        let add = |all: u64| Some(all + requests).filter(|sum| *sum <= MAX_REQUESTS);
        if requests == 0 || REQUESTS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(Errno::EAGAIN);
        }
        let pages = (room * size_of::<AioEvent>() as u64).div_ceil(4096);
        let charge = self.budget().charge(pages).map_err(|_| {
            REQUESTS.fetch_sub(requests, Ordering::Relaxed);
            Errno::ENOMEM
        })?;
        let context = AioContext {
            requests,
            room: usize::try_from(room).map_err(|_| Errno::EINVAL)?,
            state: SpinLock::new(QUEUE, State::default()),
            changed: WaitQueue::new(),
            _charge: charge,
        };
        let page = MapRequest {
            addr: UserAddr::NULL,
            len: 4096,
            perm: Perm::READ | Perm::WRITE,
            placement: Placement::Hint,
            flags: AreaFlags::DONT_FORK,
            source: MapSource::Anonymous,
        };
        let number = self.map(sleeper, &page)?.get();
        self.aio.0.lock().insert(number, Arc::new(context));
        Ok(number)
    }

    /// The context of that number.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn aio_context(&self, number: u64) -> Result<Arc<AioContext>, Errno> {
        self.aio.0.lock().get(&number).cloned().ok_or(Errno::EINVAL)
    }

    /// Destroys a context; returns when its requests have ended.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn destroy_aio_context(&self, waiter: &Waiter<'_>, number: u64) -> Result<(), Errno> {
        let context = self.aio.0.lock().remove(&number).ok_or(Errno::EINVAL)?;
        context.state.lock().is_destroyed = true;
        context.changed.wake_all();
        // What is being carried out belongs to other threads of this address space and ends by itself; a signal may come first.
        let _ = waiter.until(&context.changed, None, || (context.state.lock().busy == 0).then_some(()));
        // The program may have unmapped the page itself.
        let _ = self.unmap(waiter.sleeper, UserAddr::new(number), 4096);
        Ok(())
    }
}
