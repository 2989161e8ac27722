//! Messages between the shim (or `chitin run`) and the VMM, over the inherited socket pair (descriptor 3 of the VMM).
//!
//! File descriptors travel by `SCM_RIGHTS` with the frame's first byte; every message says how many it carries.
//! A dropped control socket ends the VMM.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What the VMM is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Blank → Attached: sizes of the machine. No descriptors.
    Configure(MachineConfig),
    /// Adds a network card; cards are numbered in this order. Only while blank, because the machine is built with its
    /// cards. Carries one descriptor: that of a TAP with `IFF_TAP`, `IFF_NO_PI` and `IFF_VNET_HDR`.
    AttachNetwork(Card),
    /// Adds a directory tree to virtio-fs; it appears as the entry `name` of the FUSE root directory. Carries one
    /// descriptor: an `O_PATH` directory (or regular file, for a bind mount of a file). Allowed while running.
    AttachShare(Share),
    /// Takes a share away; open files of it stay usable. No descriptors.
    DetachShare {
        /// Name given at attach.
        name: String,
    },
    /// Fills a slot for a block device. Carries one descriptor: that of a raw image or a block device, open for what
    /// [`Block::access`] says. Once the machine is configured, running or not.
    AttachBlock(Block),
    /// Empties a slot; requests to it fail from then on. No descriptors.
    DetachBlock {
        /// Slot given at attach.
        slot: u32,
    },
    /// Ties host vsock port `port` to a stream descriptor (socket, pipe end, FIFO, tty); one connection of the guest
    /// to that port is bridged to it. Carries one descriptor. Allowed while running.
    ///
    /// The descriptor is `O_NONBLOCK` where the sender could make it so without changing an open file that others
    /// use; it may also be a regular file (never polled, written and read at once) or a blocking one.
    AttachStream {
        /// Host port, [`crate::vsock::PORT_CONTROL`] for the sentry's control channel.
        port: u32,
        /// Which way bytes go.
        direction: Direction,
    },
    /// Takes a stream away that the guest has not connected to; with any other, or none, nothing happens. No descriptors.
    DetachStream {
        /// Port given at attach.
        port: u32,
    },
    /// Attached → Running. No descriptors.
    Start,
    /// Running → Paused: returns when no vCPU runs guest code.
    Pause,
    /// Paused → Running.
    Resume,
    /// Counters of the machine.
    Stats,
    /// Ends the VM at once; the VMM exits with status 0 after its reply.
    Stop,
}

/// Sizes and switches of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// [`crate::VERSION`] of the sender.
    pub version: u32,
    /// Virtual CPUs, 1 to [`crate::layout::MAX_CPUS`].
    pub cpus: u32,
    /// Bytes of guest RAM, a multiple of 2 MiB, at least 16 MiB.
    pub ram_bytes: u64,
    /// Most log bytes per second that the VMM passes on; the rest is dropped and counted.
    pub log_bytes_per_second: u32,
}

/// A directory tree of the host, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Entry of the FUSE root directory; no `/`, not empty, at most 64 bytes.
    pub name: String,
    /// Whether the guest may change it; a change of a read-only share fails with `EROFS` in the VMM.
    pub access: Access,
    /// Who else may change it, which decides what may be cached.
    pub policy: CachePolicy,
}

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Hardware address, as the guest sees it.
    pub mac: [u8; 6],
    /// Bytes of an IP packet, 68 to 65535.
    pub mtu: u16,
    /// Most that goes through, in each direction.
    pub limit: RateLimit,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Which of the [`crate::block::SLOTS`].
    pub slot: u32,
    /// Whether the guest may write.
    pub access: Access,
    /// Bytes; what does not fill a sector at the end is left out.
    pub bytes: u64,
    /// Logical block size: a power of two, 512 to 4096.
    pub block_size: u32,
    /// Physical block size: a power of two, not less than the logical one.
    pub physical_block_size: u32,
    /// Serial number, at most [`crate::block::ID_BYTES`] bytes.
    pub serial: String,
}

/// A limit of a network card's direction; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Bytes of frames.
    pub bytes_per_second: u64,
    /// Frames; one that is to be segmented counts once.
    pub frames_per_second: u64,
}

/// May the guest write?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// Who else changes a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CachePolicy {
    /// Nobody: entries, attributes and pages are cached for ever.
    Immutable,
    /// Nobody but this guest: write-back.
    Exclusive,
    /// Others too: close-to-open.
    Shared,
}

/// Direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways (a socket or a tty).
    Both,
    /// The descriptor is read; the guest receives.
    ToGuest,
    /// The guest sends; the descriptor is written.
    FromGuest,
}

/// Answer to a [`Request`], with the same frame id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Answer to [`Request::Stats`].
    Stats(Stats),
    /// Not done: what failed, naming the thing.
    Failed(String),
}

/// Counters since start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Returns of `KVM_RUN` to user space by reason, for all vCPUs.
    pub exits: Vec<(String, u64)>,
    /// Requests served, by device queue (`fs.1`, `vsock.tx`).
    pub requests: Vec<(String, u64)>,
    /// Network cards, in their order.
    pub cards: Vec<CardStats>,
    /// Block devices attached now, with their slots.
    pub blocks: Vec<(u32, BlockStats)>,
    /// Log bytes dropped by the rate limit.
    pub log_dropped: u64,
    /// ns from the VMM's `Configure` to the guest's first user instruction, 0 before it.
    pub first_user_ns: u64,
    /// ns of CPU time of all vCPU threads.
    pub vcpu_ns: u64,
}

/// Counters of a network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardStats {
    /// Towards the guest.
    pub received: FrameStats,
    /// From the guest.
    pub sent: FrameStats,
}

/// Counters of a block device since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockStats {
    /// Reads done.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes done.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Discards and writes of zeroes done.
    pub discards: u64,
    /// Requests that failed.
    pub errors: u64,
}

/// Counters of one direction of a network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameStats {
    /// Frames that went through.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that could not be passed on.
    pub dropped: u64,
    /// Frames that were to be segmented, or were put together.
    pub large: u64,
}

/// What the VMM tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A line of the guest's log.
    Log(String),
    /// The VM has ended; the VMM exits after it.
    Ended(EndReason),
    /// The guest has ended its side of an attached stream, or its connection was reset: every byte that it sent has
    /// been written to the descriptor, and the VMM has closed its copy of it.
    StreamClosed {
        /// Port given at attach.
        port: u32,
    },
}

/// Why a VM ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The guest powered off in order.
    Orderly,
    /// [`Request::Stop`].
    Stopped,
    /// The sentry panicked or met an exception in ring 0; the text is its report.
    Panic(String),
    /// Triple fault, KVM internal error or the like; with the last lines of the log.
    Crash(String),
    /// The guest broke a device's rules; which and how.
    Violation(String),
}
