//! bind(2) and connect(2).

use super::super::endpoint::{Endpoint, Local};
use super::flow::{Flow, Window};
use super::listen::Offer;
use super::table::{Pair, Side};
use super::{Carrier, Link, Near, Phase, Tcp};
use crate::abi::Errno;
use crate::net::Address;
use crate::time::Timer;
use crate::wait::Stop;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

impl Tcp {
    pub(super) fn bind_to(&self, address: &Address) -> Result<(), Errno> {
        {
            let state = self.state.lock();
            if state.local.is_some() || !matches!(state.phase, Phase::Closed) {
                return Err(Errno::EINVAL);
            }
        }
        let mut local = self.base.local(address)?;
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let table = &self.base.stack.tcp;
        table.expire();
        if local.at.port == 0 {
            let range = self.base.stack.sysctls.port_range();
            let port = table.ports.lock().bind_any(local, range, sharing, &self.me);
            local.at.port = port.ok_or(Errno::EADDRINUSE)?;
        } else if !table.ports.lock().bind(local, sharing, &self.me) {
            return Err(Errno::EADDRINUSE);
        }
        self.set_local(local, true)
    }

    /// Binds to any port of any address. The port.
    pub(super) fn bind_any(&self) -> Result<u16, Errno> {
        let mut local = self.base.any(0);
        let range = self.base.stack.sysctls.port_range();
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let port = self.base.stack.tcp.ports.lock().bind_any(local, range, sharing, &self.me);
        local.at.port = port.ok_or(Errno::EADDRINUSE)?;
        self.set_local(local, false)?;
        Ok(local.at.port)
    }

    /// Keeps a port that the table gave, unless another call was faster.
    fn set_local(&self, local: Local, is_explicit: bool) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.local.is_none() {
            (state.local, state.is_explicit) = (Some(local), is_explicit);
            return Ok(());
        }
        let kept = state.local.map(|local| local.at.port);
        drop(state);
        if kept != Some(local.at.port) {
            self.base.stack.tcp.ports.lock().release(local.at.port, &self.me);
        }
        Err(Errno::EINVAL)
    }

    /// Gives up the port, unless bind(2) chose it.
    pub(super) fn unbind(&self) {
        let port = {
            let mut state = self.state.lock();
            if state.is_explicit { None } else { state.local.take() }
        };
        if let Some(local) = port {
            self.base.stack.tcp.ports.lock().release(local.at.port, &self.me);
        }
    }

    /// connect(2). On loopback it is done at once, but says so only at the next look: a caller that does not wait is told
    /// `EINPROGRESS` first, as on Linux.
    pub(super) fn connect(&self, address: &Address) -> Result<(), Stop> {
        if matches!(address, Address::Unspecified) {
            self.disconnect();
            return Ok(());
        }
        {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::Listening(_) => return Err(Errno::EISCONN.into()),
                Phase::SynSent(_) | Phase::Handshake(_) | Phase::Connecting => {
                    return Err(Stop::WouldBlock);
                }
                Phase::Open(_) | Phase::Over(_) if !state.is_connecting => {
                    return Err(Errno::EISCONN.into());
                }
                Phase::Open(_) => {
                    state.is_connecting = false;
                    return Ok(());
                }
                Phase::Closed | Phase::Over(_) if state.is_connecting => {
                    let error = state.error.take().unwrap_or(Errno::ECONNABORTED);
                    state.is_connecting = false;
                    (state.no_receive, state.no_send) = (false, false);
                    let old = core::mem::replace(&mut state.phase, Phase::Closed);
                    drop(state);
                    drop(old);
                    return Err(error.into());
                }
                Phase::Closed | Phase::Over(_) => {}
            }
            drop(state);
        }
        let to = self.base.destination(address)?;
        let (way, to) = {
            let settings = self.base.settings.lock().clone();
            let way = self.base.stack.route(to, &settings)?;
            let scope = way.hop.as_ref().map_or(0, |hop| hop.scope(way.to));
            let to = Endpoint { ip: way.to, scope, ..to };
            (way, to)
        };
        if way.hop.is_some() {
            Timer::prepare()?;
        }
        if way.cast != super::super::interface::Cast::Uni {
            return Err(Errno::ENETUNREACH.into());
        }
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Closed) || state.is_connecting {
                return Err(Errno::EALREADY.into());
            }
            state.phase = Phase::Connecting;
        }
        let source_scope = way.hop.as_ref().map_or(0, |hop| hop.scope(way.source));
        let source = Endpoint { ip: way.source, port: 0, scope: source_scope };
        let result = self.choose_addresses(to, source).and_then(|()| match way.hop {
            None => self.establish(to),
            Some(hop) => self.begin_handshake(to, hop),
        });
        let mut state = self.state.lock();
        if let Err(error) = result {
            if matches!(state.phase, Phase::Connecting) {
                state.phase = Phase::Closed;
            }
            drop(state);
            self.unbind();
            if error != Errno::ECONNREFUSED {
                return Err(error.into());
            }
            state = self.state.lock();
            state.error = Some(error);
            (state.no_receive, state.no_send) = (true, true);
        }
        state.is_connecting = true;
        drop(state);
        self.base.events.wake_all();
        Err(Stop::WouldBlock)
    }

    /// Gives the socket its own address and port for a connection to `to`.
    fn choose_addresses(&self, to: Endpoint, source: Endpoint) -> Result<(), Errno> {
        let table = &self.base.stack.tcp;
        table.expire();
        let bound = self.state.lock().local;
        let mut local = bound.unwrap_or_else(|| self.base.any(0));
        let was_any = local.at.ip.is_unspecified();
        if was_any {
            local.at = Endpoint { port: local.at.port, ..source };
        }
        if local.at.ip.is_ipv4() != to.ip.is_ipv4() {
            return Err(if to.ip.is_ipv4() { Errno::ENETUNREACH } else { Errno::EADDRNOTAVAIL });
        }
        if bound.is_none() {
            let range = self.base.stack.sysctls.port_range();
            let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
            let ended = table.ended_tuples(to);
            let is_free = |port: u16| {
                let at = Endpoint { port, ..local.at };
                !ended.contains(&port) && table.is_free(&(at, to))
            };
            let chosen = table.ports.lock().bind_for_connection(local, range, sharing, &self.me, is_free);
            local.at.port = chosen.ok_or(Errno::EADDRNOTAVAIL)?;
        } else if was_any {
            table.ports.lock().change(local.at.port, &self.me, |owner| owner.local = local);
        }
        self.state.lock().local = Some(local);
        if table.ended_just_now(&(local.at, to)) || !table.insert((local.at, to), self.me.clone()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        Ok(())
    }

    /// Finds who listens at `to` and connects, or waits for room there.
    fn establish(&self, to: Endpoint) -> Result<(), Errno> {
        let table = &self.base.stack.tcp;
        let Some(local) = self.state.lock().local else { return Err(Errno::EINVAL) };
        if to == local.at {
            self.join_itself(to);
            return Ok(());
        }
        let refuse = || {
            table.remove(&(local.at, to));
            self.base.stack.counts.tcp_refused();
            if self.base.stack.is_observed() {
                self.base.stack.show_refusal((local.at, to));
            }
            Err(Errno::ECONNREFUSED)
        };
        let listener = table.ports.lock().find(to, local.at, usize::from(local.at.port));
        let Some(listener) = listener.and_then(|listener| listener.upgrade()) else { return refuse() };
        match listener.has_room(&self.me) {
            Offer::Gone => return refuse(),
            Offer::Full => return self.wait_for_room(to),
            Offer::Taken => {}
        }
        if !table.insert((to, local.at), self.me.clone()) {
            return refuse();
        }
        let (child, link) = self.join(&listener, local.at, to);
        if self.base.stack.is_observed() {
            self.base.stack.show_handshake((local.at, to));
        }
        let is_deferred = link.near().is_some_and(|near| near.pair.is_deferred.load(Ordering::Relaxed));
        let mut state = self.state.lock();
        let old = core::mem::replace(&mut state.phase, Phase::Open(link));
        state.timer = None;
        drop(state);
        drop(old);
        if let Err(child) = listener.offer(child, is_deferred) {
            child.abort();
        }
        self.base.stack.counts.tcp_connected();
        self.base.events.wake_all();
        Ok(())
    }

    /// A connection to its own address: what is sent comes back, and one end ends both directions.
    fn join_itself(&self, at: Endpoint) {
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let side = || Side::new((at, at), sharing, false);
        let pair = Arc::new(Pair::new(side(), side(), false));
        pair.finish(1);
        let (receive, send) = (self.base.receive_window(), self.base.send_window());
        let events = &self.base.events;
        let flow = Flow::new(&self.base.maker.budget, receive, send, events, events);
        let near = Near { tx: flow.clone(), rx: flow, peer: self.me.clone(), pair, index: 0 };
        let link = Arc::new(Link { tuple: (at, at), carrier: Carrier::Near(near) });
        let mut state = self.state.lock();
        let old = core::mem::replace(&mut state.phase, Phase::Open(link));
        state.timer = None;
        drop(state);
        drop(old);
        self.base.stack.counts.tcp_connected();
        self.base.events.wake_all();
    }

    /// Both sides of a connection: the new socket at the listener's side, and this one's link.
    fn join(&self, listener: &Arc<Self>, local: Endpoint, to: Endpoint) -> (Arc<Self>, Arc<Link>) {
        let base = listener.base.child();
        let (options, defers) = {
            let state = listener.state.lock();
            (state.options.clone(), state.options.defer_seconds > 0)
        };
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let child_sharing = base.settings.lock().sharing(base.maker.creds.uid);
        let client = Side::new((local, to), sharing, false);
        let server = Side::new((to, local), child_sharing, true);
        self.base.stack.tcp.ports.lock().add_connection(to, child_sharing);
        let pair = Arc::new(Pair::new(client, server, defers));
        let there = Flow::new(
            &base.maker.budget,
            base.receive_window(),
            self.base.send_window(),
            &base.events,
            &self.base.events,
        );
        let back = Flow::new(
            &self.base.maker.budget,
            self.base.receive_window(),
            base.send_window(),
            &self.base.events,
            &base.events,
        );
        let child_link =
            Near { tx: back.clone(), rx: there.clone(), peer: self.me.clone(), pair: pair.clone(), index: 1 };
        let child_link = Link { tuple: (to, local), carrier: Carrier::Near(child_link) };
        let dual = base.settings.lock().dual();
        let child_local = Local { at: to, dual };
        let child = Self::with(base, Phase::Open(Arc::new(child_link)), Some(child_local), options);
        self.base.stack.tcp.replace((to, local), Arc::downgrade(&child));
        let near = Near { tx: there, rx: back, peer: Arc::downgrade(&child), pair, index: 0 };
        (child, Arc::new(Link { tuple: (local, to), carrier: Carrier::Near(near) }))
    }

    /// The listener's queue is full: the connection comes about when there is room, or fails after a while.
    fn wait_for_room(&self, to: Endpoint) -> Result<(), Errno> {
        Timer::prepare()?;
        let retries = u32::try_from(self.base.stack.sysctls.number("ipv4/tcp_syn_retries")).unwrap_or(6);
        // SYNs go out after 1, 2, 4... seconds; after the last one it is waited once more.
        let seconds = (1u64 << (retries + 1).min(8)) - 1;
        let me: alloc::sync::Weak<dyn crate::time::Expire> = self.me.clone();
        let mut timer = Timer::new(me);
        timer.set(Some(chitin_core::hooks::now_ns().saturating_add(seconds * 1_000_000_000)));
        let mut state = self.state.lock();
        state.phase = Phase::SynSent(to);
        state.timer = Some(timer);
        Ok(())
    }

    /// There is room now, or nobody listens any more.
    pub(super) fn connect_again(&self) {
        let to = {
            let mut state = self.state.lock();
            let Phase::SynSent(to) = state.phase else { return };
            state.phase = Phase::Connecting;
            to
        };
        if let Err(error) = self.establish(to) {
            self.fail_connecting(error);
        }
    }

    /// Nobody made room in time.
    pub(super) fn connect_timed_out(&self) {
        let to = {
            let mut state = self.state.lock();
            let Phase::SynSent(to) = state.phase else { return };
            state.phase = Phase::Connecting;
            to
        };
        if let Some(local) = self.state.lock().local {
            self.base.stack.tcp.remove(&(local.at, to));
        }
        self.fail_connecting(Errno::ETIMEDOUT);
    }

    fn fail_connecting(&self, error: Errno) {
        let timer = {
            let mut state = self.state.lock();
            state.phase = Phase::Closed;
            state.error = Some(error);
            (state.no_receive, state.no_send) = (true, true);
            state.timer.take()
        };
        drop(timer);
        self.unbind();
        self.base.events.wake_all();
    }
}

impl super::super::base::Base {
    /// What a socket takes at first, and at most.
    pub(super) fn receive_window(&self) -> Window {
        let size = self.settings.lock().receive;
        let half = size.bytes / 2;
        let most = if size.is_fixed { half } else { self.stack.sysctls.triple("ipv4/tcp_rmem")[2] / 2 };
        Window { bytes: half, most: most.max(half) }
    }

    /// What a connection over a wire may hold to send: it grows with what the path takes.
    pub(super) fn wire_send_window(&self) -> Window {
        let size = self.settings.lock().send;
        if size.is_fixed {
            return Window { bytes: size.bytes / 2, most: size.bytes / 2 };
        }
        let most = self.stack.sysctls.triple("ipv4/tcp_wmem")[2] / 2;
        Window { bytes: (size.bytes.max(128 << 10)).min(most), most }
    }

    /// What a socket may have under way beyond that.
    fn send_window(&self) -> Window {
        let size = self.settings.lock().send;
        // As on Linux a connection over loopback begins with more than the least.
        let most = self.stack.sysctls.triple("ipv4/tcp_wmem")[2];
        let bytes = if size.is_fixed { size.bytes } else { AUTO_SEND.min(most).max(size.bytes) };
        Window { bytes: bytes / 2, most: most / 2 }
    }
}

/// Send buffer of a connection over loopback when the program chose none.
pub(super) const AUTO_SEND: usize = 2_626_560;
