//! The commands that runc has too: `create`, `start`, `kill`, `delete`, `pause`, `resume`, and what they need.

use super::daemon::{ContainerError, Daemon};
use super::fail;
use crate::daemon::{self, DaemonError, Start, Started};
use crate::ledger::Record;
use crate::spec::{self, SpecError};
use crate::stdio::Streams;
use crate::task::INHERITED;
use clap::Args;
use containerd_shim_protos::api;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How often, and how many times, a daemon that ends is looked at.
const SHUTDOWN_CHECK: Duration = Duration::from_millis(5);
const SHUTDOWN_CHECKS: u32 = 600;
/// Signal number of `SIGKILL`.
const SIGKILL: u32 = 9;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum LifecycleError {
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("unknown signal {0:?}")]
    Signal(String),
    #[error(
        "config.json asks for a terminal, which `create` cannot give; use `chitin run --tty` or set process.terminal to false"
    )]
    Terminal,
    #[error("container {id} is {status}; `--force` kills it first")]
    Running { id: String, status: &'static str },
}

/// What `chitin create` takes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The bundle's directory.
    #[arg(long, short, default_value = ".")]
    bundle: PathBuf,
    /// Writes the pid of the container's VMM to this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Appends log lines to this file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Container id.
    id: String,
}

/// What commands about one container take.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// Container id.
    pub(super) id: String,
}

/// What `chitin kill` takes.
#[derive(Debug, Args)]
pub(super) struct KillArgs {
    /// Sends it to every process of the container.
    #[arg(long, short)]
    all: bool,
    /// Container id.
    id: String,
    /// Signal, by name or number.
    #[arg(default_value = "TERM")]
    signal: String,
}

/// What `chitin delete` takes.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// Kills the container first.
    #[arg(long, short)]
    force: bool,
    /// Container id.
    id: String,
}

fn finish(result: Result<(), LifecycleError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// `chitin create`: a daemon for the container, which waits for `chitin start`.
pub(super) fn create(namespace: &str, args: CreateArgs) -> ExitCode {
    finish(try_create(namespace, args))
}

fn try_create(namespace: &str, args: CreateArgs) -> Result<(), LifecycleError> {
    let io_error = |what: &std::path::Path| {
        let what = what.display().to_string();
        move |source| LifecycleError::Io { what, source }
    };
    let bundle = std::fs::canonicalize(&args.bundle).map_err(io_error(&args.bundle))?;
    let spec = spec::load(&bundle)?;
    if spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal) == Some(true) {
        return Err(LifecycleError::Terminal);
    }
    if let Some(log) = &args.log {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(log);
        opened.map_err(io_error(log))?;
    }
    let inherited = Streams::own()
        .map_err(|source| LifecycleError::Io { what: "standard streams".to_owned(), source })?;
    let started = daemon::start(Start {
        namespace: namespace.to_owned(),
        id: args.id.clone(),
        bundle: bundle.clone(),
        events: None,
        log: args.log.unwrap_or_else(|| PathBuf::from("/dev/null")),
        inherited,
    })?;
    if matches!(started, Started::Daemon) {
        return Ok(());
    }
    let mut daemon = Daemon::of(namespace, &args.id)?;
    let request = api::CreateTaskRequest {
        id: args.id.clone(),
        bundle: bundle.display().to_string(),
        stdin: INHERITED.to_owned(),
        stdout: INHERITED.to_owned(),
        stderr: INHERITED.to_owned(),
        ..api::CreateTaskRequest::default()
    };
    let created: api::CreateTaskResponse = match daemon.call("Create", &request) {
        Ok(created) => created,
        Err(error) => {
            shut_down(&mut daemon);
            return Err(error.into());
        }
    };
    if let Some(file) = &args.pid_file {
        std::fs::write(file, created.pid.to_string()).map_err(io_error(file))?;
    }
    Ok(())
}

/// `chitin start`.
pub(super) fn start(namespace: &str, args: &IdArgs) -> ExitCode {
    let request = api::StartRequest { id: args.id.clone(), ..api::StartRequest::default() };
    finish(call::<api::StartResponse>(namespace, &args.id, "Start", &request))
}

/// `chitin pause`.
pub(super) fn pause(namespace: &str, args: &IdArgs) -> ExitCode {
    let request = api::PauseRequest { id: args.id.clone(), ..api::PauseRequest::default() };
    finish(call::<api::Empty>(namespace, &args.id, "Pause", &request))
}

/// `chitin resume`.
pub(super) fn resume(namespace: &str, args: &IdArgs) -> ExitCode {
    let request = api::ResumeRequest { id: args.id.clone(), ..api::ResumeRequest::default() };
    finish(call::<api::Empty>(namespace, &args.id, "Resume", &request))
}

fn call<R: containerd_shim_protos::protobuf::Message>(
    namespace: &str,
    id: &str,
    method: &str,
    request: &impl containerd_shim_protos::protobuf::Message,
) -> Result<(), LifecycleError> {
    Daemon::of(namespace, id)?.call::<R>(method, request)?;
    Ok(())
}

/// `chitin kill`.
pub(super) fn kill(namespace: &str, args: &KillArgs) -> ExitCode {
    let kill = || {
        let signal =
            signal_number(&args.signal).ok_or_else(|| LifecycleError::Signal(args.signal.clone()))?;
        Ok(Daemon::of(namespace, &args.id)?.kill("", signal, args.all)?)
    };
    finish(kill())
}

/// `chitin delete`: also of what a dead daemon has left.
pub(super) fn delete(namespace: &str, args: &DeleteArgs) -> ExitCode {
    finish(try_delete(namespace, args))
}

fn try_delete(namespace: &str, args: &DeleteArgs) -> Result<(), LifecycleError> {
    let mut daemon = match Daemon::of(namespace, &args.id) {
        Ok(daemon) => daemon,
        Err(ContainerError::Dead { .. }) => {
            settle(namespace, &args.id);
            return Ok(());
        }
        // runc's `delete --force` of a container that is not there succeeds.
        Err(ContainerError::Unknown(_)) if args.force => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let status = daemon.state()?.status.enum_value_or_default();
    if matches!(status, api::Status::RUNNING | api::Status::PAUSED) {
        if !args.force {
            let status = super::daemon::status_name(status);
            return Err(LifecycleError::Running { id: args.id.clone(), status });
        }
        // It may end by itself in this moment.
        let _ = daemon.kill("", SIGKILL, true);
        let wait = api::WaitRequest { id: args.id.clone(), ..api::WaitRequest::default() };
        daemon.call::<api::WaitResponse>("Wait", &wait)?;
    }
    let request = api::DeleteRequest { id: args.id.clone(), ..api::DeleteRequest::default() };
    daemon.call::<api::DeleteResponse>("Delete", &request)?;
    shut_down(&mut daemon);
    Ok(())
}

/// Asks the daemon to end if nothing is left in it, and waits until it has; one that keeps other containers stays.
fn shut_down(daemon: &mut Daemon) {
    let request = api::ShutdownRequest { id: daemon.id.clone(), ..api::ShutdownRequest::default() };
    if daemon.call::<api::Empty>("Shutdown", &request).is_err() {
        return;
    }
    for _ in 0..SHUTDOWN_CHECKS {
        if Record::find(&daemon.record.namespace, &daemon.id).is_none() {
            return;
        }
        std::thread::sleep(SHUTDOWN_CHECK);
    }
}

/// `chitin gc`: undoes what dead daemons have left.
pub(super) fn gc() -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for record in Record::all() {
        if record.is_owned() {
            continue;
        }
        let problems = record.settle();
        if problems.is_empty() {
            println!("{}/{}: cleaned up", record.namespace, record.id);
        }
        for problem in problems {
            eprintln!("chitin: {}/{}: {problem}", record.namespace, record.id);
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn settle(namespace: &str, id: &str) {
    for problem in Record::find(namespace, id).iter().flat_map(Record::settle) {
        eprintln!("chitin: {problem}");
    }
}

/// Number of a signal given as `9`, `KILL` or `SIGKILL`.
fn signal_number(text: &str) -> Option<u32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let index = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_name() {
        assert_eq!(["9", "kill", "SIGKILL", "SIGTERM"].map(signal_number), [9, 9, 9, 15].map(Some));
        assert_eq!(["0", "65", "NOPE"].map(signal_number), [None; 3]);
    }
}
