//! A split virtqueue (virtio 1.2, section 2.7) with `VIRTIO_F_EVENT_IDX`, driver side.
//!
//! The device writes the used ring; its ids and lengths are checked before use. A device that gives back what it was not
//! given is not talked to any more ([`Ring::is_broken`]).

use crate::arch::cpu;
use crate::log::log;
use crate::mem::direct;
use alloc::vec::Vec;
use chitin_proto::device::{DeviceDesc, avail_offset, ring_bytes, used_offset};
use core::sync::atomic::{Ordering, fence};

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Part of a request: memory that the device reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Guest-physical address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u32,
    /// The device writes it.
    pub(crate) writable: bool,
}

/// When the device shall interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// At the next request that it gives back.
    Next,
    /// When it has given back that many more.
    After(u16),
    /// Not at all.
    Never,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Used {
    id: u32,
    len: u32,
}

/// A virtqueue.
pub(crate) struct Ring {
    descriptors: *mut Descriptor,
    available: *mut u16,
    used: *mut u16,
    size: u16,
    index: u16,
    doorbell: u16,
    /// Next free descriptor of each free descriptor; for a used one the next of its chain.
    next: Vec<u16>,
    /// Descriptors of the chain that each head begins; 0: no chain begins there.
    chain: Vec<u16>,
    free: u16,
    free_count: u16,
    published: u16,
    seen: u16,
    broken: bool,
}

// SAFETY: the pointers are to ring memory that the boot layout gives to this queue alone.
unsafe impl Send for Ring {}

impl Ring {
    /// Queue `index` of a device.
    pub(crate) fn new(device: &DeviceDesc, index: u16) -> Option<Self> {
        let size = device.queue_size;
        if !size.is_power_of_two() || index >= device.queues {
            return None;
        }
        let base = device.rings + ring_bytes(size) * u64::from(index);
        Some(Self {
            descriptors: direct(base),
            available: direct(base + avail_offset(size)),
            used: direct(base + used_offset(size)),
            size,
            index,
            doorbell: device.doorbell,
            next: (0..size).map(|at| at + 1).collect(),
            chain: (0..size).map(|_| 0).collect(),
            free: 0,
            free_count: size,
            published: 0,
            seen: 0,
            broken: false,
        })
    }

    /// Descriptors in all.
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// Whether the device broke the rules.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Puts a request into the ring; `None` when there are too few free descriptors. The device may see it at once, but
    /// is told by [`Ring::kick`]. The memory must stay as it is until the head comes back by [`Ring::take_used`].
    pub(crate) fn add(&mut self, parts: &[Part]) -> Option<u16> {
        let count = u16::try_from(parts.len()).ok()?;
        if count == 0 || count > self.free_count || self.broken {
            return None;
        }
        let head = self.free;
        let mut at = head;
        for (number, part) in parts.iter().enumerate() {
            let next = *self.next.get(usize::from(at))?;
            let last = number + 1 == parts.len();
            let descriptor = Descriptor {
                address: part.address,
                len: part.len,
                flags: if part.writable { WRITE } else { 0 } | if last { 0 } else { NEXT },
                next: if last { 0 } else { next },
            };
            // SAFETY: `at` comes from the free list, so it is below `size`.
            unsafe { self.descriptors.add(usize::from(at)).write_volatile(descriptor) };
            if last {
                self.free = next;
            } else {
                at = next;
            }
        }
        self.free_count -= count;
        *self.chain.get_mut(usize::from(head))? = count;
        let slot = usize::from(self.published & (self.size - 1));
        // SAFETY: the available ring has `size` entries after flags and index.
        unsafe { self.available.add(2 + slot).write_volatile(head) };
        self.published = self.published.wrapping_add(1);
        fence(Ordering::Release);
        // SAFETY: the index of the available ring.
        unsafe { self.available.add(1).write_volatile(self.published) };
        Some(head)
    }

    /// Rings the doorbell if the device asked for it since `before`, the value of [`Ring::position`] before the adds.
    pub(crate) fn kick(&mut self, before: u16) {
        fence(Ordering::SeqCst);
        // SAFETY: `avail_event` lies after the used ring's entries.
        let event = unsafe { self.used.add(2 + 4 * usize::from(self.size)).read_volatile() };
        let wanted = self.published.wrapping_sub(event).wrapping_sub(1) < self.published.wrapping_sub(before);
        if wanted {
            cpu::out16(self.doorbell, self.index);
        }
    }

    /// Requests ever published, modulo 2^16.
    pub(crate) fn position(&self) -> u16 {
        self.published
    }

    /// Descriptors that the device has, or has given back without our having taken them.
    pub(crate) fn in_flight(&self) -> u16 {
        self.size - self.free_count
    }

    /// Requests that the device has given back and that were not taken yet; nonsense from a broken device.
    pub(crate) fn waiting(&self) -> u16 {
        // SAFETY: the index of the used ring.
        let index = unsafe { self.used.add(1).read_volatile() };
        fence(Ordering::Acquire);
        index.wrapping_sub(self.seen)
    }

    /// Whether the device has given something back that was not taken yet.
    pub(crate) fn has_used(&self) -> bool {
        self.waiting() != 0 && !self.broken
    }

    /// Takes a request that the device has finished: its head and the bytes written, as the device says.
    pub(crate) fn take_used(&mut self) -> Option<(u16, u32)> {
        if !self.has_used() {
            return None;
        }
        let slot = usize::from(self.seen & (self.size - 1));
        // SAFETY: the used ring has `size` entries of eight bytes after flags and index.
        let used = unsafe { self.used.add(2).cast::<Used>().add(slot).read_volatile() };
        let head = u16::try_from(used.id).ok().filter(|head| *head < self.size);
        let count = head.and_then(|head| self.chain.get(usize::from(head)).copied()).unwrap_or(0);
        let (Some(head), 1..) = (head, count) else {
            self.broken = true;
            log!("chitin: device at doorbell {:#x} gave back what it does not have", self.doorbell);
            return None;
        };
        self.seen = self.seen.wrapping_add(1);
        self.release(head, count);
        Some((head, used.len))
    }

    fn release(&mut self, head: u16, count: u16) {
        let mut last = head;
        for _ in 1..count {
            last = self.next.get(usize::from(last)).copied().unwrap_or(last);
        }
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = self.free;
        }
        if let Some(chain) = self.chain.get_mut(usize::from(head)) {
            *chain = 0;
        }
        self.free = head;
        self.free_count += count;
    }

    /// Says when the device shall interrupt; `true` if there is something to take already.
    pub(crate) fn notify(&mut self, when: Notify) -> bool {
        let event = match when {
            Notify::Next => self.seen,
            Notify::After(count) => self.seen.wrapping_add(count.saturating_sub(1)),
            Notify::Never => self.seen.wrapping_sub(1),
        };
        // SAFETY: `used_event` lies after the available ring's entries.
        unsafe { self.available.add(2 + usize::from(self.size)).write_volatile(event) };
        fence(Ordering::SeqCst);
        self.has_used()
    }
}
