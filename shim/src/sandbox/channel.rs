//! One control channel: requests that are answered by id, and events that come unasked.
//!
//! A [`Channel`] writes frames and keeps the list of answers that are awaited; [`Reader`] is the other half, to be run
//! by one thread, which hands out answers and events. Requests are pipelined: [`Channel::send`] returns a [`Ticket`],
//! and many tickets may be open at a time.

use chitin_proto::frame::{Decoder, Frame, FrameError, Kind, encode};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io::{IoSlice, Read, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most descriptors that one message carries.
const MAX_DESCRIPTORS: usize = 4;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is gone.
    #[error("the {peer} is gone")]
    Closed {
        /// Who is at the other end.
        peer: &'static str,
    },
    /// No answer in time.
    #[error("the {peer} did not answer within {seconds} s")]
    TimedOut {
        /// Who is at the other end.
        peer: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// A message that does not fit a frame, or bytes that are none.
    #[error("message for the {peer}: {source}")]
    Frame {
        /// Who is at the other end.
        peer: &'static str,
        /// What is wrong with it.
        source: FrameError,
    },
    /// Writing failed.
    #[error("write to the {peer}: {source}")]
    Write {
        /// Who is at the other end.
        peer: &'static str,
        /// Operating system error.
        source: std::io::Error,
    },
}

/// The writing half; `Q` are its requests and `R` the answers.
#[derive(Debug)]
pub(super) struct Channel<Q, R> {
    socket: UnixStream,
    shared: Arc<Shared<R>>,
    write: Mutex<()>,
    requests: PhantomData<fn(Q)>,
}

/// The reading half; `E` are the events.
#[derive(Debug)]
pub(super) struct Reader<R, E> {
    socket: UnixStream,
    shared: Arc<Shared<R>>,
    events: PhantomData<fn() -> E>,
}

#[derive(Debug)]
struct Shared<R> {
    peer: &'static str,
    waiting: Mutex<Waiting<R>>,
}

#[derive(Debug)]
struct Waiting<R> {
    next_id: u32,
    closed: bool,
    answers: HashMap<u32, SyncSender<R>>,
}

impl<R> Shared<R> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits a connected socket into the two halves. `peer` names the other end in errors.
///
/// # Errors
/// When the descriptor cannot be duplicated.
pub(super) fn channel<Q, R, E>(
    socket: UnixStream,
    peer: &'static str,
) -> std::io::Result<(Channel<Q, R>, Reader<R, E>)> {
    let waiting = Mutex::new(Waiting { next_id: 1, closed: false, answers: HashMap::new() });
    let shared = Arc::new(Shared { peer, waiting });
    let reader = Reader { socket: socket.try_clone()?, shared: Arc::clone(&shared), events: PhantomData };
    Ok((Channel { socket, shared, write: Mutex::new(()), requests: PhantomData }, reader))
}

impl<Q: Serialize, R> Channel<Q, R> {
    /// Sends a request with descriptors and returns at once.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the peer is known to be gone, [`ChannelError::Write`] when it turns out to be.
    pub(super) fn send(
        &self,
        request: &Q,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Ticket<R>, ChannelError> {
        let peer = self.shared.peer;
        let (sender, receiver) = sync_channel(1);
        let id = {
            let mut waiting = self.shared.waiting();
            if waiting.closed {
                return Err(ChannelError::Closed { peer });
            }
            let id = waiting.next_id;
            waiting.next_id = id.checked_add(1).unwrap_or(1);
            waiting.answers.insert(id, sender);
            id
        };
        let written = encode(Kind::Request, id, request)
            .map_err(|source| ChannelError::Frame { peer, source })
            .and_then(|bytes| {
                self.write(&bytes, descriptors).map_err(|source| ChannelError::Write { peer, source })
            });
        if let Err(error) = written {
            self.shared.waiting().answers.remove(&id);
            return Err(error);
        }
        Ok(Ticket { peer, receiver })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Channel::send`] and [`Ticket::wait`].
    pub(super) fn call(&self, request: &Q, timeout: Duration) -> Result<R, ChannelError> {
        self.send(request, &[])?.wait(timeout)
    }

    /// Ends the channel: the peer sees end of file, and so does this end's reader.
    pub(super) fn close(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn write(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let _whole_frames = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        if !descriptors.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(std::io::ErrorKind::ArgumentListTooLong.into());
            }
            sent = loop {
                let parts = [IoSlice::new(bytes)];
                match sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                    Err(Errno::INTR) => (),
                    other => break other?,
                }
            };
        }
        (&self.socket).write_all(bytes.get(sent..).unwrap_or_default())
    }
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Ticket<R> {
    peer: &'static str,
    receiver: Receiver<R>,
}

impl<R> Ticket<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the peer goes before it answers, [`ChannelError::TimedOut`].
    pub fn wait(self, timeout: Duration) -> Result<R, ChannelError> {
        self.receiver.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                ChannelError::TimedOut { peer: self.peer, seconds: timeout.as_secs() }
            }
            RecvTimeoutError::Disconnected => ChannelError::Closed { peer: self.peer },
        })
    }
}

impl<R: DeserializeOwned, E: DeserializeOwned> Reader<R, E> {
    /// Reads until the channel ends; answers go to their tickets, events to `on_event`. When it returns every open
    /// ticket fails with [`ChannelError::Closed`], and so does every later request.
    ///
    /// # Errors
    /// [`FrameError`] when the peer sent something that is no frame of this channel.
    pub(super) fn run(mut self, mut on_event: impl FnMut(E)) -> Result<(), FrameError> {
        let result = self.read(&mut on_event);
        let mut waiting = self.shared.waiting();
        waiting.closed = true;
        waiting.answers.clear();
        result
    }

    fn read(&mut self, on_event: &mut impl FnMut(E)) -> Result<(), FrameError> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // ECONNRESET and the like: the peer is gone, as with end of file.
                Err(_) => return Ok(()),
            };
            decoder.feed(buffer.get(..length).unwrap_or_default());
            while let Some(frame) = decoder.next_frame()? {
                self.dispatch(&frame, on_event)?;
            }
        }
    }

    fn dispatch(&self, frame: &Frame, on_event: &mut impl FnMut(E)) -> Result<(), FrameError> {
        match frame.kind {
            Kind::Reply => {
                let answer = frame.decode()?;
                // An answer nobody waits for any more (its ticket timed out) is dropped.
                if let Some(sender) = self.shared.waiting().answers.remove(&frame.id) {
                    let _ = sender.try_send(answer);
                }
            }
            Kind::Event => on_event(frame.decode()?),
            Kind::Request => return Err(FrameError::BadKind(Kind::Request as u32)),
        }
        Ok(())
    }
}
