//! A descriptor of a process (pidfd_open(2)): readable once it has ended.

use super::Process;
use crate::abi::Errno;
use crate::fs::{Attr, OpenFile, Stream, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

/// See the module.
pub struct PidFd {
    process: Arc<Process>,
    ino: u64,
}

impl PidFd {
    /// Of a process.
    #[must_use]
    pub fn new(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self { process, ino: anon::next_ino() })
    }

    /// The process that an open file stands for.
    ///
    /// # Errors
    /// `EBADF` when it is no such descriptor.
    pub fn process_of(file: &OpenFile) -> Result<&Arc<Process>, Errno> {
        let stream = file.stream().ok_or(Errno::EBADF)?;
        stream.as_any().downcast_ref::<Self>().map(|pidfd| &pidfd.process).ok_or(Errno::EBADF)
    }
}

impl Stream for PidFd {
    fn try_read(&self, _to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        if let Some(table) = table {
            table.add(self.process.ended());
        }
        if self.process.is_zombie() { PollMask::IN | PollMask::RDNORM } else { PollMask::empty() }
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[pidfd]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
