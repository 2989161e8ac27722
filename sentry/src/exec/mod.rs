//! Program images: what execve(2) puts in place of the old one.
//!
//! [`load_image`] builds a new address space from an opened executable and leaves the caller's alone, so that a failure
//! is an error to the old program. `#!` scripts are resolved by the caller, with [`Arguments::interpret`].

mod arguments;

use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::mm::{Budget, Limits, Mm};
use crate::security::Creds;
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;

pub use arguments::Arguments;

/// Opens a program interpreter (`PT_INTERP`) by its path, for execution: checks the permission to execute.
pub type OpenInterpreter<'a> = &'a dyn Fn(&[u8]) -> Result<Arc<OpenFile>, Errno>;

/// Where things are put in a new address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Randomize {
    /// At random places.
    Full,
    /// At fixed places (`ADDR_NO_RANDOMIZE`).
    None,
}

/// What [`load_image`] needs.
pub struct ImageRequest<'a> {
    /// The capability to sleep while pages are read.
    pub sleeper: &'a Sleeper,
    /// The executable, opened for execution.
    pub file: &'a Arc<OpenFile>,
    /// Opens the interpreter that the executable names.
    pub open_interpreter: OpenInterpreter<'a>,
    /// Argument and environment strings.
    pub arguments: &'a Arguments,
    /// The path given to execve(2): `AT_EXECFN`.
    pub exec_name: &'a [u8],
    /// Credentials after the call: `AT_UID`, `AT_EUID`, `AT_GID`, `AT_EGID`.
    pub creds: &'a Creds,
    /// `AT_SECURE`: the call raised privileges.
    pub secure: bool,
    /// Address space randomization.
    pub randomize: Randomize,
    /// Limits of the new address space.
    pub limits: Limits,
    /// Pays for its pages.
    pub budget: Arc<Budget>,
}

/// A program ready to run.
pub struct LoadedImage {
    /// Its address space.
    pub mm: Arc<Mm>,
    /// First instruction: of the interpreter if there is one.
    pub entry: UserAddr,
    /// Initial stack pointer, at `argc`.
    pub stack_pointer: UserAddr,
}

/// Builds the address space of an ELF executable (execve(2), elf(5)).
///
/// # Errors
/// `ENOEXEC` for anything that is not an x86-64 ELF executable, `ENOMEM`, `E2BIG` when the strings leave no room on the
/// stack, `EACCES` when the file is not a regular one, `ELIBBAD` for a broken interpreter, what opening the interpreter
/// gives (`ENOENT`, `EACCES`), `EIO`.
pub fn load_image(request: &ImageRequest<'_>) -> Result<LoadedImage, Errno> {
    let _ = request;
    Err(Errno::ENOEXEC)
}
