//! Containers and their processes, as containerd knows them.

use super::TaskError;
use super::fifo::ProcessIo;
use crate::ledger::Ledger;
use crate::ttrpc::Responder;
use chitin_proto::control::ProcessSpec;
use containerd_shim_protos::api;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// Everything the service keeps. The init process of a container has the empty exec id.
#[derive(Debug, Default)]
pub(super) struct State {
    containers: HashMap<String, Container>,
}

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) bundle: PathBuf,
    pub(super) processes: HashMap<String, Process>,
    /// Names of its shares in the VMM.
    pub(super) shares: Vec<String>,
    /// Slots of its block devices in the VMM.
    pub(super) blocks: Vec<u32>,
    /// Its own ledger; the first container uses the sandbox's.
    pub(super) ledger: Option<Ledger>,
    pub(super) is_paused: bool,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) phase: Phase,
    pub(super) paths: Paths,
    pub(super) io: ProcessIo,
    /// What to run, until it is started; `None` for init.
    pub(super) spec: Option<ProcessSpec>,
    /// Window size asked for before the start.
    pub(super) size: (u16, u16),
    /// Ports of output that is not all written yet.
    pub(super) outputs: Vec<u32>,
    /// Calls that wait for the end.
    pub(super) waiters: Vec<Waiter>,
}

/// A call that waits for the end of a process.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) responder: Responder,
    pub(super) until: Until,
}

/// What a waiting call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The end of the process.
    Ended,
    /// And that its output is written.
    Flushed,
}

/// Where containerd has its ends of a process's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) stdin: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) terminal: bool,
}

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its creation is under way.
    Creating,
    /// It exists and does not run.
    Created,
    /// Its start is under way; the exit if it has ended already.
    Starting(Option<Exit>),
    /// It runs.
    Running,
    /// It has ended.
    Stopped(Exit),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) status: u32,
    pub(super) at: SystemTime,
}

impl Phase {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created => "created",
            Self::Starting(_) => "starting",
            Self::Running => "running",
            Self::Stopped(_) => "stopped",
        }
    }

    pub(super) const fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) => Some(exit),
            _ => None,
        }
    }

    /// containerd's word for it.
    pub(super) const fn status(self) -> api::Status {
        match self {
            Self::Creating | Self::Created => api::Status::CREATED,
            Self::Starting(_) | Self::Running => api::Status::RUNNING,
            Self::Stopped(_) => api::Status::STOPPED,
        }
    }
}

impl Process {
    pub(super) fn new(phase: Phase, paths: Paths, spec: Option<ProcessSpec>) -> Self {
        let io = ProcessIo::default();
        Self { phase, paths, io, spec, size: (0, 0), outputs: Vec::new(), waiters: Vec::new() }
    }

    /// The calls that wait no longer.
    pub(super) fn take_waiters(&mut self) -> Vec<Responder> {
        if self.phase.exit().is_none() {
            return Vec::new();
        }
        let is_flushed = self.outputs.is_empty();
        let (ready, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| is_flushed || waiter.until == Until::Ended);
        self.waiters = waiting;
        ready.into_iter().map(|waiter: Waiter| waiter.responder).collect()
    }
}

impl State {
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }

    pub(super) fn insert(&mut self, id: &str, container: Container) -> Result<(), TaskError> {
        if self.containers.contains_key(id) {
            return Err(TaskError::Exists(format!("container {id}")));
        }
        self.containers.insert(id.to_owned(), container);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Container> {
        self.containers.remove(id)
    }

    pub(super) fn container(&mut self, id: &str) -> Result<&mut Container, TaskError> {
        self.containers.get_mut(id).ok_or_else(|| TaskError::NoContainer(id.to_owned()))
    }

    pub(super) fn process(&mut self, id: &str, exec_id: &str) -> Result<&mut Process, TaskError> {
        self.container(id)?
            .processes
            .get_mut(exec_id)
            .ok_or_else(|| TaskError::NoProcess { id: id.to_owned(), exec_id: exec_id.to_owned() })
    }

    /// Notes that a stream is written out; returns the calls that waited for that, with the end they waited for.
    pub(super) fn stream_closed(&mut self, port: u32) -> Vec<(Responder, Exit)> {
        let processes = self.containers.values_mut().flat_map(|container| container.processes.values_mut());
        for process in processes {
            if process.outputs.contains(&port) {
                process.outputs.retain(|open| *open != port);
                let Some(exit) = process.phase.exit() else { break };
                return process.take_waiters().into_iter().map(|waiter| (waiter, exit)).collect();
            }
        }
        Vec::new()
    }

    /// Notes that no stream will be written any more; returns the calls that waited for that.
    pub(super) fn streams_lost(&mut self) -> Vec<(Responder, Exit)> {
        let processes = self.containers.values_mut().flat_map(|container| container.processes.values_mut());
        let mut released = Vec::new();
        for process in processes {
            process.outputs.clear();
            if let Some(exit) = process.phase.exit() {
                released.extend(process.take_waiters().into_iter().map(|waiter| (waiter, exit)));
            }
        }
        released
    }

    /// Every process that has not ended.
    pub(super) fn living(&self) -> Vec<(String, String)> {
        let all = self.containers.iter().flat_map(|(id, container)| {
            container.processes.iter().map(move |(exec_id, process)| (id, exec_id, process))
        });
        all.filter(|(_, _, process)| process.phase.exit().is_none())
            .map(|(id, exec_id, _)| (id.clone(), exec_id.clone()))
            .collect()
    }
}
