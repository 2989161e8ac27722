//! The guest's side of a queue, for tests: puts requests into the rings by hand, well-formed or not.

use super::chain::Descriptor;
use super::queue::VirtQueue;
use crate::machine::memory::GuestRam;
use chitin_proto::device::{avail_offset, ring_bytes, used_offset};
use chitin_proto::layout::RAM_GPA;
use std::sync::Arc;

/// RAM of a test.
pub(crate) const RAM: u64 = 16 << 20;
const WRITE: u16 = 2;
const NEXT: u16 = 1;

/// A driver of one queue.
pub(crate) struct Driver {
    pub(crate) ram: Arc<GuestRam>,
    rings: u64,
    size: u16,
    next_descriptor: u16,
    avail: u16,
    seen: u16,
    buffers: u64,
}

impl Driver {
    /// A queue named `name` and its driver; `slot` keeps the memory of several apart.
    pub(crate) fn new(ram: &Arc<GuestRam>, name: &'static str, size: u16, slot: u64) -> (VirtQueue, Self) {
        let rings = RAM_GPA + (slot << 20);
        let queue = VirtQueue::new(name, size, rings).unwrap();
        let driver = Self {
            ram: Arc::clone(ram),
            rings,
            size,
            next_descriptor: 0,
            avail: 0,
            seen: 0,
            buffers: rings + ring_bytes(size),
        };
        (queue, driver)
    }

    /// Room for a buffer that is not used by another.
    pub(crate) fn buffer(&mut self, len: u64) -> u64 {
        // Round and round within the slot.
        let end = (self.rings & !0xf_ffff) + (1 << 20);
        if self.buffers + len > end {
            self.buffers = self.rings + ring_bytes(self.size);
        }
        let at = self.buffers;
        self.buffers += len.next_multiple_of(64);
        at
    }

    pub(crate) fn write_descriptor(&self, index: u16, descriptor: Descriptor) {
        self.ram.write_value(self.rings + u64::from(index) * 16, &descriptor).unwrap();
    }

    pub(crate) fn make_available(&mut self, head: u16) {
        let avail = self.rings + avail_offset(self.size);
        self.ram.write_value(avail + 4 + u64::from(self.avail % self.size) * 2, &head).unwrap();
        self.avail = self.avail.wrapping_add(1);
        self.set_avail_index(self.avail);
    }

    pub(crate) fn set_avail_index(&self, index: u16) {
        self.ram.write_value(self.rings + avail_offset(self.size) + 2, &index).unwrap();
    }

    /// Submits readable pieces and writable rooms; returns the addresses of the rooms.
    pub(crate) fn submit(&mut self, readable: &[&[u8]], writable: &[u32]) -> Vec<u64> {
        let head = self.next_descriptor;
        let count = readable.len() + writable.len();
        let mut rooms = Vec::new();
        let mut left = count;
        let mut put = |driver: &mut Self, addr: u64, len: u32, flags: u16| {
            left -= 1;
            let index = driver.next_descriptor;
            driver.next_descriptor = (index + 1) % driver.size;
            let flags = flags | if left > 0 { NEXT } else { 0 };
            driver.write_descriptor(index, Descriptor { addr, len, flags, next: driver.next_descriptor });
        };
        for piece in readable {
            let at = self.buffer(piece.len() as u64);
            self.ram.write(at, piece).unwrap();
            put(self, at, u32::try_from(piece.len()).unwrap(), 0);
        }
        for len in writable {
            let at = self.buffer(u64::from(*len));
            rooms.push(at);
            put(self, at, *len, WRITE);
        }
        self.make_available(head);
        rooms
    }

    /// The next returned request: head and bytes written.
    pub(crate) fn returned(&mut self) -> Option<(u32, u32)> {
        let used = self.rings + used_offset(self.size);
        let index: u16 = self.ram.read_value(used + 2).unwrap();
        if index == self.seen {
            return None;
        }
        let at = used + 4 + u64::from(self.seen % self.size) * 8;
        self.seen = self.seen.wrapping_add(1);
        Some((self.ram.read_value(at).unwrap(), self.ram.read_value(at + 4).unwrap()))
    }

    pub(crate) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read(at, &mut bytes).unwrap();
        bytes
    }
}
