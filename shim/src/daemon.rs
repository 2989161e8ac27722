//! The process that keeps a sandbox: started by containerd through `start`, or by `chitin create`.
//!
//! [`start`] makes the ledger and the socket, forks, and returns the socket's address to whoever waits for it; the
//! child becomes the daemon. It goes on in the same program image, because `exec` would only load the same file again,
//! and starts the VMM before it serves the first call: the guest boots while containerd connects and mounts.
#![expect(unsafe_code, reason = "fork has no safe wrapper")]

use crate::cgroup;
use crate::config::{Config, ConfigError};
use crate::host_process::HostProcess;
use crate::ledger::{Effect, Ledger, LedgerError, Record};
use crate::log::{Level, log};
use crate::network::{self, PodNetwork, Wanted};
use crate::sandbox::{self, Launch, Sandbox};
use crate::spec::{self, SpecError};
use crate::stdio::Streams;
use crate::task::{Happening, Parts, Publisher, TaskService};
use crate::ttrpc;
use oci_spec::runtime::LinuxDeviceType;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, setsid};
use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Directory of the sockets; names are short because a socket's path has at most 108 bytes.
const SOCKETS: &str = "/run/chitin/.s";
/// Annotation with which Kubernetes says in which pod a container is.
const SANDBOX_ANNOTATION: &str = "io.kubernetes.cri.sandbox-id";

/// Why no daemon was started.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The bundle is not good.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The configuration is not good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The ledger cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The pod's sandbox is not there.
    #[error("container {id} belongs to sandbox {group}, which is not running")]
    NoGroup {
        /// The container.
        id: String,
        /// The sandbox.
        group: String,
    },
    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Operating system error.
        source: io::Error,
    },
}

/// Who asks for a daemon.
#[derive(Debug)]
pub struct Start {
    /// Namespace.
    pub namespace: String,
    /// Container id.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// Where containerd takes events.
    pub events: Option<PathBuf>,
    /// Where log lines go; `/dev/null` when it cannot be opened.
    pub log: PathBuf,
    /// Streams that the container may ask for.
    pub inherited: Streams,
}

/// What [`start`] came to.
#[derive(Debug)]
pub enum Started {
    /// This is still the caller's process; the daemon listens here.
    Caller(PathBuf),
    /// This is the daemon, and it has ended.
    Daemon,
}

/// Starts a daemon, or finds the one of the container's pod. Must be called while the process has one thread.
///
/// # Errors
/// [`DaemonError`] in the caller's process; the daemon reports its own troubles to its log and to those who call it.
pub fn start(start: Start) -> Result<Started, DaemonError> {
    let spec = spec::load(&start.bundle)?;
    if let Some(group) = spec::annotation(&spec, SANDBOX_ANNOTATION)
        && group != start.id
    {
        return Ok(Started::Caller(running_group(&start, group)?));
    }
    let mut config = Config::load()?;
    config.annotate(spec.annotations().iter().flatten())?;
    if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        config.fit(spec::limits(resources).memory_bytes);
    }
    // What a dead daemon of the same id has left.
    if let Some(stale) = Record::find(&start.namespace, &start.id).filter(|old| !old.is_owned()) {
        for problem in stale.settle() {
            log(Level::Warning, problem);
        }
    }
    let ledger = Ledger::create(&start.namespace, &start.id)?;
    let (listener, socket) = match listen(&ledger) {
        Ok(listening) => listening,
        Err(error) => {
            let _ = ledger.settle();
            return Err(error);
        }
    };
    ledger.note(&Effect::Bundle(start.bundle.clone()))?;
    // SAFETY: the process has one thread, by this function's contract, so the child's memory is in a usable state.
    let child = unsafe { libc::fork() };
    match child {
        -1 => {
            let source = io::Error::last_os_error();
            let _ = ledger.settle();
            Err(DaemonError::Io { what: "fork".to_owned(), source })
        }
        0 => {
            run(start, spec, config, ledger, listener);
            Ok(Started::Daemon)
        }
        _ => Ok(Started::Caller(socket)),
    }
}

/// The socket of the daemon that runs a pod.
fn running_group(start: &Start, group: &str) -> Result<PathBuf, DaemonError> {
    Record::find(&start.namespace, group)
        .and_then(|record| record.socket().map(Path::to_owned))
        .filter(|socket| UnixStream::connect(socket).is_ok())
        .ok_or_else(|| DaemonError::NoGroup { id: start.id.clone(), group: group.to_owned() })
}

fn listen(ledger: &Ledger) -> Result<(UnixListener, PathBuf), DaemonError> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|source| DaemonError::Io { what: "random name".to_owned(), source: source.into() })?;
    let socket = Path::new(SOCKETS).join(format!("{:016x}", u64::from_ne_bytes(random)));
    let fail = |source| DaemonError::Io { what: format!("listen at {}", socket.display()), source };
    fs::create_dir_all(SOCKETS).map_err(fail)?;
    ledger.note(&Effect::Socket(socket.clone()))?;
    let listener = UnixListener::bind(&socket).map_err(fail)?;
    Ok((listener, socket))
}

/// The daemon's life.
fn run(start: Start, spec: Spec, config: Config, ledger: Ledger, listener: UnixListener) {
    detach(&start.log);
    if let Some(own) = HostProcess::own()
        && let Err(error) = ledger.note(&Effect::Owner(own))
    {
        log(Level::Warning, error);
    }
    ignore_signals();
    let (sender, happenings) = channel();
    let sandbox = take_network(&spec, &config, &ledger)
        .map_err(|error| error.to_string())
        .and_then(|network| launch(&config, network, sender.clone()));
    if let Err(error) = &sandbox {
        log(Level::Error, error);
    }
    let vmm = sandbox.as_ref().ok().map(Sandbox::pid);
    if let Some(vmm) = vmm.and_then(|pid| HostProcess::find(number(pid)))
        && let Err(error) = ledger.note(&Effect::Vmm(vmm))
    {
        log(Level::Warning, error);
    }
    if let Some(vmm) = vmm {
        set_oom_score(vmm, &spec);
    }
    warn_of_ignored(&spec);
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let groups = path.and_then(|path| path.to_str()).map(cgroup::directories).unwrap_or_default();
    let service = TaskService::new(Parts {
        publisher: Publisher::new(&start.namespace, start.events),
        namespace: start.namespace,
        group: start.id,
        config,
        sandbox,
        ledger,
        bundle: (start.bundle, spec),
        inherited: start.inherited,
        happenings: sender,
    });
    ttrpc::serve(listener, std::sync::Arc::clone(&service));
    // Moving a process between groups waits for a grace period of the kernel: the guest boots meanwhile.
    if let Some(vmm) = vmm {
        place(vmm, &groups, service.ledger());
    }
    serve(&service, &happenings);
    service.finish();
}

fn serve(service: &TaskService, happenings: &Receiver<Happening>) {
    while let Ok(Happening::Sandbox(event)) = happenings.recv() {
        service.happened(event);
    }
}

/// Leaves the caller's session and streams, so that it need not wait for this process.
fn detach(log: &Path) {
    let _ = setsid();
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let log = open(log, OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    if let Ok(null) = &null {
        let _ = rustix::stdio::dup2_stdin(null);
        let _ = rustix::stdio::dup2_stdout(null);
        let _ = rustix::stdio::dup2_stderr(log.as_ref().unwrap_or(null));
    }
    let _ = rustix::process::chdir("/");
}

/// A daemon ends when its containers have, not when somebody ends its session or service.
fn ignore_signals() {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, std::sync::Arc::default());
    }
}

/// The pod's network; the ledger gives it back.
fn take_network(
    spec: &Spec,
    config: &Config,
    ledger: &Ledger,
) -> Result<Option<PodNetwork>, network::NetworkError> {
    let namespace = match Wanted::of(spec) {
        Wanted::New => return Ok(None),
        Wanted::Host => {
            log(Level::Warning, "a sandbox cannot have the host's network: it has loopback only");
            return Ok(None);
        }
        Wanted::Namespace(path) => path,
    };
    let mut note = |name: &str| {
        let effect = Effect::Interface { name: name.to_owned(), namespace: namespace.clone() };
        Ok(ledger.note(&effect)?)
    };
    let (mut network, attached) = network::attach(&namespace, &mut note)?;
    attached.leave_to_ledger();
    network.limit(config.network_limit);
    Ok(Some(network))
}

fn launch(
    config: &Config,
    network: Option<PodNetwork>,
    events: Sender<Happening>,
) -> Result<Sandbox, String> {
    let program = sandbox::find(config.vmm.as_deref()).ok_or(sandbox::SandboxError::NoProgram);
    let launch = Launch {
        program: program.map_err(|error| error.to_string())?,
        cpus: config.cpus,
        ram_bytes: config.memory_bytes,
        log_bytes_per_second: config.log_bytes_per_second,
        network,
        output: None,
    };
    Sandbox::launch(launch, events).map_err(|error| error.to_string())
}

/// Lets the host's out-of-memory killer choose the VMM as it would choose the container, whose memory it holds;
/// containerd, whose score is inherited, is not to be chosen at all.
fn set_oom_score(vmm: Pid, spec: &Spec) {
    let score = spec.process().as_ref().and_then(oci_spec::runtime::Process::oom_score_adj);
    let path = format!("/proc/{}/oom_score_adj", number(vmm));
    if let Err(error) = fs::write(&path, score.unwrap_or(0).to_string()) {
        log(Level::Warning, format!("{path}: {error}"));
    }
}

/// Tells what of a bundle has no meaning here.
fn warn_of_ignored(spec: &Spec) {
    if spec.hooks().is_some() {
        log(Level::Warning, "hooks of config.json are not run");
    }
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    if devices.into_iter().flatten().any(|device| device.typ() != LinuxDeviceType::B) {
        log(Level::Warning, "of linux.devices only block devices are passed to sandboxes");
    }
}

/// Moves the VMM to its control groups.
fn place(vmm: Pid, groups: &[PathBuf], ledger: &Ledger) {
    for group in groups {
        let entered = ledger
            .note(&Effect::Cgroup(group.clone()))
            .map_err(io::Error::other)
            .and_then(|()| cgroup::enter(group, number(vmm)));
        if let Err(error) = entered {
            log(Level::Warning, format!("cgroup {}: {error}", group.display()));
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
