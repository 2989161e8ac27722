//! The events of inotify(7), and the [`Queue`] of an instance.

use crate::abi::Errno;
use crate::fs::eventfd::put_whole;
use crate::user::IoWriter;
use crate::wait::Stop;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bitflags::bitflags;

bitflags! {
    /// `IN_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mask: u32 {
        /// Read.
        const ACCESS = 0x1;
        /// Written.
        const MODIFY = 0x2;
        /// Attributes changed.
        const ATTRIB = 0x4;
        /// Closed that was open for writing.
        const CLOSE_WRITE = 0x8;
        /// Closed that was not.
        const CLOSE_NOWRITE = 0x10;
        /// Opened.
        const OPEN = 0x20;
        /// Moved out of the directory.
        const MOVED_FROM = 0x40;
        /// Moved into it.
        const MOVED_TO = 0x80;
        /// Made in it.
        const CREATE = 0x100;
        /// Removed from it.
        const DELETE = 0x200;
        /// The watched file is gone.
        const DELETE_SELF = 0x400;
        /// The watched file was moved.
        const MOVE_SELF = 0x800;
        /// Its file system is gone.
        const UNMOUNT = 0x2000;
        /// Events were lost.
        const Q_OVERFLOW = 0x4000;
        /// The watch is gone.
        const IGNORED = 0x8000;
        /// Watch only a directory.
        const ONLYDIR = 0x0100_0000;
        /// Do not follow a symbolic link.
        const DONT_FOLLOW = 0x0200_0000;
        /// No events of entries that were removed.
        const EXCL_UNLINK = 0x0400_0000;
        /// Only a new watch.
        const MASK_CREATE = 0x1000_0000;
        /// Add to a watch that is there.
        const MASK_ADD = 0x2000_0000;
        /// It happened to a directory.
        const ISDIR = 0x4000_0000;
        /// One event only.
        const ONESHOT = 0x8000_0000;
    }
}

impl Mask {
    /// What can be asked for.
    pub const EVENTS: Self = Self::from_bits_retain(0xfff);
    /// What is told whether asked for or not.
    pub(super) const ALWAYS: Self = Self::UNMOUNT.union(Self::Q_OVERFLOW).union(Self::IGNORED);
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) watch: i32,
    pub(super) mask: u32,
    pub(super) cookie: u32,
    pub(super) name: Vec<u8>,
}

/// Bytes of an event without its name.
const HEADER: usize = 16;

impl Event {
    fn name_bytes(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    /// Bytes as read(2) gives it.
    fn len(&self) -> usize {
        HEADER + self.name_bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.watch.to_ne_bytes());
        bytes.extend_from_slice(&self.mask.to_ne_bytes());
        bytes.extend_from_slice(&self.cookie.to_ne_bytes());
        let len = u32::try_from(self.name_bytes()).unwrap_or(0);
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.resize(self.len(), 0);
        bytes
    }

    fn repeats(&self, last: &Self) -> bool {
        self.watch == last.watch
            && self.mask == last.mask
            && self.name == last.name
            && self.mask & Mask::IGNORED.bits() == 0
    }
}

/// Events of an instance that wait to be read.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
}

/// Events at most (`/proc/sys/fs/inotify/max_queued_events`).
const EVENTS_MAX: usize = 16384;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that wait (`FIONREAD`).
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event, unless it repeats the last one; beyond the limit a single one that says so. Tells whether it did.
    pub(super) fn push(&mut self, event: Event) -> bool {
        if self.events.back().is_some_and(|last| event.repeats(last)) {
            return false;
        }
        let event = if self.events.len() < EVENTS_MAX {
            event
        } else {
            let lost = Event { watch: -1, mask: Mask::Q_OVERFLOW.bits(), cookie: 0, name: Vec::new() };
            if self.events.back() == Some(&lost) {
                return false;
            }
            lost
        };
        self.bytes += event.len();
        self.events.push_back(event);
        true
    }

    /// Copies whole events, as many as fit.
    ///
    /// # Errors
    /// `EINVAL` when not even the first fits, [`Stop::WouldBlock`] when there is none, [`Stop::Fault`].
    pub(super) fn read(&mut self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let start = to.done();
        while let Some(event) = self.events.front() {
            if to.remaining() < event.len() {
                if to.done() == start {
                    return Err(Errno::EINVAL.into());
                }
                break;
            }
            match put_whole(to, &event.bytes()) {
                Ok(len) => {
                    self.bytes -= len;
                    self.events.pop_front();
                }
                Err(stop) if to.done() == start => return Err(stop),
                Err(_) => break,
            }
        }
        let done = to.done() - start;
        if done > 0 { Ok(done) } else { Err(Stop::WouldBlock) }
    }
}
