//! What the tests share: programs, bundles, and the stand-in for the VMM.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The stand-in, which cargo builds beside the tests.
pub(crate) fn fake_vmm() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_chitin")).with_file_name("examples/fake-vmm")
}

/// A program of ours that will start the stand-in, with a fault if one is named.
pub(crate) fn program(path: &str, fault: &str) -> Command {
    let mut command = Command::new(path);
    command.env("CHITIN_VMM", fake_vmm()).env("FAKE_VMM", fault).stdin(Stdio::null());
    command
}

/// `chitin` with arguments.
pub(crate) fn chitin(fault: &str, arguments: &[&str]) -> Output {
    program(env!("CARGO_BIN_EXE_chitin"), fault).args(arguments).output().unwrap()
}

/// Text of an output.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An id that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A bundle in a directory of its own, removed when dropped.
pub(crate) struct Bundle(pub(crate) PathBuf);

impl Bundle {
    /// Runs `sh -c SCRIPT`; `extra` is added to the top level of config.json.
    pub(crate) fn new(script: &str, extra: &str) -> Self {
        let directory = std::env::temp_dir().join(unique("bundle"));
        std::fs::create_dir_all(directory.join("rootfs")).unwrap();
        let config = format!(
            r#"{{"ociVersion": "1.0.2", "root": {{"path": "rootfs"}},
                "process": {{"user": {{"uid": 0, "gid": 0}}, "cwd": "/", "args": ["sh", "-c", {script:?}]}}
                {extra}}}"#
        );
        std::fs::write(directory.join("config.json"), config).unwrap();
        Self(directory)
    }

    /// Its path as text.
    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether this process may write to `/run` and use other processes' descriptors.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
