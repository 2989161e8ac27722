//! Urgent data (tcp(7), `MSG_OOB`): one byte of a stream that is marked, and by default received apart from the others.

use super::flow::{Flow, State};
use super::{Carrier, Link, Phase, Tcp};
use crate::abi::Errno;
use crate::fs::async_io::{Ready, SI_KERNEL, SIGURG, Send};
use crate::net::socket::{Incoming, MsgFlags};
use crate::user::IoWriter;
use crate::wait::Stop;

/// Where an urgent byte is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// By `MSG_OOB` only.
    Apart,
    /// With the others (`SO_OOBINLINE`).
    In,
}

/// An urgent byte that was not passed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Urgent {
    /// Its number in the stream.
    pub(super) at: u64,
    /// Unless it was received.
    pub(super) byte: Option<u8>,
}

/// What a receiver sees of urgent data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Bytes before it.
    pub(super) ahead: usize,
    /// It waits to be received.
    pub(super) waits: bool,
}

impl State {
    /// Bytes up to the urgent one, from `skip` on; `None` when there is none or it is behind.
    pub(super) fn bytes_to_mark(&self, skip: usize) -> Option<usize> {
        let ahead = self.urgent?.at.checked_sub(self.read)?;
        usize::try_from(ahead).ok()?.checked_sub(skip)
    }

    /// The last byte that was sent is urgent.
    fn mark_last(&mut self, line: Line) {
        let Some(at) = self.written.checked_sub(1).filter(|at| *at >= self.read) else { return };
        if self.urgent.is_some_and(|urgent| at <= urgent.at) {
            return;
        }
        // Who stands at the former mark never gets that byte.
        if line == Line::Apart && self.bytes_to_mark(0) == Some(0) {
            self.consume(1);
        }
        let mut byte = [0];
        let last = self.buffer.len().saturating_sub(1);
        self.buffer.copy(last, &mut IoWriter::kernel(&mut byte), 1);
        self.urgent = Some(Urgent { at, byte: Some(byte[0]) });
    }
}

impl Flow {
    /// The last byte that was sent is urgent.
    pub(super) fn mark_last(&self, line: Line) {
        self.state.lock().mark_last(line);
        self.reader.wake_all();
    }

    /// The urgent byte that was not passed yet.
    fn mark(&self) -> Option<Mark> {
        let state = self.state.lock();
        let waits = state.urgent?.byte.is_some();
        state.bytes_to_mark(0).map(|ahead| Mark { ahead, waits })
    }

    /// Receives the urgent byte: an error when there is none, or it was received.
    fn take_urgent(&self, keeps: bool) -> Result<u8, Errno> {
        let mut state = self.state.lock();
        let urgent = state.urgent.as_mut().ok_or(Errno::EINVAL)?;
        let byte = urgent.byte.ok_or(Errno::EINVAL)?;
        if !keeps {
            urgent.byte = None;
        }
        Ok(byte)
    }
}

impl Link {
    /// The urgent byte that was not passed yet.
    pub(super) fn mark(&self) -> Option<Mark> {
        match &self.carrier {
            Carrier::Near(near) => near.rx.mark(),
            Carrier::Wire(connection) => connection.mark(),
        }
    }

    fn take_urgent(&self, keeps: bool) -> Result<u8, Errno> {
        match &self.carrier {
            Carrier::Near(near) => near.rx.take_urgent(keeps),
            Carrier::Wire(connection) => connection.take_urgent(keeps),
        }
    }
}

impl Tcp {
    /// Where urgent bytes are received.
    pub(super) fn line(&self) -> Line {
        if self.base.settings.lock().oob_inline { Line::In } else { Line::Apart }
    }

    /// Tells the owner that there is urgent data.
    pub(super) fn signal_urgent(&self) {
        let owner = self.state.lock().owner.clone();
        if let Some(send) = owner {
            send(Ready { signal: SIGURG, code: SI_KERNEL, band: 0, fd: -1 });
        }
    }

    /// Who gets `SIGURG`.
    pub(super) fn set_owner(&self, owner: Option<Send>) {
        let old = core::mem::replace(&mut self.state.lock().owner, owner);
        drop(old);
    }

    /// recv(2) with `MSG_OOB`.
    pub(super) fn receive_urgent(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        let (link, no_receive) = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Open(link) | Phase::Over(link) => (link.clone(), state.no_receive),
                _ => return Err(Errno::EINVAL.into()),
            }
        };
        if self.line() == Line::In {
            return Err(Errno::EINVAL.into());
        }
        let byte = match link.take_urgent(true) {
            Ok(byte) => byte,
            Err(Errno::EAGAIN) if no_receive => return Ok(Incoming::default()),
            Err(errno) => return Err(errno.into()),
        };
        let mut incoming = Incoming { flags: MsgFlags::OOB, ..Incoming::default() };
        if to.remaining() == 0 {
            incoming.flags |= MsgFlags::TRUNC;
        } else if flags.contains(MsgFlags::TRUNC) || to.write(&[byte]) == 1 {
            (incoming.len, incoming.full_len) = (1, 1);
        } else if let Some(fault) = to.fault() {
            return Err(Stop::Fault(fault));
        }
        if !flags.contains(MsgFlags::PEEK) {
            let _ = link.take_urgent(false);
        }
        Ok(incoming)
    }
}
