//! Taking a System V segment out of an address space (shmdt(2)).

use super::area::AreaFlags;
use super::space::{Doomed, Mm};
use crate::fs::OpenFile;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::sleep::Sleeper;

impl Mm {
    /// Unmaps what is left of the segment that was attached at `addr`: the areas of one file for which `is_segment` holds,
    /// each at its place relative to `addr`. Returns the file; `None` when no segment is attached there.
    pub fn detach(
        &self,
        sleeper: &Sleeper,
        addr: UserAddr,
        is_segment: &dyn Fn(&OpenFile) -> bool,
    ) -> Option<Arc<OpenFile>> {
        let base = addr.get();
        let mut doomed = Doomed::default();
        let file = {
            let mut state = self.state.lock();
            let mut found: Option<Arc<OpenFile>> = None;
            let mut end = u64::MAX;
            let mut parts: Vec<(u64, u64)> = Vec::new();
            for (start, area) in state.areas.iter().skip_while(|(start, _)| *start < base) {
                if start >= end {
                    break;
                }
                let Some(range) = area.source.file() else { continue };
                let Some(file) = &range.file else { continue };
                let in_place = (start - base) >> 12 == range.first;
                let same = found.as_ref().map_or_else(|| is_segment(file), |found| Arc::ptr_eq(found, file));
                if !in_place || !same || area.flags.contains(AreaFlags::SEALED) {
                    continue;
                }
                if found.is_none() {
                    found = Some(file.clone());
                    end = base.saturating_add(range.mapping().size());
                }
                parts.push((start, area.end));
            }
            for (from, to) in parts {
                state.unmap(self, from, to, &mut doomed);
            }
            found
        };
        doomed.finish(sleeper);
        file
    }
}
