//! Terminals (tty(4), pty(7)): pseudo-terminals, their line discipline, and the devpts file system.
//!
//! * `discipline` is what a terminal makes of bytes.
//! * [`Pty`] joins a [`Master`] and its [`Slave`]s; [`pty::Owner`] is the session whose controlling terminal it is.
//! * [`DevPts`] is the file system of `/dev/pts`.

mod devpts;
mod discipline;
mod ioctl;
pub mod pty;
pub mod termios;
#[cfg(test)]
mod tests;

pub use devpts::{DevPts, register};
pub use pty::{Master, Pty, Slave};
pub use termios::{Termios, WindowSize};
