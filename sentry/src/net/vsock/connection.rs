//! [`Connection`]: one stream to the host, with credit-based flow control both ways.

use super::Vsock;
use crate::abi::Errno;
use crate::fs::{Attr, Stream};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::wait::WaitQueue;
use chitin_proto::vsock::{GUEST_CID, HOST_CID, Header, MAX_PAYLOAD, flag, op};

/// Level of a connection's lock.
const LEVEL: Level = Level(101);
/// Bytes that the host may send ahead.
const RECEIVE_BUFFER: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    Refused,
    Reset,
}

/// Whether a connection is to be kept after a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Gone,
}

struct State {
    phase: Phase,
    received: VecDeque<u8>,
    /// Bytes taken out of `received` in all, modulo 2^32.
    forwarded: u32,
    /// Value of `forwarded` that the host was told last.
    told: u32,
    /// Bytes sent in all, modulo 2^32.
    sent: u32,
    peer_room: u32,
    peer_forwarded: u32,
    /// The host sends no more.
    no_more_input: bool,
    /// The host takes no more.
    no_more_output: bool,
    /// Packets owed to the host, by their operation.
    owes_request: bool,
    owes_credit: bool,
    owes_shutdown: u32,
    /// Bytes taken from a writer that the device had no room for yet.
    stalled: Option<Vec<u8>>,
}

impl State {
    fn credit(&self) -> usize {
        self.peer_room.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded)) as usize
    }
}

/// A stream to a port of the host.
pub struct Connection {
    vsock: &'static Vsock,
    local_port: u32,
    host_port: u32,
    state: SpinLock<State>,
    queue: WaitQueue,
}

impl Connection {
    pub(super) fn new(vsock: &'static Vsock, local_port: u32, host_port: u32) -> Self {
        let state = State {
            phase: Phase::Connecting,
            received: VecDeque::new(),
            forwarded: 0,
            told: 0,
            sent: 0,
            peer_room: 0,
            peer_forwarded: 0,
            no_more_input: false,
            no_more_output: false,
            owes_request: false,
            owes_credit: false,
            owes_shutdown: 0,
            stalled: None,
        };
        Self { vsock, local_port, host_port, state: SpinLock::new(LEVEL, state), queue: WaitQueue::new() }
    }

    pub(super) fn local_port(&self) -> u32 {
        self.local_port
    }

    pub(super) fn host_port(&self) -> u32 {
        self.host_port
    }

    pub(super) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// `Some(true)` once the host has accepted, `Some(false)` once it has refused.
    pub(super) fn settled(&self) -> Option<bool> {
        match self.state.lock().phase {
            Phase::Connecting => None,
            Phase::Open => Some(true),
            Phase::Refused | Phase::Reset => Some(false),
        }
    }

    /// Who hears of changes of the connection.
    #[must_use]
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Whether the host has forgotten the connection.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Reset | Phase::Refused)
    }

    pub(super) fn request(&self) {
        self.state.lock().owes_request = true;
        if !self.send_owed() {
            self.vsock.send_later(self.local_port);
        }
    }

    /// Ends both directions; what was sent before still arrives. The connection is forgotten when the host agrees.
    pub fn close(&self) {
        {
            let mut state = self.state.lock();
            if state.phase != Phase::Open {
                return;
            }
            state.owes_shutdown |= flag::SHUTDOWN_RECV | flag::SHUTDOWN_SEND;
        }
        if !self.send_owed() {
            self.vsock.send_later(self.local_port);
        }
    }

    /// The host sends no more because it was told not to, or this side closed standard input: readers see end of file
    /// once what has arrived is read.
    pub fn end_input(&self) {
        self.state.lock().no_more_input = true;
        self.queue.wake_all();
    }

    fn header(&self, state: &mut State, op: u16, len: usize) -> Header {
        state.told = state.forwarded;
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: self.local_port,
            dst_port: self.host_port,
            len: u32::try_from(len).unwrap_or(0),
            kind: 1,
            op,
            flags: 0,
            buf_alloc: u32::try_from(RECEIVE_BUFFER).unwrap_or(u32::MAX),
            fwd_cnt: state.forwarded,
        }
    }

    /// Sends what is owed; `false` when the device has no room.
    pub(super) fn send_owed(&self) -> bool {
        let was_stalled = self.state.lock().stalled.is_some();
        let sent = self.send_owed_locked();
        if was_stalled && sent {
            self.queue.wake_all();
        }
        sent
    }

    fn send_owed_locked(&self) -> bool {
        let mut state = self.state.lock();
        if state.owes_request {
            let header = self.header(&mut state, op::REQUEST, 0);
            if self.vsock.port.try_send(&header, &[]).is_none() {
                return false;
            }
            state.owes_request = false;
        }
        if let Some(payload) = state.stalled.take() {
            let header = self.header(&mut state, op::RW, payload.len());
            if self.vsock.port.try_send(&header, &payload).is_none() {
                state.stalled = Some(payload);
                return false;
            }
        }
        if state.owes_credit {
            let header = self.header(&mut state, op::CREDIT_UPDATE, 0);
            if self.vsock.port.try_send(&header, &[]).is_none() {
                return false;
            }
            state.owes_credit = false;
        }
        if state.owes_shutdown != 0 {
            let mut header = self.header(&mut state, op::SHUTDOWN, 0);
            header.flags = state.owes_shutdown;
            if self.vsock.port.try_send(&header, &[]).is_none() {
                return false;
            }
            state.owes_shutdown = 0;
        }
        true
    }

    /// Takes a packet of the host.
    pub(super) fn receive(&self, header: &Header, payload: &[u8]) -> Fate {
        let mut state = self.state.lock();
        state.peer_room = header.buf_alloc;
        state.peer_forwarded = header.fwd_cnt;
        let mut fate = Fate::Kept;
        match header.op {
            op::RESPONSE if state.phase == Phase::Connecting => state.phase = Phase::Open,
            op::RST => {
                state.phase = if state.phase == Phase::Connecting { Phase::Refused } else { Phase::Reset };
                state.no_more_input = true;
                state.no_more_output = true;
                fate = Fate::Gone;
            }
            op::RW if state.phase == Phase::Open && !state.no_more_input => {
                let room = RECEIVE_BUFFER.saturating_sub(state.received.len());
                // A host that ignores its credit loses what does not fit.
                state.received.extend(payload.iter().take(room));
            }
            op::SHUTDOWN => {
                state.no_more_input |= header.flags & flag::SHUTDOWN_SEND != 0;
                state.no_more_output |= header.flags & flag::SHUTDOWN_RECV != 0;
            }
            op::CREDIT_REQUEST => {
                state.owes_credit = true;
                drop(state);
                self.vsock.send_later(self.local_port);
                return fate;
            }
            _ => {}
        }
        drop(state);
        self.queue.wake_all();
        fate
    }
}

impl Stream for Connection {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let mut state = self.state.lock();
        if to.remaining() == 0 {
            return Ok(0);
        }
        if state.received.is_empty() {
            return if state.no_more_input { Ok(0) } else { Err(Stop::WouldBlock) };
        }
        let (first, second) = state.received.as_slices();
        let mut done = to.write(first);
        if done == first.len() {
            done += to.write(second);
        }
        state.received.drain(..done);
        state.forwarded = state.forwarded.wrapping_add(u32::try_from(done).unwrap_or(0));
        if done == 0
            && let Some(fault) = to.fault()
        {
            return Err(Stop::Fault(fault));
        }
        let owed = state.forwarded.wrapping_sub(state.told) as usize >= RECEIVE_BUFFER / 2;
        state.owes_credit |= owed;
        drop(state);
        if owed && !self.send_owed() {
            self.vsock.send_later(self.local_port);
        }
        Ok(done)
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        let mut done = 0;
        let mut payload = vec![0; from.remaining().min(MAX_PAYLOAD)];
        while from.remaining() > 0 {
            let mut state = self.state.lock();
            if state.no_more_output || state.phase != Phase::Open {
                return if done > 0 { Ok(done) } else { Err(Stop::Errno(Errno::EPIPE)) };
            }
            let room = state.credit().min(payload.len());
            if room == 0 {
                break;
            }
            // The lock is held from here to the send: the bytes of two writers never change places.
            let mut probe = payload.get_mut(..room).ok_or(Stop::WouldBlock)?;
            if state.stalled.is_some() {
                break;
            }
            let len = from.read(probe);
            if len == 0 {
                let fault = from.fault().map_or(Stop::WouldBlock, Stop::Fault);
                return if done > 0 { Ok(done) } else { Err(fault) };
            }
            probe = probe.get_mut(..len).ok_or(Stop::WouldBlock)?;
            let header = self.header(&mut state, op::RW, len);
            state.sent = state.sent.wrapping_add(u32::try_from(len).unwrap_or(0));
            done += len;
            if self.vsock.port.try_send(&header, probe).is_none() {
                state.stalled = Some(probe.to_vec());
                drop(state);
                self.vsock.send_later(self.local_port);
            }
        }
        if done > 0 || from.remaining() == 0 { Ok(done) } else { Err(Stop::WouldBlock) }
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.queue);
        }
        let state = self.state.lock();
        let mut mask = PollMask::empty();
        if !state.received.is_empty() || state.no_more_input {
            mask |= PollMask::IN | PollMask::RDNORM;
        }
        if state.no_more_output || state.phase == Phase::Reset {
            mask |= PollMask::HUP | PollMask::ERR;
        } else if state.credit() > 0 && state.stalled.is_none() {
            mask |= PollMask::OUT | PollMask::WRNORM;
        }
        mask
    }

    fn attr(&self) -> Attr {
        Attr { mode: 0o010_600, nlink: 1, ino: u64::from(self.local_port), blksize: 4096, ..Attr::default() }
    }

    fn name(&self) -> String {
        alloc::format!("pipe:[{}]", self.local_port)
    }

    fn released(&self) {
        self.close();
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
