//! The program `containerd-shim-chitin-v2`: what containerd calls it with.
//!
//! containerd starts it in the bundle's directory as `… -namespace NS -id ID -address SOCKET start`, reads the address
//! of a ttrpc socket from its stdout, and later, when the daemon is gone without a word, as `… delete`.

use crate::daemon::{self, DaemonError, Start, Started};
use crate::ledger::Record;
use crate::log::{Level, log};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use rustix::mount::{UnmountFlags, unmount};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Environment variable with containerd's ttrpc socket.
const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";
/// What a container's exit status is when nobody saw it: as if killed.
const STATUS_KILLED: u32 = 128 + 9;

/// Why the shim failed.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("option {0} is missing")]
    Missing(&'static str),
    #[error("option {0} needs a value")]
    NoValue(String),
    #[error("unknown action {0:?}: expected start or delete")]
    Action(String),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error(transparent)]
    Protobuf(#[from] containerd_shim_protos::protobuf::Error),
}

/// The command line, in the form of Go's `flag` package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    namespace: String,
    id: String,
    bundle: Option<PathBuf>,
    version: bool,
    info: bool,
    action: String,
}

impl Arguments {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, ShimError> {
        let mut parsed = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix('-') else {
                parsed.action = argument;
                continue;
            };
            let option = option.strip_prefix('-').unwrap_or(option);
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            match name {
                "v" | "version" => parsed.version = true,
                "info" => parsed.info = true,
                "debug" => (),
                _ => {
                    let value = value
                        .or_else(|| arguments.next())
                        .ok_or_else(|| ShimError::NoValue(argument.clone()))?;
                    match name {
                        "namespace" => parsed.namespace = value,
                        "id" => parsed.id = value,
                        "bundle" => parsed.bundle = Some(value.into()),
                        // containerd's socket, its publish command, and what later versions add.
                        _ => (),
                    }
                }
            }
        }
        Ok(parsed)
    }
}

/// Runs the shim.
#[must_use]
pub fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-chitin-v2: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<(), ShimError> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if arguments.version {
        println!("containerd-shim-chitin-v2:\n  Version:  {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if arguments.info {
        return tell_info();
    }
    if arguments.namespace.is_empty() {
        return Err(ShimError::Missing("-namespace"));
    }
    if arguments.id.is_empty() {
        return Err(ShimError::Missing("-id"));
    }
    let bundle = match arguments.bundle {
        Some(bundle) => bundle,
        None => {
            std::env::current_dir().map_err(|source| ShimError::Io { what: "working directory", source })?
        }
    };
    match arguments.action.as_str() {
        "start" => start(arguments.namespace, arguments.id, bundle),
        "delete" => delete(&arguments.namespace, &arguments.id, bundle),
        other => Err(ShimError::Action(other.to_owned())),
    }
}

/// What later versions of containerd ask before they use a runtime: a `RuntimeInfo` message.
fn tell_info() -> Result<(), ShimError> {
    let mut version = RuntimeVersion::new();
    env!("CARGO_PKG_VERSION").clone_into(&mut version.version);
    let mut info = RuntimeInfo::new();
    "io.containerd.chitin.v2".clone_into(&mut info.name);
    info.version = MessageField::some(version);
    let bytes = info.write_to_bytes()?;
    io::stdout().write_all(&bytes).map_err(|source| ShimError::Io { what: "write to stdout", source })
}

fn start(namespace: String, id: String, bundle: PathBuf) -> Result<(), ShimError> {
    let address_file = bundle.join("address");
    let started = daemon::start(Start {
        namespace,
        id,
        log: bundle.join("log"),
        bundle,
        events: std::env::var_os(TTRPC_ADDRESS).map(PathBuf::from),
        inherited: crate::stdio::Streams::default(),
    })?;
    let Started::Caller(socket) = started else { return Ok(()) };
    let address = format!("unix://{}", socket.display());
    // From here containerd finds the shim again when it is restarted itself.
    std::fs::write(&address_file, &address)
        .map_err(|source| ShimError::Io { what: "write the bundle's address file", source })?;
    io::stdout()
        .write_all(address.as_bytes())
        .map_err(|source| ShimError::Io { what: "write the address", source })
}

/// Cleans up after a daemon that is gone, or that is to go.
fn delete(namespace: &str, id: &str, bundle: PathBuf) -> Result<(), ShimError> {
    let mut response = DeleteResponse::new();
    if let Some(record) = Record::find(namespace, id) {
        response.pid = record.vmm().map_or(0, |vmm| vmm.pid);
        for problem in record.settle() {
            log(Level::Warning, problem);
        }
    }
    // A mount that an older kernel made us keep.
    let _ = unmount(bundle.join("rootfs"), UnmountFlags::DETACH);
    response.exit_status = STATUS_KILLED;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    response.exited_at = MessageField::some(Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(now.subsec_nanos()).unwrap_or(0),
        ..Timestamp::default()
    });
    let bytes = response.write_to_bytes()?;
    io::stdout().write_all(&bytes).map_err(|source| ShimError::Io { what: "write the response", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_style_flags() {
        let line =
            "-namespace default --address=/run/c.sock -publish-binary /usr/bin/containerd -debug -id x start";
        let parsed = Arguments::parse(line.split(' ').map(str::to_owned)).unwrap();
        assert_eq!((parsed.namespace.as_str(), parsed.id.as_str()), ("default", "x"));
        assert_eq!((parsed.action.as_str(), parsed.version), ("start", false));
        assert!(Arguments::parse(["-id".to_owned()]).is_err());
    }
}
