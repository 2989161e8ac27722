//! Job control: what system calls do for the controlling terminal (tty_ioctl(4), "Job Control" in the Open Group's issue 7).

use super::descriptor::{self, CLOEXEC, NONBLOCK};
use super::place::Scope;
use super::{Cx, Failure, SysResult};
use crate::abi::Errno;
use crate::fs::open::{How, open_path};
use crate::fs::tty::{Master, Pty};
use crate::fs::{FileBody, OpenFile, Path, Stream};
use crate::security::Capability;
use crate::signal::{Action, SigInfo, Signal};
use crate::task::terminal::{pty_of, release_controlling, set_controlling};
use crate::user::{UserAddr, UserPtr};
use alloc::format;
use alloc::sync::Arc;

const O_NOCTTY: u32 = 0o400;

const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCFLSH: u32 = 0x540b;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCNOTTY: u32 = 0x5422;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TIOCVHANGUP: u32 = 0x5437;
const TIOCGPTPEER: u32 = 0x5441;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSF2: u32 = 0x402c_542d;

/// Whether `pty` is the controlling terminal of the caller; with the caller's group and the foreground group.
fn job(cx: &Cx<'_>, pty: &Pty) -> Option<(u32, u32)> {
    let container = cx.task.container();
    let session = pty.owner()?.session();
    let tree = container.tree();
    let (group, number) = tree.group_and_session(cx.task.pid())?;
    if session != (Arc::as_ptr(container).addr(), number) {
        return None;
    }
    Some((group, tree.session(number)?.foreground))
}

/// What a background group may not do.
fn check_background(cx: &Cx<'_>, pty: &Pty, signal: Signal) -> Result<(), Failure> {
    let Some((group, foreground)) = job(cx, pty) else { return Ok(()) };
    if group == foreground || foreground == 0 {
        return Ok(());
    }
    let ignored = cx.task.process().handlers.get().get(signal).handler == Action::IGNORE;
    let reads = signal == Signal::TTIN;
    if ignored || cx.task.blocked().has(signal) {
        return if reads { Err(Errno::EIO.into()) } else { Ok(()) };
    }
    let container = cx.task.container();
    if container.tree().is_orphaned(group, 0) {
        return Err(Errno::EIO.into());
    }
    container.signal_group(group, SigInfo::kernel(signal))?;
    Err(Failure::Interrupted)
}

/// Before a read: a background group is sent SIGTTIN.
///
/// # Errors
/// `EIO` when it cannot be stopped; [`Failure::Interrupted`].
pub(super) fn check_read(cx: &Cx<'_>, stream: &Arc<dyn Stream>) -> Result<(), Failure> {
    match pty_of(stream) {
        Some(pty) => check_background(cx, pty, Signal::TTIN),
        None => Ok(()),
    }
}

/// Before a write: a background group is sent SIGTTOU, where the terminal says so (`TOSTOP`).
///
/// # Errors
/// As [`check_read`].
pub(super) fn check_write(cx: &Cx<'_>, stream: &Arc<dyn Stream>) -> Result<(), Failure> {
    match pty_of(stream).filter(|pty| pty.stops_background_output()) {
        Some(pty) => check_background(cx, pty, Signal::TTOU),
        None => Ok(()),
    }
}

/// After an open: a session leader without a terminal gets this one, unless it says `O_NOCTTY`.
pub(super) fn opened(cx: &Cx<'_>, file: &OpenFile, flags: u32) {
    if flags & O_NOCTTY == 0
        && let FileBody::Stream(stream, _) = file.body()
        && pty_of(stream).is_some_and(|pty| pty.owner().is_none())
    {
        // That the caller leads no session, or has a terminal, is not a failure of its open.
        let _ = set_controlling(cx.task.process(), stream);
    }
}

/// The terminal that an ioctl at either side means.
fn terminal(stream: &Arc<dyn Stream>) -> Option<(&Arc<Pty>, bool)> {
    if let Some(pty) = pty_of(stream) {
        return Some((pty, false));
    }
    stream.as_any().downcast_ref::<Master>().map(|master| (master.pty(), true))
}

/// Commands that need the caller's session or descriptors; `None` for those of the terminal alone.
pub(super) fn ioctl(
    cx: &Cx<'_>,
    file: &OpenFile,
    stream: &Arc<dyn Stream>,
    command: u32,
    argument: u64,
) -> Option<SysResult> {
    let (pty, is_master) = terminal(stream)?;
    let number = UserPtr::<u32>::new(UserAddr::new(argument));
    match command {
        TCSETS..=TCSETSF | TCSETS2..=TCSETSF2 | TCSBRK..=TCFLSH | TCSBRKP | TIOCSWINSZ if !is_master => {
            // Setting the window's size is the one that any group may do.
            if command != TIOCSWINSZ
                && let Err(failure) = check_background(cx, pty, Signal::TTOU)
            {
                return Some(Err(failure));
            }
            None
        }
        TIOCSCTTY => Some(acquire(cx, stream, pty, argument)),
        TIOCNOTTY => Some(give_up(cx, pty)),
        TIOCGPGRP | TIOCGSID => Some(told(cx, pty, is_master, command).and_then(|value| {
            cx.user().write(number, &value)?;
            Ok(0)
        })),
        TIOCSPGRP => Some(
            cx.user().read(number).map_err(Failure::from).and_then(|group| set_foreground(cx, pty, group)),
        ),
        TIOCVHANGUP => Some(if cx.task.creds().has(Capability::SysAdmin) {
            pty.hang_up();
            Ok(0)
        } else {
            Err(Errno::EPERM.into())
        }),
        TIOCGPTPEER if is_master => Some(open_peer(cx, file, pty, argument)),
        _ => None,
    }
}

fn acquire(cx: &Cx<'_>, stream: &Arc<dyn Stream>, pty: &Arc<Pty>, force: u64) -> SysResult {
    if job(cx, pty).is_some() {
        return Ok(0);
    }
    if let Some(owner) = pty.owner() {
        if force != 1 || !cx.task.creds().has(Capability::SysAdmin) {
            return Err(Errno::EPERM.into());
        }
        let (container, session) = owner.session();
        if container != Arc::as_ptr(cx.task.container()).addr() {
            return Err(Errno::EPERM.into());
        }
        release_controlling(cx.task.container(), session);
    }
    set_controlling(cx.task.process(), stream)?;
    Ok(0)
}

fn give_up(cx: &Cx<'_>, pty: &Arc<Pty>) -> SysResult {
    if job(cx, pty).is_none() {
        return Err(Errno::ENOTTY.into());
    }
    let (_, session) = cx.task.process().group_and_session();
    // Of other members of the session Linux takes the terminal one by one; here it belongs to all of them.
    if session == cx.task.pid() {
        release_controlling(cx.task.container(), session);
    }
    Ok(0)
}

/// Foreground group or session. The master is told of any session, the slave of the caller's.
fn told(cx: &Cx<'_>, pty: &Arc<Pty>, is_master: bool, command: u32) -> Result<u32, Failure> {
    if !is_master && job(cx, pty).is_none() {
        return Err(Errno::ENOTTY.into());
    }
    let container = cx.task.container();
    let session = pty.owner().map(|owner| owner.session());
    let Some((_, session)) = session.filter(|session| session.0 == Arc::as_ptr(container).addr()) else {
        return if command == TIOCGPGRP { Ok(0) } else { Err(Errno::ENOTTY.into()) };
    };
    if command == TIOCGSID {
        return Ok(cx.task.shown(session));
    }
    let foreground = container.tree().session(session).map_or(0, |session| session.foreground);
    Ok(cx.task.shown(foreground))
}

fn set_foreground(cx: &Cx<'_>, pty: &Arc<Pty>, group: u32) -> SysResult {
    check_background(cx, pty, Signal::TTOU)?;
    if job(cx, pty).is_none() {
        return Err(Errno::ENOTTY.into());
    }
    if i32::try_from(group).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let group = cx.task.meant(group);
    let mut tree = cx.task.container().tree();
    let (_, session) = tree.group_and_session(cx.task.pid()).ok_or(Errno::ESRCH)?;
    if tree.group(group).ok_or(Errno::ESRCH)?.session != session {
        return Err(Errno::EPERM.into());
    }
    if let Some(session) = tree.session_mut(session) {
        session.foreground = group;
    }
    Ok(0)
}

/// `TIOCGPTPEER`: opens the slave by its node in the master's own mount of devpts, so that its name and its attributes are
/// those that stat(2) shows; a terminal that was opened in no mount has no node.
fn open_peer(cx: &Cx<'_>, master: &OpenFile, pty: &Arc<Pty>, flags: u64) -> SysResult {
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let kept = flags & (3 | NONBLOCK | CLOEXEC);
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let place = master.path().and_then(|ptmx| {
        let devpts = Path { mount: ptmx.mount.clone(), dentry: ptmx.mount.root.clone() };
        let number = format!("{}", pty.number());
        devpts.child(&fs, number.as_bytes()).ok().filter(|path| path.node().is_ok())
    });
    let file = match place {
        Some(path) => open_path(&fs, path, &How::flags(kept & !CLOEXEC)).map_err(Failure::from)?,
        None => OpenFile::new(FileBody::Stream(pty.open_slave()?, None), kept & !CLOEXEC),
    };
    opened(cx, &file, flags);
    descriptor::number(descriptor::install_file(cx, file, kept)?)
}
