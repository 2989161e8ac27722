//! [`Connections`]: the connections over wires by their four-tuple; where segments from cards go.

use super::super::super::INNER_TABLE;
use super::super::super::Stack;
use super::super::super::checksum::Sum;
use super::super::super::endpoint::Endpoint;
use super::super::super::interface::Cast;
use super::super::super::ip::icmp::Trouble;
use super::super::super::ip::output::{Envelope, Fitting};
use super::super::super::ip::parse::word;
use super::super::super::ip::{self, Inbound};
use super::super::TcpState;
use super::super::table::Tuple;
use super::Connection;
use super::secret::Secret;
use super::segment::{ACK, Header, RST, SYN, Segment};
use super::sequence::Seq;
use crate::abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use chitin_core::lock::SpinLock;
use core::net::IpAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use hashbrown::HashMap;

/// Parts of the table, each with its own lock.
const PARTS: usize = 64;
/// With more connections than these, one whose socket is closed ends with a reset.
const CROWD: usize = 65_536;

type Part = HashMap<Tuple, Arc<Connection>, Secret>;

/// The connections over wires.
pub(in crate::net::inet) struct Connections {
    pub(super) secret: Secret,
    parts: Vec<SpinLock<Part>>,
    count: AtomicUsize,
}

impl Connections {
    pub(in crate::net::inet) fn new() -> Self {
        let secret = Secret::new();
        let parts = (0..PARTS).map(|_| SpinLock::new(INNER_TABLE, HashMap::with_hasher(secret))).collect();
        Self { secret, parts, count: AtomicUsize::new(0) }
    }

    fn part(&self, tuple: &Tuple) -> Option<&SpinLock<Part>> {
        self.parts.get(self.secret.part(tuple, PARTS))
    }

    /// The connection of a tuple.
    pub(super) fn find(&self, tuple: &Tuple) -> Option<Arc<Connection>> {
        self.part(tuple)?.lock().get(tuple).cloned()
    }

    /// Adds a connection, in place of an old one that is over.
    pub(in crate::net::inet) fn insert(&self, connection: &Arc<Connection>) {
        let tuple = connection.tuple();
        let old = self.part(&tuple).and_then(|part| part.lock().insert(tuple, connection.clone()));
        if old.is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        drop(old);
    }

    /// Whether there are so many that none may live on without a socket.
    pub(in crate::net::inet) fn is_crowded(&self) -> bool {
        self.count.load(Ordering::Relaxed) > CROWD
    }

    /// Takes a connection away, if it is still the one of its tuple.
    pub(super) fn remove(&self, tuple: &Tuple, connection: &Connection) {
        let Some(part) = self.part(tuple) else { return };
        let mut part = part.lock();
        let is_same = part.get(tuple).is_some_and(|known| core::ptr::eq(Arc::as_ptr(known), connection));
        let old = if is_same { part.remove(tuple) } else { None };
        drop(part);
        if old.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        drop(old);
    }

    /// Every connection.
    pub(in crate::net::inet) fn all(&self) -> Vec<Arc<Connection>> {
        self.parts.iter().flat_map(|part| part.lock().values().cloned().collect::<Vec<_>>()).collect()
    }
}

/// Own and other address of a packet between ports.
fn tuple_of(packet: &Inbound<'_>, from: u16, to: u16) -> Tuple {
    let scope = |ip: IpAddr| {
        if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) { packet.device } else { 0 }
    };
    let own = Endpoint { ip: packet.to, port: to, scope: scope(packet.to) };
    (own, Endpoint { ip: packet.from, port: from, scope: scope(packet.from) })
}

impl Stack {
    /// Takes a segment in, if it is of a connection. Whether it was.
    pub(in crate::net::inet) fn take_known(&self, packet: &Inbound<'_>, trusts: bool, now_ns: u64) -> bool {
        let (Some(from), Some(to)) = (word(packet.payload, 0), word(packet.payload, 2)) else { return true };
        let Some(connection) = self.tcp.wire.find(&tuple_of(packet, from, to)) else { return false };
        let Some(segment) = Segment::read(packet, trusts) else { return true };
        if connection.gives_way(&segment) {
            return false;
        }
        connection.with(|engine| engine.segment(&segment, now_ns));
        true
    }

    /// Takes a segment from a card in.
    pub(in crate::net::inet) fn take_segment(&self, packet: &Inbound<'_>, trusts: bool, now_ns: u64) {
        if packet.cast != Cast::Uni {
            return;
        }
        let Some(segment) = Segment::read(packet, trusts) else { return };
        let tuple = tuple_of(packet, segment.from, segment.to);
        if let Some(connection) = self.tcp.wire.find(&tuple) {
            if !connection.gives_way(&segment) {
                return connection.with(|engine| engine.segment(&segment, now_ns));
            }
            self.tcp.wire.remove(&tuple, &connection);
        }
        self.take_stray(packet, &tuple, &segment, now_ns);
    }

    /// A segment of no connection: for a listener, or nobody.
    fn take_stray(&self, packet: &Inbound<'_>, tuple: &Tuple, segment: &Segment<'_>, now_ns: u64) {
        let (own, other) = *tuple;
        let hash = usize::from(other.port);
        let listener = self.tcp.ports.lock().find(own, other, hash).and_then(|listener| listener.upgrade());
        let is_taken = listener.is_some_and(|listener| listener.hear(packet, tuple, segment, now_ns));
        if !is_taken && !segment.has(RST) {
            self.refuse_segment(packet, segment);
        }
    }

    /// Answers with a reset (RFC 9293, section 3.10.7.1).
    fn refuse_segment(&self, packet: &Inbound<'_>, segment: &Segment<'_>) {
        let (seq, ack) = if segment.has(ACK) {
            (segment.ack, None)
        } else {
            (Seq(0), Some(segment.seq.plus(segment.len())))
        };
        self.counts.tcp_refused();
        let mut header = Header::new((segment.to, segment.from), seq, ack, RST, 0);
        self.send_bare(packet, &mut header);
    }

    /// Sends a header alone in answer to a packet.
    pub(super) fn send_bare(&self, packet: &Inbound<'_>, header: &mut Header) {
        let (from, to) = (packet.to, packet.from);
        let scoped = matches!(to, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let back = Endpoint { ip: to, port: 0, scope: if scoped { packet.device } else { 0 } };
        let Some(hop) = self.hop_back(back, packet.device) else { return };
        let len = header.len();
        let bytes = header.seal(|bytes| Sum::pseudo(from, to, ip::TCP, len).add(bytes).finish());
        let fitting = Fitting::Want;
        let envelope = Envelope { from, to, protocol: ip::TCP, ttl: 64, tos: 0, fitting };
        let _ = self.send_packet(&hop, &envelope, bytes);
    }

    /// A segment that was sent met with trouble.
    pub(in crate::net::inet) fn tcp_trouble(
        &self,
        own: Endpoint,
        other: Endpoint,
        sequence: u32,
        trouble: Trouble,
    ) {
        let Some(connection) = self.tcp.wire.find(&(own, other)) else { return };
        connection.with(|engine| {
            // What was not under way cannot have met with anything (RFC 5927, section 4.1).
            let seq = Seq(sequence);
            if seq.is_before(engine.una) || !seq.is_before(engine.nxt) {
                return;
            }
            if trouble.errno == Errno::EMSGSIZE {
                return engine.path_shrank(usize::try_from(trouble.info).unwrap_or(1280), now_ns());
            }
            if matches!(engine.state, TcpState::SynSent | TcpState::SynReceived) {
                // As on Linux: a host or net that cannot be reached now may be later, but nobody waits for that.
                engine.fail(trouble.errno);
            } else {
                engine.soft_error = Some(trouble.errno);
            }
        });
    }
}

impl Connection {
    /// Whether it is over and makes place for the SYN of a new one with the same addresses (RFC 6191).
    fn gives_way(&self, segment: &Segment<'_>) -> bool {
        if !segment.has(SYN) || segment.has(ACK) || segment.has(RST) {
            return false;
        }
        let engine = self.engine.lock();
        let is_newer = match (engine.stamps, segment.options.stamps) {
            (Some(known), Some((value, _))) if value != known.recent => {
                value.wrapping_sub(known.recent).cast_signed() > 0
            }
            _ => segment.seq.is_after(engine.rcv_nxt),
        };
        engine.state == TcpState::Close || (engine.state == TcpState::TimeWait && is_newer)
    }
}
