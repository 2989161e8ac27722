//! [`Kept`]: options at level `SOL_SOCKET` that every socket takes and its family gives no effect (socket(7)).

use crate::abi::Errno;
use alloc::vec::Vec;

const SO_DEBUG: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_DONTROUTE: i32 = 5;
const SO_BROADCAST: i32 = 6;
const SO_KEEPALIVE: i32 = 9;
const SO_OOBINLINE: i32 = 10;
const SO_NO_CHECK: i32 = 11;
const SO_PRIORITY: i32 = 12;
const SO_LINGER: i32 = 13;
const SO_BSDCOMPAT: i32 = 14;
const SO_REUSEPORT: i32 = 15;
const SO_PASSCRED: i32 = 16;
const SO_RCVLOWAT: i32 = 18;
const SO_SNDLOWAT: i32 = 19;
const SO_BINDTODEVICE: i32 = 25;
const SO_TIMESTAMP: i32 = 29;
const SO_ACCEPTCONN: i32 = 30;
const SO_PASSSEC: i32 = 34;
const SO_TIMESTAMPNS: i32 = 35;
const SO_MARK: i32 = 36;
const SO_RXQ_OVFL: i32 = 40;
const SO_WIFI_STATUS: i32 = 41;
const SO_NOFCS: i32 = 43;
const SO_SELECT_ERR_QUEUE: i32 = 45;
const SO_BUSY_POLL: i32 = 46;
const SO_MAX_PACING_RATE: i32 = 47;
const SO_BPF_EXTENSIONS: i32 = 48;
const SO_INCOMING_CPU: i32 = 49;
const SO_PEERGROUPS: i32 = 59;

/// What `SO_BPF_EXTENSIONS` tells: loads of what is no byte of a packet end there.
const EXTENSIONS: i32 = 64;

/// Options that are kept to be told again.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Those that are on or off, a bit for each number.
    switches: u64,
    priority: i32,
    mark: i32,
    linger: (i32, i32),
    low_water: i32,
    busy_poll: i32,
    pacing: u64,
    cpu: i32,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            switches: 0,
            priority: 0,
            mark: 0,
            linger: (0, 0),
            low_water: 1,
            busy_poll: 0,
            pacing: u64::MAX,
            cpu: -1,
        }
    }
}

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
            | SO_PASSCRED
            | SO_TIMESTAMP
            | SO_PASSSEC
            | SO_TIMESTAMPNS
            | SO_RXQ_OVFL
            | SO_WIFI_STATUS
            | SO_NOFCS
            | SO_SELECT_ERR_QUEUE
    )
}

impl Kept {
    /// getsockopt(2) with `room` bytes.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `ENODATA`.
    pub fn get(&self, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
        let value = match name {
            SO_BSDCOMPAT | SO_REUSEPORT | SO_ACCEPTCONN => 0,
            SO_PRIORITY => self.priority,
            SO_MARK => self.mark,
            SO_LINGER => return Ok([self.linger.0.to_ne_bytes(), self.linger.1.to_ne_bytes()].concat()),
            SO_RCVLOWAT => self.low_water,
            SO_SNDLOWAT => 1,
            SO_BINDTODEVICE => return Ok(Vec::new()),
            _ if is_switch(name) => i32::from(self.switches & (1 << name) != 0),
            SO_BUSY_POLL => self.busy_poll,
            SO_MAX_PACING_RATE if room >= size_of::<u64>() => return Ok(self.pacing.to_ne_bytes().to_vec()),
            SO_MAX_PACING_RATE => u32::try_from(self.pacing).unwrap_or(u32::MAX).cast_signed(),
            SO_BPF_EXTENSIONS => EXTENSIONS,
            SO_INCOMING_CPU => self.cpu,
            SO_PEERGROUPS => return Err(Errno::ENODATA),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`.
    pub fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        let number = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)?;
        match name {
            SO_BSDCOMPAT => {}
            SO_PRIORITY => self.priority = number,
            SO_MARK => self.mark = number,
            SO_LINGER => {
                let seconds = value.get(4..8).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
                self.linger = if number != 0 { (1, i32::from_ne_bytes(seconds)) } else { (0, self.linger.1) };
            }
            SO_REUSEPORT if number != 0 => return Err(Errno::EOPNOTSUPP),
            SO_REUSEPORT => {}
            SO_RCVLOWAT => self.low_water = if number < 0 { i32::MAX } else { number.max(1) },
            _ if is_switch(name) => {
                self.switches = self.switches & !(1 << name) | u64::from(number != 0) << name;
            }
            SO_BUSY_POLL if number < 0 => return Err(Errno::EINVAL),
            SO_BUSY_POLL => self.busy_poll = number,
            SO_MAX_PACING_RATE => {
                let whole = value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                let short = if number == -1 { u64::MAX } else { u64::from(number.cast_unsigned()) };
                self.pacing = whole.unwrap_or(short);
            }
            SO_INCOMING_CPU => self.cpu = number,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
