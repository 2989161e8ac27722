//! The initial stack: strings, auxiliary vector, pointers (Linux: `create_elf_tables`, System V ABI for x86-64, 3.4.1).
//!
//! ```text
//! top      8 bytes of zero
//!          path given to execve
//!          environment strings, argument strings
//!          (random gap)
//!          "x86_64"
//!          16 random bytes
//!          auxiliary vector
//!          environment pointers, 0
//!          argument pointers, 0
//! rsp  ->  argc
//! ```

use super::elf::{Elf, ExecutableStack, HEADER_SIZE};
use super::image::Loaded;
use super::{ImageRequest, Randomize};
use crate::abi::Errno;
use crate::mm::{AreaFlags, ImageLayout, MapRequest, MapSource, Mm, Placement, random_bits};
use crate::platform::{self, Perm};
use crate::user::UserAddr;
use alloc::vec::Vec;
use chitin_core::once::Once;
use chitin_proto::layout::USER_END;

/// Mapped below the strings at first; the rest grows.
const INITIAL_ROOM: u64 = 128 << 10;
const PLATFORM: &[u8] = b"x86_64\0";

/// Program, and interpreter if there is one, mapped.
pub(super) struct Images<'a> {
    pub(super) elf: &'a Elf,
    pub(super) program: Loaded,
    pub(super) interpreter: Option<Loaded>,
    /// Start of the vDSO image, 0 for none.
    pub(super) vdso: u64,
}

/// Maps the stack area; returns its top.
pub(super) fn map(mm: &Mm, request: &ImageRequest<'_>, stack: ExecutableStack) -> Result<u64, Errno> {
    let random = match request.randomize {
        Randomize::Full => random_bits(22) << 12,
        Randomize::None => 0,
    };
    let top = USER_END - random;
    let pointers = (request.arguments.argument_count() + request.arguments.environment_count() + 64) * 8;
    let strings = request.arguments.byte_len() + request.exec_name.len();
    // 8 KiB for the random gap, and what the vector needs.
    let len = ((strings + pointers) as u64 + 16384 + INITIAL_ROOM).next_multiple_of(4096);
    let mut perm = Perm::READ | Perm::WRITE;
    perm.set(Perm::EXECUTE, stack == ExecutableStack::Yes);
    mm.map(
        request.sleeper,
        &MapRequest {
            addr: UserAddr::new(top - len),
            len,
            perm,
            placement: Placement::FixedNoReplace,
            flags: AreaFlags::GROWS_DOWN,
            source: MapSource::Anonymous,
        },
    )?;
    Ok(top)
}

/// Fills the stack below `top`; returns the stack pointer and records where the strings are.
pub(super) fn fill(
    mm: &Mm,
    request: &ImageRequest<'_>,
    images: &Images<'_>,
    top: u64,
    layout: &mut ImageLayout,
) -> Result<UserAddr, Errno> {
    let arguments = request.arguments;
    let sleeper = request.sleeper;
    let write = |at: u64, bytes: &[u8]| mm.write_remote(sleeper, UserAddr::new(at), bytes);
    let mut at = top - 8 - (request.exec_name.len() as u64 + 1);
    let exec_name = at;
    write(at, request.exec_name)?;
    at -= arguments.byte_len() as u64;
    let strings = at;
    let mut cursor = strings;
    arguments.for_each_piece(|piece| {
        write(cursor, piece)?;
        cursor += piece.len() as u64;
        Ok(())
    })?;
    layout.arguments = (strings, strings + arguments.argument_len() as u64);
    layout.environment = (layout.arguments.1, exec_name);
    if request.randomize == Randomize::Full {
        at -= random_bits(13);
    }
    at &= !0xf;
    at -= PLATFORM.len() as u64;
    let platform_name = at;
    write(at, PLATFORM)?;
    at = (at - 16) & !0xf;
    let random = at;
    let mut seed = [0; 16];
    platform::get().entropy(&mut seed);
    write(at, &seed)?;

    let auxv = auxiliary_vector(request, images, exec_name, platform_name, random);
    let (argc, envc) = (arguments.argument_count() as u64, arguments.environment_count() as u64);
    let words = 1 + argc + 1 + envc + 1 + auxv.len() as u64 * 2;
    let stack_pointer = (at - words * 8) & !0xf;

    let mut words = Words { write: &write, at: stack_pointer, buffer: Vec::with_capacity(512) };
    words.push(argc)?;
    let (mut count, mut at, mut at_start) = (0, strings, true);
    if argc == 0 {
        words.push(0)?;
    }
    arguments.for_each_piece(|piece| {
        for byte in piece {
            if at_start {
                words.push(at)?;
                count += 1;
            }
            at_start = *byte == 0;
            at += 1;
            // The terminator of the arguments comes after the last one's pointer.
            if at_start && count == argc {
                words.push(0)?;
                count += 1;
            }
        }
        Ok(())
    })?;
    words.push(0)?;
    let vector = words.at + words.buffer.len() as u64;
    layout.auxv = (vector, vector + auxv.len() as u64 * 16);
    for (key, value) in auxv {
        words.push(key)?;
        words.push(value)?;
    }
    words.flush()?;
    layout.stack_start = stack_pointer;
    Ok(UserAddr::new(stack_pointer))
}

/// Writes bytes at an address.
type Write<'a> = dyn Fn(u64, &[u8]) -> Result<(), Errno> + 'a;

/// Writes words one after the other, a page at a time.
struct Words<'a> {
    write: &'a Write<'a>,
    at: u64,
    buffer: Vec<u8>,
}

impl Words<'_> {
    fn push(&mut self, word: u64) -> Result<(), Errno> {
        self.buffer.extend_from_slice(&word.to_le_bytes());
        if self.buffer.len() >= 512 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Errno> {
        (self.write)(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn auxiliary_vector(
    request: &ImageRequest<'_>,
    images: &Images<'_>,
    exec_name: u64,
    platform_name: u64,
    random: u64,
) -> Vec<(u64, u64)> {
    let creds = request.creds;
    let program = &images.program;
    let mut auxv = Vec::with_capacity(22);
    if images.vdso != 0 {
        auxv.push((33, images.vdso)); // AT_SYSINFO_EHDR
    }
    auxv.extend([
        (51, platform::get().xstate_layout().0 as u64 + 1024), // AT_MINSIGSTKSZ
        (16, hardware_capabilities()),                         // AT_HWCAP
        (6, 4096),                                             // AT_PAGESZ
        (17, 100),                                             // AT_CLKTCK
        (3, program.bias.wrapping_add(images.elf.headers)),    // AT_PHDR
        (4, HEADER_SIZE),                                      // AT_PHENT
        (5, images.elf.header_count),                          // AT_PHNUM
        (7, images.interpreter.map_or(0, |image| image.bias)), // AT_BASE
        (8, 0),                                                // AT_FLAGS
        (9, program.entry),                                    // AT_ENTRY
        (11, u64::from(creds.uid)),                            // AT_UID
        (12, u64::from(creds.euid)),                           // AT_EUID
        (13, u64::from(creds.gid)),                            // AT_GID
        (14, u64::from(creds.egid)),                           // AT_EGID
        (23, u64::from(request.secure)),                       // AT_SECURE
        (25, random),                                          // AT_RANDOM
        (26, 0),                                               // AT_HWCAP2
        (31, exec_name),                                       // AT_EXECFN
        (15, platform_name),                                   // AT_PLATFORM
        (0, 0),                                                // AT_NULL
    ]);
    auxv
}

/// `AT_HWCAP`: CPUID leaf 1, EDX. Asked once: the instruction leaves the VM.
fn hardware_capabilities() -> u64 {
    static VALUE: Once<u64> = Once::new();
    if VALUE.get().is_none() {
        VALUE.set(u64::from(core::arch::x86_64::__cpuid(1).edx));
    }
    VALUE.get().copied().unwrap_or(0)
}
