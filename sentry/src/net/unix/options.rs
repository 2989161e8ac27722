//! getsockopt and setsockopt (socket(7), unix(7)).

use super::{Phase, Unix};
use crate::abi::Errno;
use crate::net::address::AF_UNIX;
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
const SO_PRIORITY: i32 = 12;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const SO_PASSCRED: i32 = 16;
const SO_PEERCRED: i32 = 17;
const SO_RCVLOWAT: i32 = 18;
const SO_SNDLOWAT: i32 = 19;
const SO_TIMESTAMP: i32 = 29;
const SO_ACCEPTCONN: i32 = 30;
const SO_PEERSEC: i32 = 31;
const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_PEERGROUPS: i32 = 59;

/// Smallest and largest send buffer that may be asked for; Linux doubles what it is given.
const BUFFER: core::ops::RangeInclusive<usize> = 4608..=2 * 212_992;

impl Unix {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        let value = match name {
            SO_TYPE => self.kind.number(),
            SO_ERROR => state.error.take().map_or(0, Errno::number),
            SO_SNDBUF => size(state.send_bytes),
            SO_RCVBUF => size(state.receive_bytes),
            SO_PASSCRED => i32::from(state.pass_creds),
            SO_RCVLOWAT | SO_SNDLOWAT => 1,
            SO_ACCEPTCONN => i32::from(matches!(state.phase, Phase::Listening { .. })),
            SO_DOMAIN => i32::from(AF_UNIX),
            SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_KEEPALIVE | SO_OOBINLINE
            | SO_PRIORITY | SO_REUSEPORT | SO_TIMESTAMP | SO_PROTOCOL => 0,
            SO_LINGER => return Ok([0; 8].to_vec()),
            SO_PEERCRED => {
                // Nobody: pid 0, and ids that no user has.
                let nobody = [0, u32::MAX, u32::MAX].iter().flat_map(|word| word.to_ne_bytes()).collect();
                return Ok(state.peer_creds.map_or(nobody, |creds| creds.to_bytes().to_vec()));
            }
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
        let buffer = || {
            let doubled = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(2);
            doubled.clamp(*BUFFER.start(), *BUFFER.end())
        };
        match name {
            SO_PASSCRED => self.state.lock().pass_creds = number != 0,
            SO_SNDBUF | SO_SNDBUFFORCE => self.state.lock().send_bytes = buffer(),
            SO_RCVBUF | SO_RCVBUFFORCE => self.state.lock().receive_bytes = buffer(),
            // Of no effect for unix sockets on Linux either.
            SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_KEEPALIVE | SO_OOBINLINE
            | SO_PRIORITY | SO_LINGER | SO_REUSEPORT | SO_RCVLOWAT | SO_TIMESTAMP => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
