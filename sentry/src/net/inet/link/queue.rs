//! Packets that wait to be received, and receiving them.

use super::super::buffer::{self, Buffer};
use super::super::datagram;
use super::super::frame::LINK;
use super::{Checksum, LinkSocket, Seen};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::address::LinkAddress;
use crate::net::filter::{Facts, Packet};
use crate::net::socket::{Control, Incoming, MsgFlags};
use crate::platform;
use crate::user::{IoReader, IoWriter, UserAddr, UserPtr};
use crate::wait::Stop;
use alloc::collections::VecDeque;
use core::sync::atomic::Ordering;

const FIONREAD: u32 = 0x541b;
const TIOCOUTQ: u32 = 0x5411;
/// `SOL_PACKET`, and the control message of `PACKET_AUXDATA`.
pub(super) const SOL_PACKET: i32 = 263;
const AUXDATA: i32 = 8;

/// `TP_STATUS_USER`, and what checksums add to it.
const STATUS: u32 = 1;
const NOT_READY: u32 = 8;
const VALID: u32 = 0x80;

/// A packet that came.
pub(super) struct Captured {
    data: Buffer,
    from: LinkAddress,
    /// Bytes before the filter cut it.
    full_len: usize,
    status: u32,
    at_ns: u64,
}

impl Captured {
    fn cost(&self) -> usize {
        (self.data.len() + 16 + 320).next_power_of_two() + 256
    }
}

/// What waits to be received.
#[derive(Default)]
pub(super) struct Queue {
    packets: VecDeque<Captured>,
    used: usize,
    /// Packets since `PACKET_STATISTICS` was asked last: those queued, and those lost for want of room.
    taken: u32,
    dropped: u32,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Throws the next packet away.
    pub(super) fn lose_next(&mut self) {
        if let Some(lost) = self.packets.pop_front() {
            self.used = self.used.saturating_sub(lost.cost());
        }
    }

    /// `PACKET_STATISTICS`: all packets, and the lost ones; both begin anew.
    pub(super) fn take_statistics(&mut self) -> (u32, u32) {
        let (taken, dropped) = (core::mem::take(&mut self.taken), core::mem::take(&mut self.dropped));
        (taken.wrapping_add(dropped), dropped)
    }
}

impl LinkSocket {
    /// A packet that this socket wants came.
    pub(super) fn take_in(&self, seen: &Seen<'_>) {
        let skip = if self.has_header() { 0 } else { LINK };
        let Some(part) = seen.bytes.get(skip..) else { return };
        let mut kept = part;
        let protocol = seen.protocol();
        if self.base.filter.is_set() {
            let device = Some((seen.device, seen.hardware));
            let facts = Facts { protocol, kind: seen.kind, device, mark: 0 };
            let packet = Packet { bytes: seen.bytes, link: Some(0), network: LINK, data: skip, facts };
            match self.base.filter.judge(&packet) {
                Some(len) => kept = part.get(..len.min(part.len())).unwrap_or_default(),
                None => return,
            }
        }
        let limit = self.base.settings.lock().receive.bytes;
        let mut from = LinkAddress {
            protocol,
            device: seen.device.cast_signed(),
            hardware: seen.hardware,
            kind: seen.kind,
            ..LinkAddress::default()
        };
        from.set_hardware_address(seen.bytes.get(6..12).unwrap_or_default());
        let status = STATUS
            | match seen.checksum {
                Checksum::Unknown => 0,
                Checksum::NotReady => NOT_READY,
                Checksum::Valid => VALID,
            };
        let has_room = self.queue.lock().used < limit;
        let data = if has_room {
            buffer::whole(&mut IoReader::kernel(kept), &self.base.maker.budget).ok()
        } else {
            None
        };
        let mut queue = self.queue.lock();
        let Some(data) = data else {
            queue.dropped = queue.dropped.wrapping_add(1);
            return;
        };
        let packet =
            Captured { data, from, full_len: part.len(), status, at_ns: platform::get().realtime_ns() };
        queue.used += packet.cost();
        queue.taken = queue.taken.wrapping_add(1);
        queue.packets.push_back(packet);
        drop(queue);
        self.base.events.wake_all();
    }

    pub(super) fn receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        let known = MsgFlags::PEEK | MsgFlags::DONTWAIT | MsgFlags::TRUNC | MsgFlags::ERRQUEUE;
        if !known.contains(flags) {
            return Err(Errno::EINVAL.into());
        }
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN.into());
        }
        self.take_error()?;
        let tells_more = self.kept.lock().auxiliary;
        let settings = self.base.settings.lock().clone();
        let mut queue = self.queue.lock();
        let first = queue.packets.front().ok_or(Stop::WouldBlock)?;
        let start = to.done();
        let full_len = first.data.len();
        let len = first.data.copy(0, to, usize::MAX);
        if len < full_len
            && let Some(fault) = to.fault()
        {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let mut incoming = Incoming {
            len,
            full_len,
            from: Some(Address::Link(first.from)),
            control: datagram::time_stamp(&settings, first.at_ns).into_iter().collect(),
            ..Incoming::default()
        };
        if tells_more {
            // struct tpacket_auxdata: status, lengths, where the link's and the network's header are, VLAN.
            let words = [first.status, size(first.full_len), size(full_len)];
            let mut data = words.map(u32::to_ne_bytes).concat();
            let network = if self.has_header() { LINK } else { 0 };
            let network = u16::try_from(network).unwrap_or(0);
            data.extend_from_slice(&[0, network, 0, 0].map(u16::to_ne_bytes).concat());
            incoming.control.push(Control { level: SOL_PACKET, kind: AUXDATA, data });
        }
        incoming.flags.set(MsgFlags::TRUNC, len < full_len);
        let taken = if flags.contains(MsgFlags::PEEK) { None } else { queue.packets.pop_front() };
        if let Some(taken) = &taken {
            queue.used = queue.used.saturating_sub(taken.cost());
        }
        drop(queue);
        drop(taken);
        Ok(incoming)
    }

    pub(super) fn control(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        let value = match command {
            FIONREAD => self.queue.lock().packets.front().map_or(0, |first| first.data.len()),
            TIOCOUTQ => 0,
            _ => return self.base.stack.interface_ioctl(cx, self.base.maker.admin, command, argument),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &value)?;
        Ok(0)
    }

    /// Own interface, protocol, bytes that wait, whether it watches, for tables.
    pub(in super::super) fn describe(&self) -> (u32, u16, usize, bool) {
        let (device, protocol) = (self.device.load(Ordering::Relaxed), self.protocol.load(Ordering::Relaxed));
        (device, protocol, self.queue.lock().used, self.is_watching.load(Ordering::Relaxed))
    }
}

fn size(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
