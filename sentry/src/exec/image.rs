//! Mapping the segments of an ELF image.

use super::Randomize;
use super::elf::{Elf, Kind, Segment};
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::OpenFile;
use crate::mm::{AreaFlags, MapRequest, MapSource, Mm, Placement, random_bits};
use crate::platform::Perm;
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use chitin_proto::layout::USER_END;

/// Where position-independent programs with an interpreter go (Linux: `ELF_ET_DYN_BASE`).
pub(super) const PIE_BASE: u64 = 0x5555_5555_4000;

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The program itself; it has an interpreter.
    Interpreted,
    /// The program itself, alone.
    Standalone,
    /// The interpreter of one.
    Interpreter,
}

/// A mapped image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    /// Added to every address that the file names.
    pub(super) bias: u64,
    pub(super) entry: u64,
    /// First byte and end of code, of initialised data.
    pub(super) code: (u64, u64),
    pub(super) data: (u64, u64),
    /// End of everything.
    pub(super) end: u64,
}

/// Maps an image.
pub(super) struct Loader<'a> {
    pub(super) sleeper: &'a Sleeper,
    pub(super) mm: &'a Mm,
    pub(super) randomize: Randomize,
}

impl Loader<'_> {
    /// Maps all segments of `elf`.
    ///
    /// # Errors
    /// `ENOMEM`, `EEXIST` and `EPERM` when it cannot be where it must, `EFAULT` when the tail of its data cannot be read.
    pub(super) fn load(
        &self,
        elf: &Elf,
        file: &Arc<OpenFile>,
        mapping: &Arc<Mapping>,
        role: Role,
    ) -> Result<Loaded, Errno> {
        let (low, high) = elf.extent();
        let bias = match elf.kind {
            Kind::Fixed => 0,
            Kind::Relocatable => self.base(elf, role, high - low)?.wrapping_sub(low),
        };
        let mut loaded =
            Loaded { bias, entry: bias.wrapping_add(elf.entry), code: (0, 0), data: (0, 0), end: 0 };
        if loaded.entry >= USER_END {
            return Err(Errno::ENOEXEC);
        }
        for segment in &elf.segments {
            let start = bias.checked_add(segment.vaddr).filter(|at| *at < USER_END).ok_or(Errno::ENOMEM)?;
            self.map_file(segment, start, file, mapping)?;
            self.map_rest(segment, start)?;
            let file_end = start + segment.file_size;
            if segment.perm.contains(Perm::EXECUTE) {
                loaded.code.0 = if loaded.code.0 == 0 { start } else { loaded.code.0.min(start) };
                loaded.code.1 = loaded.code.1.max(file_end);
            }
            if segment.perm.contains(Perm::WRITE) || loaded.data.0 == 0 {
                loaded.data = (start, file_end);
            }
            loaded.end = loaded.end.max(start + segment.memory_size);
        }
        Ok(loaded)
    }

    /// Chooses where a relocatable image goes.
    fn base(&self, elf: &Elf, role: Role, len: u64) -> Result<u64, Errno> {
        if role == Role::Interpreted {
            let random = match self.randomize {
                Randomize::Full => random_bits(28) << 12,
                Randomize::None => 0,
            };
            return Ok((PIE_BASE + random) & !(elf.align - 1));
        }
        self.mm.find_space(len, elf.align).map(UserAddr::get)
    }

    fn map_file(
        &self,
        segment: &Segment,
        start: u64,
        file: &Arc<OpenFile>,
        mapping: &Arc<Mapping>,
    ) -> Result<(), Errno> {
        if segment.file_size == 0 {
            return Ok(());
        }
        let within = start % 4096;
        let request = MapRequest {
            addr: UserAddr::new(start - within),
            len: segment.file_size + within,
            perm: segment.perm,
            placement: Placement::FixedNoReplace,
            flags: AreaFlags::default(),
            source: MapSource::Private {
                mapping: mapping.clone(),
                first: (segment.offset - within) >> 12,
                file: Some(file.clone()),
            },
        };
        match self.mm.map(self.sleeper, &request) {
            Ok(_) => Ok(()),
            // Segments of one file may share a page; the later one wins, as under Linux.
            Err(Errno::EEXIST) => {
                let request = MapRequest { placement: Placement::Fixed, ..request };
                self.mm.map(self.sleeper, &request).map(drop)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Zeroes the tail of the last file page and maps zero pages after it.
    fn map_rest(&self, segment: &Segment, start: u64) -> Result<(), Errno> {
        let file_end = start + segment.file_size;
        let end = (start + segment.memory_size).next_multiple_of(4096);
        let from = if segment.file_size == 0 { start & !0xfff } else { file_end.next_multiple_of(4096) };
        if segment.memory_size > segment.file_size
            && segment.file_size > 0
            && segment.perm.contains(Perm::WRITE)
        {
            self.mm.zero_remote(self.sleeper, UserAddr::new(file_end), from - file_end)?;
        }
        if end > from {
            let request = MapRequest {
                addr: UserAddr::new(from),
                len: end - from,
                perm: segment.perm,
                placement: Placement::Fixed,
                flags: AreaFlags::default(),
                source: MapSource::Anonymous,
            };
            self.mm.map(self.sleeper, &request)?;
        }
        Ok(())
    }
}
