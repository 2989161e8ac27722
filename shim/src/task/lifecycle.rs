//! Calls that change something.

use super::fifo;
use super::state::{Container, Exit, Paths, Phase, Process};
use super::{TaskError, TaskService, timestamp};
use crate::container;
use crate::host_process::HostProcess;
use crate::ledger::{Effect, Ledger};
use crate::log::{Level, log};
use crate::sandbox::{ChannelError, SandboxError};
use crate::spec;
use chitin_proto::control::{FreezeState, Reply, Request, SignalScope};
use chitin_proto::vmm::CachePolicy;
use containerd_shim_protos::api;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Signal number of `SIGKILL`.
const SIGKILL: u32 = 9;
/// How long the sentry may take to deliver a signal.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);

impl TaskService {
    pub(super) fn create(
        &self,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse, TaskError> {
        if !request.checkpoint.is_empty() {
            return Err(TaskError::Unsupported("restoring from a checkpoint".to_owned()));
        }
        let paths = Paths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let init = Process::new(Phase::Creating, paths.clone(), None);
        let entry = Container {
            bundle: PathBuf::from(&request.bundle),
            processes: HashMap::from([(String::new(), init)]),
            shares: Vec::new(),
            blocks: Vec::new(),
            ledger: None,
            is_paused: false,
        };
        self.state().insert(&request.id, entry)?;
        if let Err(error) = self.try_create(&request, &paths) {
            let removed = self.state().remove(&request.id);
            if let Some(ledger) = removed.and_then(|container| container.ledger) {
                warn_all(ledger.settle());
            }
            return Err(error);
        }
        self.parts.publisher.created(&request, &paths, self.pid());
        let mut response = api::CreateTaskResponse::new();
        response.pid = self.pid();
        Ok(response)
    }

    fn try_create(&self, request: &api::CreateTaskRequest, paths: &Paths) -> Result<(), TaskError> {
        let id = &request.id;
        let bundle = Path::new(&request.bundle);
        let sandbox = self.sandbox()?;
        let streams = fifo::open_streams(paths, &self.inherited)?;
        let own_ledger = if *id == self.parts.group {
            None
        } else {
            let ledger = Ledger::create(&self.parts.namespace, id)?;
            if let Some(own) = HostProcess::own() {
                ledger.note(&Effect::Owner(own))?;
            }
            ledger.note(&Effect::Member(self.parts.group.clone()))?;
            ledger.note(&Effect::Bundle(bundle.to_owned()))?;
            Some(ledger)
        };
        let loaded;
        let spec = if self.parts.bundle.0 == bundle {
            &self.parts.bundle.1
        } else {
            loaded = spec::load(bundle)?;
            &loaded
        };
        let rootfs = spec::rootfs_path(bundle, spec)?;
        let mut plan = spec::plan(id, spec, &rootfs)?;
        plan.container.strace = self.parts.config.strace;
        if request.rootfs.is_empty() {
            // A directory of somebody's own, not a snapshot.
            for share in plan.shares.iter_mut().take(1) {
                share.policy = CachePolicy::Shared;
            }
        }
        let ledger = own_ledger.as_ref().unwrap_or(&self.parts.ledger);
        let result = crate::rootfs::assemble(&request.rootfs, &rootfs, ledger)
            .map_err(TaskError::from)
            .and_then(|root| Ok(container::open_all(&plan, Some(root))?));
        // From here on the entry owns the ledger, so that a failure settles it.
        self.state().container(id)?.ledger = own_ledger;
        let opened = result?;
        sandbox.ready()?;
        let size = console_size(spec);
        let (stdio, outputs, io) = streams.attach(sandbox, size)?;
        let created = container::create(sandbox, plan, &opened, stdio)
            .inspect_err(|_| sandbox.detach_streams(stdio))?;
        let mut state = self.state();
        let entry = state.container(id)?;
        entry.shares = created.shares;
        entry.blocks = created.blocks;
        let init = state.process(id, "")?;
        init.io = io;
        init.outputs = outputs;
        init.phase = Phase::Created;
        Ok(())
    }

    pub(super) fn exec(&self, request: api::ExecProcessRequest) -> Result<api::Empty, TaskError> {
        let (id, exec_id) = (request.id, request.exec_id);
        let what = format!("process {exec_id} of container {id}");
        let spec = spec::process_from_json(&what, &request.spec.value)?;
        let paths = Paths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        {
            let mut state = self.state();
            let init = state.process(&id, "")?;
            if init.phase != Phase::Running {
                return Err(TaskError::State { what: "exec in", state: init.phase.name() });
            }
            let processes = &mut state.container(&id)?.processes;
            if processes.contains_key(&exec_id) {
                return Err(TaskError::Exists(what));
            }
            let process = Process::new(Phase::Created, paths, Some(spec));
            processes.insert(exec_id.clone(), process);
        }
        self.parts.publisher.exec_added(&id, &exec_id);
        Ok(api::Empty::new())
    }

    pub(super) fn start(&self, request: api::StartRequest) -> Result<api::StartResponse, TaskError> {
        let (id, exec_id) = (request.id, request.exec_id);
        let (spec, paths, size) = {
            let mut state = self.state();
            let process = state.process(&id, &exec_id)?;
            if process.phase != Phase::Created {
                return Err(TaskError::State { what: "start", state: process.phase.name() });
            }
            process.phase = Phase::Starting(None);
            process.io.settle_stdin();
            (process.spec.clone(), process.paths.clone(), process.size)
        };
        let result = match spec {
            None => self
                .sandbox()
                .and_then(|sandbox| Ok(sandbox.control(&Request::StartContainer { id: id.clone() })?))
                .map(|_| ()),
            Some(spec) => self.start_exec(&id, &exec_id, spec, &paths, size),
        };
        if let Err(error) = result {
            if let Ok(process) = self.state().process(&id, &exec_id) {
                process.phase = Phase::Created;
                process.outputs.clear();
                process.io.close();
            }
            // A process that could not be started has ended as far as anybody who waits is concerned.
            self.exited(&id, &exec_id, start_failure_status(&error));
            return Err(error);
        }
        self.parts.publisher.started(&id, &exec_id, self.pid());
        let ended = {
            let mut state = self.state();
            let process = state.process(&id, &exec_id)?;
            let ended = match process.phase {
                Phase::Starting(exit) => exit,
                _ => None,
            };
            process.phase = Phase::Running;
            ended
        };
        if let Some(exit) = ended {
            self.exited(&id, &exec_id, exit.status);
        }
        let mut response = api::StartResponse::new();
        response.pid = self.pid();
        Ok(response)
    }

    fn start_exec(
        &self,
        id: &str,
        exec_id: &str,
        mut process: chitin_proto::control::ProcessSpec,
        paths: &Paths,
        size: (u16, u16),
    ) -> Result<(), TaskError> {
        let sandbox = self.sandbox()?;
        let streams = fifo::open_streams(paths, &self.inherited)?;
        let (stdio, outputs, io) = streams.attach(sandbox, size)?;
        process.stdio = stdio;
        {
            let mut state = self.state();
            let entry = state.process(id, exec_id)?;
            (entry.io, entry.outputs) = (io, outputs);
        }
        let request = Request::Exec { id: id.to_owned(), exec_id: exec_id.to_owned(), process };
        sandbox.control(&request).inspect_err(|_| sandbox.detach_streams(stdio))?;
        self.state().process(id, exec_id)?.io.settle_stdin();
        Ok(())
    }

    /// Records the end of a process and tells everybody.
    pub(super) fn exited(&self, id: &str, exec_id: &str, status: u32) {
        let exit = Exit { status, at: SystemTime::now() };
        let waiters = {
            let mut state = self.state();
            let Ok(process) = state.process(id, exec_id) else { return };
            match process.phase {
                Phase::Starting(_) => {
                    process.phase = Phase::Starting(Some(exit));
                    return;
                }
                Phase::Stopped(_) => return,
                Phase::Creating | Phase::Created | Phase::Running => {
                    process.phase = Phase::Stopped(exit);
                    process.io.close_stdin();
                    process.take_waiters()
                }
            }
        };
        self.parts.publisher.exited(id, exec_id, self.pid(), exit);
        for waiter in waiters {
            waiter.answer(super::queries::wait_outcome(exit));
        }
    }

    pub(super) fn kill(&self, request: api::KillRequest) -> Result<api::Empty, TaskError> {
        {
            let mut state = self.state();
            let process = state.process(&request.id, &request.exec_id)?;
            if process.phase.exit().is_some() {
                return Err(TaskError::Finished);
            }
        }
        let sandbox = self.sandbox()?;
        let is_kill = request.signal == SIGKILL;
        let signal = Request::Signal {
            id: request.id,
            exec_id: Some(request.exec_id).filter(|exec_id| !exec_id.is_empty()),
            signal: request.signal,
            scope: if request.all { SignalScope::Container } else { SignalScope::Process },
        };
        match sandbox.control_within(&signal, SIGNAL_TIMEOUT) {
            // A sentry that hangs must not keep what is to die alive.
            Err(error @ SandboxError::Channel(ChannelError::TimedOut { .. })) if is_kill => {
                log(Level::Error, format!("{error}: killing the sandbox"));
                sandbox.kill();
            }
            other => {
                other?;
            }
        }
        Ok(api::Empty::new())
    }

    pub(super) fn delete(&self, request: api::DeleteRequest) -> Result<api::DeleteResponse, TaskError> {
        let (id, exec_id) = (&request.id, &request.exec_id);
        let exit = {
            let mut state = self.state();
            let process = state.process(id, exec_id)?;
            match process.phase {
                Phase::Stopped(exit) => exit,
                // Never started: nothing of it ran.
                Phase::Created => Exit { status: 0, at: SystemTime::now() },
                other => return Err(TaskError::State { what: "delete", state: other.name() }),
            }
        };
        if exec_id.is_empty() {
            self.delete_container(id)?;
            self.parts.publisher.deleted(id, self.pid(), exit);
        } else {
            self.state().container(id)?.processes.remove(exec_id);
        }
        let mut response = api::DeleteResponse::new();
        response.pid = self.pid();
        response.exit_status = exit.status;
        response.exited_at = timestamp(exit.at);
        Ok(response)
    }

    fn delete_container(&self, id: &str) -> Result<(), TaskError> {
        let (container, is_last) = {
            let mut state = self.state();
            let container = state.remove(id).ok_or_else(|| TaskError::NoContainer(id.to_owned()))?;
            (container, state.is_empty())
        };
        if let Ok(sandbox) = &self.parts.sandbox {
            if is_last {
                // The sandbox goes with its last container: no need to tidy up inside.
                sandbox.begin_stop();
            } else {
                let request = Request::DeleteContainer { id: id.to_owned() };
                if let Err(error) = sandbox.control(&request) {
                    log(Level::Warning, format!("delete container {id} in the sandbox: {error}"));
                }
                container::detach(sandbox, &container.shares, &container.blocks);
            }
        }
        if let Some(ledger) = container.ledger {
            warn_all(ledger.settle());
        }
        Ok(())
    }

    pub(super) fn pause(&self, request: api::PauseRequest) -> Result<api::Empty, TaskError> {
        self.freeze(&request.id, FreezeState::Frozen)?;
        self.parts.publisher.paused(&request.id);
        Ok(api::Empty::new())
    }

    pub(super) fn resume(&self, request: api::ResumeRequest) -> Result<api::Empty, TaskError> {
        self.freeze(&request.id, FreezeState::Thawed)?;
        self.parts.publisher.resumed(&request.id);
        Ok(api::Empty::new())
    }

    fn freeze(&self, id: &str, state: FreezeState) -> Result<(), TaskError> {
        self.state().container(id)?;
        self.sandbox()?.control(&Request::Freeze { id: id.to_owned(), state })?;
        self.state().container(id)?.is_paused = state == FreezeState::Frozen;
        Ok(())
    }

    pub(super) fn resize(&self, request: api::ResizePtyRequest) -> Result<api::Empty, TaskError> {
        let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let (columns, rows) = (narrow(request.width), narrow(request.height));
        let phase = {
            let mut state = self.state();
            let process = state.process(&request.id, &request.exec_id)?;
            process.size = (columns, rows);
            process.phase
        };
        let is_exec = !request.exec_id.is_empty();
        // An exec's terminal does not exist before its start, which takes the size along.
        if phase == Phase::Running || (phase == Phase::Created && !is_exec) {
            self.sandbox()?.control(&Request::Resize {
                id: request.id,
                exec_id: is_exec.then_some(request.exec_id),
                columns,
                rows,
            })?;
        }
        Ok(api::Empty::new())
    }

    pub(super) fn update(&self, request: api::UpdateTaskRequest) -> Result<api::Empty, TaskError> {
        self.state().container(&request.id)?;
        let what = format!("resources of container {}", request.id);
        let resources = serde_json::from_slice(&request.resources.value)
            .map_err(|source| spec::SpecError::Parse { what, source })?;
        let limits = spec::limits(&resources);
        match self.sandbox()?.control(&Request::Update { id: request.id, limits })? {
            Reply::Done => Ok(api::Empty::new()),
            other => Err(SandboxError::Unexpected { what: "update", answer: format!("{other:?}") }.into()),
        }
    }

    pub(super) fn close_io(&self, request: api::CloseIORequest) -> Result<api::Empty, TaskError> {
        let mut state = self.state();
        let process = state.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.io.close_stdin();
        }
        Ok(api::Empty::new())
    }
}

fn console_size(spec: &oci_spec::runtime::Spec) -> (u16, u16) {
    let size = spec.process().as_ref().and_then(oci_spec::runtime::Process::console_size);
    let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    size.map_or((0, 0), |size| (narrow(size.width()), narrow(size.height())))
}

/// 127 for a program that is not there, 126 for one that cannot be run, as a shell says it.
fn start_failure_status(error: &TaskError) -> u32 {
    match error {
        TaskError::Sandbox(SandboxError::Sentry { errno: libc::ENOENT, .. }) => 127,
        _ => 126,
    }
}

fn warn_all(problems: Vec<String>) {
    for problem in problems {
        log(Level::Warning, problem);
    }
}
