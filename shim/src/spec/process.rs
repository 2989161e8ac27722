//! `process` of the OCI runtime specification: arguments, credentials, limits, capabilities.

use super::{SpecError, absolute};
use chitin_proto::control::{Capabilities, ProcessSpec, Stdio};
use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimitType, Process};
use std::collections::HashSet;

/// Converts `process`; its streams are left to the caller.
///
/// # Errors
/// [`SpecError::Missing`] for no arguments, [`SpecError::NotAbsolute`] for the working directory.
pub fn process(process: &Process) -> Result<ProcessSpec, SpecError> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        return Err(SpecError::Missing { what: "process.args" });
    }
    let user = process.user();
    let rlimits = process.rlimits().iter().flatten();
    Ok(ProcessSpec {
        args,
        env: process.env().clone().unwrap_or_default(),
        cwd: absolute("process.cwd", process.cwd())?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
        rlimits: rlimits.map(|limit| (rlimit_number(limit.typ()), limit.soft(), limit.hard())).collect(),
        capabilities: process.capabilities().as_ref().map(capabilities).unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj().unwrap_or(0),
        stdio: Stdio::Null,
    })
}

/// Reads the JSON form of `process`, as containerd hands it over for an exec.
///
/// # Errors
/// [`SpecError::Parse`] and those of [`process()`].
pub fn process_from_json(what: &str, json: &[u8]) -> Result<ProcessSpec, SpecError> {
    let parsed: Process =
        serde_json::from_slice(json).map_err(|source| SpecError::Parse { what: what.to_owned(), source })?;
    process(&parsed)
}

fn capabilities(sets: &LinuxCapabilities) -> Capabilities {
    let mask = |set: &Option<HashSet<Capability>>| {
        set.iter().flatten().fold(0, |mask, capability| mask | 1 << capability_number(*capability))
    };
    Capabilities {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        inheritable: mask(sets.inheritable()),
        permitted: mask(sets.permitted()),
        ambient: mask(sets.ambient()),
    }
}

/// `RLIMIT_*` of `asm-generic/resource.h`.
const fn rlimit_number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// Number of a capability, capabilities(7) and `linux/capability.h`.
const fn capability_number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}
