//! Block devices: requests go out on a slot's one queue and are answered in any order.
//!
//! A slot costs nothing until something is attached to it. Header and status lie in one heap object, which like frames is
//! physically contiguous; the caller keeps the data's frames and sleeps until the device is done with all of it.

use crate::mem::{direct, physical};
use crate::virtio::ring::{Notify, Part, Ring};
use crate::virtio::{LEVEL, vectors};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::SpinLock;
use chitin_core::once::Once;
use chitin_core::sleep::Sleeper;
use chitin_core::wait::WaitQueue;
use chitin_proto::block::{Config, Header, ID_BYTES, RANGE_UNMAP, Range, feature, kind, status};
use chitin_proto::boot::BootInfo;
use chitin_proto::device::DeviceDesc;
use chitin_proto::layout::RAM_GPA;
use chitin_sentry::platform::{BlockError, BlockGeometry, BlockPort, BlockRequest};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

/// Threads woken under one hold of the lock.
const BATCH: usize = 16;

/// A request that a thread sleeps for.
struct Pending {
    is_done: AtomicBool,
    waker: Waker,
}

struct Queue {
    ring: Ring,
    /// Who sleeps for the chain that begins at each descriptor.
    waiting: Vec<Option<Arc<Pending>>>,
}

struct Driver {
    queue: SpinLock<Queue>,
    /// Those who wait for free descriptors.
    room: WaitQueue,
}

/// What a request has beside its data.
#[repr(C)]
struct Envelope {
    header: Header,
    range: Range,
    serial: [u8; ID_BYTES],
    status: u8,
}

/// A slot.
pub(crate) struct Block {
    device: &'static DeviceDesc,
    /// Where the VMM writes the configuration while the guest runs.
    config: *const Config,
    driver: Once<Driver>,
}

// SAFETY: the pointer is to the boot page, which nobody but the VMM writes.
unsafe impl Send for Block {}
// SAFETY: as above; it is only read.
unsafe impl Sync for Block {}

impl Block {
    /// The slot of device `index` of the boot page.
    pub(crate) fn new(device: &'static DeviceDesc, index: usize) -> Self {
        let within = offset_of!(BootInfo, devices) + index * size_of::<DeviceDesc>();
        let config: *mut Config = direct(RAM_GPA + (within + offset_of!(DeviceDesc, config)) as u64);
        Self { device, config: config.cast_const(), driver: Once::new() }
    }

    /// Interrupt bits of the device.
    pub(crate) fn vectors(&self) -> u64 {
        vectors(self.device)
    }

    /// Takes finished requests and wakes their owners.
    pub(crate) fn serve(&self) {
        if let Some(driver) = self.driver.get() {
            driver.serve();
        }
    }

    fn config(&self) -> Config {
        // SAFETY: the configuration space of a device in the boot page, aligned; the VMM may write it meanwhile.
        unsafe { self.config.read_volatile() }
    }

    fn driver(&self) -> Option<&Driver> {
        if self.driver.get().is_none() {
            // Whoever comes second drops its own; making one only writes where to interrupt.
            self.driver.set(Driver::new(self.device)?);
        }
        self.driver.get()
    }
}

impl Driver {
    fn new(device: &DeviceDesc) -> Option<Self> {
        let mut ring = Ring::new(device, 0)?;
        ring.notify(Notify::Next);
        let waiting = (0..ring.size()).map(|_| None).collect();
        Some(Self { queue: SpinLock::new(LEVEL, Queue { ring, waiting }), room: WaitQueue::new() })
    }

    fn serve(&self) {
        loop {
            let mut woken: [Option<Arc<Pending>>; BATCH] = [const { None }; BATCH];
            let mut again = false;
            {
                let mut queue = self.queue.lock();
                for place in &mut woken {
                    let Some((head, _)) = queue.ring.take_used() else {
                        again = queue.ring.notify(Notify::Next);
                        break;
                    };
                    again = true;
                    *place = queue.waiting.get_mut(usize::from(head)).and_then(Option::take);
                    if let Some(pending) = place {
                        pending.is_done.store(true, Ordering::Release);
                    }
                }
            }
            for pending in woken.into_iter().flatten() {
                pending.waker.wake_by_ref();
            }
            if !again {
                break;
            }
        }
        self.room.wake_all();
    }

    /// Sends `parts` and sleeps until the device has given them back.
    fn call(&self, sleeper: &Sleeper, parts: &[Part]) -> Result<(), BlockError> {
        let waker = sleeper.waker();
        let pending = Arc::new(Pending { is_done: AtomicBool::new(false), waker: waker.clone() });
        let mut waiting_for_room = None;
        loop {
            {
                let mut queue = self.queue.lock();
                let before = queue.ring.position();
                if let Some(head) = queue.ring.add(parts) {
                    if let Some(place) = queue.waiting.get_mut(usize::from(head)) {
                        *place = Some(pending.clone());
                    }
                    queue.ring.kick(before);
                    break;
                }
                if queue.ring.is_broken() || parts.len() > usize::from(queue.ring.size()) {
                    return Err(BlockError::Io);
                }
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
        while !pending.is_done.load(Ordering::Acquire) {
            if self.queue.lock().ring.has_used() {
                self.serve();
            } else {
                sleeper.park(None);
            }
        }
        Ok(())
    }
}

/// Appends the first `len` bytes of `frames`; neighbours become one part.
fn gather(parts: &mut Vec<Part>, frames: &[Frame], len: usize, writable: bool) -> Result<(), BlockError> {
    let mut left = len;
    for frame in frames {
        let take = left.min(FRAME_SIZE);
        if take == 0 {
            break;
        }
        left -= take;
        let (address, len) = (frame.address(), take as u32);
        match parts.last_mut() {
            Some(last)
                if last.writable == writable
                    && last.address + u64::from(last.len) == address
                    && last.len < 1 << 20 =>
            {
                last.len += len;
            }
            _ => {
                parts.try_reserve(1).map_err(|_| BlockError::NoMemory)?;
                parts.push(Part { address, len, writable });
            }
        }
    }
    if left == 0 { Ok(()) } else { Err(BlockError::Io) }
}

impl BlockPort for Block {
    fn geometry(&self) -> Option<BlockGeometry> {
        let config = self.config();
        let physical = config.block_size.checked_shl(u32::from(config.physical_block_exp));
        (config.sectors > 0).then(|| BlockGeometry {
            sectors: config.sectors,
            block_size: config.block_size,
            physical_block_size: physical.unwrap_or(config.block_size),
            is_read_only: config.features & feature::RO != 0,
            max_discard_sectors: config.max_discard_sectors,
            max_zero_sectors: config.max_write_zeroes_sectors,
        })
    }

    fn call(&self, sleeper: &Sleeper, request: BlockRequest<'_>) -> Result<(), BlockError> {
        let driver = self.driver().ok_or(BlockError::Io)?;
        let (kind, sector) = match &request {
            BlockRequest::Read { sector, .. } => (kind::IN, *sector),
            BlockRequest::Write { sector, .. } => (kind::OUT, *sector),
            BlockRequest::Flush => (kind::FLUSH, 0),
            BlockRequest::Discard { .. } => (kind::DISCARD, 0),
            BlockRequest::WriteZeroes { .. } => (kind::WRITE_ZEROES, 0),
            BlockRequest::Identify(_) => (kind::GET_ID, 0),
        };
        let mut envelope = Box::new(Envelope {
            header: Header { kind, reserved: 0, sector },
            range: Range::default(),
            serial: [0; ID_BYTES],
            status: status::IOERR,
        });
        match &request {
            BlockRequest::Discard { sector, sectors } => {
                envelope.range = Range { sector: *sector, sectors: *sectors, flags: 0 };
            }
            BlockRequest::WriteZeroes { sector, sectors, unmap } => {
                let flags = if *unmap { RANGE_UNMAP } else { 0 };
                envelope.range = Range { sector: *sector, sectors: *sectors, flags };
            }
            _ => {}
        }
        let place = &raw mut *envelope;
        let part = |within: usize, len: usize, writable| Part {
            address: physical(place) + within as u64,
            len: len as u32,
            writable,
        };
        let mut parts = Vec::new();
        parts.push(part(offset_of!(Envelope, header), size_of::<Header>(), false));
        match &request {
            BlockRequest::Read { frames, len, .. } => gather(&mut parts, frames, *len, true)?,
            BlockRequest::Write { frames, len, .. } => gather(&mut parts, frames, *len, false)?,
            BlockRequest::Discard { .. } | BlockRequest::WriteZeroes { .. } => {
                parts.push(part(offset_of!(Envelope, range), size_of::<Range>(), false));
            }
            BlockRequest::Identify(_) => {
                parts.push(part(offset_of!(Envelope, serial), ID_BYTES, true));
            }
            BlockRequest::Flush => {}
        }
        parts.push(part(offset_of!(Envelope, status), 1, true));
        driver.call(sleeper, &parts)?;
        // SAFETY: the envelope is alive and the device has given it back; it wrote these bytes behind the compiler's back.
        let (status, serial) = unsafe {
            ((&raw const (*place).status).read_volatile(), (&raw const (*place).serial).read_volatile())
        };
        drop(envelope);
        match status {
            status::OK => {}
            status::UNSUPP => return Err(BlockError::Unsupported),
            status::NO_SPACE => return Err(BlockError::NoSpace),
            _ => return Err(BlockError::Io),
        }
        if let BlockRequest::Identify(to) = request {
            *to = serial;
        }
        Ok(())
    }
}
