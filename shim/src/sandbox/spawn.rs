//! Finding `chitin-vmm` and starting it.
//!
//! `posix_spawn` rather than `std::process::Command`: the control socket must become descriptor 3, which `Command` can
//! only do by running code between `fork` and `exec`, and the C library's version does not copy page tables.
#![expect(unsafe_code, reason = "posix_spawn with file actions has no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

/// Name of the VMM's program.
pub const PROGRAM: &str = "chitin-vmm";
/// Environment variable that overrides where it is.
pub const OVERRIDE: &str = "CHITIN_VMM";
/// Descriptor on which the VMM finds its control socket.
pub(super) const CONTROL_DESCRIPTOR: i32 = 3;

/// Looks for the VMM: `CHITIN_VMM`, then `configured`, then beside this program, then in `PATH`.
#[must_use]
pub fn find(configured: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Some(path.into());
    }
    if let Some(path) = configured {
        return Some(path.to_owned());
    }
    let beside =
        std::env::current_exe().ok().and_then(|own| own.parent().map(|directory| directory.join(PROGRAM)));
    let search = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&search).map(|directory| directory.join(PROGRAM));
    beside.into_iter().chain(in_path).find(|path| path.is_file())
}

/// Starts `program` with `control` as descriptor 3, `/dev/null` as stdin and `output` as stdout and stderr. It gets a
/// session of its own, so that a terminal's signals do not reach it.
///
/// # Errors
/// Whatever `posix_spawn` says, such as `ENOENT` or `EACCES` for the program.
pub(super) fn spawn(
    program: &Path,
    control: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> io::Result<rustix::process::Pid> {
    // A descriptor that is one of the targets would be overwritten by the action before its own.
    let control = rustix::io::fcntl_dupfd_cloexec(control, CONTROL_DESCRIPTOR + 1)?;
    let output = rustix::io::fcntl_dupfd_cloexec(output, CONTROL_DESCRIPTOR + 1)?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let name = CString::new(PROGRAM)?;
    let arguments = [name.as_ptr().cast_mut(), ptr::null_mut()];
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    let environment: Vec<*mut libc::c_char> =
        environment.iter().map(|entry| entry.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
    let mut actions = Actions::new()?;
    actions.open_null()?;
    actions.duplicate(output.as_fd(), 1)?;
    actions.duplicate(output.as_fd(), 2)?;
    actions.duplicate(control.as_fd(), CONTROL_DESCRIPTOR)?;
    let attributes = Attributes::own_session()?;
    let mut pid = 0;
    // SAFETY: every pointer is valid for the call: path and strings are nul-terminated, both arrays end with null, and
    // actions and attributes are initialised.
    let status = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(status)?;
    rustix::process::Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: init writes the whole object when it succeeds, and it is only assumed initialised then.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    fn duplicate(&mut self, from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to) })
    }

    fn open_null(&mut self) -> io::Result<()> {
        // SAFETY: the actions are initialised and the path is a C string, which is copied.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(
                &raw mut self.0,
                0,
                c"/dev/null".as_ptr(),
                libc::O_RDONLY,
                0,
            )
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A new session, no blocked signal, default action for all that this program may have changed.
    fn own_session() -> io::Result<Self> {
        const FLAGS: libc::c_int = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: init writes the whole object when it succeeds, and it is only assumed initialised then.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            Self(attributes.assume_init())
        };
        let flags = libc::c_short::try_from(FLAGS).map_err(io::Error::other)? | libc::POSIX_SPAWN_SETSID;
        // SAFETY: attributes are initialised; the signal sets are initialised before they are used.
        unsafe {
            let mut set = std::mem::MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const set))?;
            for signal in [libc::SIGPIPE, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            check(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const set))?;
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `own_session`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
