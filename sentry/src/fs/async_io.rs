//! Signals when an open file becomes ready (fcntl(2): `F_SETOWN`, `F_SETSIG`, `O_ASYNC`).

use crate::abi::Errno;
use crate::abi::file::FASYNC;
use crate::fs::{FileBody, OpenFile};
use crate::wait::{PollMask, PollTable};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use chitin_core::lock::{Level, SpinLock};
use core::task::Waker;

/// Level of the lock of a file's owner and registrations.
const LEVEL: Level = Level(128);

/// What an owner's number names (`F_SETOWN_EX`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerKind {
    /// A thread.
    #[default]
    Thread,
    /// A process.
    Process,
    /// A process group.
    Group,
}

/// The signal of urgent data.
pub const SIGURG: u32 = 23;

/// The code of a signal that says nothing more.
pub const SI_KERNEL: i32 = 0x80;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The signal that was asked for, 0 for SIGIO without more to say (`F_SETSIG`).
    pub signal: u32,
    /// `POLL_IN` and the like.
    pub code: i32,
    /// Readiness, with the bits of poll(2).
    pub band: i64,
    /// The descriptor by which signals were asked for.
    pub fd: i32,
}

/// Sends a signal to whom an owner names.
pub type Send = Arc<dyn Fn(Ready) + core::marker::Send + Sync>;

#[derive(Default)]
struct State {
    kind: OwnerKind,
    id: i32,
    signal: u32,
    send: Option<Send>,
    fd: i32,
    table: Option<PollTable>,
}

/// Who gets signals of an open file, and which.
pub struct AsyncIo(SpinLock<State>);

impl AsyncIo {
    /// Nobody.
    #[must_use]
    pub(super) fn new() -> Self {
        Self(SpinLock::new(LEVEL, State::default()))
    }

    /// Who was set.
    #[must_use]
    pub fn owner(&self) -> (OwnerKind, i32) {
        let state = self.0.lock();
        (state.kind, state.id)
    }

    /// Sets who gets signals; `send` sends them, `None`: nobody gets any.
    pub fn set_owner(&self, kind: OwnerKind, id: i32, send: Option<Send>) {
        let old = {
            let mut state = self.0.lock();
            (state.kind, state.id) = (kind, id);
            core::mem::replace(&mut state.send, send)
        };
        drop(old);
    }

    /// The signal that was set.
    #[must_use]
    pub fn signal(&self) -> u32 {
        self.0.lock().signal
    }

    /// Who sends signals, and the signal that was set.
    pub(super) fn sender(&self) -> (Option<Send>, u32) {
        let state = self.0.lock();
        (state.send.clone(), state.signal)
    }

    /// Sets the signal, 0 for SIGIO.
    pub fn set_signal(&self, signal: u32) {
        self.0.lock().signal = signal;
    }
}

/// Turns signals on or off for a file, by its descriptor `fd`.
///
/// # Errors
/// `ENOTTY` for a file that sends none.
pub fn switch(file: &Arc<OpenFile>, fd: i32, on: bool) -> Result<(), Errno> {
    let FileBody::Stream(stream, _) = file.body() else { return Err(Errno::ENOTTY) };
    if !stream.signals_io() {
        return Err(Errno::ENOTTY);
    }
    let table = on.then(|| {
        let mut table = PollTable::new(Waker::from(Arc::new(Ringer(Arc::downgrade(file)))));
        stream.poll(Some(&mut table));
        table
    });
    let old = {
        let mut state = file.async_io.0.lock();
        state.fd = fd;
        core::mem::replace(&mut state.table, table)
    };
    drop(old);
    file.set_flags(if on { file.flags() | FASYNC } else { file.flags() & !FASYNC });
    Ok(())
}

/// What the file's queues know of it.
struct Ringer(Weak<OpenFile>);

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(file) = self.0.upgrade() else { return };
        let FileBody::Stream(stream, _) = file.body() else { return };
        let ready = stream.poll(None);
        let (code, band) = if ready.contains(PollMask::IN) {
            (1, 0x41)
        } else if ready.contains(PollMask::OUT) {
            (2, 0x304)
        } else if ready.contains(PollMask::HUP) {
            (6, 0x18)
        } else {
            return;
        };
        let (send, signal, fd) = {
            let state = file.async_io.0.lock();
            (state.send.clone(), state.signal, state.fd)
        };
        if let Some(send) = send {
            send(Ready { signal, code, band, fd });
        }
    }
}
