//! What proc tells of an address space.

use super::area::{Area, AreaFlags, Source};
use super::{ImageLayout, Mm};
use crate::fs::OpenFile;
use crate::platform::Perm;
use crate::user::UserAddr;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
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
#[derive(Clone)]
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
    /// The file that is mapped.
    pub file: Option<Arc<OpenFile>>,
    /// `[heap]`, `[stack]`, `[vdso]`, or nothing; [`AreaInfo::file`] names itself.
    pub name: Vec<u8>,
    /// Pages present.
    pub resident_pages: u64,
    /// Those of them that are no file's and not shared.
    pub private_pages: u64,
    /// It is locked in memory.
    pub locked: bool,
    /// `VmFlags` of `/proc/PID/smaps`.
    pub flags: String,
}

impl Mm {
    /// Sizes and places.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        let layout = &state.layout;
        let sum = |wanted: &dyn Fn(&Area) -> bool| {
            state
                .areas
                .iter()
                .filter(|(_, area)| wanted(area))
                .map(|(start, area)| (area.end - start) >> 12)
                .sum()
        };
        let shared = state.areas.iter().map(|(start, area)| resident_of_file(start, area)).sum::<u64>();
        let resident = state.index.resident() + shared;
        Usage {
            virtual_pages: state.areas.total() >> 12,
            virtual_peak_pages: state.areas.peak() >> 12,
            resident_pages: resident,
            resident_peak_pages: state.index.peak().max(resident),
            shared_pages: shared,
            data_pages: sum(&Area::is_data),
            stack_pages: sum(&|area| area.flags.contains(AreaFlags::GROWS_DOWN)),
            locked_pages: state.locked >> 12,
            code: layout.code,
            data: layout.data,
            brk_start: layout.brk_start,
            stack_start: layout.stack_start,
            arguments: layout.arguments,
            environment: layout.environment,
        }
    }

    /// All areas, ascending.
    #[must_use]
    pub fn areas(&self) -> Vec<AreaInfo> {
        let state = self.state.lock();
        let layout = &state.layout;
        let info = |(start, area): (u64, &Area)| {
            let range = area.source.file();
            let heap = start < layout.brk.next_multiple_of(4096) && area.end > layout.brk_start;
            let stack = (start..area.end).contains(&layout.stack_start);
            let name: &[u8] = match &area.source {
                Source::Anonymous if heap => b"[heap]",
                Source::Anonymous if stack => b"[stack]",
                Source::Frames(_) if area.flags.contains(AreaFlags::VDSO) => b"[vdso]",
                Source::Shared(range) if range.file.is_none() => b"/dev/zero (deleted)",
                _ => b"",
            };
            let private = state.index.resident_in(start >> 12, area.end >> 12);
            AreaInfo {
                start,
                end: area.end,
                read: area.perm.contains(Perm::READ),
                write: area.perm.contains(Perm::WRITE),
                execute: area.perm.contains(Perm::EXECUTE),
                shared: area.source.is_shared(),
                offset: range.map_or(0, |range| range.first << 12),
                file: range.and_then(|range| range.file.clone()),
                name: name.to_vec(),
                resident_pages: private + resident_of_file(start, area),
                private_pages: private,
                locked: area.flags.contains(AreaFlags::LOCKED),
                flags: flag_names(area),
            }
        };
        state.areas.iter().map(info).collect()
    }

    /// The auxiliary vector that the program was started with.
    pub fn auxv(&self, sleeper: &Sleeper) -> Vec<u64> {
        let (from, to) = self.state.lock().layout.auxv;
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0).min(4096)];
        let read = self.read_remote(sleeper, UserAddr::new(from), &mut bytes);
        bytes.truncate(read);
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }

    /// The program's file.
    #[must_use]
    pub fn exe(&self) -> Option<Arc<OpenFile>> {
        self.state.lock().layout.executable.clone()
    }

    /// Where the parts of the program image are.
    #[must_use]
    pub fn layout(&self) -> ImageLayout {
        self.state.lock().layout.clone()
    }

    /// Sets where the parts of the program image are.
    pub fn set_layout(&self, layout: ImageLayout) {
        let old = core::mem::replace(&mut self.state.lock().layout, layout);
        drop(old);
    }
}

/// `VmFlags` (proc_pid_smaps(5)): two letters and a blank each.
fn flag_names(area: &Area) -> String {
    let (perm, flags) = (area.perm, area.flags);
    let shared = area.source.is_shared();
    let may_write = flags.contains(AreaFlags::MAY_WRITE) || !shared;
    let accounted = !shared && perm.contains(Perm::WRITE) && !flags.contains(AreaFlags::NO_RESERVE);
    let names = [
        (perm.contains(Perm::READ), "rd "),
        (perm.contains(Perm::WRITE), "wr "),
        (perm.contains(Perm::EXECUTE), "ex "),
        (shared, "sh "),
        (true, "mr "),
        (may_write, "mw "),
        (true, "me "),
        (shared, "ms "),
        (flags.contains(AreaFlags::GROWS_DOWN), "gd "),
        (flags.contains(AreaFlags::LOCKED), "lo "),
        (flags.contains(AreaFlags::SEQUENTIAL), "sr "),
        (flags.contains(AreaFlags::RANDOM), "rr "),
        (flags.contains(AreaFlags::DONT_FORK), "dc "),
        (accounted, "ac "),
        (flags.contains(AreaFlags::NO_RESERVE), "nr "),
        (flags.contains(AreaFlags::WIPE_ON_FORK), "wf "),
        (flags.contains(AreaFlags::DONT_DUMP), "dd "),
        (flags.contains(AreaFlags::HUGE), "hg "),
        (flags.contains(AreaFlags::NO_HUGE), "nh "),
        (flags.contains(AreaFlags::SEALED), "sl "),
    ];
    names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect()
}

/// Pages of the file behind an area that are in the cache. The space maps them when they are touched.
fn resident_of_file(start: u64, area: &Area) -> u64 {
    area.source.file().map_or(0, |range| {
        let pages = (area.end - start) >> 12;
        range.mapping().resident_in(range.first, range.first + pages)
    })
}
