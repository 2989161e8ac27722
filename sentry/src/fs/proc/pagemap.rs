//! `/proc/PID/pagemap`: a word for each page of the address space.

use super::process::check_seen;
use super::source::ProcTask;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::node::OpenState;
use crate::fs::{FileNode, FsCx, OpenFile};
use crate::mm::Mm;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::boxed::Box;
use alloc::sync::Arc;
use chitin_proto::layout::USER_END;
use core::any::Any;
use zerocopy::IntoBytes;

/// Words made at once.
const PIECE: usize = 64;

/// See the module.
pub(super) struct PageMap(pub(super) Arc<dyn ProcTask>);

/// The address space as of open(2).
struct Opened(Option<Arc<Mm>>);

impl FileNode for PageMap {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        None
    }

    fn open(&self, cx: &FsCx<'_>, _flags: u32) -> Result<OpenState, Errno> {
        check_seen(&*self.0, cx)?;
        Ok(Some(Box::new(Opened(self.0.mm()))))
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        let Some(mm) = file.state::<Opened>().and_then(|opened| opened.0.as_ref()) else { return Ok(0) };
        if !offset.is_multiple_of(8) || !to.remaining().is_multiple_of(8) {
            return Err(Errno::EINVAL.into());
        }
        let end = USER_END >> 12;
        let (mut page, mut done) = (offset / 8, 0);
        let mut words = [0; PIECE];
        while to.remaining() > 0 && page < end {
            let left = usize::try_from(end - page).unwrap_or(usize::MAX);
            let part = words.get_mut(..PIECE.min(to.remaining() / 8).min(left)).unwrap_or_default();
            mm.page_map(page, part);
            let put = to.write(part.as_bytes());
            done += put;
            if put < part.len() * 8 {
                return match to.fault() {
                    Some(fault) if done == 0 => Err(Stop::Fault(fault)),
                    _ => Ok(done),
                };
            }
            page += part.len() as u64;
            cx.sleeper.resched_point();
        }
        Ok(done)
    }

    fn write(
        &self,
        _cx: &FsCx<'_>,
        _file: &OpenFile,
        _offset: u64,
        _from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
