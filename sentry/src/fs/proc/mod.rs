//! procfs (proc(5)): processes and figures of the sandbox, as one container sees them.
//!
//! | file | contents |
//! |---|---|
//! | `source` | the traits by which the rooms above tell what is to be shown |
//! | `root` | `/proc` itself: processes, `self`, fixed files |
//! | `process` | `/proc/PID` and `/proc/PID/task/TID` |
//! | `status` | `stat`, `statm`, `status`, `limits` |
//! | `mem` | the memory itself |
//! | `memory` | `maps`, `cmdline`, `environ`, `auxv` |
//! | `smaps` | `smaps`, `smaps_rollup` |
//! | `pagemap` | a word for each page |
//! | `descriptors` | `fd`, `fdinfo` |
//! | `id_maps` | `uid_map`, `gid_map`, `setgroups` |
//! | `mounts` | `mounts`, `mountinfo`, `mountstats` |
//! | `config` | `config.gz` |
//! | `cpu` | `cpuinfo` |
//! | `system` | `meminfo`, `cpuinfo`, `stat`, `uptime` and the like |
//! | `sysctl` | `/proc/sys` |

mod config;
mod cpu;
mod descriptors;
mod id_maps;
mod mem;
mod memory;
mod mounts;
mod net;
mod pagemap;
mod process;
mod root;
mod smaps;
mod source;
mod status;
mod sysctl;
mod system;

pub use process::pidfd_of;
pub use source::{CallDetails, ProcSource, ProcTask, SystemInfo, TaskInfo};

use crate::fs::filesystem::{FileSystem, anonymous_device};
use crate::fs::pseudo::PseudoFs;
use alloc::sync::Arc;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The proc of a pid namespace.
#[must_use]
pub fn new(source: &Arc<dyn ProcSource>) -> Arc<dyn FileSystem> {
    PseudoFs::new("proc", PROC_SUPER_MAGIC, root::node(source, anonymous_device()))
}

/// Inode number of a file of a process: stable, and apart from those of other files.
const fn inode(pid: u32, file: u64) -> u64 {
    ((pid as u64 + 1) << 20) | file
}
