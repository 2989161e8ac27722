//! What the passing of time does to a connection: retransmission and probes of closed windows (RFC 6298, RFC 9293 section
//! 3.8.6), delayed acknowledgements, keepalive (RFC 1122 section 4.2.3.6), the end of waiting.

use super::super::TcpState;
use super::engine::{Engine, Event, Fin, NEVER, Recovery};
use crate::abi::Errno;

/// Retransmissions before a connection is given up (`tcp_retries2`), and of an orphan (`tcp_orphan_retries`).
const RETRIES: u32 = 15;
const ORPHAN_RETRIES: u32 = 8;

impl Engine {
    /// When something is due next.
    pub(super) fn next_due_ns(&self) -> u64 {
        let due = &self.due;
        due.resend_ns.min(due.ack_ns).min(due.keep_ns).min(due.end_ns).min(due.cork_ns)
    }

    /// Sets the timer, unless it comes early enough already: it looks what is due when it comes.
    pub(super) fn arm(&mut self) {
        let next_ns = self.next_due_ns();
        let Some(timer) = self.timer.as_mut() else { return };
        if self.state == TcpState::Close {
            timer.set(None);
        } else if next_ns != NEVER && timer.deadline_ns().is_none_or(|armed| next_ns < armed) {
            timer.set(Some(next_ns));
        }
    }

    /// Does what is due.
    pub(super) fn time_passed(&mut self, now_ns: u64) {
        if let Some(timer) = self.timer.as_mut() {
            timer.set(None);
        }
        if self.state == TcpState::Close {
            return;
        }
        if self.due.end_ns <= now_ns {
            return self.finish(Event::Gone);
        }
        if self.due.resend_ns <= now_ns {
            self.due.resend_ns = NEVER;
            self.resend_due(now_ns);
        }
        if self.due.keep_ns <= now_ns {
            self.due.keep_ns = NEVER;
            self.keep_due(now_ns);
        }
        if self.due.ack_ns <= now_ns {
            self.due.ack_ns = NEVER;
            self.acks_now = true;
        }
        self.output(now_ns);
        if self.due.cork_ns <= now_ns {
            self.due.cork_ns = NEVER;
        }
    }

    /// Why the other side does not answer, as programs are told.
    fn silence(&self) -> Errno {
        self.soft_error.unwrap_or(Errno::ETIMEDOUT)
    }

    fn resend_due(&mut self, now_ns: u64) {
        let limit_ns = self.tuning.user_timeout_ns;
        if matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            if self.rtt.backoff >= self.tuning.syn_retries
                || (limit_ns > 0 && now_ns.saturating_sub(self.opened_ns) >= limit_ns)
            {
                return self.fail(self.silence());
            }
            self.rtt.backoff += 1;
            self.timed = None;
            self.counts.resent += 1;
            return self.send_syn(now_ns);
        }
        let waits = self.send_end().is_after(self.nxt) || self.fin == Fin::Queued;
        if self.flight() == 0 && !waits {
            return;
        }
        if self.is_blocked {
            // It did not go yet: the card had no room, or there was no memory.
            self.is_blocked = false;
            return self.start_resend(now_ns);
        }
        let retries = if self.is_orphan { ORPHAN_RETRIES } else { RETRIES };
        let stalled_ns = now_ns.saturating_sub(self.stalled_ns);
        let is_late = limit_ns > 0 && stalled_ns >= limit_ns && (self.flight() > 0 || self.window == 0);
        // A host that answers probes of its closed window is alive, however long that takes.
        let is_silent = self.flight() > 0 || now_ns.saturating_sub(self.heard_ns) > self.rtt.timeout_ns();
        if is_late || (self.rtt.backoff >= retries && is_silent) {
            return self.fail(self.silence());
        }
        if self.flight() == 0 {
            self.probes += 1;
            if self.is_orphan && self.probes > ORPHAN_RETRIES {
                return self.fail(self.silence());
            }
            self.send_probe(now_ns);
            self.rtt.backoff = (self.rtt.backoff + 1).min(retries.saturating_sub(1));
            return self.start_resend(now_ns);
        }
        if !matches!(self.recovery, Recovery::Timeout(_)) {
            self.congestion.timed_out(self.flight());
        }
        // Blocks may have been taken back (RFC 2018, section 8).
        if self.rtt.backoff > 0 {
            self.sacked.clear();
        }
        self.recovery = Recovery::Timeout(self.nxt);
        (self.resent_to, self.lost_to) = (self.una, self.nxt);
        self.duplicates = 0;
        self.timed = None;
        self.rtt.backoff += 1;
        self.start_resend(now_ns);
    }

    /// Keepalive begins, if it is on.
    pub(super) fn start_keeping(&mut self, now_ns: u64) {
        self.keeps = 0;
        self.due.keep_ns = match self.tuning.keep_alive {
            Some((idle_ns, ..)) => now_ns.saturating_add(idle_ns),
            None => NEVER,
        };
    }

    fn keep_due(&mut self, now_ns: u64) {
        let Some((idle_ns, interval_ns, most)) = self.tuning.keep_alive else { return };
        if matches!(self.state, TcpState::TimeWait | TcpState::SynSent | TcpState::SynReceived) {
            return;
        }
        let idle_end = self.heard_ns.saturating_add(idle_ns);
        if self.flight() > 0 || (self.keeps == 0 && idle_end > now_ns) {
            self.due.keep_ns = idle_end.max(now_ns.saturating_add(interval_ns));
            if self.flight() == 0 {
                self.due.keep_ns = idle_end;
            }
            return;
        }
        let limit_ns = self.tuning.user_timeout_ns;
        let is_late = limit_ns > 0 && now_ns.saturating_sub(self.heard_ns) >= limit_ns && self.keeps > 0;
        if is_late || (limit_ns == 0 && self.keeps >= most) {
            self.send_reset(now_ns);
            return self.fail(self.silence());
        }
        self.keeps += 1;
        self.send_probe(now_ns);
        self.due.keep_ns = now_ns.saturating_add(interval_ns);
    }
}
