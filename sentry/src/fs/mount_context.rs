//! [`Context`]: a file system that is being configured by descriptor (fsopen(2), fspick(2)).

use crate::abi::Errno;
use crate::fs::{Attr, Stream, Superblock, anon};
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

/// Level of a context's lock: nothing is taken below it.
const LEVEL: Level = Level(127);
/// Bytes of options at most.
const OPTIONS_MAX: usize = 4096;

/// How far the configuration came.
pub enum Phase {
    /// Parameters of a new file system are taken.
    Parameters {
        /// Its type.
        kind: Vec<u8>,
        /// Options, with commas between.
        options: Vec<u8>,
    },
    /// It is made, and can be mounted once.
    Created(Arc<Superblock>),
    /// It was mounted.
    Mounted,
    /// Parameters of one that is there are taken.
    Reconfiguring {
        /// It.
        superblock: Arc<Superblock>,
        /// Options.
        options: Vec<u8>,
    },
}

struct State {
    phase: Phase,
    source: Vec<u8>,
}

/// A file system that is being configured.
pub struct Context {
    state: SpinLock<State>,
    ino: u64,
}

impl Context {
    /// A context at the beginning of `phase`.
    #[must_use]
    pub fn new(phase: Phase) -> Arc<Self> {
        let state = State { phase, source: b"none".to_vec() };
        Arc::new(Self { state: SpinLock::new(LEVEL, state), ino: anon::next_ino() })
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// `EBUSY` once it is made, `EINVAL` for too many.
    pub fn add(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if let (b"source", Some(value), Phase::Parameters { .. }) = (key, value, &state.phase) {
            state.source = value.to_vec();
            return Ok(());
        }
        let options = match &mut state.phase {
            Phase::Parameters { options, .. } | Phase::Reconfiguring { options, .. } => options,
            Phase::Created(_) | Phase::Mounted => return Err(Errno::EBUSY),
        };
        let len = options.len() + key.len() + value.map_or(0, <[u8]>::len) + 2;
        if len > OPTIONS_MAX || key.contains(&b',') || value.is_some_and(|value| value.contains(&b',')) {
            return Err(Errno::EINVAL);
        }
        if !options.is_empty() {
            options.push(b',');
        }
        options.extend_from_slice(key);
        if let Some(value) = value {
            options.push(b'=');
            options.extend_from_slice(value);
        }
        Ok(())
    }

    /// Type and options of what is to be made.
    ///
    /// # Errors
    /// `EBUSY` when it is made already or was there before.
    pub fn parameters(&self) -> Result<(Vec<u8>, Vec<u8>), Errno> {
        match &self.state.lock().phase {
            Phase::Parameters { kind, options } => Ok((kind.clone(), options.clone())),
            _ => Err(Errno::EBUSY),
        }
    }

    /// It was made.
    ///
    /// # Errors
    /// `EBUSY` when somebody else was faster.
    pub fn created(&self, superblock: Arc<Superblock>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Parameters { .. }) {
            drop(state);
            drop(superblock);
            return Err(Errno::EBUSY);
        }
        state.phase = Phase::Created(superblock);
        Ok(())
    }

    /// Takes it for a mount, with what was mounted.
    ///
    /// # Errors
    /// `EINVAL` before it is made, `EBUSY` when it was mounted.
    pub fn mount(&self) -> Result<(Arc<Superblock>, Vec<u8>), Errno> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Created(_) => {}
            Phase::Mounted => return Err(Errno::EBUSY),
            _ => return Err(Errno::EINVAL),
        }
        let source = state.source.clone();
        match core::mem::replace(&mut state.phase, Phase::Mounted) {
            Phase::Created(superblock) => Ok((superblock, source)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Carries out changes of one that is there.
    ///
    /// # Errors
    /// `EBUSY` when it is a new one, `EINVAL` for what the file system does not know.
    pub fn reconfigure(&self) -> Result<(), Errno> {
        let (superblock, options) = match &mut self.state.lock().phase {
            Phase::Reconfiguring { superblock, options } => (superblock.clone(), core::mem::take(options)),
            _ => return Err(Errno::EBUSY),
        };
        superblock.fs.remount(&options)
    }
}

impl Stream for Context {
    fn try_read(&self, _to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        // No file system writes a message there.
        Err(Errno::ENODATA.into())
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, _table: Option<&mut PollTable>) -> PollMask {
        PollMask::IN | PollMask::OUT | PollMask::RDNORM | PollMask::WRNORM
    }

    fn attr(&self) -> Attr {
        anon::attr(self.ino, 0o600)
    }

    fn name(&self) -> String {
        "anon_inode:[fscontext]".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
