//! Descriptors that the shim leaves open for this process.

#![expect(unsafe_code, reason = "takes over a descriptor by number")]

use rustix::net::sockopt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the control socket.
const CONTROL: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the control socket over. To be called once, before anything else is opened.
///
/// # Errors
/// When descriptor 3 is not a stream socket, or is taken already.
pub fn control_socket() -> io::Result<OwnedFd> {
    let wrong =
        |what: &str| io::Error::other(format!("descriptor 3 {what}; chitin-vmm is started by the shim"));
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(wrong("is taken"));
    }
    // SAFETY: F_GETFD takes no pointer; a bad number is an error.
    if unsafe { libc::fcntl(CONTROL, libc::F_GETFD) } < 0 {
        return Err(wrong("is not open"));
    }
    // SAFETY: it is open, and taken only once; nothing else in the process knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(CONTROL) };
    match sockopt::socket_type(&socket) {
        Ok(rustix::net::SocketType::STREAM) => {}
        _ => return Err(wrong("is not a stream socket")),
    }
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}
