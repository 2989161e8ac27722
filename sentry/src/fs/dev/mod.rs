//! Character devices: who opens which number, and the device nodes of `/dev`.
//!
//! Drivers announce themselves with [`register`]; [`memory`] has those of major 1 (null, zero, full, random).

pub mod memory;
pub mod tree;

use crate::abi::Errno;
use crate::fs::filesystem::device_parts;
use crate::fs::{FsCx, Node, Path, Stream};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::ops::RangeInclusive;

/// Level of the lock of the register.
pub const LEVEL: Level = Level(98);

/// A device being opened.
pub struct DeviceOpen<'a> {
    /// Who opens it.
    pub cx: &'a FsCx<'a>,
    /// Where its node is.
    pub path: &'a Path,
    /// Its node.
    pub node: &'a Arc<Node>,
    /// `O_*`.
    pub flags: u32,
    /// Its number.
    pub device: u64,
}

/// Opens a device.
pub type OpenFn = fn(&DeviceOpen<'_>) -> Result<Arc<dyn Stream>, Errno>;

struct Driver {
    major: u64,
    minors: RangeInclusive<u64>,
    open: OpenFn,
}

static DRIVERS: SpinLock<Vec<Driver>> = SpinLock::new(LEVEL, Vec::new());

/// Announces who opens the character devices `major:minors`. The latest word counts.
pub fn register(major: u64, minors: RangeInclusive<u64>, open: OpenFn) {
    DRIVERS.lock().insert(0, Driver { major, minors, open });
}

/// Opens a character device.
///
/// # Errors
/// `ENXIO` when there is no driver for it, and what the driver gives.
pub fn open_char(request: &DeviceOpen<'_>) -> Result<Arc<dyn Stream>, Errno> {
    let (major, minor) = device_parts(request.device);
    if major == memory::MAJOR
        && let Some(stream) = memory::open(minor, request.device)
    {
        return Ok(stream);
    }
    let open = {
        let drivers = DRIVERS.lock();
        drivers
            .iter()
            .find(|driver| driver.major == major && driver.minors.contains(&minor))
            .map(|driver| driver.open)
    };
    open.ok_or(Errno::ENXIO)?(request)
}

/// What `/dev/null` opens.
///
/// # Errors
/// `ENXIO`, never in fact.
pub fn null() -> Result<Arc<dyn Stream>, Errno> {
    memory::open(3, crate::fs::filesystem::device(memory::MAJOR, 3)).ok_or(Errno::ENXIO)
}
