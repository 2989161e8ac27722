//! What a file's mapping asks of the address spaces that map it.

use super::area::Source;
use super::space::{Doomed, Mm, pages};
use crate::cache::{Copies, Mapper, Mapping, PageRange};
use crate::user::UserAddr;

impl Mapper for Mm {
    fn unmap_pages(&self, mapping: &Mapping, range: PageRange, copies: Copies) {
        let mut doomed = Doomed::default();
        let mut state = self.state.lock();
        let state = &mut *state;
        for (start, area) in state.areas.iter() {
            let Some((from, to)) = addresses(start, area.end, &area.source, mapping, range) else { continue };
            if copies == Copies::Drop && !area.source.is_shared() {
                doomed.pages.push(state.index.remove(from >> 12, to >> 12));
            }
            self.space.unmap(UserAddr::new(from), pages(from, to));
        }
        // `doomed` was declared first, so it is dropped after the lock.
    }

    fn protect_pages(&self, mapping: &Mapping, range: PageRange) {
        let state = self.state.lock();
        for (start, area) in state.areas.iter().filter(|(_, area)| area.source.is_shared()) {
            if let Some((from, to)) = addresses(start, area.end, &area.source, mapping, range) {
                self.space.write_protect(UserAddr::new(from), pages(from, to));
            }
        }
    }
}

/// Where the pages of `range` lie in an area, if it maps any of them.
fn addresses(
    start: u64,
    end: u64,
    source: &Source,
    mapping: &Mapping,
    range: PageRange,
) -> Option<(u64, u64)> {
    let file = source.file().filter(|file| core::ptr::eq(&**file.mapping(), mapping))?;
    let last = file.first + ((end - start) >> 12);
    let (from, to) = (range.from.max(file.first), range.to.min(last));
    (from < to).then(|| (start + ((from - file.first) << 12), start + ((to - file.first) << 12)))
}
