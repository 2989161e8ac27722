//! Waiting: readiness, and the one function that blocks for streams.
//!
//! A source of readiness implements [`Pollable`]. `poll`, `select`, `epoll` and blocking calls all use it: register, look,
//! sleep. Sources never sleep themselves.

use crate::abi::Errno;
use crate::user::UserFault;
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::cpu::Regs;
use chitin_core::sleep::{Interrupt, Sleeper, Woken};
use chitin_core::wait::{Exclusive, Registration, WaitQueue};
use core::task::Waker;

bitflags! {
    /// Readiness, with the bits of poll(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollMask: u32 {
        /// `POLLIN`.
        const IN = 0x1;
        /// `POLLPRI`.
        const PRI = 0x2;
        /// `POLLOUT`.
        const OUT = 0x4;
        /// `POLLERR`.
        const ERR = 0x8;
        /// `POLLHUP`.
        const HUP = 0x10;
        /// `POLLNVAL`.
        const NVAL = 0x20;
        /// `POLLRDNORM`.
        const RDNORM = 0x40;
        /// `POLLRDBAND`.
        const RDBAND = 0x80;
        /// `POLLWRNORM`.
        const WRNORM = 0x100;
        /// `POLLWRBAND`.
        const WRBAND = 0x200;
        /// `POLLMSG`.
        const MSG = 0x400;
        /// `POLLRDHUP`.
        const RDHUP = 0x2000;
    }
}

/// Why an operation did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing can be done now; readiness will tell.
    WouldBlock,
    /// User memory is not there, and nothing was done: resolve the fault with no lock held and try again.
    Fault(UserFault),
    /// It failed.
    Errno(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Collects the registrations of one waiter while it polls its sources.
pub struct PollTable {
    waker: Waker,
    /// Who is told instead of the waker, when one waiter is enough.
    exclusive: Option<Exclusive>,
    /// The first one, for most sources have one queue, and the others.
    first: Option<Registration>,
    rest: Vec<Registration>,
}

impl PollTable {
    /// For a waiter that is woken by `waker`.
    #[must_use]
    pub const fn new(waker: Waker) -> Self {
        Self { waker, exclusive: None, first: None, rest: Vec::new() }
    }

    /// For a waiter of which one is enough (`EPOLLEXCLUSIVE`).
    #[must_use]
    pub fn exclusive(waiter: Exclusive) -> Self {
        Self { waker: Waker::noop().clone(), exclusive: Some(waiter), first: None, rest: Vec::new() }
    }

    /// Called by sources: the waiter wants to hear of `queue`.
    pub fn add(&mut self, queue: &WaitQueue) {
        let registration = match &self.exclusive {
            Some(waiter) => queue.register_exclusive(waiter.clone()),
            None => queue.register(&self.waker),
        };
        match &self.first {
            None => self.first = Some(registration),
            Some(_) => self.rest.push(registration),
        }
    }

    /// Forgets all registrations.
    pub fn clear(&mut self) {
        self.first = None;
        self.rest.clear();
    }
}

/// A source of readiness.
pub trait Pollable {
    /// What is ready now. With a table, first registers for every change of it.
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask;
}

/// Who waits: the capability to sleep, and what may interrupt it.
#[derive(Clone, Copy)]
pub struct Waiter<'a> {
    /// The capability.
    pub sleeper: &'a Sleeper,
    /// Signals.
    pub interrupt: &'a dyn Interrupt,
    /// The registers of the call, where it is one that makes it wait.
    pub regs: Option<&'a Regs>,
}

impl Waiter<'_> {
    /// Sleeps once. `deadline_ns` is monotonic. [`Woken::Ready`] means: look at the condition again.
    #[must_use]
    pub fn park(&self, deadline_ns: Option<u64>) -> Woken {
        if self.interrupt.interrupted() {
            return Woken::Interrupted;
        }
        if deadline_ns.is_some_and(|deadline| self.sleeper.now_ns() >= deadline) {
            return Woken::TimedOut;
        }
        if let Some(regs) = self.regs {
            self.interrupt.parks(regs);
        }
        self.sleeper.park(deadline_ns);
        Woken::Ready
    }

    /// Sleeps until `condition` yields a value; it is tried after every wake-up of `queue`.
    ///
    /// # Errors
    /// [`Woken::Interrupted`] or [`Woken::TimedOut`].
    pub fn until<T>(
        &self,
        queue: &WaitQueue,
        deadline_ns: Option<u64>,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, Woken> {
        if let Some(value) = condition() {
            return Ok(value);
        }
        let _registration = queue.register(&self.sleeper.waker());
        loop {
            if let Some(value) = condition() {
                return Ok(value);
            }
            match self.park(deadline_ns) {
                Woken::Ready => {}
                woken => return Err(woken),
            }
        }
    }
}

/// Why [`block_on`] gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// As [`Stop::Fault`].
    Fault(UserFault),
    /// The operation failed.
    Errno(Errno),
    /// A signal is pending.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

impl From<Errno> for Blocked {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Tries `op` until it does something: the blocking form of every stream operation.
///
/// # Errors
/// See [`Blocked`].
pub fn block_on<T>(
    waiter: &Waiter<'_>,
    source: &dyn Pollable,
    deadline_ns: Option<u64>,
    mut op: impl FnMut() -> Result<T, Stop>,
) -> Result<T, Blocked> {
    let mut table = None;
    loop {
        match op() {
            Ok(value) => return Ok(value),
            Err(Stop::Fault(fault)) => return Err(Blocked::Fault(fault)),
            Err(Stop::Errno(errno)) => return Err(Blocked::Errno(errno)),
            Err(Stop::WouldBlock) => {}
        }
        if table.is_none() {
            // Register first, then try once more: nothing that happens in between is lost.
            let mut fresh = PollTable::new(waiter.sleeper.waker());
            source.poll(Some(&mut fresh));
            table = Some(fresh);
            continue;
        }
        match waiter.park(deadline_ns) {
            Woken::Ready => {}
            Woken::Interrupted => return Err(Blocked::Interrupted),
            Woken::TimedOut => return Err(Blocked::TimedOut),
        }
    }
}
