//! Names and connections: bind, listen, connect, accept, the last close, and what poll says.

use super::name::{self, Name};
use super::{Phase, Unix};
use crate::abi::Errno;
use crate::net::Address;
use crate::net::socket::{SocketType, Ucred};
use crate::wait::{PollMask, PollTable, Pollable, Stop};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};

/// Connections that may wait at most (`/proc/sys/net/core/somaxconn`).
const MAX_BACKLOG: usize = 4096;

impl Unix {
    fn arc(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    pub(super) fn bind_name(&self, address: &Address) -> Result<(), Errno> {
        let Address::Unix(name) = address else { return Err(Errno::EINVAL) };
        let me = self.arc()?;
        if !matches!(self.state.lock().name, Name::Unnamed) {
            return Err(Errno::EINVAL);
        }
        let name = match name {
            Name::Unnamed => name::bind_any(&me)?,
            name => {
                name::bind(name, &me)?;
                name.clone()
            }
        };
        let mut state = self.state.lock();
        if matches!(state.name, Name::Unnamed) {
            state.name = name;
            return Ok(());
        }
        drop(state);
        name::unbind(self.space, &name);
        Err(Errno::EINVAL)
    }

    pub(super) fn start_listening(&self, backlog: usize, creds: Ucred) -> Result<(), Errno> {
        if !self.is_connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        let limit = backlog.min(MAX_BACKLOG);
        let mut state = self.state.lock();
        if matches!(state.name, Name::Unnamed) {
            return Err(Errno::EINVAL);
        }
        match &mut state.phase {
            Phase::Idle => state.phase = Phase::Listening { waiting: VecDeque::new(), backlog: limit },
            Phase::Listening { backlog, .. } => *backlog = limit,
            Phase::Connected | Phase::Closed => return Err(Errno::EINVAL),
        }
        state.peer_creds = Some(creds);
        drop(state);
        self.drained.wake_all();
        Ok(())
    }

    pub(super) fn connect(&self, address: &Address, creds: Ucred) -> Result<(), Stop> {
        let name = match address {
            Address::Unix(name) => name,
            Address::Unspecified if !self.is_connection_based() => {
                let mut state = self.state.lock();
                state.peer = Weak::new();
                state.phase = Phase::Idle;
                return Ok(());
            }
            _ => return Err(Errno::EINVAL.into()),
        };
        let other = name::find(self.space, name)?;
        if other.kind != self.kind {
            return Err(Errno::EPROTOTYPE.into());
        }
        if self.is_connection_based() {
            return self.connect_to(&other, creds);
        }
        {
            // A datagram socket with a peer takes messages from that peer alone.
            let state = other.state.lock();
            let taken = matches!(state.phase, Phase::Connected) && !Weak::ptr_eq(&state.peer, &self.me);
            if taken {
                return Err(Errno::EPERM.into());
            }
        }
        let mut state = self.state.lock();
        state.phase = Phase::Connected;
        state.peer = Arc::downgrade(&other);
        state.peer_creds = Some(creds);
        Ok(())
    }

    fn connect_to(&self, listener: &Arc<Self>, creds: Ucred) -> Result<(), Stop> {
        match self.state.lock().phase {
            Phase::Idle => {}
            Phase::Connected => return Err(Errno::EISCONN.into()),
            Phase::Listening { .. } | Phase::Closed => return Err(Errno::EINVAL.into()),
        }
        let accepted = Self::new(self.kind, self.space);
        let (name, listener_creds, passes) = {
            let state = listener.state.lock();
            (state.name.clone(), state.peer_creds, state.pass_creds)
        };
        // Complete on this side first: once it is in the queue it may be accepted and used.
        {
            let mut state = accepted.state.lock();
            state.phase = Phase::Connected;
            state.peer = self.me.clone();
            state.peer_creds = Some(creds);
            state.name = name;
            state.pass_creds = passes;
        }
        let mut state = listener.state.lock();
        if state.no_receive {
            return Err(Errno::ECONNREFUSED.into());
        }
        match &mut state.phase {
            Phase::Listening { waiting, backlog } if waiting.len() <= *backlog => {
                waiting.push_back(accepted.clone());
            }
            Phase::Listening { .. } => return Err(Stop::WouldBlock),
            _ => return Err(Errno::ECONNREFUSED.into()),
        }
        drop(state);
        {
            let mut state = self.state.lock();
            state.phase = Phase::Connected;
            state.peer = Arc::downgrade(&accepted);
            state.peer_creds = listener_creds;
        }
        self.wake_all();
        listener.readable.wake_all();
        Ok(())
    }

    pub(super) fn accept(&self) -> Result<Arc<Self>, Stop> {
        if !self.is_connection_based() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let mut state = self.state.lock();
        let no_receive = state.no_receive;
        let Phase::Listening { waiting, .. } = &mut state.phase else { return Err(Errno::EINVAL.into()) };
        let Some(accepted) = waiting.pop_front() else {
            return Err(if no_receive { Errno::EINVAL.into() } else { Stop::WouldBlock });
        };
        drop(state);
        self.drained.wake_all();
        Ok(accepted)
    }

    /// The last descriptor was closed.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let phase = core::mem::replace(&mut state.phase, Phase::Closed);
        let name = core::mem::take(&mut state.name);
        let peer = core::mem::take(&mut state.peer).upgrade();
        state.no_receive = true;
        state.no_send = true;
        drop(state);
        // A name that was given to an accepted socket is its listener's.
        if !matches!(phase, Phase::Connected if self.is_connection_based()) || name_is_mine(&name, self) {
            name::unbind(self.space, &name);
        }
        let dropped = self.inbox.lock().drain();
        let unread = !dropped.is_empty();
        drop(dropped);
        if let Some(peer) = peer.filter(|_| self.is_connection_based()) {
            peer.close_sides(true, true, unread.then_some(Errno::ECONNRESET));
        }
        if let Phase::Listening { waiting, .. } = phase {
            for socket in waiting {
                let client = socket.state.lock().peer.upgrade();
                socket.close();
                if let Some(client) = client {
                    client.close_sides(true, true, Some(Errno::ECONNRESET));
                }
            }
        }
        self.wake_all();
    }

    pub(super) fn poll_socket(&self, table: Option<&mut PollTable>) -> PollMask {
        let peer = {
            let state = self.state.lock();
            state.peer.upgrade()
        };
        if let Some(table) = table {
            table.add(&self.readable);
            if let Some(peer) = &peer {
                table.add(&peer.drained);
            }
        }
        let mut mask = PollMask::empty();
        let state = self.state.lock();
        mask.set(PollMask::ERR, state.error.is_some());
        mask.set(PollMask::HUP, state.no_receive && state.no_send);
        mask.set(PollMask::RDHUP | PollMask::IN | PollMask::RDNORM, state.no_receive);
        let idle = matches!(state.phase, Phase::Idle | Phase::Closed);
        mask.set(PollMask::HUP, mask.contains(PollMask::HUP) || (self.is_connection_based() && idle));
        let send_bytes = state.send_bytes;
        if let Phase::Listening { waiting, .. } = &state.phase {
            mask.set(PollMask::IN | PollMask::RDNORM, !waiting.is_empty() || state.no_receive);
            return mask;
        }
        drop(state);
        let inbox = self.inbox.lock();
        mask.set(PollMask::PRI, self.kind == SocketType::Stream && inbox.has_urgent());
        if !inbox.is_empty() {
            mask |= PollMask::IN | PollMask::RDNORM;
        }
        drop(inbox);
        let writable = peer.is_none_or(|peer| {
            let mutual = Weak::ptr_eq(&peer.state.lock().peer, &self.me);
            let inbox = peer.inbox.lock();
            let room = self.kind == SocketType::Stream || mutual || !inbox.is_full_of_datagrams();
            room && inbox.is_writable(send_bytes)
        });
        mask.set(PollMask::OUT | PollMask::WRNORM | PollMask::WRBAND, writable);
        mask
    }
}

fn name_is_mine(name: &Name, socket: &Unix) -> bool {
    name::find(socket.space, name).is_ok_and(|owner| core::ptr::eq(&raw const *owner, socket))
}

/// Room in the queue of a listening socket, or at a datagram socket: what a sender or connector waits for.
pub(super) struct Room(pub(super) Arc<Unix>);

impl Pollable for Room {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.0.drained);
        }
        let state = self.0.state.lock();
        let room = match &state.phase {
            Phase::Listening { waiting, backlog } => waiting.len() <= *backlog,
            _ => true,
        };
        drop(state);
        if room && !self.0.inbox.lock().is_full_of_datagrams() { PollMask::OUT } else { PollMask::empty() }
    }
}
