//! The sandbox: a machine with its devices, and the event loop's reactions.
//!
//! One thread (the process's first) serves the control channel, the log and the devices that only move bytes between
//! queues and descriptors; the file server has a thread of its own, every network card and every vCPU too, and all block
//! devices together have a few.

pub mod poll;

use crate::event::Event;
use crate::fileserver::FileServer;
use crate::fileserver::shares::Shares;
use crate::jail::{self, seccomp};
use crate::machine::console::Console;
use crate::machine::image::Image;
use crate::machine::notice::{GuestEnd, Notices};
use crate::machine::{Machine, MachineError};
use crate::virtio::block::image::{Image as DiskImage, ImageError as DiskError};
use crate::virtio::block::{Blocks, SlotError};
use crate::virtio::fs::Fs;
use crate::virtio::net::tap::Tap;
use crate::virtio::net::{Net, NetCounters};
use crate::virtio::rng::Rng;
use crate::virtio::vsock::{AttachError, Vsock};
use crate::virtio::worker::Worker;
use crate::virtio::{Violation, VirtioDevice};
use chitin_proto::block::SLOTS;
use chitin_proto::layout::PowerOff;
use chitin_proto::vmm::{Block, Card, Direction, EndReason, MachineConfig, Stats};
use poll::{Poll, Ready, Source};
use rustix::event::epoll::EventFlags;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a pause may take.
const PAUSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long what the guest has sent may take to be written after its end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Something the outside is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A line of the guest's log.
    Log(String),
    /// The VM is over.
    Ended(EndReason),
    /// The stream attached to this vsock port has ended.
    StreamClosed(u32),
}

/// Machine and devices.
#[derive(Debug)]
pub struct Sandbox {
    notices: Arc<Notices>,
    machine: Machine,
    console: Console,
    rng: Rng,
    vsock: Vsock,
    fs: Worker,
    cards: Vec<(Worker, Arc<NetCounters>)>,
    blocks: Blocks,
    /// Number of the first block device among all devices.
    first_block: usize,
    /// Slots whose doorbells have an ioeventfd.
    fast_kicks: [bool; SLOTS],
    mode: seccomp::Mode,
}

/// Why a block device could not be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The image.
    #[error(transparent)]
    Image(#[from] DiskError),
    /// The slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// A network card that the machine is to have.
pub type NewCard = (Card, Tap);

impl Sandbox {
    /// Builds machine and devices; everything is watched by `poll`. The calling thread gives up what the main thread
    /// does not need, see [`jail::close`].
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn new(
        config: &MachineConfig,
        image: &Image,
        shares: Arc<Shares>,
        cards: Vec<NewCard>,
        poll: &Arc<Poll>,
        mode: seccomp::Mode,
    ) -> Result<Self, MachineError> {
        let resource = |what| move |error| MachineError::Resource(what, error);
        let notices = Arc::new(Notices::new().map_err(resource("an eventfd"))?);
        let mut specs = vec![Fs::spec(), Vsock::spec(), Rng::spec()];
        specs.extend(cards.iter().enumerate().map(|(index, (card, tap))| Net::spec(index, card, tap)));
        let first_block = specs.len();
        specs.extend((0..SLOTS).map(Blocks::spec));
        let (machine, queues) = Machine::new(config, image, &specs, Arc::clone(&notices), mode)?;
        let mut queues = queues.into_iter();
        let mut take = || queues.next().unwrap_or_default();
        let server = FileServer::new(shares, descriptor_budget()).map_err(resource("/proc/self/fd"))?;
        let fs = Fs::new(Arc::clone(machine.ram()), take(), server);
        let vsock = Vsock::new(Arc::clone(machine.ram()), Arc::clone(poll), take());
        let rng = Rng::new(Arc::clone(machine.ram()), take());
        let nets: Vec<Net> = cards
            .into_iter()
            .map(|(card, tap)| Net::new(Arc::clone(machine.ram()), take(), tap, card.limit))
            .collect();
        let slots = (0..SLOTS).flat_map(|_| take()).collect();
        let blocks = Blocks::new(Arc::clone(machine.ram()), slots, Arc::clone(&notices))
            .map_err(resource("an eventfd"))?;

        let watch =
            |fd: &Event, source| poll.add(fd, source, EventFlags::IN).map_err(resource("an epoll entry"));
        watch(notices.event(), Source::Notice)?;
        watch(machine.log_event().as_ref(), Source::Log)?;
        for (index, queue) in (0u32..).zip(rng.queues()) {
            watch(queue.kick(), Source::Rng(index))?;
        }
        for (index, queue) in (0u32..).zip(vsock.queues()) {
            watch(queue.kick(), Source::Vsock(index))?;
        }
        let jail = move || seccomp::apply(seccomp::Thread::FileServer, mode);
        let fs = Worker::start("fs", Box::new(fs), Arc::clone(&notices), jail)
            .map_err(resource("a thread for the file server"))?;
        let mut cards = Vec::with_capacity(nets.len());
        for net in nets {
            let counters = Arc::clone(net.counters());
            let jail = move || jail::close_network(mode);
            let worker = Worker::start("net", Box::new(net), Arc::clone(&notices), jail)
                .map_err(resource("a thread for a network card"))?;
            cards.push((worker, counters));
        }
        jail::close(mode)?;
        let console = Console::new(Arc::clone(machine.ram()), config.log_bytes_per_second);
        let fast_kicks = [false; SLOTS];
        Ok(Self { notices, machine, console, rng, vsock, fs, cards, blocks, first_block, fast_kicks, mode })
    }

    /// Fills a slot for a block device.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn attach_block(&mut self, block: &Block, file: OwnedFd) -> Result<(), BlockError> {
        let image = DiskImage::new(file, block)?;
        let mode = self.mode;
        self.blocks.attach(block.slot, image, move || seccomp::apply(seccomp::Thread::Block, mode))?;
        let at = usize::try_from(block.slot).unwrap_or(usize::MAX);
        if let Some(is_fast @ false) = self.fast_kicks.get_mut(at) {
            self.machine.speed_up_kicks(self.first_block + at, 0, self.blocks.kick(block.slot)?)?;
            *is_fast = true;
        }
        self.show_block(block.slot)
    }

    /// Empties a slot.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn detach_block(&self, slot: u32) -> Result<(), BlockError> {
        self.blocks.detach(slot)?;
        self.show_block(slot)
    }

    /// Writes down for the guest what is in a slot.
    fn show_block(&self, slot: u32) -> Result<(), BlockError> {
        let config = self.blocks.config(slot)?;
        let at = self.first_block + usize::try_from(slot).unwrap_or(usize::MAX);
        Ok(self.machine.write_config(at, &zerocopy::transmute!(config))?)
    }

    /// Lets the boot CPU run.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn start(&mut self) -> Result<(), MachineError> {
        self.machine.start()
    }

    /// Holds all vCPUs; false when one does not stop.
    #[must_use]
    pub fn pause(&self) -> bool {
        self.machine.vcpus().pause(PAUSE_PATIENCE)
    }

    /// Lets held vCPUs go on.
    pub fn resume(&self) {
        self.machine.vcpus().resume();
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Bridges the next connection of the guest to vsock port `port` to `fd`.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach_stream(&mut self, port: u32, direction: Direction, fd: OwnedFd) -> Result<(), AttachError> {
        self.vsock.attach(port, direction, fd)
    }

    /// Forgets the stream that waits at vsock port `port`, if one does.
    pub fn detach_stream(&mut self, port: u32) {
        self.vsock.detach(port);
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let here = self.rng.queues().iter().chain(self.vsock.queues());
        let here = here.map(|queue| (queue.name(), queue.served()));
        let workers = std::iter::once(&self.fs).chain(self.cards.iter().map(|(worker, _)| worker));
        let there = workers.flat_map(Worker::counters).map(|(name, counter)| (*name, counter));
        let requests =
            here.chain(there).map(|(name, counter)| (name.to_owned(), counter.load(Ordering::Relaxed)));
        Stats {
            exits: self.machine.exits().read(),
            requests: requests.collect(),
            cards: self.cards.iter().map(|(_, counters)| counters.read()).collect(),
            blocks: self.blocks.stats(),
            log_dropped: self.console.dropped(),
            first_user_ns: self.machine.first_user_ns(),
            vcpu_ns: self.machine.vcpus().cpu_time_ns(),
        }
    }

    /// Reacts to something that became ready; what the outside is to be told goes to `tell`.
    pub fn react(&mut self, ready: Ready, tell: &mut impl FnMut(Happening)) {
        let served = match ready.source {
            Source::Control => Ok(()),
            Source::Notice => {
                self.read_notices(tell);
                Ok(())
            }
            Source::Log => {
                self.machine.log_event().clear();
                self.console.drain(|line| tell(Happening::Log(line)));
                Ok(())
            }
            Source::Rng(queue) => self.rng.kicked(queue as usize),
            Source::Vsock(queue) => self.vsock.kicked(queue as usize),
            Source::Stream(id) => self.vsock.stream_ready(id, ready.flags),
        };
        if let Err(Violation { queue, rule }) = served {
            self.notices.end(GuestEnd::Violation(format!("{queue}: {rule}")));
        }
        self.tell_closed(tell);
    }

    fn tell_closed(&mut self, tell: &mut impl FnMut(Happening)) {
        for port in self.vsock.take_closed() {
            tell(Happening::StreamClosed(port));
        }
    }

    fn read_notices(&mut self, tell: &mut impl FnMut(Happening)) {
        let pending = self.notices.take();
        for index in pending.start {
            match self.machine.start_cpu(index) {
                Ok(true) => {}
                Ok(false) => {
                    let what = format!("asked for CPU {index}, which does not exist or runs already");
                    self.notices.end(GuestEnd::Violation(what));
                }
                Err(error) => self.notices.end(GuestEnd::Crash(format!("cannot start CPU {index}: {error}"))),
            }
        }
        if let Some(end) = pending.end {
            self.finish(end, tell);
        }
    }

    /// Brings out what the guest has left: log, bytes of streams, reason.
    fn finish(&mut self, end: GuestEnd, tell: &mut impl FnMut(Happening)) {
        // What the guest sent last may still be in the queue; a broken queue has nothing more to give.
        let _ = self.vsock.serve_rest();
        self.console.drain_all(|line| tell(Happening::Log(line)));
        self.vsock.drain(DRAIN_PATIENCE);
        self.tell_closed(tell);
        tell(Happening::Ended(self.end_reason(end)));
    }

    fn end_reason(&self, end: GuestEnd) -> EndReason {
        let log = self.console.last_lines();
        match end {
            GuestEnd::PowerOff(PowerOff::Orderly) => EndReason::Orderly,
            GuestEnd::PowerOff(PowerOff::Panic | PowerOff::Exception) => EndReason::Panic(log),
            GuestEnd::PowerOff(PowerOff::BadBoot) => {
                EndReason::Panic(format!("the guest kernel refused its boot information\n{log}"))
            }
            GuestEnd::Crash(what) => EndReason::Crash(format!("{what}\n--- last log lines ---\n{log}")),
            GuestEnd::Violation(what) => EndReason::Violation(what),
        }
    }
}

/// Descriptors of looked-up files that may be held: half of what the process may open.
fn descriptor_budget() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(limit).unwrap_or(1 << 20).clamp(256, 200_000) / 2
}
