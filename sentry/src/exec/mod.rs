//! Program images: what execve(2) puts in place of the old one.
//!
//! [`load_image`] builds a new address space from an opened executable and leaves the caller's alone, so that a failure
//! is an error to the old program. `#!` scripts are resolved by the caller, with [`Arguments::interpret`].

mod arguments;
mod elf;
mod image;
pub mod program;
pub mod replace;
mod stack;
#[cfg(test)]
mod tests;

use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::node_state::DenyWrite;
use crate::fs::{NodeKind, OpenFile};
use crate::mm::{AreaFlags, Budget, ImageLayout, Limits, MapRequest, MapSource, Mm, Placement, random_bits};
use crate::platform::{self, Perm};
use crate::security::Creds;
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;
use elf::{Elf, Kind};
use image::{Loaded, Loader, Role};
use stack::Images;

pub use arguments::Arguments;
pub use program::{Program, is_executable, load};

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
    let sleeper = request.sleeper;
    let mapping = mapping_of(request.file)?;
    let elf = Elf::read(sleeper, &mapping)?;
    let interpreter = match &elf.interpreter {
        Some(path) => Some(Interpreter::open(request, path)?),
        None => None,
    };

    let mm = Mm::with(request.budget.clone(), request.limits)?;
    mm.set_map_base(map_base(request));
    let top = stack::map(&mm, request, elf.executable_stack)?;
    let loader = Loader { sleeper, mm: &mm, randomize: request.randomize };
    let role = if interpreter.is_some() { Role::Interpreted } else { Role::Standalone };
    let program = loader.load(&elf, request.file, &mapping, role)?;
    let interpreter = match &interpreter {
        Some(found) => Some(loader.load(&found.elf, &found.file, &found.mapping, Role::Interpreter)?),
        None => None,
    };
    let vdso = map_vdso(sleeper, &mm)?;

    let brk = brk_start(request, &elf, &program, role);
    let mut layout = ImageLayout {
        code: program.code,
        data: program.data,
        brk_start: brk,
        brk,
        vdso,
        executable: Some(request.file.clone()),
        deny_write: request.file.node().map(DenyWrite::new).transpose()?,
        ..ImageLayout::default()
    };
    let images = Images { elf: &elf, program, interpreter, vdso };
    let stack_pointer = stack::fill(&mm, request, &images, top, &mut layout)?;
    mm.set_layout(layout);
    let entry = UserAddr::new(interpreter.map_or(program.entry, |image| image.entry));
    Ok(LoadedImage { mm, entry, stack_pointer })
}

/// An interpreter, opened and read.
struct Interpreter {
    file: Arc<OpenFile>,
    mapping: Arc<Mapping>,
    elf: Elf,
}

impl Interpreter {
    fn open(request: &ImageRequest<'_>, path: &[u8]) -> Result<Self, Errno> {
        let file = (request.open_interpreter)(path)?;
        let mapping = mapping_of(&file)?;
        let elf = Elf::read(request.sleeper, &mapping).map_err(|errno| match errno {
            Errno::ENOEXEC => Errno::ELIBBAD,
            other => other,
        })?;
        Ok(Self { file, mapping, elf })
    }
}

/// The page cache of an executable.
fn mapping_of(file: &OpenFile) -> Result<Arc<Mapping>, Errno> {
    match file.node().map(|node| &node.kind) {
        Some(NodeKind::File(file)) => file.mapping().ok_or(Errno::EACCES),
        _ => Err(Errno::EACCES),
    }
}

/// Top of the space for mappings: below the largest stack there may be, and its random place.
fn map_base(request: &ImageRequest<'_>) -> u64 {
    const STACK_RANDOM: u64 = 16 << 30;
    const GUARD: u64 = 1 << 20;
    let gap = request.limits.stack.saturating_add(STACK_RANDOM + GUARD).clamp(128 << 20, USER_END / 6 * 5);
    let random = match request.randomize {
        Randomize::Full => random_bits(28) << 12,
        Randomize::None => 0,
    };
    (USER_END - gap).saturating_sub(random) & !0xfff
}

/// Lowest program break: after the image, at a random distance. A program that was mapped among the mappings, where there is
/// no room to grow, gets it elsewhere.
fn brk_start(request: &ImageRequest<'_>, elf: &Elf, program: &Loaded, role: Role) -> u64 {
    let alone = elf.kind == Kind::Relocatable && role == Role::Standalone;
    let base = if alone { image::PIE_BASE } else { program.end };
    let random = match request.randomize {
        Randomize::Full => random_bits(13) << 12,
        Randomize::None => 0,
    };
    base.next_multiple_of(4096) + random
}

/// Maps the platform's vDSO image: code first, then the pages that it reads. Returns its start, 0 for none.
fn map_vdso(sleeper: &Sleeper, mm: &Mm) -> Result<u64, Errno> {
    let frames = platform::get().vdso();
    if frames.is_empty() {
        return Ok(0);
    }
    let at = mm.map(
        sleeper,
        &MapRequest {
            addr: UserAddr::NULL,
            len: (frames.len() as u64) << 12,
            perm: Perm::READ | Perm::EXECUTE,
            placement: Placement::Hint,
            flags: AreaFlags::VDSO,
            source: MapSource::Frames(frames),
        },
    )?;
    Ok(at.get())
}
