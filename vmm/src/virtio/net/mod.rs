//! virtio-net (virtio 1.2, section 5.1) over a TAP device: one queue pair, served by a thread of its own.
//!
//! Frames go straight between the TAP and guest memory. Towards the guest a frame fills as many receive buffers as it needs;
//! the TAP is read only while the ring has room for the longest, because what does not fit would be lost. From the guest the
//! header is copied and checked before the host sees it ([`header`]). Limits hold frames back ([`limiter`]): from the guest in
//! its ring, towards it in the TAP's queue.

pub mod header;
pub mod limiter;
pub mod tap;
#[cfg(test)]
mod tests;

use super::chain::{Chain, Cursor};
use super::io::{read_frame, write_frame};
use super::queue::VirtQueue;
use super::{DeviceSpec, FEATURE_EVENT_IDX, FEATURE_VERSION_1, Violation, VirtioDevice};
use crate::machine::memory::GuestRam;
use chitin_proto::device::{CONFIG_SIZE, kind};
use chitin_proto::net::{CONFIG_MAC, CONFIG_MTU, ETHERNET_HEADER, Header, MAX_CARDS, MAX_FRAME, feature};
use chitin_proto::vmm::{Card, CardStats, FrameStats, RateLimit};
use limiter::Limiter;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tap::Tap;
use zerocopy::IntoBytes;

const RX: usize = 0;
const TX: usize = 1;
/// Descriptors per queue.
const QUEUE_SIZE: u16 = 256;
/// Frames served before the other direction gets its turn.
const BATCH: usize = 64;
/// Frames given to the guest before it is told, if it wants to be.
const TELL: usize = 16;
const HEADER_SIZE: usize = size_of::<Header>();
/// Room that the longest frame and its header need.
const ROOM: usize = HEADER_SIZE + MAX_FRAME;
/// Most pieces of receive buffers for one frame; readv(2) takes 1024, one is the header.
const MAX_PIECES: usize = 1023;
/// Queue names, for each card.
const NAMES: [[&str; 2]; MAX_CARDS] = [
    ["net0.rx", "net0.tx"],
    ["net1.rx", "net1.tx"],
    ["net2.rx", "net2.tx"],
    ["net3.rx", "net3.tx"],
    ["net4.rx", "net4.tx"],
    ["net5.rx", "net5.tx"],
    ["net6.rx", "net6.tx"],
    ["net7.rx", "net7.tx"],
];

/// Counters of one direction.
#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    large: AtomicU64,
}

impl Counters {
    fn passed(&self, header: &Header, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.large.fetch_add(u64::from(header.segmentation != 0), Ordering::Relaxed);
    }

    fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> FrameStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FrameStats {
            frames: read(&self.frames),
            bytes: read(&self.bytes),
            dropped: read(&self.dropped),
            large: read(&self.large),
        }
    }
}

/// Counters of a card.
#[derive(Debug, Default)]
pub struct NetCounters {
    received: Counters,
    sent: Counters,
}

impl NetCounters {
    /// Their values.
    #[must_use]
    pub fn read(&self) -> CardStats {
        CardStats { received: self.received.read(), sent: self.sent.read() }
    }
}

/// What becomes of the TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Frames may come.
    Up,
    /// The guest has not given enough receive buffers.
    Starved,
    /// The host's end is gone.
    Lost,
}

/// A direction's limit.
#[derive(Debug)]
struct Pace {
    limiter: Limiter,
    /// Nothing goes through before.
    held_until: Option<Instant>,
}

impl Pace {
    fn new(limit: RateLimit) -> Self {
        Self { limiter: Limiter::new(limit), held_until: None }
    }

    /// Whether a frame has to wait.
    fn holds(&mut self) -> bool {
        self.held_until = self.limiter.closed_until(Instant::now);
        self.held_until.is_some()
    }
}

/// The device.
#[derive(Debug)]
pub struct Net {
    ram: Arc<GuestRam>,
    queues: Vec<VirtQueue>,
    tap: Tap,
    link: Link,
    /// By queue.
    pace: [Pace; 2],
    counters: Arc<NetCounters>,
}

impl Net {
    /// What the guest is told of card `index`.
    #[must_use]
    pub fn spec(index: usize, card: &Card, tap: &Tap) -> DeviceSpec {
        let mut config = [0; CONFIG_SIZE];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = config.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(CONFIG_MAC, &card.mac);
        put(CONFIG_MTU, &card.mtu.to_le_bytes());
        let to_host = feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6;
        let told = feature::MAC | feature::MTU | feature::MRG_RXBUF;
        DeviceSpec {
            kind: kind::NET,
            queue_names: NAMES.get(index).map_or(&[], |names| names),
            busy_queues: &[1],
            queues: 2,
            queue_size: QUEUE_SIZE,
            features: FEATURE_EVENT_IDX | FEATURE_VERSION_1 | told | to_host | tap.offloads(),
            config,
        }
    }

    /// A device on `queues`. The TAP is read when the guest has given buffers.
    #[must_use]
    pub fn new(ram: Arc<GuestRam>, queues: Vec<VirtQueue>, tap: Tap, limit: RateLimit) -> Self {
        let pace = [Pace::new(limit), Pace::new(limit)];
        Self { ram, queues, tap, link: Link::Starved, pace, counters: Arc::default() }
    }

    /// Its counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<NetCounters> {
        &self.counters
    }

    /// Moves frames from the TAP to the guest.
    fn receive(&mut self) -> Result<(), Violation> {
        let Some(queue) = self.queues.get_mut(RX) else { return Ok(()) };
        let mut buffers = Buffers::default();
        for turn in 1..=BATCH {
            if self.link != Link::Up || self.pace[RX].holds() {
                break;
            }
            if turn % TELL == 0 {
                queue.notify(&self.ram)?;
            }
            if !buffers.fill(queue, &self.ram)? {
                // All of them are popped, so this asks for a kick at the next one.
                if queue.wait_for_kick(&self.ram)? {
                    continue;
                }
                self.link = Link::Starved;
                break;
            }
            let mut header = Header::default();
            let rooms = buffers.chains.iter().map(|chain| &chain.writable);
            match read_frame(self.tap.as_fd(), header.as_mut_bytes(), rooms) {
                Ok(read @ HEADER_SIZE..) => {
                    buffers.give(queue, &self.ram, header, read - HEADER_SIZE)?;
                    self.counters.received.passed(&header, read - HEADER_SIZE);
                    self.pace[RX].limiter.pass(read - HEADER_SIZE, Instant::now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_passing(&error) => self.counters.received.dropped(),
                Ok(_) | Err(_) => self.link = Link::Lost,
            }
        }
        for _ in buffers.chains {
            queue.unpop();
        }
        queue.notify(&self.ram)
    }

    /// Moves frames from the guest to the TAP.
    fn send(&mut self) -> Result<(), Violation> {
        let Some(queue) = self.queues.get_mut(TX) else { return Ok(()) };
        for _ in 0..BATCH {
            if self.pace[TX].holds() {
                return queue.notify(&self.ram);
            }
            if let Some(mut chain) = queue.pop(&self.ram)? {
                self.pace[TX].limiter.pass(chain.readable.left(), Instant::now);
                let sent = pass_on(&mut chain, &self.tap, self.link, &self.counters.sent);
                sent.map_err(|rule| queue.violation(rule))?;
                queue.push(&self.ram, chain.head, 0)?;
                continue;
            }
            queue.notify(&self.ram)?;
            if !queue.wait_for_kick(&self.ram)? {
                return Ok(());
            }
        }
        // The other direction first; then here again.
        queue.notify(&self.ram)?;
        queue.kick().signal();
        Ok(())
    }
}

impl VirtioDevice for Net {
    fn kicked(&mut self, index: usize) -> Result<(), Violation> {
        let Some(queue) = self.queues.get(index) else { return Ok(()) };
        queue.kick().clear();
        if index == TX {
            return if self.pace[TX].held_until.is_some() { Ok(()) } else { self.send() };
        }
        if self.link == Link::Starved {
            self.link = Link::Up;
        }
        self.receive()
    }

    fn queues(&self) -> &[VirtQueue] {
        &self.queues
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        (self.link == Link::Up && self.pace[RX].held_until.is_none()).then(|| self.tap.as_fd())
    }

    fn source_ready(&mut self) -> Result<(), Violation> {
        self.receive()
    }

    fn deadline(&self) -> Option<Instant> {
        self.pace.iter().filter_map(|pace| pace.held_until).min()
    }

    fn deadline_passed(&mut self) -> Result<(), Violation> {
        let now = Instant::now();
        let is_over = |pace: &Pace| pace.held_until.is_some_and(|until| until <= now);
        if is_over(&self.pace[RX]) {
            self.receive()?;
        }
        if is_over(&self.pace[TX]) { self.send() } else { Ok(()) }
    }
}

/// Sends one frame; an error is the rule that the guest broke.
fn pass_on(chain: &mut Chain<'_>, tap: &Tap, link: Link, counters: &Counters) -> Result<(), String> {
    let given = chain.readable.left() + chain.writable.left();
    let Some(asked) = chain.readable.read_value::<Header>() else {
        return Err(format!("frame of {given} bytes with its header"));
    };
    let len = chain.readable.left();
    if !(ETHERNET_HEADER..=MAX_FRAME).contains(&len) || !chain.writable.is_empty() {
        return Err(format!("frame of {len} bytes, {} of them writable", chain.writable.left()));
    }
    let header = header::checked(&asked, len)
        .map_err(|what| format!("frame of {len} bytes asks for {what}: {asked:?}"))?;
    if link == Link::Lost {
        counters.dropped();
        return Ok(());
    }
    match write_frame(tap.as_fd(), header.as_bytes(), &chain.readable) {
        Ok(()) => counters.passed(&header, len),
        // The interface is down, its queue is full, or the host finds fault with a header inside the frame.
        Err(_) => counters.dropped(),
    }
    Ok(())
}

/// Whether reading may succeed later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS | libc::EINTR))
}

/// Receive buffers that the guest has given and no frame has filled.
#[derive(Debug, Default)]
struct Buffers<'r> {
    chains: VecDeque<Chain<'r>>,
    /// Place of the next frame's header: the beginning of the first chain, which it lacks then.
    head: Option<Cursor<'r>>,
    room: usize,
}

impl<'r> Buffers<'r> {
    /// Takes buffers until the longest frame fits; false when there are not enough.
    fn fill(&mut self, queue: &mut VirtQueue, ram: &'r GuestRam) -> Result<bool, Violation> {
        while self.room < ROOM {
            let Some(chain) = queue.pop(ram)? else { return Ok(false) };
            let (readable, writable) = (chain.readable.left(), chain.writable.left());
            if readable > 0 || writable < HEADER_SIZE {
                let rule = format!("receive buffer of {readable} readable and {writable} writable bytes");
                return Err(queue.violation(rule));
            }
            self.room += writable;
            self.chains.push_back(chain);
        }
        if self.chains.iter().map(|chain| chain.writable.slices().count()).sum::<usize>() > MAX_PIECES {
            return Err(queue.violation("receive buffers in too many pieces"));
        }
        if self.head.is_none() {
            self.head = self.chains.front_mut().map(|first| first.writable.split_front(HEADER_SIZE));
        }
        Ok(true)
    }

    /// Gives those that hold a frame of `len` bytes to the guest, with the header in the first.
    fn give(
        &mut self,
        queue: &mut VirtQueue,
        ram: &GuestRam,
        header: Header,
        len: usize,
    ) -> Result<(), Violation> {
        let (mut filled, mut count) = (0, 0);
        for chain in &self.chains {
            filled += chain.writable.left();
            count += 1;
            if filled >= len {
                break;
            }
        }
        if let Some(mut head) = self.head.take() {
            head.write_value(&Header { buffers: u16::try_from(count).unwrap_or(u16::MAX), ..header });
        }
        let (mut left, mut before) = (len, HEADER_SIZE);
        for chain in self.chains.drain(..count) {
            let written = chain.writable.left().min(left);
            left -= written;
            self.room -= (before + chain.writable.left()).min(self.room);
            queue.push(ram, chain.head, u32::try_from(before + written).unwrap_or(u32::MAX))?;
            before = 0;
        }
        Ok(())
    }
}
