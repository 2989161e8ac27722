//! sendto, recvfrom, sendmsg, recvmsg, sendmmsg, recvmmsg.

use super::ancillary;
use super::descriptor;
use super::row::{Restart, Row, Support, row};
use super::sockets::{Wait, find_name, open_socket, read_address, run, ucred, write_address};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timespec;
use crate::fs::OpenFile;
use crate::net::socket::{self, Incoming, MsgFlags, Outgoing};
use crate::net::{Address, SocketType};
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr, UserSlice};
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(44, "sendto", 6, sendto, Restart::Sa, Support::Full),
    row!(45, "recvfrom", 6, recvfrom, Restart::Sa, Support::Full),
    row!(46, "sendmsg", 3, sendmsg, Restart::Sa, Support::Partial("MSG_ZEROCOPY copies")),
    row!(47, "recvmsg", 3, recvmsg, Restart::Sa, Support::Full),
    row!(299, "recvmmsg", 5, recvmmsg, Restart::Sa, Support::Full),
    row!(307, "sendmmsg", 4, sendmmsg, Restart::Sa, Support::Full),
];

/// Buffers of one message (`UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;
/// Bytes of one call (`MAX_RW_COUNT`).
const MAX_BYTES: usize = 0x7fff_f000;

/// `struct msghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MsgHdr {
    name: u64,
    name_len: u32,
    pad1: u32,
    buffers: u64,
    buffer_count: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    pad2: u32,
}

/// `struct mmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MMsgHdr {
    header: MsgHdr,
    len: u32,
    pad: u32,
}

/// The buffers of a message.
fn buffers(cx: &Cx<'_>, header: &MsgHdr) -> Result<Vec<UserSlice>, Errno> {
    let count = usize::try_from(header.buffer_count).map_err(|_| Errno::EMSGSIZE)?;
    if count > MAX_BUFFERS {
        return Err(Errno::EMSGSIZE);
    }
    let raw = cx.user().read_array(UserPtr::<[u64; 2]>::new(UserAddr::new(header.buffers)), count)?;
    let mut left = MAX_BYTES;
    let mut slices = Vec::with_capacity(count);
    for [at, len] in raw {
        let len =
            usize::try_from(len).ok().filter(|len| isize::try_from(*len).is_ok()).ok_or(Errno::EINVAL)?;
        let slice = UserSlice::new(UserAddr::new(at), len)?;
        slices.push(UserSlice { len: slice.len.min(left), ..slice });
        left = left.saturating_sub(slice.len);
    }
    Ok(slices)
}

fn wait(file: &OpenFile, flags: MsgFlags, timeout_ns: u64) -> Wait {
    if flags.contains(MsgFlags::DONTWAIT) { Wait::No } else { Wait::new(file, timeout_ns) }
}

/// Sends the bytes of `slices` with what goes with them.
fn send(cx: &Cx<'_>, file: &Arc<OpenFile>, slices: &[UserSlice], mut message: Outgoing) -> SysResult {
    let stream = socket::of(file)?;
    let is_stream = stream.socket().kind().1 == SocketType::Stream;
    let wait = wait(file, message.flags, stream.timeouts().send_ns);
    let quiet = message.flags.contains(MsgFlags::NOSIGNAL);
    // A datagram to somebody waits for room there.
    let source = message.to.as_ref().and_then(|to| stream.socket().connect_source(to));
    let space = cx.mm.space().clone();
    let mut reader = IoReader::user(&*space, slices);
    loop {
        let op = || stream.socket().try_send(&mut reader, &mut message);
        let result = match &source {
            Some(source) => run(cx, &**source, wait, op),
            None => run(cx, &**file, wait, op),
        };
        match result {
            Ok(_) if is_stream && reader.remaining() > 0 => {}
            Ok(_) => return Ok(reader.done()),
            Err(_) if is_stream && reader.done() > 0 => return Ok(reader.done()),
            Err(failure) => {
                if failure == Failure::Errno(Errno::EPIPE) && is_stream && !quiet {
                    descriptor::raise_sigpipe(cx);
                }
                return Err(failure);
            }
        }
    }
}

/// Receives into `slices`.
fn receive(
    cx: &Cx<'_>,
    file: &Arc<OpenFile>,
    slices: &[UserSlice],
    flags: MsgFlags,
) -> Result<Incoming, Failure> {
    let stream = socket::of(file)?;
    let is_stream = stream.socket().kind().1 == SocketType::Stream;
    let wait = wait(file, flags, stream.timeouts().receive_ns);
    let space = cx.mm.space().clone();
    let mut writer = IoWriter::user(&*space, slices);
    let mut all: Option<Incoming> = None;
    loop {
        match run(cx, &**file, wait, || stream.socket().try_receive(&mut writer, flags)) {
            Ok(incoming) => {
                let end = incoming.len == 0 || !incoming.rights.is_empty();
                let whole = match all.take() {
                    None => incoming,
                    Some(mut all) => {
                        all.len += incoming.len;
                        all.full_len += incoming.full_len;
                        all.rights.extend(incoming.rights);
                        all
                    }
                };
                let goes_on = is_stream
                    && flags.contains(MsgFlags::WAITALL)
                    && !flags.contains(MsgFlags::PEEK)
                    && wait != Wait::No
                    && writer.remaining() > 0
                    && !end;
                if !goes_on {
                    return Ok(whole);
                }
                all = Some(whole);
            }
            Err(failure) => {
                if failure == Failure::Errno(Errno::EFAULT) && !flags.contains(MsgFlags::PEEK) {
                    stream.socket().lose_next();
                }
                return all.ok_or(failure);
            }
        }
    }
}

fn one_slice(at: UserAddr, len: usize) -> Result<[UserSlice; 1], Errno> {
    Ok([UserSlice::new(at, len.min(MAX_BYTES))?])
}

fn sendto(
    cx: &mut Cx<'_>,
    fd: Fd,
    at: UserAddr,
    len: usize,
    flags: u32,
    to: UserAddr,
    to_len: u32,
) -> SysResult {
    let slices = one_slice(at, len)?;
    let file = open_socket(cx, fd)?;
    let to = if to.is_null() { None } else { Some(find_name(cx, read_address(cx, to, to_len)?)?) };
    let flags = MsgFlags::from_bits_truncate(flags);
    send(cx, &file, &slices, Outgoing { to, creds: ucred(cx), flags, ..Outgoing::default() })
}

/// The length that recv(2) and its like tell.
fn told_len(incoming: &Incoming, flags: MsgFlags) -> usize {
    if flags.contains(MsgFlags::TRUNC) { incoming.full_len } else { incoming.len }
}

fn recvfrom(
    cx: &mut Cx<'_>,
    fd: Fd,
    at: UserAddr,
    len: usize,
    flags: u32,
    from: UserAddr,
    from_len: UserPtr<i32>,
) -> SysResult {
    let slices = one_slice(at, len)?;
    let file = open_socket(cx, fd)?;
    let flags = MsgFlags::from_bits_truncate(flags);
    let incoming = receive(cx, &file, &slices, flags)?;
    if !from.is_null() {
        match &incoming.from {
            Some(Address::Unix(crate::net::unix::Name::Unnamed)) | None => {
                cx.user().write_if(from_len, &0)?
            }
            Some(address) => write_address(cx, address, from, from_len)?,
        }
    }
    Ok(told_len(&incoming, flags))
}

fn send_header(cx: &Cx<'_>, file: &Arc<OpenFile>, header: &MsgHdr, flags: u32) -> SysResult {
    let slices = buffers(cx, header)?;
    let name = UserAddr::new(header.name);
    let to = if name.is_null() || header.name_len == 0 {
        None
    } else {
        Some(find_name(cx, read_address(cx, name, header.name_len)?)?)
    };
    let flags = MsgFlags::from_bits_truncate(flags);
    let mut message = Outgoing { to, creds: ucred(cx), flags, ..Outgoing::default() };
    ancillary::read(cx, UserAddr::new(header.control), header.control_len, &mut message)?;
    send(cx, file, &slices, message)
}

/// Refuses the flag with which Linux tells itself of 32-bit callers.
fn check_flags(flags: u32) -> Result<(), Errno> {
    const CMSG_COMPAT: u32 = 1 << 31;
    if flags & CMSG_COMPAT == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn sendmsg(cx: &mut Cx<'_>, fd: Fd, header: UserPtr<MsgHdr>, flags: u32) -> SysResult {
    check_flags(flags)?;
    let file = open_socket(cx, fd)?;
    let header = cx.user().read(header)?;
    send_header(cx, &file, &header, flags)
}

fn receive_header(cx: &Cx<'_>, file: &Arc<OpenFile>, at: UserPtr<MsgHdr>, flags: MsgFlags) -> SysResult {
    let mut header = cx.user().read(at)?;
    let slices = buffers(cx, &header)?;
    let mut incoming = receive(cx, file, &slices, flags)?;
    let mut told = incoming.flags;
    let name = UserAddr::new(header.name);
    let bytes = match &incoming.from {
        Some(Address::Unix(crate::net::unix::Name::Unnamed)) | None => Vec::new(),
        Some(address) => address.to_bytes(),
    };
    if !name.is_null() {
        let room = usize::try_from(header.name_len).unwrap_or(0);
        cx.user().write_bytes(name, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
        header.name_len = u32::try_from(bytes.len()).unwrap_or(0);
    }
    let rights = core::mem::take(&mut incoming.rights);
    let control = UserAddr::new(header.control);
    let (used, cut) = ancillary::write(cx, control, header.control_len, &incoming, rights, flags)?;
    told.set(MsgFlags::CTRUNC, cut);
    told.set(MsgFlags::CMSG_CLOEXEC, flags.contains(MsgFlags::CMSG_CLOEXEC));
    header.control_len = used;
    header.flags = told.bits();
    cx.user().write(at, &header)?;
    Ok(told_len(&incoming, flags))
}

fn recvmsg(cx: &mut Cx<'_>, fd: Fd, header: UserPtr<MsgHdr>, flags: u32) -> SysResult {
    check_flags(flags)?;
    let file = open_socket(cx, fd)?;
    receive_header(cx, &file, header, MsgFlags::from_bits_truncate(flags))
}

/// Place of a header, and of its length, in an array of `struct mmsghdr`.
fn element(headers: UserPtr<MMsgHdr>, index: usize) -> Result<(UserPtr<MsgHdr>, UserPtr<u32>), Errno> {
    let at = headers.element(index)?.addr();
    let len = at.checked_add(size_of::<MsgHdr>() as u64).ok_or(Errno::EFAULT)?;
    Ok((UserPtr::new(at), UserPtr::new(len)))
}

fn sendmmsg(cx: &mut Cx<'_>, fd: Fd, headers: UserPtr<MMsgHdr>, count: u32, flags: u32) -> SysResult {
    check_flags(flags)?;
    let file = open_socket(cx, fd)?;
    let count = usize::try_from(count).unwrap_or(0).min(MAX_BUFFERS);
    for index in 0..count {
        let (header, len) = element(headers, index)?;
        let sent = cx.user().read(header).map_err(Failure::from);
        match sent.and_then(|header| send_header(cx, &file, &header, flags)) {
            Ok(sent) => cx.user().write(len, &u32::try_from(sent).unwrap_or(u32::MAX))?,
            Err(_) if index > 0 => return Ok(index),
            Err(failure) => return Err(failure),
        }
    }
    Ok(count)
}

fn recvmmsg(
    cx: &mut Cx<'_>,
    fd: Fd,
    headers: UserPtr<MMsgHdr>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    check_flags(flags)?;
    let deadline_ns = match timeout.non_null() {
        Some(timeout) => Some(cx.sleeper.now_ns().saturating_add(cx.user().read(timeout)?.to_ns()?)),
        None => None,
    };
    let file = open_socket(cx, fd)?;
    let count = usize::try_from(count).unwrap_or(0).min(MAX_BUFFERS);
    let mut flags = MsgFlags::from_bits_truncate(flags);
    let once = flags.contains(MsgFlags::WAITFORONE);
    flags.remove(MsgFlags::WAITFORONE);
    for index in 0..count {
        let (header, len) = element(headers, index)?;
        match receive_header(cx, &file, header, flags) {
            Ok(got) => cx.user().write(len, &u32::try_from(got).unwrap_or(u32::MAX))?,
            Err(_) if index > 0 => return Ok(index),
            Err(failure) => return Err(failure),
        }
        if once {
            flags.insert(MsgFlags::DONTWAIT);
        }
        // As on Linux, the time limit is looked at between messages only.
        if deadline_ns.is_some_and(|deadline| cx.sleeper.now_ns() >= deadline) {
            return Ok(index + 1);
        }
    }
    Ok(count)
}
