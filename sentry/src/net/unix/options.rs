//! getsockopt and setsockopt (socket(7), unix(7)).

use super::{Phase, Unix};
use crate::abi::Errno;
use crate::net::address::AF_UNIX;
use crate::net::socket::PeekOffset;
use alloc::vec::Vec;

const SOL_SOCKET: i32 = 1;

const SO_DEBUG: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_DONTROUTE: i32 = 5;
const SO_BROADCAST: i32 = 6;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_KEEPALIVE: i32 = 9;
const SO_OOBINLINE: i32 = 10;
const SO_NO_CHECK: i32 = 11;
const SO_PRIORITY: i32 = 12;
const SO_LINGER: i32 = 13;
const SO_BSDCOMPAT: i32 = 14;
const SO_REUSEPORT: i32 = 15;
const SO_PASSCRED: i32 = 16;
const SO_PEERCRED: i32 = 17;
const SO_RCVLOWAT: i32 = 18;
const SO_SNDLOWAT: i32 = 19;
const SO_BINDTODEVICE: i32 = 25;
const SO_TIMESTAMP: i32 = 29;
const SO_ACCEPTCONN: i32 = 30;
const SO_PEERSEC: i32 = 31;
const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;
const SO_PASSSEC: i32 = 34;
const SO_TIMESTAMPNS: i32 = 35;
const SO_MARK: i32 = 36;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_RXQ_OVFL: i32 = 40;
const SO_PEEK_OFF: i32 = 42;
const SO_NOFCS: i32 = 43;
const SO_SELECT_ERR_QUEUE: i32 = 45;
const SO_COOKIE: i32 = 57;
const SO_PEERGROUPS: i32 = 59;
const SO_ZEROCOPY: i32 = 60;

/// Largest size that may be asked for (`/proc/sys/net/core/wmem_max` and `rmem_max`); Linux doubles what it is given.
const BUFFER_MAX: usize = 212_992;
/// Smallest send buffer.
const SEND_MIN: usize = 4608;
/// Smallest receive buffer.
const RECEIVE_MIN: usize = 2304;

/// Options that are kept to be told again: they have no effect for unix sockets on Linux either.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that are on or off, a bit for each number.
    switches: u64,
    priority: i32,
    mark: i32,
    linger: Option<i32>,
    low_water: Option<i32>,
}

impl Kept {
    /// `SO_OOBINLINE`.
    pub(super) fn is_inline(&self) -> bool {
        self.switches & 1 << SO_OOBINLINE != 0
    }
}

/// Options that are on or off.
const fn is_switch(name: i32) -> bool {
    matches!(
        name,
        SO_DEBUG
            | SO_REUSEADDR
            | SO_DONTROUTE
            | SO_BROADCAST
            | SO_KEEPALIVE
            | SO_OOBINLINE
            | SO_NO_CHECK
            | SO_REUSEPORT
            | SO_TIMESTAMP
            | SO_TIMESTAMPNS
            | SO_PASSSEC
            | SO_RXQ_OVFL
            | SO_NOFCS
            | SO_SELECT_ERR_QUEUE
    )
}

fn doubled(number: i32, least: usize) -> usize {
    // A negative number is a huge one, as on Linux.
    let wanted = usize::try_from(number).unwrap_or(usize::MAX).min(BUFFER_MAX);
    (wanted * 2).max(least)
}

impl Unix {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        let value = match name {
            _ if is_switch(name) => i32::from(state.kept.switches & (1 << name) != 0),
            SO_TYPE => self.kind.number(),
            SO_ERROR => state.error.take().map_or(0, Errno::number),
            SO_SNDBUF => size(state.send_bytes),
            SO_RCVBUF => size(state.receive_bytes),
            SO_PASSCRED => i32::from(state.pass_creds),
            SO_PEEK_OFF => self.inbox.lock().peek_offset.0,
            SO_PRIORITY => state.kept.priority,
            SO_MARK => state.kept.mark,
            SO_RCVLOWAT => state.kept.low_water.unwrap_or(1),
            SO_SNDLOWAT => 1,
            SO_ACCEPTCONN => i32::from(matches!(state.phase, Phase::Listening { .. })),
            SO_DOMAIN => i32::from(AF_UNIX),
            SO_PROTOCOL | SO_BSDCOMPAT | SO_ZEROCOPY => 0,
            SO_BINDTODEVICE => return Ok(Vec::new()),
            SO_LINGER => {
                let (on, seconds) = state.kept.linger.map_or((0, 0), |seconds| (1i32, seconds));
                return Ok([on.to_ne_bytes(), seconds.to_ne_bytes()].concat());
            }
            SO_COOKIE => return Ok((core::ptr::from_ref(self).addr() as u64 >> 4).to_ne_bytes().to_vec()),
            SO_PEERCRED => {
                // Nobody: pid 0, and ids that no user has.
                let nobody = [0, u32::MAX, u32::MAX].iter().flat_map(|word| word.to_ne_bytes()).collect();
                return Ok(state.peer_creds.map_or(nobody, |creds| creds.to_bytes().to_vec()));
            }
            SO_PEERGROUPS if state.peer_creds.is_none() => return Err(Errno::ENODATA),
            SO_PEERSEC | SO_PEERGROUPS => return Err(Errno::ENOPROTOOPT),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::EINVAL)?);
        let mut state = self.state.lock();
        match name {
            SO_REUSEPORT if number != 0 => return Err(Errno::EOPNOTSUPP),
            _ if is_switch(name) => {
                state.kept.switches &= !(1 << name);
                state.kept.switches |= u64::from(number != 0) << name;
            }
            SO_PASSCRED => state.pass_creds = number != 0,
            SO_PEEK_OFF => self.inbox.lock().peek_offset = PeekOffset(number),
            SO_SNDBUF | SO_SNDBUFFORCE => state.send_bytes = doubled(number, SEND_MIN),
            SO_RCVBUF | SO_RCVBUFFORCE => state.receive_bytes = doubled(number, RECEIVE_MIN),
            SO_PRIORITY => state.kept.priority = number,
            SO_MARK => state.kept.mark = number,
            SO_RCVLOWAT => {
                let bytes = if number < 0 { i32::MAX } else { number.max(1) };
                state.kept.low_water = Some(bytes);
            }
            SO_LINGER => {
                let seconds = value.get(4..8).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
                state.kept.linger = (number != 0).then_some(i32::from_ne_bytes(seconds));
            }
            SO_BSDCOMPAT => {}
            SO_BINDTODEVICE if value.first() == Some(&0) => {}
            SO_BINDTODEVICE => return Err(Errno::ENODEV),
            SO_ZEROCOPY => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
