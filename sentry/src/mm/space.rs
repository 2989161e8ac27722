//! [`Mm`]: one address space, its parts and how they are locked.

use super::aio::AioTable;
use super::area::AreaMap;
use super::leaf::{PageIndex, Removed};
use super::{Area, Budget, ImageLayout, Limits};
use crate::platform::{self, OutOfMemory, Space};
use crate::user::UserAddr;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{Shared, Sleeper};
use chitin_proto::layout::USER_END;
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of an address space's lock.
pub(super) const LEVEL: Level = Level(100);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An address space.
pub struct Mm {
    pub(super) me: Weak<Self>,
    id: u64,
    pub(super) space: Arc<dyn Space>,
    pub(super) limits: Shared<Limits>,
    pub(super) state: SpinLock<State>,
    pub(super) aio: AioTable,
}

/// What an address space consists of.
pub(super) struct State {
    pub(super) areas: AreaMap,
    pub(super) index: PageIndex,
    pub(super) layout: ImageLayout,
    /// Bytes in areas with `LOCKED`.
    pub(super) locked: u64,
    /// New areas are locked (`mlockall(MCL_FUTURE)`).
    pub(super) lock_future: LockFuture,
}

/// Whether new areas are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockFuture {
    No,
    Yes,
}

/// What was taken out of an address space: dropped with no lock held, after the space forgot the pages.
#[derive(Default)]
pub(super) struct Doomed {
    pub(super) areas: Vec<(u64, Area)>,
    pub(super) pages: Vec<Removed>,
}

impl Doomed {
    /// Drops everything, letting others run in between.
    pub(super) fn finish(mut self, sleeper: &Sleeper) {
        for mut pages in self.pages.drain(..) {
            while pages.drop_some() {
                sleeper.resched_point();
            }
        }
    }
}

impl Mm {
    /// An empty address space.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the platform has no memory for it.
    pub fn new() -> Result<Arc<Self>, OutOfMemory> {
        Self::with(Budget::root(), Limits::default())
    }

    /// An empty address space whose pages `budget` pays for.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the platform has no memory for it.
    pub fn with(budget: Arc<Budget>, limits: Limits) -> Result<Arc<Self>, OutOfMemory> {
        Self::of(
            State {
                areas: AreaMap::new(USER_END - (128 << 20)),
                index: PageIndex::new(budget),
                layout: ImageLayout::default(),
                locked: 0,
                lock_future: LockFuture::No,
            },
            limits,
        )
    }

    pub(super) fn of(state: State, limits: Limits) -> Result<Arc<Self>, OutOfMemory> {
        let space = platform::get().new_space()?;
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            space,
            limits: Shared::new(Level(95), limits),
            state: SpinLock::new(LEVEL, state),
            aio: AioTable::new(),
        }))
    }

    /// A number that no other address space has or had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The hardware's view.
    #[must_use]
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Who pays for its pages.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.state.lock().index.budget().clone()
    }

    /// The limits it observes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Changes the limits it observes.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.replace(limits);
    }

    /// Gives up a reference; the last one empties the address space, letting others run meanwhile. For the end of a
    /// process: `Drop` does the same in one go.
    pub fn leave(self: Arc<Self>, sleeper: &Sleeper) {
        if let Some(last) = Arc::into_inner(self) {
            last.take_everything().finish(sleeper);
        }
    }

    /// Takes out all there is. Nobody runs user code here any more; the space is emptied only if somebody else has it.
    fn take_everything(&self) -> Doomed {
        let doomed = {
            let mut state = self.state.lock();
            let areas = state.areas.remove(0, u64::MAX);
            Doomed { areas, pages: alloc::vec![state.index.remove(0, USER_END >> 12)] }
        };
        if !doomed.areas.is_empty() && Arc::strong_count(&self.space) > 1 {
            self.space.unmap(UserAddr::NULL, pages(0, USER_END));
        }
        doomed
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        drop(self.take_everything());
    }
}

/// Pages between two page-aligned addresses.
pub(super) fn pages(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from) >> 12).unwrap_or(0)
}
