//! [`Pty`]: a pseudo-terminal (pty(7)): its state, its window, whose controlling terminal it is.
//!
//! | module | contents |
//! |---|---|
//! | `transfer` | bytes between the two sides, and what they bring about |
//! | `ends` | [`Master`] and [`Slave`], the streams of both sides |
//!
//! One lock ([`LEVEL`]) holds the state of both sides; queues are woken and signals sent after it is released.

mod ends;
mod transfer;

use super::discipline::Discipline;
use super::termios::{Termios, WindowSize, lflag};
use crate::abi::Errno;
use crate::fs::anon;
use crate::time::{Expire, Timer};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinGuard, SpinLock};
use chitin_core::wait::WaitQueue;
use core::sync::atomic::{AtomicUsize, Ordering};

pub use ends::{Master, Slave};

/// Level of the lock of a terminal.
pub const LEVEL: Level = Level(147);

/// Terminals that may exist (`/proc/sys/kernel/pty/max`).
const MAX_PTYS: usize = 4096;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Terminals that some session has, or had, as its controlling one.
static OWNED: SpinLock<Vec<Weak<Pty>>> = SpinLock::new(Level(148), Vec::new());

/// The controlling terminal of a session (of a container, by its identity).
pub(super) fn of_session(container: usize, session: u32) -> Option<Arc<Pty>> {
    let owned: Vec<Arc<Pty>> = OWNED.lock().iter().filter_map(Weak::upgrade).collect();
    owned.into_iter().find(|pty| pty.owner().is_some_and(|owner| owner.session() == (container, session)))
}

bitflags! {
    /// Status bytes of packet mode (`TIOCPKT_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Packet: u8 {
        const FLUSH_READ = 1;
        const FLUSH_WRITE = 2;
        const STOP = 4;
        const START = 8;
    }
}

/// The session whose controlling terminal it is; what the terminal asks of it.
pub trait Owner: Send + Sync {
    /// Sends a signal (its number) to the foreground process group.
    fn signal_foreground(&self, signal: u8);

    /// The terminal is gone: the session loses it and its leader is told.
    fn hang_up(&self);

    /// Identity of the session: of its container, and its number.
    fn session(&self) -> (usize, u32);

    /// Whether the terminal is still the session's.
    fn is_current(&self, terminal: &Pty) -> bool;
}

pub(super) struct State {
    pub(super) line: Discipline,
    pub(super) window: WindowSize,
    /// Open slaves, and whether one was ever open.
    slaves: usize,
    slave_was_open: bool,
    pub(super) master_open: bool,
    /// `TIOCSPTLCK`.
    pub(super) locked: bool,
    /// `TIOCPKT`.
    pub(super) packet: Option<Packet>,
    /// `TIOCEXCL`.
    pub(super) exclusive: bool,
    owner: Option<Arc<dyn Owner>>,
    /// For `VTIME`: what the reader waits for, and whether its time is over.
    timer: Option<Timer>,
    time_over: bool,
}

/// A pseudo-terminal.
pub struct Pty {
    me: Weak<Self>,
    number: u32,
    state: SpinLock<State>,
    /// Something changed for who reads or writes at the slave.
    slave_changed: WaitQueue,
    /// The same for the master.
    master_changed: WaitQueue,
    ino: u64,
}

pub(super) const SIGWINCH: u8 = 28;

impl Pty {
    /// A terminal with the number that `/dev/pts` shows. Its slave is locked until `TIOCSPTLCK` or [`Pty::unlock`].
    ///
    /// # Errors
    /// `ENOSPC` when there are too many.
    pub fn new(number: u32) -> Result<Arc<Self>, Errno> {
        if COUNT.fetch_add(1, Ordering::Relaxed) >= MAX_PTYS {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let state = State {
            line: Discipline::new(),
            window: WindowSize::default(),
            slaves: 0,
            slave_was_open: false,
            master_open: true,
            locked: true,
            packet: None,
            exclusive: false,
            owner: None,
            timer: None,
            time_over: false,
        };
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            number,
            state: SpinLock::new(LEVEL, state),
            slave_changed: WaitQueue::new(),
            master_changed: WaitQueue::new(),
            ino: anon::next_ino(),
        }))
    }

    /// The number that `/dev/pts` shows.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Lets the slave be opened.
    pub fn unlock(&self) {
        self.state.lock().locked = false;
    }

    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// Opens the slave.
    ///
    /// # Errors
    /// `EIO` when it is locked or the master is closed, `EBUSY` when it is exclusive.
    pub fn open_slave(self: &Arc<Self>) -> Result<Arc<Slave>, Errno> {
        let mut state = self.state.lock();
        if state.locked || !state.master_open {
            return Err(Errno::EIO);
        }
        if state.exclusive {
            return Err(Errno::EBUSY);
        }
        state.slaves += 1;
        state.slave_was_open = true;
        Ok(Arc::new(Slave::of(self.clone())))
    }

    /// The window's size.
    #[must_use]
    pub fn window(&self) -> WindowSize {
        self.state.lock().window
    }

    /// Sets the window's size; the foreground group is told of a change.
    pub fn set_window(&self, window: WindowSize) {
        let mut state = self.state.lock();
        let changed = core::mem::replace(&mut state.window, window) != window;
        let owner = state.owner.clone();
        drop(state);
        if let Some(owner) = owner.filter(|_| changed) {
            owner.signal_foreground(SIGWINCH);
        }
    }

    /// Settings.
    #[must_use]
    pub fn termios(&self) -> Termios {
        self.state.lock().line.termios
    }

    /// Makes it the controlling terminal of a session, or of none.
    pub fn set_owner(&self, owner: Option<Arc<dyn Owner>>) {
        if owner.is_some() {
            let mut owned = OWNED.lock();
            owned.retain(|pty| pty.strong_count() > 0 && !Weak::ptr_eq(pty, &self.me));
            owned.push(self.me.clone());
        }
        let old = core::mem::replace(&mut self.state.lock().owner, owner);
        drop(old);
    }

    /// The session whose controlling terminal it is.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<dyn Owner>> {
        let owner = self.state.lock().owner.clone()?;
        owner.is_current(self).then_some(owner)
    }

    /// Whether a write by a background group is to be stopped (`TOSTOP`).
    #[must_use]
    pub fn stops_background_output(&self) -> bool {
        self.state.lock().line.termios.local(lflag::TOSTOP)
    }

    /// Hangs up: the slave reads end of file, and the session is told (vhangup(2), the master's last close).
    pub fn hang_up(&self) {
        let owner = {
            let mut state = self.state.lock();
            state.master_open = false;
            state.owner.take()
        };
        self.wake_both();
        if let Some(owner) = owner.filter(|owner| owner.is_current(self)) {
            owner.hang_up();
        }
    }

    /// What a writer at the slave waits at.
    pub(super) fn slave_queue(&self) -> &WaitQueue {
        &self.slave_changed
    }

    pub(super) fn wake_both(&self) {
        self.slave_changed.wake_all();
        self.master_changed.wake_all();
    }
}

impl Expire for Pty {
    fn expired(&self, now_ns: u64) {
        let mut state = self.state.lock();
        let due =
            state.timer.as_ref().and_then(Timer::deadline_ns).is_some_and(|deadline| deadline <= now_ns);
        if !due {
            return;
        }
        state.time_over = true;
        if let Some(timer) = &mut state.timer {
            timer.set(None);
        }
        drop(state);
        self.slave_changed.wake_all();
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}
