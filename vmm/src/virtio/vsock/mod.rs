//! virtio-vsock (virtio 1.2, section 5.10): stream connections that the guest opens, each bridged to a descriptor that
//! the shim attached to the host port.
//!
//! Data goes straight between guest memory and the descriptor; what the host does not take at once waits in a bounded
//! buffer, and credit keeps the guest from sending more. Runs in the main loop's thread.

pub mod connection;
pub mod stream;
#[cfg(test)]
mod tests;

use super::chain::Chain;
use super::queue::VirtQueue;
use super::{DeviceSpec, FEATURE_EVENT_IDX, FEATURE_VERSION_1, Violation};
use crate::machine::memory::GuestRam;
use crate::sandbox::poll::{Poll, Source};
use chitin_proto::device::{CONFIG_SIZE, kind};
use chitin_proto::vmm::Direction;
use chitin_proto::vsock::{GUEST_CID, HOST_CID, Header, MAX_PAYLOAD, flag, op};
use connection::{Connection, Ports, header};
use rustix::event::epoll::EventFlags;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{HostStream, Moved};

const RX: usize = 0;
const TX: usize = 1;
const QUEUE_SIZE: u16 = 128;
/// Packets served or made in one go before others get their turn.
const BATCH: usize = 64;
/// Answers that may wait for receive buffers.
const MAX_ANSWERS: usize = 1024;
/// Most connections of a guest.
const MAX_CONNECTIONS: usize = 4096;
const HEADER_SIZE: usize = size_of::<Header>();

/// Why a stream could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The port has one that no connection has taken yet.
    #[error("vsock port {0} has a stream already")]
    Taken(u32),
    /// The descriptor is of no use.
    #[error("the descriptor for vsock port {0} cannot be used: {1}")]
    Descriptor(u32, std::io::Error),
}

/// The device.
#[derive(Debug)]
pub struct Vsock {
    ram: Arc<GuestRam>,
    poll: Arc<Poll>,
    queues: Vec<VirtQueue>,
    attached: HashMap<u32, HostStream>,
    connections: HashMap<u32, Connection>,
    by_ports: HashMap<Ports, u32>,
    next_id: u32,
    answers: VecDeque<Header>,
    closed: Vec<u32>,
}

impl Vsock {
    /// What the guest is told: its CID.
    #[must_use]
    pub const fn spec() -> DeviceSpec {
        let mut config = [0; CONFIG_SIZE];
        // The CID is a small number: the low byte is all of it.
        config[0] = GUEST_CID.to_le_bytes()[0];
        DeviceSpec {
            kind: kind::VSOCK,
            queue_names: &["vsock.rx", "vsock.tx", "vsock.event"],
            busy_queues: &[1],
            queues: 3,
            queue_size: QUEUE_SIZE,
            features: FEATURE_EVENT_IDX | FEATURE_VERSION_1,
            config,
        }
    }

    /// A device on `queues` whose streams are watched by `poll`.
    #[must_use]
    pub fn new(ram: Arc<GuestRam>, poll: Arc<Poll>, queues: Vec<VirtQueue>) -> Self {
        Self {
            ram,
            poll,
            queues,
            attached: HashMap::new(),
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            next_id: 0,
            answers: VecDeque::new(),
            closed: Vec::new(),
        }
    }

    /// The queues, for waiting and counting.
    #[must_use]
    pub fn queues(&self) -> &[VirtQueue] {
        &self.queues
    }

    /// Bridges the next connection of the guest to host port `port` to `fd`.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&mut self, port: u32, direction: Direction, fd: OwnedFd) -> Result<(), AttachError> {
        if self.attached.contains_key(&port) {
            return Err(AttachError::Taken(port));
        }
        let stream = HostStream::new(fd, direction).map_err(|error| AttachError::Descriptor(port, error))?;
        self.attached.insert(port, stream);
        Ok(())
    }

    /// Forgets the stream that waits for a connection to `port`, if one does.
    pub fn detach(&mut self, port: u32) {
        self.attached.remove(&port);
    }

    /// Host ports whose streams have ended since the last look.
    pub fn take_closed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closed)
    }

    /// Serves a queue that the guest has kicked.
    ///
    /// # Errors
    /// [`Violation`] ends the sandbox.
    pub fn kicked(&mut self, index: usize) -> Result<(), Violation> {
        let Some(queue) = self.queues.get(index) else { return Ok(()) };
        queue.kick().clear();
        match index {
            RX => self.feed_all(),
            TX => self.serve_tx(),
            _ => Ok(()),
        }
    }

    /// Moves bytes of a stream whose descriptor became ready.
    ///
    /// # Errors
    /// [`Violation`] ends the sandbox.
    pub fn stream_ready(&mut self, id: u32, flags: EventFlags) -> Result<(), Violation> {
        if let Some(connection) = self.connections.get_mut(&id)
            && flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP)
        {
            connection.flush();
        }
        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            self.feed(id)?;
        }
        self.settle(id);
        self.send_answers()
    }

    /// Takes all that is still in the transmit queue; the VM has ended.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn serve_rest(&mut self) -> Result<(), Violation> {
        for _ in 0..usize::from(QUEUE_SIZE) {
            let ram = Arc::clone(&self.ram);
            let Some(queue) = self.queues.get_mut(TX) else { break };
            let Some(mut chain) = queue.pop(&ram)? else { break };
            self.packet(&mut chain)?;
        }
        Ok(())
    }

    /// Writes what the guest has sent, for at most `patience`; the VM has ended.
    pub fn drain(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        for connection in self.connections.values_mut() {
            connection.shut(flag::SHUTDOWN_SEND | flag::SHUTDOWN_RECV);
            connection.flush();
            while connection.is_waiting() {
                let left = end.saturating_duration_since(Instant::now());
                let Ok(timeout) = rustix::event::Timespec::try_from(left) else { break };
                let mut fds = [rustix::event::PollFd::new(&connection.stream, rustix::event::PollFlags::OUT)];
                if left.is_zero() || rustix::event::poll(&mut fds, Some(&timeout)).is_err() {
                    break;
                }
                connection.flush();
            }
            self.closed.push(connection.ports.host);
        }
        self.connections.clear();
    }

    fn serve_tx(&mut self) -> Result<(), Violation> {
        for _ in 0..BATCH {
            let ram = Arc::clone(&self.ram);
            let Some(queue) = self.queues.get_mut(TX) else { return Ok(()) };
            let Some(mut chain) = queue.pop(&ram)? else {
                queue.notify(&ram)?;
                if !queue.wait_for_kick(&ram)? {
                    return self.send_answers();
                }
                continue;
            };
            let head = chain.head;
            self.packet(&mut chain)?;
            if let Some(queue) = self.queues.get_mut(TX) {
                queue.push(&ram, head, 0)?;
            }
        }
        // Others first; then here again.
        if let Some(queue) = self.queues.get_mut(TX) {
            queue.notify(&self.ram)?;
            queue.kick().signal();
        }
        self.send_answers()
    }

    fn violation(&self, queue: usize, rule: impl Into<String>) -> Violation {
        let rule = rule.into();
        self.queues
            .get(queue)
            .map_or(Violation { queue: "vsock", rule: rule.clone() }, |queue| queue.violation(rule))
    }

    /// One packet of the guest.
    fn packet(&mut self, chain: &mut Chain<'_>) -> Result<(), Violation> {
        let bytes = chain.readable.left();
        let Some(packet) = chain.readable.read_value::<Header>() else {
            return Err(self.violation(TX, format!("packet of {bytes} bytes")));
        };
        let (len, operation) = (packet.len as usize, packet.op);
        if len > MAX_PAYLOAD || len > chain.readable.left() {
            return Err(self.violation(TX, format!("packet of {bytes} bytes that claims a payload of {len}")));
        }
        let ports = Ports { host: packet.dst_port, guest: packet.src_port };
        if packet.dst_cid != HOST_CID || packet.src_cid != GUEST_CID || packet.kind != 1 {
            return if operation == op::RST { Ok(()) } else { self.answer(header(ports, op::RST)) };
        }
        let Some(id) = self.by_ports.get(&ports).copied() else {
            return match operation {
                op::REQUEST => self.connect(ports, &packet),
                op::RST => Ok(()),
                _ => self.answer(header(ports, op::RST)),
            };
        };
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        connection.update_credit(&packet);
        match operation {
            op::RW => {
                let mut data = chain.readable.split_front(len);
                if !connection.guest_sends {
                    return Err(self.violation(TX, "data after the end of data"));
                }
                if connection.take(&mut data).is_err() {
                    return Err(self.violation(TX, "data beyond the credit given"));
                }
            }
            op::SHUTDOWN => {
                connection.shut(packet.flags);
                connection.flush();
            }
            op::RST => {
                connection.shut(flag::SHUTDOWN_SEND | flag::SHUTDOWN_RECV);
                connection.flush();
            }
            op::CREDIT_REQUEST => {
                let update = connection.header(op::CREDIT_UPDATE);
                self.answer(update)?;
            }
            op::CREDIT_UPDATE => {}
            // A second request for the same ports, or nonsense.
            _ => {
                connection.shut(flag::SHUTDOWN_SEND | flag::SHUTDOWN_RECV);
                connection.flush();
            }
        }
        if self.connections.get(&id).is_some_and(Connection::wants_input) {
            self.feed_if_idle(id)?;
        }
        self.settle(id);
        Ok(())
    }

    fn connect(&mut self, ports: Ports, request: &Header) -> Result<(), Violation> {
        let stream =
            if self.connections.len() < MAX_CONNECTIONS { self.attached.remove(&ports.host) } else { None };
        let Some(stream) = stream else { return self.answer(header(ports, op::RST)) };
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        let mut connection = Connection::new(ports, stream, request);
        let response = connection.header(op::RESPONSE);
        self.connections.insert(id, connection);
        self.by_ports.insert(ports, id);
        self.answer(response)?;
        self.watch(id);
        self.feed_if_idle(id)?;
        self.settle(id);
        Ok(())
    }

    /// Queues a header for the guest.
    fn answer(&mut self, header: Header) -> Result<(), Violation> {
        if self.answers.len() >= MAX_ANSWERS {
            return Err(self.violation(RX, "takes no answers"));
        }
        self.answers.push_back(header);
        Ok(())
    }

    fn send_answers(&mut self) -> Result<(), Violation> {
        let ram = Arc::clone(&self.ram);
        let Some(queue) = self.queues.get_mut(RX) else { return Ok(()) };
        while let Some(answer) = self.answers.front() {
            let Some(mut chain) = queue.pop(&ram)? else {
                // Told when there is a buffer; look once more because it may have come just now.
                if queue.wait_for_kick(&ram)? {
                    continue;
                }
                break;
            };
            if !chain.writable.write_value(answer) {
                return Err(queue.violation("receive buffer smaller than a header"));
            }
            queue.push(&ram, chain.head, u32::try_from(HEADER_SIZE).unwrap_or(0))?;
            self.answers.pop_front();
        }
        queue.notify(&ram)
    }

    /// Buffers have come: lets all starved streams read again.
    fn feed_all(&mut self) -> Result<(), Violation> {
        self.send_answers()?;
        let starved: Vec<u32> =
            self.connections.iter().filter(|(_, c)| c.starved).map(|(id, _)| *id).collect();
        for id in starved {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.starved = false;
            }
            self.feed_if_idle(id)?;
            self.settle(id);
        }
        self.send_answers()
    }

    /// Feeds streams that epoll cannot watch; others wait for their event.
    fn feed_if_idle(&mut self, id: u32) -> Result<(), Violation> {
        if self.connections.get(&id).is_some_and(|connection| connection.always_ready) {
            self.feed(id)?;
        }
        Ok(())
    }

    /// Reads a stream into receive buffers.
    fn feed(&mut self, id: u32) -> Result<(), Violation> {
        // What was answered earlier must arrive earlier.
        self.send_answers()?;
        let ram = Arc::clone(&self.ram);
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(RX) else { return Ok(()) };
        for turn in 0..=BATCH {
            if !connection.wants_input() {
                break;
            }
            if turn == BATCH {
                // Others first. epoll comes back to what it watches; for the rest a kick of our own does.
                if connection.always_ready {
                    connection.starved = true;
                    queue.kick().signal();
                }
                break;
            }
            if !self.answers.is_empty() {
                connection.starved = true;
                break;
            }
            let Some(mut chain) = queue.pop(&ram)? else {
                if queue.wait_for_kick(&ram)? {
                    continue;
                }
                connection.starved = true;
                break;
            };
            if chain.writable.left() <= HEADER_SIZE {
                return Err(queue.violation("receive buffer smaller than a header and a byte"));
            }
            let mut head = chain.writable.split_front(HEADER_SIZE);
            let most = MAX_PAYLOAD.min(connection.credit() as usize);
            let (packet, payload) = match connection.stream.read(&mut chain.writable, most) {
                Moved::Bytes(n) => (connection.data_header(u32::try_from(n).unwrap_or(0)), n),
                Moved::NotNow => {
                    queue.unpop();
                    break;
                }
                Moved::Over => {
                    connection.input_over = true;
                    (connection.shutdown_header(flag::SHUTDOWN_SEND), 0)
                }
            };
            head.write_value(&packet);
            queue.push(&ram, chain.head, u32::try_from(HEADER_SIZE + payload).unwrap_or(0))?;
        }
        queue.notify(&ram)
    }

    /// After anything has happened to a connection: tells credit, ends it when it is over, watches what it waits for.
    fn settle(&mut self, id: u32) {
        self.watch(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.take_broken() {
            let notice = connection.shutdown_header(flag::SHUTDOWN_RECV);
            self.answers.push_back(notice);
        }
        // A guest that takes no answers gets no more credit either.
        if connection.owes_credit() && self.answers.len() < MAX_ANSWERS / 2 {
            let update = connection.header(op::CREDIT_UPDATE);
            self.answers.push_back(update);
        }
        if connection.is_over() {
            self.end(id);
        }
    }

    fn end(&mut self, id: u32) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if connection.watched.is_some() {
            self.poll.remove(&connection.stream);
        }
        self.by_ports.remove(&connection.ports);
        self.answers.push_back(header(connection.ports, op::RST));
        self.closed.push(connection.ports.host);
    }

    /// Lets epoll watch for what the connection waits for.
    fn watch(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let wanted = connection.interest();
        if wanted == connection.watched || connection.always_ready {
            return;
        }
        let source = Source::Stream(id);
        let done = match (connection.watched, wanted) {
            (None, Some(flags)) => self.poll.add(&connection.stream, source, flags),
            (Some(_), Some(flags)) => self.poll.modify(&connection.stream, source, flags),
            (_, None) => {
                self.poll.remove(&connection.stream);
                Ok(())
            }
        };
        match done {
            Ok(()) => connection.watched = wanted,
            // Regular files and the like: EPERM.
            Err(_) => {
                connection.always_ready = true;
                connection.stream.trust();
                connection.flush();
            }
        }
    }
}
