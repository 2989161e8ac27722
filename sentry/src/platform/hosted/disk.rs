//! A block device in memory, for tests: what was written but not flushed is known, and requests can be made to fail.

use crate::platform::{BlockError, BlockGeometry, BlockPort, BlockRequest};
use chitin_core::frame::FRAME_SIZE;
use chitin_core::sleep::Sleeper;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;
use std::vec::Vec;

/// Time that a request takes.
const REQUEST_NS: u64 = 20_000;
const SECTOR: usize = 512;

/// What a disk holds and what happened to it.
#[derive(Debug, Default)]
pub struct DiskState {
    /// Bytes as the next read sees them.
    pub bytes: Vec<u8>,
    /// Bytes as they were at the last flush.
    pub durable: Vec<u8>,
    /// Requests so far: reads, writes, flushes.
    pub requests: (usize, usize, usize),
    /// What writes and flushes fail with, if they are to.
    pub failure: Option<BlockError>,
}

/// The device.
#[derive(Debug)]
pub struct MemoryDisk {
    geometry: BlockGeometry,
    state: Mutex<DiskState>,
}

impl MemoryDisk {
    /// A disk of zeroes.
    #[must_use]
    pub fn new(geometry: BlockGeometry) -> Self {
        let bytes = vec![0; usize::try_from(geometry.sectors).unwrap_or(0) * SECTOR];
        let state = DiskState { durable: bytes.clone(), bytes, ..DiskState::default() };
        Self { geometry, state: Mutex::new(state) }
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(&self, sector: u64, len: usize) -> Result<core::ops::Range<usize>, BlockError> {
        let start = usize::try_from(sector).ok().and_then(|sector| sector.checked_mul(SECTOR));
        let start = start.ok_or(BlockError::Io)?;
        let end = start.checked_add(len).ok_or(BlockError::Io)?;
        let fits = len.is_multiple_of(self.geometry.block_size as usize) && end <= self.state().bytes.len();
        if fits { Ok(start..end) } else { Err(BlockError::Io) }
    }

    fn clear(&self, sector: u64, sectors: u32, with: u8) -> Result<(), BlockError> {
        let range = self.range(sector, sectors as usize * SECTOR)?;
        self.state().bytes.get_mut(range).ok_or(BlockError::Io)?.fill(with);
        Ok(())
    }
}

impl BlockPort for MemoryDisk {
    fn geometry(&self) -> Option<BlockGeometry> {
        (self.geometry.sectors > 0).then_some(self.geometry)
    }

    fn call(&self, sleeper: &Sleeper, request: BlockRequest<'_>) -> Result<(), BlockError> {
        let done = sleeper.now_ns() + REQUEST_NS;
        while sleeper.now_ns() < done {
            sleeper.park(Some(done));
        }
        let failure = self.state().failure;
        let changes = !matches!(request, BlockRequest::Read { .. } | BlockRequest::Identify(_));
        if let Some(failure) = failure.filter(|_| changes) {
            return Err(failure);
        }
        if self.geometry.is_read_only && changes && !matches!(request, BlockRequest::Flush) {
            return Err(BlockError::Io);
        }
        match request {
            BlockRequest::Read { sector, frames, len } => {
                let range = self.range(sector, len)?;
                let mut state = self.state();
                state.requests.0 += 1;
                let bytes = state.bytes.get(range).unwrap_or_default();
                for (frame, bytes) in frames.iter().zip(bytes.chunks(FRAME_SIZE)) {
                    frame.copy_in(0, bytes);
                }
            }
            BlockRequest::Write { sector, frames, len } => {
                let range = self.range(sector, len)?;
                let mut state = self.state();
                state.requests.1 += 1;
                let bytes = state.bytes.get_mut(range).unwrap_or_default();
                for (frame, bytes) in frames.iter().zip(bytes.chunks_mut(FRAME_SIZE)) {
                    frame.copy_out(0, bytes);
                }
            }
            BlockRequest::Flush => {
                let mut state = self.state();
                state.requests.2 += 1;
                state.durable = state.bytes.clone();
            }
            BlockRequest::Discard { sector, sectors } => self.clear(sector, sectors, 0xdd)?,
            BlockRequest::WriteZeroes { sector, sectors, .. } => self.clear(sector, sectors, 0)?,
            BlockRequest::Identify(serial) => {
                serial.fill(0);
                serial[..6].copy_from_slice(b"memory");
            }
        }
        Ok(())
    }
}
