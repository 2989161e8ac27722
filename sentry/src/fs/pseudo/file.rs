//! [`PseudoFile`]: a regular file made of [`Contents`].

use super::Meta;
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::node::OpenState;
use crate::fs::{FileNode, FsCx, Node, NodeKind, OpenFile};
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

/// Longest single write.
const MAX_WRITE: usize = 4096;

/// Level of the lock of one open file's bytes; nothing is taken below it but user memory.
const LEVEL: Level = Level(110);

/// Makes the bytes of a file.
pub trait Contents: Send + Sync {
    /// All bytes now.
    ///
    /// # Errors
    /// `ESRCH` when what the file tells of is gone, `EACCES`, `ENOMEM`.
    fn read(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno>;

    /// Takes what one write(2) brings.
    ///
    /// # Errors
    /// `EINVAL` for a value that cannot be; the default is `EACCES`.
    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let _ = (cx, bytes);
        Err(Errno::EACCES)
    }
}

/// Contents that a function makes.
pub struct Text<F>(pub F);

impl<F: Fn(&FsCx<'_>) -> Result<Vec<u8>, Errno> + Send + Sync> Contents for Text<F> {
    fn read(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        (self.0)(cx)
    }
}

/// The bytes made for one open file.
struct Made(SpinLock<Option<Arc<[u8]>>>);

/// A regular file made of [`Contents`].
pub struct PseudoFile {
    contents: Box<dyn Contents>,
}

impl PseudoFile {
    /// A node; `meta.mode` has the permission bits, the type is added.
    #[must_use]
    pub fn node(meta: Meta, contents: impl Contents + 'static) -> Arc<Node> {
        let meta = Meta { mode: meta.mode | 0o100_000, ..meta };
        Node::new(meta.into_ops(), NodeKind::File(Arc::new(Self { contents: Box::new(contents) })))
    }

    fn made(&self, cx: &FsCx<'_>, file: &OpenFile, offset: u64) -> Result<Arc<[u8]>, Errno> {
        let state = file.state::<Made>();
        if offset > 0
            && let Some(bytes) = state.and_then(|made| made.0.lock().clone())
        {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = self.contents.read(cx)?.into();
        if let Some(made) = state {
            let old = made.0.lock().replace(bytes.clone());
            drop(old);
        }
        Ok(bytes)
    }
}

impl FileNode for PseudoFile {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        None
    }

    fn open(&self, _cx: &FsCx<'_>, _flags: u32) -> Result<OpenState, Errno> {
        Ok(Some(Box::new(Made(SpinLock::new(LEVEL, None)))))
    }

    fn read(
        &self,
        cx: &FsCx<'_>,
        file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        let bytes = self.made(cx, file, offset)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let done = to.write(rest);
        match to.fault() {
            Some(fault) if done == 0 => Err(Stop::Fault(fault)),
            _ => Ok(done),
        }
    }

    fn write(
        &self,
        cx: &FsCx<'_>,
        _file: &OpenFile,
        _offset: u64,
        from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        let at = from.done();
        let mut bytes = vec![0; from.remaining().min(MAX_WRITE)];
        let len = from.read(&mut bytes);
        if len < bytes.len()
            && let Some(fault) = from.fault()
        {
            return Err(Stop::Fault(fault));
        }
        // What is refused was not written.
        self.contents.write(cx, &bytes).inspect_err(|_| from.rewind(at))?;
        Ok(len)
    }

    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
