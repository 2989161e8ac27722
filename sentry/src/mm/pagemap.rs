//! What `/proc/PID/pagemap` tells of pages (`Documentation/admin-guide/mm/pagemap.rst` of Linux).

use super::Mm;
use super::area::Source;

/// The page is in memory.
const PRESENT: u64 = 1 << 63;
/// It is a file's, or shared.
const OF_FILE: u64 = 1 << 61;
/// Only this address space has it.
const EXCLUSIVE: u64 = 1 << 56;

impl Mm {
    /// Entries of the pages from number `first` on, 0 where nothing is in memory. Frame numbers are not told, as to who has not
    /// `CAP_SYS_ADMIN`; soft-dirty bits are not kept. Looks at no more pages than `to` has room for.
    pub fn page_map(&self, first: u64, to: &mut [u64]) {
        to.fill(0);
        let last = first.saturating_add(to.len() as u64);
        let (from, until) = (first.saturating_mul(4096), last.saturating_mul(4096));
        let state = self.state.lock();
        for (start, area) in state.areas.overlapping(from, until) {
            for at in (start.max(from)..area.end.min(until)).step_by(4096) {
                let own = !area.source.is_shared() && state.index.get(at >> 12).is_some();
                let cached = || match area.source.file() {
                    Some(file) => {
                        let page = area.file_page(start, at);
                        file.mapping().resident_in(page, page + 1) > 0
                    }
                    None => matches!(area.source, Source::Frames(_)),
                };
                let entry = match own {
                    true => PRESENT | EXCLUSIVE,
                    false if cached() => PRESENT | OF_FILE,
                    false => 0,
                };
                if let Some(slot) =
                    usize::try_from((at >> 12) - first).ok().and_then(|index| to.get_mut(index))
                {
                    *slot = entry;
                }
            }
        }
    }
}
