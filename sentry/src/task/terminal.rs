//! Controlling terminals: what joins a session to its terminal (credentials(7), tty_ioctl(4)).

use super::{Container, Process};
use crate::abi::Errno;
use crate::fs::Stream;
use crate::fs::tty::pty::Owner;
use crate::fs::tty::{Pty, Slave};
use crate::signal::{SigInfo, Signal};
use alloc::sync::{Arc, Weak};

/// A session, as its terminal knows it.
struct SessionOwner {
    container: Weak<Container>,
    session: u32,
}

/// The terminal of a stream, if it is a slave.
#[must_use]
pub fn pty_of(stream: &Arc<dyn Stream>) -> Option<&Arc<Pty>> {
    stream.as_any().downcast_ref::<Slave>().map(Slave::pty)
}

impl Owner for SessionOwner {
    fn signal_foreground(&self, signal: u8) {
        let Some(container) = self.container.upgrade() else { return };
        let foreground = container.tree().session(self.session).map_or(0, |session| session.foreground);
        if let (1.., Ok(signal)) = (foreground, Signal::new(u32::from(signal))) {
            let _ = container.signal_group(foreground, SigInfo::kernel(signal));
        }
    }

    fn hang_up(&self) {
        let Some(container) = self.container.upgrade() else { return };
        let (terminal, leader) = {
            let mut tree = container.tree();
            let leader = tree.process(self.session).cloned();
            let Some(session) = tree.session_mut(self.session) else { return };
            session.foreground = 0;
            (session.terminal.take(), leader)
        };
        drop(terminal);
        if let Some(leader) = leader {
            let _ = leader.send(SigInfo::kernel(Signal::HUP));
            let _ = leader.send(SigInfo::kernel(Signal::CONT));
        }
    }

    fn session(&self) -> (usize, u32) {
        (self.container.as_ptr().addr(), self.session)
    }

    fn is_current(&self, terminal: &Pty) -> bool {
        let Some(container) = self.container.upgrade() else { return false };
        let stream = container.tree().session(self.session).and_then(|session| session.terminal.clone());
        stream.is_some_and(|stream| {
            pty_of(&stream).is_some_and(|pty| core::ptr::eq(Arc::as_ptr(pty), terminal))
        })
    }
}

/// Makes `stream` the controlling terminal of the session that `process` leads, with its group in the foreground.
///
/// # Errors
/// `ENOTTY` when it is no terminal; `EPERM` when `process` leads no session, or the session has a terminal.
pub fn set_controlling(process: &Arc<Process>, stream: &Arc<dyn Stream>) -> Result<(), Errno> {
    let pty = pty_of(stream).ok_or(Errno::ENOTTY)?;
    let container = &process.container;
    let pid = process.pid();
    {
        let mut tree = container.tree();
        let (group, number) = tree.group_and_session(pid).ok_or(Errno::ESRCH)?;
        if number != pid {
            return Err(Errno::EPERM);
        }
        let session = tree.session_mut(number).ok_or(Errno::EPERM)?;
        if session.terminal.is_some() {
            return Err(Errno::EPERM);
        }
        session.terminal = Some(stream.clone());
        session.foreground = group;
    }
    pty.set_owner(Some(Arc::new(SessionOwner { container: Arc::downgrade(container), session: pid })));
    Ok(())
}

/// Takes the controlling terminal from a session; its foreground group is told (`TIOCNOTTY` by the leader).
pub fn release_controlling(container: &Arc<Container>, session: u32) {
    let (terminal, foreground) = {
        let mut tree = container.tree();
        let Some(session) = tree.session_mut(session) else { return };
        (session.terminal.take(), core::mem::take(&mut session.foreground))
    };
    let Some(terminal) = terminal else { return };
    if let Some(pty) = pty_of(&terminal) {
        pty.set_owner(None);
    }
    if foreground > 0 {
        let _ = container.signal_group(foreground, SigInfo::kernel(Signal::HUP));
        let _ = container.signal_group(foreground, SigInfo::kernel(Signal::CONT));
    }
}
