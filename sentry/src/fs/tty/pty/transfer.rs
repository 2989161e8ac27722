//! Bytes between master and slave: what is typed, what is printed, and the signals and waits that come of it.

use super::{Packet, Pty, State};
use crate::abi::Errno;
use crate::fs::tty::discipline::TtySignal;
use crate::fs::tty::termios::{cc, lflag};
use crate::time::{Expire, Timer};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::sync::Weak;
use chitin_core::lock::SpinGuard;

/// A unit of `VTIME`.
const VTIME_NS: u64 = 100_000_000;

const SIGINT: u8 = 2;
const SIGQUIT: u8 = 3;
const SIGTSTP: u8 = 20;

impl Pty {
    /// Bytes that the master can read.
    pub(super) fn master_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
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
    pub(super) fn master_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
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
    pub(super) fn is_readable(state: &State, room: usize) -> bool {
        let line = &state.line;
        if line.termios.local(lflag::ICANON) {
            return line.has_input();
        }
        let least = usize::from(line.termios.character(cc::VMIN)).max(1);
        line.readable_bytes() >= least.min(room.max(1))
    }

    pub(super) fn slave_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
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

    pub(super) fn slave_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
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
