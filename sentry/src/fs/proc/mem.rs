//! `/proc/PID/mem`: the memory of a process as a file. Opening it asks whether the caller may look into the process.

use super::source::ProcTask;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::node::OpenState;
use crate::fs::{FileNode, FsCx, OpenFile};
use crate::mm::Mm;
use crate::user::{IoReader, IoWriter, UserAddr};
use crate::wait::Stop;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;

/// Bytes copied at once.
const PIECE: usize = 512;

/// See the module.
pub(super) struct Mem(pub(super) Arc<dyn ProcTask>);

/// The address space as of open(2).
struct Opened(Option<Arc<Mm>>);

fn opened(file: &OpenFile) -> Option<&Arc<Mm>> {
    file.state::<Opened>().and_then(|opened| opened.0.as_ref())
}

impl FileNode for Mem {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        None
    }

    fn open(&self, cx: &FsCx<'_>, _flags: u32) -> Result<OpenState, Errno> {
        if !self.0.may_be_seen(cx) {
            return Err(Errno::EACCES);
        }
        Ok(Some(Box::new(Opened(self.0.mm()))))
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        let Some(mm) = opened(file) else { return Ok(0) };
        let mut done = 0;
        let mut piece = [0; PIECE];
        while to.remaining() > 0 {
            let Some(at) = offset.checked_add(done as u64) else { break };
            let part = piece.get_mut(..to.remaining().min(PIECE)).unwrap_or_default();
            let got = mm.read_remote(cx.sleeper, UserAddr::new(at), part);
            let put = to.write(part.get(..got).unwrap_or_default());
            done += put;
            if put < got {
                return match to.fault() {
                    Some(fault) if done == 0 => Err(Stop::Fault(fault)),
                    _ => Ok(done),
                };
            }
            if got == 0 {
                return if done == 0 { Err(Errno::EIO.into()) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let Some(mm) = opened(file) else { return Ok(0) };
        let mut done = 0;
        let mut piece = [0; PIECE];
        while from.remaining() > 0 {
            let Some(at) = offset.checked_add(done as u64) else { break };
            let before = from.done();
            let part = piece.get_mut(..from.remaining().min(PIECE)).unwrap_or_default();
            let got = from.read(part);
            if got == 0 {
                return match from.fault() {
                    Some(fault) if done == 0 => Err(Stop::Fault(fault)),
                    _ => Ok(done),
                };
            }
            let part = part.get(..got).unwrap_or_default();
            if mm.write_forced(cx.sleeper, UserAddr::new(at), part).is_err() {
                from.rewind(before);
                return if done == 0 { Err(Errno::EIO.into()) } else { Ok(done) };
            }
            done += got;
        }
        Ok(done)
    }

    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
