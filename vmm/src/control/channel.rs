//! The control socket: frames with descriptors in, frames out, never blocking.

use chitin_proto::frame::{self, Decoder, Frame, FrameError, Kind};
use chitin_proto::vmm::{Event, Reply};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Most descriptors that may wait for the frames they belong to.
const MAX_WAITING: usize = 32;
/// Bytes that may wait for the shim to read them before log lines are dropped.
const MAX_OUT: usize = 1 << 20;

/// Why the channel is over.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed.
    #[error("control socket: {0}")]
    Socket(#[from] io::Error),
    /// What came is not what the channel carries.
    #[error("control socket: {0}")]
    Frame(#[from] FrameError),
    /// Descriptors came without frames that take them.
    #[error("control socket: more than {MAX_WAITING} descriptors that no request takes")]
    Descriptors,
}

/// The channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    out: VecDeque<u8>,
    dropped: u64,
}

/// Whether the peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It is.
    Open,
    /// It closed its end.
    Closed,
}

impl Channel {
    /// A channel over a stream socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            descriptors: VecDeque::new(),
            out: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn receive(&mut self) -> Result<Peer, ChannelError> {
        let mut bytes = [0; 16384];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)
        {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Peer::Open),
            Err(rustix::io::Errno::CONNRESET) => return Ok(Peer::Closed),
            Err(errno) => return Err(ChannelError::Socket(errno.into())),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if self.descriptors.len() > MAX_WAITING {
            return Err(ChannelError::Descriptors);
        }
        self.decoder.feed(bytes.get(..received).unwrap_or_default());
        Ok(if received == 0 { Peer::Closed } else { Peer::Open })
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`ChannelError::Frame`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ChannelError> {
        Ok(self.decoder.next_frame()?)
    }

    /// The descriptor that came with the frame being handled.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Answers request `id`.
    pub fn reply(&mut self, id: u32, reply: &Reply) {
        let bytes = frame::encode(Kind::Reply, id, reply).or_else(|error| {
            frame::encode(Kind::Reply, id, &Reply::Failed(format!("the answer cannot be sent: {error}")))
        });
        self.out.extend(bytes.unwrap_or_default());
        self.send();
    }

    /// Tells an event. A log line is dropped when the shim does not keep up.
    pub fn tell(&mut self, event: &Event) {
        if matches!(event, Event::Log(_)) && self.out.len() > MAX_OUT {
            self.dropped += 1;
            return;
        }
        self.out.extend(frame::encode(Kind::Event, 0, event).unwrap_or_default());
        self.send();
    }

    /// Log lines dropped because the shim did not keep up.
    #[must_use]
    pub const fn dropped_lines(&self) -> u64 {
        self.dropped
    }

    /// Sends what waits, as far as it goes. A broken socket is noticed by reading.
    pub fn send(&mut self) {
        while !self.out.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, self.out.as_slices().0, flags) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Whether bytes wait to be sent.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends all that waits, for at most `patience`.
    pub fn flush(&mut self, patience: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let end = Instant::now() + patience;
        self.send();
        while self.is_waiting() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(left) else { return };
            let mut watched = [PollFd::new(&self.socket, PollFlags::OUT)];
            let ready = poll(&mut watched, Some(&timeout));
            let broken = watched.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP));
            if left.is_zero() || broken || ready.is_err_and(|errno| errno != rustix::io::Errno::INTR) {
                return;
            }
            self.send();
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
