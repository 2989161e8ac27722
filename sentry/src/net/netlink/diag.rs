//! sock_diag(7): what `ss` asks for. Answers list the TCP and UDP sockets.

use super::message::{Builder, Header, MULTI};
use crate::abi::Errno;
use crate::net::inet::diag::Entry;
use crate::net::stack::NetStack;
use alloc::vec::Vec;
use core::net::IpAddr;

/// `SOCK_DIAG_BY_FAMILY`.
pub(super) const BY_FAMILY: u16 = 20;

fn octets(ip: IpAddr, family: u8) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) if family == 10 && !ip.is_unspecified() => ip.to_ipv6_mapped().octets(),
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
            all
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The messages that answer a request for sockets.
///
/// # Errors
/// `EINVAL`, `ENOENT` for a family or protocol that is not told of.
pub(super) fn dump(
    stack: &dyn NetStack,
    request: &Header,
    body: &[u8],
    port: u32,
) -> Result<Vec<Vec<u8>>, Errno> {
    // struct inet_diag_req_v2: family, protocol, extensions, pad, states, id.
    let [family, protocol, _, _, states @ ..] = body.first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let states = u32::from_ne_bytes(*states);
    if !matches!(family, 2 | 10) {
        return if matches!(family, 1 | 16 | 17) { Ok(Vec::new()) } else { Err(Errno::ENOENT) };
    }
    let message = |entry: &Entry| {
        let mut message = Builder::new(BY_FAMILY, MULTI, request, port);
        message.put(&[*family, entry.state, entry.timer.0, 0]);
        message.put(&entry.local.port.to_be_bytes()).put(&entry.remote.port.to_be_bytes());
        message.put(&octets(entry.local.ip, *family)).put(&octets(entry.remote.ip, *family));
        // Interface, and a cookie that tells nothing.
        message.put(&[0; 4]).put(&entry.ino.to_ne_bytes());
        let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
        message.put(&u32::try_from(entry.timer.1).unwrap_or(0).to_ne_bytes());
        message.put(&small(entry.receive)).put(&small(entry.send)).put(&entry.user.to_ne_bytes());
        message.put(&u32::try_from(entry.ino).unwrap_or(0).to_ne_bytes());
        message.attribute(8, &[0]);
        message.finish()
    };
    let entries = stack.sockets(*protocol);
    let wanted =
        entries.iter().filter(|entry| entry.family == *family && states >> entry.state.min(31) & 1 != 0);
    Ok(wanted.map(message).collect())
}
