//! Terminal ioctls (ioctl_tty(2)) but for those that need the caller's session or descriptors, which the system call does.

use super::pty::{Packet, Pty};
use super::termios::{Termios, WindowSize};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::user::{UserAddr, UserPtr};
use crate::wait::{PollMask, PollTable, Pollable};
use alloc::sync::Arc;
use chitin_core::sleep::Woken;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCPKT: u32 = 0x5420;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCSIG: u32 = 0x4004_5436;

/// `struct termios2`: with speeds, which a pseudo-terminal only remembers as 38400.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Termios2 {
    termios: Termios,
    input_speed: u32,
    output_speed: u32,
}

const SPEED: u32 = 38400;

fn pointer<T>(argument: u64) -> UserPtr<T> {
    UserPtr::new(UserAddr::new(argument))
}

fn put(cx: &IoctlCx<'_>, argument: u64, value: usize) -> Result<usize, Errno> {
    cx.user.write(pointer(argument), &i32::try_from(value).unwrap_or(i32::MAX))?;
    Ok(0)
}

/// Output that the other side has not read.
struct Drained<'a>(&'a Pty);

impl Pollable for Drained<'_> {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(self.0.slave_queue());
        }
        let state = self.0.state();
        if state.line.output.is_empty() || !state.master_open { PollMask::OUT } else { PollMask::empty() }
    }
}

/// Sleeps until the other side has read all output.
fn drain(pty: &Pty, cx: &IoctlCx<'_>) -> Result<(), Errno> {
    let source = Drained(pty);
    let mut table = PollTable::new(cx.waiter.sleeper.waker());
    if !source.poll(Some(&mut table)).is_empty() {
        return Ok(());
    }
    loop {
        match cx.waiter.park(None) {
            Woken::Ready if !source.poll(None).is_empty() => return Ok(()),
            Woken::Ready => {}
            Woken::Interrupted | Woken::TimedOut => return Err(Errno::EINTR),
        }
    }
}

fn set_termios(pty: &Pty, cx: &IoctlCx<'_>, command: u32, termios: Termios) -> Result<usize, Errno> {
    let waits = matches!(command, TCSETSW | TCSETSF | TCSETSW2 | TCSETSF2);
    if waits {
        drain(pty, cx)?;
    }
    let mut state = pty.state();
    if matches!(command, TCSETSF | TCSETSF2) {
        state.line.flush_input();
    }
    state.line.set_termios(termios);
    drop(state);
    pty.wake_both();
    Ok(0)
}

fn flush(pty: &Pty, which: u64) -> Result<usize, Errno> {
    let (input, output) = match which {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Errno::EINVAL),
    };
    let mut state = pty.state();
    let mut status = Packet::empty();
    if input {
        state.line.flush_input();
        status |= Packet::FLUSH_READ;
    }
    if output {
        state.line.output.clear();
        status |= Packet::FLUSH_WRITE;
    }
    if let Some(packet) = &mut state.packet {
        *packet |= status;
    }
    drop(state);
    pty.wake_both();
    Ok(0)
}

fn flow(pty: &Pty, which: u64) -> Result<usize, Errno> {
    let mut state = pty.state();
    let (stopped, status) = match which {
        0 => (true, Packet::STOP),
        1 => (false, Packet::START),
        // Telling the other side to stop: there is no line in between.
        2 | 3 => return Ok(0),
        _ => return Err(Errno::EINVAL),
    };
    if state.line.stopped != stopped {
        state.line.stopped = stopped;
        if let Some(packet) = &mut state.packet {
            *packet |= status;
        }
    }
    drop(state);
    pty.wake_both();
    Ok(0)
}

/// What both sides know.
fn common(pty: &Arc<Pty>, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
    match command {
        TCGETS => cx.user.write(pointer(argument), &pty.termios()).map(|()| 0),
        TCGETS2 => {
            let termios = Termios2 { termios: pty.termios(), input_speed: SPEED, output_speed: SPEED };
            cx.user.write(pointer(argument), &termios).map(|()| 0)
        }
        TCSETS | TCSETSW | TCSETSF => {
            let termios = cx.user.read(pointer::<Termios>(argument))?;
            set_termios(pty, cx, command, termios)
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            let termios = cx.user.read(pointer::<Termios2>(argument))?.termios;
            set_termios(pty, cx, command, termios)
        }
        // A break has no meaning here; with an argument it is tcdrain(3).
        TCSBRK | TCSBRKP => drain(pty, cx).map(|()| 0),
        TCXONC => flow(pty, argument),
        TCFLSH => flush(pty, argument),
        TIOCEXCL => {
            pty.state().exclusive = true;
            Ok(0)
        }
        TIOCNXCL => {
            pty.state().exclusive = false;
            Ok(0)
        }
        TIOCSTI => Err(Errno::EIO),
        TIOCGWINSZ => cx.user.write(pointer(argument), &pty.window()).map(|()| 0),
        TIOCSWINSZ => {
            pty.set_window(cx.user.read(pointer::<WindowSize>(argument))?);
            Ok(0)
        }
        TIOCGETD => put(cx, argument, 0),
        TIOCSETD => match cx.user.read(pointer::<i32>(argument))? {
            0 => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        _ => Err(Errno::ENOTTY),
    }
}

/// At the slave.
pub(super) fn slave(pty: &Arc<Pty>, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
    match command {
        FIONREAD => {
            let bytes = pty.state().line.readable_bytes();
            put(cx, argument, bytes)
        }
        TIOCOUTQ => {
            let bytes = pty.state().line.output.len();
            put(cx, argument, bytes)
        }
        _ => common(pty, cx, command, argument),
    }
}

/// At the master.
pub(super) fn master(pty: &Arc<Pty>, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
    match command {
        FIONREAD => {
            let bytes = pty.state().line.output.len();
            put(cx, argument, bytes)
        }
        TIOCOUTQ => put(cx, argument, 0),
        TIOCGPTN => cx.user.write(pointer(argument), &pty.number()).map(|()| 0),
        TIOCSPTLCK => {
            let locked = cx.user.read(pointer::<i32>(argument))? != 0;
            pty.state().locked = locked;
            Ok(0)
        }
        TIOCGPTLCK => {
            let locked = pty.state().locked;
            put(cx, argument, usize::from(locked))
        }
        TIOCPKT => {
            let on = cx.user.read(pointer::<i32>(argument))? != 0;
            let mut state = pty.state();
            state.packet = on.then(|| state.packet.unwrap_or_default());
            Ok(0)
        }
        TIOCGPKT => {
            let on = pty.state().packet.is_some();
            put(cx, argument, usize::from(on))
        }
        TIOCSIG => {
            let signal = u8::try_from(argument).ok().filter(|signal| matches!(signal, 2 | 3 | 20));
            let signal = signal.ok_or(Errno::EINVAL)?;
            if let Some(owner) = pty.owner() {
                owner.signal_foreground(signal);
            }
            Ok(0)
        }
        _ => common(pty, cx, command, argument),
    }
}
