//! Reading ELF headers (elf(5)). The file is hostile: every number is checked before it is used.

use crate::abi::Errno;
use crate::cache::Mapping;
use crate::platform::Perm;
use crate::user::IoWriter;
use crate::wait::Stop;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Most program headers that are read (Linux: 64 KiB of them).
const MAX_HEADERS: usize = 1170;
/// Longest path of an interpreter with its null byte.
const MAX_PATH: u64 = 4096;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    class: u8,
    data: u8,
    ident: [u8; 10],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    headers: u64,
    sections: u64,
    flags: u32,
    size: u16,
    header_size: u16,
    header_count: u16,
    section_size: u16,
    section_count: u16,
    section_names: u16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// Where an image wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// At the addresses it names (`ET_EXEC`).
    Fixed,
    /// Anywhere (`ET_DYN`).
    Relocatable,
}

/// A `PT_LOAD` segment, checked: offset and address agree modulo the page size, nothing overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) vaddr: u64,
    pub(super) offset: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
    pub(super) perm: Perm,
}

/// What the loader needs of an ELF file.
#[derive(Clone, Debug)]
pub(super) struct Elf {
    pub(super) kind: Kind,
    pub(super) entry: u64,
    /// In ascending order of addresses, not empty.
    pub(super) segments: Vec<Segment>,
    /// Largest alignment of a segment, a power of two.
    pub(super) align: u64,
    /// Address of the program headers as the image names it, unrelocated.
    pub(super) headers: u64,
    pub(super) header_count: u64,
    pub(super) interpreter: Option<Vec<u8>>,
    pub(super) executable_stack: ExecutableStack,
}

/// What `PT_GNU_STACK` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExecutableStack {
    No,
    Yes,
}

/// Size of one program header: `AT_PHENT`.
pub(super) const HEADER_SIZE: u64 = size_of::<ProgramHeader>() as u64;

impl Elf {
    /// Reads the headers of the file behind `mapping`.
    ///
    /// # Errors
    /// `ENOEXEC` for anything that is not a 64-bit x86 executable, `EIO`.
    pub(super) fn read(sleeper: &Sleeper, mapping: &Mapping) -> Result<Self, Errno> {
        let mut header = FileHeader::new_zeroed();
        read_exactly(sleeper, mapping, 0, header.as_mut_bytes())?;
        let kind = match header.kind {
            2 => Kind::Fixed,
            3 => Kind::Relocatable,
            _ => return Err(Errno::ENOEXEC),
        };
        let count = usize::from(header.header_count);
        let known = header.magic == *b"\x7fELF"
            && header.class == 2
            && header.data == 1
            && header.machine == 62
            && u64::from(header.header_size) == HEADER_SIZE
            && (1..=MAX_HEADERS).contains(&count);
        if !known {
            return Err(Errno::ENOEXEC);
        }
        let mut headers = vec![ProgramHeader::new_zeroed(); count];
        read_exactly(sleeper, mapping, header.headers, headers.as_mut_slice().as_mut_bytes())?;
        let segments = segments(&headers)?;
        let interpreter = match headers.iter().find(|header| header.kind == PT_INTERP) {
            Some(header) => Some(interpreter(sleeper, mapping, header)?),
            None => None,
        };
        let stack = headers.iter().rev().find(|header| header.kind == PT_GNU_STACK);
        let executable_stack = match stack {
            Some(header) if header.flags & 1 == 0 => ExecutableStack::No,
            Some(_) => ExecutableStack::Yes,
            None => ExecutableStack::No,
        };
        Ok(Self {
            kind,
            entry: header.entry,
            align: alignment(&headers),
            headers: headers_address(&header, &headers),
            header_count: u64::from(header.header_count),
            segments,
            interpreter,
            executable_stack,
        })
    }

    /// First address and end of all segments, in whole pages.
    pub(super) fn extent(&self) -> (u64, u64) {
        let low = self.segments.iter().map(|segment| segment.vaddr & !0xfff).min().unwrap_or(0);
        let high = self.segments.iter().map(|segment| segment.vaddr + segment.memory_size).max().unwrap_or(0);
        (low, high.next_multiple_of(4096))
    }
}

fn segments(headers: &[ProgramHeader]) -> Result<Vec<Segment>, Errno> {
    let mut segments = Vec::new();
    for header in headers.iter().filter(|header| header.kind == PT_LOAD) {
        let end = header.vaddr.checked_add(header.memory_size);
        let sound = header.file_size <= header.memory_size
            && end.is_some_and(|end| end <= USER_END - 4096)
            && header.offset.checked_add(header.file_size).is_some_and(|end| end < 1 << 62)
            && header.offset % 4096 == header.vaddr % 4096;
        if !sound {
            return Err(Errno::ENOEXEC);
        }
        if header.memory_size == 0 {
            continue;
        }
        let mut perm = Perm::empty();
        perm.set(Perm::READ, header.flags & 4 != 0);
        perm.set(Perm::WRITE, header.flags & 2 != 0);
        perm.set(Perm::EXECUTE, header.flags & 1 != 0);
        segments.push(Segment {
            vaddr: header.vaddr,
            offset: header.offset,
            file_size: header.file_size,
            memory_size: header.memory_size,
            perm,
        });
    }
    segments.sort_by_key(|segment| segment.vaddr);
    if segments.is_empty() { Err(Errno::ENOEXEC) } else { Ok(segments) }
}

fn alignment(headers: &[ProgramHeader]) -> u64 {
    let loads = headers.iter().filter(|header| header.kind == PT_LOAD);
    let aligns = loads.map(|header| header.align).filter(|align| align.is_power_of_two());
    aligns.max().unwrap_or(4096).clamp(4096, 1 << 30)
}

/// Where the program sees its own headers: in the segment that holds their bytes, or where `PT_PHDR` says.
fn headers_address(file: &FileHeader, headers: &[ProgramHeader]) -> u64 {
    let named = headers.iter().find(|header| header.kind == PT_PHDR).map(|header| header.vaddr);
    let holds = |header: &&ProgramHeader| {
        header.kind == PT_LOAD
            && (header.offset..header.offset.saturating_add(header.file_size)).contains(&file.headers)
    };
    let held = headers.iter().find(holds);
    named
        .or_else(|| held.and_then(|header| header.vaddr.checked_add(file.headers - header.offset)))
        .unwrap_or(0)
}

fn interpreter(sleeper: &Sleeper, mapping: &Mapping, header: &ProgramHeader) -> Result<Vec<u8>, Errno> {
    if !(2..=MAX_PATH).contains(&header.file_size) {
        return Err(Errno::ENOEXEC);
    }
    let len = usize::try_from(header.file_size).map_err(|_| Errno::ENOEXEC)?;
    let mut path = vec![0; len];
    read_exactly(sleeper, mapping, header.offset, &mut path)?;
    if path.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    // Like Linux, which takes it as a string.
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    path.truncate(end);
    Ok(path)
}

fn read_exactly(sleeper: &Sleeper, mapping: &Mapping, offset: u64, to: &mut [u8]) -> Result<(), Errno> {
    let len = to.len();
    let mut done = 0;
    while done < len {
        let at = offset.checked_add(done as u64).ok_or(Errno::ENOEXEC)?;
        let part = to.get_mut(done..).unwrap_or_default();
        match mapping.read(sleeper, at, &mut IoWriter::kernel(part)) {
            Ok(0) => return Err(Errno::ENOEXEC),
            Ok(read) => done += read,
            Err(Stop::Errno(errno)) => return Err(errno),
            Err(Stop::WouldBlock | Stop::Fault(_)) => return Err(Errno::EIO),
        }
    }
    Ok(())
}
