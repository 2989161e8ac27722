//! Packet sockets (packet(7)): [`Packets`] are the sockets of a namespace that watch its links, [`LinkSocket`] one of them.
//!
//! Cards and loopback tell of what they send and receive by [`Stack::show_frame`] and [`Stack::show_looped`], and that only
//! while somebody watches. It may be done with a connection's lock held: matching a packet takes no lock of a lower level.

mod options;
mod queue;
mod send;

use super::base::Base;
use super::frame::{self, Frame, Label};
use super::interface::LOOPBACK;
use super::packet::Packet;
use super::{STATE, Stack};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::net::Address;
use crate::net::address::{AF_PACKET, LinkAddress};
use crate::net::filter::Slot;
use crate::net::socket::{Incoming, MsgFlags, Outgoing, Shutdown, Socket, SocketType, Ucred};
use crate::net::stack::NetStack;
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU32, AtomicUsize, Ordering};
use options::Kept;
use queue::Queue;

/// Level of the lock of the list of sockets, and of what waits in one.
const LIST: Level = Level(154);
const WAITING: Level = Level(155);

/// `ETH_P_ALL`: every packet, also those that are sent.
const ALL: u16 = 3;
/// `ETH_P_802_2`: frames with a length instead of a type.
const WITH_LENGTH: u16 = 4;
/// Least number that is a type.
const LEAST_TYPE: u16 = 0x600;

/// `PACKET_*`: for whom a packet is.
pub(super) mod kind {
    pub(in super::super) const HOST: u8 = 0;
    pub(in super::super) const BROADCAST: u8 = 1;
    pub(in super::super) const MULTICAST: u8 = 2;
    pub(in super::super) const OTHER: u8 = 3;
    pub(in super::super) const OUTGOING: u8 = 4;
}

/// What is known of a packet's checksum (`TP_STATUS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Nothing.
    Unknown,
    /// It need not be looked at: nothing can have changed the packet (`TP_STATUS_CSUMNOTREADY`).
    NotReady,
    /// It is right (`TP_STATUS_CSUM_VALID`).
    Valid,
}

/// A frame that was sent or received.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// With the link's header.
    pub(super) bytes: &'a [u8],
    pub(super) device: u32,
    /// `ARPHRD_*`.
    pub(super) hardware: u16,
    /// `PACKET_*`.
    pub(super) kind: u8,
    pub(super) checksum: Checksum,
}

impl Seen<'_> {
    /// Ethernet type.
    fn protocol(&self) -> u16 {
        let word =
            self.bytes.get(12..14).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
        if word >= LEAST_TYPE { word } else { WITH_LENGTH }
    }
}

/// The packet sockets of a namespace.
pub(super) struct Packets {
    sockets: SpinLock<Vec<Weak<LinkSocket>>>,
    /// Sockets that watch.
    pub(super) watching: Arc<AtomicUsize>,
}

impl Default for Packets {
    fn default() -> Self {
        Self { sockets: SpinLock::new(LIST, Vec::new()), watching: Arc::default() }
    }
}

impl Packets {
    /// Whether somebody wants to see frames.
    pub(super) fn are_watched(&self) -> bool {
        self.watching.load(Ordering::Relaxed) > 0
    }

    /// Every socket.
    pub(super) fn all(&self) -> Vec<Arc<LinkSocket>> {
        self.sockets.lock().iter().filter_map(|socket| socket.upgrade()).collect()
    }
}

/// A packet socket.
pub(super) struct LinkSocket {
    me: Weak<Self>,
    pub(super) base: Base,
    /// Ethernet type that it wants; 0 for none.
    pub(super) protocol: AtomicU16,
    /// Interface that it is bound to; 0 for all.
    pub(super) device: AtomicU32,
    is_watching: AtomicBool,
    /// Number of an error that waits.
    error: AtomicI32,
    /// `PACKET_IGNORE_OUTGOING`.
    ignores_outgoing: AtomicBool,
    kept: SpinLock<Kept>,
    queue: SpinLock<Queue>,
}

impl LinkSocket {
    pub(super) fn new(base: Base, protocol: u16) -> Arc<Self> {
        let socket = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            base,
            protocol: AtomicU16::new(protocol),
            device: AtomicU32::new(0),
            is_watching: AtomicBool::new(false),
            error: AtomicI32::new(0),
            ignores_outgoing: AtomicBool::new(false),
            kept: SpinLock::new(STATE, Kept::default()),
            queue: SpinLock::new(WAITING, Queue::default()),
        });
        socket.base.stack.packets.sockets.lock().push(socket.me.clone());
        socket.watch(protocol != 0);
        socket
    }

    /// Begins or ends to watch.
    fn watch(&self, on: bool) {
        let was = self.is_watching.swap(on, Ordering::Relaxed);
        let stack = &self.base.stack;
        match (was, on) {
            (false, true) => {
                stack.packets.watching.fetch_add(1, Ordering::Relaxed);
                stack.observers.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                stack.packets.watching.fetch_sub(1, Ordering::Relaxed);
                stack.observers.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn wants(&self, seen: &Seen<'_>) -> bool {
        let (protocol, device) = (self.protocol.load(Ordering::Relaxed), self.device.load(Ordering::Relaxed));
        let fits = match (protocol, seen.kind) {
            (0, _) => false,
            (ALL, kind::OUTGOING) => !self.ignores_outgoing.load(Ordering::Relaxed),
            (ALL, _) => true,
            (_, kind::OUTGOING) => false,
            (protocol, _) => protocol == seen.protocol(),
        };
        fits && (device == 0 || device == seen.device) && self.is_watching.load(Ordering::Relaxed)
    }

    /// Whether the link's header is part of what a program sends and receives.
    fn has_header(&self) -> bool {
        self.base.kind == SocketType::Raw
    }

    /// Takes an error that waits.
    fn take_error(&self) -> Result<(), Errno> {
        match self.error.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Errno::ENETDOWN),
        }
    }
}

impl Stack {
    /// Shows a frame to packet sockets, but not to the one that sent it.
    pub(super) fn show_frame(&self, seen: &Seen<'_>, sender: Option<&LinkSocket>) {
        for socket in self.packets.all() {
            let is_sender = sender.is_some_and(|sender| core::ptr::eq(sender, Arc::as_ptr(&socket)));
            if !is_sender && socket.wants(seen) {
                socket.take_in(seen);
            }
        }
    }

    /// Shows a frame of loopback, which is sent and received.
    fn show_looped_frame(&self, bytes: &[u8], checksum: Checksum, sender: Option<&LinkSocket>) {
        let (device, hardware) = (LOOPBACK, frame::HARDWARE);
        let seen = Seen { bytes, device, hardware, kind: kind::OUTGOING, checksum };
        self.show_frame(&seen, sender);
        self.show_frame(&Seen { kind: kind::HOST, ..seen }, None);
    }

    /// Whether packets that stay in this host are watched.
    pub(super) fn is_observed(&self) -> bool {
        self.observers.load(Ordering::Relaxed) > 0
    }

    /// Shows a packet that stays in this host to packet sockets.
    pub(super) fn show_looped(&self, label: &Label, parts: &[&[u8]], checksum: Checksum) {
        if let Some(frame) = self.packets.are_watched().then(|| Frame::new(label, parts)).flatten() {
            self.show_looped_frame(&frame.bytes, checksum, None);
        }
    }

    /// Shows a packet of TCP or UDP that stays in this host to packet sockets and raw ones.
    pub(super) fn show_to_all(&self, label: &Label, parts: &[&[u8]]) {
        self.show_looped(label, parts, Checksum::NotReady);
        if self.raw_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (from, to, ttl, tos) = (label.from, label.to, label.ttl, label.tos);
        let protocol = i32::from(label.protocol);
        let packet = Packet { from, to, protocol, ttl, tos, payload: parts.concat() };
        let sockets: Vec<_> = self.raw.lock().iter().filter_map(|socket| socket.upgrade()).collect();
        for socket in sockets {
            socket.take_in(&packet);
        }
    }
}

impl Socket for LinkSocket {
    fn kind(&self) -> (u16, SocketType, i32) {
        (AF_PACKET, self.base.kind, 0)
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let Address::Link(address) = address else { return Err(Errno::EINVAL) };
        let mut is_up = true;
        let device = u32::try_from(address.device).map_err(|_| Errno::ENODEV)?;
        if device != 0 {
            let links = self.base.stack.interfaces();
            let link = links.iter().find(|link| link.index == device).ok_or(Errno::ENODEV)?;
            is_up = link.flags & super::interface::UP != 0;
        }
        if address.protocol != 0 {
            self.protocol.store(address.protocol, Ordering::Relaxed);
        }
        self.device.store(device, Ordering::Relaxed);
        self.watch(self.protocol.load(Ordering::Relaxed) != 0);
        if !is_up {
            self.error.store(Errno::ENETDOWN.number(), Ordering::Relaxed);
            self.base.events.wake_all();
        }
        Ok(())
    }

    fn try_connect(&self, _address: &Address, _creds: Ucred) -> Result<(), Stop> {
        Err(Errno::EOPNOTSUPP.into())
    }

    fn set_ino(&self, ino: u64) {
        self.base.ino.store(ino, Ordering::Relaxed);
    }

    fn listen(&self, _backlog: usize, _creds: Ucred) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn try_accept(&self) -> Result<Arc<dyn Socket>, Stop> {
        Err(Errno::EOPNOTSUPP.into())
    }

    fn try_send(&self, from: &mut IoReader<'_>, message: &mut Outgoing) -> Result<usize, Stop> {
        self.send(from, message)
    }

    fn try_receive(&self, to: &mut IoWriter<'_>, flags: MsgFlags) -> Result<Incoming, Stop> {
        self.receive(to, flags)
    }

    fn lose_next(&self) {
        self.queue.lock().lose_next();
    }

    fn shutdown(&self, _how: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self) -> Address {
        let device = self.device.load(Ordering::Relaxed);
        let protocol = self.protocol.load(Ordering::Relaxed);
        let links = self.base.stack.interfaces();
        let link = links.iter().find(|link| link.index == device);
        let mut address = LinkAddress { protocol, device: device.cast_signed(), ..LinkAddress::default() };
        if let Some(link) = link {
            address.hardware = link.hardware;
            address.set_hardware_address(&link.mac);
        }
        address.size = LinkAddress::HEADER + usize::from(address.len);
        Address::Link(address)
    }

    fn peer(&self) -> Result<Address, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn filter(&self) -> &Slot {
        &self.base.filter
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.base.events);
        }
        let mut mask = PollMask::OUT | PollMask::WRNORM | PollMask::WRBAND;
        mask.set(PollMask::ERR, self.error.load(Ordering::Relaxed) != 0);
        mask.set(PollMask::IN | PollMask::RDNORM, !self.queue.lock().is_empty());
        mask
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        self.control(cx, command, argument)
    }

    fn released(&self) {
        self.watch(false);
        self.base.stack.packets.sockets.lock().retain(|socket| !socket.ptr_eq(&self.me));
        let queue = core::mem::take(&mut *self.queue.lock());
        drop(queue);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
