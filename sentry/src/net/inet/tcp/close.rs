//! The end of connections: shutdown(2), close(2), resets.

use super::shown;
use super::{Carrier, Link, Near, Phase, Tcp, TcpState};
use crate::abi::Errno;
use crate::net::socket::Shutdown;

impl Link {
    /// Sends FIN, unless that was done. The side that does so first keeps the addresses for a while (`TIME_WAIT`).
    fn finish(&self, socket: &Tcp) {
        match &self.carrier {
            Carrier::Near(near) => near.finish(socket),
            Carrier::Wire(connection) => connection.end(),
        }
    }
}

impl Near {
    fn finish(&self, socket: &Tcp) {
        if self.tx.ended().0 {
            return;
        }
        if socket.base.stack.is_observed() {
            self.show_end(socket, shown::FIN);
        }
        self.tx.finish();
        if self.pair.finish(self.index) {
            self.end(socket, true);
        }
    }

    /// Takes the connection out of the table; `waits`: the other side began to end it and waits now.
    fn end(&self, socket: &Tcp, waits: bool) {
        let stack = &socket.base.stack;
        let most = usize::try_from(stack.sysctls.number("ipv4/tcp_max_tw_buckets")).unwrap_or(0);
        let [client, server] = &self.pair.sides;
        let (own, other) = if self.index == 0 { (client, server) } else { (server, client) };
        stack.tcp.end(own, false, most);
        stack.tcp.end(other, waits, most);
    }
}

impl Link {
    /// Nobody will receive any more.
    fn abandon(&self) {
        match &self.carrier {
            Carrier::Near(near) => {
                near.rx.abandon();
            }
            Carrier::Wire(connection) => connection.abort(),
        }
    }

    /// Ends the connection with a reset; what was received is gone.
    fn abort(&self, socket: &Tcp) {
        socket.base.stack.counts.tcp_reset();
        match &self.carrier {
            Carrier::Near(near) => {
                if socket.base.stack.is_observed() {
                    near.show_end(socket, shown::RST);
                }
                near.rx.abandon();
                near.end(socket, false);
                if let Some(peer) = near.peer.upgrade() {
                    peer.reset_by_peer();
                }
            }
            Carrier::Wire(connection) => connection.abort(),
        }
    }
}

impl Tcp {
    pub(super) fn shut_down(&self, how: Shutdown) -> Result<(), Errno> {
        let (receive, send) = (how != Shutdown::Write, how != Shutdown::Read);
        let mut state = self.state.lock();
        let finishes = match &state.phase {
            Phase::Listening(_) | Phase::SynSent(_) | Phase::Handshake(_) => {
                drop(state);
                if receive {
                    self.disconnect();
                    self.base.events.wake_all();
                }
                return Ok(());
            }
            Phase::Open(link) if link.state() != TcpState::Close => link.clone(),
            _ => {
                state.no_receive |= receive;
                state.no_send |= send;
                drop(state);
                self.base.events.wake_all();
                return Err(Errno::ENOTCONN);
            }
        };
        state.no_receive |= receive;
        state.no_send |= send;
        drop(state);
        if send {
            finishes.finish(self);
        }
        self.base.events.wake_all();
        Ok(())
    }

    /// close(2) begins: how long it waits for what was sent. What nobody received ends the connection at once.
    pub(super) fn linger(&self) -> Option<u64> {
        let (true, seconds) = self.base.settings.lock().linger else { return None };
        let seconds = u64::from(seconds.cast_unsigned());
        let link = match &self.state.lock().phase {
            Phase::Open(link) if seconds > 0 => link.clone(),
            _ => return None,
        };
        if link.received().1 > 0 {
            return None;
        }
        {
            let mut state = self.state.lock();
            (state.no_receive, state.no_send) = (true, true);
        }
        link.finish(self);
        Some(seconds.saturating_mul(1_000_000_000))
    }

    /// Whether the other side has everything.
    pub(super) fn is_drained(&self) -> bool {
        let link = match &self.state.lock().phase {
            Phase::Open(link) => link.clone(),
            _ => return true,
        };
        match &link.carrier {
            Carrier::Near(near) => near.tx.is_drained(),
            Carrier::Wire(connection) => {
                !matches!(connection.state(), TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck)
            }
        }
    }

    /// The last descriptor is closed.
    pub(super) fn close(&self) {
        let (phase, local, timer) = {
            let mut state = self.state.lock();
            let phase = core::mem::replace(&mut state.phase, Phase::Closed);
            (state.no_receive, state.no_send) = (true, true);
            (phase, state.local, state.timer.take())
        };
        drop(timer);
        self.leave(phase);
        if let Some(local) = local {
            self.base.stack.tcp.ports.lock().release(local.at.port, &self.me);
        }
        self.base.events.wake_all();
    }

    /// Lets go of what the socket was doing.
    fn leave(&self, phase: Phase) {
        match phase {
            Phase::Closed | Phase::Connecting => {}
            Phase::SynSent(to) => {
                if let Some(local) = self.state.lock().local {
                    self.base.stack.tcp.remove(&(local.at, to));
                }
            }
            Phase::Handshake(link) => link.abort(self),
            Phase::Listening(listener) => {
                let port = self.state.lock().local.map(|local| local.at.port);
                if let Some(port) = port {
                    let mut ports = self.base.stack.tcp.ports.lock();
                    ports.change(port, &self.me, |owner| owner.listens = false);
                }
                let (children, syns) = listener.into_parts();
                children.iter().for_each(|child| child.abort());
                for client in syns {
                    if let Some(client) = client.upgrade() {
                        client.connect_again();
                    }
                }
            }
            Phase::Open(link) => {
                let linger = self.base.settings.lock().linger;
                let lost = match &link.carrier {
                    Carrier::Near(near) => near.rx.abandon(),
                    Carrier::Wire(connection) => connection.received().1 > 0,
                };
                let is_crowded = link.near().is_none() && self.base.stack.tcp.wire.is_crowded();
                if lost || linger == (true, 0) || is_crowded {
                    link.abort(self);
                    return;
                }
                match &link.carrier {
                    Carrier::Near(near) => {
                        near.finish(self);
                        if let Some(side) = near.pair.sides.get(near.index) {
                            self.base.stack.tcp.count(side);
                        }
                    }
                    Carrier::Wire(connection) => {
                        self.base.stack.tcp.count(&connection.side);
                        connection.orphan();
                    }
                }
            }
            Phase::Over(link) => link.abandon(),
        }
    }

    /// Ends the connection with a reset, as for one that was never accepted.
    pub(super) fn abort(&self) {
        let phase = core::mem::replace(&mut self.state.lock().phase, Phase::Closed);
        if let Phase::Open(link) = phase {
            link.abort(self);
        }
    }

    /// The other side sent a reset. What it sent before can still be received.
    pub(super) fn reset_by_peer(&self) {
        let link = {
            let mut state = self.state.lock();
            let Phase::Open(link) = &state.phase else { return };
            let link = link.clone();
            let Some(near) = link.near() else { return };
            let fin = near.rx.ended().0;
            state.error = Some(if fin { Errno::EPIPE } else { Errno::ECONNRESET });
            (state.no_receive, state.no_send) = (true, true);
            let old = core::mem::replace(&mut state.phase, Phase::Over(link.clone()));
            drop(state);
            drop(old);
            link
        };
        if let Some(near) = link.near() {
            near.end(self, false);
            // What this side sent and nobody read is gone with the other side.
            near.tx.abandon();
        }
        self.unbind();
        self.base.events.wake_all();
    }

    /// connect(2) to nowhere, and shutdown(2) of a socket that listens.
    pub(super) fn disconnect(&self) {
        let (phase, timer) = {
            let mut state = self.state.lock();
            let phase = core::mem::replace(&mut state.phase, Phase::Closed);
            (state.no_receive, state.no_send, state.is_connecting) = (false, false, false);
            state.error = None;
            (phase, state.timer.take())
        };
        drop(timer);
        match phase {
            Phase::Open(link) => link.abort(self),
            other => self.leave(other),
        }
        self.unbind();
        self.base.events.wake_all();
    }
}
