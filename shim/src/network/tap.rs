//! A TAP device in the namespace of the calling thread. It is gone when its descriptor is closed everywhere.

#![expect(unsafe_code, reason = "the ioctl that makes a TAP device has no safe wrapper")]

use super::netlink::Netlink;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Names of TAPs begin with this.
pub(super) const PREFIX: &str = "chtap";

/// A TAP device.
#[derive(Debug)]
pub(super) struct Tap {
    /// For the VMM.
    pub(super) descriptor: OwnedFd,
    /// Interface index.
    pub(super) index: u32,
}

/// Makes the TAP for card `card`; it is down yet.
pub(super) fn create(netlink: &mut Netlink, card: u32, mtu: u32) -> io::Result<Tap> {
    let name = format!("{PREFIX}{card}");
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(|error| io::Error::new(error.kind(), format!("open /dev/net/tun: {error}")))?;
    // SAFETY: an interface request of zeros is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(0);
    // SAFETY: TUNSETIFF reads and writes an interface request.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // It is to be silent: no link-local address, no router solicitations. Without the file there is no IPv6 at all.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let index = super::scan::index_of(netlink, &name)?.ok_or(io::ErrorKind::NotFound)?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::Mtu(mtu));
    netlink.change(RouteNetlinkMessage::SetLink(link), 0)?;
    Ok(Tap { descriptor: file.into(), index })
}

/// Lets frames pass.
pub(super) fn set_up(netlink: &mut Netlink, tap: &Tap) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = tap.index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    netlink.change(RouteNetlinkMessage::SetLink(link), 0)
}
