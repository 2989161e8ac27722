//! Sending: what the windows allow, what was lost, acknowledgements (RFC 9293 section 3.8, RFC 6675, RFC 1122).

use super::super::super::card::output::{Full, Sent};
use super::super::super::checksum::Sum;
use super::super::super::ip::{
    self,
    output::{Envelope, Fitting},
};
use super::super::TcpState;
use super::engine::{Engine, Fin, NEVER, Recovery};
use super::segment::{FIN, Header, PSH, RST, SYN};
use super::sequence::Seq;
use crate::platform::Offload;
use crate::user::IoWriter;

/// Bytes of a frame that the card cuts into segments, at most.
const MOST_CUT: usize = 60 * 1024;
/// How long an acknowledgement may wait for something to go with.
const DELAYED_ACK_NS: u64 = 40_000_000;
/// How long a cork holds (tcp(7), `TCP_CORK`).
const CORK_NS: u64 = 200_000_000;

/// What a segment carries.
#[derive(Clone, Copy)]
struct Piece {
    seq: Seq,
    len: usize,
    flags: u8,
}

/// Whether a segment went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Went {
    Yes,
    /// The card has no room.
    No,
}

impl Engine {
    /// Our clock of time stamps.
    pub(super) fn stamp(&self, now_ns: u64) -> u32 {
        let ms = u32::try_from((now_ns / 1_000_000) & 0xffff_ffff).unwrap_or(0);
        self.stamps.map_or(0, |stamps| ms.wrapping_add(stamps.offset))
    }

    /// The window to offer, which never takes back what was offered; rounded as scaling makes it.
    fn offer(&mut self) -> u16 {
        let size = self.receive_window.bytes;
        let clamp = if self.tuning.window_clamp > 0 { self.tuning.window_clamp } else { usize::MAX };
        let free = size.saturating_sub(self.receive.len()).min(clamp);
        let offered = self.rcv_edge.max(self.rcv_nxt).since(self.rcv_nxt);
        // Too little to be worth a segment is not told (RFC 1122, section 4.2.3.3).
        let wanted = if free >= offered + self.mss.min(size / 2) || free < offered { free } else { offered };
        let is_syn = matches!(self.state, TcpState::SynSent | TcpState::SynReceived);
        let scale = if is_syn { 0 } else { self.receive_scale };
        let units = wanted.max(offered) >> scale;
        let field = u16::try_from(units.min(0xffff)).unwrap_or(0xffff);
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt.plus(usize::from(field) << scale));
        field
    }

    /// Sends one segment.
    fn transmit(&mut self, piece: Piece, now_ns: u64) -> Went {
        let is_syn = piece.flags & SYN != 0;
        let acks = self.state != TcpState::SynSent;
        let window = self.offer();
        let mut header =
            Header::new(self.ports, piece.seq, acks.then_some(self.rcv_nxt), piece.flags, window);
        let answers = acks;
        if is_syn {
            let mss = u16::try_from(self.own_mss()).unwrap_or(u16::MAX);
            header.put(&[2, 4]);
            header.put(&mss.to_be_bytes());
            if self.has_sack {
                header.put(&[1, 1, 4, 2]);
            }
            if !(answers && self.receive_scale == 0) {
                header.put(&[1, 3, 3, self.receive_scale]);
            }
        }
        if let Some(pointer) = self.pointer(piece.seq) {
            header.put_urgent(pointer);
        }
        if let Some(stamps) = self.stamps {
            header.put_stamps(self.stamp(now_ns), stamps.recent);
        }
        if self.has_sack && !is_syn && !self.ahead.is_empty() {
            header.put_blocks(self.ahead.blocks(self.latest));
        }
        if self.emit_piece(header, piece) == Went::No {
            return Went::No;
        }
        self.counts.segs_out += 1;
        if acks {
            (self.unacked, self.acks_now) = (0, false);
            self.due.ack_ns = NEVER;
        }
        self.sent_ns = now_ns;
        Went::Yes
    }

    /// Sends a header with the bytes that follow it.
    fn emit_piece(&mut self, header: Header, piece: Piece) -> Went {
        if piece.len == 0 {
            return self.emit(header, &[], 0);
        }
        let Some(mut buffer) = self.hop.card.spare_buffer(piece.len) else { return Went::No };
        let mut went = Went::Yes;
        if let Some(payload) = buffer.get_mut(..piece.len) {
            let skip = piece.seq.since(self.data_una);
            if self.send.copy(skip, &mut IoWriter::kernel(payload), piece.len) == piece.len {
                went = self.emit(header, payload, piece.len);
            }
        }
        self.hop.card.put_back(buffer);
        went
    }

    fn emit(&mut self, mut header: Header, payload: &[u8], data: usize) -> Went {
        let total = header.len() + payload.len();
        let (from, to) = (self.from, self.to);
        let head = ip::header_len(to);
        let offloads = self.hop.card.can_offload();
        let pseudo = Sum::pseudo(from, to, ip::TCP, total);
        let header = header
            .seal(|bytes| if offloads { pseudo.partial() } else { pseudo.add(bytes).add(payload).finish() });
        let cut = if data > self.mss { u16::try_from(self.mss).unwrap_or(0) } else { 0 };
        let offload = Offload {
            checksum_start: offloads.then(|| u16::try_from(head).unwrap_or(0)),
            checksum_offset: if offloads { 16 } else { 0 },
            is_verified: false,
            segment_bytes: cut,
        };
        let envelope = Envelope {
            from,
            to,
            protocol: ip::TCP,
            ttl: self.tuning.ttl,
            tos: self.tuning.tos,
            fitting: Fitting::Want,
        };
        let Some(outer) = ip::output::header(&envelope, total, 0, 0x4000) else { return Went::Yes };
        let parts = [outer.get(..head).unwrap_or_default(), header, payload];
        match self.hop.card.send_ip((self.hop.next, self.hop.cast), &parts, offload, Full::Refuse) {
            Sent::Refused => Went::No,
            Sent::Gone | Sent::Dropped => Went::Yes,
        }
    }

    /// What we take at most.
    fn own_mss(&self) -> usize {
        let mtu = usize::try_from(self.hop.card.mtu()).unwrap_or(1500);
        let fits = mtu.saturating_sub(ip::header_len(self.to) + 20).max(88);
        if self.tuning.max_segment > 0 { fits.min(self.tuning.max_segment) } else { fits }
    }

    /// Sets the size of segments for a path that carries packets of `mtu` bytes.
    pub(super) fn fit_path(&mut self, mtu: usize) {
        let stamps = if self.stamps.is_some() { 12 } else { 0 };
        let fits = mtu.saturating_sub(ip::header_len(self.to) + 20);
        let asked = if self.tuning.max_segment > 0 { self.tuning.max_segment } else { usize::MAX };
        let mss = fits.min(self.peer_mss).min(asked).saturating_sub(stamps).max(64);
        if mss != self.mss {
            self.mss = mss;
            self.congestion.set_mss(mss);
        }
    }

    /// Sends SYN, or SYN and ACK.
    pub(super) fn send_syn(&mut self, now_ns: u64) {
        let seq = self.data_una.before_it();
        let went = self.transmit(Piece { seq, len: 0, flags: SYN }, now_ns);
        self.nxt = self.nxt.max(seq.plus(1));
        if went == Went::Yes && self.timed.is_none() && self.rtt.backoff == 0 {
            self.timed = Some((self.nxt, now_ns));
        }
        self.due.resend_ns = now_ns.saturating_add(self.rtt.timeout_ns());
    }

    /// Sends an acknowledgement now.
    pub(super) fn send_ack(&mut self, now_ns: u64) {
        let _ = self.transmit(Piece { seq: self.nxt, len: 0, flags: 0 }, now_ns);
    }

    /// Sends a reset.
    pub(super) fn send_reset(&mut self, now_ns: u64) {
        let _ = self.transmit(Piece { seq: self.nxt, len: 0, flags: RST }, now_ns);
    }

    /// Asks the other side for an answer: with a number that it has acknowledged already.
    pub(super) fn send_probe(&mut self, now_ns: u64) {
        let seq = self.una.before_it();
        let _ = self.transmit(Piece { seq, len: 0, flags: 0 }, now_ns);
    }

    /// Bytes that are thought to be in the network.
    fn pipe(&self) -> usize {
        let sent = |from: Seq, end: Seq| {
            if end.is_after(from) { end.since(from) - self.sacked.within(from, end) } else { 0 }
        };
        if self.recovery == Recovery::No {
            return self.flight().saturating_sub(self.sacked.total());
        }
        let again = sent(self.una, self.resent_to.min(self.lost_to));
        let rest = sent(self.lost_to.max(self.una), self.nxt);
        let gone = if self.has_sack { 0 } else { self.duplicates * self.mss };
        (again + rest).saturating_sub(gone)
    }

    /// Sends all that may be sent.
    pub(super) fn output(&mut self, now_ns: u64) {
        if !matches!(
            self.state,
            TcpState::Established
                | TcpState::CloseWait
                | TcpState::FinWait1
                | TcpState::Closing
                | TcpState::LastAck
        ) {
            return;
        }
        self.is_limited = false;
        let mut progress = true;
        while progress && !self.is_blocked {
            progress = self.send_again(now_ns) || self.send_new(now_ns);
        }
        if self.acks_now {
            self.send_ack(now_ns);
        }
        self.watch(now_ns);
    }

    /// Sends a piece of what was lost. Whether it did.
    fn send_again(&mut self, now_ns: u64) -> bool {
        if self.recovery == Recovery::No {
            return false;
        }
        self.resent_to = self.resent_to.max(self.una);
        let end = self.lost_to.min(self.nxt);
        let Some((from, gap_end)) = self.sacked.gap(self.resent_to, end) else { return false };
        let is_first = self.pipe() == 0 || self.resent_to == self.una;
        if !is_first && self.pipe() + self.mss > self.congestion.window {
            return false;
        }
        let data_end = self.send_end();
        let len = gap_end.min(data_end).max(from).since(from).min(self.mss);
        let has_fin = self.fin == Fin::Sent && from.plus(len) == data_end && gap_end.is_after(data_end);
        let flags = if has_fin { FIN | PSH } else { PSH };
        if len == 0 && !has_fin {
            return false;
        }
        if self.transmit(Piece { seq: from, len, flags }, now_ns) == Went::No {
            self.is_blocked = true;
            return false;
        }
        self.counts.resent += 1;
        self.counts.bytes_resent += len as u64;
        self.resent_to = from.plus(len + usize::from(has_fin));
        self.timed = None;
        self.start_resend(now_ns);
        true
    }

    /// Sends a piece of what was not sent yet. Whether it did.
    fn send_new(&mut self, now_ns: u64) -> bool {
        let end = self.send_end();
        let unsent = if self.fin == Fin::Sent { 0 } else { end.since(self.nxt) };
        let wants_fin = self.fin == Fin::Queued;
        if unsent == 0 && !wants_fin {
            return false;
        }
        let window_end = self.una.plus(self.window);
        let offered = window_end.max(self.nxt).since(self.nxt);
        let allowed = self.congestion.window.saturating_sub(self.pipe());
        let most = if self.hop.card.can_offload() && self.pointer(self.nxt).is_none() {
            (MOST_CUT / self.mss).max(1) * self.mss
        } else {
            self.mss
        };
        let mut len = unsent.min(offered).min(most);
        if allowed < len.min(self.mss) || (len > 0 && allowed == 0) {
            self.is_limited = true;
            return false;
        }
        if len > self.mss {
            // Whole segments, of what congestion allows; a rest goes by the rules below.
            let whole = len.min(allowed.max(self.mss)) / self.mss * self.mss;
            self.is_limited |= allowed < len;
            len = whole;
        }
        let is_last = len == unsent;
        if len < self.mss && unsent > 0 && !self.may_send_small(len, is_last, wants_fin, now_ns) {
            return false;
        }
        let has_fin = wants_fin && is_last;
        if len == 0 && !has_fin {
            return false;
        }
        let flags = if has_fin {
            FIN | PSH
        } else if is_last {
            PSH
        } else {
            0
        };
        if self.flight() == 0 && now_ns.saturating_sub(self.sent_ns) > self.rtt.timeout_ns() {
            self.congestion.idle();
        }
        let seq = self.nxt;
        if self.transmit(Piece { seq, len, flags }, now_ns) == Went::No {
            self.is_blocked = true;
            return false;
        }
        if self.flight() == 0 {
            self.stalled_ns = now_ns;
        }
        self.nxt = seq.plus(len + usize::from(has_fin));
        self.counts.data_out += u64::from(len > 0);
        if has_fin {
            self.fin = Fin::Sent;
        }
        if self.timed.is_none() && self.recovery == Recovery::No {
            self.timed = Some((self.nxt, now_ns));
        }
        if self.due.resend_ns == NEVER || self.probes > 0 {
            self.probes = 0;
            self.start_resend(now_ns);
        }
        self.due.cork_ns = NEVER;
        true
    }

    /// Whether a piece smaller than a segment may go (RFC 1122, section 4.2.3.4; tcp(7)).
    fn may_send_small(&mut self, len: usize, is_last: bool, wants_fin: bool, now_ns: u64) -> bool {
        if !is_last {
            // The window is in the way: large parts of it are worth a segment.
            return len > 0 && len >= self.max_window / 2;
        }
        if wants_fin {
            return true;
        }
        if self.tuning.cork || self.more {
            if self.due.cork_ns == NEVER {
                self.due.cork_ns = now_ns.saturating_add(CORK_NS);
            }
            return self.due.cork_ns <= now_ns;
        }
        self.tuning.no_delay || self.flight() == 0
    }

    /// The timer of retransmission begins anew.
    pub(super) fn start_resend(&mut self, now_ns: u64) {
        self.due.resend_ns = now_ns.saturating_add(self.rtt.timeout_ns());
    }

    /// Sees to it that something happens when nothing comes back.
    fn watch(&mut self, now_ns: u64) {
        let waits = self.send_end().is_after(self.nxt) || self.fin == Fin::Queued;
        if self.flight() > 0 || (waits && self.window == 0) {
            if self.due.resend_ns == NEVER {
                self.start_resend(now_ns);
            }
        } else if waits && self.due.cork_ns == NEVER {
            // The window is too small for what waits: as when it is closed, it is asked for.
            if self.due.resend_ns == NEVER {
                self.start_resend(now_ns);
            }
        } else {
            self.due.resend_ns = NEVER;
        }
    }

    /// An acknowledgement is owed: now, or soon.
    pub(super) fn owe_ack(&mut self, bytes: usize, now_ns: u64) {
        self.unacked += bytes;
        let quick = self.quick_acks > 0 && self.tuning.quick_ack;
        self.quick_acks = self.quick_acks.saturating_sub(1);
        if quick || self.unacked >= 2 * self.mss.min(self.peer_mss) {
            self.acks_now = true;
        } else if self.due.ack_ns == NEVER {
            self.due.ack_ns = now_ns.saturating_add(DELAYED_ACK_NS);
        }
    }
}
