//! Character devices of major 1 (null(4), full(4), random(4)): null, zero, full, random, urandom, kmsg.

use crate::abi::Errno;
use crate::fs::stream::StreamKind;
use crate::fs::{Attr, OpenFile, Stream};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

/// Their major number.
pub const MAJOR: u64 = 1;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/dev/null`
    Null,
    /// `/dev/zero`
    Zero,
    /// `/dev/full`
    Full,
    /// `/dev/random` and `/dev/urandom`
    Random,
    /// `/dev/kmsg`
    Log,
}

/// An open one.
pub struct Memory {
    kind: Kind,
    device: u64,
}

pub(super) fn open(minor: u64, device: u64) -> Option<Arc<dyn Stream>> {
    let kind = match minor {
        3 => Kind::Null,
        5 => Kind::Zero,
        7 => Kind::Full,
        8 | 9 => Kind::Random,
        11 => Kind::Log,
        _ => return None,
    };
    Some(Arc::new(Memory { kind, device }))
}

/// Whether mapping the file gives anonymous memory: it is `/dev/zero`.
#[must_use]
pub fn is_zero(file: &OpenFile) -> bool {
    file.stream()
        .and_then(|stream| stream.as_any().downcast_ref::<Memory>())
        .is_some_and(|memory| memory.kind == Kind::Zero)
}

/// Whether a stream is one of those that poll(2) finds always ready and epoll(7) does not take: null, zero, full.
#[must_use]
pub fn is_always_ready(stream: &dyn Stream) -> bool {
    let memory = stream.as_any().downcast_ref::<Memory>();
    memory.is_some_and(|memory| matches!(memory.kind, Kind::Null | Kind::Zero | Kind::Full))
}

impl Memory {
    fn random(to: &mut IoWriter<'_>) -> usize {
        let mut bytes = [0u8; 256];
        let mut done = 0;
        while to.remaining() > 0 {
            let want = to.remaining().min(bytes.len());
            let part = bytes.get_mut(..want).unwrap_or_default();
            crate::platform::get().entropy(part);
            let copied = to.write(part);
            done += copied;
            if copied < want {
                break;
            }
        }
        done
    }
}

impl Stream for Memory {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let done = match self.kind {
            Kind::Null => return Ok(0),
            Kind::Log => return Err(Stop::WouldBlock),
            Kind::Zero | Kind::Full => to.zero(to.remaining().min(1 << 20)),
            Kind::Random => Self::random(to),
        };
        match to.fault() {
            Some(fault) if done == 0 => Err(Stop::Fault(fault)),
            _ => Ok(done),
        }
    }

    fn try_write(&self, from: &mut IoReader<'_>) -> Result<usize, Stop> {
        match self.kind {
            Kind::Full => Err(Errno::ENOSPC.into()),
            // Nothing looks at the bytes, so a bad address is no error, as on Linux.
            Kind::Null | Kind::Zero | Kind::Random | Kind::Log => Ok(from.skip(usize::MAX)),
        }
    }

    fn kind(&self) -> StreamKind {
        StreamKind::Memory
    }

    fn poll(&self, _: Option<&mut PollTable>) -> PollMask {
        let out = PollMask::OUT | PollMask::WRNORM;
        if self.kind == Kind::Log { out } else { out | PollMask::IN | PollMask::RDNORM }
    }

    fn attr(&self) -> Attr {
        Attr { mode: 0o020_666, rdev: self.device, nlink: 1, ..Attr::default() }
    }

    fn name(&self) -> String {
        String::from(match self.kind {
            Kind::Null => "/dev/null",
            Kind::Zero => "/dev/zero",
            Kind::Full => "/dev/full",
            Kind::Random => "/dev/urandom",
            Kind::Log => "/dev/kmsg",
        })
    }

    fn reopen(self: Arc<Self>, _: u32) -> Result<Arc<dyn Stream>, Errno> {
        Ok(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
