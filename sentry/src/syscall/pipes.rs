//! pipe, pipe2, vmsplice.

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_ONLY, WRITE_ONLY};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::fs::pipe::{self, Pipe};
use crate::fs::{FileBody, OpenFile, Stream};
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr, UserSlice};
use crate::wait::{Blocked, block_on};
use alloc::vec::Vec;

const DIRECT: u32 = 0o40000;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(22, "pipe", 1, pipe, Restart::Sa, Support::Full),
    row!(293, "pipe2", 2, pipe2, Restart::Sa, Support::Partial("O_NOTIFICATION_PIPE is refused")),
    row!(278, "vmsplice", 4, vmsplice, Restart::Sa, Support::Partial("pages are copied, not given")),
];

fn pipe(cx: &mut Cx<'_>, fds: UserPtr<[i32; 2]>) -> SysResult {
    pipe2(cx, fds, 0)
}

fn pipe2(cx: &mut Cx<'_>, fds: UserPtr<[i32; 2]>, flags: u32) -> SysResult {
    if flags & !(CLOEXEC | NONBLOCK | DIRECT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (reader, writer) = Pipe::pair();
    writer.set_packets(flags & DIRECT != 0);
    let reader = descriptor::install(cx, reader, flags | READ_ONLY);
    let writer = OpenFile::new(FileBody::Stream(writer, None), (flags & !CLOEXEC) | WRITE_ONLY);
    let reader = reader?;
    let result = descriptor::install_file(cx, writer, flags).and_then(|writer| {
        cx.user().write(fds, &[reader.0, writer.0]).inspect_err(|_| drop(cx.files.remove(writer)))
    });
    if let Err(errno) = result {
        drop(cx.files.remove(reader));
        return Err(errno.into());
    }
    Ok(0)
}

/// `SPLICE_F_NONBLOCK`.
const SPLICE_NONBLOCK: u32 = 2;
/// All `SPLICE_F_*`.
const SPLICE_FLAGS: u32 = 15;
/// Buffers of one call (`UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;

fn vmsplice(cx: &mut Cx<'_>, fd: Fd, buffers: UserPtr<[u64; 2]>, count: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = descriptor::file(cx, fd)?;
    if count > MAX_BUFFERS {
        return Err(Errno::EINVAL.into());
    }
    let slices = cx.user().read_array(buffers, count)?.into_iter().map(|[at, len]| {
        let len = isize::try_from(len).map_err(|_| Errno::EINVAL)?;
        UserSlice::new(UserAddr::new(at), len.unsigned_abs())
    });
    let slices = slices.collect::<Result<Vec<_>, Errno>>()?;
    if slices.iter().all(|slice| slice.len == 0) {
        return Ok(0);
    }
    let end = pipe::of(&file).ok_or(Errno::EBADF)?;
    let nonblocking = flags & SPLICE_NONBLOCK != 0 || file.flags() & NONBLOCK != 0;
    let writes = file.is_writable();
    let space = cx.mm.space().clone();
    let mut from = IoReader::user(&*space, &slices);
    let mut to = IoWriter::user(&*space, &slices);
    let mut done = 0;
    loop {
        let mut op = || if writes { end.try_write(&mut from) } else { end.try_read(&mut to) };
        let result = if nonblocking || done > 0 {
            op().map_err(descriptor::nonblocking)
        } else {
            block_on(&cx.waiter(), &*file, None, op)
        };
        match result {
            Ok(part @ 1..) => done += part,
            Ok(_) => return Ok(done),
            Err(Blocked::Fault(fault))
                if cx.mm.resolve_fault(cx.sleeper, fault.addr, fault.access).is_ok() => {}
            Err(_) if done > 0 => return Ok(done),
            Err(blocked) => {
                if blocked == Blocked::Errno(Errno::EPIPE) {
                    descriptor::raise_sigpipe(cx);
                }
                return Err(blocked.into());
            }
        }
    }
}
