//! [`Inbox`]: datagrams and packets that wait to be received, and the errors that wait for `MSG_ERRQUEUE`.

use super::QUEUE;
use super::base::Base;
use super::buffer::Buffer;
use super::endpoint::{Endpoint, Family};
use super::frame::Label;
use super::interface::LOOPBACK;
use super::ip::icmp::Trouble;
use super::settings::{Settings, Timestamps};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::socket::{Control, Incoming, MsgFlags, PeekOffset};
use crate::platform;
use crate::user::{IoWriter, UserAddr, UserPtr};
use crate::wait::{PollMask, Stop};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::net::IpAddr;

const FIONREAD: u32 = 0x541b;
const TIOCOUTQ: u32 = 0x5411;

/// Errors that wait at most.
const MAX_ERRORS: usize = 16;

/// A datagram or packet that came.
pub(super) struct Datagram {
    pub(super) data: Buffer,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) ttl: i32,
    pub(super) tos: i32,
    pub(super) at_ns: u64,
    /// Interface that it came by.
    pub(super) device: u32,
}

impl Datagram {
    /// One that is sent now with what `settings` say.
    pub(super) fn new(data: Buffer, from: Endpoint, to: Endpoint, settings: &Settings) -> Self {
        let (v4, multi) = (to.ip.is_ipv4(), to.ip.is_multicast());
        let ttl = match (v4, multi) {
            (true, true) => settings.multicast_ttl,
            (false, true) => settings.multicast_hops,
            (true, false) => settings.ttl,
            (false, false) => settings.hops,
        };
        let tos = if v4 { settings.tos } else { settings.traffic_class };
        let at_ns = platform::get().realtime_ns();
        Self { data, from, to, ttl: if ttl < 0 { 64 } else { ttl }, tos, at_ns, device: LOOPBACK }
    }

    /// What its headers say.
    pub(super) fn label(&self, protocol: u8) -> Label {
        let byte = |value: i32| u8::try_from(value & 0xff).unwrap_or(0);
        Label { from: self.from, to: self.to, protocol, ttl: byte(self.ttl), tos: byte(self.tos) }
    }

    /// What Linux charges a socket for it: the data with headers in a power of two, and the buffer's own description.
    fn cost(&self) -> usize {
        (self.data.len() + 28 + 16 + 320).next_power_of_two() + 256
    }
}

/// An ICMP error for something that was sent.
#[derive(Clone, Copy, Debug)]
struct Report {
    trouble: Trouble,
    to: Endpoint,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<Datagram>,
    used: usize,
    drops: u64,
    errors: VecDeque<Report>,
    peek_offset: PeekOffset,
}

/// What waits to be received.
pub(super) struct Inbox(SpinLock<Queue>);

/// How a socket stands beside what waits in it.
pub(super) struct Ends {
    pub(super) has_error: bool,
    pub(super) no_receive: bool,
    pub(super) no_send: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(QUEUE, Queue::default()))
    }

    /// Queues a datagram unless there is more than `limit` already. Whether it did.
    pub(super) fn push(&self, datagram: Datagram, limit: usize) -> bool {
        let mut queue = self.0.lock();
        if queue.used > limit {
            queue.drops += 1;
            drop(queue);
            drop(datagram);
            return false;
        }
        queue.used += datagram.cost();
        queue.datagrams.push_back(datagram);
        true
    }

    /// Queues an error.
    pub(super) fn push_error(&self, trouble: Trouble, to: Endpoint) {
        let mut queue = self.0.lock();
        if queue.errors.len() < MAX_ERRORS {
            queue.errors.push_back(Report { trouble, to });
        }
    }

    /// Whether errors wait.
    pub(super) fn has_errors(&self) -> bool {
        !self.0.lock().errors.is_empty()
    }

    /// What poll(2) says of the socket.
    pub(super) fn poll(&self, ends: &Ends) -> PollMask {
        let queue = self.0.lock();
        let mut mask = PollMask::OUT | PollMask::WRNORM | PollMask::WRBAND;
        mask.set(PollMask::ERR, ends.has_error || !queue.errors.is_empty());
        mask.set(PollMask::IN | PollMask::RDNORM, !queue.datagrams.is_empty() || ends.no_receive);
        mask.set(PollMask::RDHUP, ends.no_receive);
        mask.set(PollMask::HUP, ends.no_receive && ends.no_send);
        mask
    }

    /// ioctl(2) on the socket: bytes of the next datagram, and of those that wait to be sent, which are none.
    pub(super) fn ioctl(
        &self,
        base: &Base,
        cx: &IoctlCx<'_>,
        command: u32,
        argument: u64,
    ) -> Result<usize, Errno> {
        let value = match command {
            FIONREAD => self.0.lock().datagrams.front().map_or(0, |first| first.data.len()),
            TIOCOUTQ => 0,
            _ => return base.stack.interface_ioctl(cx, base.maker.admin, command, argument),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &value)?;
        Ok(0)
    }

    /// `SO_PEEK_OFF`.
    pub(super) fn peek_offset(&self) -> PeekOffset {
        self.0.lock().peek_offset
    }

    /// Sets it.
    pub(super) fn set_peek_offset(&self, offset: PeekOffset) {
        self.0.lock().peek_offset = offset;
    }

    /// Bytes charged, and datagrams dropped.
    pub(super) fn figures(&self) -> (usize, u64) {
        let queue = self.0.lock();
        (queue.used, queue.drops)
    }

    /// Throws away what waits.
    pub(super) fn clear(&self) {
        let queue = core::mem::take(&mut *self.0.lock());
        drop(queue);
    }

    /// Receives the next datagram.
    ///
    /// # Errors
    /// [`Stop::WouldBlock`], [`Stop::Fault`] with nothing taken.
    pub(super) fn receive(
        &self,
        base: &Base,
        to: &mut IoWriter<'_>,
        flags: MsgFlags,
    ) -> Result<Incoming, Stop> {
        let settings = base.settings.lock().clone();
        let mut queue = self.0.lock();
        let mut skip = queue.peek_offset.skip(flags);
        let mut at = 0;
        while let Some(datagram) = queue.datagrams.get(at).filter(|next| skip > 0 && skip >= next.data.len())
        {
            (skip, at) = (skip - datagram.data.len(), at + 1);
        }
        let first = queue.datagrams.get(at).ok_or(Stop::WouldBlock)?;
        let start = to.done();
        let full_len = first.data.len();
        let len = first.data.copy(skip, to, usize::MAX);
        if len < full_len - skip
            && let Some(fault) = to.fault()
        {
            to.rewind(start);
            return Err(Stop::Fault(fault));
        }
        let mut incoming = Incoming {
            len,
            full_len,
            from: Some(base.family.show(first.from)),
            control: control(base.family, &settings, first),
            ..Incoming::default()
        };
        incoming.flags.set(MsgFlags::TRUNC, len < full_len - skip);
        if flags.contains(MsgFlags::PEEK) {
            queue.peek_offset.peeked(len);
        } else {
            queue.peek_offset.taken(len);
        }
        let taken = if flags.contains(MsgFlags::PEEK) { None } else { queue.datagrams.pop_front() };
        if let Some(taken) = &taken {
            queue.used = queue.used.saturating_sub(taken.cost());
        }
        drop(queue);
        drop(taken);
        Ok(incoming)
    }

    /// Throws the next datagram away.
    pub(super) fn lose_next(&self) {
        let mut queue = self.0.lock();
        let Some(lost) = queue.datagrams.pop_front() else { return };
        queue.used = queue.used.saturating_sub(lost.cost());
        drop(queue);
        drop(lost);
    }

    /// Receives the next error (ip(7), `IP_RECVERR`).
    ///
    /// # Errors
    /// `EAGAIN` when there is none.
    pub(super) fn receive_error(&self, family: Family) -> Result<Incoming, Errno> {
        let report = self.0.lock().errors.pop_front().ok_or(Errno::EAGAIN)?;
        let v4 = report.to.ip.is_ipv4();
        // struct sock_extended_err: error, origin, type, code, padding, info, data; then who told it.
        let Trouble { errno, origin, kind, code, info, offender, .. } = report.trouble;
        let mut data = errno.number().to_ne_bytes().to_vec();
        data.extend_from_slice(&[origin, kind, code, 0]);
        data.extend_from_slice(&info.to_ne_bytes());
        data.extend_from_slice(&[0; 4]);
        let shown = if family == Family::V6 { Family::V6 } else { Family::V4 };
        data.extend_from_slice(&shown.show(Endpoint::new(offender, 0)).to_bytes());
        let (level, kind) = if family == Family::V4 || v4 { (0, 11) } else { (41, 25) };
        Ok(Incoming {
            from: Some(family.show(report.to)),
            flags: MsgFlags::ERRQUEUE,
            control: alloc::vec![Control { level, kind, data }],
            ..Incoming::default()
        })
    }
}

/// When a packet came (`SO_TIMESTAMP`, `SO_TIMESTAMPNS`).
pub(super) fn time_stamp(settings: &Settings, at_ns: u64) -> Option<Control> {
    let (seconds, ns) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    let (kind, part) = match settings.timestamps {
        Timestamps::None => return None,
        Timestamps::Micro => (29, ns / 1000),
        Timestamps::Nano => (35, ns),
    };
    Some(Control { level: 1, kind, data: [seconds.to_ne_bytes(), part.to_ne_bytes()].concat() })
}

/// The control messages that a receiver asked for.
fn control(family: Family, settings: &Settings, datagram: &Datagram) -> Vec<Control> {
    let mut messages = Vec::new();
    let mut add = |level, kind, data: &[u8]| messages.push(Control { level, kind, data: data.to_vec() });
    if let Some(Control { level, kind, data }) = time_stamp(settings, datagram.at_ns) {
        add(level, kind, &data);
    }
    if let IpAddr::V4(to) = datagram.to.ip {
        if settings.packet_info {
            let local = match (to.is_multicast() || to.is_broadcast(), datagram.device) {
                (true, LOOPBACK) => [127, 0, 0, 1],
                (true, _) => [0; 4],
                (false, _) => to.octets(),
            };
            add(0, 8, &[datagram.device.to_ne_bytes(), local, to.octets()].concat());
        }
        if settings.receive_ttl {
            add(0, 2, &datagram.ttl.to_ne_bytes());
        }
        if settings.receive_tos {
            add(0, 1, &[datagram.tos.to_le_bytes()[0]]);
        }
        if settings.receive_original {
            add(0, 20, &Family::V4.show(datagram.to).to_bytes());
        }
    }
    if family == Family::V6 {
        let to = match datagram.to.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        if settings.packet_info6 {
            add(41, 50, &[&to.octets()[..], &datagram.device.to_ne_bytes()].concat());
        }
        if settings.receive_hops {
            add(41, 52, &datagram.ttl.to_ne_bytes());
        }
        if settings.switches6 & 1 << 74 != 0 {
            add(41, 74, &Family::V6.show(datagram.to).to_bytes());
        }
        if settings.receive_class {
            add(41, 67, &datagram.tos.to_ne_bytes());
        }
    }
    messages
}

/// What control messages of sendmsg(2) say of a datagram.
///
/// # Errors
/// `EINVAL` for what is not well-formed or not known.
pub(super) fn sent_with(
    family: Family,
    settings: &mut Settings,
    messages: &[Control],
) -> Result<Option<IpAddr>, Errno> {
    let mut source = None;
    for message in messages {
        let number = || {
            let word = message.data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
            word.or(message.data.first().map(|byte| i32::from(*byte))).ok_or(Errno::EINVAL)
        };
        match (message.level, message.kind) {
            (0, 8) => {
                let local: [u8; 4] = message
                    .data
                    .get(4..8)
                    .filter(|_| message.data.len() == 12)
                    .and_then(|bytes| bytes.try_into().ok())
                    .ok_or(Errno::EINVAL)?;
                source = Some(IpAddr::from(local)).filter(|ip| !ip.is_unspecified());
            }
            (0, 2) => match number()? {
                ttl @ 1..=255 => settings.ttl = ttl,
                _ => return Err(Errno::EINVAL),
            },
            (0, 1) => match number()? {
                tos @ 0..=255 => settings.tos = tos,
                _ => return Err(Errno::EINVAL),
            },
            (41, 50) if family == Family::V6 => {
                let local: [u8; 16] =
                    message.data.get(..16).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
                source = Some(IpAddr::from(local).to_canonical()).filter(|ip| !ip.is_unspecified());
            }
            (41, 52) if family == Family::V6 => match number()? {
                hops @ -1..=255 => settings.hops = hops,
                _ => return Err(Errno::EINVAL),
            },
            (41, 67) if family == Family::V6 => match number()? {
                class @ -1..=255 => settings.traffic_class = class.max(0),
                _ => return Err(Errno::EINVAL),
            },
            (0 | 41, _) => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(source)
}

/// Where an address of a message leads, if it says so.
pub(super) fn is_given(address: Option<&Address>) -> bool {
    address.is_some_and(|address| !matches!(address, Address::Unspecified))
}
