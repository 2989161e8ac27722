//! [`Engine`]: one side of a connection over a wire, as RFC 9293 has it. [`super::input`] takes segments in,
//! [`super::output`] sends them, [`super::timers`] does what time calls for. It is used with its connection's lock held and
//! tells by [`Effects`] what is to be done after that is released.

use super::super::super::buffer::Buffer;
use super::super::super::plan::Hop;
use super::super::TcpState;
use super::super::flow::Window;
use super::super::urgent::Line;
use super::congestion::{Algorithm, Congestion};
use super::holes::Ranges;
use super::rtt::Rtt;
use super::sequence::Seq;
use super::urgent::Urgency;
use crate::abi::Errno;
use crate::mm::Budget;
use crate::time::Timer;
use alloc::sync::Arc;
use core::net::IpAddr;

/// What options and settings say of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::inet) struct Tuning {
    pub(in crate::net::inet) no_delay: bool,
    pub(in crate::net::inet) cork: bool,
    pub(in crate::net::inet) quick_ack: bool,
    /// Keepalive: idle time, interval, probes.
    pub(in crate::net::inet) keep_alive: Option<(u64, u64, u32)>,
    pub(in crate::net::inet) user_timeout_ns: u64,
    /// How long an orphan waits for the other side's FIN.
    pub(in crate::net::inet) fin_timeout_ns: u64,
    pub(in crate::net::inet) syn_retries: u32,
    pub(in crate::net::inet) max_segment: usize,
    pub(in crate::net::inet) window_clamp: usize,
    pub(in crate::net::inet) algorithm: Algorithm,
    pub(in crate::net::inet) ttl: u8,
    pub(in crate::net::inet) tos: u8,
    pub(in crate::net::inet) not_sent_low_water: usize,
}

/// What happened to the connection as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::inet) enum Event {
    /// The other side agreed.
    Established,
    /// It will not come about.
    Failed(Errno),
    /// It ended other than by FINs.
    Broken(Errno),
    /// Both sides ended it, this one first.
    Waits,
    /// It is over.
    Gone,
}

/// What is to be done after the lock is released.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    pub(super) wakes: bool,
    /// The other side told of urgent data.
    pub(super) is_urgent: bool,
    pub(super) event: Option<Event>,
}

/// When something is due, in ns; [`NEVER`] when not.
pub(super) const NEVER: u64 = u64::MAX;

/// Deadlines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Retransmission, or a probe of a closed window.
    pub(super) resend_ns: u64,
    pub(super) ack_ns: u64,
    pub(super) keep_ns: u64,
    /// The end of `TIME_WAIT` or of an orphan's `FIN_WAIT2`.
    pub(super) end_ns: u64,
    /// What a cork holds back goes.
    pub(super) cork_ns: u64,
}

/// How far this side's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    Queued,
    Sent,
}

/// How lost segments are made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Nothing is missing.
    No,
    /// Told by duplicate acknowledgements, until this number is acknowledged.
    Fast(Seq),
    /// Told by the timer, until this number is acknowledged.
    Timeout(Seq),
}

/// Counts for `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) segs_out: u64,
    pub(super) segs_in: u64,
    pub(super) data_out: u64,
    pub(super) data_in: u64,
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) resent: u64,
    pub(super) bytes_resent: u64,
}

/// One side of a connection.
pub(in crate::net::inet) struct Engine {
    pub(super) state: TcpState,
    pub(super) hop: Hop,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) ports: (u16, u16),
    pub(in crate::net::inet) tuning: Tuning,
    pub(super) effects: Effects,
    /// The socket is closed.
    pub(super) is_orphan: bool,

    // Sending. `send` has the bytes from `data_una` on.
    pub(super) send: Buffer,
    pub(super) data_una: Seq,
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    pub(super) fin: Fin,
    pub(super) window: usize,
    pub(super) max_window: usize,
    pub(super) window_seq: Seq,
    pub(super) window_ack: Seq,
    pub(super) send_scale: u8,
    pub(super) mss: usize,
    /// What the other side takes, before paths are thought of.
    pub(super) peer_mss: usize,
    /// Bytes of a packet that fits through the path.
    pub(super) path_mtu: usize,
    pub(super) send_window: Window,
    pub(super) is_starved: bool,
    /// More is announced to follow (`MSG_MORE`).
    pub(super) more: bool,
    pub(super) is_blocked: bool,
    /// The card knows that it waits for room.
    pub(super) is_registered: bool,
    pub(super) congestion: Congestion,
    pub(super) is_limited: bool,
    pub(super) rtt: Rtt,
    /// A segment whose time is taken, without time stamps: its end, and when it went.
    pub(super) timed: Option<(Seq, u64)>,
    pub(super) sacked: Ranges,
    pub(super) recovery: Recovery,
    pub(super) resent_to: Seq,
    pub(super) lost_to: Seq,
    pub(super) duplicates: usize,
    /// Since when nothing new was acknowledged.
    pub(super) stalled_ns: u64,
    pub(super) probes: u32,

    // Receiving. `receive` has the bytes up to `rcv_nxt` that nobody took, and what is ahead of it.
    pub(super) receive: Buffer,
    pub(super) rcv_nxt: Seq,
    pub(super) rcv_edge: Seq,
    pub(super) ahead: Ranges,
    pub(super) latest: Seq,
    pub(super) rcv_fin: Option<Seq>,
    pub(super) is_finished: bool,
    pub(super) receive_window: Window,
    pub(super) receive_scale: u8,
    pub(super) read: u64,
    pub(super) grown_at: u64,
    /// Bytes that are not acknowledged yet.
    pub(super) unacked: usize,
    pub(super) acks_now: bool,
    pub(super) quick_acks: u32,
    /// Nobody will receive any more.
    pub(super) is_deaf: bool,
    pub(super) urgency: Urgency,
    /// Where the program wants urgent bytes.
    pub(super) line: Line,

    // Options.
    pub(super) stamps: Option<Stamps>,
    pub(super) has_sack: bool,

    pub(super) heard_ns: u64,
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
    pub(super) opened_ns: u64,
    pub(super) keeps: u32,
    pub(super) soft_error: Option<Errno>,
    pub(super) challenge: (u64, u32),
    pub(super) due: Due,
    pub(super) timer: Option<Timer>,
    pub(super) counts: Counts,
}

/// Time stamps (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    /// Added to our clock of milliseconds.
    pub(super) offset: u32,
    /// The last value from the other side, and when it came.
    pub(super) recent: u32,
    pub(super) recent_ns: u64,
}

/// What a new engine begins with.
pub(in crate::net::inet::tcp) struct Start {
    pub(in crate::net::inet::tcp) hop: Hop,
    pub(in crate::net::inet::tcp) from: IpAddr,
    pub(in crate::net::inet::tcp) to: IpAddr,
    pub(in crate::net::inet::tcp) ports: (u16, u16),
    pub(in crate::net::inet::tcp) iss: u32,
    pub(in crate::net::inet::tcp) stamp_offset: u32,
    pub(in crate::net::inet::tcp) mtu: usize,
    pub(in crate::net::inet::tcp) receive: Window,
    pub(in crate::net::inet::tcp) send: Window,
    pub(in crate::net::inet::tcp) most_receive: usize,
}

/// The window scale that a receive buffer of that size needs.
pub(super) fn scale_for(most: usize) -> u8 {
    (0..14).find(|scale| most >> scale <= 0xffff).unwrap_or(14)
}

impl Engine {
    /// A side that is about to send SYN.
    pub(in crate::net::inet::tcp) fn new(
        start: Start,
        tuning: Tuning,
        budget: &Arc<Budget>,
        now_ns: u64,
    ) -> Self {
        let iss = Seq(start.iss);
        let never = Due { resend_ns: NEVER, ack_ns: NEVER, keep_ns: NEVER, end_ns: NEVER, cork_ns: NEVER };
        Self {
            state: TcpState::SynSent,
            hop: start.hop,
            from: start.from,
            to: start.to,
            ports: start.ports,
            tuning,
            effects: Effects::default(),
            is_orphan: false,
            send: Buffer::new(budget),
            data_una: iss.plus(1),
            una: iss,
            nxt: iss,
            fin: Fin::No,
            window: 0,
            max_window: 0,
            window_seq: Seq(0),
            window_ack: Seq(0),
            send_scale: 0,
            mss: 536,
            peer_mss: 536,
            path_mtu: start.mtu,
            send_window: start.send,
            is_starved: false,
            more: false,
            is_blocked: false,
            is_registered: false,
            congestion: Congestion::new(tuning.algorithm, 536),
            is_limited: false,
            rtt: Rtt::default(),
            timed: None,
            sacked: Ranges::default(),
            recovery: Recovery::No,
            resent_to: iss,
            lost_to: iss,
            duplicates: 0,
            stalled_ns: now_ns,
            probes: 0,
            receive: Buffer::new(budget),
            rcv_nxt: Seq(0),
            rcv_edge: Seq(0),
            ahead: Ranges::default(),
            latest: Seq(0),
            rcv_fin: None,
            is_finished: false,
            receive_window: start.receive,
            receive_scale: scale_for(start.most_receive),
            read: 0,
            grown_at: 0,
            unacked: 0,
            acks_now: false,
            quick_acks: 16,
            is_deaf: false,
            urgency: Urgency::default(),
            line: Line::Apart,
            stamps: Some(Stamps { offset: start.stamp_offset, recent: 0, recent_ns: 0 }),
            has_sack: true,
            heard_ns: now_ns,
            sent_ns: now_ns,
            received_ns: now_ns,
            opened_ns: now_ns,
            keeps: 0,
            soft_error: None,
            challenge: (0, 0),
            due: never,
            timer: None,
            counts: Counts::default(),
        }
    }

    /// The number after the last byte to send.
    pub(super) fn send_end(&self) -> Seq {
        self.data_una.plus(self.send.len())
    }

    /// Bytes under way that were not acknowledged.
    pub(super) fn flight(&self) -> usize {
        self.nxt.since(self.una)
    }

    /// What the send buffer holds at most.
    pub(super) fn send_limit(&self) -> usize {
        let Window { bytes, most } = self.send_window;
        if most <= bytes { bytes } else { (2 * self.congestion.window + 64 * 1024).clamp(bytes, most) }
    }

    /// As Linux has it: a third of the send buffer is free, and what is not sent yet is below its mark.
    pub(in crate::net::inet) fn is_writable(&mut self) -> bool {
        let unsent = self.send_end().max(self.nxt).since(self.nxt);
        let low = self.tuning.not_sent_low_water;
        let writable = self.is_over()
            || (self.send.len().saturating_mul(3) <= self.send_limit().saturating_mul(2)
                && (low == 0 || unsent < low));
        self.is_starved |= !writable;
        writable
    }

    /// It neither sends nor receives any more.
    pub(in crate::net::inet) fn is_over(&self) -> bool {
        matches!(self.state, TcpState::Close | TcpState::TimeWait)
    }

    /// Ends the connection at once, without a word to the other side.
    pub(super) fn finish(&mut self, event: Event) {
        if self.state == TcpState::Close {
            return;
        }
        self.state = TcpState::Close;
        self.send.clear();
        self.nxt = self.una;
        self.ahead.clear();
        if self.is_orphan || self.is_deaf {
            self.receive.clear();
        }
        self.due = Due { resend_ns: NEVER, ack_ns: NEVER, keep_ns: NEVER, end_ns: NEVER, cork_ns: NEVER };
        self.effects.wakes = true;
        self.effects.event = Some(event);
    }

    /// The other side, or the path to it, ended the connection.
    pub(super) fn fail(&mut self, errno: Errno) {
        let event = match self.state {
            TcpState::SynSent | TcpState::SynReceived => Event::Failed(errno),
            _ => Event::Broken(errno),
        };
        self.finish(event);
    }
}
