//! What a container is like when nobody wrote a `config.json`.

use super::{Plan, PlannedShare, ShareTarget, SpecError, User, bind, utf8};
use chitin_proto::control::{
    Capabilities, ContainerSpec, Limits, Mount, MountSource, ProcessSpec, Root, RootWrites, Stdio,
};
use chitin_proto::vmm::{Access, CachePolicy};
use oci_spec::runtime::Spec;
use std::path::{Path, PathBuf};

/// All capabilities up to `CAP_CHECKPOINT_RESTORE`.
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// Paths that runc hides from containers.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Paths that runc makes read-only.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A command in a plain directory tree.
#[derive(Clone, Debug)]
pub struct RootfsRun {
    /// Container id.
    pub id: String,
    /// The directory.
    pub rootfs: PathBuf,
    /// Whether writes go to the directory; else they stay in the sandbox's memory.
    pub writes: RootWrites,
    /// Command and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Host name.
    pub hostname: String,
    /// Credentials.
    pub user: User,
    /// `SRC`, `DST`, options.
    pub mounts: Vec<(PathBuf, String, Vec<String>)>,
}

impl RootfsRun {
    /// Makes the plan: the mounts of runc's default specification around the command.
    ///
    /// The process is root with all capabilities when its user is root: the machine is its own.
    ///
    /// # Errors
    /// [`SpecError::NotUtf8`] for a path.
    pub fn plan(self) -> Result<Plan, SpecError> {
        utf8("root file system", &self.rootfs)?;
        let mut shares = vec![PlannedShare {
            source: self.rootfs,
            recursive: true,
            access: match self.writes {
                RootWrites::Through => Access::ReadWrite,
                RootWrites::Overlay | RootWrites::ReadOnly => Access::ReadOnly,
            },
            policy: CachePolicy::Shared,
            target: ShareTarget::Root,
        }];
        let mut mounts = default_mounts();
        for (source, destination, options) in self.mounts {
            let (mount, share) = bind(&source, destination, options, mounts.len())?;
            mounts.push(mount);
            shares.push(share);
        }
        let power = if self.user.uid == 0 { ALL_CAPABILITIES } else { 0 };
        let process = ProcessSpec {
            args: self.args,
            env: self.env,
            cwd: self.cwd,
            uid: self.user.uid,
            gid: self.user.gid,
            additional_gids: self.user.additional_gids,
            umask: None,
            rlimits: Vec::new(),
            capabilities: Capabilities {
                bounding: ALL_CAPABILITIES,
                effective: power,
                inheritable: 0,
                permitted: power,
                ambient: 0,
            },
            no_new_privileges: false,
            oom_score_adj: 0,
            stdio: Stdio::Null,
        };
        let container = ContainerSpec {
            id: self.id,
            hostname: self.hostname,
            domainname: String::new(),
            root: Root { shares: Vec::new(), writes: self.writes },
            mounts,
            process,
            limits: Limits::default(),
            sysctl: Vec::new(),
            masked_paths: MASKED.iter().map(ToString::to_string).collect(),
            readonly_paths: READ_ONLY.iter().map(ToString::to_string).collect(),
            seccomp: None,
            devices: Vec::new(),
            strace: false,
        };
        Ok(Plan { container, shares, blocks: Vec::new() })
    }
}

/// The mounts of runc's default specification, and `/tmp` in memory.
fn default_mounts() -> Vec<Mount> {
    let mount = |destination: &str, source, options: &str| Mount {
        destination: destination.to_owned(),
        source,
        options: options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect(),
    };
    vec![
        mount("/proc", MountSource::Proc, ""),
        mount("/dev", MountSource::Tmpfs, "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", MountSource::Devpts, "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/dev/shm", MountSource::Tmpfs, "nosuid,noexec,nodev,mode=1777,size=65536k"),
        mount("/dev/mqueue", MountSource::Mqueue, "nosuid,noexec,nodev"),
        mount("/sys", MountSource::Sysfs, "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", MountSource::Cgroup, "nosuid,noexec,nodev,relatime,ro"),
        mount("/tmp", MountSource::Tmpfs, "nosuid,nodev,mode=1777"),
    ]
}

/// What `chitin spec` writes: runc's default with `sh` as the command.
#[must_use]
pub fn bundle_spec() -> Spec {
    let mut spec = Spec::default();
    spec.set_hostname(Some("chitin".to_owned()));
    if let Some(root) = spec.root_mut() {
        root.set_path(Path::new("rootfs").to_owned());
        root.set_readonly(Some(true));
    }
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
    }
    spec
}
