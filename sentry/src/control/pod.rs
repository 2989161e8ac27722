//! [`Pod`]: the containers of the sandbox, and what each request does.

use super::channel::Channel;
use super::stdio::{self, Streams};
use super::{Refusal, debug, root, start};
use crate::abi::Errno;
use crate::fs::fuse::Connection;
use crate::fs::tty::WindowSize;
use crate::fs::{FsCx, block};
use crate::mm::Budget;
use crate::net::inet::Stack;
use crate::net::vsock::Vsock;
use crate::platform;
use crate::security::seccomp::Filter;
use crate::signal::{SigInfo, Signal};
use crate::task::{Container, Process};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use chitin_proto::control::{ContainerSpec, Event, Limits, ProcessSpec, Reply, Request, SignalScope, Stats};
use chitin_proto::frame::Kind;

/// Level of the lock around the containers: outermost.
const LEVEL: Level = Level(10);

/// A process that the control channel started.
struct Started {
    process: Arc<Process>,
    streams: Arc<Streams>,
}

/// A container with what the control channel keeps of it.
pub(super) struct Entry {
    pub(super) container: Arc<Container>,
    pub(super) budget: Arc<Budget>,
    pub(super) tree: root::Tree,
    /// What its processes may call.
    pub(super) seccomp: Option<Arc<Filter>>,
    /// Processes by exec id; init's is empty.
    processes: SpinLock<BTreeMap<String, Started>>,
}

/// The containers of the sandbox.
pub(super) struct Pod {
    vsock: &'static Vsock,
    files: Option<Arc<Connection>>,
    channel: Arc<Channel>,
    containers: SpinLock<BTreeMap<String, Arc<Entry>>>,
    /// The network namespace of all containers.
    net: Arc<Stack>,
}

impl Pod {
    pub(super) fn new(vsock: &'static Vsock, files: Option<Arc<Connection>>, channel: Arc<Channel>) -> Self {
        let containers = SpinLock::new(LEVEL, BTreeMap::new());
        Self { vsock, files, channel, containers, net: Stack::new() }
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// What failed, naming the id, path or program.
    pub(super) fn handle(&self, cx: &FsCx<'_>, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::CreateContainer(spec) => self.create(cx, *spec),
            Request::StartContainer { id } => {
                let entry = self.find(&id)?;
                start::release(&*init(&entry)?);
                Ok(Reply::Done)
            }
            Request::Exec { id, exec_id, process } => self.exec(cx, &id, exec_id, &process),
            Request::Signal { id, exec_id, signal, scope } => {
                self.signal(&id, exec_id.as_deref(), signal, scope)
            }
            Request::Resize { id, exec_id, columns, rows } => {
                let entry = self.find(&id)?;
                let streams = streams(&entry, exec_id.as_deref())?;
                let none = || Refusal::new(Errno::ENOTTY, format!("the process of {id:?} has no terminal"));
                let window = WindowSize { rows, columns, ..WindowSize::default() };
                streams.terminal().ok_or_else(none)?.resize(window);
                Ok(Reply::Done)
            }
            Request::CloseStdin { id, exec_id } => {
                let entry = self.find(&id)?;
                streams(&entry, exec_id.as_deref())?.close_stdin();
                Ok(Reply::Done)
            }
            Request::DeleteContainer { id } => self.delete(cx, &id),
            Request::Pids { id } => {
                let entry = self.find(&id)?;
                let processes = entry.container.processes();
                Ok(Reply::Pids(
                    processes
                        .iter()
                        .filter(|process| !process.is_zombie())
                        .map(|process| process.pid())
                        .collect(),
                ))
            }
            Request::Debug { id } => Ok(Reply::Text(debug::report(cx, &self.find(&id)?.tree.cgroup))),
            Request::Stats { id } => Ok(Reply::Stats(stats(&*self.find(&id)?))),
            Request::Freeze { id, state } => {
                self.find(&id)?.container.freeze(state);
                Ok(Reply::Done)
            }
            Request::Update { id, limits } => {
                apply(&*self.find(&id)?, &limits);
                Ok(Reply::Done)
            }
            Request::SetNetwork(network) => match self.net.configure(&network) {
                Ok(()) => Ok(Reply::Done),
                Err(refused) => Err(Refusal::new(refused.errno, refused.what)),
            },
            Request::Ping => Ok(Reply::Done),
            Request::Shutdown => {
                let entries = core::mem::take(&mut *self.containers.lock());
                for entry in entries.values() {
                    entry.container.signal_all(SigInfo::kernel(Signal::KILL));
                }
                Ok(Reply::Done)
            }
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>, Refusal> {
        let found = self.containers.lock().get(id).cloned();
        found.ok_or_else(|| Refusal::new(Errno::ENOENT, format!("no container {id:?} in this sandbox")))
    }

    fn create(&self, cx: &FsCx<'_>, spec: ContainerSpec) -> Result<Reply, Refusal> {
        if self.containers.lock().contains_key(&spec.id) {
            return Err(Refusal::new(Errno::EEXIST, format!("container {:?} exists already", spec.id)));
        }
        let files = self
            .files
            .as_ref()
            .ok_or_else(|| Refusal::new(Errno::ENODEV, "the machine has no file device"))?;
        let name = |name: &str, other: &str| {
            if name.is_empty() { other.as_bytes().to_vec() } else { name.as_bytes().to_vec() }
        };
        let budget = Budget::root().child(crate::mm::UNLIMITED);
        let (host, domain) = (name(&spec.hostname, "chitin"), name(&spec.domainname, "(none)"));
        let container = Container::new(spec.id.clone(), host, domain, budget.clone(), self.net.clone());
        container.strace.store(spec.strace, core::sync::atomic::Ordering::Relaxed);
        let owner = root::owner(&container);
        let undo = |_: &Refusal| block::detach(cx.sleeper, owner);
        let tree = root::build(cx, files, &spec, &container, &budget).inspect_err(undo)?;
        let seccomp = spec.seccomp.as_ref().map(|profile| {
            let program = crate::security::seccomp::profile::compile(profile)?;
            Filter::new(program, None, &budget)
        });
        let seccomp = seccomp.transpose().map_err(Refusal::of("the seccomp profile")).inspect_err(undo)?;
        let processes = SpinLock::new(LEVEL, BTreeMap::new());
        let entry = Arc::new(Entry { container, budget, tree, seccomp, processes });
        apply(&entry, &spec.limits);
        let pid = self.launch(cx, &entry, "", &spec.process).inspect_err(undo)?;
        self.containers.lock().insert(spec.id, entry);
        Ok(Reply::Process { pid })
    }

    fn exec(
        &self,
        cx: &FsCx<'_>,
        id: &str,
        exec_id: String,
        process: &ProcessSpec,
    ) -> Result<Reply, Refusal> {
        let entry = self.find(id)?;
        if exec_id.is_empty() || entry.processes.lock().contains_key(&exec_id) {
            return Err(Refusal::new(Errno::EEXIST, format!("process {exec_id:?} exists already in {id:?}")));
        }
        let pid = self.launch(cx, &entry, &exec_id, process)?;
        let started = entry.processes.lock().get(&exec_id).map(|started| started.process.clone());
        if let Some(process) = started {
            start::release(&process);
        }
        Ok(Reply::Process { pid })
    }

    /// Makes a process, held before its first instruction, and a thread that tells of its end.
    fn launch(
        &self,
        cx: &FsCx<'_>,
        entry: &Arc<Entry>,
        exec_id: &str,
        spec: &ProcessSpec,
    ) -> Result<u32, Refusal> {
        let owner = (spec.uid, spec.gid);
        let (files, streams) = stdio::open(cx, self.vsock, &spec.stdio, &entry.tree.namespace, owner)?;
        let streams = Arc::new(streams);
        let process = start::process(cx, entry, spec, files)?;
        if let Some(terminal) = streams.terminal() {
            terminal.control(&process).inspect_err(|_| {
                let _ = process.send_from_host(SigInfo::kernel(Signal::KILL));
                start::release(&process);
            })?;
        }
        let started = Started { process: process.clone(), streams };
        entry.processes.lock().insert(String::from(exec_id), started);
        let watch = Watch {
            channel: self.channel.clone(),
            id: String::from(entry.container.id()),
            exec_id: (!exec_id.is_empty()).then(|| String::from(exec_id)),
            process: process.clone(),
            entry: Arc::downgrade(entry),
        };
        let body = Box::new(move |sleeper: &Sleeper| watch.run(sleeper));
        platform::get()
            .spawn("watch", body)
            .map_err(Errno::from)
            .map_err(Refusal::of("watching a process"))?;
        Ok(process.pid())
    }

    fn signal(
        &self,
        id: &str,
        exec_id: Option<&str>,
        signal: u32,
        scope: SignalScope,
    ) -> Result<Reply, Refusal> {
        let entry = self.find(id)?;
        let signal = Signal::new(signal).map_err(Refusal::of(format!("signal {signal}")))?;
        let info = SigInfo::kernel(signal);
        match scope {
            SignalScope::Container => entry.container.signal_all(info),
            SignalScope::Process => {
                let process = find_process(&entry, exec_id)?;
                if process.is_zombie() {
                    return Err(Refusal::new(Errno::ESRCH, format!("process of {id:?} has ended")));
                }
                process.send_from_host(info).map_err(Refusal::of(format!("signalling {id:?}")))?;
            }
        }
        Ok(Reply::Done)
    }

    fn delete(&self, cx: &FsCx<'_>, id: &str) -> Result<Reply, Refusal> {
        let entry = self.find(id)?;
        entry.container.signal_all(SigInfo::kernel(Signal::KILL));
        let processes: alloc::vec::Vec<_> =
            entry.processes.lock().values().map(|started| started.process.clone()).collect();
        for process in processes {
            start::release(&process);
            process.wait_exit(cx.sleeper);
        }
        block::detach(cx.sleeper, root::owner(&entry.container));
        self.containers.lock().remove(id);
        Ok(Reply::Done)
    }
}

fn find_process(entry: &Entry, exec_id: Option<&str>) -> Result<Arc<Process>, Refusal> {
    let key = exec_id.unwrap_or("");
    let found = entry.processes.lock().get(key).map(|started| started.process.clone());
    found.ok_or_else(|| {
        Refusal::new(Errno::ENOENT, format!("no process {key:?} in {:?}", entry.container.id()))
    })
}

fn init(entry: &Entry) -> Result<Arc<Process>, Refusal> {
    find_process(entry, None)
}

fn streams(entry: &Entry, exec_id: Option<&str>) -> Result<Arc<Streams>, Refusal> {
    let key = exec_id.unwrap_or("");
    let found = entry.processes.lock().get(key).map(|started| started.streams.clone());
    found.ok_or_else(|| {
        Refusal::new(Errno::ENOENT, format!("no process {key:?} in {:?}", entry.container.id()))
    })
}

/// Sets the limits of a container.
fn apply(entry: &Entry, limits: &Limits) {
    entry.budget.set_limit(limits.memory_bytes.map_or(crate::mm::UNLIMITED, |bytes| bytes / 4096));
    entry.container.set_pids_limit(limits.pids);
    entry.tree.cgroup.set_cpu(limits);
}

fn stats(entry: &Entry) -> Stats {
    let usage = entry.container.usage();
    Stats {
        memory_bytes: entry.budget.used() * 4096,
        memory_peak_bytes: entry.budget.peak() * 4096,
        memory_limit_bytes: match entry.budget.limit() {
            crate::mm::UNLIMITED => None,
            pages => Some(pages.saturating_mul(4096)),
        },
        oom_kills: entry.container.oom_kills(),
        pids: entry.container.pids(),
        pids_limit: entry.container.pids_limit(),
        user_ns: usage.user_ns,
        system_ns: usage.system_ns,
        syscalls: usage.syscalls,
        unimplemented: entry.container.unimplemented(),
    }
}

/// Tells the shim of a process's end.
struct Watch {
    channel: Arc<Channel>,
    id: String,
    exec_id: Option<String>,
    process: Arc<Process>,
    entry: Weak<Entry>,
}

impl Watch {
    fn run(self, sleeper: &Sleeper) {
        let creds = crate::security::Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let tell = |event: Event| {
            // With the channel gone the machine ends anyway.
            let _ = self.channel.send(&cx.waiter(), Kind::Event, 0, &event);
        };
        let short = || {
            // Once for the container: who watches its first process tells it.
            if self.exec_id.is_none() {
                tell(Event::OutOfMemory { id: self.id.clone() });
            }
        };
        let status = self.process.watch_exit(sleeper, short).shell_status();
        if self.exec_id.is_none() {
            // Who hears of the end may read the devices: nothing stays in the cache alone, as after a last close.
            block::write_back(sleeper, root::owner(&self.process.container));
        }
        let at_ns = platform::get().realtime_ns();
        // An exec's id is free again once its end is told; init's belongs to the container.
        if let Some((exec_id, entry)) = self.exec_id.as_ref().zip(self.entry.upgrade()) {
            let ended = entry.processes.lock().remove(exec_id);
            drop(ended);
        }
        tell(Event::Exited { id: self.id.clone(), exec_id: self.exec_id.clone(), status, at_ns });
    }
}
