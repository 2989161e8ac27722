//! What proc tells of an address space.

use super::Mm;
use crate::fs::OpenFile;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;

/// Sizes and places, as proc(5) tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages of all areas.
    pub virtual_pages: u64,
    /// Most pages of all areas so far.
    pub virtual_peak_pages: u64,
    /// Pages present.
    pub resident_pages: u64,
    /// Most pages present so far.
    pub resident_peak_pages: u64,
    /// Pages present that belong to files or shared memory.
    pub shared_pages: u64,
    /// Pages of private writable areas.
    pub data_pages: u64,
    /// Pages of the stack.
    pub stack_pages: u64,
    /// Pages locked.
    pub locked_pages: u64,
    /// First byte and end of the program's code.
    pub code: (u64, u64),
    /// First byte and end of its data.
    pub data: (u64, u64),
    /// Where the heap of brk(2) begins.
    pub brk_start: u64,
    /// Stack pointer at the start.
    pub stack_start: u64,
    /// First byte and end of the argument strings.
    pub arguments: (u64, u64),
    /// First byte and end of the environment strings.
    pub environment: (u64, u64),
}

/// One area, as `/proc/PID/maps` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaInfo {
    /// First byte.
    pub start: u64,
    /// End.
    pub end: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Device of the file.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
    /// Path of the file, `[heap]`, `[stack]`, `[vdso]`, or nothing.
    pub name: Vec<u8>,
    /// Pages present.
    pub resident_pages: u64,
}

impl Mm {
    /// Sizes and places.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// All areas, ascending.
    #[must_use]
    pub fn areas(&self) -> Vec<AreaInfo> {
        Vec::new()
    }

    /// The auxiliary vector that the program was started with.
    #[must_use]
    pub fn auxv(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The program's file.
    #[must_use]
    pub fn exe(&self) -> Option<Arc<OpenFile>> {
        None
    }

    /// Reads memory of a process that need not be the caller's; returns the bytes read before the first that cannot be.
    pub fn read_remote(&self, sleeper: &Sleeper, from: UserAddr, to: &mut [u8]) -> usize {
        let user = crate::user::UserMemory { mm: self, sleeper };
        let mut done = 0;
        for part in to.chunks_mut(4096) {
            let Some(at) = from.checked_add(done as u64) else { break };
            if user.read_bytes(at, part).is_err() {
                break;
            }
            done += part.len();
        }
        done
    }
}
