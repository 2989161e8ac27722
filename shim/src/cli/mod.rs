//! The `chitin` command.

mod doctor;
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
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a command in a sandbox of its own and waits for it.
    Run(RunArgs),
    /// Says whether this machine can run sandboxes.
    Doctor,
}

/// What `chitin run` takes.
#[derive(Debug, Args)]
struct RunArgs {
    /// Mounts a directory or file of the host (`SRC:DST` or `SRC:DST:ro`).
    #[arg(long, value_name = "SRC:DST[:ro]")]
    mount: Vec<String>,
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
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Doctor => doctor::run(),
    }
}

/// Prints an error with its causes and yields the exit status of a failure of Chitin's own.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("chitin: {error}");
    ExitCode::from(FAILED)
}
