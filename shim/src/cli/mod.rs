//! The `chitin` command.

mod daemon;
mod doctor;
mod exec;
mod lifecycle;
mod list;
mod run;
mod terminal;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status of a failure of Chitin's own, as runc and docker use it.
const FAILED: u8 = 125;

/// Runs containers in virtual machines whose kernel is Chitin's own.
#[derive(Debug, Parser)]
#[command(name = "chitin", version, about)]
struct Cli {
    /// Namespace of containers that are created; containerd's are in those of containerd.
    #[arg(long, default_value = "chitin", global = true)]
    namespace: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a command in a sandbox of its own and waits for it.
    Run(RunArgs),
    /// Says whether this machine can run sandboxes.
    Doctor,
    /// Makes a container from a bundle; `start` lets it run.
    Create(lifecycle::CreateArgs),
    /// Lets a created container run.
    Start(lifecycle::IdArgs),
    /// Prints a container's state as JSON.
    State(lifecycle::IdArgs),
    /// Sends a signal to a container.
    Kill(lifecycle::KillArgs),
    /// Deletes a container that has ended.
    Delete(lifecycle::DeleteArgs),
    /// Runs a further process in a container.
    Exec(exec::ExecArgs),
    /// Lists a container's processes, numbered as it sees them.
    Ps(lifecycle::IdArgs),
    /// Tells what a container's tasks are doing: state, the call each waits in, its user stack.
    Debug(lifecycle::IdArgs),
    /// Lists containers.
    List(list::ListArgs),
    /// Prints a container's counters at intervals.
    Events(list::EventsArgs),
    /// Freezes a container.
    Pause(lifecycle::IdArgs),
    /// Thaws a container.
    Resume(lifecycle::IdArgs),
    /// Not there yet.
    Checkpoint(lifecycle::IdArgs),
    /// Not there yet.
    Restore(lifecycle::IdArgs),
    /// Writes a config.json to start from.
    Spec(list::SpecArgs),
    /// Cleans up after sandboxes whose keeper has died.
    Gc,
}

/// What `chitin run` takes.
#[derive(Debug, Args)]
struct RunArgs {
    /// Mounts a directory or file of the host (`SRC:DST` or `SRC:DST:ro`).
    #[arg(long, value_name = "SRC:DST[:ro]")]
    mount: Vec<String>,
    /// Attaches a raw image or a block device of the host, as /dev/vda, /dev/vdb and so on; `direct` goes around the host's
    /// page cache.
    #[arg(long, value_name = "FILE[:ro][:direct]")]
    block: Vec<String>,
    /// Sets an environment variable.
    #[arg(long, short, value_name = "K=V")]
    env: Vec<String>,
    /// Working directory.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Host name.
    #[arg(long)]
    hostname: Option<String>,
    /// Lets writes reach ROOTFS; else they stay in the sandbox's memory.
    #[arg(long)]
    writable: bool,
    /// Guest memory.
    #[arg(long, value_name = "MiB")]
    mem: Option<u64>,
    /// Virtual CPUs.
    #[arg(long)]
    cpus: Option<u32>,
    /// User, looked up in ROOTFS.
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Network namespace whose interfaces the sandbox gets; else it has what the bundle says, or loopback only.
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// Shows every system call on stderr.
    #[arg(long)]
    strace: bool,
    /// Shows the guest's log on stderr.
    #[arg(long)]
    log: bool,
    /// Shows counters on stderr at the end.
    #[arg(long)]
    stats: bool,
    /// Gives the command a terminal.
    #[arg(long, short)]
    tty: bool,
    /// A bundle (a directory with config.json) or a directory that is the root file system; `/` is one too.
    #[arg(value_name = "BUNDLE-OR-ROOTFS")]
    source: PathBuf,
    /// Command and arguments; a bundle has its own.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command line and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let namespace = &cli.namespace;
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Doctor => doctor::run(),
        Command::Create(args) => lifecycle::create(namespace, args),
        Command::Start(args) => lifecycle::start(namespace, &args),
        Command::State(args) => list::state(namespace, &args),
        Command::Kill(args) => lifecycle::kill(namespace, &args),
        Command::Delete(args) => lifecycle::delete(namespace, &args),
        Command::Exec(args) => exec::exec(namespace, &args),
        Command::Ps(args) => list::ps(namespace, &args),
        Command::Debug(args) => list::debug(namespace, &args),
        Command::List(args) => list::list(namespace, &args),
        Command::Events(args) => list::events(namespace, &args),
        Command::Pause(args) => lifecycle::pause(namespace, &args),
        Command::Resume(args) => lifecycle::resume(namespace, &args),
        Command::Checkpoint(args) => unsupported("checkpoint", &args),
        Command::Restore(args) => unsupported("restore", &args),
        Command::Spec(args) => list::write_spec(&args),
        Command::Gc => lifecycle::gc(),
    }
}

fn unsupported(what: &str, args: &lifecycle::IdArgs) -> ExitCode {
    eprintln!("chitin: {what} {}: this version cannot save or restore sandboxes", args.id);
    ExitCode::from(FAILED)
}

/// Adds `K=V`, in place of an earlier `K`; a bare `K` takes the caller's value.
fn set_env(env: &mut Vec<String>, pair: &str) {
    let (key, value) = match pair.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (pair, std::env::var(pair).ok()),
    };
    let prefix = format!("{key}=");
    env.retain(|entry| !entry.starts_with(&prefix));
    if let Some(value) = value {
        env.push(prefix + &value);
    }
}

/// Prints an error with its causes and yields the exit status of a failure of Chitin's own.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("chitin: {error}");
    ExitCode::from(FAILED)
}
