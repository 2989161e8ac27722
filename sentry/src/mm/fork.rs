//! fork(2): a child with the same areas, whose private pages are the parent's until one of them writes.

use super::area::{Area, AreaFlags, FileRange, Source};
use super::space::{LockFuture, Mm, State, pages};
use crate::abi::Errno;
use crate::cache::Mapper;
use crate::user::UserAddr;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

impl Mm {
    /// An address space with the same contents, copied when either side writes (fork(2)).
    ///
    /// The child's space starts empty: its faults refill it from the shared leaves.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self, sleeper: &Sleeper) -> Result<Arc<Self>, Errno> {
        let budget = self.budget();
        if budget.charge(8).is_err() {
            super::pressure::reclaim(sleeper, &budget)?;
        }
        let child = Self::with(budget, self.limits())?;
        let mut omitted = Vec::new();
        {
            let parent = self.state.lock();
            let mut areas = parent.areas.empty_like();
            for (start, area) in parent.areas.iter() {
                if area.flags.contains(AreaFlags::DONT_FORK) {
                    omitted.push((start, area.end));
                    continue;
                }
                if area.flags.contains(AreaFlags::WIPE_ON_FORK) {
                    omitted.push((start, area.end));
                }
                areas.insert(start, child.inherit(area));
            }
            let state = State {
                areas,
                index: parent.index.share(),
                layout: parent.layout.clone(),
                locked: 0,
                lock_future: LockFuture::No,
            };
            self.space.write_protect(UserAddr::NULL, pages(0, USER_END));
            drop(parent);
            let old = core::mem::replace(&mut *child.state.lock(), state);
            drop(old);
        }
        for (from, to) in omitted {
            let removed = child.state.lock().index.remove(from >> 12, to >> 12);
            drop(removed);
        }
        Ok(child)
    }

    /// The area for a child: told of changes of the file by itself, and not locked.
    fn inherit(&self, area: &Area) -> Area {
        let own = |range: &FileRange| {
            let mapper: Weak<dyn Mapper> = self.me.clone();
            let attachment = range.mapping().attach(mapper, range.attachment.sharing());
            FileRange { attachment, first: range.first, file: range.file.clone() }
        };
        let source = match &area.source {
            Source::Anonymous => Source::Anonymous,
            Source::Private(range) => Source::Private(own(range)),
            Source::Shared(range) => Source::Shared(own(range)),
            Source::Frames(frames) => Source::Frames(frames),
        };
        Area { end: area.end, perm: area.perm, flags: area.flags - AreaFlags::LOCKED, source }
    }
}
