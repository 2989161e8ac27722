//! What can go wrong while measuring.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a benchmark could not be made.
#[derive(Debug)]
pub(crate) enum BenchError {
    /// The command line is wrong.
    Usage,
    /// A program could not be started.
    Spawn { program: String, source: io::Error },
    /// A program failed; its standard error follows.
    Failed { program: String, stderr: String },
    /// A program printed something else than expected.
    Output { program: String, output: String },
    /// A result could not be written.
    Write { path: PathBuf, source: io::Error },
    /// A result could not be put into JSON.
    Json(serde_json::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => write!(f, "usage: chitin-bench [--out DIR] [start|syscall|proc|fs|net]..."),
            Self::Spawn { program, source } => write!(f, "cannot start {program}: {source}"),
            Self::Failed { program, stderr } => write!(f, "{program} failed: {}", stderr.trim()),
            Self::Output { program, output } => {
                let end = output.trim().lines().last().unwrap_or("nothing");
                write!(f, "{program}: cannot make sense of what it printed, at the end: {end}")
            }
            Self::Write { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::Json(source) => write!(f, "cannot write JSON: {source}"),
        }
    }
}
