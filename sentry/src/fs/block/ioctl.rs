//! The `BLK*` commands of ioctl(2) (`linux/fs.h`).

use super::disk::{Disk, Room};
use crate::abi::Errno;
use crate::fs::OpenFile;
use crate::fs::stream::IoctlCx;
use crate::security::{Capability, Creds};
use crate::user::{UserAddr, UserPtr};
use core::sync::atomic::Ordering;
use zerocopy::{Immutable, IntoBytes};

const BLKROGET: u32 = 0x125e;
const BLKRRPART: u32 = 0x125f;
const BLKGETSIZE: u32 = 0x1260;
const BLKFLSBUF: u32 = 0x1261;
const BLKRAGET: u32 = 0x1263;
const BLKFRAGET: u32 = 0x1265;
const BLKSECTGET: u32 = 0x1267;
const BLKSSZGET: u32 = 0x1268;
const BLKDISCARD: u32 = 0x1277;
const BLKIOMIN: u32 = 0x1278;
const BLKIOOPT: u32 = 0x1279;
const BLKALIGNOFF: u32 = 0x127a;
const BLKPBSZGET: u32 = 0x127b;
const BLKDISCARDZEROES: u32 = 0x127c;
const BLKSECDISCARD: u32 = 0x127d;
const BLKROTATIONAL: u32 = 0x127e;
const BLKZEROOUT: u32 = 0x127f;
const BLKBSZGET: u32 = 0x8008_1270;
const BLKBSZSET: u32 = 0x4008_1271;
const BLKGETSIZE64: u32 = 0x8008_1272;

/// Sectors that are read ahead at most.
const READ_AHEAD: u64 = 2048;
/// Sectors of one request at most.
const MAX_SECTORS: u16 = 1024;

/// Carries out a command; `None` when it is none of block devices. Some want `CAP_SYS_ADMIN`.
pub fn ioctl(
    cx: &IoctlCx<'_>,
    file: &OpenFile,
    disk: &Disk,
    creds: &Creds,
    command: u32,
    argument: u64,
) -> Option<Result<usize, Errno>> {
    let geometry = disk.geometry();
    let admin = || if creds.has(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EACCES) };
    Some(match command {
        BLKROGET => put(cx, argument, &u32::from(disk.is_read_only())),
        BLKGETSIZE => put(cx, argument, &geometry.sectors),
        BLKGETSIZE64 => put(cx, argument, &disk.size()),
        BLKSSZGET => put(cx, argument, &geometry.block_size),
        BLKPBSZGET => put(cx, argument, &geometry.physical_block_size),
        BLKIOMIN => put(cx, argument, &geometry.physical_block_size),
        BLKIOOPT | BLKALIGNOFF | BLKDISCARDZEROES => put(cx, argument, &0u32),
        BLKROTATIONAL => put(cx, argument, &0u16),
        BLKSECTGET => put(cx, argument, &MAX_SECTORS),
        BLKRAGET | BLKFRAGET => put(cx, argument, &READ_AHEAD),
        BLKBSZGET => put(cx, argument, &disk.soft_block_size.load(Ordering::Relaxed)),
        BLKBSZSET => admin().and_then(|()| set_block_size(cx, disk, argument)),
        BLKFLSBUF => admin().and_then(|()| flush(cx, disk)),
        // There are no partitions to be read.
        BLKRRPART => admin().and(Err(Errno::EINVAL)),
        BLKDISCARD | BLKZEROOUT => change(cx, file, disk, command, argument),
        BLKSECDISCARD => writable(file).and(Err(Errno::EOPNOTSUPP)),
        _ => return None,
    })
}

fn put<T: IntoBytes + Immutable>(cx: &IoctlCx<'_>, argument: u64, value: &T) -> Result<usize, Errno> {
    cx.user.write(UserPtr::<T>::new(UserAddr::new(argument)), value).map(|()| 0)
}

fn set_block_size(cx: &IoctlCx<'_>, disk: &Disk, argument: u64) -> Result<usize, Errno> {
    if argument == 0 {
        return Err(Errno::EINVAL);
    }
    let size = cx.user.read(UserPtr::<u32>::new(UserAddr::new(argument)))?;
    let known = size.is_power_of_two() && (disk.geometry().block_size..=4096).contains(&size);
    if !known {
        return Err(Errno::EINVAL);
    }
    disk.soft_block_size.store(size, Ordering::Relaxed);
    Ok(0)
}

/// Writes everything back and forgets it.
fn flush(cx: &IoctlCx<'_>, disk: &Disk) -> Result<usize, Errno> {
    let _writing = disk.writing.lock(cx.waiter.sleeper);
    disk.write_back(cx.waiter.sleeper)?;
    disk.mapping().forget_clean();
    Ok(0)
}

fn writable(file: &OpenFile) -> Result<(), Errno> {
    if file.is_writable() { Ok(()) } else { Err(Errno::EBADF) }
}

fn change(
    cx: &IoctlCx<'_>,
    file: &OpenFile,
    disk: &Disk,
    command: u32,
    argument: u64,
) -> Result<usize, Errno> {
    writable(file)?;
    if command == BLKDISCARD && disk.geometry().max_discard_sectors == 0 && !disk.is_read_only() {
        return Err(Errno::EOPNOTSUPP);
    }
    let [start, len] = cx.user.read(UserPtr::<[u64; 2]>::new(UserAddr::new(argument)))?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if (start | len) & 511 != 0 || end > disk.size() || (command == BLKZEROOUT && len == 0) {
        return Err(Errno::EINVAL);
    }
    if (start | len) & (u64::from(disk.geometry().block_size) - 1) != 0 {
        return Err(Errno::EINVAL);
    }
    if disk.is_read_only() {
        return Err(Errno::EPERM);
    }
    let sleeper = cx.waiter.sleeper;
    match command {
        BLKDISCARD => disk.discard(sleeper, start, end),
        _ => disk.zero(sleeper, start, end, Room::Keep),
    }
    .map(|()| 0)
}
