//! listen(2) and accept(2): the queues of a listening socket.
//!
//! Connections that nobody accepted yet wait in `queue`, one more than the backlog says at most. Sockets that connect
//! while it is full wait in `syns` until there is room, as on Linux they would by sending their SYN again.

use super::wire::Requests;
use super::{Phase, Tcp};
use crate::abi::Errno;
use crate::wait::Stop;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// The queues of a listening socket.
pub(super) struct Listener {
    pub(super) backlog: usize,
    queue: VecDeque<Arc<Tcp>>,
    /// Connections that no bytes came over yet (`TCP_DEFER_ACCEPT`).
    deferred: Vec<Arc<Tcp>>,
    syns: VecDeque<Weak<Tcp>>,
    /// Connections over wires that are half open.
    pub(super) requests: Requests,
}

/// What became of a connection that a listener was offered.
pub(super) enum Offer {
    Taken,
    /// It waits for room.
    Full,
    /// It does not listen any more.
    Gone,
}

impl Listener {
    /// Connections that can be accepted.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() + self.deferred.len() > self.backlog
    }

    /// Everything that waits, when it stops listening: connections, and those that wanted to connect.
    pub(super) fn into_parts(self) -> (Vec<Arc<Tcp>>, Vec<Weak<Tcp>>) {
        (self.queue.into_iter().chain(self.deferred).collect(), self.syns.into_iter().collect())
    }
}

impl Tcp {
    pub(super) fn start_listening(&self, backlog: usize) -> Result<(), Errno> {
        let most = usize::try_from(self.base.stack.sysctls.number("core/somaxconn")).unwrap_or(0);
        let backlog = backlog.min(most);
        let port = {
            let mut state = self.state.lock();
            let is_connecting = state.is_connecting;
            match &mut state.phase {
                Phase::Listening(listener) => {
                    listener.backlog = backlog;
                    return Ok(());
                }
                Phase::Closed if !is_connecting => {}
                _ => return Err(Errno::EINVAL),
            }
            state.local.map(|local| local.at.port)
        };
        let port = match port {
            Some(port) => port,
            None => self.bind_any()?,
        };
        crate::time::Timer::prepare()?;
        if !self.base.stack.tcp.ports.lock().listen(port, &self.me) {
            return Err(Errno::EADDRINUSE);
        }
        let listener = Listener {
            backlog,
            queue: VecDeque::new(),
            deferred: Vec::new(),
            syns: VecDeque::new(),
            requests: Requests::default(),
        };
        let mut state = self.state.lock();
        (state.no_receive, state.no_send) = (false, false);
        let old = core::mem::replace(&mut state.phase, Phase::Listening(listener));
        drop(state);
        drop(old);
        Ok(())
    }

    /// Whether a connection would be taken now; if not, `client` is told when there is room.
    pub(super) fn has_room(&self, client: &Weak<Self>) -> Offer {
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else { return Offer::Gone };
        if !listener.is_full() {
            return Offer::Taken;
        }
        if !listener.syns.iter().any(|waiting| waiting.ptr_eq(client)) {
            listener.syns.push_back(client.clone());
        }
        Offer::Full
    }

    /// Queues a connection for accept(2).
    pub(super) fn offer(&self, child: Arc<Self>, is_deferred: bool) -> Result<(), Arc<Self>> {
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else {
            drop(state);
            return Err(child);
        };
        if is_deferred {
            listener.deferred.push(child);
            return Ok(());
        }
        listener.queue.push_back(child);
        drop(state);
        self.base.events.wake_all();
        Ok(())
    }

    /// Bytes came over a connection that waited for them.
    pub(super) fn promote(&self, child: &Weak<Self>) {
        let mut state = self.state.lock();
        let Phase::Listening(listener) = &mut state.phase else { return };
        let found =
            listener.deferred.iter().position(|other| core::ptr::eq(Arc::as_ptr(other), child.as_ptr()));
        let Some(at) = found else { return };
        let child = listener.deferred.swap_remove(at);
        listener.queue.push_back(child);
        drop(state);
        self.base.events.wake_all();
    }

    pub(super) fn accept(&self) -> Result<Arc<Self>, Stop> {
        let (child, syn) = {
            let mut state = self.state.lock();
            let error = state.error.take();
            let Phase::Listening(listener) = &mut state.phase else { return Err(Errno::EINVAL.into()) };
            if let Some(error) = error {
                return Err(error.into());
            }
            let child = listener.queue.pop_front().ok_or(Stop::WouldBlock)?;
            (child, if listener.is_full() { None } else { listener.syns.pop_front() })
        };
        if let Some(client) = syn.and_then(|client| client.upgrade()) {
            client.connect_again();
        }
        Ok(child)
    }
}
