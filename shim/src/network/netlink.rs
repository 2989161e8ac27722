//! rtnetlink(7): one request, its answers.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes of the largest answer; the kernel puts no more into one (`netlink_dump`).
const ANSWER_BYTES: usize = 64 << 10;

/// A socket to the kernel's part of the namespace that the opening thread is in.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// A new one.
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a list.
    pub(super) fn dump(&mut self, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.exchange(request, NLM_F_DUMP)
    }

    /// Asks for a change; `flags` beside the usual ones.
    pub(super) fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(request, NLM_F_ACK | flags).map(drop)
    }

    fn exchange(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; ANSWER_BYTES];
        loop {
            let (_, received) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..received).unwrap_or_default();
            while !rest.is_empty() {
                let (this, next) = split(rest)?;
                rest = next;
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(this).map(|message| message.payload)
                {
                    Ok(NetlinkPayload::InnerMessage(answer)) => answers.push(answer),
                    Ok(NetlinkPayload::Done(_)) => return Ok(answers),
                    Ok(NetlinkPayload::Error(error)) => {
                        return if error.code.is_none() { Ok(answers) } else { Err(error.to_io()) };
                    }
                    Ok(NetlinkPayload::Overrun(_)) => {
                        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(io::Error::other(error.to_string())),
                }
            }
        }
    }
}

/// The first message of several, and the others.
fn split(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let cut = || io::Error::other("an answer of netlink is cut off");
    let length = bytes.first_chunk().map(|length| u32::from_ne_bytes(*length)).ok_or_else(cut)?;
    let length = usize::try_from(length).map_err(|_| cut())?;
    let this = bytes.get(..length).filter(|this| this.len() >= 16).ok_or_else(cut)?;
    Ok((this, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}
