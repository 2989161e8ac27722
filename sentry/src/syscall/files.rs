//! read, write and their kin: the loops that resolve faults of user memory and wait, around [`crate::fs::io`].

use super::descriptor;
use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::terminal;
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{Iovec, O_NONBLOCK};
use crate::fs::io::{self, WriteAt};
use crate::fs::notify::{self, Mask};
use crate::fs::stream::StreamKind;
use crate::fs::{FileBody, NodeKind, OpenFile, Stream};
use crate::platform::Access;
use crate::user::{IoReader, IoWriter, UserAddr, UserFault, UserPtr, UserSlice};
use crate::wait::{Blocked, PollMask, Stop, block_on};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(0, "read", 3, read, Restart::Sa, Support::Full),
    row!(1, "write", 3, write, Restart::Sa, Support::Full),
    row!(17, "pread64", 4, pread, Restart::Sa, Support::Full),
    row!(18, "pwrite64", 4, pwrite, Restart::Sa, Support::Full),
    row!(19, "readv", 3, readv, Restart::Sa, Support::Full),
    row!(20, "writev", 3, writev, Restart::Sa, Support::Full),
    row!(295, "preadv", 4, preadv, Restart::Sa, Support::Full),
    row!(296, "pwritev", 4, pwritev, Restart::Sa, Support::Full),
    row!(327, "preadv2", 6, preadv2, Restart::Sa, Support::Partial(FLAGS_REMARK)),
    row!(328, "pwritev2", 6, pwritev2, Restart::Sa, Support::Partial(FLAGS_REMARK)),
];

const FLAGS_REMARK: &str = "RWF_NOWAIT and RWF_ATOMIC are refused";

/// Most bytes of one call.
const BYTES_MAX: usize = 0x7fff_f000;
/// Most pieces of one call.
const PIECES_MAX: usize = 1024;

const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_APPEND: u32 = 16;

/// Where a call reads or writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// At the position of the open file, which moves.
    Position,
    /// There.
    Offset(u64),
}

impl At {
    fn offset(offset: i64) -> Result<Self, Errno> {
        u64::try_from(offset).map(Self::Offset).map_err(|_| Errno::EINVAL)
    }

    /// Where a request for `file` reads or writes: `offset` says nothing to what has no positions.
    pub(super) fn of_request(file: &OpenFile, offset: i64) -> Result<Self, Errno> {
        match file.body() {
            FileBody::Stream(..) if !descriptor::takes_offsets(file) => Ok(Self::Position),
            _ => Self::offset(offset),
        }
    }
}

/// Brings in the page that a copy stopped at. No lock is held.
pub(super) fn resolve(cx: &Cx<'_>, fault: UserFault) -> Result<(), Errno> {
    cx.mm.resolve_fault(cx.sleeper, fault.addr, fault.access).map_err(crate::mm::FaultError::errno)
}

pub(super) fn slice(addr: UserAddr, len: usize) -> Result<UserSlice, Errno> {
    let whole = UserSlice::new(addr, len)?;
    Ok(UserSlice { len: len.min(BYTES_MAX), ..whole })
}

/// The piece of a read or write, whose end must be an offset as well.
fn piece(at: At, addr: UserAddr, len: usize) -> Result<[UserSlice; 1], Errno> {
    let slice = slice(addr, len)?;
    if let At::Offset(offset) = at {
        offset.checked_add(len as u64).and_then(|end| i64::try_from(end).ok()).ok_or(Errno::EINVAL)?;
    }
    Ok([slice])
}

/// Pieces whose length is nothing are nothing to do, whatever the file is.
fn is_empty(slices: &[UserSlice]) -> bool {
    slices.iter().all(|slice| slice.len == 0)
}

/// The pieces of a readv or writev.
pub(super) fn slices(cx: &Cx<'_>, vector: UserPtr<Iovec>, count: usize) -> Result<Vec<UserSlice>, Errno> {
    if count > PIECES_MAX {
        return Err(Errno::EINVAL);
    }
    let mut left = BYTES_MAX;
    let mut slices = Vec::with_capacity(count);
    for piece in cx.user().read_array(vector, count)? {
        if i64::try_from(piece.len).is_err() {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(piece.len).map_err(|_| Errno::EINVAL)?;
        let slice = UserSlice::new(UserAddr::new(piece.base), len)?;
        let len = len.min(left);
        left -= len;
        slices.push(UserSlice { len, ..slice });
    }
    Ok(slices)
}

/// Refuses offsets for what has none.
fn check_offset(file: &OpenFile, at: At) -> Result<(), Errno> {
    match (at, file.body()) {
        (At::Offset(_), FileBody::Stream(..)) if !descriptor::takes_offsets(file) => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}

/// An error after `done` bytes: it is told only when nothing was done.
fn partial(done: usize, failure: impl Into<Failure>) -> SysResult {
    if done > 0 { Ok(done) } else { Err(failure.into()) }
}

/// Reads into user memory.
pub(super) fn read_into(cx: &Cx<'_>, file: &Arc<OpenFile>, at: At, to: &[UserSlice]) -> SysResult {
    let result = read_unseen(cx, file, at, to);
    if matches!(result, Ok(1..)) {
        notify::through(file, Mask::ACCESS);
    }
    result
}

fn read_unseen(cx: &Cx<'_>, file: &Arc<OpenFile>, at: At, to: &[UserSlice]) -> SysResult {
    let mut to = IoWriter::user(&**cx.mm.space(), to);
    match file.body() {
        FileBody::Stream(stream, _) => read_stream(cx, file, stream, &mut to),
        FileBody::Node(node, _) => {
            if !matches!(node.kind, NodeKind::File(_)) {
                io::regular(file)?;
            }
            let scope = Scope::new(cx);
            match at {
                At::Offset(offset) => read_regular(cx, &scope, file, offset, &mut to),
                At::Position => {
                    let mut position = file.position.lock(cx.sleeper);
                    let done = read_regular(cx, &scope, file, *position, &mut to)?;
                    *position += done as u64;
                    Ok(done)
                }
            }
        }
        FileBody::Path(_) => Err(Errno::EBADF.into()),
    }
}

fn read_regular(
    cx: &Cx<'_>,
    scope: &Scope,
    file: &Arc<OpenFile>,
    offset: u64,
    to: &mut IoWriter<'_>,
) -> SysResult {
    let fs = scope.cx(cx);
    let result = loop {
        let done = to.done();
        match io::read_at(&fs, file, offset.saturating_add(done as u64), to) {
            Ok(0) => break Ok(done),
            Ok(_) => match to.fault() {
                _ if to.remaining() == 0 => break Ok(to.done()),
                Some(fault) => match resolve(cx, fault) {
                    Ok(()) => {}
                    Err(errno) => break partial(to.done(), errno),
                },
                // Shorter than asked: the end of the file, or of what its maker had.
                None => break Ok(to.done()),
            },
            Err(Stop::Fault(fault)) => {
                if let Err(errno) = resolve(cx, fault) {
                    break partial(done, errno);
                }
            }
            Err(Stop::WouldBlock) => break partial(done, Errno::EAGAIN),
            Err(Stop::Errno(errno)) => break partial(done, errno),
        }
    };
    if result.is_ok() {
        io::touch(&fs, file);
    }
    result
}

/// How long a read and a write wait, in ns; 0 is for ever.
fn timeouts_ns(file: &OpenFile, stream: &Arc<dyn Stream>) -> (u64, u64) {
    if file.stream_kind() == StreamKind::Socket { stream.timeouts_ns() } else { (0, 0) }
}

fn deadline(cx: &Cx<'_>, timeout_ns: u64) -> Option<u64> {
    (timeout_ns > 0).then(|| cx.sleeper.now_ns().saturating_add(timeout_ns))
}

/// As [`block_on`], with the errors of a socket's time limit: `EAGAIN` when it is over, and no restart after a signal.
fn block_within<T>(
    cx: &Cx<'_>,
    stream: &Arc<dyn Stream>,
    deadline_ns: Option<u64>,
    op: impl FnMut() -> Result<T, Stop>,
) -> Result<T, Blocked> {
    block_on(&cx.waiter(), stream, deadline_ns, op).map_err(|blocked| match blocked {
        Blocked::TimedOut => Blocked::Errno(Errno::EAGAIN),
        Blocked::Interrupted if deadline_ns.is_some() => Blocked::Errno(Errno::EINTR),
        other => other,
    })
}

fn read_stream(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    stream: &Arc<dyn Stream>,
    to: &mut IoWriter<'_>,
) -> SysResult {
    if file.stream_kind() == StreamKind::Terminal {
        terminal::check_read(cx, stream)?;
    }
    let nonblocking = file.flags() & O_NONBLOCK != 0;
    let deadline_ns = deadline(cx, timeouts_ns(file, stream).0);
    loop {
        let result = if nonblocking || to.done() > 0 {
            stream.try_read(to).map_err(descriptor::nonblocking)
        } else {
            block_within(cx, stream, deadline_ns, || stream.try_read(to))
        };
        match result {
            Ok(done) => {
                // A page that was not there must not cut a read short: what is there already is taken after it. Memory
                // devices always have more.
                let more = to.fault().is_some() || descriptor::takes_offsets(file);
                if done == 0 || to.remaining() == 0 || !more {
                    return Ok(done.max(to.done()));
                }
                if let Some(fault) = to.fault()
                    && resolve(cx, fault).is_err()
                {
                    return Ok(to.done());
                }
                if cx.waiter().interrupt.interrupted() {
                    return Ok(to.done());
                }
                cx.sleeper.resched_point();
            }
            Err(Blocked::Fault(fault)) => {
                if let Err(errno) = resolve(cx, fault) {
                    return partial(to.done(), errno);
                }
            }
            Err(blocked) => return partial(to.done(), blocked),
        }
    }
}

/// Writes from user memory.
pub(super) fn write_from(cx: &Cx<'_>, file: &Arc<OpenFile>, at: At, from: &[UserSlice]) -> SysResult {
    let result = write_unseen(cx, file, at, from);
    if matches!(result, Ok(1..)) {
        notify::through(file, Mask::MODIFY);
    }
    result
}

fn write_unseen(cx: &Cx<'_>, file: &Arc<OpenFile>, at: At, from: &[UserSlice]) -> SysResult {
    match file.body() {
        FileBody::Stream(stream, _) => {
            let mut from = IoReader::user(&**cx.mm.space(), from);
            write_stream(cx, file, stream, &mut from)
        }
        FileBody::Node(node, _) => {
            if !matches!(node.kind, NodeKind::File(_)) {
                io::regular(file)?;
            }
            let scope = Scope::new(cx);
            match at {
                At::Offset(offset) => {
                    write_regular(cx, &scope, file, WriteAt::of(file, offset), from).map(|(_, done)| done)
                }
                At::Position => {
                    let mut position = file.position.lock(cx.sleeper);
                    let (end, done) = write_regular(cx, &scope, file, WriteAt::of(file, *position), from)?;
                    *position = end;
                    Ok(done)
                }
            }
        }
        FileBody::Path(_) => Err(Errno::EBADF.into()),
    }
}

/// Returns the offset after what was written, and its length.
fn write_regular(
    cx: &Cx<'_>,
    scope: &Scope,
    file: &Arc<OpenFile>,
    at: WriteAt,
    slices: &[UserSlice],
) -> Result<(u64, usize), Failure> {
    let fs = scope.cx(cx);
    if at == WriteAt::End {
        // A record that is appended should not be cut in two by a page that is not there.
        touch_source(cx, slices);
    }
    let mut from = IoReader::user(&**cx.mm.space(), slices);
    let mut at = at;
    let mut end = 0;
    loop {
        let done = from.done();
        let failure = match io::write_at(&fs, file, at, &mut from, descriptor::file_size_limit(cx)) {
            Ok((after, count)) => {
                end = after;
                if let WriteAt::Offset(offset) = &mut at {
                    *offset = after;
                }
                match from.fault() {
                    _ if from.remaining() == 0 || count == 0 => return Ok((end, from.done())),
                    Some(fault) => resolve(cx, fault).err(),
                    None => None,
                }
            }
            Err(Stop::Fault(fault)) => resolve(cx, fault).err(),
            Err(Stop::WouldBlock) => Some(Errno::EAGAIN),
            Err(Stop::Errno(errno)) => Some(errno),
        };
        match failure {
            None => {}
            Some(_) if from.done() > 0 => return Ok((end, from.done())),
            Some(errno) => {
                if errno == Errno::EFBIG && done == 0 {
                    descriptor::raise_file_size(cx);
                }
                return Err(errno.into());
            }
        }
    }
}

/// Brings in the first pages that a write will take.
fn touch_source(cx: &Cx<'_>, slices: &[UserSlice]) {
    const PAGES_MAX: usize = 32;
    let space = cx.mm.space();
    for slice in slices.iter().take(PAGES_MAX) {
        let mut at = slice.addr;
        let end = slice.addr.get().saturating_add(slice.len as u64);
        for _ in 0..PAGES_MAX {
            if at.get() >= end {
                break;
            }
            if space.copy_in(at, &mut [0]).is_err()
                && cx.mm.resolve_fault(cx.sleeper, at, Access::Read).is_err()
            {
                return;
            }
            match at.page_down().checked_add(4096) {
                Some(next) => at = next,
                None => return,
            }
        }
    }
}

/// Writes everything, unless the stream may not wait.
fn write_stream(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    stream: &Arc<dyn Stream>,
    from: &mut IoReader<'_>,
) -> SysResult {
    if file.stream_kind() == StreamKind::Terminal {
        terminal::check_write(cx, stream)?;
    }
    let nonblocking = file.flags() & O_NONBLOCK != 0;
    let deadline_ns = deadline(cx, timeouts_ns(file, stream).1);
    let mut total = 0;
    loop {
        let result = if nonblocking {
            stream.try_write(from).map_err(descriptor::nonblocking)
        } else {
            block_within(cx, stream, deadline_ns, || stream.try_write(from))
        };
        match result {
            Ok(done) => {
                total += done;
                if from.remaining() == 0 || done == 0 || (nonblocking && from.fault().is_none()) {
                    return Ok(total);
                }
            }
            Err(Blocked::Fault(fault)) => {
                if let Err(errno) = resolve(cx, fault) {
                    return partial(total, errno);
                }
            }
            Err(blocked) => {
                if blocked == Blocked::Errno(Errno::EPIPE) {
                    descriptor::raise_sigpipe(cx);
                }
                return partial(total, blocked);
            }
        }
    }
}

pub(super) fn readable(cx: &Cx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = cx.files.get(fd)?;
    if file.is_readable() { Ok(file) } else { Err(Errno::EBADF) }
}

pub(super) fn writable(cx: &Cx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = cx.files.get(fd)?;
    if file.is_writable() { Ok(file) } else { Err(Errno::EBADF) }
}

fn can_read(file: &OpenFile) -> Result<(), Errno> {
    if file.is_readable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn can_write(file: &OpenFile) -> Result<(), Errno> {
    if file.is_writable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn read(cx: &mut Cx<'_>, fd: Fd, to: UserAddr, len: usize) -> SysResult {
    let file = cx.files.get(fd)?;
    can_read(&file)?;
    read_into(cx, &file, At::Position, &piece(At::Position, to, len)?)
}

fn write(cx: &mut Cx<'_>, fd: Fd, from: UserAddr, len: usize) -> SysResult {
    let file = cx.files.get(fd)?;
    can_write(&file)?;
    write_from(cx, &file, At::Position, &piece(At::Position, from, len)?)
}

fn pread(cx: &mut Cx<'_>, fd: Fd, to: UserAddr, len: usize, offset: i64) -> SysResult {
    let at = At::offset(offset)?;
    let file = cx.files.get(fd)?;
    check_offset(&file, at)?;
    can_read(&file)?;
    read_into(cx, &file, at, &piece(at, to, len)?)
}

fn pwrite(cx: &mut Cx<'_>, fd: Fd, from: UserAddr, len: usize, offset: i64) -> SysResult {
    let at = At::offset(offset)?;
    let file = cx.files.get(fd)?;
    check_offset(&file, at)?;
    can_write(&file)?;
    write_from(cx, &file, at, &piece(at, from, len)?)
}

fn readv(cx: &mut Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize) -> SysResult {
    read_pieces(cx, fd, vector, count, At::Position, 0)
}

fn writev(cx: &mut Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize) -> SysResult {
    write_pieces(cx, fd, vector, count, At::Position, 0)
}

fn preadv(cx: &mut Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize, offset: i64) -> SysResult {
    read_pieces(cx, fd, vector, count, At::offset(offset)?, 0)
}

fn pwritev(cx: &mut Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize, offset: i64) -> SysResult {
    write_pieces(cx, fd, vector, count, At::offset(offset)?, 0)
}

/// The pieces are looked at before what the file was opened for.
fn read_pieces(cx: &Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize, at: At, flags: u32) -> SysResult {
    let file = cx.files.get(fd)?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    check_offset(&file, at)?;
    let slices = slices(cx, vector, count)?;
    can_read(&file)?;
    if is_empty(&slices) {
        return Ok(0);
    }
    check_flags(flags)?;
    read_into(cx, &file, at, &slices)
}

fn write_pieces(cx: &Cx<'_>, fd: Fd, vector: UserPtr<Iovec>, count: usize, at: At, flags: u32) -> SysResult {
    let file = cx.files.get(fd)?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    check_offset(&file, at)?;
    let slices = slices(cx, vector, count)?;
    can_write(&file)?;
    if is_empty(&slices) {
        return Ok(0);
    }
    check_flags(flags)?;
    write_flagged(cx, &file, at, &slices, flags)
}

/// Refuses `RWF_*` that are not there.
pub(super) fn check_flags(flags: u32) -> Result<(), Errno> {
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND) == 0 {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// `offset` -1 means the position.
fn at_or_position(offset: i64) -> Result<At, Errno> {
    if offset == -1 { Ok(At::Position) } else { At::offset(offset) }
}

fn preadv2(
    cx: &mut Cx<'_>,
    fd: Fd,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    read_pieces(cx, fd, vector, count, at_or_position(offset)?, flags)
}

fn pwritev2(
    cx: &mut Cx<'_>,
    fd: Fd,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    write_pieces(cx, fd, vector, count, at_or_position(offset)?, flags)
}

/// Writes as `RWF_*` say.
pub(super) fn write_flagged(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    at: At,
    slices: &[UserSlice],
    flags: u32,
) -> SysResult {
    let done = if flags & RWF_APPEND != 0 && io::regular(file).is_ok() {
        let scope = Scope::new(cx);
        let (end, done) = write_regular(cx, &scope, file, WriteAt::End, slices)?;
        if at == At::Position {
            *file.position.lock(cx.sleeper) = end;
        }
        done
    } else {
        write_from(cx, file, at, slices)?
    };
    if flags & (RWF_DSYNC | RWF_SYNC) != 0
        && let Ok((_, ops)) = io::regular(file)
    {
        let scope = Scope::new(cx);
        ops.sync(&scope.cx(cx))?;
    }
    Ok(done)
}

/// Whether reading from a stream can go on, for calls that move data between files.
pub(super) fn wait_ready(
    cx: &Cx<'_>,
    stream: &Arc<dyn Stream>,
    mask: PollMask,
    nonblocking: bool,
) -> Result<(), Failure> {
    let op = || {
        let ready = Stream::poll(&**stream, None);
        if ready.intersects(mask | PollMask::ERR | PollMask::HUP) { Ok(()) } else { Err(Stop::WouldBlock) }
    };
    if nonblocking {
        return op().map_err(descriptor::nonblocking).map_err(Failure::from);
    }
    Ok(block_on(&cx.waiter(), stream, None, op)?)
}
