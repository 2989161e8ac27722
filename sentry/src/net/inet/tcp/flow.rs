//! [`Flow`]: one direction of a connection between two sockets of the sandbox.
//!
//! A byte goes from the sender's memory into the flow's frames and from there into the receiver's: there is no packet and
//! no second queue. What lies in the flow beyond the receiver's window counts as not sent yet.

use super::super::QUEUE;
use super::super::buffer::Buffer;
use super::urgent::{Line, Urgent};
use crate::abi::Errno;
use crate::mm::Budget;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Arc;
use chitin_core::lock::SpinLock;
use chitin_core::wait::WaitQueue;

/// Bytes copied at once with the lock held.
const STEP: usize = 64 << 10;

/// How much a side takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Bytes now.
    pub(super) bytes: usize,
    /// Bytes that it may grow to.
    pub(super) most: usize,
}

pub(super) struct State {
    pub(super) buffer: Buffer,
    /// What the receiver takes.
    pub(super) receive: Window,
    /// What the sender may have beyond that.
    pub(super) send: Window,
    /// The sender has ended it.
    fin: bool,
    /// Nobody will receive any more.
    pub(super) deaf: bool,
    /// A sender waits for room, or was told that there is none.
    starved: bool,
    /// A sender waits until the receiver has taken what its window holds.
    awaits_drain: bool,
    /// Bytes that went in, and out.
    pub(super) written: u64,
    pub(super) read: u64,
    /// `read` when the window grew last.
    grown_at: u64,
    /// Pieces that went in.
    segments: u64,
    pub(super) urgent: Option<Urgent>,
}

/// One direction of a connection.
pub(super) struct Flow {
    pub(super) state: SpinLock<State>,
    /// Events of the receiving socket, and of the sending one.
    pub(super) reader: Arc<WaitQueue>,
    writer: Arc<WaitQueue>,
}

/// Looks at bytes that are sent, from a position on.
pub(super) type Watch<'a> = &'a dyn Fn(u64, &[u8]);

/// What became of bytes that were sent.
pub(super) enum Sent {
    /// So many are on their way.
    Bytes(usize),
    /// The other socket is closed: it answers with a reset.
    Refused,
}

/// Figures of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Bytes that wait beyond the receiver's window.
    pub(super) unsent: usize,
    /// Bytes that went in.
    pub(super) written: u64,
    /// The receiver's window.
    pub(super) window: usize,
    /// Pieces that went in.
    pub(super) segments: u64,
}

impl Flow {
    /// An empty one that `budget` pays for.
    pub(super) fn new(
        budget: &Arc<Budget>,
        receive: Window,
        send: Window,
        reader: &Arc<WaitQueue>,
        writer: &Arc<WaitQueue>,
    ) -> Arc<Self> {
        let state = State {
            buffer: Buffer::new(budget),
            receive,
            send,
            fin: false,
            deaf: false,
            starved: false,
            awaits_drain: false,
            written: 0,
            read: 0,
            grown_at: 0,
            segments: 0,
            urgent: None,
        };
        Arc::new(Self { state: SpinLock::new(QUEUE, state), reader: reader.clone(), writer: writer.clone() })
    }

    /// Sends what fits.
    ///
    /// # Errors
    /// [`Stop::WouldBlock`] when nothing fits, [`Stop::Fault`], `ENOBUFS`.
    pub(super) fn send(&self, from: &mut IoReader<'_>, watch: Option<Watch<'_>>) -> Result<Sent, Stop> {
        let mut done = 0;
        let mut stop = Stop::WouldBlock;
        while from.remaining() > 0 {
            let mut state = self.state.lock();
            if state.deaf {
                return Ok(Sent::Refused);
            }
            let room = (state.receive.bytes + state.send.bytes).saturating_sub(state.buffer.len());
            if room == 0 {
                state.starved = true;
                break;
            }
            let part = room.min(STEP).min(from.remaining());
            let taken = match state.buffer.take(from, part) {
                Ok(taken) => taken,
                // Room will come when the receiver frees some.
                Err(_) if state.buffer.len() > 0 => {
                    state.starved = true;
                    break;
                }
                Err(errno) => {
                    stop = errno.into();
                    break;
                }
            };
            if taken < part && from.fault().is_some() {
                // What cannot be read wholly is not sent: so much is a segment of its own.
                stop = from.fault().map_or(Stop::Errno(Errno::ENOBUFS), Stop::Fault);
                let before = state.buffer.len() - taken;
                state.buffer.truncate(before);
                from.rewind(from.done() - taken);
                break;
            }
            if let Some(watch) = watch {
                let mut bytes = alloc::vec![0; taken];
                let skip = state.buffer.len() - taken;
                state.buffer.copy(skip, &mut IoWriter::kernel(&mut bytes), taken);
                watch(state.written, &bytes);
            }
            state.written += taken as u64;
            state.segments += 1;
            done += taken;
            drop(state);
            if taken < part {
                stop = from.fault().map_or(Stop::Errno(Errno::ENOBUFS), Stop::Fault);
                break;
            }
        }
        if done == 0 {
            return Err(stop);
        }
        self.reader.wake_all();
        Ok(Sent::Bytes(done))
    }

    /// Receives what is there: copies it, or, without `copies`, throws it away. With `keeps` it stays.
    ///
    /// # Errors
    /// [`Stop::WouldBlock`] when it is empty, [`Stop::Fault`].
    pub(super) fn receive(&self, to: &mut IoWriter<'_>, taking: Taking, line: Line) -> Result<usize, Stop> {
        let mut done = 0;
        // Urgent bytes that peeking left out.
        let mut passed = 0;
        let mut tells = false;
        if to.remaining() == 0 {
            // As on Linux, also who wants nothing waits until there is something.
            let state = self.state.lock();
            return if state.fin || state.buffer.len() > 0 { Ok(0) } else { Err(Stop::WouldBlock) };
        }
        while to.remaining() > 0 {
            let mut state = self.state.lock();
            let mut skip = if taking.keeps() { done + passed } else { 0 };
            let mut room = usize::MAX;
            if let Some(ahead) = state.bytes_to_mark(skip) {
                if ahead == 0 && done > 0 {
                    break;
                }
                room = if ahead == 0 { usize::MAX } else { ahead };
                if ahead == 0 && line == Line::Apart && state.buffer.len() > skip {
                    match taking {
                        Taking::Peek | Taking::Measure => (skip, passed) = (skip + 1, 1),
                        _ => state.consume(1),
                    }
                }
            }
            let there = state.buffer.len().saturating_sub(skip);
            if there == 0 {
                if done == 0 && state.fin {
                    return Ok(0);
                }
                break;
            }
            let part = there.min(room).min(STEP).min(to.remaining());
            let copied = if matches!(taking, Taking::Discard | Taking::Measure) {
                to.rewind(to.done() + part);
                part
            } else {
                state.buffer.copy(skip, to, part)
            };
            done += copied;
            if !taking.keeps() {
                state.consume(copied);
                tells |= state.tells_room();
            }
            if copied < part {
                if let (0, Some(fault)) = (done, to.fault()) {
                    return Err(Stop::Fault(fault));
                }
                break;
            }
        }
        if tells {
            self.writer.wake_all();
        }
        if done == 0 { Err(Stop::WouldBlock) } else { Ok(done) }
    }

    /// The sender ends it.
    pub(super) fn finish(&self) {
        self.state.lock().fin = true;
        self.reader.wake_all();
    }

    /// The receiver is gone. Whether bytes were lost by that.
    pub(super) fn abandon(&self) -> bool {
        let mut state = self.state.lock();
        let lost = state.buffer.len() > 0;
        state.deaf = true;
        state.buffer.clear();
        drop(state);
        self.writer.wake_all();
        lost
    }

    /// Whether the sender has ended it, and whether something waits.
    pub(super) fn ended(&self) -> (bool, usize) {
        let state = self.state.lock();
        (state.fin, state.buffer.len())
    }

    /// Whether a sender is told that it may send; one who hears that it may not is woken when it may.
    pub(super) fn is_writable(&self) -> bool {
        let mut state = self.state.lock();
        let writable = state.is_writable();
        state.starved |= !writable;
        writable
    }

    /// Whether the receiver has everything in its window; a sender who hears that it has not is woken when it has.
    pub(super) fn is_drained(&self) -> bool {
        let mut state = self.state.lock();
        let drained = state.deaf || state.buffer.len() <= state.receive.bytes;
        state.awaits_drain |= !drained;
        drained
    }

    /// Changes the windows.
    pub(super) fn resize(&self, change: impl FnOnce(&mut Window, &mut Window)) {
        let mut state = self.state.lock();
        let State { receive, send, .. } = &mut *state;
        change(receive, send);
        let tells = state.tells_room();
        drop(state);
        if tells {
            self.writer.wake_all();
        }
    }

    /// Figures.
    pub(super) fn figures(&self) -> Figures {
        let state = self.state.lock();
        Figures {
            unsent: state.buffer.len().saturating_sub(state.receive.bytes),
            written: state.written,
            window: state.receive.bytes,
            segments: state.segments,
        }
    }
}

/// What receiving does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// Copies them out.
    Copy,
    /// Copies them and leaves them.
    Peek,
    /// Counts them and leaves them.
    Measure,
    /// Throws them away.
    Discard,
}

impl Taking {
    /// Whether the bytes stay.
    pub(super) fn keeps(self) -> bool {
        matches!(self, Self::Peek | Self::Measure)
    }
}

impl State {
    /// As Linux has it: a third of the send buffer is free.
    fn is_writable(&self) -> bool {
        let unsent = self.buffer.len().saturating_sub(self.receive.bytes);
        self.deaf || unsent.saturating_mul(3) <= self.send.bytes.saturating_mul(2)
    }

    /// Whether somebody waits for room and there is enough now.
    fn tells_room(&mut self) -> bool {
        if self.awaits_drain && self.buffer.len() <= self.receive.bytes {
            self.awaits_drain = false;
            return true;
        }
        if self.starved && self.is_writable() {
            self.starved = false;
            return true;
        }
        false
    }

    /// The receiver took bytes. A receiver that keeps up gets a larger window, as by Linux's `tcp_moderate_rcvbuf`.
    pub(super) fn consume(&mut self, len: usize) {
        self.buffer.consume(len);
        self.read += len as u64;
        // What is passed is no mark any more.
        self.urgent = self.urgent.filter(|urgent| urgent.at >= self.read);
        if self.receive.bytes < self.receive.most
            && self.read - self.grown_at >= 2 * self.receive.bytes as u64
        {
            self.receive.bytes = self.receive.bytes.saturating_mul(2).min(self.receive.most);
            self.grown_at = self.read;
        }
    }
}
