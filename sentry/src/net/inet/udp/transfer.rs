//! Sending, delivering and receiving datagrams.

use super::super::buffer::{self, Buffer};
use super::super::datagram::{self, Datagram};
use super::super::endpoint::Endpoint;
use super::super::frame::{self, Frame, UDP_HEADER};
use super::super::interface::Cast;
use super::super::plan::Way;
use super::super::settings::Settings;
use super::Udp;
use crate::abi::Errno;
use crate::net::socket::{Incoming, MsgFlags, Outgoing};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;

/// Largest datagrams: those whose length fits into the headers.
const MAX_V4: usize = 65_507;
const MAX_V6: usize = 65_527;

impl Udp {
    /// Where a message goes.
    fn target(&self, message: &Outgoing) -> Result<Endpoint, Errno> {
        if let Some(address) = message.to.as_ref().filter(|_| datagram::is_given(message.to.as_ref())) {
            let to = self.base.destination(address)?;
            return if to.port == 0 { Err(Errno::EINVAL) } else { Ok(to) };
        }
        let remote = self.state.lock().remote;
        match (&message.to, remote) {
            (Some(_), _) => Err(Errno::EAFNOSUPPORT),
            (None, remote) => remote.ok_or(Errno::EDESTADDRREQ),
        }
    }

    pub(super) fn send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let len = from.remaining();
        if len > 0xffff {
            return Err(Errno::EMSGSIZE.into());
        }
        let pending = self.state.lock().pending.take();
        let to = match &pending {
            Some((to, _)) => *to,
            None => self.target(message)?,
        };
        let mut settings = self.base.settings.lock().clone();
        let source = datagram::sent_with(self.base.family, &mut settings, &message.control)?;
        {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error.into());
            }
            if state.no_send {
                return Err(Errno::EPIPE.into());
            }
        }
        let way = self.base.stack.route(to, &settings)?;
        if way.cast == Cast::Broad && !settings.broadcast {
            return Err(Errno::EACCES.into());
        }
        let limit = if to.ip.is_ipv4() { MAX_V4 } else { MAX_V6 };
        let budget = &self.base.maker.budget;
        let before = pending.as_ref().map_or(0, |(_, data)| data.len());
        if before + len > limit {
            return Err(Errno::EMSGSIZE.into());
        }
        let data = match pending {
            Some((_, mut data)) => {
                let taken = data.take(from, len)?;
                if taken < len {
                    return Err(from.fault().map_or(Stop::Errno(Errno::ENOBUFS), Stop::Fault));
                }
                data
            }
            None => buffer::whole(from, budget)?,
        };
        let local = self.bind_any()?;
        let mut state = self.state.lock();
        if state.cork || message.flags.contains(MsgFlags::MORE) {
            state.pending = Some((to, data));
            return Ok(len);
        }
        drop(state);
        let from_ip = source.unwrap_or(if local.at.ip.is_unspecified() || local.at.ip.is_multicast() {
            way.source
        } else {
            local.at.ip
        });
        let from = Endpoint { ip: from_ip, ..local.at };
        self.dispatch(data, from, to, &way, &settings)?;
        Ok(len)
    }

    /// Sends what was held back.
    pub(super) fn send_pending(&self) -> Result<(), Errno> {
        let Some((to, data)) = self.state.lock().pending.take() else { return Ok(()) };
        let settings = self.base.settings.lock().clone();
        let way = self.base.stack.route(to, &settings)?;
        let local = self.bind_any()?;
        let ip = if local.at.ip.is_unspecified() { way.source } else { local.at.ip };
        self.dispatch(data, Endpoint { ip, ..local.at }, to, &way, &settings)
    }

    /// Sends a datagram on its way: to sockets of this host, by a card, or both.
    fn dispatch(
        &self,
        data: Buffer,
        from: Endpoint,
        to: Endpoint,
        way: &Way,
        settings: &Settings,
    ) -> Result<(), Errno> {
        let to = Endpoint { ip: way.to, ..to };
        if let Some(hop) = &way.hop {
            self.send_by(hop, &data, from, to, settings)?;
            if way.cast == Cast::Uni {
                return Ok(());
            }
        }
        self.deliver(data, from, to, way.cast, settings);
        Ok(())
    }

    fn deliver(&self, data: Buffer, from: Endpoint, to: Endpoint, cast: Cast, settings: &Settings) {
        let stack = &self.base.stack;
        stack.loopback.count(1, data.len() as u64 + 28);
        stack.counts.udp_sent();
        let shown = if stack.is_observed() { self.show(&data, from, to, settings) } else { None };
        if cast != Cast::Uni {
            self.deliver_to_all(&data, from, to, cast, settings);
            return;
        }
        let hash = usize::from(from.port);
        let found = self.ports().lock().find(to, from, hash);
        let total = data.len() + UDP_HEADER;
        let covered = if self.is_lite() { self.coverage().of(total) } else { total };
        match found.and_then(|socket| socket.upgrade()) {
            Some(socket) if covered < total && !socket.coverage().accepts(covered, total) => {
                stack.counts.udp_dropped();
            }
            Some(socket) => socket.take_in(Datagram::new(data, from, to, settings)),
            None => {
                stack.counts.udp_no_port();
                if let Some(frame) = shown {
                    self.show_refusal(from, to, frame.bytes.get(frame::LINK..).unwrap_or_default());
                }
                self.refused(to);
            }
        }
    }

    /// Shows a datagram that stays in this host to those who watch. Its frame.
    fn show(&self, data: &Buffer, from: Endpoint, to: Endpoint, settings: &Settings) -> Option<Frame> {
        let mut bytes = alloc::vec![0; data.len()];
        data.copy(0, &mut IoWriter::kernel(&mut bytes), usize::MAX);
        let model = Datagram::new(Buffer::new(&self.base.maker.budget), from, to, settings);
        let label = model.label(self.protocol());
        let header = frame::udp_header(&label, &bytes)?;
        self.base.stack.show_to_all(&label, &[&header, &bytes]);
        Frame::new(&label, &[&header, &bytes])
    }

    fn deliver_to_all(&self, data: &Buffer, from: Endpoint, to: Endpoint, cast: Cast, settings: &Settings) {
        if cast == Cast::Multi && !settings.multicast_loop {
            return;
        }
        let found = self.ports().lock().find_all(to, from);
        let sockets: alloc::vec::Vec<Arc<Self>> =
            found.into_iter().filter_map(|socket| socket.upgrade()).collect();
        let joined = sockets.iter().any(|socket| socket.base.joined(to.ip));
        for socket in sockets {
            let takes = socket.base.takes_group(to.ip, from.ip, joined);
            if cast == Cast::Multi && !takes {
                continue;
            }
            if let Some(copy) = data.duplicate(&socket.base.maker.budget) {
                socket.take_in(Datagram::new(copy, from, to, settings));
            }
        }
    }

    /// A datagram came.
    pub(super) fn take_in(&self, mut datagram: Datagram) {
        if self.base.filter.is_set() && !self.screen(&mut datagram) {
            self.base.stack.counts.udp_dropped();
            return;
        }
        let limit = self.base.settings.lock().receive.bytes;
        if self.inbox.push(datagram, limit) {
            self.base.stack.counts.udp_received();
            self.base.events.wake_all();
        } else {
            self.base.stack.counts.udp_dropped();
        }
    }

    /// Leaves of a datagram what the filter does. Whether the socket gets it.
    fn screen(&self, datagram: &mut Datagram) -> bool {
        let mut bytes = alloc::vec![0; datagram.data.len()];
        datagram.data.copy(0, &mut IoWriter::kernel(&mut bytes), usize::MAX);
        let Some(frame) = Frame::of_datagram(&datagram.label(self.protocol()), &bytes) else { return false };
        let Some(len) = self.base.filter.judge(&frame.packet(frame.transport, 0, 0)) else { return false };
        datagram.data.truncate(len.saturating_sub(UDP_HEADER));
        true
    }

    pub(super) fn receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            let error = self.inbox.receive_error(self.base.family)?;
            if !self.inbox.has_errors() {
                self.state.lock().error = None;
            }
            return Ok(error);
        }
        if let Some(error) = self.state.lock().error.take() {
            return Err(error.into());
        }
        match self.inbox.receive(&self.base, to, flags) {
            Err(Stop::WouldBlock) if self.state.lock().no_receive => Ok(Incoming::default()),
            other => other,
        }
    }
}
