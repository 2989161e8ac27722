//! Handshakes: [`Requests`], connections that a listener was asked for and that are half open, and SYNs of our own.
//!
//! A SYN is answered from the listener's queue of requests, which is bounded by its backlog. When the queue is full, the
//! answer carries all that is to be known (a SYN cookie): a flood takes no memory, and who answers it gets a connection
//! without window scaling, SACK and time stamps.

use super::super::super::Stack;
use super::super::super::endpoint::{Endpoint, Local};
use super::super::super::ip::{self, Inbound};
use super::super::super::plan::Hop;
use super::super::table::{Side, Tuple};
use super::super::{Carrier, Link, Phase, Tcp};
use super::engine::{Engine, Start, scale_for};
use super::segment::{ACK, FIN, Header, Options, RST, SYN, Segment};
use super::sequence::Seq;
use super::{Connection, Tuning};
use crate::abi::Errno;
use crate::time::Timer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use hashbrown::HashMap;

/// First time a SYN is waited to be answered.
const RESEND_NS: u64 = 1_000_000_000;

/// A connection that is half open.
#[derive(Clone, Copy)]
struct Request {
    theirs: Seq,
    ours: Seq,
    options: Options,
    device: u32,
    tries: u32,
    next_ns: u64,
}

/// Connections that are half open.
#[derive(Default)]
pub(in crate::net::inet) struct Requests {
    waiting: HashMap<Tuple, Request>,
    timer: Option<Timer>,
}

impl Requests {
    fn arm(&mut self) {
        let next = self.waiting.values().map(|request| request.next_ns).min();
        if let Some(timer) = self.timer.as_mut()
            && timer.deadline_ns() != next
        {
            timer.set(next);
        }
    }
}

/// What becomes of a segment for a listener.
enum Verdict {
    Done,
    Refuse,
    /// Answer with SYN and ACK: our number, the request's options, whether they are kept.
    Answer(Seq, Options),
    /// The handshake is over: our number and theirs.
    Open(Seq, Seq, Options),
}

impl Tcp {
    /// Hears a segment for this listener that belongs to no connection. Whether it did: otherwise it is refused.
    pub(super) fn hear(
        &self,
        packet: &Inbound<'_>,
        tuple: &Tuple,
        segment: &Segment<'_>,
        now_ns: u64,
    ) -> bool {
        let device = self.base.settings.lock().device;
        if device != 0 && device != packet.device {
            return false;
        }
        match self.judge(packet, tuple, segment, now_ns) {
            Verdict::Done => true,
            Verdict::Refuse => false,
            Verdict::Answer(ours, options) => {
                self.answer_syn(packet, segment, ours, &options, now_ns);
                true
            }
            Verdict::Open(ours, theirs, options) => {
                self.open(packet, tuple, segment, (ours, theirs), &options, now_ns);
                true
            }
        }
    }

    fn judge(&self, packet: &Inbound<'_>, tuple: &Tuple, segment: &Segment<'_>, now_ns: u64) -> Verdict {
        let secret = &self.base.stack.tcp.wire.secret;
        let queue = usize::try_from(self.base.stack.sysctls.number("ipv4/tcp_max_syn_backlog")).unwrap_or(0);
        let mut state = self.state.lock();
        let defers = state.options.defer_seconds > 0;
        let Phase::Listening(listener) = &mut state.phase else { return Verdict::Refuse };
        let is_full = listener.is_full();
        let most = queue.min(listener.backlog.max(1) * 2).max(8);
        let requests = &mut listener.requests;
        let known = requests.waiting.get(tuple).copied();
        if segment.has(RST) {
            if let Some(request) = known
                && segment.seq == request.theirs.plus(1)
            {
                requests.waiting.remove(tuple);
                requests.arm();
            }
            return Verdict::Done;
        }
        if segment.has(SYN) {
            if segment.has(ACK) || segment.has(FIN) {
                return Verdict::Refuse;
            }
            if let Some(request) = known {
                // It was sent again; one with another number is a new try.
                if request.theirs == segment.seq {
                    return Verdict::Answer(request.ours, request.options);
                }
                requests.waiting.remove(tuple);
            }
            // With no room for connections, new ones are not begun: their SYN comes again.
            if is_full {
                return Verdict::Done;
            }
            let mut options = segment.options;
            if requests.waiting.len() >= most {
                let mss = options.mss.unwrap_or(536);
                options = Options { mss: Some(mss), ..Options::default() };
                return Verdict::Answer(Seq(secret.cookie(tuple, segment.seq, mss, now_ns)), options);
            }
            let ours = Seq(secret.initial(tuple, now_ns));
            let request = Request {
                theirs: segment.seq,
                ours,
                options,
                device: packet.device,
                tries: 0,
                next_ns: now_ns.saturating_add(RESEND_NS),
            };
            requests.waiting.insert(*tuple, request);
            if requests.timer.is_none() {
                let me: alloc::sync::Weak<dyn crate::time::Expire> = self.me.clone();
                requests.timer = Some(Timer::new(me));
            }
            if requests.timer.as_ref().is_some_and(|timer| timer.deadline_ns().is_none()) {
                requests.arm();
            }
            return Verdict::Answer(ours, options);
        }
        if !segment.has(ACK) {
            return Verdict::Done;
        }
        let Some(request) = known else {
            // Perhaps the answer to a cookie.
            return match secret.check_cookie(tuple, segment, now_ns) {
                Some(_) if is_full => Verdict::Done,
                Some(mss) => {
                    let options = Options { mss: Some(mss), ..Options::default() };
                    Verdict::Open(segment.ack.before_it(), segment.seq.before_it(), options)
                }
                None => Verdict::Refuse,
            };
        };
        if segment.ack != request.ours.plus(1) {
            return Verdict::Refuse;
        }
        // The last step is heard again when there is room, or when bytes come.
        let waits = is_full || (defers && segment.data.is_empty() && !segment.has(FIN));
        if waits || segment.seq.is_before(request.theirs.plus(1)) {
            return Verdict::Done;
        }
        requests.waiting.remove(tuple);
        Verdict::Open(request.ours, request.theirs, request.options)
    }

    /// Sends SYN and ACK.
    fn answer_syn(
        &self,
        packet: &Inbound<'_>,
        segment: &Segment<'_>,
        ours: Seq,
        options: &Options,
        now_ns: u64,
    ) {
        let tuple = (Endpoint::new(packet.to, segment.to), Endpoint::new(packet.from, segment.from));
        self.send_answer(packet, (segment.to, segment.from), segment.seq, ours, options, &tuple, now_ns);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one header")]
    fn send_answer(
        &self,
        packet: &Inbound<'_>,
        ports: (u16, u16),
        theirs: Seq,
        ours: Seq,
        options: &Options,
        tuple: &Tuple,
        now_ns: u64,
    ) {
        let stack = &self.base.stack;
        let window = self.base.receive_window();
        let field = u16::try_from(window.bytes.min(0xffff)).unwrap_or(0xffff);
        let mut header = Header::new(ports, ours, Some(theirs.plus(1)), SYN, field);
        let mtu = stack.plan().card(packet.device).map_or(1500, |card| card.mtu());
        let fits = usize::try_from(mtu).unwrap_or(1500).saturating_sub(ip::header_len(packet.from) + 20);
        let asked = self.tuning().max_segment;
        let mss = if asked > 0 { fits.min(asked) } else { fits };
        header.put(&[2, 4]);
        header.put(&u16::try_from(mss).unwrap_or(u16::MAX).to_be_bytes());
        if options.sack_ok {
            header.put(&[1, 1, 4, 2]);
        }
        if options.scale.is_some() {
            header.put(&[1, 3, 3, scale_for(window.most)]);
        }
        if let Some((value, _)) = options.stamps {
            let offset = stack.tcp.wire.secret.stamp_offset(tuple);
            let ms = u32::try_from((now_ns / 1_000_000) & 0xffff_ffff).unwrap_or(0);
            header.put_stamps(ms.wrapping_add(offset), value);
        }
        stack.send_bare(packet, &mut header);
    }

    /// The handshake is over: a connection comes about and waits to be accepted.
    fn open(
        &self,
        packet: &Inbound<'_>,
        tuple: &Tuple,
        segment: &Segment<'_>,
        (ours, theirs): (Seq, Seq),
        options: &Options,
        now_ns: u64,
    ) {
        let stack = &self.base.stack;
        let (own, other) = *tuple;
        let Some(hop) = stack.hop_back(other, packet.device) else { return };
        let base = self.base.child();
        let tuning = self.tuning();
        let sharing = base.settings.lock().sharing(base.maker.creds.uid);
        let dual = base.settings.lock().dual();
        let start = base.start(hop, tuple, ours.0);
        let mut engine = Engine::new(start, tuning, &base.maker.budget, now_ns);
        let syn = Segment { seq: theirs, flags: SYN, options: *options, data: &[], ..*segment };
        engine.agree(&syn, now_ns);
        (engine.una, engine.nxt) = (ours.plus(1), ours.plus(1));
        // The window that SYN and ACK offered.
        let offered = engine.receive_window.bytes.min(0xffff);
        engine.rcv_edge = engine.rcv_nxt.plus(offered);
        engine.window = usize::from(segment.window) << engine.send_scale;
        engine.establish(segment, now_ns);
        engine.effects = super::Effects::default();
        let side = Side::new(*tuple, sharing, true);
        let connection = Connection::new(stack, side, engine, &base.events);
        let link = Arc::new(Link { tuple: *tuple, carrier: Carrier::Wire(connection.clone()) });
        let options = self.state.lock().options.clone();
        let child = Self::with(base, Phase::Open(link), Some(Local { at: own, dual }), options);
        connection.belongs_to(Arc::downgrade(&child));
        if !stack.tcp.insert(*tuple, Arc::downgrade(&child)) {
            // Somebody else made the connection meanwhile.
            return;
        }
        stack.tcp.ports.lock().add_connection(own, sharing);
        stack.tcp.wire.insert(&connection);
        stack.counts.tcp_connected();
        connection.with(|engine| engine.segment(segment, now_ns));
        if let Err(child) = self.offer(child, false) {
            child.abort();
        }
    }

    /// Time has passed for half-open connections: SYN and ACK go again, or they are given up.
    pub(in crate::net::inet) fn requests_due(&self, now_ns: u64) {
        let retries = u32::try_from(self.base.stack.sysctls.number("ipv4/tcp_synack_retries")).unwrap_or(5);
        let mut again = Vec::new();
        {
            let mut state = self.state.lock();
            let Phase::Listening(listener) = &mut state.phase else { return };
            let requests = &mut listener.requests;
            requests.waiting.retain(|tuple, request| {
                if request.next_ns > now_ns {
                    return true;
                }
                request.tries += 1;
                request.next_ns = now_ns.saturating_add(RESEND_NS << request.tries.min(6));
                if request.tries <= retries {
                    again.push((*tuple, *request));
                }
                request.tries <= retries
            });
            if let Some(timer) = requests.timer.as_mut() {
                timer.set(None);
            }
            requests.arm();
        }
        for (tuple, request) in again {
            let (own, other) = tuple;
            let packet = Inbound {
                from: other.ip,
                to: own.ip,
                protocol: ip::TCP,
                ttl: 64,
                tos: 0,
                device: request.device,
                cast: super::super::super::interface::Cast::Uni,
                payload: &[],
                whole: &[],
            };
            let plain = (Endpoint::new(own.ip, own.port), Endpoint::new(other.ip, other.port));
            let ports = (own.port, other.port);
            self.send_answer(&packet, ports, request.theirs, request.ours, &request.options, &plain, now_ns);
        }
    }

    /// Sends SYN to another host; the socket has its own address and is in the table.
    pub(in crate::net::inet) fn begin_handshake(&self, to: Endpoint, hop: Hop) -> Result<(), Errno> {
        let stack = &self.base.stack;
        let Some(local) = self.state.lock().local else { return Err(Errno::EINVAL) };
        let tuple = (local.at, to);
        let now_ns = now_ns();
        let tuning: Tuning = self.tuning();
        let start = self.base.start(hop, &tuple, stack.tcp.wire.secret.initial(&tuple, now_ns));
        let engine = Engine::new(start, tuning, &self.base.maker.budget, now_ns);
        let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
        let connection = Connection::new(stack, Side::new(tuple, sharing, false), engine, &self.base.events);
        connection.belongs_to(self.me.clone());
        let link = Arc::new(Link { tuple, carrier: Carrier::Wire(connection.clone()) });
        let old = core::mem::replace(&mut self.state.lock().phase, Phase::Handshake(link));
        drop(old);
        stack.tcp.wire.insert(&connection);
        connection.begin();
        Ok(())
    }

    /// The other side took the connection.
    pub(super) fn connected(&self, connection: &Connection) {
        let mut state = self.state.lock();
        let Phase::Handshake(link) = &state.phase else { return };
        if !link.is(connection) {
            return;
        }
        let link = link.clone();
        let old = core::mem::replace(&mut state.phase, Phase::Open(link));
        drop(state);
        drop(old);
        self.base.stack.counts.tcp_connected();
    }

    /// The connection did not come about.
    pub(super) fn wire_failed(&self, connection: &Connection, errno: Errno) {
        {
            let mut state = self.state.lock();
            let Phase::Handshake(link) = &state.phase else { return };
            if !link.is(connection) {
                return;
            }
            let old = core::mem::replace(&mut state.phase, Phase::Closed);
            state.error = Some(errno);
            (state.no_receive, state.no_send) = (true, true);
            drop(state);
            drop(old);
        }
        self.unbind();
    }

    /// The connection broke.
    pub(super) fn wire_broken(&self, connection: &Connection, errno: Errno) {
        {
            let mut state = self.state.lock();
            let Phase::Open(link) = &state.phase else { return };
            if !link.is(connection) {
                return;
            }
            let link = link.clone();
            state.error = Some(errno);
            (state.no_receive, state.no_send) = (true, true);
            let old = core::mem::replace(&mut state.phase, Phase::Over(link));
            drop(state);
            drop(old);
        }
        self.base.stack.counts.tcp_reset();
        self.unbind();
    }
}

impl super::super::super::base::Base {
    /// What a connection of this socket begins with.
    fn start(&self, hop: Hop, tuple: &Tuple, iss: u32) -> Start {
        let (own, other) = *tuple;
        let plain = (Endpoint::new(own.ip, own.port), Endpoint::new(other.ip, other.port));
        let stack: &Stack = &self.stack;
        let link = hop.card.mtu();
        let mtu = stack.paths.get(other.ip, link, now_ns());
        let receive = self.receive_window();
        Start {
            hop,
            from: own.ip,
            to: other.ip,
            ports: (own.port, other.port),
            iss,
            stamp_offset: stack.tcp.wire.secret.stamp_offset(&plain),
            mtu: usize::try_from(mtu).unwrap_or(1500),
            receive,
            send: self.wire_send_window(),
            most_receive: receive.most,
        }
    }
}
