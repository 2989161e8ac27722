//! [`Pty`]: a pseudo-terminal (pty(7)), its master and its slave.
//!
//! One lock ([`LEVEL`]) holds the state of both sides; queues are woken and signals sent after it is released.

use super::devpts::Table;
use super::discipline::{Discipline, TtySignal};
use super::termios::{Termios, WindowSize, cc, lflag};
use crate::abi::Errno;
use crate::fs::{Attr, Stream, anon};
use crate::time::{Expire, Timer};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use chitin_core::lock::{Level, SpinGuard, SpinLock};
use chitin_core::wait::WaitQueue;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Level of the lock of a terminal.
pub const LEVEL: Level = Level(147);

/// Terminals that may exist (`/proc/sys/kernel/pty/max`).
const MAX_PTYS: usize = 4096;
const VTIME_NS: u64 = 100_000_000;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Terminals that some session has, or had, as its controlling one.
static OWNED: SpinLock<Vec<Weak<Pty>>> = SpinLock::new(Level(148), Vec::new());

/// The controlling terminal of a session (of a container, by its identity).
pub(super) fn of_session(container: usize, session: u32) -> Option<Arc<Pty>> {
    let owned: Vec<Arc<Pty>> = OWNED.lock().iter().filter_map(Weak::upgrade).collect();
    owned.into_iter().find(|pty| pty.owner().is_some_and(|owner| owner.session() == (container, session)))
}

bitflags! {
    /// Status bytes of packet mode (`TIOCPKT_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Packet: u8 {
        const FLUSH_READ = 1;
        const FLUSH_WRITE = 2;
        const STOP = 4;
        const START = 8;
    }
}

/// The session whose controlling terminal it is; what the terminal asks of it.
pub trait Owner: Send + Sync {
    /// Sends a signal (its number) to the foreground process group.
    fn signal_foreground(&self, signal: u8);

    /// The terminal is gone: the session loses it and its leader is told.
    fn hang_up(&self);

    /// Identity of the session: of its container, and its number.
    fn session(&self) -> (usize, u32);

    /// Whether the terminal is still the session's.
    fn is_current(&self, terminal: &Pty) -> bool;
}

pub(super) struct State {
    pub(super) line: Discipline,
    pub(super) window: WindowSize,
    /// Open slaves, and whether one was ever open.
    slaves: usize,
    slave_was_open: bool,
    pub(super) master_open: bool,
    /// `TIOCSPTLCK`.
    pub(super) locked: bool,
    /// `TIOCPKT`.
    pub(super) packet: Option<Packet>,
    /// `TIOCEXCL`.
    pub(super) exclusive: bool,
    owner: Option<Arc<dyn Owner>>,
    /// For `VTIME`: what the reader waits for, and whether its time is over.
    timer: Option<Timer>,
    time_over: bool,
}

/// A pseudo-terminal.
pub struct Pty {
    me: Weak<Self>,
    number: u32,
    state: SpinLock<State>,
    /// Something changed for who reads or writes at the slave.
    slave_changed: WaitQueue,
    /// The same for the master.
    master_changed: WaitQueue,
    ino: u64,
}

const SIGINT: u8 = 2;
const SIGQUIT: u8 = 3;
const SIGTSTP: u8 = 20;
pub(super) const SIGWINCH: u8 = 28;

impl Pty {
    /// A terminal with the number that `/dev/pts` shows. Its slave is locked until `TIOCSPTLCK` or [`Pty::unlock`].
    ///
    /// # Errors
    /// `ENOSPC` when there are too many.
    pub fn new(number: u32) -> Result<Arc<Self>, Errno> {
        if COUNT.fetch_add(1, Ordering::Relaxed) >= MAX_PTYS {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let state = State {
            line: Discipline::new(),
            window: WindowSize::default(),
            slaves: 0,
            slave_was_open: false,
            master_open: true,
            locked: true,
            packet: None,
            exclusive: false,
            owner: None,
            timer: None,
            time_over: false,
        };
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            number,
            state: SpinLock::new(LEVEL, state),
            slave_changed: WaitQueue::new(),
            master_changed: WaitQueue::new(),
            ino: anon::next_ino(),
        }))
    }

    /// The number that `/dev/pts` shows.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Lets the slave be opened.
    pub fn unlock(&self) {
        self.state.lock().locked = false;
    }

    pub(super) fn state(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// Opens the slave.
    ///
    /// # Errors
    /// `EIO` when it is locked or the master is closed, `EBUSY` when it is exclusive.
    pub fn open_slave(self: &Arc<Self>) -> Result<Arc<Slave>, Errno> {
        let mut state = self.state.lock();
        if state.locked || !state.master_open {
            return Err(Errno::EIO);
        }
        if state.exclusive {
            return Err(Errno::EBUSY);
        }
        state.slaves += 1;
        state.slave_was_open = true;
        Ok(Arc::new(Slave(self.clone())))
    }

    /// The window's size.
    #[must_use]
    pub fn window(&self) -> WindowSize {
        self.state.lock().window
    }

    /// Sets the window's size; the foreground group is told of a change.
    pub fn set_window(&self, window: WindowSize) {
        let mut state = self.state.lock();
        let changed = core::mem::replace(&mut state.window, window) != window;
        let owner = state.owner.clone();
        drop(state);
        if let Some(owner) = owner.filter(|_| changed) {
            owner.signal_foreground(SIGWINCH);
        }
    }

    /// Settings.
    #[must_use]
    pub fn termios(&self) -> Termios {
        self.state.lock().line.termios
    }

    /// Makes it the controlling terminal of a session, or of none.
    pub fn set_owner(&self, owner: Option<Arc<dyn Owner>>) {
        if owner.is_some() {
            let mut owned = OWNED.lock();
            owned.retain(|pty| pty.strong_count() > 0 && !Weak::ptr_eq(pty, &self.me));
            owned.push(self.me.clone());
        }
        let old = core::mem::replace(&mut self.state.lock().owner, owner);
        drop(old);
    }

    /// The session whose controlling terminal it is.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<dyn Owner>> {
        let owner = self.state.lock().owner.clone()?;
        owner.is_current(self).then_some(owner)
    }

    /// Whether a write by a background group is to be stopped (`TOSTOP`).
    #[must_use]
    pub fn stops_background_output(&self) -> bool {
        self.state.lock().line.termios.local(lflag::TOSTOP)
    }

    /// Hangs up: the slave reads end of file, and the session is told (vhangup(2), the master's last close).
    pub fn hang_up(&self) {
        let owner = {
            let mut state = self.state.lock();
            state.master_open = false;
            state.owner.take()
        };
        self.wake_both();
        if let Some(owner) = owner.filter(|owner| owner.is_current(self)) {
            owner.hang_up();
        }
    }

    /// What a writer at the slave waits at.
    pub(super) fn slave_queue(&self) -> &WaitQueue {
        &self.slave_changed
    }

    pub(super) fn wake_both(&self) {
        self.slave_changed.wake_all();
        self.master_changed.wake_all();
    }

    /// Bytes that the master can read.
    fn master_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let start = to.done();
        let mut state = self.state.lock();
        if to.remaining() == 0 {
            return Ok(0);
        }
        if let Some(status) = state.packet {
            if !status.is_empty() {
                to.write(&[status.bits()]);
                if let Some(fault) = to.fault() {
                    return Err(Stop::Fault(fault));
                }
                state.packet = Some(Packet::empty());
                return Ok(1);
            }
            if !state.line.output.is_empty() {
                to.write(&[0]);
            }
        }
        if state.line.output.is_empty() {
            let closed = state.slave_was_open && state.slaves == 0;
            return Err(if closed { Errno::EIO.into() } else { Stop::WouldBlock });
        }
        let (first, second) = state.line.output.as_slices();
        let mut copied = to.write(first);
        if copied == first.len() {
            copied += to.write(second);
        }
        let fault = to.fault();
        state.line.output.drain(..copied);
        drop(state);
        if copied == 0
            && let Some(fault) = fault
        {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        self.slave_changed.wake_all();
        Ok(to.done() - start)
    }

    /// Types bytes at the master.
    fn master_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        let start = from.done();
        let mut state = self.state.lock();
        if state.slave_was_open && state.slaves == 0 {
            return Err(Errno::EIO.into());
        }
        let mut signals = [None; 4];
        let mut signal_count = 0;
        while from.remaining() > 0 && signal_count < signals.len() {
            if !state.line.has_room() {
                break;
            }
            let mut byte = [0];
            if from.read(&mut byte) == 0 {
                break;
            }
            if let Some(signal) = state.line.type_byte(byte[0])
                && let Some(slot) = signals.get_mut(signal_count)
            {
                *slot = Some(signal);
                signal_count += 1;
                if !state.line.termios.local(lflag::NOFLSH)
                    && let Some(packet) = &mut state.packet
                {
                    *packet |= Packet::FLUSH_READ | Packet::FLUSH_WRITE;
                }
            }
        }
        let done = from.done() - start;
        let owner = state.owner.clone();
        if done > 0 {
            state.time_over = false;
            if let Some(timer) = &mut state.timer {
                timer.set(None);
            }
        }
        drop(state);
        if done == 0 {
            return match from.fault() {
                Some(fault) => Err(Stop::Fault(fault)),
                None if from.remaining() == 0 => Ok(0),
                None => Err(Stop::WouldBlock),
            };
        }
        self.wake_both();
        if let Some(owner) = owner {
            for signal in signals.into_iter().flatten() {
                owner.signal_foreground(match signal {
                    TtySignal::Interrupt => SIGINT,
                    TtySignal::Quit => SIGQUIT,
                    TtySignal::Suspend => SIGTSTP,
                });
            }
        }
        Ok(done)
    }

    /// Bytes that a reader of the slave waits for: with `ICANON` a line.
    fn is_readable(state: &State, room: usize) -> bool {
        let line = &state.line;
        if line.termios.local(lflag::ICANON) {
            return line.has_input();
        }
        let least = usize::from(line.termios.character(cc::VMIN)).max(1);
        line.readable_bytes() >= least.min(room.max(1))
    }

    fn slave_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let start = to.done();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if to.remaining() == 0 {
            return Ok(0);
        }
        let canonical = state.line.termios.local(lflag::ICANON);
        let ready = Self::is_readable(state, to.remaining()) || (state.time_over && state.line.has_input());
        if !ready {
            if !state.master_open {
                if !state.line.has_input() {
                    return Ok(0);
                }
            } else if canonical {
                return Err(Stop::WouldBlock);
            } else {
                return self.wait_for_bytes(guard);
            }
        }
        state.time_over = false;
        if let Some(timer) = &mut state.timer {
            timer.set(None);
        }
        let Some(len) = state.line.front() else {
            state.line.consume(0);
            return Ok(0);
        };
        let len = len.min(to.remaining());
        let (first, second) = state.line.peek(len);
        let mut copied = to.write(first);
        if copied == first.len() {
            copied += to.write(second);
        }
        let fault = to.fault();
        if copied > 0 {
            state.line.consume(copied);
        }
        drop(guard);
        if copied == 0
            && let Some(fault) = fault
        {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        self.master_changed.wake_all();
        Ok(copied)
    }

    /// Too few bytes without `ICANON`: what `VMIN` and `VTIME` say.
    fn wait_for_bytes<'a>(&'a self, mut state: SpinGuard<'a, State>) -> Result<usize, Stop> {
        let least = state.line.termios.character(cc::VMIN);
        let time = u64::from(state.line.termios.character(cc::VTIME));
        if least == 0 && (time == 0 || core::mem::take(&mut state.time_over)) {
            return Ok(0);
        }
        // The time of VTIME runs from the read on, or with VMIN from the last byte on.
        let runs = time > 0 && (least == 0 || state.line.has_input());
        if !runs || state.timer.as_ref().is_some_and(|timer| timer.deadline_ns().is_some()) {
            return Err(Stop::WouldBlock);
        }
        if state.timer.is_none() {
            drop(state);
            // Without the worker there is no time limit: the reader waits for its bytes.
            if Timer::prepare().is_err() {
                return Err(Stop::WouldBlock);
            }
            let target: Weak<dyn Expire> = self.me.clone();
            let timer = Timer::new(target);
            state = self.state.lock();
            state.timer.get_or_insert(timer);
        }
        let deadline = chitin_core::hooks::now_ns().saturating_add(time * VTIME_NS);
        if let Some(timer) = &mut state.timer {
            timer.set(Some(deadline));
        }
        Err(Stop::WouldBlock)
    }

    fn slave_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        let start = from.done();
        let mut state = self.state.lock();
        if !state.master_open {
            return Err(Errno::EIO.into());
        }
        while from.remaining() > 0 && !state.line.stopped {
            let mut part = [0; 256];
            let room = state.line.output_room().min(part.len());
            if room == 0 {
                break;
            }
            let got = from.read(part.get_mut(..room).unwrap_or_default());
            part.iter().take(got).for_each(|byte| state.line.put_output(*byte));
            if got < room {
                break;
            }
        }
        let done = from.done() - start;
        drop(state);
        if done > 0 {
            self.master_changed.wake_all();
            return Ok(done);
        }
        match from.fault() {
            Some(fault) => Err(Stop::Fault(fault)),
            None if from.remaining() == 0 => Ok(0),
            None => Err(Stop::WouldBlock),
        }
    }
}

impl Expire for Pty {
    fn expired(&self, now_ns: u64) {
        let mut state = self.state.lock();
        let due =
            state.timer.as_ref().and_then(Timer::deadline_ns).is_some_and(|deadline| deadline <= now_ns);
        if !due {
            return;
        }
        state.time_over = true;
        if let Some(timer) = &mut state.timer {
            timer.set(None);
        }
        drop(state);
        self.slave_changed.wake_all();
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The master side: a terminal emulator, or the kernel on behalf of the host.
pub struct Master(Arc<Pty>, Weak<Table>);

impl Master {
    /// The master of a new terminal that no file system lists. There is one for each terminal.
    #[must_use]
    pub fn new(pty: Arc<Pty>) -> Arc<Self> {
        Self::listed(pty, Weak::new())
    }

    /// The master of a new terminal that `table` lists.
    pub(super) fn listed(pty: Arc<Pty>, table: Weak<Table>) -> Arc<Self> {
        Arc::new(Self(pty, table))
    }

    /// The terminal.
    #[must_use]
    pub fn pty(&self) -> &Arc<Pty> {
        &self.0
    }

    /// Closes it: the slave is hung up. Done by the last close of its open file; for the kernel's own masters, by hand.
    pub fn close(&self) {
        if let Some(table) = self.1.upgrade() {
            table.remove(self.0.number);
        }
        self.0.hang_up();
    }
}

impl Stream for Master {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        self.0.master_read(to)
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        self.0.master_write(from)
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.0.master_changed);
        }
        let state = self.0.state.lock();
        let mut mask = PollMask::empty();
        let status = state.packet.is_some_and(|packet| !packet.is_empty());
        mask.set(PollMask::IN | PollMask::RDNORM, !state.line.output.is_empty() || status);
        mask.set(PollMask::PRI, status);
        mask.set(PollMask::HUP, state.slave_was_open && state.slaves == 0);
        mask.set(PollMask::OUT | PollMask::WRNORM, state.line.has_room());
        mask
    }

    fn ioctl(
        &self,
        cx: &crate::fs::stream::IoctlCx<'_>,
        command: u32,
        argument: u64,
    ) -> Result<usize, Errno> {
        super::ioctl::master(&self.0, cx, command, argument)
    }

    fn attr(&self) -> Attr {
        anon::attr(self.0.ino, 0o020_600)
    }

    fn name(&self) -> String {
        "/dev/ptmx".into()
    }

    fn released(&self) {
        self.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open slave side: what programs know as their terminal.
pub struct Slave(pub(super) Arc<Pty>);

impl Slave {
    /// The terminal.
    #[must_use]
    pub fn pty(&self) -> &Arc<Pty> {
        &self.0
    }
}

impl Stream for Slave {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        self.0.slave_read(to)
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        self.0.slave_write(from)
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.0.slave_changed);
        }
        let state = self.0.state.lock();
        let mut mask = PollMask::empty();
        let timed = state.line.termios.character(cc::VTIME) > 0;
        let room = if timed { 1 } else { usize::MAX };
        let readable = Pty::is_readable(&state, room) || !state.master_open;
        mask.set(PollMask::IN | PollMask::RDNORM, readable);
        mask.set(PollMask::HUP | PollMask::ERR, !state.master_open);
        let writable = !state.line.stopped && state.line.output_room() > 0;
        mask.set(PollMask::OUT | PollMask::WRNORM, writable || !state.master_open);
        mask
    }

    fn ioctl(
        &self,
        cx: &crate::fs::stream::IoctlCx<'_>,
        command: u32,
        argument: u64,
    ) -> Result<usize, Errno> {
        super::ioctl::slave(&self.0, cx, command, argument)
    }

    fn attr(&self) -> Attr {
        let rdev = crate::fs::filesystem::device(136, u64::from(self.0.number));
        Attr { rdev, ..anon::attr(self.0.ino, 0o020_620) }
    }

    fn name(&self) -> String {
        format!("/dev/pts/{}", self.0.number)
    }

    fn reopen(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn Stream>, Errno> {
        Ok(self.0.open_slave()?)
    }

    fn released(&self) {
        let mut state = self.0.state.lock();
        state.slaves = state.slaves.saturating_sub(1);
        drop(state);
        self.0.wake_both();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
