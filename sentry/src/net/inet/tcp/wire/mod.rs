//! TCP over a wire: [`Connection`] is the link of a socket whose other side is on another host.
//!
//! * [`engine`] is one side's state, with [`input`], [`output`], [`timers`] and [`user`]: what segments, windows, time and
//!   the program do to it; [`congestion`], [`rtt`], [`holes`], [`sequence`] and [`segment`] are its parts.
//! * [`demux`] finds the connection of a segment, [`handshake`] makes connections of SYNs, [`secret`] has the keyed hashes.
//!
//! Each connection has a lock of its own (143); finding it takes the lock of a part of the table (139) for a moment. What
//! an engine's event means for its socket is done after its lock is released.

mod congestion;
mod demux;
mod engine;
mod handshake;
mod holes;
mod input;
mod output;
mod report;
mod rtt;
mod secret;
mod segment;
mod sequence;
mod timers;
mod urgent;
mod user;

pub(in crate::net::inet) use congestion::Algorithm;
pub(in crate::net::inet) use demux::Connections;
use engine::Event;
pub(in crate::net::inet) use engine::{Engine, Tuning};
pub(in crate::net::inet) use handshake::Requests;

use super::super::card::Blocked;
use super::super::{QUEUE, Stack};
use super::TcpState;
use super::flow::{Sent, Taking, Window};
use super::table::{Side, Tuple};
use super::urgent::{Line, Mark};
use super::{Tcp, options};
use crate::abi::Errno;
use crate::time::{Expire, Timer};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::{Arc, Weak};
use chitin_core::hooks::now_ns;
use chitin_core::lock::SpinLock;
use chitin_core::once::Once;
use chitin_core::wait::WaitQueue;
use engine::Effects;
pub(super) use user::Writing;

/// Bytes copied before the lock is released for others.
pub(super) const STEP: usize = 64 << 10;

/// A connection to another host.
pub(in crate::net::inet) struct Connection {
    me: Weak<Self>,
    stack: Weak<Stack>,
    pub(super) side: Side,
    engine: SpinLock<Engine>,
    /// The socket, until it is closed.
    socket: Once<Weak<Tcp>>,
    events: Arc<WaitQueue>,
}

impl Connection {
    pub(super) fn new(
        stack: &Arc<Stack>,
        side: Side,
        mut engine: Engine,
        events: &Arc<WaitQueue>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            let target: Weak<dyn Expire> = me.clone();
            engine.timer = Some(Timer::new(target));
            Self {
                me: me.clone(),
                stack: Arc::downgrade(stack),
                side,
                engine: SpinLock::new(QUEUE, engine),
                socket: Once::new(),
                events: events.clone(),
            }
        })
    }

    /// Names the socket.
    pub(super) fn belongs_to(&self, socket: Weak<Tcp>) {
        self.socket.set(socket);
    }

    pub(in crate::net::inet) fn tuple(&self) -> Tuple {
        self.side.tuple
    }

    /// Changes the engine, and does afterwards what follows from that.
    fn with<R>(&self, change: impl FnOnce(&mut Engine) -> R) -> R {
        let mut engine = self.engine.lock();
        let sent = engine.counts.segs_out;
        let result = change(&mut engine);
        if engine.is_blocked && !engine.is_registered {
            // Room may have come before this connection was known to wait for it: one more try.
            engine.is_registered = true;
            let me: Weak<dyn Blocked> = self.me.clone();
            engine.hop.card.when_room(me);
            engine.is_blocked = false;
            engine.output(now_ns());
        }
        engine.arm();
        let effects = core::mem::take(&mut engine.effects);
        let flushed = (engine.counts.segs_out != sent).then(|| engine.hop.card.clone());
        drop(engine);
        if let Some(card) = flushed {
            card.flush();
        }
        self.settle(effects);
        result
    }

    /// Does what the engine's lock was in the way of.
    fn settle(&self, effects: Effects) {
        if let Some(event) = effects.event {
            if let Some(stack) = self.stack.upgrade() {
                let most = usize::try_from(stack.sysctls.number("ipv4/tcp_max_tw_buckets")).unwrap_or(0);
                let over = !matches!(event, Event::Established);
                let waits = event == Event::Waits;
                if over {
                    let kept = stack.tcp.end(&self.side, waits, most);
                    if !(waits && kept) {
                        stack.tcp.wire.remove(&self.side.tuple, self);
                    }
                }
            }
            let socket = self.socket.get().and_then(|socket| socket.upgrade());
            if let Some(socket) = socket {
                socket.connection_event(self, event);
            }
        }
        if effects.is_urgent
            && let Some(socket) = self.socket.get().and_then(|socket| socket.upgrade())
        {
            socket.signal_urgent();
        }
        if effects.wakes {
            self.events.wake_all();
        }
    }

    pub(super) fn send(&self, from: &mut IoReader<'_>, how: Writing) -> Result<Sent, Stop> {
        let mut done = 0;
        while from.remaining() > 0 {
            match self.with(|engine| engine.write(from, how, now_ns())) {
                Ok(Sent::Bytes(sent)) => done += sent,
                Ok(Sent::Refused) if done == 0 => return Ok(Sent::Refused),
                Err(stop) if done == 0 => return Err(stop),
                Ok(Sent::Refused) | Err(_) => break,
            }
        }
        Ok(Sent::Bytes(done))
    }

    pub(super) fn receive(&self, to: &mut IoWriter<'_>, taking: Taking, line: Line) -> Result<usize, Stop> {
        let mut done = 0;
        loop {
            let part = to.remaining().min(STEP);
            let got = self.with(|engine| {
                engine.line = line;
                // What follows an urgent byte is for the next call.
                if done > 0 && engine.mark().is_some_and(|mark| mark.ahead == 0) {
                    return Err(Stop::WouldBlock);
                }
                engine.read(to, taking, now_ns())
            });
            match got {
                Ok(got) => {
                    done += got;
                    if got < part || to.remaining() == 0 || taking.keeps() {
                        return Ok(done);
                    }
                }
                Err(_) if done > 0 => return Ok(done),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// The urgent byte that was not passed yet.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.engine.lock().mark()
    }

    /// The urgent byte: an error when there is none, it was received, or has not come.
    pub(super) fn take_urgent(&self, keeps: bool) -> Result<u8, Errno> {
        self.engine.lock().take_urgent(keeps)
    }

    /// State as programs see it.
    pub(super) fn state(&self) -> TcpState {
        self.engine.lock().state
    }

    /// State and bytes to send, when its socket is closed and its addresses do not merely wait.
    pub(in crate::net::inet) fn as_orphan(&self) -> Option<(TcpState, usize)> {
        let engine = self.engine.lock();
        (engine.is_orphan && !engine.is_over()).then(|| (engine.state, engine.send.len()))
    }

    /// Whether the other side has ended it, and bytes that wait.
    pub(super) fn received(&self) -> (bool, usize) {
        let engine = self.engine.lock();
        (engine.is_finished, engine.receive.len())
    }

    /// Bytes that the other side does not have yet, and of those the ones that were not sent.
    pub(super) fn unsent(&self) -> (usize, usize) {
        let engine = self.engine.lock();
        (engine.send.len(), engine.send_end().max(engine.nxt).since(engine.nxt))
    }

    pub(super) fn is_writable(&self) -> bool {
        self.engine.lock().is_writable()
    }

    /// Sends SYN.
    pub(super) fn begin(&self) {
        self.with(|engine| engine.send_syn(now_ns()));
    }

    pub(super) fn end(&self) {
        self.with(|engine| engine.end(now_ns()));
    }

    pub(super) fn orphan(&self) {
        self.with(|engine| engine.orphan(now_ns()));
    }

    pub(super) fn abort(&self) {
        self.with(|engine| engine.abort(now_ns()));
    }

    pub(super) fn tune(&self, tuning: Tuning) {
        self.with(|engine| engine.tune(tuning, now_ns()));
    }

    pub(super) fn resize(&self, change: impl FnOnce(&mut Window, &mut Window)) {
        self.with(|engine| engine.resize(change));
    }

    /// `struct tcp_info`.
    pub(super) fn info(&self) -> alloc::vec::Vec<u8> {
        self.engine.lock().info(now_ns())
    }

    /// Bytes of a segment.
    pub(super) fn mss(&self) -> usize {
        self.engine.lock().mss
    }
}

impl Expire for Connection {
    fn expired(&self, now_ns: u64) {
        self.with(|engine| engine.time_passed(now_ns));
    }
}

impl Blocked for Connection {
    fn unblocked(&self) {
        self.with(|engine| {
            engine.is_registered = false;
            engine.unblocked(now_ns());
        });
    }
}

impl Tcp {
    /// Something happened to the connection of this socket.
    fn connection_event(&self, connection: &Connection, event: Event) {
        match event {
            Event::Established => self.connected(connection),
            Event::Failed(errno) => self.wire_failed(connection, errno),
            Event::Broken(errno) => self.wire_broken(connection, errno),
            Event::Waits | Event::Gone => {}
        }
        self.base.events.wake_all();
    }

    /// What this socket's options say of a connection.
    pub(super) fn tuning(&self) -> Tuning {
        let options = self.state.lock().options.clone();
        options::tuning(&options, &self.base)
    }
}

#[cfg(test)]
impl Connection {
    /// As with a host that knows no SACK.
    pub(in crate::net::inet) fn forget_sack(&self) {
        self.engine.lock().has_sack = false;
    }

    /// The next numbers of both sides.
    pub(in crate::net::inet) fn numbers(&self) -> (u32, u32) {
        let engine = self.engine.lock();
        (engine.nxt.0, engine.rcv_nxt.0)
    }
}
