//! `chitin doctor`: whether this machine can run sandboxes, check by check.
//!
//! The VMM looks whether guests run; the rest is what the shim needs. A check that only matters to containerd or to
//! containers with a network is told and does not make the machine unusable.

use crate::config::Config;
use crate::{cgroup, sandbox};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where containerd listens.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// The shim's program, as containerd looks it up.
const SHIM: &str = "containerd-shim-chitin-v2";

enum Verdict {
    /// It is there.
    Good,
    /// It is not there, and only some things need it.
    Lacking,
    /// Without it nothing runs.
    Bad,
}

/// Runs all checks; the exit status is 0 when sandboxes run here and 1 when they do not.
pub(super) fn run() -> ExitCode {
    let mut usable = true;
    let checks = [check_vmm(), check_tun(), check_cgroups(), check_containerd(), check_shim()];
    for (name, verdict, detail) in checks {
        let mark = match verdict {
            Verdict::Good => "ok  ",
            Verdict::Lacking => "warn",
            Verdict::Bad => "FAIL",
        };
        usable &= !matches!(verdict, Verdict::Bad);
        // The VMM's own checks bring their lines along.
        if name.is_empty() { println!("{detail}") } else { println!("{mark} {name:<19} {detail}") }
    }
    println!(
        "{}",
        if usable { "this machine can run sandboxes" } else { "this machine cannot run sandboxes" }
    );
    ExitCode::from(u8::from(!usable))
}

type Check = (&'static str, Verdict, String);

fn check_vmm() -> Check {
    let configured = match Config::load() {
        Ok(config) => config.vmm,
        Err(error) => return ("config", Verdict::Bad, error.to_string()),
    };
    let Some(program) = sandbox::find(configured.as_deref()) else {
        return ("vmm", Verdict::Bad, sandbox::SandboxError::NoProgram.to_string());
    };
    match Command::new(&program).arg("doctor").output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            if said.is_empty() {
                let problem = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
                let detail = format!("{} doctor: {} {problem}", program.display(), output.status);
                return ("vmm", Verdict::Bad, detail);
            }
            let verdict = if output.status.success() { Verdict::Good } else { Verdict::Bad };
            ("", verdict, said)
        }
        Err(error) => ("vmm", Verdict::Bad, format!("{}: {error}", program.display())),
    }
}

fn check_tun() -> Check {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    match opened {
        Ok(_) => ("tun", Verdict::Good, "/dev/net/tun opens".to_owned()),
        Err(error) => {
            let detail = format!("/dev/net/tun: {error}; containers get no network beyond loopback");
            ("tun", Verdict::Lacking, detail)
        }
    }
}

fn check_cgroups() -> Check {
    match cgroup::version() {
        Some(cgroup::Version::V2) => ("cgroups", Verdict::Good, "version 2".to_owned()),
        Some(cgroup::Version::V1) => ("cgroups", Verdict::Good, "version 1".to_owned()),
        None => {
            let detail = "none at /sys/fs/cgroup; sandboxes are accounted to their starter";
            ("cgroups", Verdict::Lacking, detail.to_owned())
        }
    }
}

fn check_containerd() -> Check {
    let Some(program) = in_path("containerd") else {
        return ("containerd", Verdict::Lacking, "not in PATH; `chitin run` works without".into());
    };
    match UnixStream::connect(CONTAINERD) {
        Ok(_) => ("containerd", Verdict::Good, format!("answers at {CONTAINERD}")),
        Err(error) => {
            let detail = format!("{} is there, {CONTAINERD}: {error}", program.display());
            ("containerd", Verdict::Lacking, detail)
        }
    }
}

fn check_shim() -> Check {
    match in_path(SHIM) {
        Some(program) => ("shim", Verdict::Good, program.display().to_string()),
        None => {
            let detail = format!("{SHIM} is not in PATH, where containerd looks for it");
            ("shim", Verdict::Lacking, detail)
        }
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH")?;
    std::env::split_paths(&search)
        .map(|directory| directory.join(program))
        .find(|path| Path::new(path).is_file())
}
