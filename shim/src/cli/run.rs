//! `chitin run`: one container in one sandbox that lives as long as this program.
//!
//! Nothing is left behind whatever happens: the sandbox's mounts are detached and its VMM ends with our end of the
//! control socket.

use super::terminal::{RawMode, size};
use super::{RunArgs, fail, set_env};
use crate::block::{BlockSource, Caching, PlannedBlock, SLOTS};
use crate::config::{Config, ConfigError};
use crate::container::{self, ContainerError};
use crate::network::{self, Attached, NetworkError, PodNetwork, Wanted};
use crate::sandbox::{self, Ending, Launch, Sandbox, SandboxError, SandboxEvent};
use crate::spec::{self, Plan, RootfsRun, SpecError, User, UserError};
use crate::stdio::{Streams, attach_terminal, private_copy};
use chitin_proto::control::{Event, Reply, Request, RootWrites, SignalScope};
use chitin_proto::vmm::{Access, CachePolicy, FrameStats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A third interrupt in a row means it.
const PATIENCE: u32 = 3;
/// How often a slow reader of our output is looked at after the container has ended.
const DRAIN_CHECK: Duration = Duration::from_secs(2);

/// Group of disks, as most distributions number it.
const DISK_GROUP: u32 = 6;

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("--mount {0:?}: expected SRC:DST or SRC:DST:ro, DST absolute")]
    Mount(String),
    #[error("--block: a sandbox has at most {SLOTS} block devices")]
    Blocks,
    #[error("nothing to run: give a command after `--`")]
    NoCommand,
}

/// What the main loop waits for.
enum Happening {
    Sandbox(SandboxEvent),
    Signal(i32),
}

impl From<SandboxEvent> for Happening {
    fn from(event: SandboxEvent) -> Self {
        Self::Sandbox(event)
    }
}

/// Runs the command and passes its exit status on.
pub(super) fn run(args: RunArgs) -> ExitCode {
    match try_run(args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = fail(&error);
            match &error {
                RunError::Container(ContainerError::Sandbox(refused)) | RunError::Sandbox(refused) => {
                    exec_status(refused).map_or(status, ExitCode::from)
                }
                _ => status,
            }
        }
    }
}

/// 127 for a command that was not found, 126 for one that cannot be run.
fn exec_status(error: &SandboxError) -> Option<u8> {
    match error {
        SandboxError::Sentry { errno, message } if message.starts_with("exec") => {
            Some(if *errno == libc::ENOENT { 127 } else { 126 })
        }
        _ => None,
    }
}

fn try_run(args: RunArgs) -> Result<u8, RunError> {
    let mut config = Config::load()?;
    if let Some(mib) = args.mem {
        config.memory_bytes = mib.saturating_mul(1 << 20);
    }
    if let Some(cpus) = args.cpus {
        config.cpus = cpus;
    }
    let shows_log = args.log || args.strace || config.strace;
    let id = format!("run-{}", std::process::id());
    let Planned { mut plan, wants_tty, network } = plan(&args, &id)?;
    let tty = args.tty || (wants_tty && rustix::termios::isatty(io::stdin()));
    plan.container.strace = args.strace || config.strace;
    if args.mem.is_none() {
        config.fit(plan.container.limits.memory_bytes);
    }
    // Gives the interfaces back when the sandbox has ended.
    let (mut network, _attached) = take_network(network)?.unzip();
    if let Some(network) = &mut network {
        network.limit(config.network_limit);
    }
    let (sender, happenings) = channel();
    let launch = Launch {
        program: sandbox::find(config.vmm.as_deref()).ok_or(SandboxError::NoProgram)?,
        cpus: config.cpus,
        ram_bytes: config.memory_bytes,
        log_bytes_per_second: if shows_log { u32::MAX } else { config.log_bytes_per_second },
        network,
        output: if shows_log { Some(copy_of_stderr()?) } else { None },
    };
    let begin = Instant::now();
    let sandbox = Sandbox::launch(launch, sender.clone())?;
    // While the guest boots: what the host has to do.
    let opened = container::open_all(&plan, None)?;
    let raw_mode = if tty {
        Some(RawMode::enter().map_err(|source| RunError::Io { what: "terminal".into(), source })?)
    } else {
        None
    };
    let signals = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
    let mut signals = signal_hook::iterator::Signals::new(signals)
        .map_err(|source| RunError::Io { what: "signal handlers".into(), source })?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(Happening::Signal(signal)).is_err() {
                break;
            }
        }
    });
    sandbox.ready()?;
    let ready = Instant::now();
    let streams_error = |source| RunError::Io { what: "standard streams".into(), source };
    let (stdio, outputs) = if tty {
        let terminal = private_copy(io::stdin().as_fd(), OFlags::RDWR).map_err(streams_error)?;
        let terminal = terminal.ok_or_else(|| streams_error(io::ErrorKind::NotFound.into()))?;
        attach_terminal(&sandbox, terminal.as_fd(), size(io::stdin()))?
    } else {
        Streams::own().map_err(streams_error)?.attach(&sandbox)?
    };
    container::create(&sandbox, plan, &opened, stdio)?;
    drop(opened);
    let created = Instant::now();
    sandbox.control(&Request::StartContainer { id: id.clone() })?;
    let mut running = Running { sandbox: &sandbox, id, outputs, shows_log, interrupts: 0 };
    let outcome = running.wait(&happenings);
    drop(raw_mode);
    if args.stats {
        let ended = Instant::now();
        running.print_stats();
        for (name, from, to) in [
            ("host: boot", begin, ready),
            ("host: create", ready, created),
            ("host: start to end", created, ended),
        ] {
            eprintln!("{name:24} {} us", to.duration_since(from).as_micros());
        }
    }
    sandbox.stop();
    match outcome {
        Outcome::Exited(status) => Ok(status),
        Outcome::Lost(ending) => Err(SandboxError::Ended(ending).into()),
        Outcome::Abandoned => Ok(137),
    }
}

/// How the wait for a container ended.
enum Outcome {
    Exited(u8),
    Lost(Ending),
    Abandoned,
}

struct Running<'a> {
    sandbox: &'a Sandbox,
    id: String,
    /// Ports whose bytes are not all written yet.
    outputs: Vec<u32>,
    shows_log: bool,
    interrupts: u32,
}

impl Running<'_> {
    fn wait(&mut self, happenings: &Receiver<Happening>) -> Outcome {
        let mut exited = None;
        loop {
            if let Some(status) = exited
                && self.outputs.is_empty()
            {
                return Outcome::Exited(status);
            }
            let timeout = if exited.is_some() { DRAIN_CHECK } else { Duration::MAX };
            match happenings.recv_timeout(timeout) {
                Ok(Happening::Sandbox(SandboxEvent::Control(Event::Exited {
                    id,
                    exec_id: None,
                    status,
                    ..
                }))) if id == self.id => exited = Some(u8::try_from(status).unwrap_or(u8::MAX)),
                Ok(Happening::Sandbox(SandboxEvent::StreamClosed(port))) => {
                    self.outputs.retain(|open| *open != port);
                }
                Ok(Happening::Sandbox(SandboxEvent::Log(line))) => {
                    if self.shows_log {
                        eprintln!("{}", line.trim_end());
                    }
                }
                Ok(Happening::Sandbox(SandboxEvent::Control(Event::OutOfMemory { .. }))) => {
                    eprintln!("chitin: out of memory: a process of the container was killed");
                }
                Ok(Happening::Sandbox(SandboxEvent::Control(_))) => (),
                Ok(Happening::Sandbox(SandboxEvent::Ended(ending))) => {
                    return exited.map_or(Outcome::Lost(ending), Outcome::Exited);
                }
                Ok(Happening::Signal(signal)) => {
                    if self.signal(signal) {
                        return exited.map_or(Outcome::Abandoned, Outcome::Exited);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(status) = exited
                        && output_is_writable()
                    {
                        eprintln!("chitin: some output of the container may be missing");
                        return Outcome::Exited(status);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Outcome::Abandoned,
            }
        }
    }

    /// Passes a signal on; true when the caller has lost patience.
    fn signal(&mut self, signal: i32) -> bool {
        if signal == SIGWINCH {
            let (columns, rows) = size(io::stdin());
            let id = self.id.clone();
            let resize = Request::Resize { id, exec_id: None, columns, rows };
            let _ = self.sandbox.control(&resize);
            return false;
        }
        if matches!(signal, SIGINT | SIGTERM) {
            self.interrupts += 1;
            if self.interrupts >= PATIENCE {
                self.sandbox.kill();
                return true;
            }
        }
        let request = Request::Signal {
            id: self.id.clone(),
            exec_id: None,
            signal: signal.unsigned_abs(),
            scope: SignalScope::Process,
        };
        let _ = self.sandbox.control(&request);
        false
    }

    fn print_stats(&self) {
        eprintln!("--- chitin stats");
        if let Ok(Reply::Stats(stats)) = self.sandbox.control(&Request::Stats { id: self.id.clone() }) {
            eprintln!("{:24} {}", "system calls", stats.syscalls);
            eprintln!("{:24} {} us", "user time", stats.user_ns / 1000);
            eprintln!("{:24} {} us", "system time", stats.system_ns / 1000);
            eprintln!("{:24} {} KiB", "peak memory", stats.memory_peak_bytes / 1024);
            for (name, count) in &stats.unimplemented {
                eprintln!("{:24} {count}", format!("ENOSYS {name}"));
            }
        }
        if let Ok(stats) = self.sandbox.stats() {
            eprintln!("{:24} {} us", "first user instruction", stats.first_user_ns / 1000);
            eprintln!("{:24} {} us", "vCPU time", stats.vcpu_ns / 1000);
            for (reason, count) in &stats.exits {
                eprintln!("{:24} {count}", format!("exit {reason}"));
            }
            for (queue, count) in &stats.requests {
                eprintln!("{:24} {count}", format!("requests {queue}"));
            }
            for (index, card) in stats.cards.iter().enumerate() {
                for (way, counted) in [("received", card.received), ("sent", card.sent)] {
                    let FrameStats { frames, bytes, dropped, large } = counted;
                    let name = format!("card {index} {way}");
                    eprintln!("{name:24} {frames} frames, {bytes} bytes, {large} large, {dropped} dropped");
                }
            }
            for (slot, block) in &stats.blocks {
                eprintln!(
                    "{:24} {} reads, {} bytes; {} writes, {} bytes; {} flushes, {} discards, {} errors",
                    format!("block device {slot}"),
                    block.reads,
                    block.read_bytes,
                    block.writes,
                    block.written_bytes,
                    block.flushes,
                    block.discards,
                    block.errors
                );
            }
            if stats.log_dropped > 0 {
                eprintln!("{:24} {}", "log bytes dropped", stats.log_dropped);
            }
        }
    }
}

/// Whether whoever reads our output would take more of it.
fn output_is_writable() -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut streams = [PollFd::new(&stdout, PollFlags::OUT), PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut streams, Some(&now)).is_ok_and(|ready| ready == streams.len())
}

fn copy_of_stderr() -> Result<std::os::fd::OwnedFd, RunError> {
    rustix::io::fcntl_dupfd_cloexec(io::stderr(), 0)
        .map_err(|source| RunError::Io { what: "copy stderr".into(), source: source.into() })
}

/// What is to be run.
struct Planned {
    plan: Plan,
    /// The bundle asks for a terminal.
    wants_tty: bool,
    network: Wanted,
}

/// The interfaces of a namespace, for as long as the second value lives.
fn take_network(wanted: Wanted) -> Result<Option<(PodNetwork, Attached)>, RunError> {
    match wanted {
        Wanted::New => Ok(None),
        Wanted::Host => {
            eprintln!("chitin: a sandbox cannot have the host's network: it has loopback only");
            Ok(None)
        }
        Wanted::Namespace(path) => Ok(Some(network::attach(&path, &mut |_| Ok(()))?)),
    }
}

fn plan(args: &RunArgs, id: &str) -> Result<Planned, RunError> {
    let absolute = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|source| RunError::Io { what: path.display().to_string(), source })
    };
    let source = absolute(&args.source)?;
    let mounts =
        args.mount.iter().map(|text| parse_mount(text, absolute)).collect::<Result<Vec<_>, RunError>>()?;
    let mut planned = if source.join("config.json").is_file() {
        bundle_plan(args, id, &source, mounts)?
    } else {
        let plan = rootfs_plan(args, id, source, mounts)?;
        Planned { plan, wants_tty: false, network: Wanted::New }
    };
    for text in &args.block {
        let block = parse_block(text, planned.plan.blocks.len())?;
        planned.plan.blocks.push(block);
    }
    if let Some(path) = &args.netns {
        planned.network = Wanted::Namespace(path.clone());
    }
    Ok(planned)
}

/// `FILE[:ro][:direct]`, as the `index`th block device.
fn parse_block(text: &str, index: usize) -> Result<PlannedBlock, RunError> {
    let (mut path, mut access, mut caching) = (text, Access::ReadWrite, Caching::Host);
    loop {
        if let Some(rest) = path.strip_suffix(":ro") {
            (path, access) = (rest, Access::ReadOnly);
        } else if let Some(rest) = path.strip_suffix(":direct") {
            (path, caching) = (rest, Caching::None);
        } else {
            break;
        }
    }
    let letter = u8::try_from(index).ok().filter(|index| usize::from(*index) < SLOTS);
    let letter = letter.map(|index| char::from(b'a' + index)).ok_or(RunError::Blocks)?;
    Ok(PlannedBlock {
        source: BlockSource::Path(path.into()),
        access,
        caching,
        path: format!("/dev/vd{letter}"),
        mode: 0o660,
        uid: 0,
        gid: DISK_GROUP,
    })
}

type BindMount = (PathBuf, String, Vec<String>);

fn parse_mount(
    text: &str,
    absolute: impl Fn(&Path) -> Result<PathBuf, RunError>,
) -> Result<BindMount, RunError> {
    let mut parts = text.splitn(3, ':');
    let (source, destination) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if source.is_empty() || !destination.starts_with('/') {
        return Err(RunError::Mount(text.to_owned()));
    }
    let options = match parts.next() {
        None | Some("rw") => Vec::new(),
        Some("ro") => vec!["ro".to_owned()],
        Some(_) => return Err(RunError::Mount(text.to_owned())),
    };
    Ok((absolute(Path::new(source))?, destination.to_owned(), options))
}

fn bundle_plan(args: &RunArgs, id: &str, bundle: &Path, mounts: Vec<BindMount>) -> Result<Planned, RunError> {
    let loaded = spec::load(bundle)?;
    let rootfs = spec::rootfs_path(bundle, &loaded)?;
    let mut plan = spec::plan(id, &loaded, &rootfs)?;
    for share in plan.shares.iter_mut().take(1) {
        share.policy = CachePolicy::Shared;
        if args.writable {
            share.access = Access::ReadWrite;
            plan.container.root.writes = RootWrites::Through;
        }
    }
    for (source, destination, options) in mounts {
        let (mount, share) = spec::bind(&source, destination, options, plan.container.mounts.len())?;
        plan.container.mounts.push(mount);
        plan.shares.push(share);
    }
    let process = &mut plan.container.process;
    if !args.command.is_empty() {
        process.args.clone_from(&args.command);
    }
    for pair in &args.env {
        set_env(&mut process.env, pair);
    }
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &args.user {
        let user = User::find(&rootfs, user)?;
        (process.uid, process.gid) = (user.uid, user.gid);
        process.additional_gids = user.additional_gids;
    }
    if let Some(hostname) = &args.hostname {
        plan.container.hostname.clone_from(hostname);
    }
    let terminal = loaded.process().as_ref().and_then(oci_spec::runtime::Process::terminal);
    Ok(Planned { plan, wants_tty: terminal == Some(true), network: Wanted::of(&loaded) })
}

fn rootfs_plan(args: &RunArgs, id: &str, rootfs: PathBuf, mounts: Vec<BindMount>) -> Result<Plan, RunError> {
    if args.command.is_empty() {
        return Err(RunError::NoCommand);
    }
    let is_own_root = rootfs == Path::new("/");
    let cwd = args.cwd.clone().or_else(|| own_directory(&rootfs)).unwrap_or_else(|| "/".to_owned());
    let user = match &args.user {
        Some(user) => User::find(&rootfs, user)?,
        None if is_own_root => own_user(),
        None => User::default(),
    };
    let mut env: Vec<String> = std::env::vars_os()
        .filter_map(|(key, value)| Some(format!("{}={}", key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if let Some(home) = user.home.as_ref().filter(|_| args.user.is_some()) {
        set_env(&mut env, &format!("HOME={home}"));
    }
    for pair in &args.env {
        set_env(&mut env, pair);
    }
    let run = RootfsRun {
        id: id.to_owned(),
        rootfs,
        writes: if args.writable { RootWrites::Through } else { RootWrites::Overlay },
        args: args.command.clone(),
        env,
        cwd,
        hostname: args.hostname.clone().unwrap_or_default(),
        user,
        mounts,
    };
    Ok(run.plan()?)
}

/// The working directory, if the root file system has one of that name.
fn own_directory(rootfs: &Path) -> Option<String> {
    let cwd = std::env::current_dir().ok()?;
    let inside = rootfs.join(cwd.strip_prefix("/").ok()?);
    // A link could lead anywhere: it is followed inside, where it leads to something else.
    let is_directory = std::fs::symlink_metadata(inside).is_ok_and(|found| found.is_dir());
    is_directory.then_some(cwd)?.into_os_string().into_string().ok()
}

fn own_user() -> User {
    User {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        additional_gids: rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect(),
        home: None,
    }
}
