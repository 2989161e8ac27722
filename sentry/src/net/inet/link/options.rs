//! getsockopt and setsockopt at level `SOL_PACKET` (packet(7)).

use super::LinkSocket;
use super::queue::SOL_PACKET;
use crate::abi::Errno;
use crate::net::address::AF_PACKET;
use crate::net::stack::NetStack;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

const SOL_SOCKET: i32 = 1;
const SO_ERROR: i32 = 4;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;

const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const STATISTICS: i32 = 6;
const COPY_THRESH: i32 = 7;
const AUXDATA: i32 = 8;
const ORIGDEV: i32 = 9;
const LOSS: i32 = 14;
const IGNORE_OUTGOING: i32 = 23;
const QDISC_BYPASS: i32 = 20;

/// Memberships of one socket.
const MAX_MEMBERSHIPS: usize = 64;
/// Bytes of `struct packet_mreq`, and before its address.
const REQUEST: usize = 16;
const REQUEST_HEADER: usize = 8;
/// Bytes of a hardware address.
const ADDRESS: usize = 6;

/// `PACKET_MR_*`: what a membership is for, and those that name an address.
const MR_MULTICAST: u16 = 0;
const MR_UNICAST: u16 = 3;

/// Options that are kept.
#[derive(Default)]
pub(super) struct Kept {
    /// `PACKET_AUXDATA`.
    pub(super) auxiliary: bool,
    /// `PACKET_ORIGDEV`, `PACKET_LOSS`, `PACKET_QDISC_BYPASS`, `PACKET_COPY_THRESH`: without effect where no device has
    /// others above it, frames are not in rings and there are no queueing disciplines.
    origin: bool,
    loss: bool,
    bypass: bool,
    /// Memberships, each with how often it was asked for. Cards pass every frame on that comes, so nothing is set there.
    members: Vec<(Vec<u8>, u32)>,
}

fn exactly(value: &[u8]) -> Result<i32, Errno> {
    value.try_into().map(i32::from_ne_bytes).map_err(|_| Errno::EINVAL)
}

fn at_least(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

impl LinkSocket {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level == SOL_SOCKET {
            return match name {
                SO_DOMAIN => Ok(i32::from(AF_PACKET).to_ne_bytes().to_vec()),
                SO_PROTOCOL => Ok(0i32.to_ne_bytes().to_vec()),
                SO_ERROR => Ok(self.error.swap(0, Ordering::Relaxed).to_ne_bytes().to_vec()),
                _ => self.base.settings.lock().get(level, name, &mut self.base.facts(false, false, None)),
            };
        }
        if level != SOL_PACKET {
            return Err(Errno::ENOPROTOOPT);
        }
        let value = match name {
            STATISTICS => {
                let (packets, dropped) = self.queue.lock().take_statistics();
                return Ok([packets, dropped].map(u32::to_ne_bytes).concat());
            }
            AUXDATA => self.kept.lock().auxiliary.into(),
            ORIGDEV => self.kept.lock().origin.into(),
            LOSS => self.kept.lock().loss.into(),
            QDISC_BYPASS => self.kept.lock().bypass.into(),
            IGNORE_OUTGOING => self.ignores_outgoing.load(Ordering::Relaxed).into(),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(i32::to_ne_bytes(value).to_vec())
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == SOL_SOCKET {
            return self.base.set_option(level, name, value, false);
        }
        if level != SOL_PACKET {
            return Err(Errno::ENOPROTOOPT);
        }
        match name {
            ADD_MEMBERSHIP | DROP_MEMBERSHIP => return self.change_membership(name == ADD_MEMBERSHIP, value),
            AUXDATA => self.kept.lock().auxiliary = at_least(value)? != 0,
            ORIGDEV => self.kept.lock().origin = at_least(value)? != 0,
            COPY_THRESH => drop(exactly(value)?),
            LOSS => self.kept.lock().loss = exactly(value)? != 0,
            QDISC_BYPASS => self.kept.lock().bypass = exactly(value)? != 0,
            IGNORE_OUTGOING => match exactly(value)? {
                on @ 0..=1 => self.ignores_outgoing.store(on == 1, Ordering::Relaxed),
                _ => return Err(Errno::EINVAL),
            },
            // Rings, fan-out, headers of virtio-net and time stamps of the hardware are not there.
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// `struct packet_mreq`: interface, what for, length of the address, address.
    fn change_membership(&self, joins: bool, value: &[u8]) -> Result<(), Errno> {
        let request = value.get(..REQUEST).ok_or(Errno::EINVAL)?;
        let half = |at: usize| {
            request.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_ne_bytes)
        };
        let (what, len) = (half(4), usize::from(half(6)));
        if value.len() < len.saturating_add(REQUEST_HEADER) {
            return Err(Errno::EINVAL);
        }
        let device = at_least(request)?;
        let mut kept = self.kept.lock();
        let known = kept.members.iter().position(|(member, _)| member == request);
        if !joins {
            if let Some(at) = known {
                let gone = kept.members.get_mut(at).is_some_and(|(_, count)| {
                    *count -= 1;
                    *count == 0
                });
                if gone {
                    kept.members.remove(at);
                }
            }
            return Ok(());
        }
        drop(kept);
        let links = self.base.stack.interfaces();
        if !links.iter().any(|link| i32::try_from(link.index) == Ok(device)) {
            return Err(Errno::ENODEV);
        }
        if len > ADDRESS {
            return Err(Errno::EINVAL);
        }
        let mut kept = self.kept.lock();
        if let Some((_, count)) = kept.members.iter_mut().find(|(member, _)| member == request) {
            *count = count.saturating_add(1);
            return Ok(());
        }
        if matches!(what, MR_MULTICAST | MR_UNICAST) && len != ADDRESS {
            return Err(Errno::EINVAL);
        }
        if kept.members.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        kept.members.push((request.to_vec(), 1));
        Ok(())
    }
}
