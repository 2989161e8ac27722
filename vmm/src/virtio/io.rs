//! Reads and writes of host descriptors straight from and into guest memory.

#![expect(unsafe_code, reason = "readv and writev on guest memory, which has no Rust references")]

use super::chain::Cursor;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use vm_memory::VolatileSlice;

/// Where in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At this offset (regular files).
    At(u64),
    /// Wherever the stream stands.
    Stream,
    /// A socket, without waiting, whatever its flags say.
    Socket,
}

/// Most pieces of one system call (`IOV_MAX` is 1024).
const MAX_PIECES: usize = 256;

fn piece(slice: &VolatileSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }
}

fn pieces(cursor: &Cursor<'_>) -> Vec<libc::iovec> {
    cursor.slices().take(MAX_PIECES).map(piece).collect()
}

fn offset(at: u64) -> io::Result<i64> {
    i64::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn length(pieces: &[libc::iovec]) -> i32 {
    i32::try_from(pieces.len()).unwrap_or(0)
}

fn message(pieces: &[libc::iovec]) -> libc::msghdr {
    // SAFETY: a message header of zeros is one without name, pieces and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // The kernel writes through the pieces, never to the list of them.
    message.msg_iov = pieces.as_ptr().cast_mut();
    message.msg_iovlen = pieces.len();
    message
}

fn result(n: isize) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Reads from `fd` into the memory ahead of `cursor`, once; the cursor moves past what was read. 0 is end of file (or a
/// cursor with no room).
///
/// # Errors
/// That of preadv(2) or readv(2), `EINTR` excepted.
pub fn read_into(fd: BorrowedFd<'_>, position: Position, cursor: &mut Cursor<'_>) -> io::Result<usize> {
    let pieces = pieces(cursor);
    let (list, count, fd) = (pieces.as_ptr(), length(&pieces), fd.as_raw_fd());
    loop {
        let n = match position {
            Position::At(at) => {
                let at = offset(at)?;
                // SAFETY: every piece is mapped guest RAM, borrowed for the cursor's lifetime, without references to it.
                unsafe { libc::preadv(fd, list, count, at) }
            }
            // SAFETY: as above.
            Position::Stream => unsafe { libc::readv(fd, list, count) },
            Position::Socket => {
                let mut message = message(&pieces);
                // SAFETY: as above; the message names nothing but the pieces.
                unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) }
            }
        };
        match result(n) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(n) => return Ok(cursor.skip(n)),
            Err(error) => return Err(error),
        }
    }
}

/// Writes the memory ahead of `cursor` to `fd`, once; the cursor moves past what was written.
///
/// # Errors
/// That of pwritev(2) or writev(2), `EINTR` excepted.
pub fn write_from(fd: BorrowedFd<'_>, position: Position, cursor: &mut Cursor<'_>) -> io::Result<usize> {
    let pieces = pieces(cursor);
    let (list, count, fd) = (pieces.as_ptr(), length(&pieces), fd.as_raw_fd());
    loop {
        let n = match position {
            Position::At(at) => {
                let at = offset(at)?;
                // SAFETY: every piece is mapped guest RAM, borrowed for the cursor's lifetime; the kernel only reads it.
                unsafe { libc::pwritev(fd, list, count, at) }
            }
            // SAFETY: as above.
            Position::Stream => unsafe { libc::writev(fd, list, count) },
            Position::Socket => {
                let message = message(&pieces);
                // SAFETY: as above; the message names nothing but the pieces.
                unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }
            }
        };
        match result(n) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(n) => return Ok(cursor.skip(n)),
            Err(error) => return Err(error),
        }
    }
}

/// Reads one frame from a TAP: its header into `header`, the rest into the memory ahead of `rooms`, which do not move.
/// Returns the bytes read, header included.
///
/// # Errors
/// That of readv(2), `EINTR` excepted; `EINVAL` for more pieces than it takes.
pub fn read_frame<'c, 'r: 'c>(
    fd: BorrowedFd<'_>,
    header: &mut [u8],
    rooms: impl Iterator<Item = &'c Cursor<'r>>,
) -> io::Result<usize> {
    let mut pieces = vec![libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() }];
    pieces.extend(rooms.flat_map(Cursor::slices).map(piece));
    loop {
        // SAFETY: the first piece is `header`, every other is mapped guest RAM, borrowed for the cursors' lifetime, without
        // references to it.
        match result(unsafe { libc::readv(fd.as_raw_fd(), pieces.as_ptr(), length(&pieces)) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Writes one frame to a TAP: `header`, which the guest cannot change any more, then the memory ahead of `frame`.
///
/// # Errors
/// That of writev(2), `EINTR` excepted; `EINVAL` for more pieces than it takes.
pub fn write_frame(fd: BorrowedFd<'_>, header: &[u8], frame: &Cursor<'_>) -> io::Result<()> {
    // The kernel only reads the pieces.
    let mut pieces = vec![libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() }];
    pieces.extend(frame.slices().map(piece));
    loop {
        // SAFETY: the first piece is `header`, every other is mapped guest RAM, borrowed for the cursor's lifetime.
        match result(unsafe { libc::writev(fd.as_raw_fd(), pieces.as_ptr(), length(&pieces)) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map(drop),
        }
    }
}
