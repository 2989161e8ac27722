//! [`Inbox`]: what was sent to a unix socket and not received yet.

use super::chain::Chain;
use super::name::Name;
use super::rights::Rights;
use crate::abi::Errno;
use crate::net::Address;
use crate::net::socket::{Incoming, MsgFlags, PeekOffset, SocketType, Ucred};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::collections::VecDeque;

/// Default size of a send buffer (`/proc/sys/net/core/wmem_default`).
pub(super) const DEFAULT_BYTES: usize = 212_992;
/// Bytes that a message costs beside its contents.
const OVERHEAD: usize = 256;

/// Bytes that a message is charged with: as Linux, whose buffers have a header and come in sizes of powers of two.
fn charge(len: usize) -> usize {
    const TRAILER: usize = 320;
    let held = len.next_multiple_of(64) + TRAILER;
    OVERHEAD + if held <= 4096 { held.next_power_of_two() } else { held.next_multiple_of(4096) }
}
/// Datagrams that wait at most (`/proc/sys/net/unix/max_dgram_qlen`).
const MAX_DATAGRAMS: usize = 10;

/// Who sent a message when that was not noted: no process, and the ids of nobody.
const NOBODY: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

/// Where an urgent byte is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// By `MSG_OOB` only.
    Apart,
    /// With the others (`SO_OOBINLINE`).
    In,
}

/// What was sent at once.
pub(super) struct Message {
    pub(super) data: Chain,
    pub(super) rights: Rights,
    /// Who sent it, when one of the two sides wanted that to be told, or the sender said so.
    pub(super) creds: Option<Ucred>,
    pub(super) from: Name,
    /// One byte that is received apart from the others (`MSG_OOB`).
    pub(super) is_urgent: bool,
}

/// What waits to be received.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    /// Bytes charged for what waits.
    used: usize,
    pub(super) peek_offset: PeekOffset,
    /// One of the messages is urgent.
    has_urgent: bool,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes charged for what waits.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether no further datagram is taken.
    pub(super) fn is_full_of_datagrams(&self) -> bool {
        self.messages.len() > MAX_DATAGRAMS
    }

    /// Whether a sender with `limit` bytes of buffer is to be told that it may send (`unix_writable`).
    pub(super) fn is_writable(&self, limit: usize) -> bool {
        self.used * 4 <= limit
    }

    /// Whether an urgent byte waits.
    pub(super) fn has_urgent(&self) -> bool {
        self.has_urgent
    }

    /// Whether the next byte is urgent.
    pub(super) fn is_at_mark(&self) -> bool {
        self.messages.front().is_some_and(|message| message.is_urgent)
    }

    /// Adds an urgent byte; the one before it is like any other from now on.
    pub(super) fn push_urgent(&mut self, message: Message) {
        self.messages.iter_mut().for_each(|message| message.is_urgent = false);
        self.has_urgent = true;
        self.push(message, SocketType::Stream);
    }

    /// Receives the urgent byte. The second value is what is to be dropped once the lock is released.
    ///
    /// # Errors
    /// `EINVAL` when there is none, [`Stop::Fault`].
    pub(super) fn receive_urgent(
        &mut self,
        to: &mut IoWriter<'_>,
        flags: MsgFlags,
    ) -> Result<(Incoming, Option<Message>), Stop> {
        let at = self.messages.iter().position(|message| message.is_urgent).ok_or(Errno::EINVAL)?;
        let message = self.messages.get_mut(at).ok_or(Errno::EINVAL)?;
        let len = message.data.copy(0, to);
        if let Some(fault) = to.fault() {
            return Err(Stop::Fault(fault));
        }
        let creds = Some(message.creds.unwrap_or(NOBODY));
        let incoming = Incoming { len, full_len: 1, creds, flags: MsgFlags::OOB, ..Incoming::default() };
        if flags.contains(MsgFlags::PEEK) {
            return Ok((incoming, None));
        }
        let done = self.messages.remove(at);
        self.has_urgent = false;
        self.used = self.used.saturating_sub(1 + OVERHEAD);
        Ok((incoming, done))
    }

    /// Bytes that wait, or that the next message has when they do not run together.
    pub(super) fn readable_bytes(&self, stream: bool) -> usize {
        if stream {
            self.messages.iter().map(|message| message.data.len()).sum()
        } else {
            self.messages.front().map_or(0, |message| message.data.len())
        }
    }

    /// Adds a message of a socket of this kind.
    pub(super) fn push(&mut self, message: Message, kind: SocketType) {
        let len = message.data.len();
        self.used += if kind == SocketType::Stream { len + OVERHEAD } else { charge(len) };
        self.messages.push_back(message);
    }

    /// Adds `len` bytes to the last message of the same sender when they fit into its last page, so that small writes cost
    /// no page each. What was added.
    pub(super) fn append(&mut self, from: &mut IoReader<'_>, len: usize, creds: Option<Ucred>) -> usize {
        let Some(last) = self.messages.back_mut() else { return 0 };
        // All or nothing: what cannot be read wholly is not sent.
        if last.data.slack() < len || last.is_urgent || last.creds != creds || !last.rights.is_empty() {
            return 0;
        }
        let (before, start) = (last.data.len(), from.done());
        let taken = last.data.take(from, len).unwrap_or(0);
        if taken < len {
            last.data.truncate(before);
            from.rewind(start);
            return 0;
        }
        self.used += taken;
        taken
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> VecDeque<Message> {
        self.used = 0;
        core::mem::take(&mut self.messages)
    }

    /// The descriptors that wait.
    pub(super) fn rights(&self) -> impl Iterator<Item = &Rights> {
        self.messages.iter().map(|message| &message.rights)
    }

    /// Receives one datagram. The second value is what is to be dropped once the lock is released.
    ///
    /// # Errors
    /// [`Stop::Fault`] with nothing received, [`Stop::WouldBlock`] when it is empty.
    pub(super) fn receive_message(
        &mut self,
        to: &mut IoWriter<'_>,
        flags: MsgFlags,
    ) -> Result<(Incoming, Option<Message>), Stop> {
        let mut skip = self.peek_offset.skip(flags);
        let mut at = 0;
        while let Some(message) =
            self.messages.get(at).filter(|message| skip > 0 && skip >= message.data.len())
        {
            (skip, at) = (skip - message.data.len(), at + 1);
        }
        let front = self.messages.get_mut(at).ok_or(Stop::WouldBlock)?;
        let start = to.done();
        let len = front.data.copy(skip, to);
        if let Some(fault) = to.fault() {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let whole_len = front.data.len();
        let full_len = whole_len - skip;
        let mut incoming = Incoming {
            len,
            full_len,
            from: Some(Address::Unix(front.from.clone())),
            creds: Some(front.creds.unwrap_or(NOBODY)),
            ..Incoming::default()
        };
        incoming.flags.set(MsgFlags::TRUNC, len < full_len);
        if flags.contains(MsgFlags::PEEK) {
            incoming.rights = front.rights.files().to_vec();
            self.peek_offset.peeked(len);
            return Ok((incoming, None));
        }
        incoming.rights = front.rights.take();
        let done = self.messages.pop_front();
        self.peek_offset.taken(whole_len);
        self.used = self.used.saturating_sub(charge(whole_len));
        Ok((incoming, done))
    }

    /// Takes the next datagram out.
    pub(super) fn lose_next(&mut self) -> Option<Message> {
        let lost = self.messages.pop_front()?;
        self.used = self.used.saturating_sub(charge(lost.data.len()));
        Some(lost)
    }

    /// Receives bytes of a stream: across messages, but not beyond one with descriptors, nor, with `by_sender`, from one
    /// sender's to another's.
    ///
    /// # Errors
    /// [`Stop::Fault`] when nothing was received, [`Stop::WouldBlock`] when it is empty.
    pub(super) fn receive_bytes(
        &mut self,
        to: &mut IoWriter<'_>,
        flags: MsgFlags,
        by_sender: bool,
        line: Line,
    ) -> Result<Incoming, Stop> {
        let peeks = flags.contains(MsgFlags::PEEK);
        let mut incoming = Incoming::default();
        let mut index = 0;
        let mut skip = self.peek_offset.skip(flags);
        while let Some(message) = self.messages.get_mut(index) {
            if skip > 0 && skip >= message.data.len() {
                (skip, index) = (skip - message.data.len(), index + 1);
                continue;
            }
            if message.is_urgent {
                match (incoming.creds, line) {
                    (Some(_), _) => break,
                    (None, Line::In) if peeks => {}
                    (None, Line::In) => (message.is_urgent, self.has_urgent) = (false, false),
                    (None, Line::Apart) if peeks => {
                        index += 1;
                        continue;
                    }
                    // Who did not ask for it does not get it.
                    (None, Line::Apart) => {
                        self.messages.pop_front();
                        self.has_urgent = false;
                        self.used = self.used.saturating_sub(1 + OVERHEAD);
                        continue;
                    }
                }
            }
            let creds = message.creds.unwrap_or(NOBODY);
            if incoming.creds.is_some_and(|before| by_sender && before != creds) {
                break;
            }
            incoming.creds = Some(creds);
            let start = to.done();
            let copied = message.data.copy(skip, to);
            let fault = to.fault();
            if let Some(fault) = fault {
                // What cannot be written wholly stays.
                to.rewind(start);
                if incoming.len == 0 {
                    return Err(Stop::Fault(fault));
                }
                break;
            }
            incoming.len += copied;
            let has_rights = !message.rights.is_empty();
            if peeks {
                incoming.rights = message.rights.files().to_vec();
                self.peek_offset.peeked(copied);
                (skip, index) = (0, index + 1);
            } else {
                incoming.rights = message.rights.take();
                self.used = self.used.saturating_sub(copied);
                self.peek_offset.taken(copied);
                message.data.consume(copied);
                if message.data.len() == 0 {
                    self.messages.pop_front();
                    self.used = self.used.saturating_sub(OVERHEAD);
                }
            }
            if has_rights || to.remaining() == 0 {
                break;
            }
        }
        incoming.full_len = incoming.len;
        if incoming.creds.is_none() { Err(Stop::WouldBlock) } else { Ok(incoming) }
    }
}

/// Checks the size of a datagram against the sender's buffer.
///
/// # Errors
/// `EMSGSIZE`.
pub(super) fn check_size(len: usize, limit: usize) -> Result<(), Errno> {
    if len > limit.saturating_sub(32) { Err(Errno::EMSGSIZE) } else { Ok(()) }
}
