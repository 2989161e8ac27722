//! Sending and receiving.

use super::flow::{Sent, Taking};
use super::table::Tuple;
use super::wire::Writing;
use super::{Carrier, Link, Near, Phase, Tcp};
use crate::abi::Errno;
use crate::net::socket::{Incoming, MsgFlags, Outgoing};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// `MSG_FASTOPEN`.
const FAST_OPEN: u32 = 0x2000_0000;

impl Tcp {
    /// The connection to send over.
    fn sending(&self) -> Result<Arc<Link>, Stop> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        if state.no_send {
            return Err(Errno::EPIPE.into());
        }
        match &state.phase {
            Phase::Open(link) => Ok(link.clone()),
            Phase::SynSent(_) | Phase::Handshake(_) | Phase::Connecting => Err(Stop::WouldBlock),
            Phase::Closed | Phase::Listening(_) | Phase::Over(_) => Err(Errno::EPIPE.into()),
        }
    }

    pub(super) fn send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        if message.flags.bits() & FAST_OPEN != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let link = self.sending()?;
        if from.remaining() == 0 {
            return Ok(0);
        }
        let near = match &link.carrier {
            Carrier::Near(near) => near,
            Carrier::Wire(connection) => {
                let how = Writing {
                    more: message.flags.contains(MsgFlags::MORE),
                    is_urgent: message.flags.contains(MsgFlags::OOB),
                };
                return match connection.send(from, how)? {
                    Sent::Bytes(sent) => Ok(sent),
                    Sent::Refused => Err(self.state.lock().error.take().unwrap_or(Errno::EPIPE).into()),
                };
            }
        };
        let watched = self.base.stack.is_observed();
        let ack = if watched { near.expected(link.tuple) } else { 0 };
        let watch = |at: u64, bytes: &[u8]| near.show_data(self, link.tuple, (at, ack), bytes);
        let sent = match near.tx.send(from, watched.then_some(&watch))? {
            Sent::Bytes(sent) => sent,
            Sent::Refused => {
                self.reset_by_peer();
                from.skip(from.remaining())
            }
        };
        self.base.stack.loopback.count(1, sent as u64);
        if message.flags.contains(MsgFlags::OOB)
            && let Some(peer) = near.peer.upgrade()
        {
            near.tx.mark_last(peer.line());
            peer.signal_urgent();
        }
        if near.pair.is_deferred.load(Ordering::Relaxed)
            && near.pair.is_deferred.swap(false, Ordering::AcqRel)
        {
            self.end_deferral(link.tuple, near);
        }
        Ok(sent)
    }

    /// The first bytes of a connection that its listener was not told of.
    fn end_deferral(&self, (own, to): Tuple, near: &Near) {
        let listener = self.base.stack.tcp.ports.lock().find(to, own, usize::from(own.port));
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.promote(&near.peer);
        }
    }

    pub(super) fn receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN.into());
        }
        let link = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Listening(_) => return Err(Errno::ENOTCONN.into()),
                Phase::Open(link) | Phase::Over(link) => Some(link.clone()),
                _ => None,
            }
        };
        if flags.contains(MsgFlags::OOB) {
            return self.receive_urgent(to, flags);
        }
        let line = self.line();
        let taking = match (flags.contains(MsgFlags::PEEK), flags.contains(MsgFlags::TRUNC)) {
            (true, true) => Taking::Measure,
            (true, false) => Taking::Peek,
            (false, true) => Taking::Discard,
            (false, false) => Taking::Copy,
        };
        let received = match &link {
            Some(link) => match &link.carrier {
                Carrier::Near(near) => near.rx.receive(to, taking, line),
                Carrier::Wire(connection) => connection.receive(to, taking, line),
            },
            None => Err(Stop::WouldBlock),
        };
        match received {
            Ok(len) => Ok(Incoming { len, full_len: len, ..Incoming::default() }),
            Err(Stop::WouldBlock) => self.nothing_there(),
            Err(stop) => Err(stop),
        }
    }

    /// What a receiver is told when there are no bytes and no end of them.
    fn nothing_there(&self) -> Result<Incoming, Stop> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        if state.no_receive {
            return Ok(Incoming::default());
        }
        match &state.phase {
            Phase::Closed => Err(Errno::ENOTCONN.into()),
            _ => Err(Stop::WouldBlock),
        }
    }
}
