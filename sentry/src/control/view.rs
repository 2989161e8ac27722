//! [`View`]: what proc and the cgroup files of a container tell of its tasks.

use crate::abi::Errno;
use crate::fs::block::{self, Disk};
use crate::fs::proc::{self, CallDetails, ProcSource, ProcTask, SystemInfo, TaskInfo};
use crate::fs::sys::{CgroupSource, LinkSource};
use crate::fs::{FdTable, FileBody, FsContext, FsCx, OpenFile, Stream};
use crate::ipc::IpcNamespace;
use crate::mm::{Budget, Mm};
use crate::net::NetStack;
use crate::net::inet::interface::{LOOPBACK, UP};
use crate::platform;
use crate::security::{Capability, Creds};
use crate::signal::{Action, Signal};
use crate::task::namespaces::{self, NamespaceFile, PidNamespace, UtsNamespace};
use crate::task::pidfd::PidFd;
use crate::task::{Container, Process, Task};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_proto::control::Limits;
use core::fmt::Write;
use core::sync::atomic::Ordering;

/// Level of the lock around the limits shown.
const LEVEL: Level = Level(12);

#[derive(Clone, Copy)]
struct Cpu {
    quota_us: Option<(u64, u64)>,
    weight: u32,
}

/// Slack of timers that nobody set.
const DEFAULT_SLACK_NS: u64 = 50_000;

/// What a container's files tell of it.
pub(super) struct View {
    container: Arc<Container>,
    budget: Arc<Budget>,
    cpu: Arc<SpinLock<Cpu>>,
    boot_id: [u8; 16],
    /// Whose numbers are shown.
    namespace: Arc<PidNamespace>,
}

impl View {
    pub(super) fn new(container: &Arc<Container>, budget: &Arc<Budget>) -> Arc<Self> {
        let cpu = Arc::new(SpinLock::new(LEVEL, Cpu { quota_us: None, weight: 100 }));
        let view = Arc::new(Self {
            container: container.clone(),
            budget: budget.clone(),
            cpu,
            boot_id: random_id(),
            namespace: container.namespaces.pid.clone(),
        });
        let weak = Arc::downgrade(&view);
        container.procfs.set(Box::new(move |namespace| {
            weak.upgrade().map(|view| proc::new(&view.within(namespace).proc_source()))
        }));
        view
    }

    /// The same for those in a pid namespace below.
    fn within(&self, namespace: &Arc<PidNamespace>) -> Arc<Self> {
        Arc::new(Self {
            container: self.container.clone(),
            budget: self.budget.clone(),
            cpu: self.cpu.clone(),
            boot_id: self.boot_id,
            namespace: namespace.clone(),
        })
    }

    /// Notes the CPU limits, to be shown.
    pub(super) fn set_cpu(&self, limits: &Limits) {
        *self.cpu.lock() = Cpu { quota_us: limits.cpu_quota_us, weight: limits.cpu_weight.unwrap_or(100) };
    }

    pub(super) fn proc_source(self: &Arc<Self>) -> Arc<dyn ProcSource> {
        self.clone()
    }

    pub(super) fn link_source(self: &Arc<Self>) -> Arc<dyn LinkSource> {
        self.clone()
    }

    /// For the cgroup file system.
    pub(super) fn cgroup_source(self: &Arc<Self>) -> Arc<dyn CgroupSource> {
        self.clone()
    }

    /// Bytes of memory that the container may use.
    fn memory_bytes(&self) -> u64 {
        let (frames, _) = chitin_core::frame::usage();
        let all = u64::from(frames) * 4096;
        self.budget.limit().checked_mul(4096).map_or(all, |limit| limit.min(all))
    }
}

/// A random UUID (version 4).
fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    platform::get().entropy(&mut id);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

fn id_text(id: &[u8; 16]) -> String {
    let mut out = String::new();
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

impl View {
    /// The network namespace of a thread.
    fn net_of(&self, tid: u32) -> Arc<dyn NetStack> {
        let task = self.container.task(tid);
        task.map_or_else(|| self.container.net.clone(), |task| task.namespaces().net.stack.clone())
    }

    /// The names that a thread sees.
    fn uts_of(&self, tid: u32) -> Arc<UtsNamespace> {
        let task = self.container.task(tid);
        task.map_or_else(|| self.container.namespaces.uts.clone(), |task| task.namespaces().uts.clone())
    }

    /// The System V objects and message queues that a thread sees.
    fn ipc_of(&self, tid: u32) -> Arc<IpcNamespace> {
        self.container.task(tid).map_or_else(|| self.container.ipc.clone(), |task| task.ipc())
    }

    /// Whether a thread may change its network's settings.
    fn may_configure_net(&self, tid: u32) -> bool {
        self.container.task(tid).is_some_and(|task| {
            let creds = task.creds();
            creds.has_in(Capability::NetAdmin, &task.namespaces().net.owner)
                || creds.has(Capability::SysAdmin)
        })
    }
}

impl ProcSource for View {
    fn pids(&self) -> Vec<u32> {
        let numbers =
            self.container.processes().into_iter().map(|process| self.namespace.shown(process.pid()));
        let mut seen: Vec<u32> = numbers.filter(|number| *number != 0).collect();
        seen.sort_unstable();
        seen
    }

    fn task(&self, pid: u32) -> Option<Arc<dyn ProcTask>> {
        let number = self.namespace.meant(pid);
        let viewer = self.namespace.clone();
        if let Some(process) = self.container.process(number) {
            let task = process.any_thread().or_else(|| self.container.task(number));
            return Some(Arc::new(Subject { task, process, viewer }));
        }
        let task = self.container.task(number)?;
        Some(Arc::new(Subject { process: task.process().clone(), task: Some(task), viewer }))
    }

    fn shown(&self, number: u32) -> u32 {
        self.namespace.shown(number)
    }

    fn system(&self) -> SystemInfo {
        let usage = self.container.usage();
        let uptime_ns = now_ns();
        let cpus = u32::try_from(platform::get().cpus()).unwrap_or(1);
        let busy = usage.user_ns.saturating_add(usage.system_ns);
        let memory = self.memory_bytes();
        let last_pid = ProcSource::pids(self).last().copied().unwrap_or(0);
        SystemInfo {
            uptime_ns,
            boot_time: platform::get().realtime_ns().saturating_sub(uptime_ns) / 1_000_000_000,
            user_ns: usage.user_ns,
            system_ns: usage.system_ns,
            idle_ns: uptime_ns.saturating_mul(u64::from(cpus)).saturating_sub(busy),
            loads: self.container.load_averages(),
            cpus,
            memory,
            memory_used: (self.budget.used() * 4096).min(memory),
            cached: 0,
            tasks: self.container.pids(),
            running: 1,
            forks: u64::from(last_pid),
            last_pid,
        }
    }

    fn sysctl(&self, caller: u32, name: &str) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match name {
            "kernel/hostname" => Some(text(&self.uts_of(caller).names.lock().host)),
            "kernel/domainname" => Some(text(&self.uts_of(caller).names.lock().domain)),
            "kernel/random/boot_id" => Some(id_text(&self.boot_id)),
            "kernel/random/uuid" => Some(id_text(&random_id())),
            "fs/aio-nr" => Some(format!("{}", crate::mm::aio_requests())),
            "kernel/threads-max" => Some(format!("{}", self.container.pids_limit().unwrap_or(63_000))),
            _ => match name.strip_prefix("net/") {
                Some(name) => self.net_of(caller).sysctl(name),
                None => crate::ipc::limits::read(&self.ipc_of(caller), name),
            },
        }
    }

    fn disks(&self) -> Vec<Arc<Disk>> {
        block::owned_by(Arc::as_ptr(&self.container).addr())
    }

    fn sysvipc(&self, caller: u32, name: &str) -> String {
        let ipc = self.ipc_of(caller);
        match name {
            "shm" => ipc.segments.text(),
            "sem" => ipc.sets.text(),
            _ => ipc.queues.text(),
        }
    }

    fn keys(&self, caller: u32, name: &str) -> String {
        let Some(task) = self.container.task(caller) else { return String::new() };
        let (creds, now) = (task.creds(), crate::syscall::keys::now());
        let mut rings = task.keyrings.lock();
        let access = rings.access(&creds, now);
        if name == "keys" { access.keys_text() } else { access.users_text() }
    }

    fn sysctls(&self) -> Vec<(String, u32)> {
        let files = crate::net::inet::sysctl::files().into_iter();
        files.map(|(name, mode)| (format!("net/{name}"), mode)).collect()
    }

    fn set_sysctl(&self, caller: u32, name: &str, value: &[u8]) -> Result<(), Errno> {
        if let Some(name) = name.strip_prefix("net/") {
            let text = core::str::from_utf8(value).map_err(|_| Errno::EINVAL)?;
            if !self.may_configure_net(caller) {
                return Err(Errno::EPERM);
            }
            return self.net_of(caller).set_sysctl(name, text);
        }
        let end = value.iter().position(|byte| *byte == b'\n').unwrap_or(value.len());
        if let Some(result) = crate::ipc::limits::write(&self.ipc_of(caller), name, value) {
            return result;
        }
        let value = value.get(..end.min(64)).unwrap_or_default().to_vec();
        let uts = self.uts_of(caller);
        let mut uts = uts.names.lock();
        match name {
            "kernel/hostname" => uts.host = value,
            "kernel/domainname" => uts.domain = value,
            _ => return Err(Errno::EACCES),
        }
        Ok(())
    }
}

impl LinkSource for View {
    fn links(&self) -> Vec<String> {
        self.container.net.interfaces().into_iter().map(|link| link.name).collect()
    }

    fn value(&self, link: &str, file: &str) -> Option<String> {
        let link = self.container.net.interfaces().into_iter().find(|known| known.name == link)?;
        let mac: Vec<String> = link.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let up = link.flags & UP != 0;
        Some(match file {
            "addr_len" => String::from("6"),
            "broadcast" if link.index != LOOPBACK => String::from("ff:ff:ff:ff:ff:ff"),
            "address" | "broadcast" => mac.join(":"),
            "carrier" => String::from(if up { "1" } else { return None }),
            "dev_id" => String::from("0x0"),
            "flags" => format!("{:#x}", link.flags & 0xffff),
            "ifindex" | "iflink" => format!("{}", link.index),
            "mtu" => format!("{}", link.mtu),
            "operstate" if link.index == LOOPBACK => String::from("unknown"),
            "operstate" => String::from(if up { "up" } else { "down" }),
            "tx_queue_len" => String::from("1000"),
            "type" => format!("{}", link.hardware),
            "statistics/rx_bytes" => format!("{}", link.bytes),
            "statistics/tx_bytes" => format!("{}", link.out_bytes),
            "statistics/rx_packets" => format!("{}", link.packets),
            "statistics/tx_packets" => format!("{}", link.out_packets),
            "statistics/rx_dropped" => format!("{}", link.dropped),
            "statistics/tx_dropped" => format!("{}", link.out_dropped),
            _ => String::from("0"),
        })
    }
}

impl CgroupSource for View {
    fn memory(&self) -> (Option<u64>, u64, u64) {
        let limit = self.budget.limit().checked_mul(4096);
        (limit, self.budget.used() * 4096, self.budget.peak() * 4096)
    }

    fn pids(&self) -> (Option<u32>, u32) {
        (self.container.pids_limit(), self.container.pids())
    }

    fn cpu_quota_us(&self) -> Option<(u64, u64)> {
        self.cpu.lock().quota_us
    }

    fn cpu_weight(&self) -> u32 {
        self.cpu.lock().weight
    }

    fn cpu_ns(&self) -> (u64, u64) {
        let usage = self.container.usage();
        (usage.user_ns, usage.system_ns)
    }

    fn processes(&self) -> Vec<u32> {
        ProcSource::pids(self)
    }

    fn threads(&self) -> Vec<u32> {
        let all: Vec<u32> = self.container.tree().tasks.keys().copied().collect();
        all.into_iter().map(|tid| self.namespace.shown(tid)).filter(|tid| *tid != 0).collect()
    }

    fn cpus(&self) -> usize {
        platform::get().cpus()
    }

    fn oom_kills(&self) -> u64 {
        self.container.oom_kills()
    }
}

fn now_ns() -> u64 {
    chitin_core::hooks::now_ns()
}

/// A thread, or a process by one of its threads; only the process is left of a zombie.
struct Subject {
    process: Arc<Process>,
    task: Option<Arc<Task>>,
    /// Whose numbers are shown.
    viewer: Arc<PidNamespace>,
}

impl Subject {
    /// Numbers of the process, the thread, the group and the session in namespaces below the viewer's, going inwards.
    fn inner_numbers(&self, numbers: [u32; 4]) -> Vec<[u32; 4]> {
        let innermost = Some(self.process.pid_namespace());
        let chain = core::iter::successors(innermost, |at| at.above());
        let below = chain.take_while(|at| !Arc::ptr_eq(at, &self.viewer));
        let mut inner: Vec<[u32; 4]> = below.map(|at| numbers.map(|number| at.shown(number))).collect();
        inner.reverse();
        inner
    }
}

impl ProcTask for Subject {
    fn net(&self, name: &str) -> Option<String> {
        let net = self.task.as_ref()?.namespaces().net.clone();
        if name == "unix" { Some(crate::net::unix::table::report(net.ino)) } else { net.stack.report(name) }
    }

    fn info(&self) -> TaskInfo {
        let process = &self.process;
        let task = self.task.as_ref();
        let (pgid, sid) = process.group_and_session();
        let (usage, threads, zombie, stopped, shared_pending) = {
            let usage = process.usage();
            let state = process.state();
            let stopped = state.stopped_by.is_some() && state.stopped == state.threads.len();
            (usage, state.threads.len(), state.status, stopped, state.pending.set().0)
        };
        let (pending, blocked) = task.map_or((0, 0), |task| {
            let signals = task.signals.lock();
            (signals.pending.set().0, signals.blocked.0)
        });
        let handlers = process.handlers.get();
        let (mut ignored, mut caught) = (0u64, 0u64);
        for number in 1..=64 {
            let Ok(signal) = Signal::new(number) else { continue };
            let action = handlers.get(signal);
            let bit = 1 << (number - 1);
            if action.is_handler() {
                caught |= bit;
            } else if action.handler == Action::IGNORE {
                ignored |= bit;
            }
        }
        let terminal = process
            .container
            .tree()
            .session(sid)
            .and_then(|session| session.terminal.clone().map(|terminal| (terminal, session.foreground)));
        let name = task.map_or([0; 16], |task| task.name());
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let mut limits = [(u64::MAX, u64::MAX); 16];
        for (index, slot) in limits.iter_mut().enumerate() {
            if let Some(limit) = process.limits.at(index) {
                *slot = (limit.soft, limit.hard);
            }
        }
        let nice = task.map_or(0, |task| task.nice.load(Ordering::Relaxed));
        let seccomp = task.map(|task| task.seccomp()).unwrap_or_default();
        let schedule = task.map(|task| *task.schedule.lock()).unwrap_or_default();
        let state = if zombie.is_some() {
            'Z'
        } else if task.is_some_and(|task| task.is_in_trace_stop()) {
            't'
        } else if stopped {
            'T'
        } else if task.is_some_and(|task| task.is_running()) {
            'R'
        } else {
            'S'
        };
        let tid = task.map_or(process.pid(), |task| task.tid());
        let shown = |number| self.viewer.shown(number);
        TaskInfo {
            tid: shown(tid),
            pid: shown(process.pid()),
            ppid: shown(process.parent()),
            pgid: shown(pgid),
            sid: shown(sid),
            inner: self.inner_numbers([process.pid(), tid, pgid, sid]),
            tty: terminal.as_ref().map_or(0, |(terminal, _)| terminal.attr().rdev),
            tty_pgid: terminal.map_or(-1, |(_, group)| shown(group).cast_signed()),
            name: name.get(..end).unwrap_or_default().to_vec(),
            state,
            user_ns: usage.user_ns,
            system_ns: usage.system_ns,
            waited_ns: usage.waited_ns,
            switches: task.map_or((0, 0), |task| task.switches()),
            start_ns: process.start_ns,
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            nice,
            scheduling: (schedule.shown_priority(nice), schedule.priority, schedule.policy.number()),
            cpus: schedule.cpus,
            tracer: task.map_or(0, |task| shown(task.tracer())),
            seccomp: seccomp.mode(),
            seccomp_filters: seccomp.filters(),
            personality: task.map_or(0, |task| task.personality.load(Ordering::Relaxed)),
            exit_code: zombie.map_or(0, |status| status.wait_status().cast_signed()),
            pending,
            shared_pending,
            blocked,
            ignored,
            caught,
            limits,
            oom_score_adj: process.oom_score_adj.load(Ordering::Relaxed),
            ..TaskInfo::default()
        }
    }

    fn is_of(&self, pid: u32) -> bool {
        self.process.pid() == pid
    }

    fn threads(&self) -> Vec<u32> {
        let threads = self.process.threads();
        let mut tids: Vec<u32> = threads.iter().map(|task| self.viewer.shown(task.tid())).collect();
        tids.sort_unstable();
        tids
    }

    fn children(&self) -> Vec<u32> {
        let tree = self.process.container.tree();
        let children = tree.members.get(&self.process.pid()).map(|member| member.children.clone());
        drop(tree);
        children.unwrap_or_default().into_iter().map(|pid| self.viewer.shown(pid)).collect()
    }

    fn timer_slack_ns(&self) -> u64 {
        self.task.as_ref().map_or(0, |task| task.timer_slack_ns.load(Ordering::Relaxed))
    }

    fn set_timer_slack_ns(&self, value: u64) {
        if let Some(task) = &self.task {
            let value = if value == 0 { DEFAULT_SLACK_NS } else { value };
            task.timer_slack_ns.store(value, Ordering::Relaxed);
        }
    }

    fn mm(&self) -> Option<Arc<Mm>> {
        self.task.as_ref().and_then(|task| task.mm())
    }

    fn files(&self) -> Option<Arc<FdTable>> {
        self.task.as_ref().map(|task| task.files())
    }

    fn fs(&self) -> Option<Arc<FsContext>> {
        self.task.as_ref().map(|task| task.fs())
    }

    fn creds(&self) -> Arc<Creds> {
        self.task.as_ref().map_or_else(|| Arc::new(Creds::root()), |task| task.creds())
    }

    fn call(&self) -> Option<CallDetails> {
        self.task.as_ref().and_then(|task| task.waiting_call())
    }

    fn may_be_seen(&self, cx: &FsCx<'_>) -> bool {
        let Some(task) = &self.task else { return false };
        self.is_of(cx.caller.pid) || crate::task::trace::may_access(cx.creds, task)
    }

    fn namespace(&self, name: &str) -> Option<Arc<OpenFile>> {
        let contents = namespaces::change::of_task(self.task.as_ref()?, name)?;
        let stream: Arc<dyn Stream> = Arc::new(NamespaceFile(contents));
        Some(OpenFile::new(FileBody::Stream(stream, None), 0))
    }

    fn shown(&self, number: u32) -> u32 {
        self.viewer.shown(number)
    }

    fn describe_pidfd(&self, file: &OpenFile, out: &mut String) {
        let Ok(process) = PidFd::process_of(file) else { return };
        if process.is_reaped() {
            out.push_str("Pid:\t-1\nNSpid:\t-1\n");
            return;
        }
        // Who is not seen here has 0.
        let pid = self.viewer.shown(process.pid());
        let _ = write!(out, "Pid:\t{pid}\nNSpid:\t{pid}");
        if self.viewer.holds(process.pid_namespace()) {
            let subject = Self { process: process.clone(), task: None, viewer: self.viewer.clone() };
            for [number, ..] in subject.inner_numbers([process.pid(); 4]) {
                let _ = write!(out, "\t{number}");
            }
        }
        out.push('\n');
    }

    fn pidfd(&self) -> Arc<OpenFile> {
        let stream: Arc<dyn Stream> = PidFd::new(self.process.clone());
        OpenFile::new(FileBody::Stream(stream, None), 0)
    }

    fn set_name(&self, name: &[u8]) {
        if let Some(task) = &self.task {
            task.set_name(name);
        }
    }

    fn set_oom_score_adj(&self, value: i32) {
        self.process.oom_score_adj.store(value, Ordering::Relaxed);
    }
}
