//! Starting containers under each runtime by `ctr`.

use crate::error::BenchError;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The image every benchmark runs: busybox and the micro-benchmark program.
const IMAGE: &str = "chitin.local/bench:latest";

/// A container runtime to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Plain Linux containers.
    Runc,
    /// gVisor with its systrap platform, by runc's shim and a wrapper called `runsc-systrap`.
    Runsc,
    /// Chitin.
    Chitin,
}

impl Runtime {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::Runc, Self::Runsc, Self::Chitin];

    /// Name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Runsc => "runsc",
            Self::Chitin => "chitin",
        }
    }

    /// Options that make `ctr run` use it.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Runc => &["--runtime", "io.containerd.runc.v2"],
            Self::Runsc => &["--runtime", "io.containerd.runc.v2", "--runc-binary", "runsc-systrap"],
            Self::Chitin => &["--runtime", "io.containerd.chitin.v2"],
        }
    }
}

/// A container id that was not used before.
pub(crate) fn fresh_id(runtime: Runtime) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("bench-{}-{}", runtime.name(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a program and waits for it, five minutes at most.
///
/// # Errors
/// When it cannot be started, or when it does not exit with 0.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<Output, BenchError> {
    run_for(300, program, arguments)
}

/// Runs a program and waits for it, some seconds at most.
///
/// # Errors
/// When it cannot be started, or when it does not exit with 0 in time.
pub(crate) fn run_for(seconds: u32, program: &str, arguments: &[&str]) -> Result<Output, BenchError> {
    let output = Command::new("timeout")
        .args(["-k", "5", &seconds.to_string(), program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BenchError::Spawn { program: program.into(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Err(BenchError::Failed { program: format!("{program} {}", arguments.join(" ")), stderr })
}

/// Runs a command in a new container and returns its output and how long `ctr run` took.
///
/// # Errors
/// When the container does not exit with 0.
pub(crate) fn run_in(runtime: Runtime, command: &[&str]) -> Result<(Output, Duration), BenchError> {
    let id = fresh_id(runtime);
    let arguments = [&["run", "--rm"], runtime.options(), &[IMAGE, &id], command].concat();
    let start = Instant::now();
    let output = run("ctr", &arguments)?;
    Ok((output, start.elapsed()))
}

/// Starts a container in the background and returns its id; [`remove`] ends it.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(
    runtime: Runtime,
    image: &str,
    options: &[&str],
    command: &[&str],
) -> Result<String, BenchError> {
    let id = fresh_id(runtime);
    run("ctr", &[&["run", "-d"], runtime.options(), options, &[image, &id], command].concat())?;
    Ok(id)
}

/// Ends and removes a container.
pub(crate) fn remove(id: &str) {
    for arguments in [
        ["task", "kill", "-s", "SIGKILL", id].as_slice(),
        &["task", "delete", "-f", id],
        &["container", "delete", id],
    ] {
        // `task delete` exits with the container's own status; what remains shows in the next run.
        let _ = run("ctr", arguments);
    }
}

/// Starts a container that sleeps, lets `observe` look at it by its id, and removes it.
///
/// # Errors
/// When the container cannot be started.
pub(crate) fn with_idle<T>(runtime: Runtime, observe: impl FnOnce(&str) -> T) -> Result<T, BenchError> {
    let id = start(runtime, IMAGE, &[], &["sleep", "1000"])?;
    std::thread::sleep(Duration::from_secs(2));
    let observed = observe(&id);
    remove(&id);
    Ok(observed)
}
