//! [`Channel`]: frames over the vsock connection to the shim.

use crate::abi::Errno;
use crate::fs::Stream;
use crate::net::vsock::Connection;
use crate::user::{IoReader, IoWriter};
use crate::wait::{Blocked, PollMask, PollTable, Pollable, Waiter, block_on};
use alloc::sync::Arc;
use chitin_core::sleep::{SleepLock, Sleeper};
use chitin_proto::frame::{self, Decoder, Frame, Kind};
use serde::Serialize;

/// ns that the end of the channel waits for its last bytes to leave.
const LINGER_NS: u64 = 50_000_000;

/// The control channel. Frames are sent whole, whoever sends them.
pub(super) struct Channel {
    connection: Arc<Connection>,
    sending: SleepLock<()>,
    decoder: SleepLock<Decoder>,
}

struct Source<'a>(&'a Connection);

impl Pollable for Source<'_> {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        Stream::poll(self.0, table)
    }
}

fn errno(blocked: Blocked) -> Errno {
    match blocked {
        Blocked::Errno(errno) => errno,
        Blocked::Fault(_) => Errno::EFAULT,
        Blocked::Interrupted | Blocked::TimedOut => Errno::EINTR,
    }
}

impl Channel {
    pub(super) fn new(connection: Arc<Connection>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            sending: SleepLock::new(()),
            decoder: SleepLock::new(Decoder::default()),
        })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// `EPIPE` when the host has closed the channel, `EMSGSIZE` for a message that does not fit a frame.
    pub(super) fn send<T: Serialize>(
        &self,
        waiter: &Waiter<'_>,
        kind: Kind,
        id: u32,
        message: &T,
    ) -> Result<(), Errno> {
        let bytes = frame::encode(kind, id, message).map_err(|_| Errno::EMSGSIZE)?;
        let _sending = self.sending.lock(waiter.sleeper);
        let mut from = IoReader::kernel(&bytes);
        while from.remaining() > 0 {
            block_on(waiter, &Source(&self.connection), None, || self.connection.try_write(&mut from))
                .map_err(errno)?;
        }
        Ok(())
    }

    /// Waits for the next frame; `None` when the host has closed the channel.
    ///
    /// # Errors
    /// `EPROTO` for bytes that are not a frame.
    pub(super) fn receive(&self, waiter: &Waiter<'_>) -> Result<Option<Frame>, Errno> {
        let mut decoder = self.decoder.lock(waiter.sleeper);
        loop {
            if let Some(frame) = decoder.next_frame().map_err(|_| Errno::EPROTO)? {
                return Ok(Some(frame));
            }
            let mut bytes = [0; 512];
            let read = || self.connection.try_read(&mut IoWriter::kernel(&mut bytes));
            let len = block_on(waiter, &Source(&self.connection), None, read).map_err(errno)?;
            if len == 0 {
                return Ok(None);
            }
            decoder.feed(bytes.get(..len).unwrap_or_default());
        }
    }

    /// Ends the channel, giving its last bytes time to leave.
    pub(super) fn close(&self, sleeper: &Sleeper) {
        self.connection.close();
        let deadline = sleeper.now_ns().saturating_add(LINGER_NS);
        while !self.connection.is_gone() && sleeper.now_ns() < deadline {
            let _registration = self.connection.wait_queue().register(&sleeper.waker());
            if !self.connection.is_gone() {
                sleeper.park(Some(deadline));
            }
        }
    }
}
