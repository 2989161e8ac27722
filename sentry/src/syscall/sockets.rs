//! socket, socketpair, bind, listen, accept, accept4, connect, getsockname, getpeername, shutdown, getsockopt, setsockopt.

use super::descriptor::{self, CLOEXEC, NONBLOCK, READ_WRITE};
use super::filters;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Failure, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::time::Timeval;
use crate::fs::OpenFile;
use crate::fs::lookup::{Follow, Resolve, Walker};
use crate::fs::node::NewNode;
use crate::fs::permission::{self, Want};
use crate::fs::{FsCx, Node, names};
use crate::net::address::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, MAX_LEN};
use crate::net::socket::{self, Shutdown, SocketFile, Ucred};
use crate::net::stack::{Maker, Privilege};
use crate::net::unix::{Name, Unix};
use crate::net::{Address, Socket, SocketType};
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};
use crate::wait::{Blocked, Pollable, Stop, block_on};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

const FAMILIES: &str =
    "AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (route, sock_diag), AF_PACKET; the others answer EAFNOSUPPORT";
const PAIRS: &str = "AF_UNIX; other families answer EOPNOTSUPP or EAFNOSUPPORT, as on Linux";
const OPTIONS: &str = "no eBPF filters, none on TCP sockets (EOPNOTSUPP), no MSG_ZEROCOPY, no TCP fast open";

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(41, "socket", 3, socket_call, Restart::Never, Support::Partial(FAMILIES)),
    row!(42, "connect", 3, connect, Restart::Sa, Support::Full),
    row!(43, "accept", 3, accept, Restart::Sa, Support::Full),
    row!(48, "shutdown", 2, shutdown, Restart::Never, Support::Full),
    row!(49, "bind", 3, bind, Restart::Never, Support::Full),
    row!(50, "listen", 2, listen, Restart::Never, Support::Full),
    row!(51, "getsockname", 3, getsockname, Restart::Never, Support::Full),
    row!(52, "getpeername", 3, getpeername, Restart::Never, Support::Full),
    row!(53, "socketpair", 4, socketpair, Restart::Never, Support::Partial(PAIRS)),
    row!(54, "setsockopt", 5, setsockopt, Restart::Never, Support::Partial(OPTIONS)),
    row!(55, "getsockopt", 5, getsockopt, Restart::Never, Support::Partial(OPTIONS)),
    row!(288, "accept4", 4, accept4, Restart::Sa, Support::Full),
];

/// The open file of a socket.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub(super) fn open_socket(cx: &Cx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = descriptor::file(cx, fd)?;
    socket::of(&file)?;
    Ok(file)
}

/// Who calls, for the other side to see.
pub(super) fn ucred(cx: &Cx<'_>) -> Ucred {
    let creds = cx.task.creds();
    Ucred { pid: cx.task.pid(), uid: creds.euid, gid: creds.egid }
}

/// Runs a socket operation, waiting at `source` when it must and may; a time limit of 0 is none. Faults are resolved.
pub(super) fn run<T>(
    cx: &Cx<'_>,
    source: &dyn Pollable,
    wait: Wait,
    mut op: impl FnMut() -> Result<T, Stop>,
) -> Result<T, Failure> {
    let deadline_ns = match wait {
        Wait::No => None,
        Wait::For(0) => None,
        Wait::For(timeout_ns) => Some(cx.sleeper.now_ns().saturating_add(timeout_ns)),
    };
    loop {
        let result = if wait == Wait::No {
            op().map_err(|stop| match stop {
                Stop::WouldBlock => Blocked::Errno(Errno::EAGAIN),
                Stop::Fault(fault) => Blocked::Fault(fault),
                Stop::Errno(errno) => Blocked::Errno(errno),
            })
        } else {
            block_on(&cx.waiter(), source, deadline_ns, &mut op)
        };
        match result {
            Ok(value) => return Ok(value),
            Err(Blocked::Fault(fault)) => {
                cx.mm.resolve_fault(cx.sleeper, fault.addr, fault.access).map_err(|_| Errno::EFAULT)?;
            }
            Err(Blocked::TimedOut) => return Err(Errno::EAGAIN.into()),
            // With a time limit, a call is not restarted: it would wait anew.
            Err(Blocked::Interrupted) if deadline_ns.is_some() => return Err(Errno::EINTR.into()),
            Err(other) => return Err(other.into()),
        }
    }
}

/// Waits before the last descriptor of a socket is closed, if it wants that (`SO_LINGER`).
pub(super) fn linger(cx: &Cx<'_>, file: &Arc<OpenFile>) {
    /// Not every step of a connection's end wakes its socket.
    const STEP_NS: u64 = 50_000_000;
    let Ok(stream) = socket::of(file) else { return };
    let Some(for_ns) = stream.socket().begin_lingering() else { return };
    let deadline_ns = cx.sleeper.now_ns().saturating_add(for_ns);
    loop {
        let left_ns = deadline_ns.saturating_sub(cx.sleeper.now_ns());
        if left_ns == 0 {
            return;
        }
        let wait = Wait::For(left_ns.min(STEP_NS));
        let op = || if stream.socket().has_lingered() { Ok(()) } else { Err(Stop::WouldBlock) };
        match run(cx, &**file, wait, op) {
            Err(Failure::Errno(Errno::EAGAIN)) => {}
            _ => return,
        }
    }
}

/// Whether a socket operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It fails with `EAGAIN` instead.
    No,
    /// For so many ns; 0 is for ever.
    For(u64),
}

impl Wait {
    pub(super) fn new(file: &OpenFile, timeout_ns: u64) -> Self {
        if file.flags() & NONBLOCK != 0 { Self::No } else { Self::For(timeout_ns) }
    }
}

fn socket_type(kind: u32, flags: &mut u32) -> Result<SocketType, Errno> {
    *flags = kind & (CLOEXEC | NONBLOCK);
    match kind & !(CLOEXEC | NONBLOCK) {
        1 => Ok(SocketType::Stream),
        2 => Ok(SocketType::Datagram),
        3 => Ok(SocketType::Raw),
        5 => Ok(SocketType::SeqPacket),
        0 | 4 | 6..=10 => Err(Errno::ESOCKTNOSUPPORT),
        _ => Err(Errno::EINVAL),
    }
}

/// Refuses bits beside the type that are no flags.
fn check_type_flags(kind: u32) -> Result<(), Errno> {
    const TYPE_MASK: u32 = 15;
    if kind & !(TYPE_MASK | CLOEXEC | NONBLOCK) == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn check_unix(protocol: i32) -> Result<(), Errno> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) { Err(Errno::EPROTONOSUPPORT) } else { Ok(()) }
}

fn open(cx: &Cx<'_>, socket: Arc<dyn Socket>, flags: u32) -> Result<Fd, Errno> {
    descriptor::install(cx, SocketFile::new(socket, ucred(cx)), flags | READ_WRITE)
}

fn socket_call(cx: &mut Cx<'_>, family: i32, kind: u32, protocol: i32) -> SysResult {
    check_type_flags(kind)?;
    let mut flags = 0;
    let kind = socket_type(kind, &mut flags);
    let socket: Arc<dyn Socket> = if family == i32::from(AF_UNIX) {
        if matches!(kind, Err(Errno::EINVAL)) {
            return Err(Errno::EINVAL.into());
        }
        check_unix(protocol)?;
        // Linux gives a datagram socket to who asks for a raw one.
        let kind = if kind? == SocketType::Raw { SocketType::Datagram } else { kind? };
        Unix::new(kind, cx.task.namespaces().net.ino)
    } else {
        let family = u16::try_from(family).map_err(|_| Errno::EAFNOSUPPORT)?;
        if !matches!(family, AF_INET | AF_INET6 | AF_NETLINK | AF_PACKET) {
            return Err(Errno::EAFNOSUPPORT.into());
        }
        let maker = maker(cx);
        if family == AF_PACKET && maker.raw == Privilege::Denied && !matches!(kind, Err(Errno::EINVAL)) {
            return Err(Errno::EPERM.into());
        }
        cx.task.namespaces().net.stack.socket(family, kind?, protocol, maker)?
    };
    descriptor::number(open(cx, socket, flags)?)
}

/// Who makes an internet socket.
fn maker(cx: &Cx<'_>) -> Maker {
    let (creds, net) = (cx.task.creds(), cx.task.namespaces().net.clone());
    Maker {
        creds: ucred(cx),
        budget: cx.task.container().budget.clone(),
        raw: creds.has_in(Capability::NetRaw, &net.owner).into(),
        admin: creds.has_in(Capability::NetAdmin, &net.owner).into(),
    }
}

fn socketpair(cx: &mut Cx<'_>, family: i32, kind: u32, protocol: i32, fds: UserPtr<[i32; 2]>) -> SysResult {
    check_type_flags(kind)?;
    // Linux takes the numbers and writes them first.
    cx.user().write(fds, &cx.user().read(fds)?)?;
    let mut flags = 0;
    let kind = match u16::try_from(family) {
        Ok(AF_UNIX | AF_INET | AF_INET6 | AF_NETLINK | AF_PACKET) => socket_type(kind, &mut flags)?,
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    match u16::try_from(family) {
        Ok(AF_UNIX) => check_unix(protocol)?,
        Ok(family @ (AF_INET | AF_INET6 | AF_NETLINK | AF_PACKET)) => {
            // The sockets are made first, and cannot be joined then.
            cx.task.namespaces().net.stack.socket(family, kind, protocol, maker(cx))?.released();
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    }
    let kind = if kind == SocketType::Raw { SocketType::Datagram } else { kind };
    let (one, other) = Unix::pair(kind, cx.task.namespaces().net.ino, ucred(cx));
    let one = open(cx, one, flags)?;
    let result = open(cx, other, flags).and_then(|other| {
        cx.user().write(fds, &[one.0, other.0]).inspect_err(|_| drop(cx.files.remove(other)))
    });
    if let Err(errno) = result {
        drop(cx.files.remove(one));
        return Err(errno.into());
    }
    Ok(0)
}

/// Reads `struct sockaddr`.
pub(super) fn read_address(cx: &Cx<'_>, at: UserAddr, len: u32) -> Result<Address, Errno> {
    let len = usize::try_from(len.cast_signed()).map_err(|_| Errno::EINVAL)?;
    if len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len];
    cx.user().read_bytes(at, &mut bytes)?;
    Address::from_bytes(&bytes)
}

/// Writes `struct sockaddr` as far as there is room, and its whole length.
pub(super) fn write_address(
    cx: &Cx<'_>,
    address: &Address,
    at: UserAddr,
    len: UserPtr<i32>,
) -> Result<(), Errno> {
    let room = usize::try_from(cx.user().read(len)?).map_err(|_| Errno::EINVAL)?;
    let bytes = address.to_bytes();
    cx.user().write_bytes(at, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
    cx.user().write(len, &i32::try_from(bytes.len()).unwrap_or(0))
}

/// Runs `act` with the caller as the file system sees it.
fn with_fs<T>(cx: &Cx<'_>, act: impl FnOnce(&FsCx<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
    let creds = cx.task.creds();
    let caller = descriptor::caller(cx);
    act(&FsCx { sleeper: cx.sleeper, interrupt: &**cx.task, creds: &creds, caller })
}

/// What a path of an address leads to.
fn place_of(cx: &Cx<'_>, address: &Address) -> Result<Arc<Node>, Errno> {
    let Address::Unix(Name::Path(path, _)) = address else { return Err(Errno::EINVAL) };
    with_fs(cx, |fs| {
        let context = cx.task.fs();
        let walker = Walker::new(fs, context.root(), context.cwd(), path, Resolve::empty())?;
        Ok(walker.target(Follow::No)?.node()?.clone())
    })
}

/// Fills in the node of a path that is to be connected or sent to.
///
/// # Errors
/// As path_resolution(7); `ECONNREFUSED` when it is no socket.
pub(super) fn find_name(cx: &Cx<'_>, address: Address) -> Result<Address, Errno> {
    let Address::Unix(Name::Path(path, _)) = &address else { return Ok(address) };
    let node: Arc<Node> = with_fs(cx, |fs| {
        let context = cx.task.fs();
        let walker = Walker::new(fs, context.root(), context.cwd(), path, Resolve::empty())?;
        let place = walker.target(Follow::Yes)?;
        let node = place.node()?.clone();
        permission::check_node(fs, &node, Want::WRITE)?;
        Ok(node)
    })?;
    Ok(Address::Unix(Name::Path(path.clone(), Some(node))))
}

/// Makes the node of a path that a socket is to be bound to.
///
/// # Errors
/// As mknod(2), with `EADDRINUSE` for a name that is there.
fn make_name(cx: &Cx<'_>, address: Address) -> Result<Address, Errno> {
    let Address::Unix(Name::Path(path, _)) = &address else { return Ok(address) };
    let node = with_fs(cx, |fs| {
        let context = cx.task.fs();
        let mut walker = Walker::new(fs, context.root(), context.cwd(), path, Resolve::empty())?;
        let (last, tail) = walker.parent()?;
        let mode = 0o777 & !context.umask();
        let dentry = names::create(fs, walker.at(), &last, tail, &NewNode::Socket, mode);
        let dentry =
            dentry.map_err(|errno| if errno == Errno::EEXIST { Errno::EADDRINUSE } else { errno })?;
        dentry.node.clone().ok_or(Errno::EADDRINUSE)
    })?;
    Ok(Address::Unix(Name::Path(path.clone(), Some(node))))
}

fn bind(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: u32) -> SysResult {
    let file = open_socket(cx, fd)?;
    let socket = socket::of(&file)?.socket();
    let address = read_address(cx, at, len)?;
    if let Address::Inet(at) = &address
        && matches!(socket.kind().1, SocketType::Stream | SocketType::Datagram)
        && let net = cx.task.namespaces().net.clone()
        && net.stack.is_privileged(at.port())
        && !cx.task.creds().has_in(Capability::NetBindService, &net.owner)
    {
        return Err(Errno::EACCES.into());
    }
    if !matches!(socket.local(), Address::Unix(name) if !matches!(name, Name::Unnamed)) {
        socket.bind(&make_name(cx, address)?)?;
        return Ok(0);
    }
    // A path that is there is told first.
    let taken = matches!(address, Address::Unix(Name::Path(..))) && place_of(cx, &address).is_ok();
    Err(if taken { Errno::EADDRINUSE } else { Errno::EINVAL }.into())
}

fn listen(cx: &mut Cx<'_>, fd: Fd, backlog: i32) -> SysResult {
    let file = open_socket(cx, fd)?;
    // Linux takes a negative backlog as the largest.
    let backlog = usize::try_from(backlog).unwrap_or(usize::MAX);
    socket::of(&file)?.socket().listen(backlog, ucred(cx))?;
    Ok(0)
}

fn connect(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: u32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    // The address is read before it is known that this is a socket.
    let address = read_address(cx, at, len)?;
    let stream = socket::of(&file)?;
    let address = find_name(cx, address)?;
    let creds = ucred(cx);
    let wait = Wait::new(&file, stream.timeouts().send_ns);
    let op = || stream.socket().try_connect(&address, creds);
    // What a connect says that must not, or not any longer, wait.
    let waits = match stream.socket().is_connecting() {
        None => Errno::EAGAIN,
        Some(false) => Errno::EINPROGRESS,
        Some(true) => Errno::EALREADY,
    };
    let result = match stream.socket().connect_source(&address) {
        Some(source) => run(cx, &*source, wait, op),
        None => run(cx, &*file, wait, op),
    };
    match result {
        Err(Failure::Errno(Errno::EAGAIN)) => Err(waits.into()),
        other => other.map(|()| 0),
    }
}

fn accept(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: UserPtr<i32>) -> SysResult {
    accept4(cx, fd, at, len, 0)
}

fn accept4(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: UserPtr<i32>, flags: u32) -> SysResult {
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = open_socket(cx, fd)?;
    let stream = socket::of(&file)?;
    let wait = Wait::new(&file, stream.timeouts().receive_ns);
    let accepted = run(cx, &*file, wait, || stream.socket().try_accept())?;
    // A peer that has gone already is told as no address.
    let is_unix = accepted.kind().0 == AF_UNIX;
    let none = if is_unix { Address::Unix(Name::Unnamed) } else { Address::Unspecified };
    let peer = accepted.peer().unwrap_or(none);
    // From here on the connection is closed by dropping its file.
    let fd = open(cx, accepted, flags)?;
    if !at.is_null()
        && let Err(errno) = write_address(cx, &peer, at, len)
    {
        drop(cx.files.remove(fd));
        return Err(errno.into());
    }
    descriptor::number(fd)
}

fn getsockname(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: UserPtr<i32>) -> SysResult {
    let file = open_socket(cx, fd)?;
    write_address(cx, &socket::of(&file)?.socket().local(), at, len)?;
    Ok(0)
}

fn getpeername(cx: &mut Cx<'_>, fd: Fd, at: UserAddr, len: UserPtr<i32>) -> SysResult {
    let file = open_socket(cx, fd)?;
    write_address(cx, &socket::of(&file)?.socket().peer()?, at, len)?;
    Ok(0)
}

fn shutdown(cx: &mut Cx<'_>, fd: Fd, how: i32) -> SysResult {
    let file = open_socket(cx, fd)?;
    let how = match how {
        0 => Shutdown::Read,
        1 => Shutdown::Write,
        2 => Shutdown::Both,
        _ => return Err(Errno::EINVAL.into()),
    };
    socket::of(&file)?.socket().shutdown(how)?;
    Ok(0)
}

const SOL_SOCKET: i32 = 1;
const SO_PEERCRED: i32 = 17;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;
/// Bytes of an option that is looked at.
const MAX_OPTION: usize = 512;

fn setsockopt(cx: &mut Cx<'_>, fd: Fd, level: i32, name: i32, at: UserAddr, len: i32) -> SysResult {
    let file = open_socket(cx, fd)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let stream = socket::of(&file)?;
    if level == SOL_SOCKET && matches!(name, SO_RCVTIMEO | SO_SNDTIMEO) {
        if len < size_of::<Timeval>() {
            return Err(Errno::EINVAL.into());
        }
        let value = cx.user().read(UserPtr::<Timeval>::new(at))?;
        if !(0..1_000_000).contains(&value.usec) {
            return Err(Errno::EDOM.into());
        }
        // Negative seconds: as soon as possible, which here is 1 ns.
        let timeout_ns = value.to_ns().unwrap_or(1);
        let mut timeouts = stream.timeouts();
        if name == SO_RCVTIMEO {
            timeouts.receive_ns = timeout_ns;
        } else {
            timeouts.send_ns = timeout_ns;
        }
        stream.set_timeouts(timeouts);
        return Ok(0);
    }
    if level == SOL_SOCKET
        && let Some(result) = filters::set(cx, &**stream.socket(), name, at, len)
    {
        return result;
    }
    let mut value = vec![0; len.min(MAX_OPTION)];
    cx.user().read_bytes(at, &mut value)?;
    if level == SOL_SOCKET {
        check_privilege(cx, name, &value)?;
    }
    stream.set_option(level, name, &value)?;
    Ok(0)
}

/// Options that only some may set.
fn check_privilege(cx: &Cx<'_>, name: i32, value: &[u8]) -> Result<(), Errno> {
    const SO_DEBUG: i32 = 1;
    const SO_PRIORITY: i32 = 12;
    const SO_SNDBUFFORCE: i32 = 32;
    const SO_RCVBUFFORCE: i32 = 33;
    const SO_MARK: i32 = 36;
    let Some(number) = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) else { return Ok(()) };
    let refusal = match name {
        SO_DEBUG if number != 0 => Errno::EACCES,
        SO_PRIORITY if !(0..=6).contains(&number) => Errno::EPERM,
        SO_SNDBUFFORCE | SO_RCVBUFFORCE | SO_MARK => Errno::EPERM,
        _ => return Ok(()),
    };
    if cx.task.creds().has(crate::security::Capability::NetAdmin) { Ok(()) } else { Err(refusal) }
}

/// `struct ucred` with the process's number as the caller sees it.
fn as_seen(cx: &Cx<'_>, mut creds: Vec<u8>) -> Vec<u8> {
    if let Some(pid) = creds.first_chunk_mut::<4>() {
        *pid = cx.task.shown(u32::from_ne_bytes(*pid)).to_ne_bytes();
    }
    creds
}

fn getsockopt(cx: &mut Cx<'_>, fd: Fd, level: i32, name: i32, at: UserAddr, len: UserPtr<i32>) -> SysResult {
    let file = open_socket(cx, fd)?;
    let stream = socket::of(&file)?;
    let room = usize::try_from(cx.user().read(len)?).map_err(|_| Errno::EINVAL)?;
    if level == SOL_SOCKET
        && let Some(result) = filters::get(cx, stream.socket().filter(), name, at, room, len)
    {
        return result;
    }
    let timeval = |ns: u64| {
        let value = Timeval::from_ns(ns);
        [value.sec.to_ne_bytes(), value.usec.to_ne_bytes()].concat()
    };
    let value = match (level, name) {
        (SOL_SOCKET, SO_RCVTIMEO) => timeval(stream.timeouts().receive_ns),
        (SOL_SOCKET, SO_SNDTIMEO) => timeval(stream.timeouts().send_ns),
        (SOL_SOCKET, SO_PEERCRED) => as_seen(cx, stream.option(level, name, room)?),
        _ => stream.option(level, name, room)?,
    };
    let part = value.get(..room.min(value.len())).unwrap_or_default();
    cx.user().write_bytes(at, part)?;
    cx.user().write(len, &i32::try_from(part.len()).unwrap_or(0))?;
    Ok(0)
}
