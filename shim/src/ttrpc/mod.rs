//! ttrpc, containerd's small RPC: a 10-byte header and a protobuf message over a Unix socket.
//!
//! Written out here because a shim lives as long as its pod and its memory is paid per pod: the server needs one
//! thread per connection, and a call that waits for the end of a container costs a list entry, not a thread.
//!
//! The message types are those of `containerd-shim-protos`. Protocol:
//! <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>.

mod client;
mod server;

pub use client::{Client, ClientError};
pub use containerd_shim_protos::ttrpc::{Code, Status};
pub use server::{Outcome, Responder, Service, serve};

use std::io::{self, Read, Write};

/// Bytes of the header.
const HEADER: usize = 10;
/// Most bytes of a message.
const MAX_MESSAGE: usize = 4 << 20;
/// A message that asks.
const TYPE_REQUEST: u8 = 1;
/// A message that answers.
const TYPE_RESPONSE: u8 = 2;

/// A message as it travels.
struct Message {
    stream: u32,
    kind: u8,
    payload: Vec<u8>,
}

/// Reads one message, `None` at the end of the stream.
fn read_message(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER];
    match from.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "ttrpc message too long"));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some(Message { stream: u32::from_be_bytes([s0, s1, s2, s3]), kind, payload }))
}

/// Writes one message by one system call, so that concurrent writers need no more than a lock around it.
fn write_message(to: &mut impl Write, message: &Message) -> io::Result<()> {
    let length = u32::try_from(message.payload.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER + message.payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&message.stream.to_be_bytes());
    bytes.extend_from_slice(&[message.kind, 0]);
    bytes.extend_from_slice(&message.payload);
    to.write_all(&bytes)
}

/// A status message.
#[must_use]
pub fn status(code: Code, message: impl Into<String>) -> Status {
    let mut status = Status::new();
    status.set_code(code);
    status.message = message.into();
    status
}
