//! A sandbox: one VMM process, the channel to it, and the channel to the sentry inside it.
//!
//! [`Sandbox::launch`] starts the VMM and queues everything up to the guest's first instruction without waiting for
//! any of it, so that the guest boots while the caller does something else; [`Sandbox::ready`] collects the answers.
//! What happens by itself ([`SandboxEvent`]) goes to one receiver.
//!
//! Two threads belong to a sandbox, one per channel. The VMM's also reaps the process: a sandbox that has ended has no
//! process left.

mod channel;
mod ending;
mod spawn;

pub use channel::{ChannelError, Ticket};
pub use ending::Ending;
pub use spawn::{OVERRIDE, PROGRAM, find};

use crate::block::OpenBlock;
use crate::network::PodNetwork;
use channel::{Channel, Reader, channel};
use chitin_proto::block::SLOTS;
use chitin_proto::network::Network;
use chitin_proto::vmm::{
    Access, Block, CachePolicy, Card, Direction, EndReason, Event as VmmEvent, MachineConfig,
    Reply as VmmReply, Request as VmmRequest, Share, Stats as VmmStats,
};
use chitin_proto::vsock::{PORT_CONTROL, PORT_STREAMS};
use chitin_proto::{VERSION, control};
use ending::{Diagnostics, Status};
use rustix::process::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the guest may take from the VMM's start to its first control frame.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long any single request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a VMM may take to exit once it was told to.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why something with a sandbox failed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The VMM's program was not found.
    #[error("{PROGRAM} not found: not beside this program, not in PATH, and {OVERRIDE} is not set")]
    NoProgram,
    /// The VMM could not be started.
    #[error("start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Operating system error.
        source: std::io::Error,
    },
    /// A descriptor for the sandbox could not be made.
    #[error("{what}: {source}")]
    Descriptor {
        /// What was being made.
        what: &'static str,
        /// Operating system error.
        source: std::io::Error,
    },
    /// The VMM refused a request.
    #[error("VMM: {what}: {message}")]
    Vmm {
        /// What was asked.
        what: String,
        /// Its words.
        message: String,
    },
    /// The sentry refused a request.
    #[error("{message}")]
    Sentry {
        /// Linux errno.
        errno: i32,
        /// Its words, which name the thing.
        message: String,
    },
    /// Guest and shim are of different versions.
    #[error(
        "the guest speaks protocol version {guest}, this program {VERSION}: they were not installed together"
    )]
    Version {
        /// The guest's.
        guest: u32,
    },
    /// The guest did not get as far as its control channel.
    #[error("the guest was not ready after {seconds} s; last log lines:\n{log}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// What it said.
        log: String,
    },
    /// A sandbox has no more slots for block devices.
    #[error("a sandbox has at most {SLOTS} block devices")]
    NoSlot,
    /// The sandbox has ended.
    #[error("the sandbox has ended: {0}")]
    Ended(Ending),
    /// A request got no answer.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// An answer that does not belong to the request.
    #[error("{what}: unexpected answer {answer}")]
    Unexpected {
        /// What was asked.
        what: &'static str,
        /// What came.
        answer: String,
    },
}

/// What a sandbox tells by itself.
#[derive(Debug)]
pub enum SandboxEvent {
    /// A process ended, memory ran out.
    Control(control::Event),
    /// A line of the guest's log.
    Log(String),
    /// Every byte of the stream at this port is written out.
    StreamClosed(u32),
    /// The VMM is gone; nothing comes after this.
    Ended(Ending),
}

/// How to start a sandbox.
#[derive(Debug)]
pub struct Launch {
    /// The VMM's program.
    pub program: PathBuf,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM, bytes; rounded up to a multiple of 2 MiB.
    pub ram_bytes: u64,
    /// Most log bytes per second.
    pub log_bytes_per_second: u32,
    /// The pod's network; `None` for loopback only.
    pub network: Option<PodNetwork>,
    /// Where the VMM's own stderr goes; `None` keeps it for the error report alone.
    pub output: Option<OwnedFd>,
}

/// A running sandbox. Dropping it ends the VMM and waits until its process is gone.
#[derive(Debug)]
pub struct Sandbox {
    pid: Pid,
    vmm: Channel<VmmRequest, VmmReply>,
    control: Channel<control::Request, control::Reply>,
    status: Arc<Status>,
    boot: Mutex<Vec<(&'static str, Ticket<VmmReply>)>>,
    /// Told to the sentry as soon as it listens.
    network: Mutex<Option<Network>>,
    next_port: AtomicU32,
    next_share: AtomicU32,
    /// Which slots for block devices are taken.
    slots: Mutex<[bool; SLOTS]>,
}

impl Sandbox {
    /// Starts the VMM and queues configuration, control stream and start.
    ///
    /// # Errors
    /// [`SandboxError::Spawn`] and [`SandboxError::Descriptor`]; what the VMM itself refuses is told by
    /// [`Sandbox::ready`].
    pub fn launch<E: From<SandboxEvent> + Send + 'static>(
        launch: Launch,
        events: Sender<E>,
    ) -> Result<Self, SandboxError> {
        let pair = || {
            UnixStream::pair()
                .map_err(|source| SandboxError::Descriptor { what: "make a control socket", source })
        };
        let ((vmm_ours, vmm_theirs), (control_ours, control_theirs)) = (pair()?, pair()?);
        let diagnostics = Diagnostics::new(launch.output).map_err(|source| SandboxError::Descriptor {
            what: "make a file for the VMM's messages",
            source,
        })?;
        let pid = spawn::spawn(&launch.program, vmm_theirs.as_fd(), diagnostics.descriptor())
            .map_err(|source| SandboxError::Spawn { program: launch.program, source })?;
        drop(vmm_theirs);
        let halves = |source| SandboxError::Descriptor { what: "copy a control socket", source };
        let (vmm, vmm_reader) = channel(vmm_ours, "VMM").map_err(halves)?;
        let (control, control_reader) = channel(control_ours, "sentry").map_err(halves)?;
        let status = Arc::new(Status::new(pid, diagnostics));
        let (network, cards) = launch.network.map(|pod| (pod.network, pod.cards)).unzip();
        let sandbox = Self {
            pid,
            vmm,
            control,
            status,
            boot: Mutex::new(Vec::new()),
            network: Mutex::new(network),
            next_port: AtomicU32::new(PORT_STREAMS),
            next_share: AtomicU32::new(0),
            slots: Mutex::new([false; SLOTS]),
        };
        sandbox
            .watch(vmm_reader, control_reader, events)
            .map_err(|source| SandboxError::Descriptor { what: "start a thread", source })?;
        let config = MachineConfig {
            version: VERSION,
            cpus: launch.cpus,
            ram_bytes: launch.ram_bytes.next_multiple_of(2 << 20),
            log_bytes_per_second: launch.log_bytes_per_second,
        };
        sandbox.queue_boot(config, control_theirs.into(), cards.unwrap_or_default());
        Ok(sandbox)
    }

    /// The VMM's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the sentry takes requests.
    ///
    /// # Errors
    /// What the VMM refused at boot, [`SandboxError::Version`], [`SandboxError::Ended`], [`SandboxError::NotReady`].
    pub fn ready(&self) -> Result<(), SandboxError> {
        let tickets = std::mem::take(&mut *self.boot.lock().unwrap_or_else(PoisonError::into_inner));
        for (what, ticket) in tickets {
            self.finish(what, ticket)?;
        }
        let version = self.status.wait_ready(BOOT_TIMEOUT)?;
        if version != VERSION {
            return Err(SandboxError::Version { guest: version });
        }
        // Whoever comes second waits here until the sentry knows.
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        match network.take() {
            Some(network) if !network.interfaces.is_empty() => self.set_network(network),
            _ => Ok(()),
        }
    }

    fn set_network(&self, network: Network) -> Result<(), SandboxError> {
        self.control(&control::Request::SetNetwork(network)).map(drop)
    }

    /// Adds a directory tree (or one file) and returns the name under which the guest finds it.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn attach_share(
        &self,
        tree: BorrowedFd<'_>,
        access: Access,
        policy: CachePolicy,
    ) -> Result<Attachment<'_, String>, SandboxError> {
        let name = format!("s{}", self.next_share.fetch_add(1, Ordering::Relaxed));
        let share = Share { name: name.clone(), access, policy };
        self.attach(VmmRequest::AttachShare(share), tree, "attach a directory", name)
    }

    /// Takes a share away again.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn detach_share(&self, name: &str) -> Result<(), SandboxError> {
        let request = VmmRequest::DetachShare { name: name.to_owned() };
        let ticket = self.vmm.send(&request, &[]).map_err(|error| self.explain(error))?;
        self.finish("detach a directory", ticket)
    }

    /// Attaches a block device and returns the slot in which the guest finds it.
    ///
    /// # Errors
    /// [`SandboxError::NoSlot`]; when the VMM refuses or is gone.
    pub fn attach_block(&self, block: &OpenBlock) -> Result<u32, SandboxError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let free = (0u32..).zip(slots.iter_mut()).find(|(_, is_taken)| !**is_taken);
            let (slot, is_taken) = free.ok_or(SandboxError::NoSlot)?;
            *is_taken = true;
            slot
        };
        let request = VmmRequest::AttachBlock(Block {
            slot,
            access: block.access,
            bytes: block.bytes,
            block_size: block.block_size,
            physical_block_size: block.physical_block_size,
            serial: block.serial.clone(),
        });
        let attached = self.attach(request, block.file.as_fd(), "attach a block device", slot);
        attached.and_then(Attachment::finish).inspect_err(|_| self.free_slot(slot))
    }

    /// Takes a block device away again.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn detach_block(&self, slot: u32) -> Result<(), SandboxError> {
        let ticket =
            self.vmm.send(&VmmRequest::DetachBlock { slot }, &[]).map_err(|error| self.explain(error))?;
        self.finish("detach a block device", ticket)?;
        self.free_slot(slot);
        Ok(())
    }

    fn free_slot(&self, slot: u32) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_taken) = usize::try_from(slot).ok().and_then(|slot| slots.get_mut(slot)) {
            *is_taken = false;
        }
    }

    /// Hands a stream over and returns the port at which the guest finds it.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn attach_stream(
        &self,
        stream: BorrowedFd<'_>,
        direction: Direction,
    ) -> Result<Attachment<'_, u32>, SandboxError> {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        let request = VmmRequest::AttachStream { port, direction };
        self.attach(request, stream, "attach a stream", port)
    }

    /// Takes back streams that the sentry did not connect to, so that their other ends see them closed; failures are of
    /// no consequence, the VMM may be gone.
    pub fn detach_streams(&self, stdio: control::Stdio) {
        use control::Stdio;
        let ports = match stdio {
            Stdio::Null => [None; 3],
            Stdio::Terminal { port, .. } => [Some(port), None, None],
            Stdio::Streams { stdin, stdout, stderr } => [stdin, stdout, stderr],
        };
        for port in ports.into_iter().flatten() {
            let request = VmmRequest::DetachStream { port };
            if let Ok(ticket) = self.vmm.send(&request, &[]) {
                let _ = self.finish("detach a stream", ticket);
            }
        }
    }

    /// Asks the sentry; a refusal is an error.
    ///
    /// # Errors
    /// [`SandboxError::Sentry`] with its words, or the channel's failure.
    pub fn control(&self, request: &control::Request) -> Result<control::Reply, SandboxError> {
        self.control_within(request, REQUEST_TIMEOUT)
    }

    /// As [`Sandbox::control`], with a time limit of the caller's.
    ///
    /// # Errors
    /// As [`Sandbox::control`].
    pub fn control_within(
        &self,
        request: &control::Request,
        timeout: Duration,
    ) -> Result<control::Reply, SandboxError> {
        let reply = self.control.call(request, timeout);
        match reply.map_err(|error| self.explain(error))? {
            control::Reply::Failed { errno, message } => Err(SandboxError::Sentry { errno, message }),
            reply => Ok(reply),
        }
    }

    /// Counters of the machine.
    ///
    /// # Errors
    /// When the VMM is gone or does not answer.
    pub fn stats(&self) -> Result<VmmStats, SandboxError> {
        let reply = self.vmm.call(&VmmRequest::Stats, REQUEST_TIMEOUT);
        match reply.map_err(|error| self.explain(error))? {
            VmmReply::Stats(stats) => Ok(stats),
            other => Err(SandboxError::Unexpected { what: "VMM stats", answer: format!("{other:?}") }),
        }
    }

    /// Tells the VMM to stop, without waiting for it.
    pub fn begin_stop(&self) {
        let _ = self.vmm.send(&VmmRequest::Stop, &[]);
    }

    /// Ends the VMM and waits until its process is gone; one that does not go is killed.
    pub fn stop(&self) {
        self.begin_stop();
        self.status.wait_gone(EXIT_TIMEOUT);
    }

    /// Kills the VMM's process.
    pub fn kill(&self) {
        self.status.kill();
    }

    /// Why it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.status.ending()
    }

    fn attach<T>(
        &self,
        request: VmmRequest,
        descriptor: BorrowedFd<'_>,
        what: &'static str,
        value: T,
    ) -> Result<Attachment<'_, T>, SandboxError> {
        let ticket = self.vmm.send(&request, &[descriptor]).map_err(|error| self.explain(error))?;
        Ok(Attachment { sandbox: self, ticket, what, value })
    }

    fn finish(&self, what: &str, ticket: Ticket<VmmReply>) -> Result<(), SandboxError> {
        match ticket.wait(REQUEST_TIMEOUT).map_err(|error| self.explain(error))? {
            VmmReply::Done | VmmReply::Stats(_) => Ok(()),
            VmmReply::Failed(message) => Err(SandboxError::Vmm { what: what.to_owned(), message }),
        }
    }

    /// A lost channel mostly means that the sandbox has ended: say why instead.
    fn explain(&self, error: ChannelError) -> SandboxError {
        match error {
            ChannelError::Closed { .. } | ChannelError::Write { .. } => {
                match self.status.wait_ending(EXIT_TIMEOUT) {
                    Some(ending) => SandboxError::Ended(ending),
                    None => error.into(),
                }
            }
            other => other.into(),
        }
    }

    fn queue_boot(&self, config: MachineConfig, control: OwnedFd, cards: Vec<(Card, OwnedFd)>) {
        let stream = VmmRequest::AttachStream { port: PORT_CONTROL, direction: Direction::Both };
        let cards = cards.iter().map(|(card, tap)| {
            ("attach a network card", VmmRequest::AttachNetwork(*card), Some(tap.as_fd()))
        });
        let steps = cards.chain([
            ("configure the machine", VmmRequest::Configure(config), None),
            ("attach the control stream", stream, Some(control.as_fd())),
            ("start the machine", VmmRequest::Start, None),
        ]);
        let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, request, descriptor) in steps {
            // A VMM that is already gone is reported by `ready`, which waits for its ending.
            let Ok(ticket) = self.vmm.send(&request, descriptor.as_slice()) else { break };
            boot.push((what, ticket));
        }
    }

    fn watch<E: From<SandboxEvent> + Send + 'static>(
        &self,
        vmm: Reader<VmmReply, VmmEvent>,
        control: Reader<control::Reply, control::Event>,
        events: Sender<E>,
    ) -> std::io::Result<()> {
        let (status, sender) = (Arc::clone(&self.status), events.clone());
        std::thread::Builder::new().name("vmm".to_owned()).spawn(move || {
            let mut reason: Option<EndReason> = None;
            let lost = vmm.run(|event| match event {
                VmmEvent::Log(line) => {
                    status.log(&line);
                    let _ = sender.send(SandboxEvent::Log(line).into());
                }
                VmmEvent::StreamClosed { port } => {
                    let _ = sender.send(SandboxEvent::StreamClosed(port).into());
                }
                VmmEvent::Ended(ended) => reason = Some(ended),
            });
            let ending = status.reap(reason, lost.err(), EXIT_TIMEOUT);
            let _ = sender.send(SandboxEvent::Ended(ending).into());
        })?;
        let status = Arc::clone(&self.status);
        std::thread::Builder::new().name("sentry".to_owned()).spawn(move || {
            let lost = control.run(|event| match event {
                control::Event::Ready { version } => status.set_ready(version),
                event => {
                    let _ = events.send(SandboxEvent::Control(event).into());
                }
            });
            if let Err(error) = lost {
                // Bytes that are no frames come from a sentry that cannot be trusted any more.
                status.log(&format!("control channel: {error}"));
                status.kill();
            }
        })?;
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.vmm.close();
        self.control.close();
        self.status.wait_gone(EXIT_TIMEOUT);
    }
}

/// A share or stream whose attachment is under way.
#[derive(Debug)]
#[must_use = "an attachment may have failed"]
pub struct Attachment<'a, T> {
    sandbox: &'a Sandbox,
    ticket: Ticket<VmmReply>,
    what: &'static str,
    value: T,
}

impl<T: Clone> Attachment<'_, T> {
    /// The name or port it will have.
    pub fn value(&self) -> T {
        self.value.clone()
    }

    /// Waits until it is there.
    ///
    /// # Errors
    /// When the VMM refuses or is gone.
    pub fn finish(self) -> Result<T, SandboxError> {
        self.sandbox.finish(self.what, self.ticket)?;
        Ok(self.value)
    }
}
