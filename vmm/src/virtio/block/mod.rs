//! virtio-blk (virtio 1.2, section 5.2): slots of one queue each, filled while the guest runs ([`chitin_proto::block`]).
//!
//! A few threads serve all slots together; they are started with the first device, so a sandbox without one has none. One of
//! them, the leader, waits for kicks; it takes one request, lets the next thread lead, carries the request out with blocking
//! calls at its own place in the file, and answers. So requests overlap as far as there are threads, one alone needs no
//! hand-over, and no vCPU ever waits for a disk.

pub mod image;
mod pool;
pub mod request;
#[cfg(test)]
mod tests;

use super::queue::VirtQueue;
use super::{DeviceSpec, FEATURE_EVENT_IDX, FEATURE_VERSION_1, Violation};
use crate::event::Event;
use crate::jail::JailError;
use crate::machine::memory::GuestRam;
use crate::machine::notice::Notices;
use chitin_proto::block::{Config, QUEUE_SIZE, SLOTS, status};
use chitin_proto::device::{CONFIG_SIZE, kind};
use chitin_proto::vmm::BlockStats;
use image::Image;
use pool::Pool;
use request::{Action, Request};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Queue names, for each slot.
const NAMES: [[&str; 1]; SLOTS] =
    [["block0"], ["block1"], ["block2"], ["block3"], ["block4"], ["block5"], ["block6"], ["block7"]];

/// Why a slot could not be filled or emptied.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is no such slot.
    #[error("there is no block device slot {0}")]
    None(u32),
    /// Another device is there.
    #[error("block device slot {0} is taken")]
    Taken(u32),
    /// It is empty.
    #[error("block device slot {0} is empty")]
    Empty(u32),
    /// The threads could not be started.
    #[error("cannot start threads for block devices: {0}")]
    Threads(io::Error),
}

/// Counters of a device.
#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    fn read(&self) -> BlockStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlockStats {
            reads: read(&self.reads),
            read_bytes: read(&self.read_bytes),
            writes: read(&self.writes),
            written_bytes: read(&self.written_bytes),
            flushes: read(&self.flushes),
            discards: read(&self.discards),
            errors: read(&self.errors),
        }
    }
}

/// An image with its counters.
#[derive(Debug)]
struct Attached {
    image: Image,
    counters: Counters,
}

/// One device, attached or not.
#[derive(Debug)]
struct Slot {
    queue: Mutex<VirtQueue>,
    kick: Arc<Event>,
    attached: Mutex<Option<Arc<Attached>>>,
}

impl Slot {
    fn queue(&self) -> MutexGuard<'_, VirtQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attached(&self) -> MutexGuard<'_, Option<Arc<Attached>>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The block devices of a machine.
#[derive(Debug)]
pub struct Blocks {
    pool: Pool,
}

impl Blocks {
    /// What the guest is told of slot `index` at boot: nothing is attached.
    #[must_use]
    pub fn spec(index: usize) -> DeviceSpec {
        DeviceSpec {
            kind: kind::BLOCK,
            queue_names: NAMES.get(index).map_or(&[], |names| names),
            busy_queues: &[],
            queues: 1,
            queue_size: QUEUE_SIZE,
            features: FEATURE_EVENT_IDX | FEATURE_VERSION_1,
            config: [0; CONFIG_SIZE],
        }
    }

    /// Empty slots on `queues`, one each.
    ///
    /// # Errors
    /// That of eventfd(2).
    pub fn new(ram: Arc<GuestRam>, queues: Vec<VirtQueue>, notices: Arc<Notices>) -> io::Result<Self> {
        let slot = |queue: VirtQueue| Slot {
            kick: Arc::clone(queue.kick()),
            queue: Mutex::new(queue),
            attached: Mutex::new(None),
        };
        Ok(Self { pool: Pool::new(ram, queues.into_iter().map(slot).collect(), notices)? })
    }

    fn slot(&self, slot: u32) -> Result<&Slot, SlotError> {
        usize::try_from(slot).ok().and_then(|at| self.pool.slots().get(at)).ok_or(SlotError::None(slot))
    }

    /// Fills a slot. Threads are started when there are none; each runs `prepare` first.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn attach(
        &mut self,
        slot: u32,
        image: Image,
        prepare: impl Fn() -> Result<(), JailError> + Clone + Send + 'static,
    ) -> Result<(), SlotError> {
        if self.slot(slot)?.attached().is_some() {
            return Err(SlotError::Taken(slot));
        }
        self.pool.start(prepare).map_err(SlotError::Threads)?;
        *self.slot(slot)?.attached() = Some(Arc::new(Attached { image, counters: Counters::default() }));
        Ok(())
    }

    /// Empties a slot. The file is closed by one of the threads, since the last close of a device waits for its writes.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn detach(&self, slot: u32) -> Result<(), SlotError> {
        let attached = self.slot(slot)?.attached().take().ok_or(SlotError::Empty(slot))?;
        self.pool.let_go(attached);
        Ok(())
    }

    /// Counters of what is attached.
    #[must_use]
    pub fn stats(&self) -> Vec<(u32, BlockStats)> {
        let slots = (0..).zip(self.pool.slots());
        slots.filter_map(|(at, slot)| Some((at, slot.attached().as_ref()?.counters.read()))).collect()
    }

    /// What the guest is to read of a slot; zeroes for an empty one.
    ///
    /// # Errors
    /// [`SlotError::None`].
    pub fn config(&self, slot: u32) -> Result<Config, SlotError> {
        let attached = self.slot(slot)?.attached();
        Ok(attached.as_ref().map(|attached| *attached.image.config()).unwrap_or_default())
    }

    /// Doorbell event of a slot.
    ///
    /// # Errors
    /// [`SlotError::None`].
    pub fn kick(&self, slot: u32) -> Result<&Arc<Event>, SlotError> {
        Ok(&self.slot(slot)?.kick)
    }
}

/// Carries out what a chain of a slot's queue asks for and answers.
fn serve(slot: &Slot, ram: &GuestRam, chain: super::chain::Chain<'_>) -> Result<(), Violation> {
    let attached = slot.attached().clone();
    let geometry = attached.as_ref().map(|attached| attached.image.geometry());
    let request = Request::parse(chain, geometry).map_err(|rule| slot.queue().violation(rule))?;
    let Request { head, action, status: mut answer } = request;
    let (status, written) = match (&attached, action) {
        (_, Action::Refuse(status)) => (status, 0),
        (Some(attached), action) => carry_out(attached, action),
        (None, _) => (status::IOERR, 0),
    };
    if status != status::OK
        && let Some(attached) = &attached
    {
        attached.counters.errors.fetch_add(1, Ordering::Relaxed);
    }
    drop(attached);
    answer.write_value(&status);
    let mut queue = slot.queue();
    queue.push(ram, head, u32::try_from(written + 1).unwrap_or(u32::MAX))?;
    queue.notify(ram)
}

/// Returns the status and the bytes written into the guest's memory.
fn carry_out(attached: &Attached, action: Action<'_>) -> (u8, usize) {
    let Attached { image, counters } = attached;
    let count = |counter: &AtomicU64, by: usize| {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    };
    let done = match action {
        Action::Read(at, mut room) => {
            let done = image.read(at, &mut room);
            count(&counters.reads, usize::from(done.is_ok()));
            count(&counters.read_bytes, room.done());
            return (done.err().unwrap_or(status::OK), room.done());
        }
        Action::Identify(mut room) => {
            room.write(image.serial());
            return (status::OK, room.done());
        }
        Action::Write(at, mut data) => {
            let given = data.left();
            let done = image.write(at, &mut data);
            count(&counters.writes, usize::from(done.is_ok()));
            count(&counters.written_bytes, given - data.left());
            done
        }
        Action::Flush => {
            let done = image.flush();
            count(&counters.flushes, usize::from(done.is_ok()));
            done
        }
        Action::Discard(spans) => {
            let done = spans.into_iter().try_for_each(|span| image.discard(span));
            count(&counters.discards, usize::from(done.is_ok()));
            done
        }
        Action::WriteZeroes(spans) => {
            let done = spans.into_iter().try_for_each(|span| image.zero(span));
            count(&counters.discards, usize::from(done.is_ok()));
            done
        }
        Action::Refuse(status) => Err(status),
    };
    (done.err().unwrap_or(status::OK), 0)
}
