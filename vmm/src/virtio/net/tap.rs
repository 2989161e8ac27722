//! A TAP device of the host (Documentation/networking/tuntap.rst of Linux), by the descriptor that the shim opened.

#![expect(unsafe_code, reason = "ioctls of TAP devices, which no crate wraps")]

use chitin_proto::net::{Header, feature};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const TUN_F_CSUM: libc::c_ulong = 1;
const TUN_F_TSO4: libc::c_ulong = 2;
const TUN_F_TSO6: libc::c_ulong = 4;

/// Why a descriptor is no card.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is not a TAP, or none that has the headers we need.
    #[error("the descriptor is not that of a TAP device with IFF_NO_PI and IFF_VNET_HDR ({0})")]
    Kind(String),
    /// An ioctl failed.
    #[error("cannot {0} of the TAP device: {1}")]
    Setting(&'static str, io::Error),
}

/// A TAP.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    offloads: u64,
}

impl Tap {
    /// Takes a descriptor over: sets the header's size and as many offloads as the host has.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn new(fd: OwnedFd) -> Result<Self, TapError> {
        let flags = interface_flags(fd.as_fd()).map_err(|error| TapError::Kind(error.to_string()))?;
        let needed = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if flags & (needed | libc::IFF_TUN) != needed {
            return Err(TapError::Kind(format!("flags {flags:#x}")));
        }
        let nonblocking = fcntl_getfl(&fd).and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
        nonblocking.map_err(|errno| TapError::Setting("set the mode", errno.into()))?;
        let size = libc::c_int::try_from(size_of::<Header>()).unwrap_or(0);
        // SAFETY: TUNSETVNETHDRSZ reads an int.
        result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })
            .map_err(|error| TapError::Setting("set the header size", error))?;
        let offer = |bits: libc::c_ulong| {
            // SAFETY: TUNSETOFFLOAD takes its bits as the argument itself.
            result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, bits) }).is_ok()
        };
        // What the host may give to the guest; it takes everything from it.
        let offloads = if offer(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) {
            feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6
        } else if offer(TUN_F_CSUM) {
            feature::GUEST_CSUM
        } else {
            0
        };
        Ok(Self { fd, offloads })
    }

    /// Opens the TAP called `name`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn open(name: &str) -> Result<Self, TapError> {
        let failed = |error| TapError::Setting("open the descriptor", error);
        let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun").map_err(failed)?;
        // SAFETY: an interface request of zeros is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        let room = request.ifr_name.len() - 1;
        for (place, byte) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(0);
        // SAFETY: TUNSETIFF reads and writes an interface request.
        result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
            .map_err(|error| TapError::Setting("set the kind", error))?;
        Self::new(file.into())
    }

    /// Offloads towards the guest that are in force, as bits of [`feature`].
    #[must_use]
    pub const fn offloads(&self) -> u64 {
        self.offloads
    }

    /// Any datagram socket in place of a TAP.
    #[cfg(test)]
    pub(crate) const fn pretend(fd: OwnedFd) -> Self {
        Self { fd, offloads: 0 }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn result(status: libc::c_int) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Flags of the interface behind `fd`.
fn interface_flags(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: an interface request of zeros is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes an interface request; another kind of file refuses the command.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: TUNGETIFF fills the flags.
    Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}
