//! The request channel of virtio-fs: requests go out on queue 1 and are answered in any order.
//!
//! Heap objects and frames are physically contiguous, so the device reads and writes them in place. A waiting call keeps
//! its buffers; those of an unanswered request (`FORGET`) belong to its slot until the device gives it back.

use crate::mem::physical;
use crate::virtio::ring::{Notify, Part, Ring};
use crate::virtio::{LEVEL, vectors};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::FRAME_SIZE;
use chitin_core::lock::SpinLock;
use chitin_core::sleep::Sleeper;
use chitin_core::wait::WaitQueue;
use chitin_proto::device::DeviceDesc;
use chitin_sentry::platform::{FuseAnswer, FuseChannel, OutOfMemory, Segment};
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;

const REQUEST_QUEUE: u16 = 1;
/// Threads woken under one hold of the lock.
const BATCH: usize = 16;

/// A request that a thread sleeps for.
struct Pending {
    /// Bytes of the answer plus one; 0: not there yet.
    answered: AtomicU64,
    waker: Waker,
}

/// What a descriptor chain belongs to.
enum Slot {
    Free,
    /// Somebody sleeps for it.
    Waiting(Arc<Pending>),
    /// Nobody waits; the buffers are the device's.
    Posted(Vec<Segment>),
}

struct Channel {
    ring: Ring,
    slots: Vec<Slot>,
}

/// The file channel.
pub(crate) struct Fuse {
    channel: SpinLock<Channel>,
    /// Those who wait for free descriptors.
    room: WaitQueue,
    vectors: u64,
}

impl Fuse {
    /// The driver of a device.
    pub(crate) fn new(device: &DeviceDesc) -> Option<Self> {
        let mut ring = Ring::new(device, REQUEST_QUEUE)?;
        ring.notify(Notify::Next);
        let slots = (0..ring.size()).map(|_| Slot::Free).collect();
        Some(Self {
            channel: SpinLock::new(LEVEL, Channel { ring, slots }),
            room: WaitQueue::new(),
            vectors: vectors(device),
        })
    }

    /// Interrupt bits of the device.
    pub(crate) fn vectors(&self) -> u64 {
        self.vectors
    }

    /// Takes finished requests and wakes their owners.
    pub(crate) fn serve(&self) {
        loop {
            let mut woken: [Option<Arc<Pending>>; BATCH] = [const { None }; BATCH];
            let mut posted = Vec::new();
            let mut again = false;
            {
                let mut channel = self.channel.lock();
                for place in &mut woken {
                    let Some((head, len)) = channel.ring.take_used() else {
                        again = channel.ring.notify(Notify::Next);
                        break;
                    };
                    again = true;
                    let Some(slot) = channel.slots.get_mut(usize::from(head)) else { continue };
                    match core::mem::replace(slot, Slot::Free) {
                        Slot::Waiting(pending) => {
                            pending.answered.store(u64::from(len) + 1, Ordering::Release);
                            *place = Some(pending);
                        }
                        Slot::Posted(segments) => posted = segments,
                        Slot::Free => {}
                    }
                    if !posted.is_empty() {
                        break;
                    }
                }
            }
            for pending in woken.into_iter().flatten() {
                pending.waker.wake_by_ref();
            }
            drop(posted);
            if !again {
                break;
            }
        }
        self.room.wake_all();
    }

    /// Publishes a request; `false` when the ring is full.
    fn submit(&self, parts: &[Part], slot: impl FnOnce() -> Slot) -> bool {
        let mut channel = self.channel.lock();
        let before = channel.ring.position();
        let Some(head) = channel.ring.add(parts) else { return false };
        if let Some(place) = channel.slots.get_mut(usize::from(head)) {
            *place = slot();
        }
        channel.ring.kick(before);
        true
    }

    fn is_broken(&self) -> bool {
        self.channel.lock().ring.is_broken()
    }
}

/// Appends the memory of `segments`; neighbours become one part.
fn gather(parts: &mut Vec<Part>, segments: &[Segment], writable: bool) -> Result<(), OutOfMemory> {
    for segment in segments {
        let (address, len) = match segment {
            Segment::Bytes(bytes) => (physical(bytes.as_ptr()), bytes.len()),
            Segment::Frame { frame, offset, len } => {
                let offset = usize::from(*offset).min(FRAME_SIZE);
                (frame.address() + offset as u64, usize::from(*len).min(FRAME_SIZE - offset))
            }
        };
        let len = u32::try_from(len).map_err(|_| OutOfMemory)?;
        if len == 0 {
            continue;
        }
        if let Some(last) = parts.last_mut()
            && last.writable == writable
            && last.address + u64::from(last.len) == address
        {
            last.len += len;
            continue;
        }
        parts.try_reserve(1).map_err(|_| OutOfMemory)?;
        parts.push(Part { address, len, writable });
    }
    Ok(())
}

/// Shortens the byte segments of an answer to what was written.
fn trim(segments: &mut [Segment], written: usize) {
    let mut left = written;
    for segment in segments {
        let len = match segment {
            Segment::Bytes(bytes) => {
                let len = bytes.len();
                bytes.truncate(left);
                len
            }
            Segment::Frame { len, .. } => usize::from(*len),
        };
        left = left.saturating_sub(len);
    }
}

impl FuseChannel for Fuse {
    fn call(
        &self,
        sleeper: &Sleeper,
        request: Vec<Segment>,
        answer: Vec<Segment>,
    ) -> Result<FuseAnswer, OutOfMemory> {
        let mut parts = Vec::new();
        gather(&mut parts, &request, false)?;
        gather(&mut parts, &answer, true)?;
        let size = usize::from(self.channel.lock().ring.size());
        if parts.is_empty() || parts.len() > size {
            return Err(OutOfMemory);
        }
        let waker = sleeper.waker();
        let pending = Arc::new(Pending { answered: AtomicU64::new(0), waker: waker.clone() });
        let waits = !answer.is_empty();
        let mut kept = Some(request);
        let mut waiting_for_room = None;
        loop {
            let submitted = self.submit(&parts, || {
                if waits {
                    Slot::Waiting(pending.clone())
                } else {
                    Slot::Posted(kept.take().unwrap_or_default())
                }
            });
            if submitted {
                break;
            }
            if self.is_broken() {
                return Err(OutOfMemory);
            }
            // Full: register first, then look once more, then sleep.
            if waiting_for_room.is_none() {
                waiting_for_room = Some(self.room.register(&waker));
                self.serve();
            } else {
                sleeper.park(None);
            }
        }
        drop(waiting_for_room);
        if !waits {
            return Ok(FuseAnswer { segments: Vec::new(), len: 0 });
        }
        let len = loop {
            if let Some(len) = pending.answered.load(Ordering::Acquire).checked_sub(1) {
                break usize::try_from(len).unwrap_or(usize::MAX);
            }
            if self.channel.lock().ring.has_used() {
                self.serve();
                continue;
            }
            sleeper.park(None);
        };
        drop(kept);
        let mut segments = answer;
        let room: usize = parts.iter().filter(|part| part.writable).map(|part| part.len as usize).sum();
        let len = len.min(room);
        trim(&mut segments, len);
        Ok(FuseAnswer { segments, len })
    }
}
