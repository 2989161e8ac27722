//! [`PidNamespace`]: the numbers by which processes see each other (pid_namespaces(7)).
//!
//! Inside the sentry processes, threads, groups and sessions go by the numbers of their container's outermost namespace. One
//! below it has a number of its own for each of them that is seen there; numbers are translated where a call takes or tells
//! one.

use crate::abi::Errno;
use crate::security::UserNamespace;
use crate::security::user_ns::new_ino;
use crate::task::tree::PID_MAX;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock around numbers: below it nothing is locked.
const LEVEL: Level = Level(57);

/// Namespaces below each other, the outermost not counted.
const DEPTH_MAX: u32 = 32;

/// Numbers below this are not given out a second time.
const RESERVED: u32 = 300;

/// Inode number of a container's outermost namespace.
const OUTERMOST: u64 = 4_026_531_836;

/// See the module.
pub struct PidNamespace {
    above: Option<Arc<Self>>,
    depth: u32,
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    /// Inode number of its file.
    pub ino: u64,
    state: SpinLock<State>,
}

#[derive(Default)]
struct State {
    last: u32,
    /// Number in the container to number in here, and back; neither is kept for the outermost, where they are the same.
    shown: BTreeMap<u32, u32>,
    meant: BTreeMap<u32, u32>,
    /// Processes in here and below, zombies too.
    processes: usize,
    ended: bool,
}

impl PidNamespace {
    /// That of a container.
    #[must_use]
    pub fn outermost() -> Arc<Self> {
        let state = SpinLock::new(LEVEL, State::default());
        Arc::new(Self { above: None, depth: 0, owner: UserNamespace::outermost(), ino: OUTERMOST, state })
    }

    /// One below, whose first process is its init.
    ///
    /// # Errors
    /// `ENOSPC` with too many above it.
    pub fn below(self: &Arc<Self>, owner: Arc<UserNamespace>) -> Result<Arc<Self>, Errno> {
        if self.depth >= DEPTH_MAX {
            return Err(Errno::ENOSPC);
        }
        let state = SpinLock::new(LEVEL, State::default());
        let above = Some(self.clone());
        Ok(Arc::new(Self { above, depth: self.depth + 1, owner, ino: new_ino(), state }))
    }

    /// Whether it is its container's.
    #[inline]
    #[must_use]
    pub const fn is_outermost(&self) -> bool {
        self.above.is_none()
    }

    /// The one it was made in.
    #[must_use]
    pub const fn above(&self) -> Option<&Arc<Self>> {
        self.above.as_ref()
    }

    /// Itself and those above it but the outermost, from the inside.
    fn nested(&self) -> impl Iterator<Item = &Self> {
        let first = Some(self).filter(|namespace| !namespace.is_outermost());
        core::iter::successors(first, |at| at.above.as_deref().filter(|above| !above.is_outermost()))
    }

    /// Whether `other` is this one or below it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let mut chain = core::iter::successors(Some(other), |at| at.above.as_deref());
        chain.any(|at| core::ptr::eq(at, self))
    }

    /// The number in here of what has `number` in the container; 0 for what is not seen here.
    #[inline]
    #[must_use]
    pub fn shown(&self, number: u32) -> u32 {
        if self.is_outermost() {
            return number;
        }
        self.state.lock().shown.get(&number).copied().unwrap_or(0)
    }

    /// The number in the container of what has `number` in here; 0, which nobody has, when there is none.
    #[inline]
    #[must_use]
    pub fn meant(&self, number: u32) -> u32 {
        if self.is_outermost() {
            return number;
        }
        self.state.lock().meant.get(&number).copied().unwrap_or(0)
    }

    /// Its init, by the number in the container; 0 when there is none yet, or no more.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.meant(1)
    }

    /// Nobody is to be born in here any more: its init ends.
    pub fn end(&self) {
        self.state.lock().ended = true;
    }

    /// Whether its init ends or has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Whether the init of this one or of one above ends or has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        core::iter::successors(Some(self), |at| at.above.as_deref()).any(Self::is_ended)
    }

    /// Processes in here and below, zombies too.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.state.lock().processes
    }

    /// Gives what has `number` in the container one in here and in those above.
    ///
    /// # Errors
    /// `ENOMEM` when its init has ended, `EAGAIN` without a free number.
    pub(in crate::task) fn add(&self, number: u32) -> Result<(), Errno> {
        if self.is_ended() {
            return Err(Errno::ENOMEM);
        }
        for namespace in self.nested() {
            if let Err(errno) = namespace.state.lock().add(number) {
                self.remove(number);
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Takes [`PidNamespace::add`] back.
    pub(in crate::task) fn remove(&self, number: u32) {
        for namespace in self.nested() {
            let mut state = namespace.state.lock();
            if let Some(here) = state.shown.remove(&number) {
                state.meant.remove(&here);
            }
            if state.shown.is_empty() {
                // The first that did not come into being was not its init.
                state.last = 0;
            }
        }
    }

    /// Counts a process that comes into being in here.
    pub(in crate::task) fn count(&self) {
        core::iter::successors(Some(self), |at| at.above.as_deref())
            .for_each(|namespace| namespace.state.lock().processes += 1);
    }

    /// Takes [`PidNamespace::count`] back.
    pub(in crate::task) fn discount(&self) {
        core::iter::successors(Some(self), |at| at.above.as_deref()).for_each(|namespace| {
            let mut state = namespace.state.lock();
            state.processes = state.processes.saturating_sub(1);
        });
    }
}

impl State {
    fn add(&mut self, number: u32) -> Result<(), Errno> {
        for _ in 0..PID_MAX {
            self.last = if self.last + 1 >= PID_MAX { RESERVED } else { self.last + 1 };
            if let alloc::collections::btree_map::Entry::Vacant(free) = self.meant.entry(self.last) {
                free.insert(number);
                self.shown.insert(number, self.last);
                return Ok(());
            }
        }
        Err(Errno::EAGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(above: &Arc<PidNamespace>) -> Arc<PidNamespace> {
        above.below(UserNamespace::outermost()).unwrap()
    }

    #[test]
    fn numbers_are_seen_in_every_namespace_above() {
        let outermost = PidNamespace::outermost();
        let middle = below(&outermost);
        let inner = below(&middle);
        middle.add(40).unwrap();
        inner.add(41).unwrap();
        assert_eq!((outermost.shown(41), middle.shown(41), inner.shown(41)), (41, 2, 1));
        assert_eq!((middle.shown(40), inner.shown(40)), (1, 0));
        assert_eq!((middle.init(), inner.init()), (40, 41));
        assert_eq!((inner.meant(1), inner.meant(2), outermost.meant(2)), (41, 0, 2));
        inner.remove(41);
        assert_eq!((middle.shown(41), inner.shown(41)), (0, 0));
        assert!(middle.holds(&inner) && !inner.holds(&middle) && outermost.holds(&inner));
    }

    #[test]
    fn nobody_is_born_after_its_init() {
        let namespace = below(&PidNamespace::outermost());
        namespace.add(7).unwrap();
        namespace.remove(7);
        namespace.add(8).unwrap();
        assert_eq!(namespace.init(), 8);
        namespace.end();
        assert_eq!(namespace.add(9), Err(Errno::ENOMEM));
    }

    #[test]
    fn depth_is_bounded() {
        let mut at = PidNamespace::outermost();
        for _ in 0..DEPTH_MAX {
            at = below(&at);
        }
        assert_eq!(at.below(UserNamespace::outermost()).err(), Some(Errno::ENOSPC));
        at.count();
        assert_eq!(at.above().map(|above| above.processes()), Some(1));
        at.discount();
        assert_eq!(at.processes(), 0);
    }
}
