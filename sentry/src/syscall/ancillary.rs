//! Control messages of sendmsg(2) and recvmsg(2) (cmsg(3)): `SCM_RIGHTS` and `SCM_CREDENTIALS`.

use super::descriptor::{self, CLOEXEC};
use super::{Cx, Fd};
use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::net::socket::{Control, Incoming, MsgFlags, Outgoing, Ucred};
use crate::net::unix::rights::{MAX_FDS, in_flight};
use crate::security::Capability;
use crate::task::Resource;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Bytes of `struct cmsghdr`.
const HEADER: usize = 16;
/// Control bytes of one message (`/proc/sys/net/core/optmem_max`).
const MAX_CONTROL: u64 = 20480;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Reads the control messages at `at` into `message`.
///
/// # Errors
/// `EINVAL` for what is not well-formed or not known, `EBADF`, `EPERM` for credentials of others, `ENOBUFS`.
pub(super) fn read(cx: &Cx<'_>, at: UserAddr, len: u64, message: &mut Outgoing) -> Result<(), Errno> {
    if at.is_null() || len == 0 {
        return Ok(());
    }
    if len > MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let mut control = vec![0; usize::try_from(len).map_err(|_| Errno::EINVAL)?];
    cx.user().read_bytes(at, &mut control)?;
    let mut rest = control.as_slice();
    while rest.len() >= HEADER {
        let total = rest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let total = usize::try_from(total).ok().filter(|total| (HEADER..=rest.len()).contains(total));
        let total = total.ok_or(Errno::EINVAL)?;
        let level = word(rest, 8).unwrap_or(0).cast_signed();
        let kind = word(rest, 12).unwrap_or(0).cast_signed();
        let data = rest.get(HEADER..total).unwrap_or_default();
        match (level, kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                for number in data.chunks_exact(4) {
                    let fd = word(number, 0).unwrap_or(0).cast_signed();
                    // O_PATH descriptors may be sent too.
                    message.rights.push(cx.files.get(Fd(fd))?);
                    if message.rights.len() > MAX_FDS {
                        return Err(Errno::EINVAL);
                    }
                }
                message.user = cx.task.creds().uid;
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let [Some(pid), Some(uid), Some(gid)] = [0, 4, 8].map(|at| word(data, at)) else {
                    return Err(Errno::EINVAL);
                };
                message.creds = check(cx, Ucred { pid, uid, gid })?;
                message.tells_creds = true;
            }
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            _ => message.control.push(Control { level, kind, data: data.to_vec() }),
        }
        rest = rest.get(total.next_multiple_of(8)..).unwrap_or_default();
    }
    check_in_flight(cx, message)
}

/// Who has more descriptors under way than may be open sends no further ones.
fn check_in_flight(cx: &Cx<'_>, message: &Outgoing) -> Result<(), Errno> {
    if message.rights.is_empty() {
        return Ok(());
    }
    let limit = cx.task.process().limits.soft_usize(Resource::Nofile);
    let creds = cx.task.creds();
    let is_free = || creds.has(Capability::SysResource) || creds.has(Capability::SysAdmin);
    if in_flight(message.user) > limit && !is_free() { Err(Errno::ETOOMANYREFS) } else { Ok(()) }
}

/// Whether the caller may say that it is `claimed`.
fn check(cx: &Cx<'_>, claimed: Ucred) -> Result<Ucred, Errno> {
    let creds = cx.task.creds();
    let pid = cx.task.meant(claimed.pid) == cx.task.pid() || creds.has(Capability::SysAdmin);
    let uid = [creds.uid, creds.euid, creds.suid].contains(&claimed.uid) || creds.has(Capability::Setuid);
    let gid = [creds.gid, creds.egid, creds.sgid].contains(&claimed.gid) || creds.has(Capability::Setgid);
    if !(pid && uid && gid) {
        return Err(Errno::EPERM);
    }
    let process = cx.task.find_process(claimed.pid).ok_or(Errno::ESRCH)?;
    Ok(Ucred { pid: process.pid(), ..claimed })
}

fn header(total: usize, level: i32, kind: i32) -> Vec<u8> {
    let mut bytes = (total as u64).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes
}

/// Writes control messages to `at`, giving descriptors to the received files. Returns the bytes used, and whether something
/// did not fit.
///
/// # Errors
/// `EFAULT`.
pub(super) fn write(
    cx: &Cx<'_>,
    at: UserAddr,
    room: u64,
    incoming: &Incoming,
    rights: Vec<Arc<OpenFile>>,
    flags: MsgFlags,
) -> Result<(u64, bool), Errno> {
    let room = if at.is_null() { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) };
    let mut control = Vec::new();
    let mut cut = false;
    for message in &incoming.control {
        let total = HEADER + message.data.len();
        // What does not fit whole is cut off, where there is room for a header.
        if room < control.len() + HEADER {
            cut = true;
            break;
        }
        let fits = total.min(room - control.len());
        control.extend_from_slice(&header(fits, message.level, message.kind));
        control.extend_from_slice(message.data.get(..fits - HEADER).unwrap_or_default());
        cut |= fits < total;
        control.resize(control.len().next_multiple_of(8).min(room), 0);
    }
    if let Some(creds) = incoming.creds {
        if room >= HEADER + 12 {
            control.extend_from_slice(&header(HEADER + 12, SOL_SOCKET, SCM_CREDENTIALS));
            let seen = Ucred { pid: cx.task.shown(creds.pid), ..creds };
            control.extend_from_slice(&seen.to_bytes());
            control.resize(control.len().next_multiple_of(8).min(room), 0);
        } else {
            cut = true;
        }
    }
    if !rights.is_empty() {
        let fits = room.saturating_sub(control.len() + HEADER) / 4;
        let mut numbers = Vec::new();
        let close_on_exec = if flags.contains(MsgFlags::CMSG_CLOEXEC) { CLOEXEC } else { 0 };
        cut |= rights.len() > fits;
        for file in rights.into_iter().take(fits) {
            match descriptor::install_file(cx, file, close_on_exec) {
                Ok(fd) => numbers.push(fd.0),
                Err(_) => {
                    cut = true;
                    break;
                }
            }
        }
        if !numbers.is_empty() {
            let total = HEADER + 4 * numbers.len();
            control.extend_from_slice(&header(total, SOL_SOCKET, SCM_RIGHTS));
            numbers.iter().for_each(|number| control.extend_from_slice(&number.to_ne_bytes()));
            control.resize(control.len().next_multiple_of(8).min(room), 0);
        }
    }
    cx.user().write_bytes(at, &control)?;
    Ok((control.len() as u64, cut))
}
