//! One connection: credit both ways, bytes waiting for the host, and what either side has ended.

use super::stream::{HostStream, Moved};
use crate::virtio::chain::Cursor;
use chitin_proto::vsock::{GUEST_CID, HOST_CID, Header, flag, op};
use rustix::event::epoll::EventFlags;
use std::collections::VecDeque;

/// Bytes of a connection that may wait for the host.
pub const BUFFER: u32 = 256 << 10;

/// Host and guest port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Host side.
    pub host: u32,
    /// Guest side.
    pub guest: u32,
}

/// A packet header from host to guest.
#[must_use]
pub fn header(ports: Ports, operation: u16) -> Header {
    Header {
        src_cid: HOST_CID,
        dst_cid: GUEST_CID,
        src_port: ports.host,
        dst_port: ports.guest,
        kind: 1,
        op: operation,
        ..Header::default()
    }
}

/// The guest sent more than it had credit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditExceeded;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Its ports.
    pub ports: Ports,
    /// The host end.
    pub stream: HostStream,
    waiting: VecDeque<u8>,
    peer_alloc: u32,
    peer_forwarded: u32,
    sent: u32,
    forwarded: u32,
    told: u32,
    /// The host end has been read to its end, and the guest knows.
    pub input_over: bool,
    /// The guest will send no more.
    pub guest_sends: bool,
    /// The guest will receive no more.
    pub guest_receives: bool,
    /// Nobody reads at the host end.
    output_broken: bool,
    output_ended: bool,
    /// No receive buffer was there for what could be read.
    pub starved: bool,
    /// What epoll watches for; `None`: not in the set.
    pub watched: Option<EventFlags>,
    /// epoll refuses the descriptor: it is always ready.
    pub always_ready: bool,
}

impl Connection {
    /// A connection that the guest has just asked for with `request`.
    #[must_use]
    pub const fn new(ports: Ports, stream: HostStream, request: &Header) -> Self {
        Self {
            ports,
            stream,
            waiting: VecDeque::new(),
            peer_alloc: request.buf_alloc,
            peer_forwarded: request.fwd_cnt,
            sent: 0,
            forwarded: 0,
            told: 0,
            input_over: false,
            guest_sends: true,
            guest_receives: true,
            output_broken: false,
            output_ended: false,
            starved: false,
            watched: None,
            always_ready: false,
        }
    }

    /// Takes the credit that every packet of the guest carries.
    pub const fn update_credit(&mut self, packet: &Header) {
        self.peer_alloc = packet.buf_alloc;
        self.peer_forwarded = packet.fwd_cnt;
    }

    /// Bytes the guest has room for.
    #[must_use]
    pub const fn credit(&self) -> u32 {
        self.peer_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded))
    }

    /// A header to the guest, with our credit.
    pub fn header(&mut self, operation: u16) -> Header {
        self.told = self.forwarded;
        Header { buf_alloc: BUFFER, fwd_cnt: self.forwarded, ..header(self.ports, operation) }
    }

    /// A data header; counts the bytes as sent.
    pub fn data_header(&mut self, len: u32) -> Header {
        self.sent = self.sent.wrapping_add(len);
        Header { len, ..self.header(op::RW) }
    }

    /// A header that says what the host will no longer do.
    pub fn shutdown_header(&mut self, flags: u32) -> Header {
        Header { flags, ..self.header(op::SHUTDOWN) }
    }

    /// Takes data of the guest: to the host as far as it goes, the rest waits.
    ///
    /// # Errors
    /// [`CreditExceeded`].
    pub fn take(&mut self, data: &mut Cursor<'_>) -> Result<(), CreditExceeded> {
        if self.waiting.is_empty() && self.stream.is_written() && self.stream.is_safe_to_try() {
            while !data.is_empty() && !self.output_broken {
                match self.stream.write_from(data) {
                    Moved::Bytes(n) => self.forward(n),
                    Moved::NotNow => break,
                    Moved::Over => self.output_broken = true,
                }
            }
        }
        if self.output_broken || !self.stream.is_written() {
            let n = data.skip(data.left());
            self.forward(n);
            return Ok(());
        }
        if self.waiting.len() + data.left() > BUFFER as usize {
            return Err(CreditExceeded);
        }
        let mut piece = [0; 4096];
        while !data.is_empty() {
            let n = data.read(&mut piece);
            self.waiting.extend(piece.get(..n).unwrap_or_default());
        }
        Ok(())
    }

    fn forward(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(bytes).unwrap_or(0));
    }

    /// Writes what waits, as far as it goes.
    pub fn flush(&mut self) {
        while !self.waiting.is_empty() && !self.output_broken {
            match self.stream.write(self.waiting.as_slices().0) {
                Moved::Bytes(n) => {
                    self.waiting.drain(..n);
                    self.forward(n);
                    if !self.stream.is_safe_to_try() {
                        break;
                    }
                }
                Moved::NotNow => break,
                Moved::Over => self.output_broken = true,
            }
        }
        if self.output_broken {
            self.forward(self.waiting.len());
            self.waiting.clear();
        }
        if !self.guest_sends && self.waiting.is_empty() && !self.output_ended {
            self.output_ended = true;
            self.stream.end_writes();
        }
    }

    /// Whether bytes wait for the host.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether nobody reads at the host end; tells only once.
    pub const fn take_broken(&mut self) -> bool {
        let news = self.output_broken && !self.output_ended;
        if news {
            self.output_ended = true;
        }
        news
    }

    /// Whether the guest should be told of the credit it has won since it was last told.
    #[must_use]
    pub const fn owes_credit(&self) -> bool {
        self.guest_sends && self.forwarded.wrapping_sub(self.told) >= BUFFER / 4
    }

    /// Whether reading the host end makes sense now, receive buffers aside.
    #[must_use]
    pub const fn wants_input(&self) -> bool {
        self.stream.is_read() && !self.input_over && self.guest_receives && self.credit() > 0
    }

    /// Whether nothing is left to do: all that the guest sent is written, and no side has more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let sends = self.guest_sends && self.stream.is_written();
        let receives = self.guest_receives && self.stream.is_read() && !self.input_over;
        let gone = !self.guest_sends && !self.guest_receives;
        self.waiting.is_empty() && !self.guest_sends && (gone || !(sends || receives))
    }

    /// What epoll should watch for now.
    #[must_use]
    pub fn interest(&self) -> Option<EventFlags> {
        let mut flags = EventFlags::empty();
        if self.wants_input() && !self.starved {
            flags |= EventFlags::IN;
        }
        if self.is_waiting() {
            flags |= EventFlags::OUT;
        }
        (!flags.is_empty()).then_some(flags)
    }

    /// The guest says what it will no longer do.
    pub const fn shut(&mut self, flags: u32) {
        if flags & flag::SHUTDOWN_RECV != 0 {
            self.guest_receives = false;
        }
        if flags & flag::SHUTDOWN_SEND != 0 {
            self.guest_sends = false;
        }
    }
}
