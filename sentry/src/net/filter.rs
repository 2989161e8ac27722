//! Socket filters (`SO_ATTACH_FILTER` of socket(7)): programs of classic BPF that say of each packet how much of it a socket
//! is to get.
//!
//! A socket has a [`Slot`]. Without a program it costs one relaxed load for each packet.

use crate::abi::Errno;
use crate::bpf::{self, Instruction, code};
use crate::platform;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicBool, Ordering};

/// Level of the lock around a socket's program.
const LEVEL: Level = Level(149);

/// Where loads of what is no byte of the packet begin (`SKF_AD_OFF`), and of bytes from the network's and the link's header
/// (`SKF_NET_OFF`, `SKF_LL_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
const NETWORK: u32 = 0xfff0_0000;
const LINK: u32 = 0xffe0_0000;

/// Bytes that a socket may use for options (`net.core.optmem_max`), and those of a program beside its instructions.
const MAX_BYTES: usize = 20_480;
const OVERHEAD: usize = 72;

/// `SKF_AD_*`.
mod ancillary {
    pub(super) const PROTOCOL: u32 = 0;
    pub(super) const PACKET_TYPE: u32 = 4;
    pub(super) const DEVICE: u32 = 8;
    pub(super) const ATTRIBUTE: u32 = 12;
    pub(super) const NESTED_ATTRIBUTE: u32 = 16;
    pub(super) const MARK: u32 = 20;
    pub(super) const QUEUE: u32 = 24;
    pub(super) const HARDWARE: u32 = 28;
    pub(super) const HASH: u32 = 32;
    pub(super) const CPU: u32 = 36;
    pub(super) const XOR: u32 = 40;
    pub(super) const VLAN_TAG: u32 = 44;
    pub(super) const VLAN_PRESENT: u32 = 48;
    pub(super) const PAYLOAD: u32 = 52;
    pub(super) const RANDOM: u32 = 56;
    pub(super) const VLAN_PROTOCOL: u32 = 60;
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Ethernet type.
    pub protocol: u16,
    /// `PACKET_*`: for whom it is.
    pub kind: u8,
    /// Index of the interface, and its `ARPHRD_*`; `None` for what came by none.
    pub device: Option<(u32, u16)>,
    /// `SO_MARK`.
    pub mark: u32,
}

/// A packet as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its bytes, from the first header that is known.
    pub bytes: &'a [u8],
    /// Where the link's header begins in it, if there is one.
    pub link: Option<usize>,
    /// Where the network's header begins.
    pub network: usize,
    /// Where the data of the socket's protocol begin: what the filter's offset 0 means.
    pub data: usize,
    /// The rest.
    pub facts: Facts,
}

impl<'a> Packet<'a> {
    /// Bytes without any header that came by no interface.
    #[must_use]
    pub fn plain(bytes: &'a [u8]) -> Self {
        Self { bytes, link: None, network: 0, data: 0, facts: Facts::default() }
    }

    fn data(&self) -> &'a [u8] {
        self.bytes.get(self.data..).unwrap_or_default()
    }

    /// Where an offset leads.
    fn place(&self, offset: u32) -> Option<usize> {
        match offset {
            0..LINK if offset >> 31 == 0 => Some(self.data + offset as usize),
            NETWORK.. => Some(self.network + (offset - NETWORK) as usize),
            LINK..NETWORK => Some(self.link? + (offset - LINK) as usize),
            _ => None,
        }
    }

    /// Netlink's attribute of a kind among those from `at` on: its offset, 0 when there is none.
    fn attribute(&self, at: u32, kind: u32, is_nested: bool) -> u32 {
        let data = self.data();
        let half = |at: usize| {
            data.get(at..at + 2)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u16::from_ne_bytes)
                .map(usize::from)
        };
        let mut at = at as usize;
        let mut end = data.len();
        if is_nested {
            let Some(len) = half(at).filter(|len| *len >= 4 && at + len <= end) else { return 0 };
            (end, at) = (at + len, at + 4);
        }
        while at + 4 <= end {
            let (Some(len), Some(found)) = (half(at), half(at + 2)) else { return 0 };
            if len < 4 || at + len > end {
                return 0;
            }
            if found & 0x3fff == kind as usize {
                return u32::try_from(at).unwrap_or(0);
            }
            at += len.next_multiple_of(4);
        }
        0
    }

    /// Length of all headers, as far as they are known (`skb_get_poff`).
    fn payload_offset(&self) -> u32 {
        let Some(ip) = self.bytes.get(self.network..) else { return 0 };
        let (head, protocol) = match ip.first().map(|byte| byte >> 4) {
            Some(4) => (usize::from(ip.first().copied().unwrap_or(0) & 15) * 4, ip.get(9)),
            Some(6) => (40, ip.get(6)),
            _ => return 0,
        };
        let rest = match protocol {
            Some(6) => ip.get(head + 12).map_or(0, |byte| usize::from(byte >> 4) * 4),
            Some(17 | 136 | 1 | 58) => 8,
            _ => 0,
        };
        u32::try_from((self.network + head + rest).saturating_sub(self.data)).unwrap_or(0)
    }

    fn ancillary(&self, what: u32, (a, x): (u32, u32)) -> Option<u32> {
        Some(match what {
            ancillary::PROTOCOL => u32::from(self.facts.protocol),
            ancillary::PACKET_TYPE => u32::from(self.facts.kind),
            ancillary::DEVICE => self.facts.device?.0,
            ancillary::HARDWARE => u32::from(self.facts.device?.1),
            ancillary::ATTRIBUTE => self.attribute(a, x, false),
            ancillary::NESTED_ATTRIBUTE => self.attribute(a, x, true),
            ancillary::MARK => self.facts.mark,
            ancillary::XOR => a ^ x,
            ancillary::PAYLOAD => self.payload_offset(),
            ancillary::CPU => u32::try_from(chitin_core::hooks::cpu()).unwrap_or(0),
            ancillary::RANDOM => {
                let mut bytes = [0; 4];
                platform::get().entropy(&mut bytes);
                u32::from_ne_bytes(bytes)
            }
            // There is one queue, no hash is made, and no VLAN is known.
            _ => 0,
        })
    }
}

impl bpf::Data for Packet<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.data().len()).unwrap_or(u32::MAX)
    }

    fn load(&self, size: u32, k: u32, index: Option<u32>, registers: (u32, u32)) -> Option<u32> {
        if index.is_none() && k >= ANCILLARY && is_ancillary(k - ANCILLARY) {
            return self.ancillary(k - ANCILLARY, registers);
        }
        let at = self.place(k.wrapping_add(index.unwrap_or(0)))?;
        let bytes = self.bytes.get(at..at.checked_add(size as usize)?)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

/// Whether `SKF_AD_OFF` and this is something.
fn is_ancillary(what: u32) -> bool {
    use ancillary::{
        ATTRIBUTE, CPU, DEVICE, HARDWARE, HASH, MARK, NESTED_ATTRIBUTE, PACKET_TYPE, PAYLOAD, PROTOCOL,
        QUEUE, RANDOM, VLAN_PRESENT, VLAN_PROTOCOL, VLAN_TAG, XOR,
    };
    matches!(
        what,
        PROTOCOL
            | PACKET_TYPE
            | DEVICE
            | ATTRIBUTE
            | NESTED_ATTRIBUTE
            | MARK
            | QUEUE
            | HARDWARE
            | HASH
            | CPU
            | XOR
            | VLAN_TAG
            | VLAN_PRESENT
            | PAYLOAD
            | RANDOM
            | VLAN_PROTOCOL
    )
}

/// Whether an operation makes sense for packets: loads of what is no byte must name something.
fn accepts(instruction: &Instruction) -> bool {
    match instruction.code {
        code::LD_ABS | code::LD_ABS_H | code::LD_ABS_B => {
            instruction.k < ANCILLARY || is_ancillary(instruction.k - ANCILLARY)
        }
        _ => true,
    }
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// `EINVAL`; `ENOMEM` for one that is longer than a socket may have.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, Errno> {
        bpf::check(&instructions, accepts)?;
        if OVERHEAD + bpf::translated_len(&instructions) * 8 > MAX_BYTES {
            return Err(Errno::ENOMEM);
        }
        Ok(Self(instructions))
    }

    /// Its instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

/// A socket's filter.
pub struct Slot {
    is_set: AtomicBool,
    /// `SO_LOCK_FILTER`: it stays as it is.
    is_locked: AtomicBool,
    program: SpinLock<Option<Arc<Program>>>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            is_locked: AtomicBool::new(false),
            program: SpinLock::new(LEVEL, None),
        }
    }
}

impl Slot {
    /// The same for a connection that a listening socket took.
    #[must_use]
    pub fn child(&self) -> Self {
        let program = if self.is_set() { self.program() } else { None };
        Self {
            is_set: AtomicBool::new(program.is_some()),
            is_locked: AtomicBool::new(self.is_locked()),
            program: SpinLock::new(LEVEL, program),
        }
    }

    /// Whether there is a program.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Whether it stays as it is.
    pub fn is_locked(&self) -> bool {
        self.is_locked.load(Ordering::Relaxed)
    }

    /// The program.
    pub fn program(&self) -> Option<Arc<Program>> {
        self.program.lock().clone()
    }

    /// Sets or takes away the program.
    ///
    /// # Errors
    /// `EPERM` when it is locked, `ENOENT` when there is none to take away.
    pub fn set(&self, program: Option<Program>) -> Result<(), Errno> {
        if self.is_locked() {
            return Err(Errno::EPERM);
        }
        let mut slot = self.program.lock();
        if slot.is_none() && program.is_none() {
            return Err(Errno::ENOENT);
        }
        let program = program.map(Arc::new);
        self.is_set.store(program.is_some(), Ordering::Relaxed);
        let old = core::mem::replace(&mut *slot, program);
        drop(slot);
        drop(old);
        Ok(())
    }

    /// `SO_LOCK_FILTER`.
    ///
    /// # Errors
    /// `EPERM`: it cannot be unlocked.
    pub fn lock(&self, on: bool) -> Result<(), Errno> {
        if !on && self.is_locked() {
            return Err(Errno::EPERM);
        }
        self.is_locked.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes of a packet the socket gets, all without a program; `None` when it gets nothing of it.
    pub fn judge(&self, packet: &Packet<'_>) -> Option<usize> {
        let Some(program) = self.program() else { return Some(usize::MAX) };
        match bpf::run(&program.0, packet) {
            0 => None,
            len => Some(len as usize),
        }
    }
}

#[cfg(test)]
mod tests;
