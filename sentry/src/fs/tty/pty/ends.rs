//! [`Master`] and [`Slave`]: the streams of a terminal's two sides.

use super::Pty;
use crate::abi::Errno;
use crate::fs::stream::StreamKind;
use crate::fs::tty::devpts::Table;
use crate::fs::tty::termios::cc;
use crate::fs::{Attr, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;

/// The master side: a terminal emulator, or the kernel on behalf of the host.
pub struct Master(Arc<Pty>, Weak<Table>);

impl Master {
    /// The master of a new terminal that no file system lists. There is one for each terminal.
    #[must_use]
    pub fn new(pty: Arc<Pty>) -> Arc<Self> {
        Self::listed(pty, Weak::new())
    }

    /// The master of a new terminal that `table` lists.
    pub(in crate::fs::tty) fn listed(pty: Arc<Pty>, table: Weak<Table>) -> Arc<Self> {
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
        crate::fs::tty::ioctl::master(&self.0, cx, command, argument)
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
pub struct Slave(Arc<Pty>);

impl Slave {
    /// A slave that the terminal has counted.
    pub(super) fn of(pty: Arc<Pty>) -> Self {
        Self(pty)
    }

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

    fn kind(&self) -> StreamKind {
        StreamKind::Terminal
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
        crate::fs::tty::ioctl::slave(&self.0, cx, command, argument)
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
