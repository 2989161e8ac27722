//! Events for containerd: an envelope per event, sent in order by one thread.

use super::state::{Exit, Paths};
use super::timestamp;
use crate::log::{Level, log};
use crate::ttrpc::Client;
use containerd_shim_protos::api::{CreateTaskRequest, Empty, ForwardRequest};
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, SystemTime};

/// How long containerd may take to accept an event.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often an event is tried; containerd may be restarting.
const ATTEMPTS: u32 = 5;

#[derive(Debug)]
enum Item {
    Event(Box<Envelope>),
    /// Answer when everything before it is sent.
    Flush(std::sync::mpsc::SyncSender<()>),
}

/// Sends events.
#[derive(Debug)]
pub struct Publisher {
    namespace: String,
    queue: Option<Mutex<Sender<Item>>>,
}

impl Publisher {
    /// Publishes to containerd's ttrpc socket; with no socket events are dropped.
    #[must_use]
    pub fn new(namespace: &str, socket: Option<PathBuf>) -> Self {
        let queue = socket.map(|socket| {
            let (sender, receiver) = channel();
            std::thread::spawn(move || send_all(&socket, &receiver));
            Mutex::new(sender)
        });
        Self { namespace: namespace.to_owned(), queue }
    }

    /// Waits, for a while, until everything is sent.
    pub fn flush(&self) {
        let (sender, receiver) = sync_channel(1);
        self.push(Item::Flush(sender));
        let _ = receiver.recv_timeout(TIMEOUT);
    }

    pub(super) fn created(&self, request: &CreateTaskRequest, paths: &Paths, pid: u32) {
        let mut io = event::TaskIO::new();
        io.stdin.clone_from(&paths.stdin);
        io.stdout.clone_from(&paths.stdout);
        io.stderr.clone_from(&paths.stderr);
        io.terminal = paths.terminal;
        let mut created = event::TaskCreate::new();
        created.container_id.clone_from(&request.id);
        created.bundle.clone_from(&request.bundle);
        created.io = MessageField::some(io);
        created.pid = pid;
        self.publish("/tasks/create", "TaskCreate", &created);
    }

    pub(super) fn started(&self, id: &str, exec_id: &str, pid: u32) {
        if exec_id.is_empty() {
            let mut started = event::TaskStart::new();
            id.clone_into(&mut started.container_id);
            started.pid = pid;
            self.publish("/tasks/start", "TaskStart", &started);
        } else {
            let mut started = event::TaskExecStarted::new();
            id.clone_into(&mut started.container_id);
            exec_id.clone_into(&mut started.exec_id);
            started.pid = pid;
            self.publish("/tasks/exec-started", "TaskExecStarted", &started);
        }
    }

    pub(super) fn exec_added(&self, id: &str, exec_id: &str) {
        let mut added = event::TaskExecAdded::new();
        id.clone_into(&mut added.container_id);
        exec_id.clone_into(&mut added.exec_id);
        self.publish("/tasks/exec-added", "TaskExecAdded", &added);
    }

    pub(super) fn exited(&self, id: &str, exec_id: &str, pid: u32, exit: Exit) {
        let mut exited = event::TaskExit::new();
        id.clone_into(&mut exited.container_id);
        // containerd's name for the init process is the container's id.
        if exec_id.is_empty() { id } else { exec_id }.clone_into(&mut exited.id);
        exited.pid = pid;
        exited.exit_status = exit.status;
        exited.exited_at = timestamp(exit.at);
        self.publish("/tasks/exit", "TaskExit", &exited);
    }

    pub(super) fn deleted(&self, id: &str, pid: u32, exit: Exit) {
        let mut deleted = event::TaskDelete::new();
        id.clone_into(&mut deleted.container_id);
        deleted.pid = pid;
        deleted.exit_status = exit.status;
        deleted.exited_at = timestamp(exit.at);
        self.publish("/tasks/delete", "TaskDelete", &deleted);
    }

    pub(super) fn out_of_memory(&self, id: &str) {
        let mut event = event::TaskOOM::new();
        id.clone_into(&mut event.container_id);
        self.publish("/tasks/oom", "TaskOOM", &event);
    }

    pub(super) fn paused(&self, id: &str) {
        let mut event = event::TaskPaused::new();
        id.clone_into(&mut event.container_id);
        self.publish("/tasks/paused", "TaskPaused", &event);
    }

    pub(super) fn resumed(&self, id: &str) {
        let mut event = event::TaskResumed::new();
        id.clone_into(&mut event.container_id);
        self.publish("/tasks/resumed", "TaskResumed", &event);
    }

    fn publish(&self, topic: &str, name: &str, message: &impl Message) {
        let mut any = Any::new();
        any.type_url = format!("containerd.events.{name}");
        any.value = message.write_to_bytes().unwrap_or_default();
        let mut envelope = Envelope::new();
        envelope.timestamp = timestamp(SystemTime::now());
        envelope.namespace.clone_from(&self.namespace);
        topic.clone_into(&mut envelope.topic);
        envelope.event = MessageField::some(any);
        self.push(Item::Event(Box::new(envelope)));
    }

    fn push(&self, item: Item) {
        if let Some(queue) = &self.queue
            && let Ok(queue) = queue.lock()
        {
            let _ = queue.send(item);
        }
    }
}

fn send_all(socket: &Path, queue: &Receiver<Item>) {
    let mut client = None;
    for item in queue {
        match item {
            Item::Flush(done) => {
                let _ = done.send(());
            }
            Item::Event(envelope) => {
                let mut request = ForwardRequest::new();
                request.envelope = MessageField::some(*envelope);
                send(socket, &mut client, &request);
            }
        }
    }
}

/// Tries to send; an event that containerd does not take is lost, it asks for states when it comes back.
fn send(socket: &Path, client: &mut Option<Client>, request: &ForwardRequest) {
    let mut problem = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(100 << attempt));
        }
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => match Client::connect(socket, Some(TIMEOUT)) {
                Ok(connected) => connected,
                Err(error) => {
                    problem = error.to_string();
                    continue;
                }
            },
        };
        match connected.call::<Empty>("containerd.services.events.ttrpc.v1.Events", "Forward", request) {
            Ok(_) => {
                *client = Some(connected);
                return;
            }
            Err(error) => problem = error.to_string(),
        }
    }
    log(Level::Warning, format!("event {} not published: {problem}", request.envelope.topic));
}
