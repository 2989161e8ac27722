//! `chitin exec`: a further process in a container that runs.

use super::daemon::{ContainerError, Daemon};
use super::fail;
use super::terminal::{RawMode, size};
use crate::spec::{self, SpecError, User, UserError};
use crate::task::BORROWED;
use clap::Args;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a process was not run.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("process description: {0}")]
    Json(#[from] serde_json::Error),
    #[error("nothing to run: give a command")]
    NoCommand,
    #[error("container {0}: its bundle is not known")]
    NoBundle(String),
}

/// What `chitin exec` takes.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Gives the process a terminal.
    #[arg(long, short)]
    tty: bool,
    /// Does not wait for the process.
    #[arg(long, short)]
    detach: bool,
    /// Sets an environment variable.
    #[arg(long, short, value_name = "K=V")]
    env: Vec<String>,
    /// Working directory.
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// User, looked up in the root file system.
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Reads the process from a file in the form of `process` in config.json.
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Container id.
    id: String,
    /// Command and arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the process and passes its exit status on.
pub(super) fn exec(namespace: &str, args: &ExecArgs) -> ExitCode {
    match try_exec(namespace, args) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => fail(&error),
    }
}

fn try_exec(namespace: &str, args: &ExecArgs) -> Result<u32, ExecError> {
    let mut daemon = Daemon::of(namespace, &args.id)?;
    let exec_id = format!("exec-{}", std::process::id());
    let stream = |number: u32| {
        let own = std::fs::metadata(format!("/proc/self/fd/{number}"));
        // A stream that is closed, or that would be given up with this program, is no stream.
        if args.detach || own.is_err() {
            String::new()
        } else {
            format!("{BORROWED}{}/{number}", std::process::id())
        }
    };
    let request = api::ExecProcessRequest {
        id: args.id.clone(),
        exec_id: exec_id.clone(),
        terminal: args.tty,
        stdin: stream(0),
        stdout: stream(1),
        stderr: if args.tty { String::new() } else { stream(2) },
        spec: MessageField::some(Any { value: process_json(&daemon, args)?, ..Any::default() }),
        ..api::ExecProcessRequest::default()
    };
    daemon.call::<api::Empty>("Exec", &request)?;
    let raw_mode = if args.tty && !args.detach {
        resize(&mut daemon, &exec_id);
        Some(RawMode::enter().map_err(|source| ExecError::Io { what: "terminal", source })?)
    } else {
        None
    };
    let start =
        api::StartRequest { id: args.id.clone(), exec_id: exec_id.clone(), ..api::StartRequest::default() };
    daemon.call::<api::StartResponse>("Start", &start)?;
    if args.detach {
        return Ok(0);
    }
    forward_signals(namespace, &args.id, &exec_id)
        .map_err(|source| ExecError::Io { what: "signal handlers", source })?;
    let wait =
        api::WaitRequest { id: args.id.clone(), exec_id: exec_id.clone(), ..api::WaitRequest::default() };
    let ended: api::WaitResponse = daemon.call_own("Wait", &wait)?;
    drop(raw_mode);
    let delete = api::DeleteRequest { id: args.id.clone(), exec_id, ..api::DeleteRequest::default() };
    // The container may have ended with the process.
    let _ = daemon.call::<api::DeleteResponse>("Delete", &delete);
    Ok(ended.exit_status)
}

/// The container's own `process` with another command, as runc does.
fn process_json(daemon: &Daemon, args: &ExecArgs) -> Result<Vec<u8>, ExecError> {
    if let Some(file) = &args.process {
        return std::fs::read(file).map_err(|source| ExecError::Io { what: "read the process file", source });
    }
    if args.command.is_empty() {
        return Err(ExecError::NoCommand);
    }
    let bundle = daemon.record.bundle().ok_or_else(|| ExecError::NoBundle(args.id.clone()))?;
    let spec = spec::load(bundle)?;
    let mut process = spec.process().clone().ok_or(SpecError::Missing { what: "process" })?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for pair in &args.env {
        super::set_env(&mut env, pair);
    }
    process.set_env(Some(env));
    if let Some(user) = &args.user {
        let user = User::find(&spec::rootfs_path(bundle, &spec)?, user)?;
        let found = process.user_mut();
        found.set_uid(user.uid);
        found.set_gid(user.gid);
        found.set_additional_gids(Some(user.additional_gids));
    }
    Ok(serde_json::to_vec(&process)?)
}

fn resize(daemon: &mut Daemon, exec_id: &str) {
    let (columns, rows) = size(io::stdin());
    let request = api::ResizePtyRequest {
        id: daemon.id.clone(),
        exec_id: exec_id.to_owned(),
        width: u32::from(columns),
        height: u32::from(rows),
        ..api::ResizePtyRequest::default()
    };
    let _ = daemon.call::<api::Empty>("ResizePty", &request);
}

/// Passes signals on by a connection of its own: the other one waits for the end.
fn forward_signals(namespace: &str, id: &str, exec_id: &str) -> io::Result<()> {
    let signals = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let (namespace, id, exec_id) = (namespace.to_owned(), id.to_owned(), exec_id.to_owned());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let Ok(mut daemon) = Daemon::of(&namespace, &id) else { continue };
            if signal == SIGWINCH {
                resize(&mut daemon, &exec_id);
            } else {
                let _ = daemon.kill(&exec_id, signal.unsigned_abs(), false);
            }
        }
    });
    Ok(())
}
