//! What the process may still do once a guest runs.
//!
//! | when | what |
//! |---|---|
//! | at start ([`enter`]) | no new privileges, no core dumps, as many descriptors as allowed, umask 0; of the capabilities only those of the file server |
//! | when the file server's thread starts | its seccomp filter; it keeps the capabilities |
//! | when a network card's thread starts | it gives all capabilities up and gets its filter |
//! | when the machine is built, before the guest's first instruction ([`close`]) | the main thread gives all capabilities up and gets its filter; vCPU threads are its children and add their own |
//! | when a thread for block devices starts | it is a child of the main thread and adds its own filter |
//!
//! The file server keeps `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`, `CAP_FOWNER` and `CAP_FSETID`: it acts for
//! users of the guest, whom the sentry has checked, on files of whatever owner, as the root of a container would. It has
//! no `CAP_MKNOD` and no `CAP_SYS_ADMIN`.
//!
//! Namespaces and an empty root belong between [`enter`] and the first request; everything that needs a path
//! (`/dev/kvm`, `/proc/self/fd`) is opened by name in two places only, `kvm::vm::open` and `FileServer::new`.

pub mod capabilities;
pub mod seccomp;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Why the jail could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// A system call failed.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
    /// The filter could not be made or set.
    #[error("cannot set the seccomp filter of {0}: {1}")]
    Filter(&'static str, String),
}

fn failed(what: &'static str) -> impl Fn(rustix::io::Errno) -> JailError {
    move |errno| JailError::System(what, errno.into())
}

/// First measures, at the start of the process.
///
/// # Errors
/// [`JailError::System`].
pub fn enter() -> Result<(), JailError> {
    // Looks for the vDSO now, which takes a file that later cannot be opened.
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let _ = rustix::param::page_size();
    // Modes given by the guest are final.
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed("forbid core dumps"))?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })
        .map_err(failed("raise the limit of open files"))?;
    capabilities::keep_file_server()
}

/// Measures of a thread that serves a network card.
///
/// # Errors
/// [`JailError`].
pub fn close_network(mode: seccomp::Mode) -> Result<(), JailError> {
    capabilities::drop_all()?;
    seccomp::apply(seccomp::Thread::Network, mode)
}

/// Last measures of the main thread, before the guest runs.
///
/// # Errors
/// [`JailError`].
pub fn close(mode: seccomp::Mode) -> Result<(), JailError> {
    capabilities::drop_all()?;
    seccomp::apply(seccomp::Thread::Main, mode)
}
