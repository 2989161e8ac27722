//! What the system says of itself: names, memory, randomness, log (uname(2), sysinfo(2), getrandom(2), syslog(2)).

use super::row::{
    Restart::Never,
    Row,
    Support::{Full, Partial},
    row,
};
use super::{Cx, SysResult};
use crate::abi::{Errno, version};
use crate::log;
use crate::platform;
use crate::security::Capability;
use crate::task::now_ns;
use crate::user::{UserAddr, UserPtr};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(63, "uname", 1, uname, Never, Full),
    row!(99, "sysinfo", 1, sysinfo, Never, Partial("no shared or buffer memory is told")),
    row!(103, "syslog", 3, syslog, Never, Partial("reading; the log cannot be cleared or silenced")),
    row!(170, "sethostname", 2, sethostname, Never, Full),
    row!(171, "setdomainname", 2, setdomainname, Never, Full),
    row!(318, "getrandom", 3, getrandom, Never, Full),
];

const NAME_MAX: usize = 64;
/// personality(2): what is imitated, and one flag.
const PER_MASK: u32 = 0xff;
const PER_LINUX32: u32 = 8;
const UNAME26: u32 = 0x002_0000;

fn uname(cx: &mut Cx<'_>, to: UserAddr) -> SysResult {
    let names = cx.task.namespaces().uts.names.lock().clone();
    let personality = cx.task.personality.load(Ordering::Relaxed);
    let machine: &[u8] = if personality & PER_MASK == PER_LINUX32 { b"i686" } else { b"x86_64" };
    let release =
        if personality & UNAME26 != 0 { version::release_26() } else { String::from(version::RELEASE) };
    let fields: [&[u8]; 6] =
        [b"Linux", &names.host, release.as_bytes(), version::VERSION.as_bytes(), machine, &names.domain];
    let mut bytes = [0u8; 6 * (NAME_MAX + 1)];
    for (field, room) in fields.iter().zip(bytes.chunks_mut(NAME_MAX + 1)) {
        room.iter_mut().zip(field.iter().take(NAME_MAX)).for_each(|(to, from)| *to = *from);
    }
    cx.user().write_bytes(to, &bytes)?;
    Ok(0)
}

fn read_name(cx: &Cx<'_>, from: UserAddr, len: i32) -> Result<Vec<u8>, Errno> {
    if !cx.task.creds().has_in(Capability::SysAdmin, &cx.task.namespaces().uts.owner) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut name = alloc::vec![0; len];
    cx.user().read_bytes(from, &mut name)?;
    Ok(name)
}

fn sethostname(cx: &mut Cx<'_>, from: UserAddr, len: i32) -> SysResult {
    let name = read_name(cx, from, len)?;
    cx.task.namespaces().uts.names.lock().host = name;
    Ok(0)
}

fn setdomainname(cx: &mut Cx<'_>, from: UserAddr, len: i32) -> SysResult {
    let name = read_name(cx, from, len)?;
    cx.task.namespaces().uts.names.lock().domain = name;
    Ok(0)
}

/// `struct sysinfo`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Sysinfo {
    uptime: i64,
    loads: [u64; 3],
    total_ram: u64,
    free_ram: u64,
    shared_ram: u64,
    buffer_ram: u64,
    total_swap: u64,
    free_swap: u64,
    processes: u16,
    pad: [u8; 6],
    total_high: u64,
    free_high: u64,
    unit: u32,
    end: [u8; 4],
}

fn sysinfo(cx: &mut Cx<'_>, to: UserPtr<Sysinfo>) -> SysResult {
    let container = cx.task.container();
    let (all, free) = chitin_core::frame::usage();
    let limit = container.budget.limit();
    let total = u64::from(all).min(limit);
    let free = u64::from(free).min(total.saturating_sub(container.budget.used()));
    let mut info = Sysinfo::new_zeroed();
    info.uptime = i64::try_from(now_ns() / 1_000_000_000).unwrap_or(i64::MAX);
    (info.total_ram, info.free_ram) = (total << 12, free << 12);
    // With 16 bits behind the point here.
    info.loads = container.load_averages().map(|load| load << (16 - crate::task::load::SHIFT));
    info.processes = u16::try_from(container.pids()).unwrap_or(u16::MAX);
    info.unit = 1;
    cx.user().write(to, &info)?;
    Ok(0)
}

const GRND_ALL: u32 = 7;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;

fn getrandom(cx: &mut Cx<'_>, to: UserAddr, len: usize, flags: u32) -> SysResult {
    if flags & !GRND_ALL != 0 || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(0x7fff_f000);
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let part = chunk.get_mut(..(len - done).min(256)).unwrap_or_default();
        platform::get().entropy(part);
        let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        if let Err(errno) = cx.user().write_bytes(at, part) {
            return if done == 0 { Err(errno.into()) } else { Ok(done) };
        }
        done += part.len();
        if done.is_multiple_of(1 << 20) {
            if cx.task.work().is_empty() {
                cx.sleeper.resched_point();
            } else {
                break;
            }
        }
    }
    Ok(done)
}

fn syslog(cx: &mut Cx<'_>, kind: u32, to: UserAddr, len: i32) -> SysResult {
    const READ: u32 = 2;
    const READ_ALL: u32 = 3;
    const SIZE_UNREAD: u32 = 9;
    const SIZE_BUFFER: u32 = 10;
    // Linux looks at the permission before the number; reading everything is open to all (`dmesg_restrict` is 0).
    if !matches!(kind, READ_ALL | SIZE_BUFFER) && !cx.task.creds().has(Capability::Syslog) {
        return Err(Errno::EPERM.into());
    }
    match kind {
        // Opening and closing the log do nothing.
        0 | 1 => Ok(0),
        READ | READ_ALL => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            let text = log::read(len);
            cx.user().write_bytes(to, &text)?;
            Ok(text.len())
        }
        SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(log::SIZE + 256),
        4..=8 => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
