//! What a socket does with its connection over a wire.

use super::super::TcpState;
use super::super::flow::{Sent, Taking, Window};
use super::STEP;
use super::engine::{Engine, Event, Fin, NEVER, Tuning};
use crate::abi::Errno;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;

/// How bytes are to be sent.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Writing {
    /// Others follow soon.
    pub(in super::super) more: bool,
    /// The last one is urgent.
    pub(in super::super) is_urgent: bool,
}

impl Engine {
    /// Takes bytes to send.
    pub(super) fn write(&mut self, from: &mut IoReader<'_>, how: Writing, now_ns: u64) -> Result<Sent, Stop> {
        if !matches!(self.state, TcpState::Established | TcpState::CloseWait) || self.fin != Fin::No {
            return Ok(Sent::Refused);
        }
        let room = self.send_limit().saturating_sub(self.send.len());
        if room == 0 {
            self.is_starved = true;
            return Err(Stop::WouldBlock);
        }
        let part = room.min(STEP).min(from.remaining());
        let taken = match self.send.take(from, part) {
            Ok(taken) => taken,
            // Room will come when the other side acknowledges some.
            Err(_) if self.send.len() > 0 => {
                self.is_starved = true;
                return Err(Stop::WouldBlock);
            }
            Err(errno) => return Err(errno.into()),
        };
        self.more = how.more;
        if taken == 0 {
            return Err(from.fault().map_or(Stop::Errno(Errno::ENOBUFS), Stop::Fault));
        }
        if how.is_urgent && from.remaining() == 0 {
            self.urgency.sent = Some(self.send_end());
        }
        self.output(now_ns);
        Ok(Sent::Bytes(taken))
    }

    /// Gives received bytes.
    pub(super) fn read(&mut self, to: &mut IoWriter<'_>, taking: Taking, now_ns: u64) -> Result<usize, Stop> {
        if to.remaining() == 0 && self.receive.len() > 0 {
            return Ok(0);
        }
        let (skip, room) = self.up_to_mark(taking);
        let there = self.receive.len().saturating_sub(skip);
        if to.remaining() == 0 || there == 0 {
            return if there > 0 || self.is_finished { Ok(0) } else { Err(Stop::WouldBlock) };
        }
        let most = if taking.keeps() { there } else { STEP };
        let part = there.min(to.remaining()).min(most).min(room);
        let copied = if matches!(taking, Taking::Discard | Taking::Measure) {
            to.rewind(to.done() + part);
            part
        } else {
            self.receive.copy(skip, to, part)
        };
        if copied == 0 {
            return Err(to.fault().map_or(Stop::Errno(Errno::EFAULT), Stop::Fault));
        }
        if !taking.keeps() {
            self.receive.consume(copied);
            self.receive.shrink();
            self.pass_mark();
            self.took(copied, now_ns);
        }
        Ok(copied)
    }

    /// The program took bytes: the window may grow, and the other side may have to hear of room.
    fn took(&mut self, len: usize, now_ns: u64) {
        self.read += len as u64;
        let Window { bytes, most } = self.receive_window;
        if bytes < most && self.read - self.grown_at >= 2 * bytes as u64 {
            self.receive_window.bytes = bytes.saturating_mul(2).min(most);
            self.grown_at = self.read;
        }
        if self.is_finished || self.is_over() || self.state == TcpState::SynSent {
            return;
        }
        let offered = self.rcv_edge.max(self.rcv_nxt).since(self.rcv_nxt);
        let free = self.receive_window.bytes.saturating_sub(self.receive.len());
        // Worth a segment of its own: two more segments, or half of the buffer.
        let gain = free.saturating_sub(offered);
        if gain >= (2 * self.mss).min(self.receive_window.bytes / 2)
            && (offered < 2 * self.mss || gain >= offered)
        {
            self.send_ack(now_ns);
        }
    }

    /// The program sends nothing more.
    pub(super) fn end(&mut self, now_ns: u64) {
        self.more = false;
        self.state = match self.state {
            TcpState::Established => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            TcpState::SynReceived | TcpState::SynSent => return self.finish(Event::Gone),
            _ => return,
        };
        self.fin = Fin::Queued;
        self.output(now_ns);
    }

    /// The socket is closed.
    pub(super) fn orphan(&mut self, now_ns: u64) {
        (self.is_orphan, self.is_deaf) = (true, true);
        self.urgency.received = None;
        self.receive.clear();
        self.ahead.clear();
        self.due.keep_ns = NEVER;
        self.end(now_ns);
        if self.state == TcpState::FinWait2 {
            if self.tuning.fin_timeout_ns == 0 {
                return self.finish(Event::Gone);
            }
            self.due.end_ns = now_ns.saturating_add(self.tuning.fin_timeout_ns);
        }
    }

    /// Ends the connection with a reset.
    pub(super) fn abort(&mut self, now_ns: u64) {
        self.is_orphan = true;
        if !matches!(self.state, TcpState::SynSent | TcpState::TimeWait | TcpState::Close) {
            self.send_reset(now_ns);
        }
        self.receive.clear();
        self.finish(Event::Gone);
    }

    /// Options changed.
    pub(super) fn tune(&mut self, tuning: Tuning, now_ns: u64) {
        let kept = self.tuning.keep_alive;
        self.tuning = tuning;
        self.congestion.algorithm = tuning.algorithm;
        if kept != tuning.keep_alive && !self.is_over() && self.state != TcpState::SynSent {
            self.start_keeping(now_ns);
        }
        self.output(now_ns);
    }

    /// Buffers have other sizes.
    pub(super) fn resize(&mut self, change: impl FnOnce(&mut Window, &mut Window)) {
        change(&mut self.receive_window, &mut self.send_window);
        self.effects.wakes = true;
    }

    /// The card has room again.
    pub(super) fn unblocked(&mut self, now_ns: u64) {
        self.is_blocked = false;
        self.output(now_ns);
    }
}
