//! Sending and receiving.

use super::chain;
use super::inbox::{Line, Message, check_size};
use super::name;
use super::rights::{self, Rights};
use super::{Phase, Unix};
use crate::abi::Errno;
use crate::fs::async_io::{Ready, SI_KERNEL, SIGURG};
use crate::net::Address;
use crate::net::filter::Packet;
use crate::net::socket::{Incoming, MsgFlags, Outgoing, SocketType, Ucred};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most bytes that one message of a stream holds, so that a receiver frees room early.
const STREAM_PART: usize = 32 << 10;

/// What is sent of a stream at once.
#[derive(Clone, Copy)]
struct Part {
    len: usize,
    is_urgent: bool,
}

impl Unix {
    /// Checks that this side may send, and gives its peer and the size of its buffer.
    ///
    /// # Errors
    /// `EPIPE`, an error that waits, `ENOTCONN`.
    fn sending_to_peer(&self) -> Result<(Arc<Self>, usize), Errno> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.no_send {
            return Err(Errno::EPIPE);
        }
        match (&state.phase, state.peer.upgrade()) {
            (Phase::Connected, Some(peer)) => Ok((peer, state.send_bytes)),
            (Phase::Connected, None) if self.is_connection_based() => Err(Errno::EPIPE),
            (Phase::Connected, None) => {
                state.phase = Phase::Idle;
                Err(Errno::ECONNREFUSED)
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    pub(super) fn send_bytes(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        if message.to.is_some() {
            let connected = matches!(self.state.lock().phase, Phase::Connected);
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
        }
        let (peer, limit) = self.sending_to_peer()?;
        if peer.state.lock().no_receive {
            return Err(Errno::EPIPE.into());
        }
        let start = from.done();
        let is_urgent = message.flags.contains(MsgFlags::OOB);
        if from.remaining() == 0 {
            return if is_urgent { Err(Errno::EOPNOTSUPP.into()) } else { Ok(0) };
        }
        let creds = self.told_creds(&peer, message);
        loop {
            let mut inbox = peer.inbox.lock();
            let room = limit.saturating_sub(inbox.used());
            if room == 0 {
                break;
            }
            // The last byte of what is urgent goes by itself.
            let last = is_urgent && from.remaining() == 1;
            let left = from.remaining() - usize::from(is_urgent && !last);
            if message.rights.is_empty() && !last && inbox.append(from, left, creds) > 0 {
                if is_urgent {
                    continue;
                }
                break;
            }
            drop(inbox);
            let part = Part { len: left.min(room).min(STREAM_PART), is_urgent: last };
            let taken = self.deliver_part(&peer, from, message, part);
            if last && taken.is_ok() {
                peer.signal_urgent();
            }
            match taken {
                Ok(()) if from.remaining() > 0 => {}
                Ok(()) => break,
                Err(_) if from.done() > start => break,
                Err(stop) => return Err(stop),
            }
        }
        let done = from.done() - start;
        if done > 0 {
            // Also when something was there already: edge-triggered watchers are to hear of every write.
            peer.readable.wake_all();
            return Ok(done);
        }
        match from.fault() {
            Some(fault) => Err(Stop::Fault(fault)),
            None => Err(Stop::WouldBlock),
        }
    }

    /// Who sends, if either side wants that to be told (`SO_PASSCRED`) or the sender says so.
    fn told_creds(&self, peer: &Self, message: &Outgoing) -> Option<Ucred> {
        let wanted = message.tells_creds || self.state.lock().pass_creds || peer.state.lock().pass_creds;
        wanted.then_some(message.creds)
    }

    /// Queues bytes as a message of their own: all of them, or none.
    fn deliver_part(
        &self,
        peer: &Arc<Self>,
        from: &mut IoReader<'_>,
        message: &mut Outgoing,
        part: Part,
    ) -> Result<(), Stop> {
        let start = from.done();
        let mut data = chain::Chain::default();
        let taken = data.take(from, part.len);
        if taken.as_ref().ok() != Some(&part.len) {
            let stop = match (taken, from.fault()) {
                (Err(errno), _) => errno.into(),
                (Ok(_), Some(fault)) => Stop::Fault(fault),
                (Ok(_), None) => Stop::WouldBlock,
            };
            from.rewind(start);
            return Err(stop);
        }
        self.queue(peer, data, message, part.is_urgent).inspect_err(|_| from.rewind(start))
    }

    /// Puts a message into the peer's inbox.
    fn queue(
        &self,
        peer: &Arc<Self>,
        data: chain::Chain,
        message: &mut Outgoing,
        is_urgent: bool,
    ) -> Result<(), Stop> {
        let mut met = Vec::new();
        let guard = rights::check(&message.rights, &mut met)?;
        let rights = Rights::new(core::mem::take(&mut message.rights), message.user)?;
        let from = self.state.lock().name.clone();
        let closed = {
            let peer_state = peer.state.lock();
            matches!(peer_state.phase, Phase::Closed) || peer_state.no_receive
        };
        let creds = self.told_creds(peer, message);
        let mut message = Message { data, rights, creds, from, is_urgent };
        if closed {
            drop(guard);
            drop(message);
            let connected = self.is_connection_based();
            return Err(if connected { Errno::EPIPE } else { Errno::ECONNREFUSED }.into());
        }
        if !peer.screen(&mut message, self.kind) {
            // The sender does not hear of it.
            drop(guard);
            drop(met);
            return Ok(());
        }
        if is_urgent {
            peer.inbox.lock().push_urgent(message);
        } else {
            peer.inbox.lock().push(message, self.kind);
        }
        drop(guard);
        drop(met);
        Ok(())
    }

    /// Leaves of a message of a kind what this socket's filter does. Whether the socket gets it; streams are not filtered.
    fn screen(&self, message: &mut Message, kind: SocketType) -> bool {
        if kind == SocketType::Stream || !self.filter.is_set() {
            return true;
        }
        let mut bytes = alloc::vec![0; message.data.len()];
        message.data.copy(0, &mut IoWriter::kernel(&mut bytes));
        match self.filter.judge(&Packet::plain(&bytes)) {
            Some(len) => {
                message.data.truncate(len);
                true
            }
            None => false,
        }
    }

    pub(super) fn send_message(
        &self,
        from: &mut IoReader<'_>,
        message: &mut Outgoing,
    ) -> Result<usize, Stop> {
        let (peer, limit) = match &message.to {
            Some(_) if self.kind == SocketType::SeqPacket => self.sending_to_peer()?,
            Some(Address::Unix(name)) => self.sending_to(name)?,
            Some(_) => return Err(Errno::EINVAL.into()),
            None => self.sending_to_peer()?,
        };
        check_size(from.remaining(), limit)?;
        if peer.state.lock().no_receive {
            return Err(Errno::EPIPE.into());
        }
        {
            // Who is connected to this socket takes as many as the buffer holds.
            let mutual = alloc::sync::Weak::ptr_eq(&peer.state.lock().peer, &self.me);
            let inbox = peer.inbox.lock();
            if (!mutual && inbox.is_full_of_datagrams()) || inbox.used() >= limit {
                return Err(Stop::WouldBlock);
            }
        }
        let start = from.done();
        let data = chain::whole(from)?;
        let len = data.len();
        if let Err(stop) = self.queue(&peer, data, message, false) {
            from.rewind(start);
            return Err(stop);
        }
        peer.readable.wake_all();
        Ok(len)
    }

    /// The socket with a name, for a datagram.
    fn sending_to(&self, name: &name::Name) -> Result<(Arc<Self>, usize), Errno> {
        let limit = {
            let state = self.state.lock();
            if state.no_send {
                return Err(Errno::EPIPE);
            }
            state.send_bytes
        };
        let peer = name::find(self.space, name)?;
        if peer.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let state = peer.state.lock();
        let taken =
            matches!(state.phase, Phase::Connected) && !alloc::sync::Weak::ptr_eq(&state.peer, &self.me);
        drop(state);
        if taken { Err(Errno::EPERM) } else { Ok((peer, limit)) }
    }

    pub(super) fn receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        let (connected, pass_creds, line) = {
            let state = self.state.lock();
            let line = if state.kept.is_inline() { Line::In } else { Line::Apart };
            (matches!(state.phase, Phase::Connected), state.pass_creds, line)
        };
        if self.is_connection_based() && !connected {
            let errno = if self.kind == SocketType::Stream { Errno::EINVAL } else { Errno::ENOTCONN };
            return Err(errno.into());
        }
        let stream = self.kind == SocketType::Stream;
        if flags.contains(MsgFlags::OOB) {
            return self.receive_urgent(to, flags, line, pass_creds);
        }
        if stream && to.remaining() == 0 && !self.inbox.lock().is_empty() {
            return Ok(Incoming::default());
        }
        let (received, done, had_room) = {
            let mut inbox = self.inbox.lock();
            let had_room = inbox.used();
            if stream {
                (inbox.receive_bytes(to, flags, pass_creds, line), None, had_room)
            } else {
                match inbox.receive_message(to, flags) {
                    Ok((incoming, done)) => (Ok(incoming), done, had_room),
                    Err(stop) => (Err(stop), None, had_room),
                }
            }
        };
        drop(done);
        let mut incoming = match received {
            Ok(incoming) => incoming,
            Err(Stop::WouldBlock) => {
                let mut state = self.state.lock();
                if let Some(error) = state.error.take() {
                    return Err(error.into());
                }
                let gone = self.is_connection_based() && state.peer.strong_count() == 0;
                if state.no_receive || gone {
                    return Ok(Incoming::default());
                }
                return Err(Stop::WouldBlock);
            }
            Err(stop) => return Err(stop),
        };
        if !flags.contains(MsgFlags::PEEK) {
            self.tell_room(had_room);
        }
        if !pass_creds {
            incoming.creds = None;
        }
        if self.kind == SocketType::SeqPacket {
            incoming.from = None;
        }
        Ok(incoming)
    }

    fn receive_urgent(
        &self,
        to: &mut IoWriter<'_>,
        flags: MsgFlags,
        line: Line,
        pass_creds: bool,
    ) -> Result<Incoming, Stop> {
        if line == Line::In {
            return Err(Errno::EINVAL.into());
        }
        let mut inbox = self.inbox.lock();
        let had_room = inbox.used();
        let (mut incoming, done) = inbox.receive_urgent(to, flags)?;
        drop(inbox);
        drop(done);
        self.tell_room(had_room);
        if !pass_creds {
            incoming.creds = None;
        }
        Ok(incoming)
    }

    /// Tells the owner that there is urgent data.
    fn signal_urgent(&self) {
        let owner = self.state.lock().owner.clone();
        if let Some(send) = owner {
            send(Ready { signal: SIGURG, code: SI_KERNEL, band: 0, fd: -1 });
        }
    }

    /// Wakes senders when there is room again for those whom `used_before` held up.
    fn tell_room(&self, used_before: usize) {
        let peer = self.state.lock().peer.upgrade();
        let limit = peer.map_or(0, |peer| peer.state.lock().send_bytes);
        let inbox = self.inbox.lock();
        let now_writable = inbox.is_writable(limit) && used_before * 4 > limit;
        drop(inbox);
        if now_writable || !self.is_connection_based() || self.kind == SocketType::SeqPacket {
            self.drained.wake_all();
        }
    }
}
