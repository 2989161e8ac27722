//! Calls that only look.

use super::state::{Exit, Until, Waiter};
use super::{TaskError, TaskService, metrics, timestamp};
use crate::cgroup;
use crate::sandbox::SandboxError;
use crate::ttrpc::{Outcome, Responder};
use chitin_proto::control::{Reply, Request, Stats};
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::{Message as _, MessageField};

impl TaskService {
    pub(super) fn state_of(&self, request: api::StateRequest) -> Result<api::StateResponse, TaskError> {
        let mut state = self.state();
        let container = state.container(&request.id)?;
        let bundle = container.bundle.display().to_string();
        let is_paused = container.is_paused;
        let process = state.process(&request.id, &request.exec_id)?;
        let mut response = api::StateResponse::new();
        response.id = request.id;
        response.exec_id = request.exec_id;
        response.bundle = bundle;
        response.pid = self.pid();
        let mut status = process.phase.status();
        if is_paused && status == api::Status::RUNNING {
            status = api::Status::PAUSED;
        }
        response.status = status.into();
        response.stdin.clone_from(&process.paths.stdin);
        response.stdout.clone_from(&process.paths.stdout);
        response.stderr.clone_from(&process.paths.stderr);
        response.terminal = process.paths.terminal;
        if let Some(exit) = process.phase.exit() {
            response.exit_status = exit.status;
            response.exited_at = timestamp(exit.at);
        }
        Ok(response)
    }

    pub(super) fn wait(&self, payload: &[u8], responder: Responder, until: Until) {
        let request = match api::WaitRequest::parse_from_bytes(payload) {
            Ok(request) => request,
            Err(error) => return responder.answer(Err(TaskError::from(error).into())),
        };
        let mut state = self.state();
        match state.process(&request.id, &request.exec_id) {
            Ok(process) => {
                process.waiters.push(Waiter { responder, until });
                if let Some(exit) = process.phase.exit() {
                    let waiters = process.take_waiters();
                    drop(state);
                    for waiter in waiters {
                        waiter.answer(wait_outcome(exit));
                    }
                }
            }
            Err(error) => {
                drop(state);
                responder.answer(Err(error.into()));
            }
        }
    }

    /// The processes that the host sees: there is one.
    pub(super) fn pids(&self, request: api::PidsRequest) -> Result<api::PidsResponse, TaskError> {
        self.state().container(&request.id)?;
        Ok(pids_response([self.pid()]))
    }

    /// The processes inside, numbered as they see themselves.
    pub(super) fn guest_pids(&self, request: api::PidsRequest) -> Result<api::PidsResponse, TaskError> {
        self.state().container(&request.id)?;
        match self.sandbox()?.control(&Request::Pids { id: request.id })? {
            Reply::Pids(pids) => Ok(pids_response(pids)),
            other => Err(unexpected("list processes", &other)),
        }
    }

    pub(super) fn connect(&self, _request: api::ConnectRequest) -> Result<api::ConnectResponse, TaskError> {
        let mut response = api::ConnectResponse::new();
        response.shim_pid = std::process::id();
        response.task_pid = self.pid();
        env!("CARGO_PKG_VERSION").clone_into(&mut response.version);
        Ok(response)
    }

    pub(super) fn stats(&self, request: api::StatsRequest) -> Result<api::StatsResponse, TaskError> {
        let stats = self.container_stats(request.id)?;
        let any = match cgroup::version() {
            Some(cgroup::Version::V1) => metrics::v1(&stats),
            _ => metrics::v2(&stats),
        }?;
        let mut response = api::StatsResponse::new();
        response.stats = MessageField::some(any);
        Ok(response)
    }
}

impl TaskService {
    /// The counters as a JSON text in the answer's `value`.
    pub(super) fn stats_json(&self, request: api::StatsRequest) -> Result<api::StatsResponse, TaskError> {
        let id = request.id.clone();
        let stats = self.container_stats(request.id)?;
        let mut response = api::StatsResponse::new();
        response.stats.mut_or_insert_default().value = metrics::json(&id, &stats).into_bytes();
        Ok(response)
    }

    /// What the container's tasks are doing, as text in the answer's `value`.
    pub(super) fn debug(&self, request: api::StatsRequest) -> Result<api::StatsResponse, TaskError> {
        self.state().container(&request.id)?;
        match self.sandbox()?.control(&Request::Debug { id: request.id })? {
            Reply::Text(text) => {
                let mut response = api::StatsResponse::new();
                response.stats.mut_or_insert_default().value = text.into_bytes();
                Ok(response)
            }
            other => Err(unexpected("debug", &other)),
        }
    }

    fn container_stats(&self, id: String) -> Result<Stats, TaskError> {
        self.state().container(&id)?;
        match self.sandbox()?.control(&Request::Stats { id })? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(unexpected("container stats", &other)),
        }
    }
}

/// The answer to a call that waited for the end of a process.
pub(super) fn wait_outcome(exit: Exit) -> Outcome {
    let mut response = api::WaitResponse::new();
    response.exit_status = exit.status;
    response.exited_at = timestamp(exit.at);
    Ok(response.write_to_bytes().map_err(TaskError::from)?)
}

fn pids_response(pids: impl IntoIterator<Item = u32>) -> api::PidsResponse {
    let mut response = api::PidsResponse::new();
    response.processes =
        pids.into_iter().map(|pid| api::ProcessInfo { pid, ..api::ProcessInfo::default() }).collect();
    response
}

fn unexpected(what: &'static str, reply: &Reply) -> TaskError {
    SandboxError::Unexpected { what, answer: format!("{reply:?}") }.into()
}
