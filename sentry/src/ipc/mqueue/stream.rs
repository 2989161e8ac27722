//! [`MqStream`]: an open message queue: readiness for poll(2), and the text that read(2) gives.

use super::Queue;
use crate::abi::Errno;
use crate::fs::{Attr, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

/// Level of the position's lock.
const LEVEL: Level = Level(144);

/// An open message queue.
pub struct MqStream {
    queue: Arc<Queue>,
    name: String,
    position: SpinLock<usize>,
}

impl MqStream {
    /// Opens a queue; `name` is without a slash.
    #[must_use]
    pub fn new(queue: Arc<Queue>, name: &[u8]) -> Arc<Self> {
        let name = alloc::format!("/{}", String::from_utf8_lossy(name));
        Arc::new(Self { queue, name, position: SpinLock::new(LEVEL, 0) })
    }

    /// The queue.
    #[must_use]
    pub const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Stream for MqStream {
    fn try_read(&self, to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        let mut position = self.position.lock();
        let text = self.queue.text();
        let done = to.write(text.as_bytes().get(*position..).unwrap_or_default());
        *position += done;
        match to.fault() {
            Some(fault) if done == 0 => Err(Stop::Fault(fault)),
            _ => Ok(done),
        }
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(&self.queue.readable);
            table.add(&self.queue.writable);
        }
        let count = self.queue.len();
        let mut mask = PollMask::empty();
        mask.set(PollMask::IN | PollMask::RDNORM, count > 0);
        mask.set(PollMask::OUT | PollMask::WRNORM, count < self.queue.attributes().max_messages);
        mask
    }

    fn attr(&self) -> Attr {
        anon::attr(1, 0o100_600)
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
