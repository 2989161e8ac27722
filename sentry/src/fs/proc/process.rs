//! `/proc/PID` and `/proc/PID/task/TID`.

use super::id_maps::{IdMap, SetGroupsFile};
use super::mem::Mem;
use super::pagemap::PageMap;
use super::root::parse_id;
use super::source::{ProcSource, ProcTask};
use super::{descriptors, inode, memory, mounts, smaps, status};
use crate::abi::Errno;
use crate::fs::node::LinkTarget;
use crate::fs::pseudo::{Contents, Entry, Listing, Meta, PseudoDir, PseudoFile, PseudoLink, StaticDir, Text};
use crate::fs::{FsCx, Node, NodeKind, OpenFile};
use crate::security::user_ns::Kind;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

/// The directory of a process.
pub(super) fn process_dir(source: &Arc<dyn ProcSource>, dev: u64, task: &Arc<dyn ProcTask>) -> Arc<Node> {
    let mut files = thread_files(dev, task);
    let info = task.info();
    let creds = task.creds();
    let meta = Meta::new(dev, inode(info.tid, 1), 0o555).owned(creds.euid, creds.egid);
    files.insert("task", PseudoDir::node(meta, Threads { source: source.clone(), dev, task: task.clone() }));
    let meta = Meta::new(dev, inode(info.tid, 0), 0o555).owned(creds.euid, creds.egid);
    PseudoDir::node(meta, Files { files: StaticDir(files), task: task.clone() })
}

/// The directory of a process, which also stands for it (pidfd_send_signal(2)).
struct Files {
    files: StaticDir,
    task: Arc<dyn ProcTask>,
}

impl Listing for Files {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.files.lookup(cx, name)
    }

    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        self.files.entries(cx)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// A descriptor of the process whose directory `node` is; `None` when it is another node.
#[must_use]
pub fn pidfd_of(node: &Node) -> Option<Arc<OpenFile>> {
    PseudoDir::listing::<Files>(node).map(|files| files.task.pidfd())
}

struct Threads {
    source: Arc<dyn ProcSource>,
    dev: u64,
    task: Arc<dyn ProcTask>,
}

impl Listing for Threads {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let tid = parse_id(name).ok_or(Errno::ENOENT)?;
        if !self.task.threads().contains(&tid) {
            return Err(Errno::ENOENT);
        }
        let thread = self.source.task(tid).ok_or(Errno::ENOENT)?;
        let creds = thread.creds();
        let meta = Meta::new(self.dev, inode(tid, 2), 0o555).owned(creds.euid, creds.egid);
        let mut files = thread_files(self.dev, &thread);
        let told = Meta::new(self.dev, inode(tid, 37), 0o444).owned(creds.euid, creds.egid);
        let text = Text(move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(children(&*thread)) });
        files.insert("children", PseudoFile::node(told, text));
        Ok(PseudoDir::node(meta, StaticDir(files)))
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let entry = |tid: u32| Entry { name: format!("{tid}").into_bytes(), ino: inode(tid, 2), kind: 4 };
        Ok(self.task.threads().into_iter().map(entry).collect())
    }
}

/// What the directories of processes and threads have in common.
fn thread_files(dev: u64, task: &Arc<dyn ProcTask>) -> BTreeMap<&'static str, Arc<Node>> {
    let tid = task.info().tid;
    let creds = task.creds();
    let meta = |file, mode| Meta::new(dev, inode(tid, file), mode).owned(creds.euid, creds.egid);
    let mut files = BTreeMap::new();
    let mut text = |name, file, mode, make: fn(&FsCx<'_>, &dyn ProcTask) -> Result<Vec<u8>, Errno>| {
        let task = task.clone();
        files.insert(name, PseudoFile::node(meta(file, mode), Text(move |cx: &FsCx<'_>| make(cx, &*task))));
    };
    text("stat", 10, 0o444, |_, task| Ok(status::stat(task)));
    text("statm", 11, 0o444, |_, task| Ok(status::statm(task)));
    text("status", 12, 0o444, |cx, task| Ok(status::status(task, &cx.creds.user_ns)));
    text("syscall", 33, 0o400, status::syscall);
    text("limits", 13, 0o444, |_, task| Ok(status::limits(task)));
    text("cmdline", 14, 0o444, memory::cmdline);
    text("environ", 15, 0o400, memory::environ);
    text("auxv", 16, 0o400, memory::auxv);
    text("maps", 17, 0o444, memory::maps);
    text("smaps", 18, 0o444, smaps::smaps);
    text("smaps_rollup", 34, 0o444, smaps::smaps_rollup);
    text("mountstats", 35, 0o400, mounts::mountstats);
    text("cpuset", 36, 0o444, |_, _| Ok(b"/\n".to_vec()));
    text("mounts", 19, 0o444, mounts::mounts);
    text("mountinfo", 20, 0o444, mounts::mountinfo);
    text("cgroup", 21, 0o444, |_, _| Ok(b"0::/\n".to_vec()));
    text("loginuid", 22, 0o444, |_, _| Ok(b"4294967295".to_vec()));
    text("sessionid", 23, 0o444, |_, _| Ok(b"4294967295".to_vec()));
    text(
        "oom_score",
        24,
        0o444,
        |_, task| Ok(format!("{}\n", task.info().oom_score_adj.max(0)).into_bytes()),
    );
    text("wchan", 25, 0o444, |_, _| Ok(b"0".to_vec()));
    text("schedstat", 26, 0o444, |_, task| Ok(status::schedstat(task)));
    text("personality", 27, 0o400, |_, task| Ok(format!("{:08x}\n", task.info().personality).into_bytes()));
    text("io", 28, 0o400, |_, _| Ok(status::io()));
    let map = |file, kind| PseudoFile::node(meta(file, 0o644), IdMap(kind, task.clone()));
    files.insert("uid_map", map(29, Kind::User));
    files.insert("gid_map", map(30, Kind::Group));
    files.insert("setgroups", PseudoFile::node(meta(31, 0o644), SetGroupsFile(task.clone())));
    let mem_meta = meta(32, 0o100_600);
    files.insert("mem", Node::new(mem_meta.into_ops(), NodeKind::File(Arc::new(Mem(task.clone())))));
    let pagemap = Arc::new(PageMap(task.clone()));
    files.insert("pagemap", Node::new(meta(38, 0o100_400).into_ops(), NodeKind::File(pagemap)));
    files.insert("oom_adj", PseudoFile::node(meta(42, 0o644), OomAdj(task.clone())));
    files.insert("timerslack_ns", PseudoFile::node(meta(43, 0o666), TimerSlack(task.clone())));
    files.insert("comm", PseudoFile::node(meta(40, 0o644), Comm(task.clone())));
    files.insert("oom_score_adj", PseudoFile::node(meta(41, 0o644), OomScoreAdj(task.clone())));
    for (name, file) in [("cwd", 50), ("root", 51), ("exe", 52)] {
        let task = task.clone();
        let target = move |cx: &FsCx<'_>| check_seen(&*task, cx).and_then(|()| place(&*task, name));
        files.insert(name, PseudoLink::node(meta(file, 0), target));
    }
    files.insert("fd", descriptors::fd_dir(meta(60, 0o500), task));
    files.insert("fdinfo", descriptors::fdinfo_dir(meta(61, 0o555), task));
    let net = super::net::files(dev, tid, task);
    files.insert("net", PseudoDir::fixed(meta(62, 0o555), net));
    let namespaces = ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts"];
    let links = (0u32..).zip(namespaces).map(|(index, name)| {
        let (meta, task) = (meta(71 + u64::from(index), 0), task.clone());
        let target = move |cx: &FsCx<'_>| {
            check_seen(&*task, cx)?;
            task.namespace(name).map(LinkTarget::File).ok_or(Errno::ENOENT)
        };
        (name, PseudoLink::node(meta, target))
    });
    files.insert("ns", PseudoDir::fixed(meta(70, 0o511), links));
    files
}

/// What is told only to who may look into the process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`).
///
/// # Errors
/// `EACCES`.
pub(super) fn check_seen(task: &dyn ProcTask, cx: &FsCx<'_>) -> Result<(), Errno> {
    if task.mm().is_none() || task.may_be_seen(cx) { Ok(()) } else { Err(Errno::EACCES) }
}

fn place(task: &dyn ProcTask, name: &str) -> Result<LinkTarget, Errno> {
    if name == "exe" {
        return memory::exe(task);
    }
    let fs = task.fs().ok_or(Errno::ENOENT)?;
    Ok(LinkTarget::Place(if name == "cwd" { fs.cwd() } else { fs.root() }))
}

struct Comm(Arc<dyn ProcTask>);

impl Contents for Comm {
    fn read(&self, _cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let mut name = self.0.info().name;
        name.push(b'\n');
        Ok(name)
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if !self.0.is_of(cx.caller.pid) {
            return Err(Errno::EINVAL);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n' || *byte == 0).unwrap_or(bytes.len());
        self.0.set_name(bytes.get(..end.min(15)).unwrap_or_default());
        Ok(())
    }
}

/// `/proc/PID/task/TID/children`.
fn children(task: &dyn ProcTask) -> Vec<u8> {
    task.children().iter().map(|pid| format!("{pid} ")).collect::<alloc::string::String>().into_bytes()
}

/// `oom_adj`, which goes from -17 (never) to 15: the older name of `oom_score_adj`.
struct OomAdj(Arc<dyn ProcTask>);

impl Contents for OomAdj {
    fn read(&self, _cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let value = match self.0.info().oom_score_adj {
            1000 => 15,
            value => value * 17 / 1000,
        };
        Ok(format!("{value}\n").into_bytes())
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        if !(-17..=15).contains(&value) {
            return Err(Errno::EINVAL);
        }
        let score = if value == 15 { 1000 } else { value * 1000 / 17 };
        set_oom_score_adj(&*self.0, cx, score)
    }
}

/// `timerslack_ns`, of the thread; 0 is the default.
struct TimerSlack(Arc<dyn ProcTask>);

impl TimerSlack {
    /// Of others it is told and set with `CAP_SYS_NICE`.
    fn check(&self, cx: &FsCx<'_>) -> Result<(), Errno> {
        let may = self.0.is_of(cx.caller.pid) || cx.creds.has(crate::security::Capability::SysNice);
        if may { Ok(()) } else { Err(Errno::EPERM) }
    }
}

impl Contents for TimerSlack {
    fn read(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        self.check(cx)?;
        Ok(format!("{}\n", self.0.timer_slack_ns()).into_bytes())
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let value: u64 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        self.check(cx)?;
        self.0.set_timer_slack_ns(value);
        Ok(())
    }
}

/// # Errors
/// `EACCES` for less than before without `CAP_SYS_RESOURCE`.
fn set_oom_score_adj(task: &dyn ProcTask, cx: &FsCx<'_>, value: i32) -> Result<(), Errno> {
    let lowers = value < task.info().oom_score_adj;
    if lowers && !cx.creds.has(crate::security::Capability::SysResource) {
        return Err(Errno::EACCES);
    }
    task.set_oom_score_adj(value);
    Ok(())
}

struct OomScoreAdj(Arc<dyn ProcTask>);

impl Contents for OomScoreAdj {
    fn read(&self, _cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        Ok(format!("{}\n", self.0.info().oom_score_adj).into_bytes())
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        if !(-1000..=1000).contains(&value) {
            return Err(Errno::EINVAL);
        }
        set_oom_score_adj(&*self.0, cx, value)
    }
}
