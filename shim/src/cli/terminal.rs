//! The caller's terminal: raw mode while a container owns it, its size.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::os::fd::AsFd;

/// Raw mode of stdin's terminal, undone when dropped.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode.
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Err(io::Error::other("--tty: stdin is not a terminal"));
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Columns and rows of a terminal, zeros when unknown.
pub(super) fn size(terminal: impl AsFd) -> (u16, u16) {
    tcgetwinsize(terminal).map_or((0, 0), |size| (size.ws_col, size.ws_row))
}
