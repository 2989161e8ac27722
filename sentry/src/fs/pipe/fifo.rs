//! Opening a FIFO (fifo(7)): an open for reading waits for a writer, and the other way round.

use super::{End, Pipe, Side};
use crate::abi::Errno;
use crate::wait::{Blocked, Waiter};
use alloc::sync::Arc;
use chitin_core::sleep::Woken;
use core::sync::atomic::AtomicBool;

const O_ACCMODE: u32 = 0o3;
const O_WRONLY: u32 = 0o1;
const O_RDWR: u32 = 0o2;
const O_NONBLOCK: u32 = 0o4000;
const O_DIRECT: u32 = 0o40000;

fn side(flags: u32) -> Side {
    match flags & O_ACCMODE {
        O_WRONLY => Side::Write,
        O_RDWR => Side::Both,
        _ => Side::Read,
    }
}

/// A further end of a pipe that has no name, for `/proc/PID/fd/N`; waits for nobody.
pub(super) fn reopen(pipe: &Arc<Pipe>, flags: u32) -> Arc<End> {
    let side = side(flags);
    pipe.attach(side);
    Arc::new(End {
        pipe: pipe.clone(),
        side,
        packets: AtomicBool::new(flags & O_DIRECT != 0),
        seen: u64::MAX,
    })
}

/// Opens `pipe` with the `O_*` flags of open(2). The VFS keeps the pipe with the node while anybody has it open.
///
/// # Errors
/// `ENXIO` for a non-blocking open for writing while nobody reads; [`Blocked::Interrupted`].
pub fn open(pipe: &Arc<Pipe>, flags: u32, waiter: &Waiter<'_>) -> Result<Arc<End>, Blocked> {
    let nonblocking = flags & O_NONBLOCK != 0;
    let side = side(flags);
    if side == Side::Write && nonblocking && pipe.ring.lock().readers == 0 {
        return Err(Blocked::Errno(Errno::ENXIO));
    }
    let (writer_opens, reader_opens) = pipe.attach(side);
    // Somebody may wait in an open of the other side.
    pipe.readable.wake_all();
    pipe.writable.wake_all();
    let queue = if side == Side::Read { &pipe.readable } else { &pipe.writable };
    let partner_came = || {
        let ring = pipe.ring.lock();
        match side {
            Side::Read => ring.writers > 0 || ring.writer_opens != writer_opens,
            Side::Write => ring.readers > 0 || ring.reader_opens != reader_opens,
            Side::Both => true,
        }
        .then_some(())
    };
    if !nonblocking && let Err(woken) = waiter.until(queue, None, partner_came) {
        pipe.detach(side);
        return Err(match woken {
            Woken::TimedOut => Blocked::TimedOut,
            _ => Blocked::Interrupted,
        });
    }
    // A reader that waited for its writer is to see that writer's hang-up; one that did not wait and found none is not.
    let seen = if nonblocking && pipe.ring.lock().writers == 0 { writer_opens } else { u64::MAX };
    Ok(Arc::new(End { pipe: pipe.clone(), side, packets: AtomicBool::new(flags & O_DIRECT != 0), seen }))
}
