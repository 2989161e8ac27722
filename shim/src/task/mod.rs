//! containerd's task API, version 2, over one sandbox.
//!
//! | file | contents |
//! |---|---|
//! | `state` | containers and their processes, and which transitions are legal |
//! | `lifecycle` | calls that change something: create, start, exec, kill, delete |
//! | `queries` | calls that only look |
//! | `fifo` | containerd's named pipes |
//! | `events` | telling containerd what happened |
//!
//! Locking: `TaskService::state` is the only lock and is never held across a request to the sandbox. A process that ends
//! while its start is still under way is recorded and told after the start, so that events keep their order.

mod events;
mod fifo;
mod lifecycle;
mod metrics;
mod queries;
mod state;

pub use events::Publisher;

use crate::config::Config;
use crate::container::ContainerError;
use crate::ledger::{Ledger, LedgerError};
use crate::log::{Level, log};
use crate::rootfs::RootfsError;
use crate::sandbox::{Ending, Sandbox, SandboxError, SandboxEvent};
use crate::spec::SpecError;
use crate::stdio::Streams;
use crate::ttrpc::{Code, Outcome, Responder, Service, Status, status};
use chitin_proto::control;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::{self, MessageField};
use oci_spec::runtime::Spec;
use state::{State, Until};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the task service.
pub const TASK_SERVICE: &str = "containerd.task.v2.Task";
/// Name of the service with what only `chitin` asks.
pub const OWN_SERVICE: &str = "dev.chitin.v1.Sandbox";
/// In place of a path: the stream of the process that started the service.
pub const INHERITED: &str = "chitin:inherited";

/// In place of a path, before `PID/DESCRIPTOR`: a stream of that process, which is to be the very same open file.
pub const BORROWED: &str = "chitin:fd:";

/// Exit status of a process whose sandbox is gone, as if killed.
const STATUS_KILLED: u32 = 128 + 9;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No such container.
    #[error("container {0}: not found")]
    NoContainer(String),
    /// No such process.
    #[error("process {exec_id} of container {id}: not found")]
    NoProcess {
        /// Container.
        id: String,
        /// Process.
        exec_id: String,
    },
    /// The id is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// The process has ended already.
    #[error("process already finished: not found")]
    Finished,
    /// The call does not fit the state.
    #[error("cannot {what} a process that is {state}")]
    State {
        /// The call.
        what: &'static str,
        /// The state.
        state: &'static str,
    },
    /// The call is not there.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The request does not decode.
    #[error("request: {0}")]
    Request(#[from] protobuf::Error),
    /// A stream of a process cannot be opened.
    #[error("open {path}: {source}")]
    Stream {
        /// Its path.
        path: String,
        /// Operating system error.
        source: std::io::Error,
    },
    /// The bundle is not good.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The root file system is not good.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The ledger cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something cannot be shared with the sandbox.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The sandbox refused or is gone.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The sandbox never came to be.
    #[error("start the sandbox: {0}")]
    NoSandbox(String),
}

impl From<TaskError> for Status {
    fn from(error: TaskError) -> Self {
        let code = match &error {
            TaskError::NoContainer(_) | TaskError::NoProcess { .. } | TaskError::Finished => Code::NOT_FOUND,
            TaskError::Exists(_) | TaskError::Ledger(LedgerError::Exists { .. }) => Code::ALREADY_EXISTS,
            TaskError::State { .. } => Code::FAILED_PRECONDITION,
            TaskError::Unsupported(_) => Code::UNIMPLEMENTED,
            TaskError::Request(_) | TaskError::Spec(_) => Code::INVALID_ARGUMENT,
            TaskError::Sandbox(SandboxError::Sentry { errno: libc::ESRCH, .. }) => Code::NOT_FOUND,
            _ => Code::UNKNOWN,
        };
        status(code, error.to_string())
    }
}

/// What the service's main loop waits for.
#[derive(Debug)]
pub enum Happening {
    /// The sandbox told something.
    Sandbox(SandboxEvent),
    /// Everything is deleted and the service is to end.
    Shutdown,
}

impl From<SandboxEvent> for Happening {
    fn from(event: SandboxEvent) -> Self {
        Self::Sandbox(event)
    }
}

/// What a service is made of.
#[derive(Debug)]
pub struct Parts {
    /// containerd's namespace.
    pub namespace: String,
    /// Id of the sandbox, which is that of its first container.
    pub group: String,
    /// Settings.
    pub config: Config,
    /// The sandbox, or why there is none.
    pub sandbox: Result<Sandbox, String>,
    /// The sandbox's ledger.
    pub ledger: Ledger,
    /// The first container's bundle and specification, read already.
    pub bundle: (PathBuf, Spec),
    /// Streams for [`INHERITED`].
    pub inherited: Streams,
    /// Where events go.
    pub publisher: Publisher,
    /// To the main loop.
    pub happenings: Sender<Happening>,
}

/// The task service of one sandbox.
#[derive(Debug)]
pub struct TaskService {
    parts: Parts,
    inherited: Mutex<Streams>,
    state: Mutex<State>,
}

impl TaskService {
    /// Makes the service.
    #[must_use]
    pub fn new(mut parts: Parts) -> Arc<Self> {
        let inherited = Mutex::new(std::mem::take(&mut parts.inherited));
        Arc::new(Self { parts, inherited, state: Mutex::default() })
    }

    /// The sandbox's ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    /// Deals with what the sandbox tells.
    pub fn happened(&self, event: SandboxEvent) {
        match event {
            SandboxEvent::Control(control::Event::Exited { id, exec_id, status, .. }) => {
                self.exited(&id, &exec_id.unwrap_or_default(), status);
            }
            SandboxEvent::Control(control::Event::OutOfMemory { id }) => {
                self.parts.publisher.out_of_memory(&id);
            }
            SandboxEvent::Control(control::Event::Ready { .. }) => (),
            SandboxEvent::StreamClosed(port) => {
                let waiters = self.state().stream_closed(port);
                for (waiter, exit) in waiters {
                    waiter.answer(queries::wait_outcome(exit));
                }
            }
            SandboxEvent::Log(line) => log(Level::Info, line.trim_end()),
            SandboxEvent::Ended(ending) => self.ended(&ending),
        }
    }

    /// Ends what is left and undoes everything on the host.
    pub fn finish(self: Arc<Self>) {
        if let Ok(sandbox) = &self.parts.sandbox {
            sandbox.stop();
        }
        self.parts.publisher.flush();
        if let Some(record) = crate::ledger::Record::find(&self.parts.namespace, &self.parts.group) {
            for problem in record.settle() {
                log(Level::Warning, problem);
            }
        }
    }

    /// Ends the service when nothing is left in it; containerd asks after every deletion.
    fn shutdown(&self, _request: api::ShutdownRequest) -> Result<api::Empty, TaskError> {
        if self.state().is_empty() {
            let _ = self.parts.happenings.send(Happening::Shutdown);
        }
        Ok(api::Empty::new())
    }

    fn ended(&self, ending: &Ending) {
        if !ending.is_orderly() {
            log(Level::Error, format!("sandbox {} has ended: {ending}", self.parts.group));
        }
        let living = self.state().living();
        let released = self.state().streams_lost();
        for (waiter, exit) in released {
            waiter.answer(queries::wait_outcome(exit));
        }
        for (id, exec_id) in living {
            self.exited(&id, &exec_id, STATUS_KILLED);
        }
    }

    fn sandbox(&self) -> Result<&Sandbox, TaskError> {
        self.parts.sandbox.as_ref().map_err(|error| TaskError::NoSandbox(error.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pid that containerd is told for every process: the VMM's.
    fn pid(&self) -> u32 {
        self.parts.sandbox.as_ref().map_or(0, |sandbox| sandbox.pid().as_raw_nonzero().get().unsigned_abs())
    }
}

impl Service for TaskService {
    fn call(self: Arc<Self>, service: &str, method: &str, payload: Vec<u8>, responder: Responder) {
        match (service, method) {
            (TASK_SERVICE, "Wait") => return self.wait(&payload, responder, Until::Ended),
            (OWN_SERVICE, "Wait") => return self.wait(&payload, responder, Until::Flushed),
            _ => (),
        }
        match handler(service, method) {
            Some((Pace::Quick, handler)) => responder.answer(handler(&self, &payload)),
            Some((Pace::Slow, handler)) => {
                std::thread::spawn(move || responder.answer(handler(&self, &payload)));
            }
            None => {
                let error = TaskError::Unsupported(format!("{service}/{method}"));
                responder.answer(Err(error.into()));
            }
        }
    }
}

type Handler = fn(&TaskService, &[u8]) -> Outcome;

/// Whether a call may be answered on the connection's own thread.
enum Pace {
    /// It looks at what is known.
    Quick,
    /// It asks the sandbox, which may take its time.
    Slow,
}

fn handler(service: &str, method: &str) -> Option<(Pace, Handler)> {
    Some(match (service, method) {
        (TASK_SERVICE, "Create") => (Pace::Slow, |task, body| call(body, |q| task.create(q))),
        (TASK_SERVICE, "Start") => (Pace::Slow, |task, body| call(body, |q| task.start(q))),
        (TASK_SERVICE, "Delete") => (Pace::Slow, |task, body| call(body, |q| task.delete(q))),
        (TASK_SERVICE, "Exec") => (Pace::Quick, |task, body| call(body, |q| task.exec(q))),
        (TASK_SERVICE, "Kill") => (Pace::Slow, |task, body| call(body, |q| task.kill(q))),
        (TASK_SERVICE, "Pause") => (Pace::Slow, |task, body| call(body, |q| task.pause(q))),
        (TASK_SERVICE, "Resume") => (Pace::Slow, |task, body| call(body, |q| task.resume(q))),
        (TASK_SERVICE, "ResizePty") => (Pace::Slow, |task, body| call(body, |q| task.resize(q))),
        (TASK_SERVICE, "Update") => (Pace::Slow, |task, body| call(body, |q| task.update(q))),
        (TASK_SERVICE, "Stats") => (Pace::Slow, |task, body| call(body, |q| task.stats(q))),
        (TASK_SERVICE, "CloseIO") => (Pace::Quick, |task, body| call(body, |q| task.close_io(q))),
        (TASK_SERVICE, "State") => (Pace::Quick, |task, body| call(body, |q| task.state_of(q))),
        (TASK_SERVICE, "Pids") => (Pace::Quick, |task, body| call(body, |q| task.pids(q))),
        (TASK_SERVICE, "Connect") => (Pace::Quick, |task, body| call(body, |q| task.connect(q))),
        (TASK_SERVICE, "Shutdown") => (Pace::Quick, |task, body| call(body, |q| task.shutdown(q))),
        (OWN_SERVICE, "Stats") => (Pace::Slow, |task, body| call(body, |q| task.stats_json(q))),
        (OWN_SERVICE, "Debug") => (Pace::Slow, |task, body| call(body, |q| task.debug(q))),
        (OWN_SERVICE, "Pids") => (Pace::Slow, |task, body| call(body, |q| task.guest_pids(q))),
        _ => return None,
    })
}

/// Decodes the request, answers it, encodes the answer.
fn call<Q: protobuf::Message, R: protobuf::Message>(
    payload: &[u8],
    answer: impl FnOnce(Q) -> Result<R, TaskError>,
) -> Outcome {
    let request = Q::parse_from_bytes(payload).map_err(TaskError::from)?;
    let reply = answer(request)?;
    Ok(reply.write_to_bytes().map_err(TaskError::from)?)
}

type Timestamp = protobuf::well_known_types::timestamp::Timestamp;

fn timestamp(time: SystemTime) -> MessageField<Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    MessageField::some(Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Timestamp::default()
    })
}
