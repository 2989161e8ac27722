//! Readiness of any open file, for poll, select and epoll.

use crate::fs::OpenFile;
use crate::fs::open_file::FileBody;
use crate::wait::{PollMask, PollTable, Pollable};

impl Pollable for OpenFile {
    fn poll(&self, table: Option<&mut PollTable>) -> PollMask {
        match self.body() {
            FileBody::Stream(stream, _) => stream.poll(table),
            FileBody::Node(..) => PollMask::IN | PollMask::OUT | PollMask::RDNORM | PollMask::WRNORM,
            FileBody::Path(_) => PollMask::NVAL,
        }
    }
}
