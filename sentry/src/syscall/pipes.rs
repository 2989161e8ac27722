//! pipe, pipe2.

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_ONLY, WRITE_ONLY};
use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::fs::pipe::Pipe;
use crate::fs::{FileBody, OpenFile};
use crate::user::UserPtr;

const DIRECT: u32 = 0o40000;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(22, "pipe", 1, pipe, Restart::Sa, Support::Full),
    row!(293, "pipe2", 2, pipe2, Restart::Sa, Support::Partial("O_NOTIFICATION_PIPE is refused")),
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
