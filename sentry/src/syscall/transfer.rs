//! Moving data between descriptors: sendfile, copy_file_range, splice, tee, vmsplice.

use super::descriptor;
use super::files::{readable, wait_ready, writable};
use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{O_APPEND, O_NONBLOCK};
use crate::fs::io::{self, WriteAt};
use crate::fs::notify::{self, Mask};
use crate::fs::pipe::{End, splice};
use crate::fs::{FileBody, OpenFile, Stream};
use crate::user::{IoReader, IoWriter, UserPtr};
use crate::wait::{Blocked, PollMask, Stop, block_on};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(40, "sendfile", 4, sendfile, Restart::Sa, Support::Full),
    row!(275, "splice", 6, splice, Restart::Sa, Support::Full),
    row!(276, "tee", 4, tee, Restart::Sa, Support::Full),
    row!(326, "copy_file_range", 6, copy_file_range, Restart::Sa, Support::Full),
];

/// Bytes moved in one step.
const STEP: usize = 16 * 1024;
/// Most bytes of one call.
const BYTES_MAX: usize = 0x7fff_f000;

/// An end of a transfer that has offsets.
struct Place {
    offset: u64,
    /// Where user memory keeps the offset; `None`: it is the position of the file.
    at: Option<UserPtr<i64>>,
}

impl Place {
    fn new(cx: &Cx<'_>, file: &Arc<OpenFile>, at: UserPtr<i64>) -> Result<Self, Errno> {
        let Some(at) = at.non_null() else {
            return Ok(Self { offset: *file.position.lock(cx.sleeper), at: None });
        };
        let offset = u64::try_from(cx.user().read(at)?).map_err(|_| Errno::EINVAL)?;
        Ok(Self { offset, at: Some(at) })
    }

    /// As [`Place::new`], taking a negative offset as a huge one, which the caller refuses.
    fn unchecked(cx: &Cx<'_>, file: &Arc<OpenFile>, at: UserPtr<i64>) -> Result<Self, Errno> {
        match at.non_null() {
            None => Self::new(cx, file, at),
            Some(at) => Ok(Self { offset: cx.user().read(at)?.cast_unsigned(), at: Some(at) }),
        }
    }

    /// Tells how far it came.
    fn finish(&self, cx: &Cx<'_>, file: &Arc<OpenFile>) -> Result<(), Errno> {
        match self.at {
            Some(at) => cx.user().write(at, &self.offset.cast_signed()),
            None => {
                *file.position.lock(cx.sleeper) = self.offset;
                Ok(())
            }
        }
    }
}

/// Reads up to `buffer` bytes.
fn take(
    cx: &Cx<'_>,
    scope: &Scope,
    file: &Arc<OpenFile>,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    io::read_bytes(&scope.cx(cx), file, offset, buffer)
}

/// Writes all of `bytes` to a file at `offset`.
fn put_regular(
    cx: &Cx<'_>,
    scope: &Scope,
    file: &Arc<OpenFile>,
    offset: u64,
    bytes: &[u8],
) -> Result<usize, Errno> {
    let mut from = IoReader::kernel(bytes);
    let mut at = WriteAt::of(file, offset);
    while from.remaining() > 0 {
        match io::write_at(&scope.cx(cx), file, at, &mut from, descriptor::file_size_limit(cx)) {
            Ok((_, 0)) => break,
            Ok((after, _)) if matches!(at, WriteAt::Offset(_)) => at = WriteAt::Offset(after),
            Ok(_) => {}
            Err(_) if from.done() > 0 => break,
            Err(Stop::Errno(errno)) => {
                if errno == Errno::EFBIG {
                    descriptor::raise_file_size(cx);
                }
                return Err(errno);
            }
            Err(Stop::WouldBlock | Stop::Fault(_)) => return Err(Errno::EAGAIN),
        }
    }
    Ok(from.done())
}

/// Writes to a stream; returns how much went.
fn put_stream(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    stream: &Arc<dyn Stream>,
    bytes: &[u8],
    nonblocking: bool,
) -> Result<usize, Failure> {
    let nonblocking = nonblocking || file.flags() & O_NONBLOCK != 0;
    let mut from = IoReader::kernel(bytes);
    while from.remaining() > 0 {
        let result = if nonblocking {
            stream.try_write(&mut from).map_err(descriptor::nonblocking)
        } else {
            block_on(&cx.waiter(), stream, None, || stream.try_write(&mut from))
        };
        match result {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) if from.done() > 0 => break,
            Err(blocked) => {
                if blocked == Blocked::Errno(Errno::EPIPE) {
                    descriptor::raise_sigpipe(cx);
                }
                return Err(blocked.into());
            }
        }
    }
    Ok(from.done())
}

/// Moves up to `len` bytes from a regular file to whatever `output` is.
fn pump(
    cx: &Cx<'_>,
    input: &Arc<OpenFile>,
    from: &mut Place,
    output: &Arc<OpenFile>,
    mut to: Option<&mut Place>,
    len: usize,
    nonblocking: bool,
) -> SysResult {
    let scope = Scope::new(cx);
    let mut buffer = vec![0u8; len.min(STEP)];
    let mut total = 0;
    while total < len {
        let want = (len - total).min(STEP);
        let room = buffer.get_mut(..want).unwrap_or_default();
        let got = match take(cx, &scope, input, from.offset, room) {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) if total > 0 => break,
            Err(errno) => return Err(errno.into()),
        };
        let bytes = room.get(..got).unwrap_or_default();
        let put = match output.body() {
            FileBody::Stream(stream, _) => put_stream(cx, output, stream, bytes, nonblocking),
            _ => {
                let offset = to.as_deref().map_or(0, |to| to.offset);
                put_regular(cx, &scope, output, offset, bytes).map_err(Failure::from)
            }
        };
        let put = match put {
            Ok(put) => put,
            Err(_) if total > 0 => break,
            Err(failure) => return Err(failure),
        };
        total += put;
        from.offset += put as u64;
        if let Some(to) = to.as_deref_mut() {
            to.offset += put as u64;
        }
        if put < got {
            break;
        }
        cx.sleeper.resched_point();
    }
    io::touch(&scope.cx(cx), input);
    if total > 0 {
        notify::through(input, Mask::ACCESS);
        notify::through(output, Mask::MODIFY);
    }
    Ok(total)
}

/// Refuses an offset for what has none.
fn check_offsets(file: &OpenFile) -> Result<(), Errno> {
    match file.body() {
        FileBody::Stream(..) if !descriptor::takes_offsets(file) => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}

fn sendfile(cx: &mut Cx<'_>, out: Fd, input: Fd, offset: UserPtr<i64>, len: usize) -> SysResult {
    if let Some(offset) = offset.non_null() {
        cx.user().read(offset)?;
    }
    let input = readable(cx, input)?;
    if !offset.is_null() {
        check_offsets(&input)?;
    }
    let mut from = Place::new(cx, &input, offset)?;
    let output = writable(cx, out)?;
    io::regular(&input).map_err(|_| Errno::EINVAL)?;
    if output.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut to = match output.body() {
        FileBody::Stream(..) => None,
        _ => {
            io::regular(&output).map_err(|_| Errno::EINVAL)?;
            Some(Place::new(cx, &output, UserPtr::new(crate::user::UserAddr::NULL))?)
        }
    };
    let done = pump(cx, &input, &mut from, &output, to.as_mut(), len.min(BYTES_MAX), false)?;
    from.finish(cx, &input)?;
    if let Some(to) = to {
        to.finish(cx, &output)?;
    }
    Ok(done)
}

fn copy_file_range(
    cx: &mut Cx<'_>,
    input: Fd,
    in_offset: UserPtr<i64>,
    output: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    let (input, output) = (descriptor::file(cx, input)?, descriptor::file(cx, output)?);
    let mut from = Place::unchecked(cx, &input, in_offset)?;
    let mut to = Place::unchecked(cx, &output, out_offset)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let is_dir = |file: &OpenFile| matches!(file.body(), FileBody::Node(node, _) if node.is_dir());
    if is_dir(&input) || is_dir(&output) {
        return Err(Errno::EISDIR.into());
    }
    let (in_node, _) = io::regular(&input)?;
    let (out_node, _) = io::regular(&output)?;
    if !input.is_readable() || !output.is_writable() || output.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF.into());
    }
    for place in [&from, &to] {
        place.offset.checked_add(len as u64).ok_or(Errno::EOVERFLOW)?;
        i64::try_from(place.offset).map_err(|_| Errno::EINVAL)?;
    }
    let len = len.min(BYTES_MAX);
    let overlap = from.offset < to.offset.saturating_add(len as u64)
        && to.offset < from.offset.saturating_add(len as u64);
    if Arc::ptr_eq(in_node, out_node) && overlap {
        return Err(Errno::EINVAL.into());
    }
    let done = pump(cx, &input, &mut from, &output, Some(&mut to), len, false)?;
    from.finish(cx, &input)?;
    to.finish(cx, &output)?;
    Ok(done)
}

fn pipe_end(file: &OpenFile) -> Option<&End> {
    file.stream()?.as_any().downcast_ref()
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_FLAGS: u32 = 15;

/// Repeats `op` between two pipes until it moves something.
fn between_pipes(
    cx: &Cx<'_>,
    input: &Arc<OpenFile>,
    output: &Arc<OpenFile>,
    nonblocking: bool,
    mut op: impl FnMut(&End, &End) -> Result<usize, Stop>,
) -> SysResult {
    let (Some(from), Some(to)) = (pipe_end(input), pipe_end(output)) else {
        return Err(Errno::EINVAL.into());
    };
    loop {
        match op(from, to) {
            Ok(done) => return Ok(done),
            Err(Stop::WouldBlock) if nonblocking => return Err(Errno::EAGAIN.into()),
            Err(Stop::WouldBlock) => {
                if let (Some(reader), Some(writer)) = (input.stream(), output.stream()) {
                    wait_ready(cx, reader, PollMask::IN, false)?;
                    wait_ready(cx, writer, PollMask::OUT, false)?;
                }
            }
            Err(Stop::Fault(_)) => return Err(Errno::EFAULT.into()),
            Err(Stop::Errno(errno)) => {
                if errno == Errno::EPIPE {
                    descriptor::raise_sigpipe(cx);
                }
                return Err(errno.into());
            }
        }
    }
}

fn tee(cx: &mut Cx<'_>, input: Fd, output: Fd, len: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let (input, output) = (readable(cx, input)?, writable(cx, output)?);
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0;
    between_pipes(cx, &input, &output, nonblocking, |from, to| splice::try_tee(from, to, len))
}

fn splice(
    cx: &mut Cx<'_>,
    input: Fd,
    in_offset: UserPtr<i64>,
    output: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let len = len.min(BYTES_MAX);
    let (input, output) = (descriptor::file(cx, input)?, descriptor::file(cx, output)?);
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0;
    let (in_pipe, out_pipe) = (pipe_end(&input).is_some(), pipe_end(&output).is_some());
    if (in_pipe && !in_offset.is_null()) || (out_pipe && !out_offset.is_null()) {
        return Err(Errno::ESPIPE.into());
    }
    for offset in [out_offset, in_offset].into_iter().filter_map(UserPtr::non_null) {
        cx.user().read(offset)?;
    }
    if !input.is_readable() || !output.is_writable() {
        return Err(Errno::EBADF.into());
    }
    if output.flags() & O_APPEND != 0 && !out_pipe {
        return Err(Errno::EINVAL.into());
    }
    match (in_pipe, out_pipe) {
        (true, true) => {
            between_pipes(cx, &input, &output, nonblocking, |from, to| splice::try_move(from, to, len))
        }
        (false, true) => match input.body() {
            FileBody::Stream(stream, _) => from_stream(cx, &input, stream, &output, len, nonblocking),
            _ => {
                io::regular(&input).map_err(|_| Errno::EINVAL)?;
                let mut from = Place::new(cx, &input, in_offset)?;
                // One pipe's worth at a time, as on Linux.
                let done = pump(cx, &input, &mut from, &output, None, len.min(STEP * 4), nonblocking)?;
                from.finish(cx, &input)?;
                Ok(done)
            }
        },
        (true, false) => from_pipe(cx, &input, &output, out_offset, len, nonblocking),
        (false, false) => Err(Errno::EINVAL.into()),
    }
}

/// Reads what a stream has, at most `len` bytes, waiting for the first.
fn read_some(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    stream: &Arc<dyn Stream>,
    len: usize,
    nonblocking: bool,
) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0u8; len.min(STEP)];
    let nonblocking = nonblocking || file.flags() & O_NONBLOCK != 0;
    let mut to = IoWriter::kernel(&mut buffer);
    let got = if nonblocking {
        stream.try_read(&mut to).map_err(descriptor::nonblocking)
    } else {
        block_on(&cx.waiter(), stream, None, || stream.try_read(&mut to))
    }?;
    buffer.truncate(got);
    Ok(buffer)
}

fn from_stream(
    cx: &Cx<'_>,
    input: &Arc<OpenFile>,
    stream: &Arc<dyn Stream>,
    output: &Arc<OpenFile>,
    len: usize,
    nonblocking: bool,
) -> SysResult {
    let Some(writer) = output.stream() else { return Err(Errno::EINVAL.into()) };
    // Room first, so that what is read from the stream is not lost.
    wait_ready(cx, writer, PollMask::OUT, nonblocking)?;
    let bytes = read_some(cx, input, stream, len, nonblocking)?;
    put_stream(cx, output, writer, &bytes, false)
}

fn from_pipe(
    cx: &Cx<'_>,
    input: &Arc<OpenFile>,
    output: &Arc<OpenFile>,
    out_offset: UserPtr<i64>,
    len: usize,
    nonblocking: bool,
) -> SysResult {
    let Some(stream) = input.stream() else { return Err(Errno::EINVAL.into()) };
    if let FileBody::Stream(writer, _) = output.body() {
        wait_ready(cx, writer, PollMask::OUT, nonblocking)?;
        let bytes = read_some(cx, input, stream, len, nonblocking)?;
        return put_stream(cx, output, writer, &bytes, false);
    }
    io::regular(output).map_err(|_| Errno::EINVAL)?;
    let mut to = Place::new(cx, output, out_offset)?;
    let bytes = read_some(cx, input, stream, len, nonblocking)?;
    let scope = Scope::new(cx);
    let done = put_regular(cx, &scope, output, to.offset, &bytes)?;
    to.offset += done as u64;
    to.finish(cx, output)?;
    Ok(done)
}
