//! Calls to the daemon that keeps a container.

use crate::ledger::Record;
use crate::task::{OWN_SERVICE, TASK_SERVICE};
use crate::ttrpc::{Client, ClientError};
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use std::io;

/// Why a command about a container failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContainerError {
    /// No ledger has it.
    #[error("container {0:?} does not exist")]
    Unknown(String),
    /// Its daemon does not answer.
    #[error("container {id}: its daemon is gone ({source}); `chitin delete {id}` cleans up")]
    Dead {
        /// The container.
        id: String,
        /// Operating system error.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("container {id}: {source}")]
    Call {
        /// The container.
        id: String,
        /// Why.
        source: ClientError,
    },
}

/// A connection to a container's daemon.
pub(super) struct Daemon {
    pub(super) id: String,
    pub(super) record: Record,
    client: Client,
}

impl Daemon {
    /// Finds the daemon of a container, which may be that of its pod.
    pub(super) fn of(namespace: &str, id: &str) -> Result<Self, ContainerError> {
        let record = Record::find(namespace, id).ok_or_else(|| ContainerError::Unknown(id.to_owned()))?;
        let keeper = record.member_of().and_then(|group| Record::find(namespace, group));
        let socket = keeper.as_ref().unwrap_or(&record).socket();
        let client = match socket {
            Some(socket) => Client::connect(socket, None),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match client {
            Ok(client) => Ok(Self { id: id.to_owned(), record, client }),
            Err(source) => Err(ContainerError::Dead { id: id.to_owned(), source }),
        }
    }

    /// Calls the task API.
    pub(super) fn call<R: Message>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<R, ContainerError> {
        self.client
            .call(TASK_SERVICE, method, message)
            .map_err(|source| ContainerError::Call { id: self.id.clone(), source })
    }

    /// Calls what only `chitin` asks.
    pub(super) fn call_own<R: Message>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<R, ContainerError> {
        self.client
            .call(OWN_SERVICE, method, message)
            .map_err(|source| ContainerError::Call { id: self.id.clone(), source })
    }

    /// The state of the container's init process.
    pub(super) fn state(&mut self) -> Result<api::StateResponse, ContainerError> {
        let request = api::StateRequest { id: self.id.clone(), ..api::StateRequest::default() };
        self.call("State", &request)
    }

    /// Sends a signal to a process; the empty exec id is init.
    pub(super) fn kill(&mut self, exec_id: &str, signal: u32, all: bool) -> Result<(), ContainerError> {
        let request = api::KillRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
            ..api::KillRequest::default()
        };
        self.call::<api::Empty>("Kill", &request).map(|_| ())
    }
}

/// The word of the OCI specification for a state.
pub(super) fn status_name(status: api::Status) -> &'static str {
    match status {
        api::Status::CREATED => "created",
        api::Status::RUNNING => "running",
        api::Status::STOPPED => "stopped",
        api::Status::PAUSED | api::Status::PAUSING => "paused",
        api::Status::UNKNOWN => "unknown",
    }
}
