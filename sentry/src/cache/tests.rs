use super::*;
use crate::abi::Errno;
use crate::mm::Budget;
use crate::platform::{Access, hosted};
use crate::user::{IoReader, IoWriter};
use alloc::sync::Arc;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::sleep::Sleeper;
use std::boxed::Box;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

/// A file of bytes that counts what is asked of it and takes its time.
struct Disk {
    bytes: Mutex<Vec<u8>>,
    fills: Mutex<Vec<(u64, usize)>>,
    fail: Mutex<bool>,
}

impl Disk {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes), fills: Mutex::default(), fail: Mutex::new(false) })
    }

    fn failing(&self) -> Result<(), Errno> {
        if *self.fail.lock().unwrap() { Err(Errno::EIO) } else { Ok(()) }
    }
}

impl Backing for Disk {
    fn fill(&self, sleeper: &Sleeper, index: u64, frames: &[Frame]) -> Result<(), Errno> {
        self.fills.lock().unwrap().push((index, frames.len()));
        sleeper.park(Some(sleeper.now_ns() + 1000));
        self.failing()?;
        let bytes = self.bytes.lock().unwrap();
        for (page, frame) in (index as usize..).zip(frames) {
            let part = bytes.get(page * FRAME_SIZE..).unwrap_or_default();
            frame.copy_in(0, &part[..part.len().min(FRAME_SIZE)]);
        }
        Ok(())
    }

    fn write_back(&self, sleeper: &Sleeper, index: u64, frames: &[Frame], len: usize) -> Result<(), Errno> {
        sleeper.park(Some(sleeper.now_ns() + 1000));
        self.failing()?;
        let mut bytes = self.bytes.lock().unwrap();
        let start = index as usize * FRAME_SIZE;
        if bytes.len() < start + len {
            bytes.resize(start + len, 0);
        }
        for (page, frame) in frames.iter().enumerate() {
            let from = start + page * FRAME_SIZE;
            let end = (from + FRAME_SIZE).min(start + len);
            frame.copy_out(0, &mut bytes[from..end]);
        }
        Ok(())
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

fn read(mapping: &Mapping, sleeper: &Sleeper, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let done = mapping.read(sleeper, at, &mut IoWriter::kernel(&mut bytes)).unwrap();
    bytes.truncate(done);
    bytes
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn a_sequence_is_read_in_growing_pieces() {
    hosted::run(1, |sleeper| {
        let bytes = pattern(3 << 20);
        let disk = Disk::new(bytes.clone());
        let mapping = Mapping::cached(disk.clone(), bytes.len() as u64);
        for at in (0..bytes.len()).step_by(10000) {
            assert_eq!(read(&mapping, sleeper, at as u64, 10000), bytes[at..(at + 10000).min(bytes.len())]);
        }
        let fills = disk.fills.lock().unwrap().clone();
        assert_eq!(fills[..4], [(0, 32), (32, 64), (96, 128), (224, 256)]);
        assert_eq!(mapping.resident(), 768);
        assert_eq!(read(&mapping, sleeper, 3 << 20, 5), b"");
    });
}

#[test]
fn a_page_is_filled_once_however_many_ask() {
    hosted::for_seeds(20, |sleeper| {
        let disk = Disk::new(pattern(100_000));
        let mapping = Mapping::cached(disk.clone(), 100_000);
        let done = Arc::new(Mutex::new(0));
        for _ in 0..4 {
            let (mapping, done) = (mapping.clone(), done.clone());
            let body = Box::new(move |sleeper: &Sleeper| {
                mapping.page(sleeper, 3, Access::Read).unwrap();
                *done.lock().unwrap() += 1;
            });
            crate::platform::get().spawn("reader", body).unwrap();
        }
        while *done.lock().unwrap() < 4 {
            sleeper.park(Some(sleeper.now_ns() + 500));
        }
        assert_eq!(disk.fills.lock().unwrap().len(), 1);
    });
}

#[test]
fn truncation_beats_a_fill_in_progress() {
    hosted::for_seeds(50, |sleeper| {
        let disk = Disk::new(vec![7; 50_000]);
        let mapping = Mapping::cached(disk.clone(), 50_000);
        let other = mapping.clone();
        let body = Box::new(move |sleeper: &Sleeper| {
            let _ = other.page(sleeper, 0, Access::Read);
        });
        crate::platform::get().spawn("reader", body).unwrap();
        sleeper.resched_point();
        disk.bytes.lock().unwrap().truncate(5000);
        mapping.resize(5000);
        disk.bytes.lock().unwrap().resize(20_000, 0);
        mapping.resize(20_000);
        let mut wanted = vec![7; 5000];
        wanted.resize(20_000, 0);
        assert_eq!(read(&mapping, sleeper, 0, 50_000), wanted);
    });
}

#[test]
fn an_error_is_told_and_not_kept() {
    hosted::run(1, |sleeper| {
        let disk = Disk::new(pattern(100_000));
        let mapping = Mapping::cached(disk.clone(), 100_000);
        *disk.fail.lock().unwrap() = true;
        assert_eq!(mapping.page(sleeper, 1, Access::Read).err(), Some(Errno::EIO));
        *disk.fail.lock().unwrap() = false;
        assert_eq!(read(&mapping, sleeper, 4096, 10), pattern(100_000)[4096..4106]);
        mapping.write(sleeper, 0, &mut IoReader::kernel(b"new")).unwrap();
        *disk.fail.lock().unwrap() = true;
        assert_eq!(mapping.flush(sleeper).err(), Some(Errno::EIO));
        assert_eq!(mapping.dirty(), 1);
        *disk.fail.lock().unwrap() = false;
        mapping.flush(sleeper).unwrap();
        assert_eq!((mapping.dirty(), &disk.bytes.lock().unwrap()[..3]), (0, &b"new"[..]));
    });
}

/// Random reads, writes, changes of size, flushes and drops against a plain vector; files with and without a backing.
#[test]
fn files_behave_like_vectors() {
    hosted::for_seeds(30, |sleeper| {
        let mut seed = sleeper.now_ns() ^ 0x1234_5678;
        let mut entropy = [0; 8];
        crate::platform::get().entropy(&mut entropy);
        seed ^= u64::from_le_bytes(entropy);
        let before = Budget::root().used();
        for memory in [true, false] {
            let mut model = if memory { Vec::new() } else { pattern(70_000) };
            let disk = Disk::new(model.clone());
            let mapping =
                if memory { Mapping::memory() } else { Mapping::cached(disk.clone(), model.len() as u64) };
            for _ in 0..200 {
                let at = (random(&mut seed) % 200_000) as usize;
                let len = (random(&mut seed) % 20_000) as usize;
                match random(&mut seed) % 8 {
                    0..=2 => {
                        let end = (at + len).min(model.len());
                        assert_eq!(read(&mapping, sleeper, at as u64, len), model[at.min(end)..end]);
                    }
                    3 | 4 => {
                        let at = if random(&mut seed).is_multiple_of(2) { at & !0xfff } else { at };
                        let bytes: Vec<u8> = (0..len).map(|_| random(&mut seed) as u8).collect();
                        mapping.write(sleeper, at as u64, &mut IoReader::kernel(&bytes)).unwrap();
                        if len > 0 {
                            model.resize(model.len().max(at + len), 0);
                            model[at..at + len].copy_from_slice(&bytes);
                        }
                    }
                    5 if memory => {
                        mapping.punch(sleeper, at as u64, (at + len) as u64).unwrap();
                        let end = (at + len).min(model.len());
                        model[at.min(end)..end].fill(0);
                    }
                    5 => mapping.flush(sleeper).unwrap(),
                    6 => {
                        mapping.flush(sleeper).unwrap();
                        let _hold = mapping.hold_write_back(sleeper);
                        model.resize(at, 0);
                        disk.bytes.lock().unwrap().resize(at, 0);
                        mapping.resize(at as u64);
                    }
                    _ => {
                        reclaim::shrink(sleeper, &Budget::root(), 10);
                    }
                }
                assert_eq!(mapping.size() as usize, model.len());
            }
            assert_eq!(read(&mapping, sleeper, 0, 1 << 20), model);
            if !memory {
                mapping.flush(sleeper).unwrap();
                assert_eq!(*disk.bytes.lock().unwrap(), model);
            }
        }
        assert_eq!(Budget::root().used(), before, "every page was given back");
    });
}

#[test]
fn clean_pages_can_be_dropped() {
    hosted::run(1, |sleeper| {
        let disk = Disk::new(pattern(1 << 20));
        let budget = Budget::root().child(64);
        let mapping = Mapping::cached_in(disk, 1 << 20, budget.clone());
        for page in 0..256 {
            let got = loop {
                match mapping.page(sleeper, page, Access::Read) {
                    Err(Errno::ENOMEM) => assert!(reclaim::shrink(sleeper, &budget, 16) > 0),
                    other => break other.unwrap(),
                }
            };
            drop(got);
            assert!(budget.used() <= 64);
        }
    });
}
