//! Packets of virtio-vsock: receive buffers that are always posted, a transmit queue that takes copies.

use crate::mem::physical;
use crate::virtio::ring::{Notify, Part, Ring};
use crate::virtio::{LEVEL, vectors};
use alloc::vec::Vec;
use chitin_core::frame::Block;
use chitin_core::lock::SpinLock;
use chitin_proto::device::DeviceDesc;
use chitin_proto::vsock::{Header, MAX_PAYLOAD};
use chitin_sentry::platform::VsockPort;
use zerocopy::{FromBytes, IntoBytes};

const RECEIVE_QUEUE: u16 = 0;
const SEND_QUEUE: u16 = 1;
/// Receive buffers posted.
const BUFFERS: usize = 16;
/// Order of a receive buffer: 8 KiB.
const BUFFER_ORDER: u8 = 1;
const HEADER: usize = size_of::<Header>();

struct Receive {
    ring: Ring,
    /// Buffer of each head.
    buffers: Vec<Option<Block>>,
}

struct Transmit {
    ring: Ring,
    /// Packet of each head.
    packets: Vec<Option<Vec<u8>>>,
}

/// The socket device.
pub(crate) struct Vsock {
    receive: SpinLock<Receive>,
    send: SpinLock<Transmit>,
    vectors: u64,
}

impl Receive {
    fn post(&mut self, buffer: Block) {
        let part = Part { address: buffer.address(), len: buffer.size() as u32, writable: true };
        if let Some(head) = self.ring.add(&[part])
            && let Some(place) = self.buffers.get_mut(usize::from(head))
        {
            *place = Some(buffer);
        }
    }
}

impl Transmit {
    /// Frees the packets that the device has taken.
    fn reclaim(&mut self) {
        while let Some((head, _)) = self.ring.take_used() {
            if let Some(place) = self.packets.get_mut(usize::from(head)) {
                *place = None;
            }
        }
    }
}

impl Vsock {
    /// The driver of a device.
    pub(crate) fn new(device: &DeviceDesc) -> Option<Self> {
        let (receive, mut send) = (Ring::new(device, RECEIVE_QUEUE)?, Ring::new(device, SEND_QUEUE)?);
        send.notify(Notify::Never);
        let buffers = (0..receive.size()).map(|_| None).collect();
        let packets = (0..send.size()).map(|_| None).collect();
        let mut receive = Receive { ring: receive, buffers };
        receive.ring.notify(Notify::Next);
        for _ in 0..BUFFERS.min(usize::from(receive.ring.size())) {
            receive.post(Block::zeroed(BUFFER_ORDER)?);
        }
        receive.ring.kick(0);
        Some(Self {
            receive: SpinLock::new(LEVEL, receive),
            send: SpinLock::new(LEVEL, Transmit { ring: send, packets }),
            vectors: vectors(device),
        })
    }

    /// Interrupt bits of the device.
    pub(crate) fn vectors(&self) -> u64 {
        self.vectors
    }
}

impl VsockPort for Vsock {
    fn try_send(&self, header: &Header, payload: &[u8]) -> Option<()> {
        let payload = payload.get(..payload.len().min(MAX_PAYLOAD))?;
        let mut packet = Vec::new();
        packet.try_reserve_exact(HEADER + payload.len()).ok()?;
        packet.extend_from_slice(header.as_bytes());
        packet.extend_from_slice(payload);
        let part = Part {
            address: physical(packet.as_ptr()),
            len: u32::try_from(packet.len()).ok()?,
            writable: false,
        };
        let mut send = self.send.lock();
        send.reclaim();
        let before = send.ring.position();
        let head = match send.ring.add(&[part]) {
            Some(head) => head,
            None => {
                // Full: hear of the next packet taken; if one was meanwhile, there is room now.
                if !send.ring.notify(Notify::Next) {
                    return None;
                }
                send.reclaim();
                send.ring.notify(Notify::Never);
                send.ring.add(&[part])?
            }
        };
        *send.packets.get_mut(usize::from(head))? = Some(packet);
        send.ring.kick(before);
        Some(())
    }

    fn try_receive(&self, payload: &mut Vec<u8>) -> Option<Header> {
        let mut receive = self.receive.lock();
        loop {
            let Some((head, len)) = receive.ring.take_used() else {
                if receive.ring.notify(Notify::Next) {
                    continue;
                }
                return None;
            };
            let Some(buffer) = receive.buffers.get_mut(usize::from(head)).and_then(Option::take) else {
                continue;
            };
            let len = (len as usize).min(buffer.size());
            // SAFETY: the buffer belongs to this driver and the device has given it back; `len` is inside it.
            let bytes = unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast_const(), len) };
            let header = Header::read_from_prefix(bytes).ok();
            payload.clear();
            let good = header.is_some_and(|(_, rest)| {
                payload.try_reserve(rest.len()).is_ok_and(|()| {
                    payload.extend_from_slice(rest);
                    true
                })
            });
            let before = receive.ring.position();
            receive.post(buffer);
            receive.ring.kick(before);
            if let Some((header, _)) = header
                && good
            {
                return Some(header);
            }
        }
    }
}
