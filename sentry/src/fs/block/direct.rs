//! `O_DIRECT`: between the program's memory and the device, around the cache.
//!
//! Offset, length and addresses have to be multiples of the logical block size (open(2)). The bytes pass through a few
//! frames of the kernel, because user memory may change or go away while the device works.

use super::disk::Disk;
use super::pages::Way;
use crate::abi::Errno;
use crate::cache::PageRange;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;

/// Pages of one step.
const STEP: usize = 32;

fn frames(bytes: usize) -> Result<Vec<Frame>, Errno> {
    let count = bytes.div_ceil(FRAME_SIZE).min(STEP);
    (0..count).map(|_| Frame::uncleared().ok_or(Errno::ENOMEM)).collect()
}

fn pages(from: u64, to: u64) -> PageRange {
    PageRange { from: from / FRAME_SIZE as u64, to: to.div_ceil(FRAME_SIZE as u64) }
}

impl Disk {
    fn check_alignment(&self, offset: u64, memory: usize) -> Result<(), Errno> {
        let mask = u64::from(self.geometry().block_size.max(512)) - 1;
        if (offset | memory as u64) & mask == 0 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Reads at `offset`.
    pub(super) fn read_direct(
        &self,
        sleeper: &Sleeper,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        if left == 0 || to.remaining() == 0 {
            return Ok(0);
        }
        self.check_alignment(offset, to.alignment())?;
        let wanted = left.min(to.remaining());
        self.mapping().flush_range(sleeper, pages(offset, offset + wanted as u64))?;
        let frames = frames(wanted)?;
        let mut done = 0;
        while done < wanted {
            let len = (wanted - done).min(STEP * FRAME_SIZE);
            // The room is looked at first: a page that is not there must not cost a request each time.
            let before = to.done();
            let room = to.zero(len);
            let fault = to.fault();
            to.rewind(before);
            if let Some(fault) = fault.filter(|_| room < len) {
                return if done > 0 { Ok(done) } else { Err(Stop::Fault(fault)) };
            }
            match self.pages.transfer(sleeper, offset + done as u64, &frames, len, Way::In) {
                Ok(()) => {}
                Err(_) if done > 0 => return Ok(done),
                Err(errno) => return Err(errno.into()),
            }
            let mut copied = 0;
            for frame in &frames {
                let part = (len - copied).min(FRAME_SIZE);
                let now = to.write_frame(frame, 0, part);
                copied += now;
                if now < part || copied == len {
                    break;
                }
            }
            done += copied;
            if copied < len {
                return match to.fault() {
                    Some(fault) if done == 0 => Err(Stop::Fault(fault)),
                    _ => Ok(done),
                };
            }
            sleeper.resched_point();
        }
        Ok(done)
    }

    /// Writes at `offset`, which lies on the device.
    pub(super) fn write_direct(
        &self,
        sleeper: &Sleeper,
        offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        self.check_alignment(offset, from.alignment())?;
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(from.remaining());
        let range = pages(offset, offset + wanted as u64);
        let _writing = self.writing.lock(sleeper);
        self.mapping().flush_range(sleeper, range)?;
        let result = self.write_steps(sleeper, offset, wanted, from);
        // Whoever reads through the cache from now on sees what was written.
        self.mapping().invalidate(range);
        result
    }

    fn write_steps(
        &self,
        sleeper: &Sleeper,
        offset: u64,
        wanted: usize,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let block = usize::try_from(self.geometry().block_size.max(512)).unwrap_or(FRAME_SIZE);
        let frames = frames(wanted)?;
        let mut done = 0;
        while done < wanted {
            let len = (wanted - done).min(STEP * FRAME_SIZE);
            let before = from.done();
            let mut taken = 0;
            for frame in &frames {
                let part = (len - taken).min(FRAME_SIZE);
                let now = from.read_frame(frame, 0, part);
                taken += now;
                if now < part || taken == len {
                    break;
                }
            }
            let fault = from.fault();
            let whole = taken / block * block;
            if whole == 0 {
                from.rewind(before);
                return match fault {
                    Some(fault) if done == 0 => Err(Stop::Fault(fault)),
                    _ => Ok(done),
                };
            }
            match self.pages.transfer(sleeper, offset + done as u64, &frames, whole, Way::Out) {
                Ok(()) => done += whole,
                Err(errno) => {
                    from.rewind(before);
                    return if done > 0 { Ok(done) } else { Err(errno.into()) };
                }
            }
            if taken < len {
                from.rewind(before + whole);
                return Ok(done);
            }
            sleeper.resched_point();
        }
        Ok(done)
    }
}
