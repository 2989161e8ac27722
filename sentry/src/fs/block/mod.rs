//! Block devices: what is attached to the machine's slots ([`crate::platform::BlockPort`]), as block special files.
//!
//! | module | contents |
//! |---|---|
//! | [`disk`] | a device with its page cache |
//! | [`pages`] | where the cache's pages come from, and errors that fsync has to tell |
//! | [`file`] | an open block special file |
//! | [`direct`] | `O_DIRECT` |
//! | [`ioctl`] | the `BLK*` commands |
//!
//! A device belongs to the container that it was attached for: no other can open it, whatever nodes it makes. Under runc the
//! device cgroup says so.
//!
//! Lock levels: the list of devices ([`LEVEL`]) before that of a device's errors ([`pages::LEVEL`]).

mod direct;
pub mod disk;
mod file;
pub mod ioctl;
mod pages;

pub use disk::Disk;
pub use file::{Opened, open};

use crate::abi::Errno;
use crate::fs::FsCx;
use crate::mm::Budget;
use crate::platform::BlockPort;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;

/// Level of the lock around the list of devices.
const LEVEL: Level = Level(97);
/// Major number of block devices (`virtblk`).
pub const MAJOR: u64 = 254;
/// Minor numbers that a device has: itself and partitions.
const MINORS: u64 = 16;

static DISKS: SpinLock<Vec<Arc<Disk>>> = SpinLock::new(LEVEL, Vec::new());

/// Makes what is attached to a slot a device of the container `owner` ([`crate::fs::stream::Caller::container`]).
///
/// # Errors
/// `ENODEV` when nothing is attached there, `EBUSY` when it is a device already.
pub fn attach(
    slot: usize,
    port: &'static dyn BlockPort,
    owner: usize,
    budget: &Arc<Budget>,
) -> Result<Arc<Disk>, Errno> {
    let geometry = port.geometry().ok_or(Errno::ENODEV)?;
    let disk = Disk::new(slot, number(slot), owner, port, geometry, budget);
    let mut disks = DISKS.lock();
    if disks.iter().any(|other| other.slot() == slot) {
        return Err(Errno::EBUSY);
    }
    disks.push(disk.clone());
    Ok(disk)
}

/// Device number of what is in a slot.
#[must_use]
pub fn number(slot: usize) -> u64 {
    crate::fs::filesystem::device(MAJOR, slot as u64 * MINORS)
}

/// The device of that number.
#[must_use]
pub fn find(number: u64) -> Option<Arc<Disk>> {
    DISKS.lock().iter().find(|disk| disk.number() == number).cloned()
}

/// The device of that number, for the caller.
///
/// # Errors
/// `ENXIO` when there is none, `EPERM` when it is another container's.
pub fn usable(cx: &FsCx<'_>, number: u64) -> Result<Arc<Disk>, Errno> {
    let disk = find(number).ok_or(Errno::ENXIO)?;
    let is_own = cx.caller.container == 0 || cx.caller.container == disk.owner();
    if is_own { Ok(disk) } else { Err(Errno::EPERM) }
}

/// The devices of a container, in their order.
#[must_use]
pub fn owned_by(owner: usize) -> Vec<Arc<Disk>> {
    let mut owned: Vec<_> = DISKS.lock().iter().filter(|disk| disk.owner() == owner).cloned().collect();
    owned.sort_by_key(|disk| disk.slot());
    owned
}

/// Hands what a container has written to the host, as the last close of a device does on Linux; what fails is logged.
pub fn write_back(sleeper: &Sleeper, owner: usize) {
    for disk in owned_by(owner) {
        if disk.write_back(sleeper).is_err() {
            crate::log::write(&alloc::format!("sentry: {}: not everything could be written\n", disk.name()));
        }
    }
}

/// Takes the devices of a container away, after [`write_back`]; who still has one open gets `EIO`.
pub fn detach(sleeper: &Sleeper, owner: usize) {
    write_back(sleeper, owner);
    let gone = {
        let mut disks = DISKS.lock();
        let (gone, kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut *disks).into_iter().partition(|disk| disk.owner() == owner);
        *disks = kept;
        gone
    };
    for disk in gone {
        disk.remove();
    }
}
