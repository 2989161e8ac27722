//! [`Item`]: one file that an epoll instance watches.

use super::Epoll;
use crate::fs::OpenFile;
use crate::wait::{PollMask, PollTable, Pollable};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

/// Level of an item's lock.
pub(super) const LEVEL: Level = Level(155);

bitflags! {
    /// Flags above the readiness bits of `epoll_event.events`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mode: u32 {
        /// `EPOLLEXCLUSIVE`.
        const EXCLUSIVE = 1 << 28;
        /// `EPOLLWAKEUP`, of no effect here: a sandbox is never suspended.
        const WAKEUP = 1 << 29;
        /// `EPOLLONESHOT`.
        const ONE_SHOT = 1 << 30;
        /// `EPOLLET`.
        const EDGE = 1 << 31;
    }
}

/// What user space asked for: `struct epoll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Readiness bits and [`Mode`].
    pub events: u32,
    /// Given back with each event.
    pub data: u64,
}

impl Interest {
    /// The readiness that is reported; errors and hang-ups always are.
    pub(super) fn mask(self) -> PollMask {
        PollMask::from_bits_truncate(self.events) | PollMask::ERR | PollMask::HUP
    }

    pub(super) fn mode(self) -> Mode {
        Mode::from_bits_truncate(self.events)
    }
}

struct State {
    interest: Interest,
    /// A one-shot item that has fired.
    disabled: bool,
    /// Registrations with the file's queues.
    table: Option<PollTable>,
}

/// One file that an epoll instance watches.
pub(super) struct Item {
    /// Not kept open by being watched.
    pub(super) file: Weak<OpenFile>,
    epoll: Weak<Epoll>,
    state: SpinLock<State>,
    /// It is on the ready list.
    pub(super) listed: AtomicBool,
}

impl Item {
    pub(super) fn new(epoll: Weak<Epoll>, file: Weak<OpenFile>, interest: Interest) -> Arc<Self> {
        let state = SpinLock::new(LEVEL, State { interest, disabled: false, table: None });
        Arc::new(Self { file, epoll, state, listed: AtomicBool::new(false) })
    }

    /// What user space asked for, as it is told: an item that has fired once and for all waits for nothing.
    pub(super) fn told_interest(&self) -> Interest {
        let state = self.state.lock();
        let Interest { events, data } = state.interest;
        let told = if state.disabled {
            state.interest.mode().bits()
        } else {
            events | (PollMask::ERR | PollMask::HUP).bits()
        };
        Interest { events: told, data }
    }

    /// Registers with the queues of `file`; returns what is ready.
    pub(super) fn watch(self: &Arc<Self>, file: &OpenFile) -> PollMask {
        let waker = ItemWaker(Arc::downgrade(self));
        let mut table = if self.interest_as_set().mode().contains(Mode::EXCLUSIVE) {
            PollTable::exclusive(Arc::new(move || waker.tell()))
        } else {
            PollTable::new(Waker::from(Arc::new(waker)))
        };
        let ready = file.poll(Some(&mut table));
        let mut state = self.state.lock();
        let old = state.table.replace(table);
        let ready = ready & state.interest.mask();
        drop(state);
        drop(old);
        ready
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        let mut state = self.state.lock();
        state.interest = interest;
        state.disabled = false;
    }

    /// What is asked for, `None` for a one-shot item that has fired.
    pub(super) fn interest(&self) -> Option<Interest> {
        let state = self.state.lock();
        (!state.disabled).then_some(state.interest)
    }

    /// What is asked for, fired or not.
    pub(super) fn interest_as_set(&self) -> Interest {
        self.state.lock().interest
    }

    pub(super) fn disable(&self) {
        self.state.lock().disabled = true;
    }

    /// What is ready of what is asked for; empty when the file is closed.
    pub(super) fn ready(&self) -> PollMask {
        let (Some(interest), Some(file)) = (self.interest(), self.file.upgrade()) else {
            return PollMask::empty();
        };
        file.poll(None) & interest.mask()
    }
}

/// What the file's queues know of an item; weak, so that no cycle keeps both alive.
struct ItemWaker(Weak<Item>);

impl Wake for ItemWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.tell();
    }
}

impl ItemWaker {
    /// Lists the item; whether somebody waits at its instance now.
    fn tell(&self) -> bool {
        let Some(item) = self.0.upgrade() else { return false };
        let Some(epoll) = item.epoll.upgrade() else { return false };
        if item.interest().is_none() {
            return false;
        }
        let waited = epoll.is_waited_for();
        if !item.listed.swap(true, Ordering::AcqRel) {
            epoll.list(item);
        }
        waited
    }
}
