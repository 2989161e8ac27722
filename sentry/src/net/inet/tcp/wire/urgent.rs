//! Urgent data over a wire (RFC 6093: the pointer names the byte behind the urgent one).

use super::super::flow::Taking;
use super::super::urgent::{Line, Mark};
use super::engine::Engine;
use super::segment::Segment;
use super::sequence::Seq;
use crate::abi::Errno;
use crate::user::IoWriter;

/// How far an urgent byte has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The other side told of it.
    Announced,
    /// It waits.
    Here(u8),
    /// It was received.
    Taken,
}

/// Urgent data of both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Urgency {
    /// What this side sends: the number behind the urgent byte, until that is acknowledged.
    pub(super) sent: Option<Seq>,
    /// What the other side sent: the number of the urgent byte, until it is passed.
    pub(super) received: Option<(Seq, Arrival)>,
}

impl Engine {
    /// The number of the next byte that the program takes.
    fn copied(&self) -> Seq {
        let behind = self.receive.len() + usize::from(self.is_finished);
        Seq(self.rcv_nxt.0.wrapping_sub(u32::try_from(behind & 0xffff_ffff).unwrap_or(0)))
    }

    /// The urgent pointer of a segment that begins at `seq`, when there is urgent data behind it.
    pub(super) fn pointer(&self, seq: Seq) -> Option<u16> {
        let up = self.urgency.sent.filter(|up| up.is_after(seq) && up.is_after(self.una))?;
        Some(u16::try_from(up.since(seq)).unwrap_or(u16::MAX))
    }

    /// A segment tells of urgent data.
    pub(super) fn hear_urgent(&mut self, segment: &Segment<'_>) {
        let Some(pointer) = segment.urgent else { return };
        let at = segment.seq.plus(usize::from(pointer)).before_it();
        let copied = self.copied();
        if at.is_before(copied) || at.is_before(self.rcv_nxt) {
            return;
        }
        if self.urgency.received.is_some_and(|(known, _)| !at.is_after(known)) {
            return;
        }
        self.effects.is_urgent = true;
        // Who stands at the former mark never gets that byte.
        if self.line == Line::Apart && self.ahead_of_mark(0) == Some(0) && self.receive.len() > 0 {
            self.receive.consume(1);
        }
        self.urgency.received = Some((at, Arrival::Announced));
        self.effects.wakes = true;
    }

    /// Bytes came: the urgent one may be among them.
    pub(super) fn catch_urgent(&mut self) {
        let Some((at, Arrival::Announced)) = self.urgency.received else { return };
        let Some(ahead) = self.ahead_of_mark(0).filter(|ahead| *ahead < self.receive.len()) else { return };
        let mut byte = [0];
        if self.receive.copy(ahead, &mut IoWriter::kernel(&mut byte), 1) == 1 {
            self.urgency.received = Some((at, Arrival::Here(byte[0])));
            self.effects.wakes = true;
        }
    }

    /// Bytes up to the urgent one, from `skip` on; `None` when there is none or it is behind.
    fn ahead_of_mark(&self, skip: usize) -> Option<usize> {
        let (at, _) = self.urgency.received?;
        let copied = self.copied();
        if at.is_before(copied) { None } else { at.since(copied).checked_sub(skip) }
    }

    /// How many bytes may be received at once, and how many are left out before them.
    pub(super) fn up_to_mark(&mut self, taking: Taking) -> (usize, usize) {
        match self.ahead_of_mark(0) {
            None => (0, usize::MAX),
            Some(0) if self.line == Line::In => (0, usize::MAX),
            Some(0) if taking.keeps() => (1, usize::MAX),
            Some(0) if self.receive.len() > 0 => {
                self.receive.consume(1);
                self.read += 1;
                self.pass_mark();
                (0, usize::MAX)
            }
            Some(0) => (0, usize::MAX),
            Some(ahead) => (0, ahead),
        }
    }

    /// Bytes were taken: what is passed is no mark any more.
    pub(super) fn pass_mark(&mut self) {
        let copied = self.copied();
        self.urgency.received = self.urgency.received.filter(|(at, _)| !at.is_before(copied));
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        let (_, arrival) = self.urgency.received?;
        let waits = matches!(arrival, Arrival::Here(_));
        self.ahead_of_mark(0).map(|ahead| Mark { ahead, waits })
    }

    /// The urgent byte: an error when there is none, it was received, or has not come.
    pub(super) fn take_urgent(&mut self, keeps: bool) -> Result<u8, Errno> {
        match self.urgency.received {
            Some((at, Arrival::Here(byte))) => {
                if !keeps {
                    self.urgency.received = Some((at, Arrival::Taken));
                }
                Ok(byte)
            }
            Some((_, Arrival::Announced)) => Err(Errno::EAGAIN),
            Some((_, Arrival::Taken)) | None => Err(Errno::EINVAL),
        }
    }
}
