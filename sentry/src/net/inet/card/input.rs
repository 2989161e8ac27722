//! Taking frames from a card: [`Card::take_frames`] in batches, by a kernel thread per card that [`net_ready`] wakes.

use super::super::Stack;
use super::super::ip::{ETHER_V4, ETHER_V6, parse};
use super::{Card, arp, output};
use crate::abi::Errno;
use crate::platform;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;
use chitin_core::once::Once;
use chitin_core::sleep::Sleeper;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

/// Cards whose events are heard.
pub(in super::super) const MAX_CARDS: usize = 16;
/// Frames that are taken at once.
const BATCH: usize = 64;

/// What a card's events do.
struct Signal {
    is_set: AtomicBool,
    worker: Once<Waker>,
}

static SIGNALS: [Signal; MAX_CARDS] =
    [const { Signal { is_set: AtomicBool::new(false), worker: Once::new() } }; MAX_CARDS];

/// Frames may have arrived at a card, or room may be there. Called with interrupts off: marks and wakes.
pub fn net_ready(card: usize) {
    if let Some(signal) = SIGNALS.get(card) {
        signal.is_set.store(true, Ordering::SeqCst);
        if let Some(worker) = signal.worker.get() {
            worker.wake_by_ref();
        }
    }
}

/// Whether a batch left something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Batch {
    /// There may be more.
    Full,
    /// The card is empty.
    Last,
}

impl Card {
    /// Starts the thread that takes frames from this card, which is number `device` of the machine.
    ///
    /// # Errors
    /// `ENODEV` for a number beyond those that can be, `ENOMEM`.
    pub(in super::super) fn start(self: &Arc<Self>, device: usize) -> Result<(), Errno> {
        let signal = SIGNALS.get(device).ok_or(Errno::ENODEV)?;
        let card = self.clone();
        signal.is_set.store(true, Ordering::SeqCst);
        let body = Box::new(move |sleeper: &Sleeper| {
            signal.worker.set(sleeper.waker());
            let mut frame = Vec::new();
            loop {
                if !signal.is_set.swap(false, Ordering::SeqCst) {
                    sleeper.park(None);
                    continue;
                }
                while card.take_frames(&mut frame) == Batch::Full {
                    sleeper.resched_point();
                }
            }
        });
        platform::get().spawn("net", body)?;
        Ok(())
    }

    /// Takes a batch of frames in, and sends what waited for room.
    pub(in super::super) fn take_frames(&self, frame: &mut Vec<u8>) -> Batch {
        let Some(stack) = self.stack.upgrade() else { return Batch::Last };
        self.send_backlog();
        let now_ns = now_ns();
        let mut result = Batch::Full;
        for _ in 0..BATCH {
            let Some(offload) = self.port.try_receive(frame) else {
                result = Batch::Last;
                break;
            };
            let trusts = offload.is_verified || offload.checksum_start.is_some();
            self.take_frame(&stack, frame, trusts, now_ns);
        }
        self.port.flush();
        result
    }

    /// Takes a frame in; `trusts` says that the card vouches for checksums.
    fn take_frame(&self, stack: &Stack, frame: &[u8], trusts: bool, now_ns: u64) {
        let Some((header, packet)) = frame.split_first_chunk::<{ output::HEADER }>() else { return };
        let to = header.first_chunk::<6>().copied().unwrap_or_default();
        let is_group = to[0] & 1 != 0;
        if self.is_watched() && self.is_up() {
            self.show_received(stack, frame, to, trusts);
        }
        if !self.is_up() || !(is_group || to == self.mac) {
            return;
        }
        let counts = &self.counts;
        counts.in_packets.fetch_add(1, Ordering::Relaxed);
        counts.in_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        if is_group {
            counts.in_multicast.fetch_add(1, Ordering::Relaxed);
        }
        let parsed = match u16::from_be_bytes([header[12], header[13]]) {
            arp::ETHER => return self.take_arp(packet, now_ns),
            ETHER_V4 => parse::parse_v4(packet, false),
            ETHER_V6 => parse::parse_v6(packet, false),
            _ => return,
        };
        match parsed {
            Some(parsed) => stack.take_packet(self, &parsed, is_group, trusts, now_ns),
            None => {
                counts.in_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
