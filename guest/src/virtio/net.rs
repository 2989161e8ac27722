//! Network cards: virtio-net with one queue pair ([`chitin_proto::net`]).
//!
//! A frame that is sent is copied into a buffer of its own, with its header in front, and freed when the device has taken
//! it; no interrupt tells that unless the queue was full. A frame that is received lies in one page or several, which go back
//! to the ring at once. The ring begins with few pages and gets more when the device has used most of them.

use crate::mem::physical;
use crate::virtio::ring::{Notify, Part, Ring};
use crate::virtio::{LEVEL, vectors};
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::SpinLock;
use chitin_proto::device::DeviceDesc;
use chitin_proto::net::{CONFIG_MAC, CONFIG_MTU, ETHERNET_HEADER, Header, MAX_FRAME, feature, flag, gso};
use chitin_sentry::platform::{NetPort, Offload};
use zerocopy::{FromBytes, IntoBytes};

const RECEIVE_QUEUE: u16 = 0;
const SEND_QUEUE: u16 = 1;
/// Receive pages at first; the longest frame needs seventeen.
const FIRST_PAGES: usize = 32;
/// Most bytes that the device may have to send.
const MAX_IN_FLIGHT: usize = 4 << 20;
/// Buffers of at most this capacity are kept for later frames, so many of them.
const SPARE_CAPACITY: usize = 2048;
const MAX_SPARE: usize = 64;
const HEADER: usize = size_of::<Header>();

struct Receive {
    ring: Ring,
    /// Page of each head.
    pages: Vec<Option<Frame>>,
    /// Pages in all.
    count: usize,
    /// A frame of which buffers are still missing.
    partial: Option<Partial>,
}

struct Partial {
    header: Header,
    bytes: Vec<u8>,
    missing: u16,
    /// It is dropped when it is whole.
    is_bad: bool,
}

struct Transmit {
    ring: Ring,
    /// Frame of each head.
    frames: Vec<Option<Vec<u8>>>,
    in_flight: usize,
    spare: Vec<Vec<u8>>,
    /// Ring position of which the device was told.
    told: u16,
}

/// A card.
pub(crate) struct Net {
    mac: [u8; 6],
    mtu: u16,
    features: u64,
    receive: SpinLock<Receive>,
    send: SpinLock<Transmit>,
    vectors: u64,
}

impl Receive {
    fn post(&mut self, page: Frame) {
        let part = Part { address: page.address(), len: FRAME_SIZE as u32, writable: true };
        if let Some(head) = self.ring.add(&[part])
            && let Some(place) = self.pages.get_mut(usize::from(head))
        {
            *place = Some(page);
        }
    }

    /// Adds up to `count` pages to the ring.
    fn grow(&mut self, count: usize) {
        let room = usize::from(self.ring.size()).saturating_sub(self.count);
        for _ in 0..count.min(room) {
            // Without memory it stays as it is.
            let Some(page) = Frame::uncleared() else { break };
            self.post(page);
            self.count += 1;
        }
    }

    /// Takes a buffer that the device has filled. True when a frame is whole.
    fn take(&mut self) -> Option<bool> {
        let (head, len) = self.ring.take_used()?;
        let page = self.pages.get_mut(usize::from(head)).and_then(Option::take)?;
        let len = (len as usize).min(FRAME_SIZE);
        // SAFETY: the page belongs to this driver, and the device has given it back; `len` is inside it.
        let mut bytes = unsafe { core::slice::from_raw_parts(page.as_ptr().cast_const(), len) };
        let partial = self.partial.get_or_insert_with(|| Partial {
            header: Header::default(),
            bytes: Vec::new(),
            missing: 0,
            is_bad: false,
        });
        if partial.missing == 0 {
            let (header, rest) = Header::read_from_prefix(bytes).unwrap_or_default();
            (partial.header, bytes) = (header, rest);
            partial.missing = header.buffers.max(1);
            partial.bytes.clear();
            partial.is_bad = false;
        }
        partial.missing -= 1;
        let fits = partial.bytes.len() + bytes.len() <= MAX_FRAME;
        if fits && partial.bytes.try_reserve(bytes.len()).is_ok() {
            partial.bytes.extend_from_slice(bytes);
        } else {
            partial.is_bad = true;
        }
        let is_whole = partial.missing == 0;
        self.post(page);
        Some(is_whole)
    }
}

impl Transmit {
    /// Frees the frames that the device has taken.
    fn reclaim(&mut self) {
        while let Some((head, _)) = self.ring.take_used() {
            let frame = self.frames.get_mut(usize::from(head)).and_then(Option::take);
            let Some(frame) = frame else { continue };
            self.in_flight = self.in_flight.saturating_sub(frame.len());
            if frame.capacity() <= SPARE_CAPACITY && self.spare.len() < MAX_SPARE {
                self.spare.push(frame);
            }
        }
    }

    /// Queues a frame that has its header; gives it back when there is no room.
    fn add(&mut self, frame: Vec<u8>) -> Result<(), Vec<u8>> {
        let Ok(len) = u32::try_from(frame.len()) else { return Ok(()) };
        if self.in_flight > 0 && self.in_flight + frame.len() > MAX_IN_FLIGHT {
            return Err(frame);
        }
        let part = Part { address: physical(frame.as_ptr()), len, writable: false };
        let Some(head) = self.ring.add(&[part]) else { return Err(frame) };
        self.in_flight += frame.len();
        if let Some(place) = self.frames.get_mut(usize::from(head)) {
            *place = Some(frame);
        }
        Ok(())
    }

    fn tell(&mut self) {
        let told = core::mem::replace(&mut self.told, self.ring.position());
        if told != self.told {
            self.ring.kick(told);
        }
    }
}

impl Net {
    /// The driver of a device.
    pub(crate) fn new(device: &DeviceDesc) -> Option<Self> {
        let (receive, mut send) = (Ring::new(device, RECEIVE_QUEUE)?, Ring::new(device, SEND_QUEUE)?);
        send.notify(Notify::Never);
        let pages = (0..receive.size()).map(|_| None).collect();
        let frames = (0..send.size()).map(|_| None).collect();
        let mut receive = Receive { ring: receive, pages, count: 0, partial: None };
        receive.ring.notify(Notify::Next);
        receive.grow(FIRST_PAGES);
        receive.ring.kick(0);
        let transmit = Transmit { ring: send, frames, in_flight: 0, spare: Vec::new(), told: 0 };
        let config = &device.config;
        Some(Self {
            mac: *config.get(CONFIG_MAC..)?.first_chunk()?,
            mtu: u16::from_le_bytes(*config.get(CONFIG_MTU..)?.first_chunk()?),
            features: device.features,
            receive: SpinLock::new(LEVEL, receive),
            send: SpinLock::new(LEVEL, transmit),
            vectors: vectors(device),
        })
    }

    /// Interrupt bits of the device.
    pub(crate) fn vectors(&self) -> u64 {
        self.vectors
    }
}

/// A buffer with header and frame; `None` for what no card could send.
fn assemble(mut buffer: Vec<u8>, parts: &[&[u8]], offload: Offload) -> Option<Vec<u8>> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if !(ETHERNET_HEADER..=MAX_FRAME).contains(&len) {
        return None;
    }
    buffer.clear();
    buffer.try_reserve(HEADER + len).ok()?;
    buffer.extend_from_slice(Header::default().as_bytes());
    for part in parts {
        buffer.extend_from_slice(part);
    }
    if let Some(start) = offload.checksum_start {
        let header = header_of(buffer.get(HEADER..)?, start, offload)?;
        buffer.get_mut(..HEADER)?.copy_from_slice(header.as_bytes());
    }
    Some(buffer)
}

/// The header that asks for a checksum, and for segments if it is to be; `None` when the frame does not fit that.
fn header_of(frame: &[u8], start: u16, offload: Offload) -> Option<Header> {
    let transport = frame.get(usize::from(start)..)?;
    let end = usize::from(offload.checksum_offset) + 2;
    if usize::from(start) < ETHERNET_HEADER || end > transport.len() {
        return None;
    }
    let mut header = Header {
        flags: flag::NEEDS_CSUM,
        checksum_start: start,
        checksum_offset: offload.checksum_offset,
        ..Header::default()
    };
    if offload.segment_bytes > 0 {
        header.segmentation = match frame.get(ETHERNET_HEADER)? >> 4 {
            4 => gso::TCPV4,
            _ => gso::TCPV6,
        };
        header.segment_bytes = offload.segment_bytes;
        // The data offset of the TCP header, in words.
        let words = u16::from(transport.get(12)? >> 4);
        header.header_bytes = start.checked_add(words * 4)?;
        if words < 5 || usize::from(header.header_bytes) > frame.len() {
            return None;
        }
    }
    Some(header)
}

/// What the device says of a frame; `None` when it does not fit the frame.
fn offload_of(header: &Header, len: usize) -> Option<Offload> {
    let mut offload = Offload { is_verified: header.flags & flag::DATA_VALID != 0, ..Offload::default() };
    if header.flags & flag::NEEDS_CSUM != 0 {
        let end = usize::from(header.checksum_start) + usize::from(header.checksum_offset) + 2;
        if end > len {
            return None;
        }
        offload.checksum_start = Some(header.checksum_start);
        offload.checksum_offset = header.checksum_offset;
    }
    match header.segmentation {
        gso::NONE => {}
        gso::TCPV4 | gso::TCPV6 => offload.segment_bytes = header.segment_bytes,
        _ => return None,
    }
    Some(offload)
}

impl NetPort for Net {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> u32 {
        u32::from(self.mtu)
    }

    fn can_offload(&self) -> bool {
        let all = feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6;
        self.features & all == all
    }

    fn try_send(&self, parts: &[&[u8]], offload: Offload) -> Option<()> {
        let spare = self.send.lock().spare.pop();
        // What cannot be sent, for its own sake or for lack of memory, is lost as on a wire.
        let Some(frame) = assemble(spare.unwrap_or_default(), parts, offload) else { return Some(()) };
        let mut send = self.send.lock();
        send.reclaim();
        let Err(mut frame) = send.add(frame) else { return Some(()) };
        send.tell();
        loop {
            // Full: hear of it when half is taken. What was taken before that was said is not told any more.
            let half = send.ring.in_flight() / 2;
            let is_late = send.ring.notify(Notify::After(half));
            send.reclaim();
            match send.add(frame) {
                Ok(()) => {
                    send.ring.notify(Notify::Never);
                    return Some(());
                }
                Err(_) if !is_late => return None,
                Err(back) => frame = back,
            }
        }
    }

    fn flush(&self) {
        self.send.lock().tell();
    }

    fn try_receive(&self, frame: &mut Vec<u8>) -> Option<Offload> {
        let mut receive = self.receive.lock();
        let before = receive.ring.position();
        let used = usize::from(receive.ring.waiting());
        if used > receive.count / 2 {
            let more = receive.count;
            receive.grow(more);
        }
        let offload = loop {
            match receive.take() {
                Some(true) => {
                    let Some(partial) = receive.partial.as_mut() else { continue };
                    if partial.is_bad {
                        continue;
                    }
                    if let Some(offload) = offload_of(&partial.header, partial.bytes.len()) {
                        core::mem::swap(frame, &mut partial.bytes);
                        break Some(offload);
                    }
                }
                Some(false) => {}
                None if receive.ring.notify(Notify::Next) => {}
                None => break None,
            }
        };
        receive.ring.kick(before);
        offload
    }
}
