//! What a segment does (RFC 9293 section 3.10.7, with RFC 5961 against forged ones and RFC 7323 against old ones).

use super::super::TcpState;
use super::engine::{Engine, Event, Fin, NEVER, Recovery};
use super::segment::{ACK, FIN, RST, SYN, Segment};
use super::sequence::Seq;
use crate::abi::Errno;

/// How long addresses are kept after the end (`TCP_TIMEWAIT_LEN`).
pub(super) const TIME_WAIT_NS: u64 = 60_000_000_000;
/// After so long a time stamp says nothing about age (RFC 7323, section 5.5).
const STAMP_LIFE_NS: u64 = 24 * 86_400_000_000_000;
/// Acknowledgements of forged or old segments in a second.
const CHALLENGES: u32 = 20;
/// Segments behind which a missing one is thought to be lost.
const DUPLICATES: usize = 3;

impl Engine {
    /// Takes a segment in.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, now_ns: u64) {
        self.counts.segs_in += 1;
        match self.state {
            TcpState::Close | TcpState::Listen => return,
            TcpState::SynSent => {
                self.answered(segment, now_ns);
                return self.output(now_ns);
            }
            _ => {}
        }
        if self.is_old(segment, now_ns) || !self.is_acceptable(segment, now_ns) {
            return;
        }
        if segment.has(RST) {
            // Only the very next number ends the connection; others must be confirmed (RFC 5961, section 3).
            if segment.seq == self.rcv_nxt {
                self.reset();
            } else {
                self.challenge(now_ns);
            }
            return;
        }
        if segment.has(SYN) {
            if self.state == TcpState::SynReceived {
                return self.send_syn(now_ns);
            }
            return self.challenge(now_ns);
        }
        if !segment.has(ACK) {
            return;
        }
        (self.heard_ns, self.keeps) = (now_ns, 0);
        if !self.acknowledged(segment, now_ns) {
            return;
        }
        if let (Some(stamps), Some((value, _))) = (self.stamps.as_mut(), segment.options.stamps)
            && !segment.seq.is_after(self.rcv_nxt)
        {
            (stamps.recent, stamps.recent_ns) = (value, now_ns);
        }
        self.hear_urgent(segment);
        self.take_data(segment, now_ns);
        self.catch_urgent();
        self.output(now_ns);
    }

    /// The other side answers to SYN.
    fn answered(&mut self, segment: &Segment<'_>, now_ns: u64) {
        let acks = segment.has(ACK);
        if acks && segment.ack != self.nxt {
            // Not to what we sent: an old connection there. A reset makes it go away.
            if !segment.has(RST) {
                self.effects.wakes = false;
                let saved = self.nxt;
                self.nxt = segment.ack;
                self.send_reset(now_ns);
                self.nxt = saved;
            }
            return;
        }
        if segment.has(RST) {
            if acks {
                self.fail(Errno::ECONNREFUSED);
            }
            return;
        }
        if !segment.has(SYN) {
            return;
        }
        self.agree(segment, now_ns);
        if acks {
            self.una = segment.ack;
            if let Some((end, sent_ns)) = self.timed.take()
                && end == segment.ack
            {
                self.rtt.sample(now_ns.saturating_sub(sent_ns));
            }
            self.window = usize::from(segment.window);
            self.establish(segment, now_ns);
            self.acks_now = true;
        } else {
            // Both began at once.
            self.state = TcpState::SynReceived;
            self.send_syn(now_ns);
        }
    }

    /// Takes over what the other side's SYN says.
    pub(super) fn agree(&mut self, segment: &Segment<'_>, now_ns: u64) {
        let options = &segment.options;
        self.rcv_nxt = segment.seq.plus(1);
        self.rcv_edge = self.rcv_nxt;
        self.peer_mss = options.mss.map_or(536, usize::from).max(64);
        match options.scale {
            Some(scale) => self.send_scale = scale,
            None => (self.send_scale, self.receive_scale) = (0, 0),
        }
        self.has_sack &= options.sack_ok;
        match (self.stamps.as_mut(), options.stamps) {
            (Some(stamps), Some((value, _))) => (stamps.recent, stamps.recent_ns) = (value, now_ns),
            _ => self.stamps = None,
        }
        self.fit_path(self.path_mtu);
        self.congestion = super::congestion::Congestion::new(self.tuning.algorithm, self.mss);
    }

    /// The handshake is over: `segment` was its last or acknowledges it.
    pub(super) fn establish(&mut self, segment: &Segment<'_>, now_ns: u64) {
        self.state = TcpState::Established;
        (self.window_seq, self.window_ack) = (segment.seq, segment.ack);
        self.max_window = self.window;
        (self.resent_to, self.lost_to) = (self.una, self.una);
        (self.heard_ns, self.received_ns, self.stalled_ns) = (now_ns, now_ns, now_ns);
        self.due.resend_ns = NEVER;
        self.rtt.backoff = 0;
        self.start_keeping(now_ns);
        self.effects.wakes = true;
        self.effects.event = Some(Event::Established);
    }

    /// Whether a segment is older than what came before it, by its time stamp.
    fn is_old(&mut self, segment: &Segment<'_>, now_ns: u64) -> bool {
        let (Some(stamps), Some((value, _))) = (self.stamps, segment.options.stamps) else { return false };
        let is_older = value.wrapping_sub(stamps.recent).cast_signed() < 0;
        let is_believed = now_ns.saturating_sub(stamps.recent_ns) < STAMP_LIFE_NS;
        if !is_older || !is_believed || segment.has(RST) {
            return false;
        }
        self.challenge(now_ns);
        true
    }

    /// Whether a segment is at least in part in the window.
    fn is_acceptable(&mut self, segment: &Segment<'_>, now_ns: u64) -> bool {
        let window = self.rcv_edge.max(self.rcv_nxt).since(self.rcv_nxt);
        let end = segment.seq.plus(segment.len());
        let starts_in = !segment.seq.is_after(self.rcv_nxt.plus(window));
        let ends_in = !end.is_before(self.rcv_nxt);
        // Numbers a half circle away look right to neither test alone.
        let fits = if segment.len() == 0 {
            starts_in && ends_in
        } else {
            ends_in && end != self.rcv_nxt && segment.seq.is_before(self.rcv_nxt.plus(window.max(1)))
        };
        if fits {
            return true;
        }
        if !segment.has(RST) {
            if self.state == TcpState::TimeWait && segment.has(FIN) {
                // Our last acknowledgement was lost.
                self.due.end_ns = now_ns.saturating_add(TIME_WAIT_NS);
            }
            if segment.has(ACK) && !segment.ack.is_after(self.nxt) && window == 0 {
                // A probe of a closed window may bring news of the other one.
                let _ = self.acknowledged(segment, now_ns);
            }
            self.challenge(now_ns);
        }
        false
    }

    /// Acknowledges what is strange, but not too often.
    pub(super) fn challenge(&mut self, now_ns: u64) {
        let second = now_ns / 1_000_000_000;
        if self.challenge.0 != second {
            self.challenge = (second, 0);
        }
        if self.challenge.1 < CHALLENGES {
            self.challenge.1 += 1;
            self.send_ack(now_ns);
        }
    }

    fn reset(&mut self) {
        match self.state {
            TcpState::SynReceived => self.fail(Errno::ECONNREFUSED),
            TcpState::TimeWait | TcpState::Closing | TcpState::LastAck => self.finish(Event::Gone),
            TcpState::CloseWait => self.fail(Errno::EPIPE),
            _ => self.fail(Errno::ECONNRESET),
        }
    }

    /// Looks at what a segment acknowledges. Whether the rest of it is to be looked at.
    fn acknowledged(&mut self, segment: &Segment<'_>, now_ns: u64) -> bool {
        let ack = segment.ack;
        if ack.is_after(self.nxt) {
            if self.state == TcpState::SynReceived {
                self.fail(Errno::ECONNREFUSED);
            } else {
                self.challenge(now_ns);
            }
            return false;
        }
        if ack.is_before(self.una) {
            // Long ago: forged, or very late (RFC 5961, section 5).
            if self.una.since(ack) > self.max_window.max(1 << 16) {
                self.challenge(now_ns);
                return false;
            }
            return true;
        }
        if self.state == TcpState::SynReceived {
            if ack == self.una {
                return false;
            }
            self.una = ack;
            self.window = usize::from(segment.window) << self.send_scale;
            self.establish(segment, now_ns);
        }
        let blocks = self.take_blocks(segment);
        let had_flight = self.flight();
        let acked = ack.since(self.una);
        let old_window = self.window;
        let is_newer = segment.seq.is_after(self.window_seq)
            || (segment.seq == self.window_seq && !ack.is_before(self.window_ack));
        if is_newer {
            self.window = usize::from(segment.window) << self.send_scale;
            self.max_window = self.max_window.max(self.window);
            (self.window_seq, self.window_ack) = (segment.seq, ack);
        }
        if acked > 0 {
            self.advance(segment, ack, acked, now_ns);
        } else if had_flight > 0
            && segment.data.is_empty()
            && !segment.has(FIN)
            && (blocks > 0 || (old_window == self.window && !self.has_sack))
        {
            self.duplicates += 1;
        }
        self.detect_loss(now_ns);
        if self.window > 0 && old_window == 0 {
            (self.probes, self.rtt.backoff) = (0, 0);
            self.due.resend_ns = NEVER;
        }
        self.after_fin(now_ns);
        true
    }

    /// What the other side has ahead of a gap. Bytes that were not known.
    fn take_blocks(&mut self, segment: &Segment<'_>) -> usize {
        if !self.has_sack {
            return 0;
        }
        let mut news = 0;
        for (from, end) in segment.options.blocks.iter().take(segment.options.block_count) {
            let is_sound = end.is_after(*from) && from.is_after(self.una) && !end.is_after(self.nxt);
            if is_sound && !from.is_before(segment.ack) {
                news += self.sacked.add(*from, *end);
            }
        }
        news
    }

    /// New bytes are acknowledged, up to `ack`.
    fn advance(&mut self, segment: &Segment<'_>, ack: Seq, acked: usize, now_ns: u64) {
        let data = ack.min(self.send_end()).max(self.data_una).since(self.data_una);
        self.send.consume(data);
        self.send.shrink();
        self.data_una = self.data_una.plus(data);
        self.una = ack;
        self.counts.bytes_acked += data as u64;
        self.sacked.forget(ack);
        self.stalled_ns = now_ns;
        self.soft_error = None;
        let echo = segment.options.stamps.map(|(_, echo)| echo).filter(|echo| *echo != 0);
        if let (Some(_), Some(echo)) = (self.stamps, echo) {
            let ms = self.stamp(now_ns).wrapping_sub(echo);
            // Of an hour at most: what the other side echoes may be anything.
            if ms < 3_600_000 {
                self.rtt.sample(u64::from(ms).max(1) * 1_000_000);
            }
            self.timed = None;
        } else if let Some((end, sent_ns)) = self.timed
            && !end.is_after(ack)
        {
            self.rtt.sample(now_ns.saturating_sub(sent_ns));
            self.timed = None;
        }
        self.rtt.backoff = 0;
        match self.recovery {
            Recovery::No => {
                self.duplicates = 0;
                if self.is_limited {
                    self.congestion.acked(acked, now_ns);
                }
            }
            Recovery::Fast(until) | Recovery::Timeout(until) if !ack.is_before(until) => {
                self.recovery = Recovery::No;
                self.duplicates = 0;
            }
            Recovery::Fast(_) => {
                // A partial acknowledgement: what follows it is lost too (RFC 6582, section 3.2).
                if !self.has_sack {
                    self.duplicates = self.duplicates.saturating_sub(acked / self.mss.max(1));
                    self.lost_to = self.lost_to.max(ack.plus(self.mss).min(self.nxt));
                }
            }
            Recovery::Timeout(_) => self.congestion.acked(acked, now_ns),
        }
        self.resent_to = self.resent_to.max(ack);
        if self.flight() == 0 {
            self.due.resend_ns = NEVER;
        } else {
            self.start_resend(now_ns);
        }
        let writable =
            self.is_starved && self.send.len().saturating_mul(3) <= self.send_limit().saturating_mul(2);
        if writable {
            self.is_starved = false;
            self.effects.wakes = true;
        }
    }

    /// Begins to make good for what is lost, when enough says so.
    fn detect_loss(&mut self, now_ns: u64) {
        let ahead = self.sacked.total();
        match self.recovery {
            Recovery::No => {
                let by_blocks = ahead > (DUPLICATES - 1) * self.mss;
                // With little under way there will be no third duplicate (RFC 5827).
                let needed = DUPLICATES.min((self.flight() / self.mss.max(1)).saturating_sub(1).max(1));
                let by_count = self.duplicates >= needed && self.flight() > 0;
                if !(by_blocks || by_count) {
                    return;
                }
                self.recovery = Recovery::Fast(self.nxt);
                let flight = self.flight();
                self.congestion.lost(flight);
                self.resent_to = self.una;
                self.lost_to = self.sacked.last().unwrap_or_else(|| self.una.plus(self.mss).min(self.nxt));
                self.timed = None;
                self.start_resend(now_ns);
            }
            Recovery::Fast(_) => {
                if let Some(last) = self.sacked.last() {
                    self.lost_to = self.lost_to.max(last);
                }
            }
            Recovery::Timeout(_) => {}
        }
    }

    /// Our FIN may have been acknowledged.
    fn after_fin(&mut self, now_ns: u64) {
        if self.fin != Fin::Sent || self.una != self.send_end().plus(1) {
            return;
        }
        match self.state {
            TcpState::FinWait1 => {
                self.state = TcpState::FinWait2;
                if self.is_orphan {
                    self.due.end_ns = now_ns.saturating_add(self.tuning.fin_timeout_ns);
                }
                self.effects.wakes = true;
            }
            TcpState::Closing => self.wait_at_end(now_ns),
            TcpState::LastAck => self.finish(Event::Gone),
            _ => {}
        }
    }

    /// Both sides ended it, this one first: its addresses are kept for a while.
    fn wait_at_end(&mut self, now_ns: u64) {
        self.state = TcpState::TimeWait;
        (self.due.resend_ns, self.due.keep_ns) = (NEVER, NEVER);
        self.due.end_ns = now_ns.saturating_add(TIME_WAIT_NS);
        self.effects.wakes = true;
        self.effects.event = Some(Event::Waits);
    }

    /// Takes the bytes and the end of a segment.
    fn take_data(&mut self, segment: &Segment<'_>, now_ns: u64) {
        if segment.len() == 0
            || !matches!(self.state, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2)
        {
            if segment.len() > 0 {
                // The other side ended it before: only a copy of what came can be this.
                self.acks_now = true;
            }
            return;
        }
        let seq = segment.seq;
        let end = seq.plus(segment.data.len());
        if self.is_deaf && end.is_after(self.rcv_nxt) {
            // Nobody will read it (RFC 1122, section 4.2.2.13).
            self.send_reset(now_ns);
            return self.finish(Event::Gone);
        }
        if segment.has(FIN) {
            self.rcv_fin.get_or_insert(end);
        }
        let from = seq.max(self.rcv_nxt);
        let limit = self.rcv_edge.min(self.rcv_fin.unwrap_or(self.rcv_edge));
        let stop = end.min(limit);
        if stop.is_after(from) {
            self.keep_data(segment, from, stop, now_ns);
        } else {
            // A copy, or a probe of a closed window.
            self.acks_now = true;
        }
        if self.rcv_fin == Some(self.rcv_nxt) && !self.is_finished {
            self.take_fin(now_ns);
        }
    }

    fn keep_data(&mut self, segment: &Segment<'_>, from: Seq, stop: Seq, now_ns: u64) {
        let skip = from.since(segment.seq);
        let len = stop.since(from);
        let Some(bytes) = segment.data.get(skip..skip + len) else { return };
        let is_next = from == self.rcv_nxt;
        if !is_next && !self.ahead.has_room() {
            self.acks_now = true;
            return;
        }
        let at = self.receive.len() + from.since(self.rcv_nxt);
        if !self.receive.put(at, bytes) {
            // No memory: the other side sends it again.
            return;
        }
        self.counts.data_in += 1;
        self.received_ns = now_ns;
        if !is_next {
            self.ahead.add(from, stop);
            self.latest = from;
            self.acks_now = true;
            return;
        }
        let had_gap = !self.ahead.is_empty();
        let mut reached = stop;
        while let Some(end) = self.ahead.take_first(reached) {
            reached = reached.max(end);
        }
        let fresh = reached.since(self.rcv_nxt);
        self.receive.extend(fresh);
        self.rcv_nxt = reached;
        self.counts.bytes_received += fresh as u64;
        self.effects.wakes = true;
        if had_gap {
            self.acks_now = true;
        } else {
            self.owe_ack(fresh, now_ns);
        }
    }

    fn take_fin(&mut self, now_ns: u64) {
        self.rcv_nxt = self.rcv_nxt.plus(1);
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt);
        (self.is_finished, self.acks_now) = (true, true);
        self.effects.wakes = true;
        match self.state {
            TcpState::Established => self.state = TcpState::CloseWait,
            TcpState::FinWait1 => self.state = TcpState::Closing,
            TcpState::FinWait2 => {
                self.send_ack(now_ns);
                self.wait_at_end(now_ns);
            }
            _ => {}
        }
    }
}
