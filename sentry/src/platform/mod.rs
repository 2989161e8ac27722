//! The platform boundary: what the sentry needs of whatever runs it.
//!
//! Three platforms are planned for: bare metal (`guest/`), [`hosted`] for tests, and processes on a host without usable
//! KVM. The sentry reaches its platform by [`get`], set once at boot. Sleeping, waking, CPU number and the monotonic
//! clock come from [`chitin_core::hooks`]; frames from [`chitin_core::frame`].
//!
//! The platform calls up by two ways only: the body given to [`Platform::spawn`], and [`DeviceEvents`].

use crate::user::UserAddr;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::cpu::{ExitRequest, UserContext, Xstate};
use chitin_core::frame::Frame;
use chitin_core::once::Once;
use chitin_core::sleep::Sleeper;

#[cfg(any(test, feature = "hosted"))]
pub mod hosted;

/// Body of a kernel thread.
pub type ThreadBody = Box<dyn FnOnce(&Sleeper) + Send>;

/// Memory (heap, stack or frames) is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A kernel thread, as others see it. All of it may be asked after its end too.
pub trait KernelThread: Send + Sync {
    /// Time that it has been on CPUs, ns: neither asleep nor waiting for one.
    fn ran_ns(&self) -> u64;

    /// Time that it could have run but waited for a CPU, ns.
    fn waited_ns(&self) -> u64;

    /// How often it left a CPU to sleep, and how often to let others run.
    fn switches(&self) -> (u64, u64);

    /// Whether it is parked and nobody has woken it.
    fn is_asleep(&self) -> bool;

    /// Changes when and where it runs. A thread that runs elsewhere hears of it at once, the calling one at its next
    /// [`Sleeper::resched_point`].
    fn set_scheduling(&self, scheduling: Scheduling);
}

/// Which of the threads that could run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ahead of all fair ones, the higher the priority (1 to 99) the earlier, but for a part of each second that is left to
    /// the others.
    RealTime {
        /// Its priority.
        priority: u8,
        /// Those of the same priority take turns, instead of running until they sleep.
        takes_turns: bool,
    },
    /// Shares the CPUs with other fair ones in the proportion of their weights.
    Fair {
        /// 1024 for an ordinary thread; at least 1.
        weight: u32,
    },
}

/// When and where a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// When.
    pub class: Class,
    /// On which CPUs, a bit each: at least one that there is.
    pub cpus: u64,
}

impl Scheduling {
    /// Threads of the sentry's own, which seldom run and for whose work many wait.
    pub const WORKER: Self = Self { class: Class::Fair { weight: 4096 }, cpus: u64::MAX };
}

/// What runs the sentry.
pub trait Platform: Sync + Send {
    /// Starts a kernel thread. The thread ends when `body` returns.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no stack for it.
    fn start(
        &self,
        name: &'static str,
        scheduling: Scheduling,
        body: ThreadBody,
    ) -> Result<Arc<dyn KernelThread>, OutOfMemory>;

    /// Starts a thread that works for all.
    ///
    /// # Errors
    /// As [`Platform::start`].
    fn spawn(&self, name: &'static str, body: ThreadBody) -> Result<Arc<dyn KernelThread>, OutOfMemory> {
        self.start(name, Scheduling::WORKER, body)
    }

    /// An empty address space.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no root table for it.
    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory>;

    /// Runs user code until it traps. Returns [`Trap::Interrupt`] without running any when `exit` is set.
    fn run_user(&self, context: &mut UserContext, space: &Arc<dyn Space>, exit: &ExitRequest) -> Trap;

    /// Brings `xstate.area` up to date when the newest state is in CPU registers, and makes the next
    /// [`Platform::run_user`] load it from there again, so that it may be read, copied or changed.
    fn flush_xstate(&self, xstate: &mut Xstate);

    /// Bytes of an [`Xstate`] area, and the XCR0 mask of components in it.
    fn xstate_layout(&self) -> (usize, u64);

    /// Interrupts user code on `cpu` so that it tests its [`ExitRequest`].
    fn kick(&self, cpu: usize);

    /// CPUs that may run user code.
    fn cpus(&self) -> usize;

    /// Wall clock: ns since the epoch.
    fn realtime_ns(&self) -> u64;

    /// What CPUID says (eax, ebx, ecx, edx), for `/proc/cpuinfo`; zeroes on a platform that cannot tell.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let _ = (leaf, subleaf);
        [0; 4]
    }

    /// Frequency of the time stamp counter in kHz, 0 when it is not known.
    fn clock_khz(&self) -> u64 {
        0
    }

    /// Fills `bytes` with entropy fit for cryptographic keys.
    fn entropy(&self, bytes: &mut [u8]);

    /// Frames that user space maps read-only and executable as its vDSO image, and after it the data page(s) the image
    /// reads; empty when the platform has none. See `exec`.
    fn vdso(&self) -> &[Frame];

    /// Writes to the kernel log.
    fn log(&self, text: &str);

    /// Ends the sandbox.
    fn power_off(&self, reason: chitin_proto::layout::PowerOff) -> !;

    /// The file channel to the host, `None` when the machine has none.
    fn fuse(&self) -> Option<&dyn FuseChannel>;

    /// The socket device, `None` when the machine has none.
    fn vsock(&self) -> Option<&dyn VsockPort>;

    /// The network card of that index, `None` when the machine has no such one.
    fn net(&self, card: usize) -> Option<&dyn NetPort> {
        let _ = card;
        None
    }

    /// The block device slot of that index, attached or not; `None` when the machine has no such one.
    fn block(&self, slot: usize) -> Option<&'static dyn BlockPort> {
        let _ = slot;
        None
    }
}

static PLATFORM: Once<&'static dyn Platform> = Once::new();

/// Sets the platform; the first call wins.
pub fn install(platform: &'static dyn Platform) {
    PLATFORM.set(platform);
}

/// The platform.
///
/// # Panics
/// Before [`install`], which boot calls first.
#[must_use]
#[expect(clippy::expect_used, reason = "boot installs the platform before anything else runs")]
pub fn get() -> &'static dyn Platform {
    *PLATFORM.get().expect("platform is installed at boot")
}

/// Why user code stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `SYSCALL`; the number is in `regs.orig_rax`, `regs.rip` is after the instruction, `rcx` and `r11` are clobbered
    /// as the instruction does.
    Syscall,
    /// Page fault.
    PageFault {
        /// Faulting address (CR2); may be any 64-bit value.
        address: u64,
        /// What was attempted.
        access: Access,
    },
    /// Any other exception, by its vector, with the error code or 0. Vectors as in the Intel SDM vol. 3, 6.3.1.
    Exception {
        /// 0 #DE, 1 #DB, 3 #BP, 4 #OF, 5 #BR, 6 #UD, 7 #NM, 11 #NP, 12 #SS, 13 #GP, 16 #MF, 17 #AC, 19 #XM.
        vector: u8,
        /// Error code.
        code: u32,
    },
    /// An interrupt was served, or the exit request was set: look at pending work and run again.
    Interrupt,
}

/// Kind of an access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Instruction fetch.
    Execute,
}

bitflags! {
    /// What user code may do with a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Perm: u8 {
        /// Readable; x86 cannot express a mapping that is not.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXECUTE = 4;
    }
}

/// A page that user memory is copied from or to is not mapped that way: the copy stopped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFault {
    /// Bytes copied before.
    pub done: usize,
}

/// The hardware's view of an address space: a cache of the sentry's page index that may be discarded at any time.
///
/// All methods may be called from any thread; none sleeps. Ranges are page aligned, below
/// [`chitin_proto::layout::USER_END`].
pub trait Space: Send + Sync {
    /// Maps `frame` at page `at`, replacing what was there. The space does not own the frame: the page index keeps it
    /// alive until after [`Space::unmap`] of the page has returned.
    ///
    /// # Errors
    /// [`OutOfMemory`] when a table cannot be allocated.
    fn map(&self, at: UserAddr, frame: &Frame, perm: Perm) -> Result<(), OutOfMemory>;

    /// Maps frames at the pages that follow each other from `at`; a page with `None` is left as it is.
    ///
    /// # Errors
    /// As [`Space::map`]; pages before the one that could not be mapped are.
    fn map_run(&self, at: UserAddr, run: &[Option<(&Frame, Perm)>]) -> Result<(), OutOfMemory> {
        for (page, wanted) in (0u64..).zip(run) {
            if let (Some((frame, perm)), Some(at)) = (wanted, at.checked_add(page << 12)) {
                self.map(at, frame, *perm)?;
            }
        }
        Ok(())
    }

    /// Takes the write permission from every page of the range, on all CPUs when it returns.
    fn write_protect(&self, from: UserAddr, pages: usize);

    /// Changes the permission of the mapped pages of the range to at most `perm`, on all CPUs when it returns.
    fn restrict(&self, from: UserAddr, pages: usize, perm: Perm);

    /// Removes every page of the range, on all CPUs when it returns.
    fn unmap(&self, from: UserAddr, pages: usize);

    /// Copies from user memory as user code could read it.
    ///
    /// # Errors
    /// [`CopyFault`] at the first page that is not mapped readable.
    fn copy_in(&self, from: UserAddr, to: &mut [u8]) -> Result<(), CopyFault>;

    /// Copies to user memory as user code could write it.
    ///
    /// # Errors
    /// [`CopyFault`] at the first page that is not mapped writable.
    fn copy_out(&self, to: UserAddr, from: &[u8]) -> Result<(), CopyFault>;

    /// Copies `len` bytes of `frame` from `offset` to user memory.
    ///
    /// # Errors
    /// As [`Space::copy_out`].
    fn copy_out_frame(
        &self,
        to: UserAddr,
        frame: &Frame,
        offset: usize,
        len: usize,
    ) -> Result<(), CopyFault> {
        let mut bounce = [0; 512];
        let mut done = 0;
        while done < len {
            let part = bounce.get_mut(..(len - done).min(512)).unwrap_or_default();
            let got = frame.copy_out(offset + done, part);
            let part = part.get(..got).unwrap_or_default();
            let Some(at) = to.checked_add(done as u64).filter(|_| got > 0) else {
                return Err(CopyFault { done });
            };
            self.copy_out(at, part).map_err(|fault| CopyFault { done: done + fault.done })?;
            done += got;
        }
        Ok(())
    }

    /// Copies `len` bytes of user memory into `frame` at `offset`.
    ///
    /// # Errors
    /// As [`Space::copy_in`].
    fn copy_in_frame(
        &self,
        from: UserAddr,
        frame: &Frame,
        offset: usize,
        len: usize,
    ) -> Result<(), CopyFault> {
        let mut bounce = [0; 512];
        let mut done = 0;
        while done < len {
            let part = bounce.get_mut(..(len - done).min(512)).unwrap_or_default();
            let Some(at) = from.checked_add(done as u64) else { return Err(CopyFault { done }) };
            let copied = self.copy_in(at, part);
            let good = copied.map_or_else(|fault| fault.done, |()| part.len());
            let put = frame.copy_in(offset + done, part.get(..good).unwrap_or_default());
            done += put;
            if copied.is_err() || put < good || put == 0 {
                return Err(CopyFault { done });
            }
        }
        Ok(())
    }

    /// Reads the aligned word at `at`.
    ///
    /// # Errors
    /// [`CopyFault`] when it is not mapped readable.
    fn load_u32(&self, at: UserAddr) -> Result<u32, CopyFault>;

    /// Stores `new` in the aligned word at `at` if it holds `current`; returns what it held.
    ///
    /// # Errors
    /// [`CopyFault`] when it is not mapped writable.
    fn compare_exchange_u32(&self, at: UserAddr, current: u32, new: u32) -> Result<u32, CopyFault>;
}

/// What device drivers tell the sentry. Called with interrupts off on any CPU: implementations only mark and wake.
pub trait DeviceEvents: Sync {
    /// Packets may have arrived, or room for sending may be there.
    fn vsock_ready(&self);

    /// Frames may have arrived at the network card of that index, or room for sending may be there.
    fn net_ready(&self, card: usize);
}

static EVENTS: Once<&'static dyn DeviceEvents> = Once::new();

/// Sets who hears of device events; the first call wins.
pub fn set_device_events(events: &'static dyn DeviceEvents) {
    EVENTS.set(events);
}

/// For platforms: who hears of device events, once the sentry has said so.
#[must_use]
pub fn device_events() -> Option<&'static dyn DeviceEvents> {
    EVENTS.get().copied()
}

/// Part of a request or answer of the file channel.
#[derive(Debug)]
pub enum Segment {
    /// Bytes of the kernel heap; the driver copies them to or from frames of its own.
    Bytes(Vec<u8>),
    /// Part of a frame, read or written by the host in place.
    Frame {
        /// The frame.
        frame: Frame,
        /// First byte.
        offset: u16,
        /// Bytes, at most to the end of the frame.
        len: u16,
    },
}

/// A finished request.
#[derive(Debug)]
pub struct FuseAnswer {
    /// The segments given for the answer; of [`Segment::Bytes`] as many bytes as were written.
    pub segments: Vec<Segment>,
    /// Bytes written by the host in all.
    pub len: usize,
}

/// The request channel of virtio-fs. A request is submitted once and awaited, never retried.
pub trait FuseChannel: Sync {
    /// Sends `request` and sleeps until the host has answered into `answer` (header first). `answer` is empty for
    /// `FORGET`, which is not answered: the call returns when the request is queued.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the request could not be set up.
    fn call(
        &self,
        sleeper: &Sleeper,
        request: Vec<Segment>,
        answer: Vec<Segment>,
    ) -> Result<FuseAnswer, OutOfMemory>;
}

/// The packet device below stream sockets to the host (virtio-vsock).
pub trait VsockPort: Sync {
    /// Queues one packet; `None` when the queue is full ([`DeviceEvents::vsock_ready`] tells when to try again).
    fn try_send(&self, header: &chitin_proto::vsock::Header, payload: &[u8]) -> Option<()>;

    /// Takes one received packet; the payload replaces `payload`'s contents. The length is the device's word: it is at
    /// most [`chitin_proto::vsock::MAX_PAYLOAD`], and `header.len` may disagree with it.
    fn try_receive(&self, payload: &mut Vec<u8>) -> Option<chitin_proto::vsock::Header>;
}

/// What the network stack asks of a card for one frame, and what the card says of one: `struct virtio_net_hdr` (virtio 1.2,
/// section 5.1.6) in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Sending: the transport checksum is to be filled in, from this offset of the frame on; the field, which holds the sum of
    /// the pseudo header, is `checksum_offset` bytes after that. Receiving: the checksum is not there yet, as between two
    /// guests of a host.
    pub checksum_start: Option<u16>,
    /// Offset of the checksum from `checksum_start`.
    pub checksum_offset: u16,
    /// Receiving: the card has verified the checksum.
    pub is_verified: bool,
    /// TCP payload bytes of each segment that the frame is to be cut into (sending), or was put together from (receiving); 0
    /// when it is one segment.
    pub segment_bytes: u16,
}

/// A network card (virtio-net, virtio 1.2, section 5.1). Frames are Ethernet frames without frame check sequence.
pub trait NetPort: Sync {
    /// Hardware address.
    fn mac(&self) -> [u8; 6];

    /// Longest payload of an Ethernet frame that is not to be segmented.
    fn mtu(&self) -> u32;

    /// Whether [`Offload::checksum_start`] and [`Offload::segment_bytes`] may be used when sending.
    fn can_offload(&self) -> bool;

    /// Queues one frame, given in parts; at most 64 KiB + headers. `None` when the queue is full
    /// ([`DeviceEvents::net_ready`] tells when to try again). Frames queued before [`NetPort::flush`] may wait for it.
    fn try_send(&self, parts: &[&[u8]], offload: Offload) -> Option<()>;

    /// Tells the device of what was queued.
    fn flush(&self);

    /// Takes one received frame, whose bytes replace `frame`'s contents. Everything in it is hostile; its length is at most
    /// 64 KiB + headers.
    fn try_receive(&self, frame: &mut Vec<u8>) -> Option<Offload>;
}

/// What is attached to a block device slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGeometry {
    /// Sectors of 512 bytes, not 0.
    pub sectors: u64,
    /// Logical block size in bytes.
    pub block_size: u32,
    /// Physical block size in bytes.
    pub physical_block_size: u32,
    /// Writes fail.
    pub is_read_only: bool,
    /// Most sectors of one discard, 0 when there is none.
    pub max_discard_sectors: u32,
    /// Most sectors of one write of zeroes, 0 when there is none.
    pub max_zero_sectors: u32,
}

/// What a block device is asked for (virtio 1.2, section 5.2.6). Sectors have 512 bytes.
#[derive(Debug)]
pub enum BlockRequest<'a> {
    /// Fills the first `len` bytes of `frames`, at most [`chitin_proto::block::MAX_SEGMENTS`] of them.
    Read {
        /// First sector.
        sector: u64,
        /// Where to.
        frames: &'a [Frame],
        /// Bytes, a multiple of the logical block size.
        len: usize,
    },
    /// Writes the first `len` bytes of `frames`.
    Write {
        /// First sector.
        sector: u64,
        /// Where from.
        frames: &'a [Frame],
        /// Bytes, a multiple of the logical block size.
        len: usize,
    },
    /// Every write that was answered before survives a loss of power once this is answered.
    Flush,
    /// The sectors' contents are not needed any more.
    Discard {
        /// First sector.
        sector: u64,
        /// How many.
        sectors: u32,
    },
    /// The sectors read as zeroes from now on.
    WriteZeroes {
        /// First sector.
        sector: u64,
        /// How many.
        sectors: u32,
        /// Their space may be given back.
        unmap: bool,
    },
    /// Asks for the serial number, padded with zeroes.
    Identify(&'a mut [u8; chitin_proto::block::ID_BYTES]),
}

/// Why a request of a block device failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The device could not do it.
    Io,
    /// The device has no room: a sparse image on a full disk.
    NoSpace,
    /// The device has no such request.
    Unsupported,
    /// The request could not be set up.
    NoMemory,
}

/// A block device (virtio-blk). A request is submitted once and awaited, never retried, by any number of threads at a time.
pub trait BlockPort: Sync {
    /// What is attached now, `None` when nothing is.
    fn geometry(&self) -> Option<BlockGeometry>;

    /// Sends a request and sleeps until it is done.
    ///
    /// # Errors
    /// [`BlockError`].
    fn call(&self, sleeper: &Sleeper, request: BlockRequest<'_>) -> Result<(), BlockError>;
}
