//! `/proc/sys`: values that programs consult, fixed ones here, changing ones by [`ProcSource::sysctl`].

use super::source::ProcSource;
use crate::abi::Errno;
use crate::fs::pseudo::{Contents, Entry, Listing, Meta, PseudoDir, PseudoFile};
use crate::fs::{FsCx, Node};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Path below `/proc/sys`, fixed value (`None`: ask the source), permission bits. Sorted by path.
const FILES: &[(&str, Option<&str>, u32)] = &[
    ("fs/aio-max-nr", Some("65536"), 0o444),
    ("fs/aio-nr", None, 0o444),
    ("fs/dentry-state", Some("0\t0\t45\t0\t0\t0"), 0o444),
    ("fs/epoll/max_user_watches", Some("131072"), 0o444),
    ("fs/file-max", Some("9223372036854775807"), 0o444),
    ("fs/file-nr", Some("0\t0\t9223372036854775807"), 0o444),
    ("fs/inode-nr", Some("0\t0"), 0o444),
    ("fs/inode-state", Some("0\t0\t0\t0\t0\t0\t0"), 0o444),
    ("fs/inotify/max_queued_events", Some("16384"), 0o444),
    ("fs/inotify/max_user_instances", Some("128"), 0o444),
    ("fs/inotify/max_user_watches", Some("65536"), 0o444),
    ("fs/lease-break-time", Some("45"), 0o444),
    ("fs/leases-enable", Some("0"), 0o444),
    ("fs/mount-max", Some("10000"), 0o444),
    ("fs/mqueue/msg_default", None, 0o644),
    ("fs/mqueue/msg_max", None, 0o644),
    ("fs/mqueue/msgsize_default", None, 0o644),
    ("fs/mqueue/msgsize_max", None, 0o644),
    ("fs/mqueue/queues_max", None, 0o644),
    ("fs/nr_open", Some("1048576"), 0o444),
    ("fs/overflowgid", Some("65534"), 0o444),
    ("fs/overflowuid", Some("65534"), 0o444),
    ("fs/pipe-max-size", Some("1048576"), 0o444),
    ("fs/pipe-user-pages-hard", Some("0"), 0o444),
    ("fs/pipe-user-pages-soft", Some("16384"), 0o444),
    ("fs/protected_fifos", Some("0"), 0o444),
    ("fs/protected_hardlinks", Some("0"), 0o444),
    ("fs/protected_regular", Some("0"), 0o444),
    ("fs/protected_symlinks", Some("0"), 0o444),
    ("fs/suid_dumpable", Some("0"), 0o444),
    ("kernel/cap_last_cap", Some("40"), 0o444),
    ("kernel/core_pattern", Some("core"), 0o444),
    ("kernel/core_uses_pid", Some("0"), 0o444),
    ("kernel/dmesg_restrict", Some("0"), 0o444),
    ("kernel/domainname", None, 0o644),
    ("kernel/hostname", None, 0o644),
    ("kernel/io_uring_disabled", Some("2"), 0o444),
    ("kernel/keys/gc_delay", Some("300"), 0o444),
    ("kernel/keys/maxbytes", Some("20000"), 0o444),
    ("kernel/keys/maxkeys", Some("200"), 0o444),
    ("kernel/keys/persistent_keyring_expiry", Some("259200"), 0o444),
    ("kernel/keys/root_maxbytes", Some("2500000"), 0o444),
    ("kernel/keys/root_maxkeys", Some("20000"), 0o444),
    ("kernel/kptr_restrict", Some("0"), 0o444),
    ("kernel/modules_disabled", Some("1"), 0o444),
    ("kernel/msgmax", None, 0o644),
    ("kernel/msgmnb", None, 0o644),
    ("kernel/msgmni", None, 0o644),
    ("kernel/ngroups_max", Some("65536"), 0o444),
    ("kernel/osrelease", Some(crate::abi::version::RELEASE), 0o444),
    ("kernel/ostype", Some("Linux"), 0o444),
    ("kernel/overflowgid", Some("65534"), 0o444),
    ("kernel/overflowuid", Some("65534"), 0o444),
    ("kernel/panic", Some("0"), 0o444),
    ("kernel/perf_event_paranoid", Some("3"), 0o444),
    ("kernel/pid_max", Some("4194304"), 0o444),
    ("kernel/printk", Some("7\t4\t1\t7"), 0o444),
    ("kernel/random/boot_id", None, 0o444),
    ("kernel/random/entropy_avail", Some("256"), 0o444),
    ("kernel/random/poolsize", Some("256"), 0o444),
    ("kernel/random/uuid", None, 0o444),
    ("kernel/randomize_va_space", Some("2"), 0o444),
    ("kernel/sched_autogroup_enabled", Some("0"), 0o444),
    ("kernel/sched_rr_timeslice_ms", Some("100"), 0o444),
    ("kernel/seccomp/actions_avail", Some("kill_process kill_thread trap errno trace log allow"), 0o444),
    ("kernel/sem", None, 0o644),
    ("kernel/shm_rmid_forced", Some("0"), 0o444),
    ("kernel/shmall", None, 0o644),
    ("kernel/shmmax", None, 0o644),
    ("kernel/shmmni", None, 0o644),
    ("kernel/sysrq", Some("0"), 0o444),
    ("kernel/tainted", Some("0"), 0o444),
    ("kernel/threads-max", None, 0o444),
    ("kernel/unprivileged_bpf_disabled", Some("2"), 0o444),
    ("kernel/version", Some(crate::abi::version::VERSION), 0o444),
    ("vm/dirty_background_ratio", Some("10"), 0o444),
    ("vm/dirty_expire_centisecs", Some("3000"), 0o444),
    ("vm/dirty_ratio", Some("20"), 0o444),
    ("vm/dirty_writeback_centisecs", Some("500"), 0o444),
    ("vm/drop_caches", Some("0"), 0o444),
    ("vm/legacy_va_layout", Some("0"), 0o444),
    ("vm/max_map_count", Some("65530"), 0o444),
    ("vm/min_free_kbytes", Some("1024"), 0o444),
    ("vm/mmap_min_addr", Some("65536"), 0o444),
    ("vm/nr_hugepages", Some("0"), 0o444),
    ("vm/nr_overcommit_hugepages", Some("0"), 0o444),
    ("vm/oom_kill_allocating_task", Some("0"), 0o444),
    ("vm/overcommit_kbytes", Some("0"), 0o444),
    ("vm/overcommit_memory", Some("1"), 0o444),
    ("vm/overcommit_ratio", Some("50"), 0o444),
    ("vm/page-cluster", Some("3"), 0o444),
    ("vm/panic_on_oom", Some("0"), 0o444),
    ("vm/stat_interval", Some("1"), 0o444),
    ("vm/swappiness", Some("60"), 0o444),
    ("vm/unprivileged_userfaultfd", Some("0"), 0o444),
    ("vm/vfs_cache_pressure", Some("100"), 0o444),
];

struct Dir {
    source: Arc<dyn ProcSource>,
    dev: u64,
    /// With a slash at the end, unless it is the top.
    prefix: String,
}

/// `/proc/sys`.
pub(super) fn node(source: &Arc<dyn ProcSource>, dev: u64) -> Arc<Node> {
    PseudoDir::node(Meta::new(dev, 200, 0o555), Dir { source: source.clone(), dev, prefix: String::new() })
}

fn ino(path: &str) -> u64 {
    // FNV-1a: stable from one look-up to the next.
    path.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        | 1 << 63
}

impl Dir {
    /// Every path below this directory, sorted, with the fixed value and the permission bits.
    fn files(&self) -> Vec<(String, Option<&'static str>, u32)> {
        let here = |path: &str| path.starts_with(&self.prefix);
        let fixed = FILES.iter().filter(|(path, ..)| here(path));
        let fixed = fixed.map(|(path, value, mode)| (String::from(*path), *value, *mode));
        let others = self.source.sysctls().into_iter().filter(|(path, _)| here(path));
        let mut files: Vec<_> = fixed.chain(others.map(|(path, mode)| (path, None, mode))).collect();
        files.sort();
        files
    }
}

impl Listing for Dir {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let path = alloc::format!("{}{name}", self.prefix);
        let mut files = self.files();
        if let Some(at) = files.iter().position(|(file, ..)| *file == path) {
            let (path, value, mode) = files.swap_remove(at);
            let meta = Meta::new(self.dev, ino(&path), mode);
            return Ok(PseudoFile::node(meta, Value { source: self.source.clone(), path, value }));
        }
        let prefix = alloc::format!("{path}/");
        if !files.iter().any(|(file, ..)| file.starts_with(&prefix)) {
            return Err(Errno::ENOENT);
        }
        let meta = Meta::new(self.dev, ino(&path), 0o555);
        Ok(PseudoDir::node(meta, Self { source: self.source.clone(), dev: self.dev, prefix }))
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let mut entries: Vec<Entry> = Vec::new();
        let files = self.files();
        for rest in files.iter().filter_map(|(file, ..)| file.strip_prefix(self.prefix.as_str())) {
            let (name, kind) = rest.split_once('/').map_or((rest, 8), |(dir, _)| (dir, 4));
            if entries.last().is_none_or(|last| last.name != name.as_bytes()) {
                let path = alloc::format!("{}{name}", self.prefix);
                entries.push(Entry { name: name.as_bytes().to_vec(), ino: ino(&path), kind });
            }
        }
        Ok(entries)
    }
}

struct Value {
    source: Arc<dyn ProcSource>,
    path: String,
    value: Option<&'static str>,
}

impl Contents for Value {
    fn read(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let changing = || self.source.sysctl(cx.caller.tid, &self.path).ok_or(Errno::ENOENT);
        let mut text = self.value.map_or_else(changing, |value| Ok(String::from(value)))?;
        text.push('\n');
        Ok(text.into_bytes())
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if !self.path.starts_with("net/") && !cx.creds.has(crate::security::Capability::SysAdmin) {
            return Err(Errno::EPERM);
        }
        self.source.set_sysctl(cx.caller.tid, &self.path, bytes)
    }
}
