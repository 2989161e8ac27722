//! The threads that serve block devices: leader and followers.
//!
//! Whoever holds [`Shared::leader`] waits for kicks and takes one request; then the next thread leads.

use super::{Attached, Slot, serve};
use crate::event::Event;
use crate::jail::JailError;
use crate::machine::memory::GuestRam;
use crate::machine::notice::{GuestEnd, Notices};
use crate::virtio::Violation;
use crate::virtio::chain::Chain;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Threads: as many requests are under way on the host at most.
const THREADS: usize = 4;

/// What the threads share.
#[derive(Debug)]
struct Shared {
    ram: Arc<GuestRam>,
    slots: Vec<Slot>,
    leader: Mutex<Leader>,
    /// Something is to be closed, or all is over.
    wake: Event,
    stopped: AtomicBool,
    /// Detached; dropped by the leader.
    left: Mutex<Vec<Arc<Attached>>>,
    notices: Arc<Notices>,
}

/// What the leader knows.
#[derive(Debug)]
struct Leader {
    /// Slots that may have requests.
    ready: Vec<bool>,
    /// Slot that has its turn.
    turn: usize,
}

/// The threads, started or not; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(ram: Arc<GuestRam>, slots: Vec<Slot>, notices: Arc<Notices>) -> io::Result<Self> {
        let leader = Mutex::new(Leader { ready: vec![false; slots.len()], turn: 0 });
        let (wake, left) = (Event::new()?, Mutex::default());
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { ram, slots, leader, wake, stopped, left, notices });
        Ok(Self { shared, threads: Vec::new() })
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.shared.slots
    }

    /// Starts the threads if there are none.
    pub(super) fn start(
        &mut self,
        prepare: impl Fn() -> Result<(), JailError> + Clone + Send + 'static,
    ) -> io::Result<()> {
        while self.threads.len() < THREADS {
            let (shared, prepare) = (Arc::clone(&self.shared), prepare.clone());
            let body = move || match prepare() {
                Ok(()) => shared.run(),
                Err(error) => {
                    let text = format!("cannot prepare a thread for block devices: {error}");
                    shared.notices.end(GuestEnd::Crash(text));
                }
            };
            let thread = std::thread::Builder::new().name("block".to_owned()).stack_size(256 << 10);
            self.threads.push(thread.spawn(body)?);
        }
        Ok(())
    }

    /// Has one of the threads drop what was detached.
    pub(super) fn let_go(&self, attached: Arc<Attached>) {
        self.shared.left.lock().unwrap_or_else(PoisonError::into_inner).push(attached);
        self.shared.wake.signal();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.wake.signal();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let taken = {
                let mut leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
                self.next(&mut leader)
            };
            let served = match taken {
                Ok(Some((slot, chain))) => serve(slot, &self.ram, chain),
                Ok(None) => return,
                Err(violation) => Err(violation),
            };
            if let Err(Violation { queue, rule }) = served {
                self.stopped.store(true, Ordering::Release);
                self.wake.signal();
                return self.notices.end(GuestEnd::Violation(format!("{queue}: {rule}")));
            }
        }
    }

    /// Waits for a request; `None` when all is over.
    fn next(&self, leader: &mut Leader) -> Result<Option<(&Slot, Chain<'_>)>, Violation> {
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return Ok(None);
            }
            let count = self.slots.len();
            for step in 0..count {
                let at = (leader.turn + step) % count;
                let (Some(ready), Some(slot)) = (leader.ready.get_mut(at), self.slots.get(at)) else {
                    continue;
                };
                while *ready {
                    let mut queue = slot.queue();
                    if let Some(chain) = queue.pop(&self.ram)? {
                        leader.turn = at + 1;
                        return Ok(Some((slot, chain)));
                    }
                    *ready = queue.wait_for_kick(&self.ram)?;
                }
            }
            self.wait(leader);
        }
    }

    /// Waits for kicks.
    fn wait(&self, leader: &mut Leader) {
        let kicks = self.slots.iter().map(|slot| PollFd::new(slot.kick.as_ref(), PollFlags::IN));
        let mut watched: Vec<PollFd<'_>> = kicks.chain([PollFd::new(&self.wake, PollFlags::IN)]).collect();
        // Fails only with EINTR; then nothing is ready and the next round sees what is.
        let _ = poll(&mut watched, None);
        let is_ready = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
        for ((ready, slot), fd) in leader.ready.iter_mut().zip(&self.slots).zip(&watched) {
            if is_ready(fd) {
                slot.kick.clear();
                *ready = true;
            }
        }
        if watched.last().is_some_and(is_ready) && !self.stopped.load(Ordering::Acquire) {
            self.wake.clear();
            let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
            drop(left);
        }
    }
}
