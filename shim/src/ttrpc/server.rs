//! The serving side.

use super::{Code, Message, Status, TYPE_REQUEST, TYPE_RESPONSE, read_message, status, write_message};
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::ttrpc::{Request, Response};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What a call came to: an encoded message, or why not.
pub type Outcome = Result<Vec<u8>, Status>;

/// Something that answers calls.
pub trait Service: Send + Sync + 'static {
    /// Answers a call, now or later, through `responder`. Runs on the connection's thread: what takes long has to be
    /// done elsewhere.
    fn call(self: Arc<Self>, service: &str, method: &str, payload: Vec<u8>, responder: Responder);
}

/// Where the answer of one call goes. Dropped unused it answers with an error.
#[derive(Debug)]
pub struct Responder {
    writer: Arc<Mutex<UnixStream>>,
    stream: u32,
    answered: bool,
}

impl Responder {
    /// Answers. A caller that is gone is no error.
    pub fn answer(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        self.answered = true;
        let mut response = Response::new();
        match outcome {
            Ok(payload) => {
                response.set_status(status(Code::OK, ""));
                response.payload = payload;
            }
            Err(error) => response.set_status(error),
        }
        let payload = response.write_to_bytes().unwrap_or_default();
        let message = Message { stream: self.stream, kind: TYPE_RESPONSE, payload };
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write_message(&mut *writer, &message);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.send(Err(status(Code::INTERNAL, "the call was dropped")));
        }
    }
}

/// Accepts connections on a thread of its own until the process ends.
pub fn serve(listener: UnixListener, service: Arc<impl Service>) {
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            match connection {
                Ok(connection) => {
                    let service = Arc::clone(&service);
                    std::thread::spawn(move || serve_connection(connection, &service));
                }
                // Out of descriptors or memory: give it time instead of spinning.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            }
        }
    });
}

fn serve_connection(mut connection: UnixStream, service: &Arc<impl Service>) {
    let Ok(writer) = connection.try_clone() else { return };
    let writer = Arc::new(Mutex::new(writer));
    while let Ok(Some(message)) = read_message(&mut connection) {
        if message.kind != TYPE_REQUEST {
            continue;
        }
        let responder = Responder { writer: Arc::clone(&writer), stream: message.stream, answered: false };
        match Request::parse_from_bytes(&message.payload) {
            Ok(request) => {
                Arc::clone(service).call(&request.service, &request.method, request.payload, responder)
            }
            Err(error) => {
                responder.answer(Err(status(Code::INVALID_ARGUMENT, error.to_string())));
            }
        }
    }
}
