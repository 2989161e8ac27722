//! The calling side, one call at a time.

use super::{Code, Message, TYPE_REQUEST, TYPE_RESPONSE, read_message, write_message};
use containerd_shim_protos::protobuf::{self, Message as _};
use containerd_shim_protos::ttrpc::{Request, Response};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection cannot be made or is lost.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
    /// The answer does not decode.
    #[error("answer: {0}")]
    Decode(#[from] protobuf::Error),
    /// The other side refused.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: Code,
        /// Its words.
        message: String,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    next_stream: u32,
}

impl Client {
    /// Connects to a socket in the file system. `timeout` limits each later read and write, `None` for no limit.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn connect(path: &Path, timeout: Option<Duration>) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(timeout)?;
        socket.set_write_timeout(timeout)?;
        Ok(Self { socket, next_stream: 1 })
    }

    /// Calls a method and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call<R: protobuf::Message>(
        &mut self,
        service: &str,
        method: &str,
        message: &impl protobuf::Message,
    ) -> Result<R, ClientError> {
        let mut request = Request::new();
        request.service = service.to_owned();
        request.method = method.to_owned();
        request.payload = message.write_to_bytes()?;
        let stream = self.next_stream;
        // Streams that a client opens have odd numbers.
        self.next_stream = stream.wrapping_add(2);
        let payload = request.write_to_bytes()?;
        write_message(&mut self.socket, &Message { stream, kind: TYPE_REQUEST, payload })?;
        loop {
            let Some(answer) = read_message(&mut self.socket)? else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            if answer.stream != stream || answer.kind != TYPE_RESPONSE {
                continue;
            }
            let mut response = Response::parse_from_bytes(&answer.payload)?;
            let status = response.take_status();
            if status.code() != Code::OK {
                return Err(ClientError::Refused { code: status.code(), message: status.message });
            }
            return Ok(R::parse_from_bytes(&response.payload)?);
        }
    }
}
