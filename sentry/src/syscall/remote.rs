//! process_vm_readv and process_vm_writev: memory of other processes.

use super::files;
use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::abi::file::Iovec;
use crate::mm::Mm;
use crate::task::{Task, trace};
use crate::user::{UserAddr, UserPtr, UserSlice};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(310, "process_vm_readv", 6, process_vm_readv, Restart::Never, Support::Full),
    row!(311, "process_vm_writev", 6, process_vm_writev, Restart::Never, Support::Full),
];

/// Most vectors of one side (`UIO_MAXIOV`).
pub(super) const MAX_VECTORS: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromOther,
    ToOther,
}

fn process_vm_readv(
    cx: &mut Cx<'_>,
    pid: u32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> SysResult {
    transfer(cx, pid, (local, local_count), (remote, remote_count), flags, Direction::FromOther)
}

fn process_vm_writev(
    cx: &mut Cx<'_>,
    pid: u32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> SysResult {
    transfer(cx, pid, (local, local_count), (remote, remote_count), flags, Direction::ToOther)
}

/// Whether the caller may see into another task's memory (ptrace(2), "Ptrace access mode checking", ATTACH_REALCREDS).
pub(super) fn may_access(cx: &Cx<'_>, other: &Arc<Task>) -> bool {
    if Arc::ptr_eq(cx.task.process(), other.process()) {
        return true;
    }
    trace::may_access(&cx.task.creds(), other)
}

fn transfer(
    cx: &Cx<'_>,
    pid: u32,
    local: (UserPtr<Iovec>, usize),
    remote: (UserPtr<Iovec>, usize),
    flags: u64,
    direction: Direction,
) -> SysResult {
    if flags != 0 || local.1 > MAX_VECTORS || remote.1 > MAX_VECTORS {
        return Err(Errno::EINVAL.into());
    }
    let local = files::slices(cx, local.0, local.1)?;
    let remote = files::slices(cx, remote.0, remote.1)?;
    let other = cx.task.find_task(pid).ok_or(Errno::ESRCH)?;
    if !may_access(cx, &other) {
        return Err(Errno::EPERM.into());
    }
    let mm = other.mm().ok_or(Errno::ESRCH)?;
    let mut pieces = Pieces { local: &local, remote: &remote, local_done: 0, remote_done: 0 };
    let mut buffer: Vec<u8> = alloc::vec![0; 4096];
    let mut done = 0;
    while let Some((here, there, len)) = pieces.next(buffer.len()) {
        let part = buffer.get_mut(..len).unwrap_or_default();
        if let Err(errno) = copy(cx, &mm, here, there, part, direction) {
            return if done > 0 { Ok(done) } else { Err(errno.into()) };
        }
        done += len;
        if done & 0x3f_ffff == 0 {
            cx.sleeper.resched_point();
        }
    }
    Ok(done)
}

fn copy(
    cx: &Cx<'_>,
    mm: &Mm,
    here: UserAddr,
    there: UserAddr,
    part: &mut [u8],
    direction: Direction,
) -> Result<(), Errno> {
    match direction {
        Direction::FromOther => {
            if mm.read_remote(cx.sleeper, there, part) < part.len() {
                return Err(Errno::EFAULT);
            }
            cx.user().write_bytes(here, part)
        }
        Direction::ToOther => {
            cx.user().read_bytes(here, part)?;
            mm.write_remote(cx.sleeper, there, part)
        }
    }
}

/// Walks two lists of ranges side by side.
struct Pieces<'a> {
    local: &'a [UserSlice],
    remote: &'a [UserSlice],
    local_done: usize,
    remote_done: usize,
}

impl Pieces<'_> {
    /// The next piece that lies in one range and one page of both sides.
    fn next(&mut self, most: usize) -> Option<(UserAddr, UserAddr, usize)> {
        let (here, local_left) = head(&mut self.local, &mut self.local_done)?;
        let (there, remote_left) = head(&mut self.remote, &mut self.remote_done)?;
        let len = local_left.min(remote_left).min(most).min(4096 - there.page_offset());
        self.local_done += len;
        self.remote_done += len;
        Some((here, there, len))
    }
}

fn head(slices: &mut &[UserSlice], done: &mut usize) -> Option<(UserAddr, usize)> {
    loop {
        let (first, rest) = slices.split_first()?;
        if *done < first.len {
            return Some((first.addr.checked_add(*done as u64)?, first.len - *done));
        }
        *slices = rest;
        *done = 0;
    }
}
