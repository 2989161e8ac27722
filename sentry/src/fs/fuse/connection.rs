//! [`Connection`]: requests and answers over the platform's file channel.

use crate::abi::Errno;
use crate::fs::FsCx;
use crate::platform::{self, FuseChannel, Segment};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::Sleeper;
use chitin_proto::fuse::{BatchForgetIn, ForgetOne, InHeader, OpenIn, OpenOut, OutHeader, ReleaseIn, opcode};
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// Level of the short locks in this room; none is held together with another.
pub(super) const LEVEL: Level = Level(150);

/// Forgets are sent once this many have gathered.
const FORGET_BATCH: usize = 64;
/// File handles kept open for page fills after the last close.
const RECENT_HANDLES: usize = 64;

/// The file channel to the host, shared by all shares of the sandbox.
pub struct Connection {
    channel: &'static dyn FuseChannel,
    unique: AtomicU64,
    forgets: SpinLock<Vec<ForgetOne>>,
    releases: SpinLock<Vec<(u64, u64)>>,
    recent: SpinLock<Vec<Arc<Handle>>>,
}

/// An open file of the server; released (later) when dropped.
pub(super) struct Handle {
    connection: Arc<Connection>,
    node: u64,
    pub(super) fh: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connection.releases.lock().push((self.node, self.fh));
    }
}

impl Connection {
    /// The connection over the platform's channel; `None` when the machine has no file device.
    #[must_use]
    pub fn new() -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            channel: platform::get().fuse()?,
            unique: AtomicU64::new(1),
            forgets: SpinLock::new(LEVEL, Vec::new()),
            releases: SpinLock::new(LEVEL, Vec::new()),
            recent: SpinLock::new(LEVEL, Vec::new()),
        }))
    }

    fn header(&self, opcode: u32, node: u64, len: usize, uid: u32, gid: u32) -> InHeader {
        InHeader {
            len: u32::try_from(size_of::<InHeader>() + len).unwrap_or(u32::MAX),
            opcode,
            unique: self.unique.fetch_add(1, Ordering::Relaxed),
            node,
            uid,
            gid,
            pid: 0,
            padding: 0,
        }
    }

    /// Sends a request of `parts` and returns the answer's bytes after its header, at most `room` of them.
    ///
    /// # Errors
    /// The errno that the server answers; `EIO` for an answer that cannot be; `ENOMEM`.
    pub(super) fn call(
        self: &Arc<Self>,
        cx: &FsCx<'_>,
        opcode: u32,
        node: u64,
        parts: &[&[u8]],
        room: usize,
    ) -> Result<Vec<u8>, Errno> {
        self.settle(cx.sleeper);
        let len = parts.iter().map(|part| part.len()).sum();
        let header = self.header(opcode, node, len, cx.creds.fsuid, cx.creds.fsgid);
        let mut request = Vec::with_capacity(size_of::<InHeader>() + len);
        request.extend_from_slice(header.as_bytes());
        for part in parts {
            request.extend_from_slice(part);
        }
        let answer = vec![Segment::Bytes(vec![0; size_of::<OutHeader>() + room])];
        let answer = self.channel.call(cx.sleeper, vec![Segment::Bytes(request)], answer)?;
        let Some(Segment::Bytes(mut bytes)) = answer.segments.into_iter().next() else {
            return Err(Errno::EIO);
        };
        bytes.truncate(answer.len);
        check(&bytes, answer.len, &header)?;
        bytes.drain(..size_of::<OutHeader>());
        Ok(bytes)
    }

    /// As [`Connection::call`], decoding the answer.
    ///
    /// # Errors
    /// As [`Connection::call`]; `EIO` when the answer is too short.
    pub(super) fn call_for<T: FromBytes>(
        self: &Arc<Self>,
        cx: &FsCx<'_>,
        opcode: u32,
        node: u64,
        parts: &[&[u8]],
    ) -> Result<T, Errno> {
        let bytes = self.call(cx, opcode, node, parts, size_of::<T>())?;
        T::read_from_prefix(&bytes).map(|(value, _)| value).map_err(|_| Errno::EIO)
    }

    /// Sends a `READ`-like request whose answer goes into frames. Returns the bytes that arrived.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(super) fn call_into_frames(
        &self,
        sleeper: &Sleeper,
        node: u64,
        argument: &[u8],
        frames: &[Frame],
    ) -> Result<usize, Errno> {
        let header = self.header(opcode::READ, node, argument.len(), 0, 0);
        let mut request = header.as_bytes().to_vec();
        request.extend_from_slice(argument);
        let mut answer = vec![Segment::Bytes(vec![0; size_of::<OutHeader>()])];
        answer.extend(frames.iter().map(|frame| Segment::Frame {
            frame: frame.clone(),
            offset: 0,
            len: 4096,
        }));
        let answer = self.channel.call(sleeper, vec![Segment::Bytes(request)], answer)?;
        let Some(Segment::Bytes(head)) = answer.segments.first() else { return Err(Errno::EIO) };
        check(head, answer.len, &header)?;
        Ok((answer.len - size_of::<OutHeader>()).min(frames.len() * FRAME_SIZE))
    }

    /// Sends a `WRITE` of `len` bytes of `frames`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(super) fn call_from_frames(
        &self,
        sleeper: &Sleeper,
        node: u64,
        argument: &[u8],
        frames: &[Frame],
        len: usize,
    ) -> Result<Vec<u8>, Errno> {
        let header = self.header(opcode::WRITE, node, argument.len() + len, 0, 0);
        let mut request = header.as_bytes().to_vec();
        request.extend_from_slice(argument);
        let mut request = vec![Segment::Bytes(request)];
        let mut left = len;
        for frame in frames {
            let part = left.min(FRAME_SIZE);
            if part > 0 {
                let len = u16::try_from(part).unwrap_or(4096);
                request.push(Segment::Frame { frame: frame.clone(), offset: 0, len });
            }
            left -= part;
        }
        let answer = vec![Segment::Bytes(vec![0; size_of::<OutHeader>() + 8])];
        let answer = self.channel.call(sleeper, request, answer)?;
        let Some(Segment::Bytes(mut bytes)) = answer.segments.into_iter().next() else {
            return Err(Errno::EIO);
        };
        bytes.truncate(answer.len);
        check(&bytes, answer.len, &header)?;
        bytes.drain(..size_of::<OutHeader>());
        Ok(bytes)
    }

    /// Gives back one reference of a node, later.
    pub(super) fn forget(&self, node: u64, nlookup: u64) {
        self.forgets.lock().push(ForgetOne { node, nlookup });
    }

    /// Opens a file of the server.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(super) fn open(self: &Arc<Self>, cx: &FsCx<'_>, node: u64, flags: u32) -> Result<Arc<Handle>, Errno> {
        let argument = OpenIn { flags, open_flags: 0 };
        let out: OpenOut = self.call_for(cx, opcode::OPEN, node, &[argument.as_bytes()])?;
        let handle = Arc::new(Handle { connection: self.clone(), node, fh: out.fh });
        self.keep(handle.clone());
        Ok(handle)
    }

    /// Keeps a handle open a while after its last user: page fills of mapped programs come in bursts.
    fn keep(&self, handle: Arc<Handle>) {
        let mut recent = self.recent.lock();
        recent.push(handle);
        let oldest = (recent.len() > RECENT_HANDLES).then(|| recent.remove(0));
        drop(recent);
        drop(oldest);
    }

    /// Sends what `Drop` has queued.
    fn settle(&self, sleeper: &Sleeper) {
        let forgets = {
            let mut queued = self.forgets.lock();
            if queued.len() >= FORGET_BATCH { core::mem::take(&mut *queued) } else { Vec::new() }
        };
        if !forgets.is_empty() {
            let count = u32::try_from(forgets.len()).unwrap_or(u32::MAX);
            let argument = BatchForgetIn { count, dummy: 0 };
            let len = size_of::<BatchForgetIn>() + forgets.len() * size_of::<ForgetOne>();
            let mut request = self.header(opcode::BATCH_FORGET, 0, len, 0, 0).as_bytes().to_vec();
            request.extend_from_slice(argument.as_bytes());
            request.extend_from_slice(forgets.as_bytes());
            // Losing it would leak references in the server for the sandbox's life, so put them back.
            if self.channel.call(sleeper, vec![Segment::Bytes(request)], Vec::new()).is_err() {
                self.forgets.lock().extend(forgets);
            }
        }
        let releases = core::mem::take(&mut *self.releases.lock());
        for (node, fh) in releases {
            let argument = ReleaseIn { fh, flags: 0, release_flags: 0, lock_owner: 0 };
            let header = self.header(opcode::RELEASE, node, size_of::<ReleaseIn>(), 0, 0);
            let mut request = header.as_bytes().to_vec();
            request.extend_from_slice(argument.as_bytes());
            let answer = vec![Segment::Bytes(vec![0; size_of::<OutHeader>()])];
            if self.channel.call(sleeper, vec![Segment::Bytes(request)], answer).is_err() {
                self.releases.lock().push((node, fh));
                break;
            }
        }
    }
}

/// Checks an answer's header against its request and the bytes that arrived.
fn check(bytes: &[u8], len: usize, request: &InHeader) -> Result<(), Errno> {
    let (header, _) = OutHeader::read_from_prefix(bytes).map_err(|_| Errno::EIO)?;
    if header.unique != request.unique || header.len as usize != len || len < size_of::<OutHeader>() {
        return Err(Errno::EIO);
    }
    match header.error {
        0 => Ok(()),
        error => Err(Errno::from_number(error.checked_neg().unwrap_or(0))),
    }
}
